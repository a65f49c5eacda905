//! `outlier` of a pool.

use std::time::Duration;

use plimsoll_core::document;
use plimsoll_core::document::{Decode, Faults, Json, Located, Node, Span, Value};
use plimsoll_core::health;
use serde_json::json;

use super::values::{Percent, Positive, Timeout, Within, table_or_false};

/// The most backends that have to be comparable: more than a pool may have are never judged.
const BACKENDS_MAX: u32 = 10_000;

/// The most standard deviations: among 10,000 values none lies 100 of them away.
const DEVIATIONS_MAX: f64 = 100.0;

/// The largest factor between latencies.
const FACTOR_MAX: f64 = 1_000.0;

/// `outlier = false`, or a table.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Outlier {
    /// Nothing is ejected.
    Off,
    /// What is ejected.
    Eject(OutlierTable),
}

table_or_false!(Outlier, Eject(OutlierTable));

document! {
    /// When a backend is ejected for its answers.
    pub(in super::super) struct OutlierTable {
        /// Failures in a row.
        pub(in super::super) consecutive_errors: Positive = Within(5),
        /// How long the first time; the n-th time n times as long, up to 300s.
        pub(in super::super) eject_for: Timeout = Timeout(Duration::from_secs(30)),
        /// The most of a pool's backends that may be ejected at once.
        pub(in super::super) max_ejected_percent: Percent = Within(50),
        /// How long answers are gathered before success rates and latencies are compared.
        pub(in super::super) interval: Located<Timeout> = unwritten(Timeout(Duration::from_secs(10))),
        /// Ejects backends whose success rate is far below the others'. true, or a table; not compared unless set.
        pub(in super::super) success_rate: Option<Located<Compared<SuccessRate>>>,
        /// Ejects backends whose latency is far above the others'. true, or a table; not compared unless set.
        pub(in super::super) latency: Option<Located<Compared<Latency>>>,
    }
}

/// A value that stands for a key that was left out.
fn unwritten<T>(value: T) -> Located<T> {
    Located {
        value,
        span: Span::default(),
    }
}

document! {
    /// Whose success rate is compared, and whose is too low.
    pub(in super::super) struct SuccessRate {
        /// Backends that have to be comparable.
        pub(in super::super) min_backends: Within<2, BACKENDS_MAX> = Within(5),
        /// Requests in the interval that make a backend comparable.
        pub(in super::super) min_requests: Positive = Within(100),
        /// Standard deviations below the mean of all.
        pub(in super::super) deviations: Deviations = Deviations(1.9),
    }
}

document! {
    /// Whose latency is compared, and whose is too high.
    pub(in super::super) struct Latency {
        /// Backends that have to be comparable.
        pub(in super::super) min_backends: Within<2, BACKENDS_MAX> = Within(5),
        /// Answers in the interval that make a backend comparable.
        pub(in super::super) min_requests: Positive = Within(100),
        /// Standard deviations above the mean of all.
        pub(in super::super) deviations: Deviations = Deviations(1.9),
        /// How many times as long as the others it has to take.
        pub(in super::super) factor: Factor = Factor(3.0),
    }
}

impl SuccessRate {
    /// As the core has it.
    pub(in super::super) fn rules(&self) -> health::SuccessRate {
        health::SuccessRate {
            min_backends: self.min_backends.0,
            min_requests: self.min_requests.0,
            deviations: self.deviations.0,
        }
    }
}

impl Latency {
    /// As the core has it.
    pub(in super::super) fn rules(&self) -> health::Latency {
        health::Latency {
            min_backends: self.min_backends.0,
            min_requests: self.min_requests.0,
            deviations: self.deviations.0,
            factor: self.factor.0,
        }
    }
}

/// `true` for a table of defaults, `false` for none, or a table.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Compared<T>(pub(in super::super) Option<T>);

impl<T: Decode + Default> Decode for Compared<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.value {
            Value::Table(_) => T::decode(node, faults).map(|table| Compared(Some(table))),
            Value::Bool(_) | Value::Variable(_) => {
                bool::decode(node, faults).map(|wanted| Compared(wanted.then(T::default)))
            }
            _ => {
                faults.expected(node, "true, false or a table");
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [bool::schema(), T::schema()] })
    }
}

macro_rules! number {
    ($(#[doc = $doc:literal])* $name:ident, $least:literal to $most:ident) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub(in super::super) struct $name(pub(in super::super) f64);

        impl Decode for $name {
            fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
                let number = f64::decode(node, faults)?;
                let within = ($least..=$most).contains(&number);
                if !within {
                    faults.error(node.span, format!("{number} is out of range: {} to {}", $least, $most));
                }
                within.then_some($name(number))
            }

            fn schema() -> Json {
                json!({ "type": "number", "minimum": $least, "maximum": $most })
            }
        }
    };
}

number!(
    /// Standard deviations from a mean.
    Deviations, 0.1 to DEVIATIONS_MAX
);
number!(
    /// How many times as long.
    Factor, 1.0 to FACTOR_MAX
);
