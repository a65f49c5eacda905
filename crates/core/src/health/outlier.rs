//! Outlier ejection: a backend that answers badly is out for a time that grows with every relapse.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CheckRules, Latency, SuccessRate};
use crate::rng::Rng;
use crate::time::Now;

/// The longest ejection (Envoy's `max_ejection_time`); a longer `eject_for` is its own maximum.
pub const EJECTION_MAX: Duration = Duration::from_secs(300);

/// An ejection's length varies by this share up and down, so that what failed together does not return together.
const JITTER: f64 = 0.1;

/// When a backend is taken out because of how it answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlier {
    /// Failures in a row that take a backend out: connections refused, reset or timed out, answers that make no sense;
    /// and 5xx answers, when the backend gives many more of them than the rest of its pool. 0: never.
    pub consecutive_errors: u32,
    /// How long the first time; the n-th time n times as long, up to 5 minutes, give or take a tenth.
    pub eject_for: Duration,
    /// The most of a pool's backends, in percent, that may be out at once. The last usable one never is.
    pub max_ejected_percent: u8,
    /// How long answers are gathered before backends are compared with each other.
    pub interval: Duration,
    /// Takes out whose success rate stands out, when set.
    pub success_rate: Option<SuccessRate>,
    /// Takes out whose latency stands out, when set.
    pub latency: Option<Latency>,
}

impl Default for Outlier {
    fn default() -> Self {
        Outlier {
            consecutive_errors: 5,
            eject_for: Duration::from_secs(30),
            max_ejected_percent: 50,
            interval: Duration::from_secs(10),
            success_rate: None,
            latency: None,
        }
    }
}

impl Outlier {
    /// Whether backends are compared with each other, every [`interval`](Self::interval).
    pub fn compares(&self) -> bool {
        self.success_rate.is_some() || self.latency.is_some()
    }

    /// Whether `ejected` of `pool` backends may be out at once.
    pub fn allows(&self, ejected: usize, pool: usize) -> bool {
        ejected * 100 <= pool * usize::from(self.max_ejected_percent.min(100))
    }
}

/// What a backend was ejected for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offence {
    /// So many failures in a row: it did not answer, or not as a working backend does.
    Failures(u32),
    /// So many 5xx in a row, where the rest of its pool answers better.
    ServerErrors(u32),
    /// The share of its requests that succeeded in an interval, and that of the others.
    SuccessRate {
        /// Its own, of a thousand.
        own_permille: u16,
        /// The mean of the others.
        others_permille: u16,
    },
    /// What it typically took to answer in an interval, and what the others did.
    Latency {
        /// Its own geometric mean.
        own: Duration,
        /// That of the others.
        others: Duration,
    },
}

impl Offence {
    /// The offence as one word, for metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Offence::Failures(_) => "failures",
            Offence::ServerErrors(_) => "server_errors",
            Offence::SuccessRate { .. } => "success_rate",
            Offence::Latency { .. } => "latency",
        }
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Offence::Failures(row) => write!(out, "{row} failures in a row"),
            Offence::ServerErrors(row) => write!(out, "{row} answers of 5xx in a row, more than the rest of the pool"),
            Offence::SuccessRate {
                own_permille,
                others_permille,
            } => {
                let percent = |permille: u16| f64::from(permille) / 10.0;
                let (own, others) = (percent(*own_permille), percent(*others_permille));
                write!(out, "{own} % of its requests succeed, {others} % of the others'")
            }
            Offence::Latency { own, others } => {
                let millis = |time: &Duration| time.as_secs_f64() * 1e3;
                let (own, others) = (millis(own), millis(others));
                write!(
                    out,
                    "it typically takes {own:.1} ms to answer, the others {others:.1} ms"
                )
            }
        }
    }
}

/// The ejections of one backend: whether it is out now, and how often it was of late.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ejection {
    current: Option<Current>,
    /// How often it was ejected, less what good behaviour has made good.
    times: u32,
    /// When it was last let back, and its requests and errors until then.
    back: Now,
    totals: (u64, u64),
}

/// An [`Ejection`] as one process hands it to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ejected {
    /// What for and until when, while there is one.
    pub current: Option<(Offence, Now)>,
    /// How often it was ejected, less what good behaviour has made good.
    pub times: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Current {
    until: Now,
    offence: Offence,
    /// Whether a check has failed since: then the checks see what is wrong, and their passing means something.
    check_failed: bool,
    checks_passed: u32,
}

impl Ejection {
    /// When it will be over, while there is one.
    pub fn until(&self) -> Option<Now> {
        self.current.map(|current| current.until)
    }

    /// What for, while there is one.
    pub fn offence(&self) -> Option<Offence> {
        self.current.map(|current| current.offence)
    }

    /// The ejections as the process before had them.
    pub fn continuing(before: Ejected) -> Ejection {
        let current = before.current.map(|(offence, until)| Current {
            until,
            offence,
            check_failed: false,
            checks_passed: 0,
        });
        Ejection {
            current,
            times: before.times,
            ..Ejection::default()
        }
    }

    /// What the next process has to know.
    pub fn handed(&self) -> Ejected {
        Ejected {
            current: self.current.map(|current| (current.offence, current.until)),
            times: self.times,
        }
    }

    /// How many times `eject_for` the last one lasted.
    pub fn times(&self) -> u32 {
        self.times
    }

    /// Begins one. `totals` are the backend's finished requests and errors.
    pub fn begin(&mut self, offence: Offence, totals: (u64, u64), rules: &Outlier, now: Now, rng: &mut Rng) {
        self.times = self.times_left(totals, rules, now) + 1;
        let longest = EJECTION_MAX.max(rules.eject_for);
        let length = rules.eject_for.saturating_mul(self.times).min(longest);
        let factor = 1.0 - JITTER + 2.0 * JITTER * rng.unit();
        self.current = Some(Current {
            until: now + length.mul_f64(factor),
            offence,
            check_failed: false,
            checks_passed: 0,
        });
    }

    /// Ends it, whatever its time.
    pub fn end(&mut self, totals: (u64, u64), now: Now) {
        if self.current.take().is_some() {
            (self.back, self.totals) = (now, totals);
        }
    }

    /// Takes in a check's result. Returns whether it proves the backend well, so that the ejection may end.
    ///
    /// A check that passes says little about a backend whose `/healthz` is fine while it answers 500 to everything, or
    /// that accepts connections and hangs. So a row of `rise` passes counts only when it can be a change: when a check
    /// has failed since the ejection, or when a backend that could not be reached is out for the first time (it was
    /// restarted between two checks). Relapsed, it serves its time.
    pub fn observe_check(&mut self, passed: bool, rules: &CheckRules) -> bool {
        let Some(current) = &mut self.current else {
            return false;
        };
        if !passed {
            current.check_failed = true;
            current.checks_passed = 0;
            return false;
        }
        current.checks_passed += 1;
        let telling = current.check_failed || (matches!(current.offence, Offence::Failures(_)) && self.times == 1);
        telling && current.checks_passed >= rules.rise.max(1)
    }

    /// One time less for every `eject_for` that it has been back and behaved: answered more often than failed.
    fn times_left(&self, totals: (u64, u64), rules: &Outlier, now: Now) -> u32 {
        let results = totals.0.saturating_sub(self.totals.0);
        let errors = totals.1.saturating_sub(self.totals.1);
        if errors * 2 > results {
            return self.times;
        }
        let unit = rules.eject_for.max(Duration::from_millis(1));
        let calm = now.since(self.back).as_millis() / unit.as_millis();
        self.times.saturating_sub(u32::try_from(calm).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: CheckRules = CheckRules {
        fall: 3,
        rise: 2,
        initial: super::super::Initial::Unhealthy,
    };

    const FAILURES: Offence = Offence::Failures(5);

    fn secs(at: u64) -> Now {
        Now::from_millis(at * 1000)
    }

    fn begin(ejection: &mut Ejection, offence: Offence, totals: (u64, u64), now: Now) -> f64 {
        ejection.begin(offence, totals, &Outlier::default(), now, &mut Rng::seeded(now.nanos()));
        ejection.until().expect("just begun").since(now).as_secs_f64()
    }

    #[test]
    fn each_relapse_lasts_longer_up_to_five_minutes() {
        let mut ejection = Ejection::default();
        let mut now = secs(0);
        for time in 1..=15u64 {
            let lasted = begin(&mut ejection, FAILURES, (time * 5, time * 5), now);
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let expected = (30.0 * time as f64).min(300.0);
            assert!(
                (expected * 0.9..=expected * 1.1).contains(&lasted),
                "{time}: {lasted} s"
            );
            now = now + Duration::from_secs_f64(lasted);
            ejection.end((time * 5, time * 5), now);
        }
    }

    #[test]
    fn the_jitter_differs_between_backends() {
        let mut rng = Rng::seeded(1);
        let mut lengths: Vec<_> = (0..10)
            .map(|_| {
                let mut ejection = Ejection::default();
                ejection.begin(FAILURES, (5, 5), &Outlier::default(), secs(0), &mut rng);
                ejection.until()
            })
            .collect();
        lengths.sort();
        lengths.dedup();
        assert_eq!(lengths.len(), 10);
    }

    #[test]
    fn good_behaviour_is_forgotten_as_slowly_as_it_was_earned() {
        let mut ejection = Ejection::default();
        for _ in 0..4 {
            begin(&mut ejection, FAILURES, (5, 5), secs(0));
            ejection.end((5, 5), secs(100));
        }
        assert_eq!(ejection.times(), 4);
        begin(&mut ejection, FAILURES, (1_000, 10), secs(165));
        assert_eq!(ejection.times(), 3, "two made good in 65 s, one added");
        ejection.end((1_000, 10), secs(200));
        begin(&mut ejection, FAILURES, (1_010, 20), secs(800));
        assert_eq!(ejection.times(), 4, "failing for ten minutes is not behaving");
        ejection.end((1_010, 20), secs(900));
        begin(&mut ejection, FAILURES, (9_000, 25), secs(10_000));
        assert_eq!(ejection.times(), 1);
    }

    #[test]
    fn checks_end_an_ejection_only_when_they_can_tell() {
        let slow = Offence::Latency {
            own: Duration::from_millis(90),
            others: Duration::from_millis(9),
        };
        for (offence, relapsed, checks, ends, why) in [
            (
                Offence::ServerErrors(5),
                false,
                "++++++++",
                false,
                "its check cannot see it",
            ),
            (Offence::ServerErrors(5), false, "-+", false, "rise is 2"),
            (
                Offence::ServerErrors(5),
                false,
                "-++",
                true,
                "its check saw it, and sees it well",
            ),
            (slow, false, "++++++++", false, "its check cannot see that either"),
            (FAILURES, false, "+", false, "rise is 2"),
            (FAILURES, false, "++", true, "restarted between two checks"),
            (FAILURES, true, "++++++++", false, "the check was wrong before"),
            (FAILURES, true, "+-++", true, "the check sees it"),
        ] {
            let mut ejection = Ejection::default();
            begin(&mut ejection, offence, (5, 5), secs(0));
            if relapsed {
                ejection.end((5, 5), secs(4));
                begin(&mut ejection, offence, (10, 10), secs(5));
            }
            let ended = checks
                .chars()
                .map(|check| ejection.observe_check(check == '+', &RULES))
                .last();
            assert_eq!(ended, Some(ends), "{why}");
        }
    }

    #[test]
    fn the_share_of_the_ejected_is_bounded() {
        let rules = Outlier::default();
        assert!(rules.allows(1, 2) && rules.allows(1, 3) && rules.allows(2, 4));
        assert!(!rules.allows(1, 1) && !rules.allows(2, 3));
        let boundless = Outlier {
            max_ejected_percent: 255,
            ..rules
        };
        assert!(boundless.allows(3, 3) && !boundless.allows(4, 3));
    }
}
