//! What a process hands to the one that takes over from it: how backends stand, what operators have set, and the secrets
//! that clients' tickets and cookies were made with.
//!
//! It goes through a socket between the two, and is never written anywhere.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use plimsoll_core::health::{Ejected, Offence};
use plimsoll_core::membership::{Action, Before, Operator, Transition};
use plimsoll_core::time::Now;
use plimsoll_net::tls::TicketKey;
use serde::{Deserialize, Serialize};

use crate::config::Addition;
use crate::living::LivingPool;
use crate::publish::Control;
use crate::shifts::Shifts;

/// It, as it is handed over. What one side does not know of, it leaves alone: the two may be of different versions.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Handed {
    /// Whether the process took work.
    pub(crate) was_ready: bool,
    pub(crate) pools: BTreeMap<String, Vec<HandedBackend>>,
    pub(crate) routes: BTreeMap<String, HandedRoute>,
    /// What signs sticky cookies when the configuration names no secret.
    pub(crate) own_secret: Vec<u8>,
    pub(crate) tickets: Vec<HandedTickets>,
    /// What was made by the API.
    pub additions: Vec<Addition>,
    /// Shifts of splits that are under way, by route.
    pub(crate) shifts: BTreeMap<String, HandedShift>,
}

/// One shift of a split.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HandedShift {
    pub(crate) id: u64,
    pub(crate) to: Vec<(String, u32)>,
    pub(crate) over: Duration,
    /// As they are written.
    pub(crate) limits: Vec<String>,
    pub(crate) when_healthy: bool,
    pub(crate) pools: Vec<String>,
    pub(crate) before: Vec<u32>,
    pub(crate) after: Vec<u32>,
    pub(crate) set: Vec<u32>,
    pub(crate) was_configured: bool,
    /// How long it has gone on; `None` while it waits for backends.
    pub(crate) gone: Option<Duration>,
    /// Since it was asked for.
    pub(crate) age: Duration,
}

/// How one backend stands. Times are counted from when this is said, since clocks of two processes have no common start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HandedBackend {
    address: SocketAddr,
    verdict: Option<bool>,
    failure: String,
    ejected_for: Option<(Offence, Duration)>,
    ejections: u32,
    withdrawn: Option<Withdrawn>,
    weight: Option<u32>,
    drains_for: Option<Duration>,
}

/// How an operator has taken it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Withdrawn {
    Drain,
    Maintenance,
}

/// What operators have set of a route.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HandedRoute {
    pub(crate) maintenance: Option<bool>,
    /// The weights of the pools of its split.
    pub(crate) split: Option<Vec<(String, u32)>>,
}

/// The keys of one listener's tickets, and the rules for clients under which those were made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HandedTickets {
    pub(crate) listener: String,
    pub(crate) rules: Option<[u8; 32]>,
    keys: Vec<HandedKey>,
}

#[derive(Clone, Serialize, Deserialize)]
struct HandedKey {
    name: [u8; 16],
    secret: [u8; 32],
    since: SystemTime,
}

impl std::fmt::Debug for HandedKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("HandedKey").finish_non_exhaustive()
    }
}

impl Handed {
    /// The same with the `shifts` that are under way.
    #[must_use]
    pub fn with(mut self, shifts: &Shifts) -> Self {
        self.shifts = shifts.handed();
        self
    }
}

impl HandedTickets {
    pub(crate) fn new(listener: &str, rules: Option<[u8; 32]>, keys: Vec<TicketKey>) -> Self {
        let key = |key: TicketKey| HandedKey {
            name: key.name,
            secret: key.secret,
            since: key.since,
        };
        HandedTickets {
            listener: listener.to_owned(),
            rules,
            keys: keys.into_iter().map(key).collect(),
        }
    }

    pub(crate) fn keys(&self) -> Vec<TicketKey> {
        let key = |key: &HandedKey| TicketKey {
            name: key.name,
            secret: key.secret,
            since: key.since,
        };
        self.keys.iter().map(key).collect()
    }
}

impl HandedBackend {
    fn new(address: SocketAddr, before: &Before, now: Now) -> Self {
        let Before {
            verdict,
            failure,
            ejected,
            operator,
        } = before;
        HandedBackend {
            address,
            verdict: *verdict,
            failure: failure.to_string(),
            ejected_for: ejected.current.map(|(offence, until)| (offence, until.since(now))),
            ejections: ejected.times,
            withdrawn: operator.withdrawn.map(|action| match action {
                Action::Maintenance => Withdrawn::Maintenance,
                _ => Withdrawn::Drain,
            }),
            weight: operator.weight,
            drains_for: operator.drains_until.map(|until| until.since(now)),
        }
    }

    fn before(&self, now: Now) -> Before {
        Before {
            verdict: self.verdict,
            failure: self.failure.as_str().into(),
            ejected: Ejected {
                current: self.ejected_for.map(|(offence, left)| (offence, now + left)),
                times: self.ejections,
            },
            operator: Operator {
                withdrawn: self.withdrawn.map(|withdrawn| match withdrawn {
                    Withdrawn::Drain => Action::Drain,
                    Withdrawn::Maintenance => Action::Maintenance,
                }),
                weight: self.weight,
                drains_until: self.drains_for.map(|left| now + left),
            },
        }
    }
}

/// What `living` hands over, in the order of its backends.
fn backends(living: &LivingPool, now: Now) -> Vec<HandedBackend> {
    let handed = living.membership.handed();
    handed
        .map(|(backend, before)| HandedBackend::new(backend.address, &before, now))
        .collect()
}

/// Has `living` go on as `handed` says that it stood.
pub(crate) fn go_on(living: &mut LivingPool, handed: &[HandedBackend], now: Now) -> Vec<Transition> {
    let by_address: BTreeMap<SocketAddr, &HandedBackend> =
        handed.iter().map(|backend| (backend.address, backend)).collect();
    living.membership.go_on(
        |backend| by_address.get(&backend.address).map(|handed| handed.before(now)),
        now,
    )
}

impl Control {
    /// What the process that takes over has to know.
    pub fn handed(&self) -> Handed {
        let was_ready = self.is_ready();
        let now = self.now();
        let snapshot = self.snapshot().load_full();
        let state = self.state();
        let pools = state.pools.iter();
        let routes = snapshot.routes.iter().filter_map(|route| {
            let maintenance = route.maintenance.switch.wanted();
            let split = state.splits.get(&*route.name).cloned();
            let is_set = maintenance.is_some() || split.is_some();
            is_set.then(|| (route.name.to_string(), HandedRoute { maintenance, split }))
        });
        Handed {
            was_ready,
            pools: pools
                .map(|(name, living)| (name.to_string(), backends(living, now)))
                .collect(),
            routes: routes.collect(),
            own_secret: state.own_secret.to_vec(),
            tickets: state.certificates.tickets(),
            shifts: BTreeMap::new(),
            additions: state.additions.clone(),
        }
    }
}
