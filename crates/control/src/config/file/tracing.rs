//! `[tracing]`.

use plimsoll_core::document::{Decode, Faults, Json, Located, Node, Value, expect_text};
use plimsoll_core::filter::Url;
use plimsoll_core::trace::Share;
use plimsoll_core::{document, words};
use serde_json::json;

use super::values::Keyed;

document! {
    /// Traces of requests, which are told to a collector by OTLP: one span for each request, and one for each attempt.
    pub(in super::super) struct Tracing {
        /// The collector, by OTLP over HTTP: "http://127.0.0.1:4318". Without a path it is asked at /v1/traces.
        pub(in super::super) otlp: Located<Collector>,
        /// How many of the traces that begin here are told: "1%", or 0.01; all of them unless set. Whether a trace is told
        /// that began elsewhere is decided there.
        pub(in super::super) sample: Sample = Sample(Share::of(1.0)),
        /// Whether requests that fail are told though their traces are not, as far as they happened here.
        pub(in super::super) failures: bool = true,
        /// Whose traces are gone on with: "trusted", which is [server] trusted_proxies, or "anyone".
        pub(in super::super) continue_from: Follows = Follows::Trusted,
        /// What this node is called in traces.
        pub(in super::super) service_name: String = "plimsoll".into(),
        /// What else is said of this node, like { "deployment.environment.name" = "production" }.
        pub(in super::super) attributes: Keyed<String>,
        /// Fields that the collector is sent, like { authorization = "Bearer ${TOKEN}" } or
        /// { authorization = { file = "token" } }.
        pub(in super::super) headers: Keyed<FieldText>,
        /// A file of certificates in PEM that vouch for the collector; the machine's own unless set.
        pub(in super::super) ca: Option<Located<String>>,
    }
}

words! {
    /// Whose traces are gone on with.
    pub(in super::super) enum Follows {
        /// Those of trusted proxies.
        Trusted = "trusted",
        /// Everybody's.
        Anyone = "anyone",
    }
}

/// Where OTLP is taken.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Collector(pub(in super::super) Url);

impl Decode for Collector {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a URL, like \"http://127.0.0.1:4318\"", faults)?;
        let url = Url::parse(text).filter(|url| url.host_and_port().is_some());
        let Some(mut url) = url else {
            let fault = faults.error(node.span, format!("\"{}\" is no URL", text.escape_debug()));
            fault.help(if text.starts_with("grpc") || text.ends_with(":4317") {
                "traces are told over HTTP, which collectors take at port 4318: \"http://127.0.0.1:4318\""
            } else {
                "write it like \"http://127.0.0.1:4318\"; names and passwords belong into `headers`"
            });
            return None;
        };
        // As with OTEL_EXPORTER_OTLP_ENDPOINT.
        if url.target == "/" {
            url.target = "/v1/traces".into();
        }
        Some(Collector(url))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^https?://", "examples": ["http://127.0.0.1:4318"] })
    }
}

/// A share of all traces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Sample(pub(in super::super) Share);

impl Decode for Sample {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let ratio = match &node.value {
            Value::Text(text) | Value::Variable(text) if text.ends_with('%') => {
                let percent = text.trim_end_matches('%').trim().parse::<f64>().ok();
                percent.map(|percent| percent / 100.0)
            }
            _ => f64::decode(node, &mut Faults::default()),
        };
        match ratio {
            Some(ratio) if (0.0..=1.0).contains(&ratio) => Some(Sample(Share::of(ratio))),
            Some(ratio) if ratio > 1.0 && ratio <= 100.0 && !matches!(node.value, Value::Text(_)) => {
                faults
                    .error(node.span, format!("{ratio} is out of range: 0 to 1"))
                    .help(format!("of a hundred it is \"{ratio}%\""));
                None
            }
            Some(_) => {
                faults.error(node.span, "out of range: \"0%\" to \"100%\", or 0 to 1");
                None
            }
            None => {
                faults.expected(node, "a share, like \"1%\" or 0.01");
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$", "examples": ["1%"] },
            { "type": "number", "minimum": 0, "maximum": 1 },
        ] })
    }
}

/// A field's value, or the file that has it.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum FieldText {
    /// The value.
    Here(String),
    /// A file with the value.
    In(Located<String>),
}

document! {
    /// A file with a field's value; white space around it does not count.
    struct FieldFile {
        /// The file. It is read again each time.
        file: Located<String>,
    }
}

impl Decode for FieldText {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Value::Table(_) => FieldFile::decode(node, faults).map(|table| FieldText::In(table.file)),
            _ => {
                let text = expect_text(node, "a text, or { file = \"…\" }", faults)?;
                if !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
                    faults.error(node.span, "a field's value is of plain ASCII, on one line");
                    return None;
                }
                Some(FieldText::Here(text.to_owned()))
            }
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "string" }, FieldFile::schema()] })
    }
}
