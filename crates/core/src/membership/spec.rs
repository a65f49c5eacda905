//! What a pool's membership is told, and what it tells.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::health::{Cause, CheckRules, Ejected, Outlier, State};
use crate::members::Limits;
use crate::name::BackendId;
use crate::sticky::Seal;
use crate::time::Now;

/// How a pool's membership is decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How check results are read; `None` where nothing is checked, and all count as healthy.
    pub checks: Option<CheckRules>,
    /// When backends are taken out for how they answer; `None`: never.
    pub outlier: Option<Outlier>,
    /// Percent healthy under which all members are used, whatever their health; 0: never.
    pub panic_threshold: u8,
    /// How long a new or recovered backend takes to get its whole share; `None`: it gets it at once.
    pub slow_start: Option<Duration>,
    /// Whether backends of this node's own zone are preferred.
    pub zone_aware: bool,
    /// Where this node stands.
    pub zone: Option<Arc<str>>,
    /// How long a draining backend keeps what it has, unless an operator says otherwise.
    pub drain_timeout: Duration,
    /// Who signs the names of backends in cookies; `None` where there are no sticky sessions.
    pub sticky: Option<Arc<Seal>>,
}

impl Default for Rules {
    /// Fall 3 and rise 2, ejection as [`Outlier`] has it, Envoy's panic threshold of 50 %, no slow start, 30 s to drain.
    fn default() -> Self {
        Rules {
            checks: Some(CheckRules::default()),
            outlier: Some(Outlier::default()),
            panic_threshold: 50,
            slow_start: None,
            zone_aware: true,
            zone: None,
            drain_timeout: Duration::from_secs(30),
            sticky: None,
        }
    }
}

/// A backend as configuration or discovery wants it in the pool.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The living backend, which is its identity.
    pub backend: Arc<Backend>,
    /// Its name in the pool, unique there.
    pub name: Arc<str>,
    /// Its share of the work; 0 takes no new work.
    pub weight: u32,
    /// Where it stands.
    pub zone: Option<Arc<str>>,
    /// Lower numbers are used first.
    pub priority: u32,
    /// What it may carry.
    pub limits: Limits,
    /// What its discovery says of it.
    pub condition: Condition,
}

impl Spec {
    /// A backend of weight 1 without zone, in the first priority, with the default limits.
    pub fn new(backend: Arc<Backend>, name: impl Into<Arc<str>>) -> Self {
        Spec {
            backend,
            name: name.into(),
            weight: 1,
            zone: None,
            priority: 0,
            limits: Limits::default(),
            condition: Condition::Ready,
        }
    }

    /// Whether it says nothing new, beyond what its condition says.
    pub(super) fn is_same(&self, other: &Spec) -> bool {
        Arc::ptr_eq(&self.backend, &other.backend)
            && (&self.name, &self.zone) == (&other.name, &other.zone)
            && (self.weight, self.priority, self.limits) == (other.weight, other.priority, other.limits)
    }
}

crate::words! {
    /// What discovery says of a backend.
    pub enum Condition {
        /// It may be used.
        Ready = "ready",
        /// It may not be used yet.
        NotReady = "not_ready",
        /// It is going away: no new work.
        Terminating = "terminating",
    }
}

/// Something that happened to one backend. What is said of a backend that the pool does not have is ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An active check finished.
    Check {
        /// Who was checked.
        backend: BackendId,
        /// Whether it passed.
        passed: bool,
        /// How it failed, in words; nothing when it passed.
        cause: Arc<str>,
    },
    /// Its failures in a row passed the threshold ([`Alarm::Suspect`](crate::pool::Alarm::Suspect)).
    Suspect {
        /// Who failed.
        backend: BackendId,
    },
    /// An operator wants something of it.
    Operator {
        /// Of whom.
        backend: BackendId,
        /// What.
        action: Action,
    },
}

/// How a backend stood: what one process hands to the one that takes over from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Before {
    /// What its checks said; `None` before the first one.
    pub verdict: Option<bool>,
    /// How the last one failed that did.
    pub failure: Arc<str>,
    /// Its ejection, and how often it was ejected of late.
    pub ejected: Ejected,
    /// What operators have set.
    pub operator: Operator,
}

/// What an operator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// No new work; what it has goes on.
    Drain,
    /// The same, and its sticky sessions stay until then.
    DrainUntil(Now),
    /// Out altogether.
    Maintenance,
    /// Undoes a drain or maintenance.
    Ready,
    /// Another weight than the configured one; `None` undoes that.
    Weight(Option<u32>),
}

/// What operators have set for a backend and not undone. It survives rediscovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operator {
    /// Whether it was taken out, and how: [`Action::Drain`] or [`Action::Maintenance`].
    pub withdrawn: Option<Action>,
    /// The weight instead of the configured one.
    pub weight: Option<u32>,
    /// Until when a drain leaves it its sticky sessions, when they said so.
    pub drains_until: Option<Now>,
}

impl Operator {
    /// Takes in an action.
    pub fn apply(&mut self, action: Action) {
        match action {
            Action::Drain | Action::Maintenance => (self.withdrawn, self.drains_until) = (Some(action), None),
            Action::DrainUntil(until) => (self.withdrawn, self.drains_until) = (Some(Action::Drain), Some(until)),
            Action::Ready => (self.withdrawn, self.drains_until) = (None, None),
            Action::Weight(weight) => self.weight = weight,
        }
    }

    /// Whether anything is set.
    pub fn is_set(&self) -> bool {
        *self != Operator::default()
    }
}

/// A change of one backend's [`State`].
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Whose.
    pub backend: BackendId,
    /// Its name.
    pub name: Arc<str>,
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// Since when.
    pub at: Now,
}

/// How one backend stands in its pool.
#[derive(Clone, Debug)]
pub struct MemberStatus {
    /// The living backend, with its address and counters.
    pub backend: Arc<Backend>,
    /// Its name.
    pub name: Arc<str>,
    /// The weight that holds: configured, or set by an operator.
    pub weight: u32,
    /// The weight that new work is given by; less than `weight` in a slow start, 0 when it takes none.
    pub effective_weight: f64,
    /// How much work it may have at once now, as configured or as learned.
    pub load_line: u32,
    /// Where it stands.
    pub zone: Option<Arc<str>>,
    /// Its priority.
    pub priority: u32,
    /// Its state.
    pub state: State,
    /// Why it is in that state.
    pub cause: Cause,
    /// Since when it has been in that state.
    pub since: Now,
    /// What operators have set.
    pub operator: Operator,
    /// When its ejection ends, if it is ejected.
    pub ejected_until: Option<Now>,
    /// Until when it keeps what it has, if it is draining.
    pub drains_until: Option<Now>,
}
