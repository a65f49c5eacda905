//! What the control plane tells of itself: readiness, pools, names and counts.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use plimsoll_core::decision::Record;
use plimsoll_core::health::{Phase, State};
use plimsoll_core::name::{BackendId, NameId};
use plimsoll_core::pool::View;
use plimsoll_core::time::Now;
use plimsoll_net::tls::{Origination, Termination};

use crate::certificates::CertificateStatus;
use crate::config::Plan;
use crate::files::FileStatus;
use crate::living::{LivingPool, PoolStatus};
use crate::metrics::{Living, Naming};
use crate::publish::{Control, Reload, Serving, Transitions};

/// Whether this node takes work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// It is being shut down.
    Draining,
    /// The first checks of these pools have not all finished.
    Unchecked(Vec<Arc<str>>),
}

/// A file that says who is believed, or what was revoked.
pub(crate) struct Trust {
    /// The kind and the name of what reads it.
    pub(crate) whose: (&'static str, String),
    pub(crate) file: String,
    /// When the next of what it holds ends, or the last did when all is over.
    pub(crate) ends: Option<SystemTime>,
    pub(crate) is_wrong: bool,
}

impl Control {
    /// Whether this node takes work: not while it drains, nor before every backend of each checked pool had its first
    /// result, for which nobody waits longer than one interval and timeout. Once it was ready, only a drain ends that:
    /// a pool that a reload adds does not take the others out of service.
    pub fn readiness(&self) -> Readiness {
        if self.is_draining() {
            return Readiness::Draining;
        }
        if self.was_ready.load(Relaxed) {
            return Readiness::Ready;
        }
        let now = self.now();
        let state = self.state();
        let waiting = state.pools.values().filter(|pool| waits_for_checks(pool, now));
        let waiting: Vec<Arc<str>> = waiting.map(|pool| pool.pool.name.clone()).collect();
        if !waiting.is_empty() {
            return Readiness::Unchecked(waiting);
        }
        self.was_ready.store(true, Relaxed);
        Readiness::Ready
    }

    /// Whether [`readiness`](Self::readiness) is `Ready`.
    pub fn is_ready(&self) -> bool {
        self.readiness() == Readiness::Ready
    }

    /// What is served.
    pub fn plan(&self) -> Arc<Plan> {
        self.state().plan.clone()
    }

    /// How the last attempt to load a configuration went.
    pub fn last_reload(&self) -> Reload {
        self.state().reload.clone()
    }

    /// How many attempts to load another configuration than the first one were taken, and how many refused.
    pub fn reloads(&self) -> (u64, u64) {
        self.state().reloads
    }

    /// Where what is served came from, and what of it takes a restart.
    pub fn serving(&self) -> Serving {
        self.state().serving.clone()
    }

    /// How the files that filters name stand, by their paths.
    pub fn files(&self) -> Vec<FileStatus> {
        let (files, certificates) = {
            let state = self.state();
            (state.filters.files().clone(), state.certificates.clone())
        };
        let mut status = files.status();
        status.extend(certificates.trust().into_iter().map(|trust| trust.file));
        status
    }

    /// How the files stand that say who is believed, and what was revoked: of listeners, and of pools.
    pub(crate) fn trust(&self) -> Vec<Trust> {
        let (certificates, mut all) = {
            let state = self.state();
            let pools = state.originations.ends().map(|(pool, path, ends, is_wrong)| Trust {
                whose: ("pool", pool.to_owned()),
                file: path.display().to_string(),
                ends: Some(ends),
                is_wrong,
            });
            (state.certificates.clone(), pools.collect::<Vec<_>>())
        };
        all.extend(certificates.trust().into_iter().map(|trust| Trust {
            whose: ("listener", trust.listener.to_string()),
            file: trust.file.path.display().to_string(),
            ends: trust.ends,
            is_wrong: trust.file.error.is_some(),
        }));
        all
    }

    /// How the certificates of listeners stand.
    pub fn certificates(&self) -> Vec<CertificateStatus> {
        let certificates = self.state().certificates.clone();
        certificates.status()
    }

    /// TLS as it ends at `listener` now.
    pub(crate) fn termination(&self, listener: NameId) -> Option<Arc<Termination>> {
        self.terminations().load().get(&listener).cloned()
    }

    /// How all pools stand, by name.
    pub fn pools(&self) -> Vec<PoolStatus> {
        let now = self.now();
        let state = self.state();
        let status = |pool: &LivingPool| pool.status(state.originations.status(pool.pool.id), now);
        state.pools.values().map(status).collect()
    }

    /// How the pool `name` stands.
    pub fn pool(&self, name: &str) -> Option<PoolStatus> {
        let now = self.now();
        let state = self.state();
        let pool = state.pools.get(name)?;
        Some(pool.status(state.originations.status(pool.pool.id), now))
    }

    /// Where the checks of a backend stand.
    pub(crate) fn phase(&self, pool: &str, backend: BackendId) -> Phase {
        let state = self.state();
        let living = state.pools.get(pool);
        living.map_or(Phase::Unknown, |living| living.membership.phase(backend))
    }

    /// TLS with the backends of the pool `name`.
    pub(crate) fn origination(&self, name: &str) -> Option<Arc<Origination>> {
        let id = self.state().pools.get(name)?.pool.id;
        self.originations().load().get(&id).cloned()
    }

    /// The view that the pool `name` would get now, and how it comes about.
    pub(crate) fn view_of(&self, name: &str, record: Record<'_>) -> Option<View> {
        let now = self.now();
        let state = self.state();
        let living = state.pools.get(name)?;
        Some(living.membership.view(&living.pool.policy, now, record))
    }

    /// The names of all pools.
    pub(crate) fn pool_names(&self) -> Vec<Arc<str>> {
        self.state().pools.keys().cloned().collect()
    }

    /// `now` on the wall clock.
    pub(crate) fn wall_time(&self, now: Now) -> SystemTime {
        self.started() + now.since(Now::START)
    }

    /// Hands over the names behind numbers.
    pub(crate) fn with_names(&self, look: impl FnOnce(&dyn Naming)) {
        look(&self.state().identities);
    }

    /// Hands over how often backends changed state.
    pub(crate) fn with_transitions(&self, look: impl FnOnce(&Transitions)) {
        look(&self.state().transitions);
    }

    /// Gives up how often backends changed state that are there no more, when there are too many.
    pub(crate) fn keep_transitions(&self, living: &Living) {
        let mut state = self.state();
        state
            .transitions
            .retain(|[pool, backend, ..], _| living.has_backend(pool, backend));
    }
}

fn waits_for_checks(pool: &LivingPool, now: Now) -> bool {
    let Some(check) = &pool.check else { return false };
    now.since(pool.since) < check.interval + check.timeout
        && pool
            .status(None, now)
            .backends
            .iter()
            .any(|backend| backend.state == State::Unknown)
}
