//! What the clients felt: latencies and errors, under each policy and of late.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::scene::BACKENDS;

/// How far back "of late" goes.
pub(super) const RECENT: Duration = Duration::from_secs(2);

/// Requests of one policy that are kept for its row; a round has a tenth of it.
const SAMPLES_MAX: usize = 100_000;

/// How one request went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// When it ended.
    pub(super) at: Instant,
    /// From when it should have been sent to the end of its answer.
    pub(super) latency: Duration,
    /// Which of [`BACKENDS`] answered; `None` is an error.
    pub(super) backend: Option<usize>,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rows: Vec<Samples>,
    recent: VecDeque<Sample>,
}

/// Requests that are looked at together.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    latencies: Vec<Duration>,
    by_backend: [Vec<Duration>; BACKENDS.len()],
    /// Requests that were not answered, or not with 200.
    pub(super) errors: usize,
}

impl Tally {
    /// A tally with a row for each of `rows` policies.
    pub(super) fn new(rows: usize) -> Self {
        Tally {
            rows: vec![Samples::default(); rows],
            recent: VecDeque::new(),
        }
    }

    /// Takes in a request that was sent under the policy of `row`; `None` when it belongs to no row.
    pub(super) fn record(&mut self, row: Option<usize>, sample: Sample) {
        if let Some(row) = row.and_then(|row| self.rows.get_mut(row)) {
            row.add(sample);
        }
        self.recent.push_back(sample);
        while self.recent.front().is_some_and(|oldest| sample.at - oldest.at > RECENT) {
            self.recent.pop_front();
        }
    }

    /// Begins the row anew.
    pub(super) fn clear(&mut self, row: usize) {
        self.rows[row] = Samples::default();
    }

    /// The rows, in the order of the policies.
    pub(super) fn rows(&self) -> &[Samples] {
        &self.rows
    }

    /// What ended in the last [`RECENT`].
    pub(super) fn recent(&self, now: Instant) -> Samples {
        let mut samples = Samples::default();
        let fresh = self.recent.iter().filter(|sample| now - sample.at <= RECENT);
        fresh.for_each(|sample| samples.add(*sample));
        samples
    }
}

impl Samples {
    fn add(&mut self, sample: Sample) {
        if self.latencies.len() + self.errors >= SAMPLES_MAX {
            return;
        }
        let Some(backend) = sample.backend else {
            self.errors += 1;
            return;
        };
        self.latencies.push(sample.latency);
        self.by_backend[backend].push(sample.latency);
    }

    /// How many there are, errors among them.
    pub(super) fn count(&self) -> usize {
        self.latencies.len() + self.errors
    }

    /// The latency that `percent` of the answers do not exceed.
    pub(super) fn percentile(&self, percent: f64) -> Option<Duration> {
        percentile(&self.latencies, percent)
    }

    /// The share of all answers that came from `backend`, in percent.
    pub(super) fn share_percent(&self, backend: usize) -> f64 {
        100.0 * self.by_backend[backend].len() as f64 / self.latencies.len().max(1) as f64
    }

    /// The latency of half of the answers of `backend`.
    pub(super) fn median_of(&self, backend: usize) -> Option<Duration> {
        percentile(&self.by_backend[backend], 50.0)
    }
}

/// The nearest-rank percentile: the smallest value that `percent` of them do not exceed.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank is not negative and at most the length"
)]
fn percentile(latencies: &[Duration], percent: f64) -> Option<Duration> {
    let rank = (latencies.len() as f64 * percent / 100.0).ceil() as usize;
    let at = rank.max(1).min(latencies.len()).checked_sub(1)?;
    let mut sorted = latencies.to_vec();
    Some(*sorted.select_nth_unstable(at).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(values: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        values.into_iter().map(Duration::from_millis).collect()
    }

    fn sample(at: Instant, ms: u64, backend: Option<usize>) -> Sample {
        Sample {
            at,
            latency: Duration::from_millis(ms),
            backend,
        }
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let hundred = millis((1..=100).rev());
        for (percent, ms) in [(50.0, 50), (99.0, 99), (100.0, 100), (0.0, 1), (98.1, 99)] {
            assert_eq!(percentile(&hundred, percent), Some(Duration::from_millis(ms)));
        }
        assert_eq!(percentile(&millis([7]), 99.0), Some(Duration::from_millis(7)));
        assert_eq!(percentile(&[], 99.0), None);
    }

    #[test]
    fn requests_count_for_the_policy_that_they_were_sent_under() {
        let now = Instant::now();
        let mut tally = Tally::new(2);
        tally.record(Some(0), sample(now, 10, Some(0)));
        tally.record(Some(1), sample(now, 20, Some(2)));
        tally.record(Some(1), sample(now, 30, None));
        tally.record(None, sample(now, 40, Some(1)));
        assert_eq!((tally.rows()[0].count(), tally.rows()[1].count()), (1, 2));
        assert_eq!(tally.rows()[1].errors, 1);
        assert_eq!(tally.rows()[1].share_percent(2), 100.0);
        assert_eq!(tally.recent(now).count(), 4);
        tally.clear(1);
        assert_eq!(tally.rows()[1].count(), 0);
    }

    #[test]
    fn what_is_long_ago_is_not_of_late() {
        let start = Instant::now();
        let later = start + RECENT + Duration::from_millis(1);
        let mut tally = Tally::new(0);
        tally.record(None, sample(start, 10, Some(0)));
        assert_eq!(tally.recent(later).count(), 0);
        tally.record(None, sample(later, 20, Some(0)));
        assert_eq!(tally.recent.len(), 1, "what is forgotten takes no room");
        assert_eq!(tally.recent(later).percentile(50.0), Some(Duration::from_millis(20)));
    }
}
