//! Traces of requests that have ended, on their way from the workers to whoever tells them: bounded rings that drop and
//! count.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Trace;
use crate::decision::Taken;

/// Requests of each worker that may wait to be told of; one takes about a kilobyte.
pub const TRACES_MAX: usize = 4_096;

/// A request that has ended, to be told of.
#[derive(Clone, Debug)]
pub struct Traced {
    /// Its trace.
    pub trace: Trace,
    /// Its own span.
    pub span: u64,
    /// Whether its client spoke TLS with us.
    pub is_secure: bool,
    /// Its path as it went upstream, where that is another.
    pub path: Option<String>,
    /// What its client calls itself.
    pub user_agent: Option<String>,
    /// What was decided about it, and what came of that.
    pub taken: Taken,
}

/// Why something was not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Its ring was full.
    Full,
    /// A failure out of too many, whose trace is not told otherwise.
    Rationed,
    /// Whoever gathers traces could not be reached, or not in time.
    Unreachable,
    /// Whoever gathers traces did not want it.
    Refused,
}

/// Why things were not told, all of it.
pub const LEFT_OUT: [Left; 4] = [Left::Full, Left::Rationed, Left::Unreachable, Left::Refused];

impl Left {
    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Left::Full => "ring_full",
            Left::Rationed => "rationed",
            Left::Unreachable => "unreachable",
            Left::Refused => "refused",
        }
    }
}

/// The rings of all workers, and what became of what was in them.
#[derive(Debug)]
pub struct Traces {
    rings: Vec<Mutex<Vec<Traced>>>,
    told: AtomicU64,
    left: [AtomicU64; LEFT_OUT.len()],
}

impl Traces {
    /// Rings for so many workers.
    pub fn new(workers: usize) -> Self {
        Traces {
            rings: (0..workers).map(|_| Mutex::default()).collect(),
            told: AtomicU64::new(0),
            left: Default::default(),
        }
    }

    /// A worker puts one in; one that finds no room is dropped and counted.
    pub fn put(&self, worker: usize, traced: Traced) {
        let dropped = {
            let mut ring = self.ring(worker);
            if ring.len() < TRACES_MAX {
                ring.push(traced);
                None
            } else {
                Some(traced)
            }
        };
        // Its memory is given back without the lock.
        if dropped.is_some() {
            self.leave(Left::Full, 1);
        }
    }

    /// Takes all that wait.
    pub fn take(&self) -> Vec<Traced> {
        let mut all = Vec::new();
        for worker in 0..self.rings.len() {
            let mut taken = std::mem::take(&mut *self.ring(worker));
            all.append(&mut taken);
        }
        all
    }

    /// Counts requests that were told.
    pub fn tell(&self, count: u64) {
        self.told.fetch_add(count, Relaxed);
    }

    /// Counts requests that were not.
    pub fn leave(&self, why: Left, count: u64) {
        self.left[why as usize].fetch_add(count, Relaxed);
    }

    /// How many requests were told.
    pub fn told(&self) -> u64 {
        self.told.load(Relaxed)
    }

    /// How many were not for this reason.
    pub fn left(&self, why: Left) -> u64 {
        self.left[why as usize].load(Relaxed)
    }

    fn ring(&self, worker: usize) -> MutexGuard<'_, Vec<Traced>> {
        // A panic while putting loses a trace, not the ring.
        self.rings[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
