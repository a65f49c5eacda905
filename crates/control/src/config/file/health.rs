//! `health` of a pool.

use std::ops::RangeInclusive;

use plimsoll_core::document::{Decode, Faults, Json, Located, Node, Value, expect_text};
use plimsoll_core::{document, words};
use serde_json::json;

use super::matching::{AbsolutePath, is_hostname};
use super::values::{Many, Timeout, Tried, Within, table_or_false};

/// The most checks in a row that a verdict may need.
const CHECKS_MAX: u32 = 1_000;

/// `health = false`, or a table.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for each pool, while a configuration is read"
)]
pub(in super::super) enum Health {
    /// Nothing is checked.
    Off,
    /// What is checked.
    Check(HealthTable),
}

table_or_false!(Health, Check(HealthTable));

document! {
    /// How backends are checked: by http or by tcp, which is meant unless http is set.
    pub(in super::super) struct HealthTable {
        /// A path that is asked for with GET.
        pub(in super::super) http: Option<Tried<AbsolutePath>>,
        /// A connection is made, and nothing is sent.
        pub(in super::super) tcp: Option<Located<bool>>,
        /// Of http: the Host that is asked for; the backend's address unless set.
        pub(in super::super) host: Option<Located<CheckHost>>,
        /// The port to check instead of the backend's own.
        pub(in super::super) port: Option<Within<1, 65_535>>,
        /// Between two checks: 2s unless set.
        pub(in super::super) interval: Option<Tried<Timeout>>,
        /// The longest that a check may take: 1s unless set, and never more than the interval.
        pub(in super::super) timeout: Option<Located<Timeout>>,
        /// Failures in a row that make a backend unhealthy.
        pub(in super::super) fall: Within<1, CHECKS_MAX> = Within(3),
        /// Passes in a row that make it healthy again.
        pub(in super::super) rise: Within<1, CHECKS_MAX> = Within(2),
        /// Of http: the statuses that pass, ["200-299"] unless set.
        pub(in super::super) expect: Option<Located<Many<StatusRange>>>,
        /// Whether a backend is used before its first check.
        pub(in super::super) initial: Initial = Initial::Unhealthy,
    } later { "exec", "expect_bytes", "fast_interval", "grpc", "headers", "method", "send" }
}

words! {
    /// What a backend counts as before its first check.
    pub(in super::super) enum Initial {
        /// Not used; the first result decides at once.
        Unhealthy = "unhealthy",
        /// Used from the start.
        Healthy = "healthy",
    }
}

/// The Host of a check, with a port if need be.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct CheckHost(pub(in super::super) String);

impl Decode for CheckHost {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a host", faults)?;
        let lower = text.to_ascii_lowercase();
        let without_port = match lower.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            _ => &lower,
        };
        let valid = is_hostname(without_port);
        if !valid {
            faults.error(node.span, format!("\"{}\" is not a host", text.escape_debug()));
        }
        valid.then(|| CheckHost(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["api.internal"] })
    }
}

/// Statuses that pass: `"200-299"` or `"204"`.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct StatusRange(pub(in super::super) RangeInclusive<u16>);

impl Decode for StatusRange {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let number = node.integer().map(|number| number.to_string());
        let text = match &number {
            Some(text) => text,
            None => expect_text(node, "a status, like \"204\" or \"200-299\"", faults)?,
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| {
            text.trim()
                .parse::<u16>()
                .ok()
                .filter(|code| (100..=599).contains(code))
        };
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Some(StatusRange(first..=last)),
            _ => {
                faults
                    .error(node.span, format!("\"{text}\" is no range of statuses"))
                    .help("write \"204\", or \"200-299\"; statuses are 100 to 599");
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "string", "pattern": "^ *[1-5][0-9][0-9] *(- *[1-5][0-9][0-9] *)?$" },
            { "type": "integer", "minimum": 100, "maximum": 599 },
        ] })
    }
}
