//! Comparing the backends of a pool over an interval: whose success rate is low, or whose latency high, beside the rest.
//!
//! Both follow Envoy's rule for success rates: of at least 5 backends that had at least 100 requests each, those are
//! taken out that lie more than 1.9 standard deviations from the mean, on the bad side. The numbers hang together: of n
//! values none lies more than √(n − 1) standard deviations (of the population) from their mean, and one does just that
//! when the others are alike. That is 1.73 for four backends, who could not convict anybody, and 2 for five. k backends
//! that are equally bad lie √((n − k) / k) away, so that two of them are found among ten, not among nine.
//!
//! The rule alone finds somebody in any pool of some size: 3 % of a bell curve lie beyond 1.9 deviations, however narrow
//! it is. So the difference has to matter as well ([`SHORTFALL_MIN`], [`Latency::factor`], [`SLOWER_MIN`]), and for
//! success rates it must be more than chance explains ([`beyond_chance`]).

use std::time::Duration;

use super::Offence;
use super::evidence::beyond_chance;
use crate::load::{Recent, Totals};

/// The least by which a success rate has to be lower than the others': the work of a backend that fails one request in a
/// hundred is not worth laying on the others.
const SHORTFALL_MIN: f64 = 0.01;

/// The least by which a latency has to be higher than the others'. A backend in the next zone takes ten times as long as
/// one in the same rack, and nobody notices.
const SLOWER_MIN: Duration = Duration::from_millis(10);

/// Who is compared by success rate, and who stands out.
#[derive(Clone, Debug, PartialEq)]
pub struct SuccessRate {
    /// Backends that have to be comparable; fewer are never judged, nor is one alone.
    pub min_backends: u32,
    /// Requests in the interval that make a backend comparable.
    pub min_requests: u32,
    /// Standard deviations below the mean of all.
    pub deviations: f64,
}

/// Who is compared by latency, and who stands out.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// Backends that have to be comparable; fewer are never judged, nor is one alone.
    pub min_backends: u32,
    /// Answers in the interval that make a backend comparable.
    pub min_requests: u32,
    /// Standard deviations above the mean of all, by the logarithm of what each typically takes.
    pub deviations: f64,
    /// How many times as long as the others it has to take.
    pub factor: f64,
}

impl Default for SuccessRate {
    fn default() -> Self {
        SuccessRate {
            min_backends: 5,
            min_requests: 100,
            deviations: 1.9,
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Latency {
            min_backends: 5,
            min_requests: 100,
            deviations: 1.9,
            factor: 3.0,
        }
    }
}

/// The positions of those whose success rate stands out, the worst first, and what speaks against each. `counts` is what
/// each backend answered in the interval.
pub fn unsuccessful(counts: &[Totals], rules: &SuccessRate) -> Vec<(usize, Offence)> {
    let comparable: Vec<(usize, Recent)> = (counts.iter().enumerate())
        .map(|(at, counts)| (at, counts.results()))
        .filter(|(_, recent)| recent.results >= rules.min_requests.max(1))
        .collect();
    if comparable.len() < (rules.min_backends.max(2) as usize) {
        return Vec::new();
    }
    let rate = |recent: Recent| 1.0 - f64::from(recent.failures) / f64::from(recent.results);
    let rates: Vec<f64> = comparable.iter().map(|(_, recent)| rate(*recent)).collect();
    let crowd = Crowd::of(&rates);
    let mut all = Recent::default();
    for (_, recent) in &comparable {
        all = all.plus(*recent);
    }
    let mut found: Vec<(f64, usize, Offence)> = Vec::new();
    for ((at, recent), own) in comparable.iter().zip(&rates) {
        let others = crowd.without(*own);
        let rest = all.less(*recent);
        if *own < crowd.mean - rules.deviations * crowd.deviation
            && others - own >= SHORTFALL_MIN
            && beyond_chance(*recent, rest, comparable.len())
        {
            let offence = Offence::SuccessRate {
                own_permille: permille(*own),
                others_permille: permille(others),
            };
            found.push((*own, *at, offence));
        }
    }
    found.sort_by(|one, other| one.0.total_cmp(&other.0));
    found.into_iter().map(|(_, at, offence)| (at, offence)).collect()
}

/// The positions of those whose latency stands out, the slowest first, and what speaks against each.
///
/// What a backend typically takes is the geometric mean of its answers: one answer of a minute among a hundred of a
/// millisecond makes it 1.1 ms, where the mean would be 600 ms. For the same reason the deviations are those of the
/// logarithms. Latencies that vary as wildly as a log-normal of σ = 2 (every twentieth answer takes 27 times the median)
/// give a geometric mean of 100 that is off by a factor of e^(2/√100) = 1.2; a factor of 3 is 5 deviations of that.
pub fn slow(counts: &[Totals], rules: &Latency) -> Vec<(usize, Offence)> {
    let comparable: Vec<(usize, f64)> = (counts.iter().enumerate())
        .filter(|(_, counts)| counts.timed >= u64::from(rules.min_requests.max(1)))
        .filter_map(|(at, counts)| Some((at, counts.typical_log2()?)))
        .collect();
    if comparable.len() < (rules.min_backends.max(2) as usize) {
        return Vec::new();
    }
    let logs: Vec<f64> = comparable.iter().map(|(_, log)| *log).collect();
    let crowd = Crowd::of(&logs);
    let mut found: Vec<(f64, usize, Offence)> = Vec::new();
    for (at, own) in comparable {
        let others = crowd.without(own);
        let (own_time, others_time) = (time(own), time(others));
        if own > crowd.mean + rules.deviations * crowd.deviation
            && own - others >= rules.factor.log2()
            && own_time.saturating_sub(others_time) >= SLOWER_MIN
        {
            let offence = Offence::Latency {
                own: own_time,
                others: others_time,
            };
            found.push((own, at, offence));
        }
    }
    found.sort_by(|one, other| other.0.total_cmp(&one.0));
    found.into_iter().map(|(_, at, offence)| (at, offence)).collect()
}

/// The mean of at least two values, and their standard deviation as a population.
struct Crowd {
    count: f64,
    mean: f64,
    deviation: f64,
}

impl Crowd {
    fn of(values: &[f64]) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 backends")]
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        Crowd {
            count,
            mean,
            deviation: variance.sqrt(),
        }
    }

    /// The mean of the others.
    fn without(&self, own: f64) -> f64 {
        (self.mean * self.count - own) / (self.count - 1.0)
    }
}

/// A logarithm of microseconds as a time.
fn time(log2: f64) -> Duration {
    Duration::from_secs_f64(log2.clamp(0.0, 60.0).exp2() / 1e6)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 1000"
)]
fn permille(rate: f64) -> u16 {
    (rate.clamp(0.0, 1.0) * 1_000.0).round() as u16
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
