//! Who is ejected, and who is let back: the rules that concern the pool as a whole.

use super::Membership;
use super::spec::{Rules, Transition};
use crate::health::{Cause, Offence, State};
use crate::rng::Rng;
use crate::time::Now;

/// Those who would take work if they were healthy, and how many of them are healthy, and ejected.
#[derive(Default)]
struct Count {
    in_rotation: usize,
    healthy: usize,
    ejected: usize,
}

impl Membership {
    /// Decides whether a backend with a row of failures is ejected.
    pub(super) fn suspected(&mut self, at: usize, now: Now, rng: &mut Rng, out: &mut Vec<Transition>) {
        let Some(rules) = self.rules.outlier.clone().filter(|rules| rules.consecutive_errors > 0) else {
            return;
        };
        let backend = self.standings[at].spec.backend.clone();
        let (failures, server_errors) = backend.load.consecutive();
        // A success may have come between the suspicion and this look at it.
        if failures.max(server_errors) < rules.consecutive_errors {
            return;
        }
        // What the row led to is decided now; the next suspicion needs a row of its own.
        backend.load.forgive();
        if !self.standings[at].may_be_ejected() {
            return;
        }
        let offence = if failures >= rules.consecutive_errors {
            Offence::Failures(failures)
        } else if self.is_outlier(at, server_errors, now) {
            Offence::ServerErrors(server_errors)
        } else {
            return;
        };
        self.eject(at, offence, now, rng, out);
    }

    /// Ejects a backend, unless the pool cannot do without it.
    pub(super) fn eject(&mut self, at: usize, offence: Offence, now: Now, rng: &mut Rng, out: &mut Vec<Transition>) {
        let Some(rules) = self.rules.outlier.as_ref().filter(|_| self.can_spare(at)) else {
            return;
        };
        let standing = &mut self.standings[at];
        standing.suspicion = None;
        let totals = standing.spec.backend.load.totals();
        standing.ejection.begin(offence, totals, rules, now, rng);
        self.settle(at, Cause::Assumed, now, out);
    }

    /// Whether the pool can do without one more backend: another healthy one is left, and not too many are ejected.
    fn can_spare(&self, at: usize) -> bool {
        let Some(rules) = &self.rules.outlier else { return false };
        let count = self.count();
        let others =
            count.healthy - usize::from(self.standings[at].state == State::Healthy && self.standings[at].in_rotation());
        others > 0 && rules.allows(count.ejected + 1, count.in_rotation)
    }

    /// Lets ejected backends back before their time, the next first, while too many are out for what is left of the pool
    /// or nobody is healthy.
    pub(super) fn readmit(&mut self, now: Now, out: &mut Vec<Transition>) {
        let mut count = self.count();
        let allowed = |count: &Count, rules: &Rules| {
            let within = rules
                .outlier
                .as_ref()
                .is_none_or(|outlier| outlier.allows(count.ejected, count.in_rotation));
            count.ejected == 0 || (within && count.healthy > 0)
        };
        if allowed(&count, &self.rules) {
            return;
        }
        let mut ejected: Vec<usize> = (0..self.standings.len())
            .filter(|at| self.standings[*at].state == State::Ejected && self.standings[*at].in_rotation())
            .collect();
        ejected.sort_by_key(|at| self.standings[*at].ejection.until());
        for at in ejected {
            if allowed(&count, &self.rules) {
                break;
            }
            let standing = &mut self.standings[at];
            standing.ejection.end(standing.spec.backend.load.totals(), now);
            self.settle(at, Cause::Readmitted, now, out);
            count.ejected -= 1;
            count.healthy += usize::from(self.standings[at].state == State::Healthy);
        }
    }

    fn count(&self) -> Count {
        let mut count = Count::default();
        for standing in self.standings.iter().filter(|standing| standing.in_rotation()) {
            count.in_rotation += 1;
            count.healthy += usize::from(standing.state == State::Healthy);
            count.ejected += usize::from(standing.state == State::Ejected);
        }
        count
    }
}
