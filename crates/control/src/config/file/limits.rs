//! `limits` of a pool, and a route's `priority`: how much is carried, and who goes first when that is not enough.

use std::time::Duration;

use plimsoll_core::document;
use plimsoll_core::document::{Decode, Faults, Json, Located, Node, Span, Value, expect_text};
use plimsoll_core::filter::is_token;
use plimsoll_core::priority::Class;
use serde_json::json;

use super::values::{Many, Positive, Timeout, Within};

/// The most that may wait for one pool: as many as clients may be connected unless that is raised.
const QUEUE_MAX: u32 = 100_000;

document! {
    /// How much each backend may carry at once, and what becomes of work beyond it.
    pub(in super::super) struct PoolLimits {
        /// Connections, busy and idle: 1024 unless set.
        pub(in super::super) connections: Positive = Within(1_024),
        /// Requests in flight, or connections at layer 4: 1024 unless set; "auto" learns each backend's from its latency.
        pub(in super::super) requests: Located<Limit> = Located {
            value: Limit::Fixed(Within(1_024)),
            span: Span::default(),
        },
        /// Requests of the whole pool that may wait while every backend is full: 1024 unless set, 0 for none.
        pub(in super::super) queue: Within<0, QUEUE_MAX> = Within(1_024),
        /// How long each may wait: 1s unless set.
        pub(in super::super) queue_timeout: Timeout = Timeout(Duration::from_secs(1)),
    }
}

/// A limit of requests in flight.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Limit {
    /// This many.
    Fixed(Positive),
    /// As many as the backend's latency shows that it can carry.
    Learned(LearnedTable),
}

impl Decode for Limit {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text != "auto" => {
                faults
                    .expected(node, "a number, \"auto\", or a table")
                    .help("\"auto\" learns it; { min = 4, max = 200 } learns it between these");
                None
            }
            Value::Text(_) => Some(Limit::Learned(LearnedTable::default())),
            Value::Table(_) => {
                let table = LearnedTable::decode(node, faults)?;
                if table.min.0 > table.max.0 {
                    faults.error(node.span, format!("{} is more than {}", table.min.0, table.max.0));
                }
                Some(Limit::Learned(table))
            }
            _ => Positive::decode(node, faults).map(Limit::Fixed),
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [Positive::schema(), { "const": "auto" }, LearnedTable::schema()] })
    }
}

document! {
    /// A limit that is learned, between these.
    pub(in super::super) struct LearnedTable {
        /// Never fewer: 1 unless set.
        pub(in super::super) min: Positive = Within(1),
        /// Never more: 1024 unless set.
        pub(in super::super) max: Positive = Within(1_024),
    }
}

/// A route's class, or how it is told.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Priority {
    /// The same for all.
    Fixed(Class),
    /// By a header.
    ByHeader(PriorityTable),
}

impl Decode for Priority {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Value::Table(_) => {
                let table = PriorityTable::decode(node, faults)?;
                if table.high.written + table.low.written == 0 {
                    faults
                        .error(node.span, "no value makes a request high or low")
                        .help("add low = [\"batch\"]");
                }
                Some(Priority::ByHeader(table))
            }
            _ => Class::decode(node, faults).map(Priority::Fixed),
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [Class::schema(), PriorityTable::schema()] })
    }
}

document! {
    /// The class of a request by one of its headers: high or low by these values, and normal by any other or none.
    pub(in super::super) struct PriorityTable {
        /// The header's name.
        pub(in super::super) header: HeaderName,
        /// Values that are served first.
        pub(in super::super) high: Many<String> = Many::default(),
        /// Values that wait longest, and are shed first.
        pub(in super::super) low: Many<String> = Many::default(),
    }
}

/// A header's name, in lower case.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct HeaderName(pub(in super::super) String);

impl Decode for HeaderName {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let name = expect_text(node, "a header's name", faults)?.to_ascii_lowercase();
        if !is_token(&name) {
            faults.error(node.span, format!("`{}` is not a header's name", name.escape_debug()));
            return None;
        }
        Some(HeaderName(name))
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["x-priority"] })
    }
}
