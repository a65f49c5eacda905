//! What a process is started with and cannot change: a reload that says otherwise is told so, and the rest of it is done.

use std::path::PathBuf;

use plimsoll_core::snapshot::AccessFormat;

use crate::config::{AccessLog, AdminPlan, LogPlan, Origins, Plan};

/// What a process was started with.
#[derive(Debug)]
pub struct Started {
    /// The files that its configuration was read from, if it came from any.
    pub origins: Origins,
    /// How many workers there are.
    pub workers: usize,
    /// How many workers there are where the configuration does not say.
    pub workers_default: usize,
    /// As whom it runs once its sockets are bound, when it is not as whom it was started.
    pub user: Option<String>,
    /// The most connections that the descriptors allow.
    pub connections_max: Option<u32>,
    /// Where the admin API is.
    pub admin: AdminPlan,
    /// What is logged, and where.
    pub log: LogPlan,
}

impl Started {
    /// The file that is read again.
    pub(super) fn file(&self) -> Option<PathBuf> {
        self.origins.files.first().cloned()
    }

    /// Makes `plan` one that this process can serve; what it said that takes a restart. What only a file may name stays as
    /// it is in `served` where the plan comes from none.
    pub(super) fn keep_fixed(&self, plan: &mut Plan, served: &Plan, is_file: bool) -> Vec<String> {
        let mut needs_restart = Vec::new();
        if !is_file {
            (plan.secrets, plan.admin) = (served.secrets.clone(), served.admin.clone());
            plan.user = served.user.clone();
            plan.watch = served.watch;
            (plan.tracing, plan.node.tracing) = (served.tracing.clone(), served.node.tracing);
            plan.log.level = served.log.level;
            plan.log.access = served.log.access.clone();
        }
        let mut needs = |differs: bool, what: String| needs_restart.extend(differs.then_some(what));
        let workers = plan.workers.unwrap_or(self.workers_default);
        needs(
            workers != self.workers,
            format!("[server] workers: {} run, {workers} are asked for", self.workers),
        );
        let runs_as = |user: &Option<String>| user.as_ref().map_or("nobody else".into(), |user| format!("\"{user}\""));
        needs(
            plan.user != self.user,
            format!(
                "[server] user: {} was named, {} is asked for",
                runs_as(&self.user),
                runs_as(&plan.user)
            ),
        );
        needs(
            plan.admin != self.admin,
            "[admin]: the API stays where it is, and its token what it is".into(),
        );
        needs(
            plan.log.level != self.log.level,
            format!(
                "[log] level: \"{}\" holds, \"{}\" is asked for",
                self.log.level, plan.log.level
            ),
        );
        // To write no more is no trouble.
        needs(
            plan.log.access != self.log.access && plan.log.access != AccessLog::Off,
            "[log] access: it goes on where it went".into(),
        );
        plan.workers = Some(self.workers);
        plan.user = self.user.clone();
        plan.admin = self.admin.clone();
        plan.log.level = self.log.level;
        plan.node.access_log = self.access_log(&plan.log);
        if let Some(most) = self.connections_max {
            plan.node.max_connections = plan.node.max_connections.min(most);
        }
        needs_restart
    }

    fn access_log(&self, wanted: &LogPlan) -> Option<AccessFormat> {
        let written = self.log.access != AccessLog::Off && wanted.access != AccessLog::Off;
        written.then_some(wanted.format)
    }
}
