//! How long a pool's backends took to begin their answers of late: a histogram of a fixed size, of which any quantile can
//! be told.
//!
//! It counts over two spans of [`WINDOW`] and forgets them one after the other, so that what it tells is never older than
//! twice that. Its buckets are log-linear, as those of HdrHistogram (Gil Tene): each doubling has eight of one width, so
//! that a quantile is told at most an eighth too long, and never too short.

use std::array;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::time::Now;

/// Width of one span; the last two are looked at.
pub const WINDOW: Duration = Duration::from_secs(10);

/// The fewest answers that a quantile is told of: of a hundred the five slowest are beyond the 95th percentile.
pub const SAMPLES_MIN: u32 = 100;

/// Buckets of a doubling, as a power of two.
const PARTS_LOG: u32 = 3;
/// The shortest and the longest latency that are told apart, as powers of two of a microsecond: 64 µs and 67 s.
const SHORT_LOG: u32 = 6;
const LONG_LOG: u32 = 26;
const BUCKETS: usize = ((LONG_LOG - SHORT_LOG) as usize) << PARTS_LOG;

/// The latencies of a pool. A worker that counts while another clears may lose a count.
#[derive(Debug, Default)]
pub struct Latencies {
    spans: [Span; 2],
}

#[derive(Debug)]
struct Span {
    number: AtomicU32,
    counts: [AtomicU32; BUCKETS],
}

impl Default for Span {
    fn default() -> Self {
        Span {
            number: AtomicU32::new(0),
            counts: array::from_fn(|_| AtomicU32::new(0)),
        }
    }
}

impl Latencies {
    /// Takes in one answer.
    pub fn observe(&self, latency: Duration, now: Now) {
        let number = number(now);
        let span = &self.spans[(number & 1) as usize];
        if span.number.load(Relaxed) != number && span.number.swap(number, Relaxed) != number {
            span.counts.iter().for_each(|count| count.store(0, Relaxed));
        }
        span.counts[bucket(latency)].fetch_add(1, Relaxed);
    }

    /// What `percent` of the answers of late did not take longer than; `None` when there were too few to tell.
    pub fn quantile(&self, percent: u32, now: Now) -> Option<Duration> {
        let number = number(now);
        let recent = |span: &&Span| number.wrapping_sub(span.number.load(Relaxed)) <= 1;
        let spans = || self.spans.iter().filter(recent);
        let count = |at: usize| {
            spans()
                .map(|span| u64::from(span.counts[at].load(Relaxed)))
                .sum::<u64>()
        };
        let total: u64 = (0..BUCKETS).map(count).sum();
        if total < u64::from(SAMPLES_MIN) {
            return None;
        }
        let rank = (total * u64::from(percent)).div_ceil(100);
        let mut below = 0;
        let found = (0..BUCKETS).find(|at| {
            below += count(*at);
            below >= rank
        });
        Some(end(found.unwrap_or(BUCKETS - 1)))
    }
}

/// Spans are numbered from 2, so that one that was never written (0) is never recent.
fn number(now: Now) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "2^32 spans are 1,361 years")]
    let spans = (now.nanos() / WINDOW.as_nanos() as u64) as u32;
    spans.wrapping_add(2)
}

fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let micros = micros.clamp(1 << SHORT_LOG, (1 << LONG_LOG) - 1);
    let doubling = micros.ilog2();
    let part = (micros >> (doubling - PARTS_LOG)) as usize & ((1 << PARTS_LOG) - 1);
    ((doubling - SHORT_LOG) as usize) << PARTS_LOG | part
}

/// Where a bucket ends.
fn end(bucket: usize) -> Duration {
    let (doubling, part) = (bucket >> PARTS_LOG, bucket & ((1 << PARTS_LOG) - 1));
    let parts = (1u64 << PARTS_LOG) + part as u64 + 1;
    Duration::from_micros(parts << (doubling as u32 + SHORT_LOG - PARTS_LOG))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn micros(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    proptest! {
        #[test]
        fn a_latency_is_told_at_most_an_eighth_too_long(latency in 64u64..1 << 26) {
            let told = end(bucket(micros(latency)));
            prop_assert!(told > micros(latency) && told <= micros(latency + latency / 8 + 1), "{latency}: {told:?}");
        }
    }

    #[test]
    fn what_is_shorter_or_longer_than_can_be_told_counts_as_the_last() {
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_last_spans() {
        let (latencies, at) = (Latencies::default(), Now::from_millis);
        for count in 1..=1_000u64 {
            // 1 ms to 1 s, mixed.
            latencies.observe(micros(count * 7_919 % 1_000 * 1_000 + 1_000), at(count));
        }
        for (percent, millis) in [(50, 500), (95, 950), (99, 990)] {
            let told = latencies.quantile(percent, at(1_000)).unwrap().as_millis();
            assert!((millis..=millis * 9 / 8).contains(&told), "p{percent}: {told}");
        }
        // Ten seconds later it is all still there, and another ten later none of it is.
        assert!(latencies.quantile(95, at(19_999)).is_some());
        assert_eq!(latencies.quantile(95, at(20_000)), None);
        for count in 0..1_000 {
            latencies.observe(micros(100), at(20_000 + count));
        }
        assert!(latencies.quantile(99, at(21_000)).unwrap() <= micros(113));
    }

    #[test]
    fn of_a_few_answers_nothing_is_told() {
        let (latencies, now) = (Latencies::default(), Now::from_millis(1));
        for _ in 1..SAMPLES_MIN {
            latencies.observe(micros(100), now);
            assert_eq!(latencies.quantile(95, now), None);
        }
        latencies.observe(micros(100), now);
        assert!(latencies.quantile(95, now).is_some());
    }
}
