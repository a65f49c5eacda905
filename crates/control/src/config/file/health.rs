//! `health` of a pool.

use std::ops::RangeInclusive;

use plimsoll_core::document::{Decode, Faults, Json, Located, Node, Value, expect_text};
use plimsoll_core::filter::{FieldMap, is_token};
use plimsoll_core::{document, words};
use serde_json::json;

use super::matching::{AbsolutePath, is_hostname, one_line};
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
    /// How backends are checked: by one of http, tcp, grpc, send and exec; tcp is meant where none is set.
    pub(in super::super) struct HealthTable {
        /// A path that is asked for.
        pub(in super::super) http: Option<Tried<AbsolutePath>>,
        /// A connection is made, and nothing is sent.
        pub(in super::super) tcp: Option<Located<bool>>,
        /// The service that grpc.health.v1.Health/Check is asked about; true, or "", for the backend as a whole.
        pub(in super::super) grpc: Option<Tried<GrpcService>>,
        /// Text that is sent over TCP; expect_bytes says what has to be answered.
        pub(in super::super) send: Option<Tried<Bytes>>,
        /// Text that has to come over TCP, after what send says, if anything.
        pub(in super::super) expect_bytes: Option<Tried<Bytes>>,
        /// A program, with its arguments, that has to exit with 0.
        pub(in super::super) exec: Option<Tried<Many<String>>>,
        /// Of http: the method, GET unless set.
        pub(in super::super) method: Option<Located<CheckMethod>>,
        /// Of http and grpc: the Host that is asked for; the backend's address unless set.
        pub(in super::super) host: Option<Located<CheckHost>>,
        /// Of http and grpc: header fields that are sent.
        pub(in super::super) headers: Option<Located<CheckFields>>,
        /// Whether it is made over TLS: as connections to the backends are, unless set.
        pub(in super::super) tls: Option<Located<bool>>,
        /// The port to check instead of the backend's own.
        pub(in super::super) port: Option<Within<1, 65_535>>,
        /// Between two checks: 2s unless set.
        pub(in super::super) interval: Option<Tried<Timeout>>,
        /// Between two checks while results speak against the state, and before the first; interval unless set.
        pub(in super::super) fast_interval: Option<Located<Timeout>>,
        /// Between two checks of a backend that is unhealthy; interval unless set.
        pub(in super::super) down_interval: Option<Located<Timeout>>,
        /// The longest that a check may take: 1s unless set, and never more than the interval.
        pub(in super::super) timeout: Option<Located<Timeout>>,
        /// Failures in a row that make a backend unhealthy.
        pub(in super::super) fall: Within<1, CHECKS_MAX> = Within(3),
        /// Passes in a row that make it healthy again.
        pub(in super::super) rise: Within<1, CHECKS_MAX> = Within(2),
        /// Of http: the statuses that pass, ["200-299"] unless set.
        pub(in super::super) expect: Option<Located<Many<StatusRange>>>,
        /// Of http: text that has to be in the answer's body, or { regex = "…" }.
        pub(in super::super) expect_body: Option<Located<BodyPattern>>,
        /// Whether a backend is used before its first check.
        pub(in super::super) initial: Initial = Initial::Unhealthy,
    }
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

/// The most bytes of a gRPC service's name.
const SERVICE_BYTES_MAX: usize = 1_024;

/// The most bytes that a check sends, or looks for.
const BYTES_MAX: usize = 4_096;

/// A service of gRPC; "" is the backend as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct GrpcService(pub(in super::super) String);

impl Decode for GrpcService {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        if node.value == Value::Bool(true) {
            return Some(GrpcService(String::new()));
        }
        let text = expect_text(node, "a service, like \"package.Service\", or true", faults)?;
        let valid = text.len() <= SERVICE_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !valid {
            faults
                .error(node.span, "this is not the name of a gRPC service")
                .help("write \"package.Service\", or true for the backend as a whole");
        }
        valid.then(|| GrpcService(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "const": true }, { "type": "string", "maxLength": SERVICE_BYTES_MAX }] })
    }
}

/// Bytes: text as it stands, or `{ hex = "…" }`.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Bytes(pub(in super::super) Vec<u8>);

impl Decode for Bytes {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let bytes = match &node.value {
            Value::Table(_) => {
                let Hex { hex } = Hex::decode(node, faults)?;
                let bytes = unhex(&hex);
                if bytes.is_none() {
                    faults
                        .error(hex.span, "these are not bytes in hexadecimal digits")
                        .help("write two digits for each byte, like \"00ff\"");
                }
                bytes?
            }
            _ => expect_text(node, "text, or { hex = \"…\" }", faults)?
                .as_bytes()
                .to_vec(),
        };
        if bytes.is_empty() || bytes.len() > BYTES_MAX {
            faults.error(node.span, format!("a check has 1 to {BYTES_MAX} bytes here"));
            return None;
        }
        Some(Bytes(bytes))
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "string", "maxLength": BYTES_MAX }, Hex::schema()] })
    }
}

document! {
    /// Bytes in hexadecimal digits.
    pub(in super::super) struct Hex {
        /// Two digits for each byte; spaces are left out.
        pub(in super::super) hex: Located<String>,
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = (text.chars().filter(|c| *c != ' '))
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    let byte = |pair: &[u32]| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}

/// The method of a check: one that changes nothing, or that a check is made for.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct CheckMethod(pub(in super::super) String);

impl Decode for CheckMethod {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a method, like \"HEAD\"", faults)?;
        // CONNECT is answered by a tunnel, and no path.
        let valid = is_token(text) && text != "CONNECT";
        if !valid {
            faults
                .error(
                    node.span,
                    format!("\"{}\" is no method of a check", text.escape_debug()),
                )
                .help("write \"GET\", \"HEAD\" or \"OPTIONS\"");
        }
        valid.then(|| CheckMethod(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["GET", "HEAD", "OPTIONS"] })
    }
}

/// Header fields of a check.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct CheckFields(pub(in super::super) FieldMap<String>);

impl Decode for CheckFields {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        if let Value::Table(entries) = &node.value
            && let Some(host) = entries.iter().find(|entry| entry.key.eq_ignore_ascii_case("host"))
        {
            faults
                .error(host.key_span, "the Host of a check is not among its headers")
                .help("write host = \"…\" beside them");
            return None;
        }
        FieldMap::decode(node, faults).map(CheckFields)
    }

    fn schema() -> Json {
        FieldMap::<String>::schema()
    }
}

/// What a body has to hold: this text, or what this regular expression finds.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum BodyPattern {
    /// Text as it stands.
    Text(String),
    /// An expression, which was compiled once to see that it can be.
    Regex(String),
}

document! {
    /// A regular expression.
    pub(in super::super) struct Expression {
        /// It is looked for anywhere.
        pub(in super::super) regex: Located<String>,
    }
}

impl Decode for BodyPattern {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        if let Value::Table(_) = node.value {
            let Expression { regex } = Expression::decode(node, faults)?;
            if let Err(error) = crate::probe::body_regex(&regex) {
                let told = one_line(&format!("\"{}\" is not a regular expression: {error}", regex.value));
                faults.error(regex.span, told);
                return None;
            }
            return Some(BodyPattern::Regex(regex.value));
        }
        let text = expect_text(node, "text, or { regex = \"…\" }", faults)?;
        if text.is_empty() {
            faults
                .error(node.span, "every body holds nothing")
                .help("leave the key out");
            return None;
        }
        Some(BodyPattern::Text(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "string" }, Expression::schema()] })
    }
}
