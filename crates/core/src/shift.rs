//! A gradual shift of a route's split: a little more for the new pool at every step, and back at once when it does badly.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::telemetry::{BUCKETS_US, Histogram};
use crate::time::Now;

/// What the weights of a split add up to while it is shifted.
pub const WHOLE: u32 = 10_000;

/// How far back a shift looks when it judges.
pub const WINDOW: Duration = Duration::from_secs(30);

/// Requests that it takes to judge: of fewer, one that fails is more than a percent.
pub const REQUESTS_MIN: u64 = 20;

/// The longest that a shift may take.
pub const OVER_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Looks that are kept of a window.
const LOOKS_MAX: usize = 64;

/// What the pools that grow have done for the route since some beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Requests that had 5xx for an answer, ours included, or none.
    pub errors: u64,
    /// How long all took.
    pub durations: Histogram,
}

/// What a shift is judged by.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Measure {
    /// The share of requests that are errors.
    ErrorRate,
    /// So many of a hundred requests are faster.
    Percentile(u8),
}

/// When a shift goes back: `error_rate > 1%`, `p99 > 250ms`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    measure: Measure,
    /// A share, or seconds.
    most: f64,
}

impl Limit {
    /// The limit that `text` spells.
    ///
    /// # Errors
    /// What is wrong with it, with an example.
    pub fn parse(text: &str) -> Result<Limit, String> {
        let wrong = || format!("`{text}` is no limit: write \"error_rate > 1%\" or \"p99 > 250ms\"");
        let (measure, most) = text.split_once('>').ok_or_else(wrong)?;
        let most = most.trim();
        match measure.trim() {
            "error_rate" => {
                let percent = most.strip_suffix('%').and_then(|number| number.trim().parse().ok());
                let percent: f64 = percent.ok_or_else(wrong)?;
                if !(0.0..100.0).contains(&percent) {
                    return Err(format!("`{text}`: an error rate is from 0% to less than 100%"));
                }
                Ok(Limit {
                    measure: Measure::ErrorRate,
                    most: percent / 100.0,
                })
            }
            name => {
                let percentile = name.strip_prefix('p').and_then(|number| number.parse().ok());
                let percentile: u8 = percentile
                    .filter(|number| (1..100).contains(number))
                    .ok_or_else(wrong)?;
                let split = most
                    .find(|letter: char| letter.is_ascii_alphabetic())
                    .ok_or_else(wrong)?;
                let (number, unit) = most.split_at(split);
                let number: f64 = number.trim().parse().map_err(|_| wrong())?;
                let seconds = match unit {
                    "ms" => number / 1e3,
                    "s" => number,
                    _ => return Err(wrong()),
                };
                if !(seconds > 0.0 && seconds.is_finite()) {
                    return Err(wrong());
                }
                Ok(Limit {
                    measure: Measure::Percentile(percentile),
                    most: seconds,
                })
            }
        }
    }

    /// What is wrong with what was counted, if anything is.
    fn breach(&self, counted: &Counted) -> Option<String> {
        let requests = counted.durations.count();
        let is = match self.measure {
            Measure::ErrorRate => ratio(counted.errors, requests),
            Measure::Percentile(percentile) => percentile_of(&counted.durations, percentile),
        };
        let what = |value: f64| match self.measure {
            Measure::ErrorRate => format!("error_rate {:.1}%", value * 100.0),
            Measure::Percentile(percentile) => format!("p{percentile} {:.0}ms", value * 1e3),
        };
        (is > self.most).then(|| format!("{} of {requests} requests, where {self} ends the shift", what(is)))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.measure {
            Measure::ErrorRate => write!(out, "error_rate > {}%", self.most * 100.0),
            Measure::Percentile(percentile) => write!(out, "p{percentile} > {}ms", self.most * 1e3),
        }
    }
}

/// A shift under way.
#[derive(Clone, Debug)]
pub struct Shift {
    before: Vec<u32>,
    after: Vec<u32>,
    over: Duration,
    limits: Vec<Limit>,
    begun: Now,
    /// How long it had gone on before that, in a process before this one.
    gone: Duration,
    /// What had been counted at the looks of the window, the oldest first.
    looks: VecDeque<(Now, Counted)>,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The weights shall be these; more is to come.
    Weights(Vec<u32>),
    /// They shall be these, and the shift is over.
    Done(Vec<u32>),
    /// They shall be what they were, because of this.
    Back(Vec<u32>, String),
}

impl Shift {
    /// From the weights `before` to those of `after`, pool by pool, within `over`; what had been `counted` before counts
    /// for nothing.
    pub fn begin(
        before: Vec<u32>,
        after: Vec<u32>,
        over: Duration,
        limits: Vec<Limit>,
        counted: Counted,
        now: Now,
    ) -> Shift {
        Shift {
            before,
            after,
            over: over.min(OVER_MAX),
            limits,
            begun: now,
            gone: Duration::ZERO,
            looks: VecDeque::from([(now, counted)]),
        }
    }

    /// The same where it had gone on for so long before.
    #[must_use]
    pub fn after(self, gone: Duration) -> Shift {
        Shift { gone, ..self }
    }

    /// How long it has gone on.
    pub fn elapsed(&self, now: Now) -> Duration {
        self.gone + now.since(self.begun)
    }

    /// Which pools get more in the end than they had.
    pub fn growing(before: &[u32], after: &[u32]) -> Vec<bool> {
        let (from, to) = (total(before), total(after));
        let both = before.iter().zip(after);
        both.map(|(before, after)| ratio(u64::from(*after), to) > ratio(u64::from(*before), from))
            .collect()
    }

    /// How much of it is done, from 0 to 1.
    pub fn progress(&self, now: Now) -> f64 {
        if self.over.is_zero() {
            return 1.0;
        }
        (self.elapsed(now).as_secs_f64() / self.over.as_secs_f64()).min(1.0)
    }

    /// The weights that hold now, and whether more is to come; `counted` is what the growing pools have done until now.
    pub fn step(&mut self, counted: Counted, now: Now) -> Step {
        if let Some(why) = self.judge(counted, now) {
            return Step::Back(self.before.clone(), why);
        }
        let progress = self.progress(now);
        if progress < 1.0 {
            return Step::Weights(self.at(progress));
        }
        // What has come last is looked at too.
        let watched = if self.limits.is_empty() { Duration::ZERO } else { WINDOW };
        if self.elapsed(now) < self.over + watched {
            return Step::Weights(self.after.clone());
        }
        Step::Done(self.after.clone())
    }

    fn judge(&mut self, counted: Counted, now: Now) -> Option<String> {
        while self.looks.len() > 1 && self.looks.get(1).is_some_and(|(at, _)| now.since(*at) >= WINDOW) {
            self.looks.pop_front();
        }
        let since = self.looks.front().map_or_else(Counted::default, |(_, since)| *since);
        if self.looks.len() >= LOOKS_MAX {
            // The newest is worth least: the next one says almost the same.
            self.looks.pop_back();
        }
        self.looks.push_back((now, counted));
        let in_window = difference(&counted, &since);
        if in_window.durations.count() < REQUESTS_MIN {
            return None;
        }
        self.limits.iter().find_map(|limit| limit.breach(&in_window))
    }

    /// The weights at `progress`; whoever grows has some from the first step on.
    fn at(&self, progress: f64) -> Vec<u32> {
        let (from, to) = (total(&self.before), total(&self.after));
        let both = self.before.iter().zip(&self.after);
        both.map(|(before, after)| {
            let (before, after) = (ratio(u64::from(*before), from), ratio(u64::from(*after), to));
            let share = before + (after - before) * progress;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and WHOLE"
            )]
            let weight = (share * f64::from(WHOLE)).round() as u32;
            weight.max(u32::from(share > 0.0))
        })
        .collect()
    }
}

fn total(weights: &[u32]) -> u64 {
    weights.iter().map(|weight| u64::from(*weight)).sum()
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn ratio(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

fn difference(now: &Counted, then: &Counted) -> Counted {
    let mut durations = now.durations;
    for (mine, before) in durations.buckets.iter_mut().zip(then.durations.buckets) {
        *mine = mine.saturating_sub(before);
    }
    durations.sum_us = durations.sum_us.saturating_sub(then.durations.sum_us);
    Counted {
        errors: now.errors.saturating_sub(then.errors),
        durations,
    }
}

/// The percentile in seconds, read off the buckets as Prometheus does: as if all within one were spread evenly.
fn percentile_of(durations: &Histogram, percentile: u8) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts and microseconds")]
    let number = |count: u64| count as f64;
    let rank = number(durations.count()) * f64::from(percentile) / 100.0;
    let mut below = 0.0;
    let mut lower = 0.0;
    for (count, bound) in durations.buckets.iter().zip(BUCKETS_US) {
        let (count, upper) = (number(*count), number(bound) / 1e6);
        if below + count >= rank && count > 0.0 {
            return lower + (upper - lower) * (rank - below) / count;
        }
        below += count;
        lower = upper;
    }
    lower
}

#[cfg(test)]
#[path = "shift_tests.rs"]
mod tests;
