//! A lease: the right to send one request or connection to one backend, counted while it lives.

use std::sync::Arc;
use std::time::Duration;

use super::Pool;
use crate::backend::Backend;
use crate::load::Sign;
use crate::load_line::Sample;
use crate::members::{Limits, Member};
use crate::outcome::{Outcome, Reason};
use crate::time::Now;

/// Counted as in flight from its acquire until it is finished or dropped; dropping it records a cancellation.
pub struct Lease {
    pool: Arc<Pool>,
    backend: Arc<Backend>,
    name: Arc<str>,
    limits: Limits,
    /// How many were in flight when it began, this one among them.
    found: u32,
    kept: bool,
}

/// Whether control has to look at a backend because of how a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Alarm {
    /// No.
    Quiet,
    /// Its failures in a row have passed the pool's threshold.
    Suspect,
}

impl Lease {
    pub(super) fn new(pool: Arc<Pool>, member: &Member) -> Self {
        Lease {
            pool,
            backend: member.backend.clone(),
            name: member.name.clone(),
            limits: member.limits,
            found: member.backend.load.in_flight(),
            kept: false,
        }
    }

    /// One that a sticky session has.
    pub(super) fn kept(pool: Arc<Pool>, member: &Member) -> Self {
        let mut lease = Lease::new(pool, member);
        lease.kept = true;
        lease
    }

    /// Who is to be sent to.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// The backend's name in its pool.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the backend may carry.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether it was given since a sticky session belongs there.
    pub fn is_kept(&self) -> bool {
        self.kept
    }

    /// Records the outcome. `latency` is the time to the head of the answer, or until the failure.
    pub fn finish(self, outcome: Outcome, latency: Duration, now: Now) -> Alarm {
        let Some(sign) = outcome.sign() else {
            return Alarm::Quiet;
        };
        self.learn(outcome, latency, now);
        let load = &self.backend.load;
        if sign == Sign::Success {
            self.pool.observe(latency, now);
            if self.pool.settings.compares_latency {
                load.observe_time(latency);
            }
        }
        let slow_tail = self.pool.slow_tail();
        load.record(sign, latency, slow_tail, now);
        let counts = if sign == Sign::Success {
            latency
        } else {
            latency.max(slow_tail)
        };
        self.backend.curve.record(self.found, counts, now);
        if sign == Sign::Success {
            return Alarm::Quiet;
        }
        let threshold = self.pool.settings.consecutive_errors;
        let (failures, server_errors) = load.consecutive();
        if threshold > 0 && (failures >= threshold || server_errors >= threshold) {
            Alarm::Suspect
        } else {
            Alarm::Quiet
        }
    }
}

impl Lease {
    /// Ends it as a cancellation, of an attempt that another one has overtaken: no failure, and yet its backend would
    /// have taken longer than `latency`, which a policy that looks at latencies would otherwise never learn.
    pub fn overtaken(self, latency: Duration, now: Now) {
        self.backend.load.outlasted(latency, now);
        self.backend.curve.record(self.found, latency, now);
        self.pool.observe(latency, now);
    }

    /// Moves the load line, where it is learned.
    fn learn(&self, outcome: Outcome, latency: Duration, now: Now) {
        let Some(bounds) = self.limits.bounds(&self.backend) else {
            return;
        };
        let latency = match outcome {
            Outcome::Answered(429 | 503) => None,
            // A fault of its own, which comes fast or slow whatever the load.
            Outcome::Answered(500..) => return,
            Outcome::Answered(_) => Some(latency),
            // It would have taken longer still.
            Outcome::Failed(failure) if failure.reason == Reason::ResponseTimeout => Some(latency),
            Outcome::Failed(_) => None,
            Outcome::Cancelled => return,
        };
        let sample = Sample {
            latency,
            in_flight: self.backend.load.in_flight(),
        };
        if self.backend.line.learn(sample, bounds, now) {
            self.pool.queue.call_while_served();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.backend.load.leave();
        self.pool.queue.call();
    }
}
