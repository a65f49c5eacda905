//! One process after another: what operators may change while one takes over from the other, and what the one that was
//! replaced still has under way, of which it tells for as long as it lives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use plimsoll_core::backend::Backend;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::handed::{Handed, HandedShift};
use crate::publish::Control;

/// Where this process stands among those that serve one after the other.
#[derive(Debug, Default)]
pub(crate) struct Succession {
    /// Whether another process has taken over. Read while an operator's change is made, and written while it is handed
    /// over how everything stands: what came before is handed over, and what comes later has to wait.
    over: Arc<RwLock<bool>>,
    /// What the processes before have left.
    before: ArcSwapOption<Left>,
    /// Shifts that were under way in the process before, until somebody goes on with them.
    shifts: Mutex<BTreeMap<String, HandedShift>>,
}

impl Succession {
    /// After a process that has handed this over.
    pub(crate) fn after(shifts: BTreeMap<String, HandedShift>) -> Self {
        Succession {
            shifts: Mutex::new(shifts),
            ..Succession::default()
        }
    }
}

/// Operators change nothing while this is held.
#[derive(Debug)]
pub struct Handing(OwnedRwLockWriteGuard<bool>);

impl Handing {
    /// Another process serves, and operators have to turn to that.
    pub fn is_done(mut self) {
        *self.0 = true;
    }
}

/// While this is held nothing is handed over.
pub(crate) type Unchanged = OwnedRwLockReadGuard<bool>;

/// What is left in a process, and in those before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Left {
    /// Which process.
    pub pid: u32,
    /// Connections of clients.
    pub connections: u32,
    /// Requests and connections under way at backends that have any, by pool and address.
    in_flight: BTreeMap<String, BTreeMap<SocketAddr, u64>>,
}

impl Left {
    /// How much is under way at a backend.
    pub(crate) fn at(&self, pool: &str, address: SocketAddr) -> u64 {
        let pool = self.in_flight.get(pool);
        pool.and_then(|pool| pool.get(&address)).copied().unwrap_or_default()
    }
}

impl Control {
    /// How everything stands, for the process that takes over; operators change nothing until that has been decided.
    pub async fn hand_over(&self) -> (Handed, Handing) {
        let over = self.succession.over.clone().write_owned().await;
        (self.handed(), Handing(over))
    }

    /// Waits until nothing is being handed over; `None` when another process has taken over.
    pub(crate) async fn still_ours(&self) -> Option<Unchanged> {
        let over = self.succession.over.clone().read_owned().await;
        (!*over).then_some(over)
    }

    /// What the processes before have left; `None` once they are gone.
    pub fn before(&self) -> Option<Arc<Left>> {
        self.succession.before.load_full()
    }

    /// Whether nothing is being handed over, nor has been.
    pub(crate) fn is_ours(&self) -> bool {
        self.succession.over.try_read().is_ok_and(|over| !*over)
    }

    /// The shifts that the process before has begun, once.
    pub(crate) fn take_shifts(&self) -> BTreeMap<String, HandedShift> {
        let mut shifts = self.succession.shifts.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *shifts)
    }

    /// The process before says what it has left, or is gone.
    pub fn set_before(&self, left: Option<Left>) {
        self.succession.before.store(left.map(Arc::new));
    }

    /// What this process has under way, of `connections` of clients, and what those before it have.
    pub fn left(&self, connections: u32) -> Left {
        let mut left = Left {
            pid: std::process::id(),
            connections,
            in_flight: BTreeMap::new(),
        };
        if let Some(before) = self.before() {
            left.connections += before.connections;
            left.in_flight.clone_from(&before.in_flight);
        }
        self.each_backend(|pool, backend| {
            let count = u64::from(backend.load.in_flight());
            if count > 0 {
                let pool = left.in_flight.entry(pool.to_owned()).or_default();
                *pool.entry(backend.address).or_default() += count;
            }
        });
        left
    }

    /// Shows `each` backend of a pool, and those that have left and may have something under way.
    fn each_backend(&self, mut each: impl FnMut(&str, &Backend)) {
        let state = self.state();
        for (pool, living) in &state.pools {
            living
                .membership
                .backends()
                .for_each(|(backend, ..)| each(pool, backend));
        }
        for departing in &state.departing {
            each(&departing.backend.pool, &departing.backend);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_says_is_understood() {
        let mut left = Left {
            pid: 7,
            ..Left::default()
        };
        let address = "[::1]:80".parse().expect("an address");
        left.in_flight.insert("api".into(), BTreeMap::from([(address, 3)]));
        let mut told = serde_json::to_value(&left).expect("JSON");
        told["of a later version"] = 1.into();
        let heard: Left = serde_json::from_value(told).expect("it is understood");
        assert_eq!(
            (heard.at("api", address), heard.at("web", address), &heard),
            (3, 0, &left)
        );
        assert_eq!(serde_json::from_str::<Left>("{}").expect("as well"), Left::default());
    }
}
