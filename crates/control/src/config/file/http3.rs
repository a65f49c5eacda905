//! `[listeners.NAME.http3]`, or `http3 = true`.

use std::time::Duration;

use plimsoll_core::document;
use plimsoll_core::document::{Decode, Faults, Json, Node, Value};

use super::values::{Positive, Timeout};

/// How long clients remember where there is HTTP/3: RFC 7838 §3.1 has a day when nothing is said.
const MAX_AGE: Duration = Duration::from_secs(86_400);

/// Whether HTTP/3 is spoken.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Http3 {
    /// It is not.
    Off,
    /// It is.
    On(Told),
}

document! {
    /// What answers over TCP tell clients of HTTP/3 here.
    pub(in super::super) struct Told {
        /// The port that clients reach it at, where something in front forwards another one to us: our own unless set.
        pub(in super::super) port: Option<Positive>,
        /// How long clients may remember it.
        pub(in super::super) max_age: Timeout = Timeout(MAX_AGE),
    }
}

impl Http3 {
    /// What is told, where it is spoken.
    pub(in super::super) fn told(&self) -> Option<&Told> {
        match self {
            Http3::Off => None,
            Http3::On(told) => Some(told),
        }
    }
}

impl Decode for Http3 {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.value {
            Value::Bool(false) => Some(Http3::Off),
            Value::Bool(true) => Some(Http3::On(Told {
                port: None,
                max_age: Timeout(MAX_AGE),
            })),
            Value::Table(_) => {
                let told = Told::decode(node, faults)?;
                if told.port.is_some_and(|port| port.0 > u32::from(u16::MAX)) {
                    faults.error(node.span, "a port is no larger than 65535");
                    return None;
                }
                Some(Http3::On(told))
            }
            _ => {
                faults.expected(node, "true, false, or { port = 443, max_age = \"24h\" }");
                None
            }
        }
    }

    fn absent() -> Option<Self> {
        Some(Http3::Off)
    }

    fn schema() -> Json {
        serde_json::json!({ "anyOf": [{ "type": "boolean" }, Told::schema()] })
    }
}
