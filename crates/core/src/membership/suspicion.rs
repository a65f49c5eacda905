//! What speaks against a backend whose answers are 5xx: its results against the rest of its pool's.

use std::time::Duration;

use super::Membership;
use crate::health::stands_out;
use crate::load::{Load, Recent};
use crate::time::Now;

/// How long the sum over all backends may be used again, for each backend in it. Reading one takes some 10 ns, so that
/// summing takes less than a hundredth of the time, however many suspicions come.
const SUM_AGE_PER_BACKEND: Duration = Duration::from_micros(1);

/// How long the results since a first suspicion are gathered before it is dropped: twice the window of
/// [`Load::recent`](crate::load::Load::recent).
const SUSPICION_AGE_MAX: Duration = Duration::from_secs(20);

/// What a backend, or all of a pool, has answered: of late, and ever.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    recent: Recent,
    results: u64,
    failures: u64,
}

impl Tally {
    fn of(load: &Load, now: Now) -> Self {
        let (results, failures) = load.totals();
        Tally {
            recent: load.recent(now),
            results,
            failures,
        }
    }

    fn add(&mut self, other: Tally) {
        self.recent = self.recent.plus(other.recent);
        self.results += other.results;
        self.failures += other.failures;
    }

    /// What came since `earlier`.
    fn since(self, earlier: Tally) -> Recent {
        let short = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        Recent {
            results: short(self.results.saturating_sub(earlier.results)),
            failures: short(self.failures.saturating_sub(earlier.failures)),
        }
    }
}

/// What all backends of a pool had answered when they were last summed.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    at: Now,
    all: Tally,
}

/// A first row of 5xx that did not suffice, and how everything stood then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspicion {
    at: Now,
    own: Tally,
    all: Tally,
}

impl Membership {
    /// Whether the backend, after `row` answers of 5xx in a row, fails more often than the rest of its pool explains. The
    /// rest includes those that are ejected.
    ///
    /// Two spans are looked at: the recent windows, and the time since the last suspicion that did not suffice. A backend
    /// that breaks after it was well for long would look well on the whole for another ten seconds; since its first row
    /// it has done nothing but fail, while the others went on.
    pub(super) fn is_outlier(&mut self, at: usize, row: u32, now: Now) -> bool {
        let all = self.tally(now);
        let backends = self.standings.len();
        let standing = &mut self.standings[at];
        let own = standing.tally;
        let mut recent = own.recent;
        // A row that took longer than the windows remember is evidence all the same.
        if recent.results < row {
            recent = Recent {
                results: row,
                failures: row,
            };
        }
        if stands_out(recent, all.recent.less(own.recent), backends) {
            return true;
        }
        let fresh = Suspicion { at: now, own, all };
        let first = standing.suspicion.get_or_insert(fresh);
        let gathered = own.since(first.own);
        if stands_out(gathered, all.since(first.all).less(gathered), backends) {
            return true;
        }
        // Too old, or it did well in between: what comes now is another matter.
        if now.since(first.at) > SUSPICION_AGE_MAX || gathered.failures.saturating_mul(2) < gathered.results {
            *first = fresh;
        }
        false
    }

    /// What all have answered, summed now or a moment ago, when each one's own tally was taken too.
    fn tally(&mut self, now: Now) -> Tally {
        let backends = u32::try_from(self.standings.len()).unwrap_or(u32::MAX);
        let age_max = SUM_AGE_PER_BACKEND.saturating_mul(backends);
        if let Some(sum) = self.sum.filter(|sum| now.since(sum.at) < age_max) {
            return sum.all;
        }
        let mut all = Tally::default();
        for standing in &mut self.standings {
            standing.tally = Tally::of(&standing.spec.backend.load, now);
            all.add(standing.tally);
        }
        self.sum = Some(Sum { at: now, all });
        all
    }

    /// Drops what was gathered, when the pool is another one than it was gathered in.
    pub(super) fn drop_suspicions(&mut self) {
        self.sum = None;
        for standing in &mut self.standings {
            standing.suspicion = None;
        }
    }
}
