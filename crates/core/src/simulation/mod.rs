//! Whole pools on a virtual clock: open-loop arrivals, backends with queues, checks, control and workers, all replayed
//! from one seed. Membership, views, acquires and leases are the real ones; only time, sockets and backends are modelled.
//!
//! After every step the invariants of [`World::check_invariants`] are checked, whatever the scenario.

mod antagonists;
mod backends;
mod comparison;
mod invariants;
mod load_line;
mod outages;
mod outliers;
mod scale;
mod slow_backend;
mod world;

use std::sync::Arc;
use std::time::Duration;

use self::backends::{Behaviour, Model};
use self::world::{Setup, World};
use crate::membership::Rules;

fn secs(secs: f64) -> Duration {
    Duration::from_secs_f64(secs)
}
