//! Comparing the backends with each other, every so often, by what they answered since the last time.

use super::Membership;
use super::spec::Transition;
use crate::health::{Offence, Outlier, slow, unsuccessful};
use crate::load::Totals;
use crate::rng::Rng;
use crate::time::Now;

impl Membership {
    /// Begins an interval, where backends are to be compared.
    pub(super) fn begin_comparison(&mut self, now: Now) {
        let compares = self.rules.outlier.as_ref().filter(|outlier| outlier.compares());
        self.compare_at = compares.map(|outlier| now + outlier.interval);
        if self.compare_at.is_some() {
            for standing in &mut self.standings {
                standing.counted = standing.spec.backend.load.sums();
            }
        }
    }

    /// Ejects those who stand out, once the interval is over, and begins the next.
    ///
    /// Only those are compared who could take work all the time: what an ejected or draining backend still answers says
    /// nothing about what is normal. They are judged by the interval as it was, the worst first, until the pool cannot
    /// spare another one.
    pub(super) fn compare(&mut self, now: Now, rng: &mut Rng, out: &mut Vec<Transition>) {
        if self.compare_at.is_none_or(|at| at > now) {
            return;
        }
        if let Some(rules) = self.rules.outlier.clone() {
            for (at, offence) in self.offenders(&rules) {
                if self.standings[at].may_be_ejected() {
                    self.eject(at, offence, now, rng, out);
                }
            }
        }
        self.begin_comparison(now);
    }

    fn offenders(&self, rules: &Outlier) -> Vec<(usize, Offence)> {
        let counts: Vec<Totals> = (self.standings.iter())
            .map(|standing| {
                if standing.in_rotation() && standing.may_be_ejected() {
                    standing.spec.backend.load.sums().since(standing.counted)
                } else {
                    Totals::default()
                }
            })
            .collect();
        let mut offenders = Vec::new();
        if let Some(rules) = &rules.success_rate {
            offenders.extend(unsuccessful(&counts, rules));
        }
        if let Some(rules) = &rules.latency {
            offenders.extend(slow(&counts, rules));
        }
        offenders
    }
}
