//! Balancing: which member gets the next piece of work.
//!
//! A [`Policy`] is what the user configured; it builds a [`Picker`] for one set of [`Members`], off the hot path. A
//! picker is a pure function of (members, their load, [`PickCx`]): it holds no mutable state, so that rebuilding it
//! loses nothing and no two threads meet in it. Health, priorities, zones and draining were settled when the members
//! were computed; no picker knows of them.
//!
//! A new policy is one file and one line in the list below.

use crate::decision::{Record, Stage, Verdict, note};
use crate::members::{Member, Members, Slot};
use crate::name::BackendId;
use crate::rng::Rng;
use crate::time::Now;

mod bounded_load;
#[cfg(test)]
mod conformance;
mod draw;
mod hash_key;
mod hashed;
mod latency;
#[macro_use]
mod registry;
mod ring;
mod scan;
mod turns;

pub use bounded_load::LoadFactor;
pub use hash_key::{HashKey, client_bytes, hash_address, hash_bytes, hash_client, hash_flow};

policies! {
    "least-connections" => least_connections::LeastConnections,
    "least-response-time" => least_response_time::LeastResponseTime,
    "round-robin" => round_robin::RoundRobin,
    "power-of-two" => power_of_two::PowerOfTwo,
    "peak-ewma" => peak_ewma::PeakEwma,
    "random" => random::Random,
    "ip-hash" => ip_hash::IpHash,
    "ring-hash" | "consistent-hash" => ring_hash::RingHash,
    "maglev" => maglev::Maglev,
    "rendezvous" => rendezvous::Rendezvous,
    "prequal" => prequal::Prequal,
}

impl Default for PolicyConfig {
    /// `least-connections`: unlike round robin it notices a backend that has become slow.
    fn default() -> Self {
        PolicyConfig::LeastConnections(least_connections::LeastConnections {})
    }
}

/// A balancing algorithm as configured.
pub trait Policy {
    /// The picker for `members`. Cold: it may build tables.
    fn build(&self, members: &Members) -> Box<dyn Picker>;

    /// What the choice depends on, for policies that send like to like. Such policies ignore slow start: moving keys
    /// in ten steps is worse than one cold cache.
    fn key(&self) -> Option<&HashKey> {
        None
    }
}

/// A balancing algorithm as built for one set of members.
pub trait Picker: Send + Sync {
    /// The slot to use, never one of `cx.tried`; `None` when there is none left. Hot: no allocation, no lock.
    fn pick(&self, members: &Members, cx: &mut PickCx<'_>) -> Option<Slot>;
}

/// What a pick may depend on besides members and their load.
pub struct PickCx<'a> {
    /// The time.
    pub now: Now,
    /// Randomness.
    pub rng: &'a mut Rng,
    /// The worker's own sequence number for this pool, from a random start; one more for every pick.
    pub seq: u64,
    /// The hash of the request's key, for policies that have one. Without the key (a header that is absent) a random
    /// number, so that keyless requests spread evenly.
    pub key: u64,
    /// Backends that this request may not go to: those it was tried on, and those that are full.
    pub tried: &'a [BackendId],
    /// The record to fill, when somebody asked for one.
    pub record: Record<'a>,
}

impl PickCx<'_> {
    /// Whether `member` may still be chosen.
    pub fn is_open(&self, member: &Member) -> bool {
        !self.tried.contains(&member.backend.id)
    }

    /// Records why `member` was taken or passed over.
    pub fn note(&mut self, member: &Member, verdict: Verdict, why: impl FnOnce() -> String) {
        note(&mut self.record, || {
            (Stage::Pick, member.name.to_string(), verdict, why())
        });
    }
}
