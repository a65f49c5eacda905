//! What a backend carries and how it answered: relaxed atomics that workers write, pickers and control read.
//!
//! Races between two workers may lose a sample of an estimate, never a count of what is in flight.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::time::Duration;

use crate::time::Now;

/// Time over which a latency sample loses its weight (linkerd's and Finagle's peak EWMA default).
pub const LATENCY_DECAY: Duration = Duration::from_secs(10);

/// Time over which a failure stops counting as work in hand (see [`Load::debt`]).
pub const DEBT_DECAY: Duration = Duration::from_secs(5);

/// The most failures that count at once, so that a burst of errors cannot keep a backend idle for minutes.
const DEBT_MAX: f32 = 256.0;

/// Width of one window of recent results; the last two are kept.
pub const WINDOW: Duration = Duration::from_secs(10);

/// The load of one backend. It fills two cache lines of its own, so that neighbours do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Load {
    in_flight: AtomicU32,
    connections: AtomicU32,
    consecutive_failures: AtomicU32,
    consecutive_5xx: AtomicU32,
    /// Milliseconds as f32 in the high half, time of the sample in milliseconds in the low half; 0 is "none yet".
    latency: AtomicU64,
    /// Like `latency`: a decaying number of failures.
    debt: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    /// Answers whose time was taken, and the sum of its logarithms (see [`Totals`]).
    timed: AtomicU64,
    logs: AtomicU64,
    window: [Window; 2],
}

#[derive(Debug, Default)]
struct Window {
    epoch: AtomicU32,
    results: AtomicU32,
    failures: AtomicU32,
}

/// How the backends' results looked over the last one to two [`WINDOW`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Finished requests.
    pub results: u32,
    /// Those that failed: no answer, or a 5xx.
    pub failures: u32,
}

impl Recent {
    /// These and `other`.
    pub(crate) fn plus(self, other: Recent) -> Recent {
        Recent {
            results: self.results.saturating_add(other.results),
            failures: self.failures.saturating_add(other.failures),
        }
    }

    /// These without `other`, which are among them.
    pub(crate) fn less(self, other: Recent) -> Recent {
        Recent {
            results: self.results.saturating_sub(other.results),
            failures: self.failures.saturating_sub(other.failures),
        }
    }
}

/// Everything that a backend answered, since the start or in a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Finished requests.
    pub results: u64,
    /// Those that failed.
    pub failures: u64,
    /// Answers whose time was taken ([`Load::observe_time`]).
    pub timed: u64,
    /// The sum of the binary logarithms of their microseconds, in units of a 1024th.
    pub logs: u64,
}

/// Units of [`Totals::logs`]: fine enough to tell times apart by less than a thousandth.
const LOG_UNIT: f32 = 1024.0;

impl Totals {
    /// What came after `earlier`.
    pub fn since(self, earlier: Totals) -> Totals {
        Totals {
            results: self.results.saturating_sub(earlier.results),
            failures: self.failures.saturating_sub(earlier.failures),
            timed: self.timed.saturating_sub(earlier.timed),
            logs: self.logs.saturating_sub(earlier.logs),
        }
    }

    /// Results and failures.
    pub fn results(self) -> Recent {
        let short = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        Recent {
            results: short(self.results),
            failures: short(self.failures),
        }
    }

    /// The binary logarithm of what an answer typically took, in microseconds: their geometric mean.
    pub fn typical_log2(self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "sums of one interval are far below 2^52")]
        let mean = || self.logs as f64 / self.timed as f64 / f64::from(LOG_UNIT);
        (self.timed > 0).then(mean)
    }
}

/// What one finished request or connection says about its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It answered.
    Success,
    /// It answered with a status of 500 or above.
    ServerError,
    /// It did not answer as a working backend does: refused, reset, timed out, or spoke nonsense.
    Failure,
}

pub(crate) fn pack(value: f32, at: Now) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the clock wraps after 49 days and ages are taken modulo that"
    )]
    let millis = at.millis() as u32;
    (u64::from(value.to_bits()) << 32) | u64::from(millis)
}

/// The packed value and its age.
pub(crate) fn unpack(packed: u64, now: Now) -> (f32, Duration) {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the word")]
    let (bits, then) = ((packed >> 32) as u32, packed as u32);
    #[expect(clippy::cast_possible_truncation, reason = "as in `pack`")]
    let age = (now.millis() as u32).wrapping_sub(then);
    // A clock that two workers read apart can seem to run backwards by a moment.
    let age = if age > u32::MAX / 2 { 0 } else { age };
    (f32::from_bits(bits), Duration::from_millis(u64::from(age)))
}

pub(crate) fn decayed(value: f32, age: Duration, over: Duration) -> f32 {
    if age.is_zero() {
        value
    } else {
        value * (-age.as_secs_f32() / over.as_secs_f32()).exp()
    }
}

impl Load {
    /// Requests (layer 7) or connections (layer 4) under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Counts one more in flight, unless that would pass `max`. What is refused is never counted, not even for a moment:
    /// somebody who was called to the last place would be refused for it.
    pub fn enter(&self, max: u32) -> bool {
        // The order is that of the pool's queue: see there.
        let one_more = |count: u32| (count < max).then(|| count + 1);
        self.in_flight.fetch_update(SeqCst, SeqCst, one_more).is_ok()
    }

    /// Ends what [`enter`](Self::enter) began.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, SeqCst);
    }

    /// Open connections to it, busy and idle, of all workers.
    pub fn connections(&self) -> u32 {
        self.connections.load(Relaxed)
    }

    /// Counts one more connection, unless that would pass `max`.
    pub fn connect(&self, max: u32) -> bool {
        if self.connections.fetch_add(1, Relaxed) < max {
            return true;
        }
        self.connections.fetch_sub(1, Relaxed);
        false
    }

    /// Ends what [`connect`](Self::connect) began.
    pub fn disconnect(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    /// Requests finished since the start, and how many of them were errors.
    pub fn totals(&self) -> (u64, u64) {
        (self.requests.load(Relaxed), self.errors.load(Relaxed))
    }

    /// Everything since the start.
    pub fn sums(&self) -> Totals {
        let (results, failures) = self.totals();
        Totals {
            results,
            failures,
            timed: self.timed.load(Relaxed),
            logs: self.logs.load(Relaxed),
        }
    }

    /// Failures in a row, and 5xx answers in a row.
    pub fn consecutive(&self) -> (u32, u32) {
        (
            self.consecutive_failures.load(Relaxed),
            self.consecutive_5xx.load(Relaxed),
        )
    }

    /// Forgets the rows of failures, when what they led to has been decided.
    pub fn forgive(&self) {
        self.consecutive_failures.store(0, Relaxed);
        self.consecutive_5xx.store(0, Relaxed);
    }

    /// The latency estimate in milliseconds: a peak-sensitive moving average over [`LATENCY_DECAY`]. `None` before
    /// the first answer.
    pub fn latency_ms(&self) -> Option<f32> {
        let packed = self.latency.load(Relaxed);
        (packed != 0).then(|| unpack(packed, Now::START).0)
    }

    /// [`latency_ms`](Self::latency_ms), fading towards 0 while no answer comes: a policy that avoids the slow would
    /// otherwise never learn that one of them is fast again (Finagle's `PeakEwma` fades on reading, too).
    pub fn latency_ms_at(&self, now: Now) -> Option<f32> {
        let packed = self.latency.load(Relaxed);
        (packed != 0).then(|| {
            let (estimate, age) = unpack(packed, now);
            decayed(estimate, age, LATENCY_DECAY)
        })
    }

    /// Failures of late, each counted as one request in hand that fades over [`DEBT_DECAY`]: a backend that fails
    /// fast looks idle, and without this the emptiest backend would be the broken one.
    pub fn debt(&self, now: Now) -> f32 {
        let packed = self.debt.load(Relaxed);
        if packed == 0 {
            return 0.0;
        }
        let (value, age) = unpack(packed, now);
        decayed(value, age, DEBT_DECAY)
    }

    /// The load that load-aware policies compare: what is in flight plus the failures of late.
    pub fn pressure(&self, now: Now) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 16 million in flight")]
        let in_flight = self.in_flight() as f32;
        in_flight + self.debt(now)
    }

    /// Results over the last one to two windows.
    pub fn recent(&self, now: Now) -> Recent {
        let epoch = epoch(now);
        let mut sum = Recent::default();
        for window in &self.window {
            if epoch.wrapping_sub(window.epoch.load(Relaxed)) <= 1 {
                sum.results += window.results.load(Relaxed);
                sum.failures += window.failures.load(Relaxed);
            }
        }
        sum
    }

    /// Records a finished request. `latency` is the time to the head of the answer; of a failure it is the time until
    /// it failed, and `slow_tail` the least that it shall count as.
    pub fn record(&self, sign: Sign, latency: Duration, slow_tail: Duration, now: Now) {
        self.requests.fetch_add(1, Relaxed);
        let failed = sign != Sign::Success;
        self.observe_latency(if failed { latency.max(slow_tail) } else { latency }, now);
        self.observe_window(failed, now);
        match sign {
            Sign::Success => {
                // Loads are cheap, stores dirty the line for the other workers.
                if self.consecutive_failures.load(Relaxed) != 0 || self.consecutive_5xx.load(Relaxed) != 0 {
                    self.forgive();
                }
            }
            Sign::ServerError => {
                self.consecutive_failures.store(0, Relaxed);
                self.consecutive_5xx.fetch_add(1, Relaxed);
            }
            Sign::Failure => {
                self.consecutive_failures.fetch_add(1, Relaxed);
            }
        }
        if failed {
            self.errors.fetch_add(1, Relaxed);
            let debt = (self.debt(now) + 1.0).min(DEBT_MAX);
            self.debt.store(pack(debt, now), Relaxed);
        }
    }

    /// Takes in what an answer took, for pools whose backends are compared by latency.
    pub fn observe_time(&self, took: Duration) {
        let log = (took.as_secs_f32() * 1e6).max(1.0).log2();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the logarithm of a number of at least 1, and below 128"
        )]
        let units = (log * LOG_UNIT) as u64;
        self.timed.fetch_add(1, Relaxed);
        self.logs.fetch_add(units, Relaxed);
    }

    /// Takes in that an answer would have taken longer than `latency`: of a request that was cancelled for that.
    pub fn outlasted(&self, latency: Duration, now: Now) {
        self.observe_latency(latency, now);
    }

    /// Peak EWMA: a sample above the estimate replaces it, one below it pulls it down by its age. Finagle's
    /// `PeakEwma`, Eureka 2014.
    fn observe_latency(&self, sample: Duration, now: Now) {
        // Never zero, which means "none yet".
        let sample = (sample.as_secs_f32() * 1e3).max(1e-3);
        let packed = self.latency.load(Relaxed);
        let estimate = if packed == 0 {
            sample
        } else {
            let (estimate, age) = unpack(packed, now);
            if sample >= estimate {
                sample
            } else {
                // Samples in the same millisecond still count, as if a tenth of one lay between them.
                let weight = (-age.as_secs_f32().max(1e-4) / LATENCY_DECAY.as_secs_f32()).exp();
                estimate * weight + sample * (1.0 - weight)
            }
        };
        self.latency.store(pack(estimate, now), Relaxed);
    }

    fn observe_window(&self, failed: bool, now: Now) {
        let epoch = epoch(now);
        let window = &self.window[(epoch & 1) as usize];
        if window.epoch.swap(epoch, Relaxed) != epoch {
            window.results.store(0, Relaxed);
            window.failures.store(0, Relaxed);
        }
        window.results.fetch_add(1, Relaxed);
        if failed {
            window.failures.fetch_add(1, Relaxed);
        }
    }
}

/// Windows are numbered from 2, so that a window that was never written (0) is never recent.
fn epoch(now: Now) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "2^32 windows are 1,361 years")]
    let windows = (now.nanos() / (WINDOW.as_nanos() as u64)) as u32;
    windows.wrapping_add(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Now {
        Now::from_millis(millis)
    }

    #[test]
    fn in_flight_stops_at_its_limit() {
        let load = Load::default();
        assert!(load.enter(2) && load.enter(2) && !load.enter(2));
        load.leave();
        assert!(load.enter(2));
        assert_eq!(load.in_flight(), 2);
    }

    #[test]
    fn a_slow_answer_counts_at_once_and_fades_slowly() {
        let load = Load::default();
        load.record(Sign::Success, Duration::from_millis(10), TAIL, at(0));
        load.record(Sign::Success, Duration::from_millis(500), TAIL, at(1_000));
        assert_eq!(load.latency_ms(), Some(500.0));
        load.record(Sign::Success, Duration::from_millis(10), TAIL, at(11_000));
        let estimate = load.latency_ms().unwrap();
        assert!(
            (180.0..200.0).contains(&estimate),
            "1/e of the way is left after the decay time: {estimate}"
        );
    }

    #[test]
    fn an_estimate_fades_while_nobody_asks() {
        let load = Load::default();
        assert_eq!(load.latency_ms_at(at(0)), None);
        load.record(Sign::Success, Duration::from_millis(500), TAIL, at(0));
        assert_eq!(load.latency_ms_at(at(0)), Some(500.0));
        let faded = load.latency_ms_at(at(10_000)).unwrap();
        assert!((183.0..185.0).contains(&faded), "500 / e: {faded}");
        assert_eq!(load.latency_ms(), Some(500.0));
    }

    #[test]
    fn a_fast_failure_is_as_slow_as_the_tail_and_weighs_like_work() {
        let load = Load::default();
        load.record(Sign::Failure, Duration::from_micros(50), TAIL, at(0));
        assert_eq!(load.latency_ms(), Some(100.0));
        assert!((load.pressure(at(0)) - 1.0).abs() < 1e-6);
        assert!(load.pressure(at(5_000)) < 0.4, "fades over its decay time");
    }

    #[test]
    fn rows_of_failures_end_with_a_success() {
        let load = Load::default();
        load.record(Sign::ServerError, TAIL, TAIL, at(0));
        load.record(Sign::ServerError, TAIL, TAIL, at(0));
        assert_eq!(load.consecutive(), (0, 2));
        load.record(Sign::Success, TAIL, TAIL, at(0));
        assert_eq!(load.consecutive(), (0, 0));
    }

    #[test]
    fn what_is_typical_is_the_geometric_mean() {
        let load = Load::default();
        assert_eq!(load.sums().typical_log2(), None);
        load.observe_time(Duration::from_millis(1));
        let before = load.sums();
        load.observe_time(Duration::from_millis(1));
        load.observe_time(Duration::from_millis(100));
        load.observe_time(Duration::ZERO);
        let typical = load.sums().since(before).typical_log2().unwrap().exp2();
        assert!(
            (460.0..=466.0).contains(&typical),
            "the cube root of 1000 * 100,000 * 1: {typical}"
        );
    }

    #[test]
    fn results_are_remembered_for_two_windows() {
        let load = Load::default();
        assert_eq!(load.recent(at(0)), Recent::default());
        load.record(Sign::Failure, TAIL, TAIL, at(0));
        load.record(Sign::Success, TAIL, TAIL, at(12_000));
        assert_eq!(
            load.recent(at(12_000)),
            Recent {
                results: 2,
                failures: 1
            }
        );
        assert_eq!(
            load.recent(at(25_000)),
            Recent {
                results: 1,
                failures: 0
            }
        );
        assert_eq!(load.recent(at(60_000)), Recent::default());
    }
}
