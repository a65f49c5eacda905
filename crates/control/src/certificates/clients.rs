//! Who vouches for the clients of one listener, and what was revoked, with the files behind it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use plimsoll_net::tls::{ClientRules, Validity};

use super::ending::Watched;
use super::read::read_clients;
use super::{TrustStatus, next_end, no_list, nobody_vouches, words};
use crate::config::ClientsPlan;
use crate::files::FileStatus;

/// The rules for clients as they are now.
pub(super) struct LivingClients {
    plan: ClientsPlan,
    watched: Watched,
    used: Option<ClientRules>,
    /// Which of what they hold was valid at the last look.
    standing: Vec<bool>,
    loaded_at: Option<SystemTime>,
    /// The file that cannot be used, and why.
    error: Option<(PathBuf, String)>,
}

impl LivingClients {
    pub(super) fn new(plan: ClientsPlan) -> Self {
        let paths = plan.revoked.iter().map(|path| Some(&**path));
        LivingClients {
            watched: Watched::new(paths.chain([Some(&*plan.authorities)])),
            plan,
            used: None,
            standing: Vec::new(),
            loaded_at: None,
            error: None,
        }
    }

    pub(super) fn rules(&self) -> Option<&ClientRules> {
        self.used.as_ref()
    }

    /// Reads what has changed, and looks at the dates; whether clients are judged by something else now.
    pub(super) fn look(&mut self, listener: &str) -> bool {
        let others = self.watched.has_changed() && self.read(listener);
        others || self.look_at_dates(listener)
    }

    /// Reads them; whether others are used now. Rules of which something is out of its time take the place of none that
    /// are whole.
    pub(super) fn read(&mut self, listener: &str) -> bool {
        self.watched.note();
        let now = SystemTime::now();
        let judged = read_clients(&self.plan).and_then(|rules| {
            let was_whole = self.used.as_ref().is_some_and(|used| self.wrong(used, now).is_none());
            match self.wrong(&rules, now) {
                Some(wrong) if was_whole => Err(wrong),
                _ => Ok(rules),
            }
        });
        match judged {
            Ok(rules) => {
                let authorities = rules.entries();
                tracing::info!(listener, authorities, "who vouches for clients was read");
                self.error = None;
                self.loaded_at = Some(now);
                let is_other = self.used.as_ref() != Some(&rules);
                self.standing = rules.standing(now);
                self.tell_dates(&rules, listener, now);
                self.used = Some(rules);
                is_other
            }
            Err((path, error)) => {
                tracing::error!(listener, error, "who vouches for clients cannot be used");
                self.error = Some((path, error));
                false
            }
        }
    }

    /// Whether something has begun or ended since the last look.
    fn look_at_dates(&mut self, listener: &str) -> bool {
        let Some(rules) = &self.used else { return false };
        let now = SystemTime::now();
        let standing = rules.standing(now);
        if standing == self.standing {
            return false;
        }
        self.tell_dates(rules, listener, now);
        self.standing = standing;
        true
    }

    fn tell_dates(&self, rules: &ClientRules, listener: &str, now: SystemTime) {
        for authority in rules.authorities().filter(|authority| !authority.holds(now)) {
            let authority = words(authority, now);
            tracing::warn!(
                listener,
                authority,
                "clients are refused for whom this authority vouches"
            );
        }
        for list in rules.lists().flatten().filter(|list| !list.holds(now)) {
            let list = words(list, now);
            tracing::error!(
                listener,
                list,
                "clients are refused whose authority has no list of today"
            );
        }
    }

    /// The first file of which something is out of its time, and what.
    fn wrong(&self, rules: &ClientRules, now: SystemTime) -> Option<(PathBuf, String)> {
        let mut files = self.files(rules, now).into_iter();
        files.find_map(|file| Some((file.path.to_owned(), file.wrong?)))
    }

    fn files<'r>(&'r self, rules: &'r ClientRules, now: SystemTime) -> Vec<Holding<'r>> {
        let told = |path: &Path, why: String| format!("{}: {why}", path.display());
        let path = &*self.plan.authorities;
        let authorities = Holding {
            path,
            wrong: nobody_vouches(rules.authorities(), now).map(|why| told(path, why)),
            validities: rules.authorities().collect(),
        };
        let lists = self.plan.revoked.iter().zip(rules.lists()).map(|(path, lists)| {
            let validities: Vec<&Validity> = lists.collect();
            let wrong = no_list(validities.iter().copied(), now).map(|why| told(path, why));
            Holding {
                path,
                wrong,
                validities,
            }
        });
        std::iter::once(authorities).chain(lists).collect()
    }

    /// How its files stand.
    pub(super) fn status(&self, listener: &Arc<str>) -> Vec<TrustStatus> {
        let now = SystemTime::now();
        let held = self
            .used
            .as_ref()
            .map(|rules| self.files(rules, now))
            .unwrap_or_default();
        let paths = std::iter::once(&self.plan.authorities).chain(&self.plan.revoked);
        let status = paths.enumerate().map(|(at, path)| {
            let holds = held.get(at);
            let unread = self.error.as_ref().filter(|(wrong, _)| wrong == path);
            TrustStatus {
                listener: listener.clone(),
                ends: holds.and_then(|file| next_end(file.validities.iter().copied(), now)),
                file: FileStatus {
                    path: path.clone(),
                    loaded_at: self.loaded_at,
                    entries: holds.map_or(0, |file| file.validities.len()),
                    error: unread.map(|(_, why)| why.clone()).or_else(|| holds?.wrong.clone()),
                },
            }
        });
        status.collect()
    }
}

/// What a file holds.
struct Holding<'r> {
    path: &'r Path,
    validities: Vec<&'r Validity>,
    /// What is out of its time.
    wrong: Option<String>,
}
