//! The load line: how much a backend may carry at once, learned from its latency.
//!
//! A gradient, after Netflix's concurrency limits (*Performance Under Load*, 2018) as Envoy's adaptive concurrency filter
//! has it: the line moves by the ratio of the latency under little load to the latency now, less what is tolerated, and
//! grows while that ratio is 1 and the line is reached. Where the load line differs is in where the first of the two
//! latencies, the baseline, comes from:
//!
//! - A minimum, or a slow average of all samples (Vegas, Gradient2), drifts: under a lasting overload it becomes the
//!   latency of the overload, and the line grows. It also never learns that the backend itself has become slower.
//! - Envoy measures at three requests in flight, which takes a busy backend out of service for as long as that lasts.
//! - Here it is measured at half of the line: by itself whenever the load is that low, and otherwise by a sounding, which
//!   halves the line for a few answers. A backend that is not faster at half the work is not overloaded by the whole, so a
//!   line that is too high comes down with every sounding, and no baseline can drift far above what is true.
//!
//! Samples are means over windows of answers, not single ones: requests differ in size, and the fastest says little.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, TryLockError};
use std::time::Duration;

use crate::time::Now;

/// Where a line begins: between Netflix's 20 and what a small backend survives.
const START: u32 = 16;

/// How much slower than the baseline answers may be: it covers the noise of two means, and is what the line stands above
/// the point where requests begin to wait in the backend.
const TOLERANCE: f64 = 1.25;

/// How much of a fall that the gradient asks for is made at once.
const SMOOTHING: f64 = 0.5;

/// The least gradient, as in Netflix's and Envoy's.
const GRADIENT_MIN: f64 = 0.5;

/// How much a line grows in a window until it has fallen for the first time.
const YOUNG_GROWTH: f64 = 0.25;

/// Answers of a window: of each that may be in flight two, so that a large line moves by good means, and no fewer than
/// these, so that a small one does. With exponential service times the mean of 50 is right within 14 %.
const WINDOW_MIN: u32 = 50;

/// Answers of a sounding, likewise; fewer, since the line is down meanwhile.
const SOUNDING_MIN: u32 = 32;

/// The least time between two soundings, in itself and in soundings: one costs half of the line while it lasts, and so one
/// part in eighty of what the backend does.
const SOUNDING_EVERY: (Duration, u32) = (Duration::from_secs(5), 40);

/// The same while the baseline moves, or nothing else explains what is seen.
const SOUNDING_AGAIN: (Duration, u32) = (Duration::from_millis(250), 10);

/// To what share of what it was at the last sounding a line may fall before another one asks whether that helps.
const FALLEN: f64 = 0.75;

/// How long a sounding may take, in itself and in answers' times: longer means that there is little to measure.
const SOUNDING_MAX: (Duration, u32) = (Duration::from_secs(1), 100);

/// The share of a window's requests that the backend may turn away before the line rises no more, one in ten. It does not
/// fall for them: they may have nothing to do with load, and would take it to the ground.
const TURNED_AWAY_SHARE: u32 = 10;

/// The load line of one backend.
#[derive(Debug)]
pub struct LoadLine {
    line: AtomicU32,
    learner: Mutex<Learner>,
}

/// Between what a load line may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// It never falls below this; at least 1.
    pub least: u32,
    /// It never rises above this.
    pub most: u32,
}

/// What one request that ended says.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How long the answer took to begin, or was waited for; `None` when the backend turned the request away.
    pub latency: Option<Duration>,
    /// How many were in flight, this one among them.
    pub in_flight: u32,
}

impl Default for LoadLine {
    fn default() -> Self {
        LoadLine {
            line: AtomicU32::new(START),
            learner: Mutex::default(),
        }
    }
}

impl LoadLine {
    /// How much the backend may carry now.
    pub fn get(&self, bounds: Bounds) -> u32 {
        self.line.load(Relaxed).clamp(bounds.least, bounds.most)
    }

    /// Learns from a request that has ended. True when there may be more work at once than before.
    pub fn learn(&self, sample: Sample, bounds: Bounds, now: Now) -> bool {
        // Two workers at once: the sample of one is lost.
        let mut learner = match self.learner.try_lock() {
            Ok(learner) => learner,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let before = self.line.load(Relaxed);
        let after = learner.observe(sample, bounds, now);
        if after != before {
            self.line.store(after, Relaxed);
        }
        after > before
    }
}

/// What is known of one backend.
#[derive(Debug)]
struct Learner {
    line: f64,
    /// Whether it has never fallen yet.
    young: bool,
    /// Seconds that an answer takes when no more than half of the line is in flight.
    baseline: Option<f64>,
    window: Window,
    sounding: Option<Sounding>,
    sounded: Sounded,
    next_sounding: Now,
}

/// The last measurement of a baseline.
#[derive(Debug)]
struct Sounded {
    at: Now,
    /// How long it took.
    took: Duration,
    /// What the line was then.
    line: f64,
}

/// Answers that are looked at together.
#[derive(Debug, Default)]
struct Window {
    answers: u32,
    seconds: f64,
    turned_away: u32,
    /// The most that were in flight, and the sum of what each found.
    peak: u32,
    in_flight: u64,
}

/// A time with half of the line.
#[derive(Debug)]
struct Sounding {
    line: u32,
    since: Now,
    /// Answers to be let pass once no more than that is in flight: twice as many as there are then. What began before has
    /// ended by that time, and the first to end of what began together are the short ones.
    passing: Option<u32>,
    answers: u32,
    seconds: f64,
}

impl Default for Learner {
    fn default() -> Self {
        Learner {
            line: f64::from(START),
            young: true,
            baseline: None,
            window: Window::default(),
            sounding: None,
            sounded: Sounded {
                at: Now::START,
                took: Duration::ZERO,
                line: f64::from(START),
            },
            next_sounding: Now::START,
        }
    }
}

impl Learner {
    /// Takes a sample in; what may be in flight from now on.
    fn observe(&mut self, sample: Sample, bounds: Bounds, now: Now) -> u32 {
        if self.sounding.is_some() {
            self.sounding_on(sample, now);
        } else {
            self.window.add(sample);
            if self.window.answers + self.window.turned_away >= WINDOW_MIN.max(2 * self.whole_line()) {
                let window = std::mem::take(&mut self.window);
                self.looked(&window, bounds, now);
            }
        }
        self.line = self.line.clamp(f64::from(bounds.least), f64::from(bounds.most));
        match &self.sounding {
            Some(sounding) => sounding.line.clamp(bounds.least, bounds.most),
            None => self.whole_line(),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to whole positive bounds"
    )]
    fn whole_line(&self) -> u32 {
        // Up: one place more matters to a small backend, and not to a large one.
        self.line.ceil() as u32
    }

    /// A window is full.
    fn looked(&mut self, window: &Window, bounds: Bounds, now: Now) {
        let line = self.whole_line();
        if window.answers == 0 {
            return;
        }
        let mean = window.seconds / f64::from(window.answers);
        if 2 * window.mean_in_flight() <= line || line <= bounds.least {
            // As little as a sounding would allow, or as little as may be. By its mean: windows with a low peak are those
            // with the short answers, too.
            self.measured(mean, Duration::ZERO, now);
        }
        let Some(baseline) = self.baseline else {
            return self.begin_sounding(bounds, now);
        };
        if window.peak < line {
            return;
        }
        let gradient = (TOLERANCE * baseline / mean).clamp(GRADIENT_MIN, 1.0);
        if gradient < 1.0 {
            self.fall(1.0 - SMOOTHING * (1.0 - gradient));
        } else if window.turned_away * TURNED_AWAY_SHARE <= window.answers {
            self.rise();
        }
        if mean < baseline / TOLERANCE {
            // Faster under load than it was without: that was another time.
            self.baseline = Some((baseline + mean) / 2.0);
        }
        if mean > 2.0 * baseline || self.line < self.sounded.line * FALLEN {
            // Too much work, a slower backend, or a baseline that was measured badly: only a sounding can tell.
            self.next_sounding = self.next_sounding.min(self.sounded.next(SOUNDING_AGAIN));
        }
        if now >= self.next_sounding {
            self.begin_sounding(bounds, now);
        }
    }

    fn fall(&mut self, to: f64) {
        self.line *= to;
        self.young = false;
    }

    fn rise(&mut self) {
        // Half of the square root is what the noise of a window of exponential service times is worth (see the tests).
        self.line += if self.young {
            (self.line * YOUNG_GROWTH).max(1.0)
        } else {
            (self.line.sqrt() / 2.0).max(1.0)
        };
    }

    fn begin_sounding(&mut self, bounds: Bounds, now: Now) {
        let line = (self.whole_line() / 2).max(bounds.least);
        self.window = Window::default();
        self.sounding = (line < self.whole_line()).then_some(Sounding {
            line,
            since: now,
            passing: None,
            answers: 0,
            seconds: 0.0,
        });
    }

    fn sounding_on(&mut self, sample: Sample, now: Now) {
        let Some(sounding) = &mut self.sounding else { return };
        match (&mut sounding.passing, sample.latency) {
            (None, _) if sample.in_flight <= sounding.line => sounding.passing = Some(2 * sounding.line),
            (Some(0), Some(latency)) => {
                sounding.answers += 1;
                sounding.seconds += latency.as_secs_f64();
            }
            (Some(passing), Some(_)) => *passing -= 1,
            _ => {}
        }
        let mean = sounding.seconds / f64::from(sounding.answers.max(1));
        let took = now.since(sounding.since);
        let patience = Duration::from_secs_f64(self.baseline.unwrap_or(mean).max(mean) * f64::from(SOUNDING_MAX.1));
        if sounding.answers >= SOUNDING_MIN.max(2 * sounding.line) {
            self.sounding = None;
            self.measured(mean, took, now);
        } else if took > SOUNDING_MAX.0.max(patience) {
            self.sounding = None;
            self.note_sounding(SOUNDING_AGAIN, took, now);
        }
    }

    /// The mean of answers that began with no more than half of the line in flight.
    fn measured(&mut self, mean: f64, took: Duration, now: Now) {
        let known = self
            .baseline
            .filter(|known| (known / TOLERANCE..=known * TOLERANCE).contains(&mean));
        self.baseline = Some(known.map_or(mean, |known| (known + mean) / 2.0));
        self.note_sounding(
            if known.is_some() {
                SOUNDING_EVERY
            } else {
                SOUNDING_AGAIN
            },
            took,
            now,
        );
    }

    fn note_sounding(&mut self, spacing: (Duration, u32), took: Duration, now: Now) {
        self.sounded = Sounded {
            at: now,
            took,
            line: self.line,
        };
        self.next_sounding = self.sounded.next(spacing);
    }
}

impl Sounded {
    /// When another one may follow.
    fn next(&self, (least, times): (Duration, u32)) -> Now {
        self.at + least.max(self.took * times)
    }
}

impl Window {
    fn mean_in_flight(&self) -> u32 {
        let all = u64::from(self.answers + self.turned_away).max(1);
        u32::try_from(self.in_flight / all).unwrap_or(u32::MAX)
    }

    fn add(&mut self, sample: Sample) {
        self.peak = self.peak.max(sample.in_flight);
        self.in_flight += u64::from(sample.in_flight);
        match sample.latency {
            Some(latency) => {
                self.answers += 1;
                self.seconds += latency.as_secs_f64();
            }
            None => self.turned_away += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Bounds = Bounds { least: 1, most: 1024 };

    /// So many answers of so many milliseconds with so many in flight, a millisecond apart; the line after them.
    fn answers(line: &LoadLine, now: &mut Now, count: u32, (millis, in_flight): (u64, u32), bounds: Bounds) -> u32 {
        for _ in 0..count {
            *now = *now + Duration::from_millis(1);
            let sample = Sample {
                latency: Some(Duration::from_millis(millis)),
                in_flight,
            };
            line.learn(sample, bounds, *now);
        }
        line.get(bounds)
    }

    #[test]
    fn a_line_that_is_not_reached_stays() {
        let (line, now) = (LoadLine::default(), &mut Now::from_millis(0));
        assert_eq!(answers(&line, now, 1_000, (10, 3), ANY), START);
        assert_eq!(answers(&line, now, 1_000, (10, START - 1), ANY), START);
    }

    #[test]
    fn a_line_that_is_reached_rises_and_falls_with_the_latency() {
        let (line, now) = (LoadLine::default(), &mut Now::from_millis(0));
        answers(&line, now, 100, (10, 3), ANY);
        let risen = answers(&line, now, 60, (10, START), ANY);
        assert_eq!(risen, START + START / 4);
        let fallen = answers(&line, now, 60, (40, risen), ANY);
        assert_eq!(fallen, risen * 3 / 4, "half of the way to half");
    }

    #[test]
    fn a_line_keeps_its_bounds() {
        let (line, now) = (LoadLine::default(), &mut Now::from_millis(0));
        let bounds = Bounds { least: 8, most: 20 };
        answers(&line, now, 100, (10, 3), bounds);
        assert_eq!(answers(&line, now, 500, (10, 20), bounds), 20);
        assert_eq!(line.get(Bounds { least: 30, most: 40 }), 30);
        for _ in 0..20 {
            answers(&line, now, 60, (1_000, 20), bounds);
            assert!(line.get(bounds) >= 8);
        }
    }

    #[test]
    fn a_backend_that_turns_work_away_is_not_given_more() {
        let (line, now) = (LoadLine::default(), &mut Now::from_millis(0));
        answers(&line, now, 100, (10, 3), ANY);
        for _ in 0..200 {
            let turned_away = Sample {
                latency: None,
                in_flight: START,
            };
            assert!(!line.learn(turned_away, ANY, *now));
            assert_eq!(answers(&line, now, 5, (10, START), ANY), START);
        }
    }

    #[test]
    fn a_sounding_halves_the_line_and_counts_what_comes_of_it() {
        let (line, now) = (LoadLine::default(), &mut Now::from_millis(0));
        // Nothing is known, and the line is reached at once.
        assert_eq!(answers(&line, now, WINDOW_MIN, (50, START), ANY), START / 2);
        // What began before is not counted, however it answers.
        assert_eq!(answers(&line, now, 1 + START, (100, START / 2), ANY), START / 2);
        let after = answers(&line, now, SOUNDING_MIN, (10, START / 2), ANY);
        assert_eq!(after, START);
        let baseline = line.learner.lock().unwrap().baseline;
        assert!((0.0099..0.0101).contains(&baseline.unwrap()), "{baseline:?}");
    }
}
