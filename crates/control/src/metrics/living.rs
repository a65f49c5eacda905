//! Which names there are now: series of others are given up when there is no room.

use std::collections::HashSet;

use super::series::{Label, OTHER};
use crate::publish::Control;

/// The names of what is served.
#[derive(Debug, Default)]
pub(crate) struct Living {
    listeners: HashSet<Label>,
    routes: HashSet<Label>,
    pools: HashSet<Label>,
    /// By pool and name.
    backends: HashSet<[Label; 2]>,
}

impl Living {
    /// Those that `control` serves now.
    pub(super) fn of(control: &Control) -> Self {
        let snapshot = control.snapshot().load();
        let pools = control.pools();
        let backends = pools.iter().flat_map(|pool| {
            let name = |backend: &plimsoll_core::membership::MemberStatus| [pool.name.clone(), backend.name.clone()];
            pool.backends.iter().map(name)
        });
        Living {
            backends: backends.collect(),
            pools: pools.iter().map(|pool| pool.name.clone()).collect(),
            listeners: snapshot.listeners.iter().map(|it| it.name.clone()).collect(),
            routes: snapshot.routes.iter().map(|route| route.name.clone()).collect(),
        }
    }

    pub(super) fn has_listener(&self, name: &Label) -> bool {
        is_no_name(name) || self.listeners.contains(name)
    }

    pub(super) fn has_route(&self, name: &Label) -> bool {
        is_no_name(name) || self.routes.contains(name)
    }

    pub(super) fn has_pool(&self, name: &Label) -> bool {
        is_no_name(name) || self.pools.contains(name)
    }

    /// Whether `pool` has a backend of this name.
    pub(crate) fn has_backend(&self, pool: &Label, name: &Label) -> bool {
        if is_no_name(name) {
            return self.has_pool(pool);
        }
        self.backends.contains(&[pool.clone(), name.clone()])
    }
}

/// Whether it says that there is none, or no room for one: such series stay.
fn is_no_name(name: &Label) -> bool {
    name.is_empty() || **name == *OTHER
}
