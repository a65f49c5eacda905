//! Sums that shifts and the dashboard go by: of each listener, route and pool, and of each pool on each route. There are
//! as many as there are such names, whatever the number of backends and codes, so that they need no limit of series: a
//! shift that saw nothing because others had filled a table would go on while everything fails.

use std::collections::BTreeMap;

use plimsoll_core::telemetry::{Histogram, Requests};

use super::living::Living;
use super::series::Label;

/// What was counted of some requests.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) requests: u64,
    /// Those with an answer of 5xx.
    pub(super) errors: u64,
    pub(super) durations: Histogram,
}

impl Sum {
    fn add(&mut self, code: u16, counted: &Requests) {
        let count = counted.duration.count();
        self.requests += count;
        if code / 100 == 5 {
            self.errors += count;
        }
        self.durations.add(&counted.duration);
    }
}

/// The sums, by name. What went by no route or to no pool has an empty name.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) listeners: BTreeMap<Label, Sum>,
    pub(super) routes: BTreeMap<Label, Sum>,
    pub(super) pools: BTreeMap<Label, Sum>,
    /// By route and pool.
    pub(super) ways: BTreeMap<[Label; 2], Sum>,
}

impl Work {
    /// Adds what was counted of requests that were answered with `code`.
    pub(super) fn add(&mut self, [listener, route, pool]: [&Label; 3], code: u16, counted: &Requests) {
        of(&mut self.listeners, listener).add(code, counted);
        of(&mut self.routes, route).add(code, counted);
        of(&mut self.pools, pool).add(code, counted);
        let way = [route.clone(), pool.clone()];
        self.ways.entry(way).or_default().add(code, counted);
    }

    /// Gives up what does not live.
    pub(super) fn keep(&mut self, living: &Living) {
        self.listeners.retain(|name, _| living.has_listener(name));
        self.routes.retain(|name, _| living.has_route(name));
        self.pools.retain(|name, _| living.has_pool(name));
        self.ways
            .retain(|[route, pool], _| living.has_route(route) && living.has_pool(pool));
    }
}

/// The sum under `name`; most names are there already.
fn of<'s>(sums: &'s mut BTreeMap<Label, Sum>, name: &Label) -> &'s mut Sum {
    if !sums.contains_key(name) {
        sums.insert(name.clone(), Sum::default());
    }
    sums.get_mut(name).expect("it was put there")
}
