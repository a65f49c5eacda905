//! Rates, and the bucket that holds requests to them.

use std::fmt;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::Entry;
use crate::document::{Decode, Faults, Node, expect_text};
use crate::time::Now;

/// The most that a rate may be, so that a whole number of nanoseconds between two is exact enough.
const A_SECOND_MAX: u32 = 1_000_000;

/// The longest that a bucket may take to fill: a year, far from where nanoseconds overflow.
const FILLS_MAX: Duration = Duration::from_secs(365 * 86_400);

const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

/// So many in so long: `"100/s"`, `"30/m"`, `"1000/h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    unit: (&'static str, u64),
}

/// A bucket as configured: the generic cell rate algorithm (ITU-T I.371), which is a token bucket that is kept as one
/// point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Nanoseconds between two requests at the rate.
    interval: u64,
    /// Requests that may come at once.
    burst: u32,
}

/// What one key has taken from its bucket: when the bucket will be full again, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debt(u64);

/// What came of a request to a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether there was anything to take.
    pub allowed: bool,
    /// How many more may come at once.
    pub left: u32,
    /// When there is one more than that.
    pub more_after: Duration,
}

impl Bucket {
    /// A bucket that holds `burst` requests and is filled at `rate`; `None` when it would take more than a year to fill.
    pub fn new(rate: Rate, burst: u32) -> Option<Self> {
        let interval = rate.unit.1 * 1_000_000_000 / u64::from(rate.count.max(1));
        let fills = interval.checked_mul(u64::from(burst)).map(Duration::from_nanos);
        (fills? <= FILLS_MAX).then_some(Bucket { interval, burst })
    }

    /// How many requests it holds.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// How long it takes to fill when it is empty.
    pub fn fills(&self) -> Duration {
        Duration::from_nanos(self.depth())
    }

    /// Takes one from the bucket of `debt`, if there is one.
    pub fn take(&self, debt: &mut Debt, now: Now) -> Taken {
        let mut taken = self.look(*debt, now);
        if taken.allowed {
            let full_at = self.full_at(*debt, now) + self.interval;
            *debt = Debt(full_at);
            taken = Taken {
                allowed: true,
                ..self.look(*debt, now)
            };
        }
        taken
    }

    /// What a request would find, without taking anything.
    pub fn look(&self, debt: Debt, now: Now) -> Taken {
        let owed = self.full_at(debt, now) - now.nanos();
        let left = (self.depth() - owed) / self.interval;
        let partly = owed % self.interval;
        let more = if partly == 0 { self.interval.min(owed) } else { partly };
        Taken {
            allowed: left > 0,
            left: u32::try_from(left).unwrap_or(u32::MAX),
            more_after: Duration::from_nanos(more),
        }
    }

    /// A debt of the time before the bucket was configured otherwise is no larger than an empty bucket's.
    fn full_at(&self, debt: Debt, now: Now) -> u64 {
        debt.0.clamp(now.nanos(), now.nanos().saturating_add(self.depth()))
    }

    fn depth(&self) -> u64 {
        self.interval * u64::from(self.burst)
    }
}

impl Entry for Debt {
    fn is_spent(&self, now: Now) -> bool {
        self.0 <= now.nanos()
    }

    fn weight(&self) -> u64 {
        self.0
    }
}

impl Rate {
    fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let unit = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        let count = count.parse().ok()?;
        let most = u64::from(A_SECOND_MAX) * unit.1;
        (count > 0 && u64::from(count) <= most).then_some(Rate { count, unit })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.count, self.unit.0)
    }
}

impl Decode for Rate {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a rate, like \"100/s\"", faults)?;
        let rate = Rate::parse(text);
        if rate.is_none() {
            faults.error(node.span, format!("\"{text}\" is not a rate")).help(
                "write a number and a unit: \"100/s\", \"30/m\", \"1000/h\" or \"5000/d\"; 1000000/s at the most",
            );
        }
        rate
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+/(s|m|h|d)$", "examples": ["100/s", "30/m", "1000/h"] })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(rate: &str, burst: u32) -> Bucket {
        Bucket::new(Rate::parse(rate).unwrap(), burst).unwrap()
    }

    #[test]
    fn rates_are_read_in_every_unit_and_within_their_bounds() {
        for text in ["100/s", "30/m", "1000/h", "1/d", "1000000/s"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "100",
            "/s",
            "0/s",
            "-1/s",
            "1.5/s",
            "1/week",
            "1000001/s",
            "9999999999/d",
        ] {
            assert_eq!(Rate::parse(text), None, "{text}");
        }
        assert_eq!(Bucket::new(Rate::parse("1/d").unwrap(), 366), None);
    }

    #[test]
    fn a_bucket_gives_what_it_holds_at_once_and_then_the_rate() {
        let bucket = bucket("10/s", 3);
        let mut debt = Debt::default();
        let at = |millis: u64| Now::from_millis(1_000 + millis);
        let ms = Duration::from_millis;
        for (now, allowed, left, more_after) in [
            (0, true, 2, 100),
            (0, true, 1, 100),
            (0, true, 0, 100),
            (0, false, 0, 100),
            (60, false, 0, 40),
            (100, true, 0, 100),
            (199, false, 0, 1),
            (350, true, 1, 50),
        ] {
            let expected = Taken {
                allowed,
                left,
                more_after: ms(more_after),
            };
            assert_eq!(bucket.take(&mut debt, at(now)), expected, "{now}");
        }
        assert_eq!(bucket.fills(), ms(300));
        assert!(!debt.is_spent(at(499)) && debt.is_spent(at(500)));
    }

    #[test]
    fn a_debt_of_another_rate_is_no_more_than_an_empty_bucket() {
        let mut debt = Debt::default();
        let slow = bucket("1/h", 10);
        for _ in 0..10 {
            slow.take(&mut debt, Now::START);
        }
        let fast = bucket("10/s", 10);
        let taken = fast.look(debt, Now::START);
        assert_eq!((taken.left, taken.more_after), (0, Duration::from_millis(100)));
    }

    proptest! {
        /// Over any stretch of time no more pass than the bucket holds and the rate brings.
        #[test]
        fn never_more_pass_than_burst_and_rate(
            burst in 1_u32..50,
            a_second in 1_u32..1_000,
            gaps in prop::collection::vec(0_u64..50_000_000, 1..300),
        ) {
            let bucket = bucket(&format!("{a_second}/s"), burst);
            let (mut debt, mut nanos, mut passed) = (Debt::default(), 1_000_000_000_u64, 0_u64);
            let begun = nanos;
            for gap in gaps {
                nanos += gap;
                let before = bucket.look(debt, Now::from_nanos(nanos));
                let taken = bucket.take(&mut debt, Now::from_nanos(nanos));
                prop_assert_eq!(before.allowed, taken.allowed);
                passed += u64::from(taken.allowed);
                prop_assert!(passed <= u64::from(burst) + (nanos - begun) / bucket.interval + 1);
                prop_assert!(taken.left <= burst && taken.more_after <= Duration::from_nanos(bucket.interval));
            }
        }
    }
}
