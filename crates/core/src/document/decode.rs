//! Decoding: from [`Node`]s to typed values, with every fault collected.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;

use serde_json::{Value as Json, json};

use super::{Entry, Node, Span, Value};

/// A type that can be read from a document.
pub trait Decode: Sized {
    /// Reads `node`. `None` means that at least one error was added to `faults`. `Some` may come with errors too: a
    /// part that could not be read is left out or has its default, so that later checks find what else is wrong.
    /// [`Faults::has_errors`] says whether the result may be used.
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self>;

    /// The value that stands for a key that was left out; `None` when the key is required.
    fn absent() -> Option<Self> {
        None
    }

    /// The JSON Schema (draft 2020-12) of what `decode` accepts.
    fn schema() -> Json;
}

/// How bad a [`Fault`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, and will hurt.
    Warning,
}

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// How bad it is.
    pub severity: Severity,
    /// The offending text.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What to type instead.
    pub help: Option<String>,
    /// A second place that belongs to it ("first defined here").
    pub also: Option<(Span, String)>,
}

/// The faults found so far.
#[derive(Debug, Default)]
pub struct Faults {
    /// In the order in which they were found.
    pub list: Vec<Fault>,
}

impl Faults {
    /// Adds an error and returns it, to be completed.
    pub fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Fault {
        self.push(Severity::Error, span, message.into())
    }

    /// Adds a warning and returns it, to be completed.
    pub fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Fault {
        self.push(Severity::Warning, span, message.into())
    }

    /// Adds the error that `node` is not what was expected.
    pub fn expected(&mut self, node: &Node, expected: &str) -> &mut Fault {
        self.error(node.span, format!("expected {expected}, found {}", node.kind()))
    }

    /// Adds the error that `what` belongs to the contract and is not built yet.
    pub fn not_built(&mut self, span: Span, what: &str) -> &mut Fault {
        self.error(
            span,
            format!("{what} is not built yet in Plimsoll {}", env!("CARGO_PKG_VERSION")),
        )
    }

    /// Whether the document holds errors, and so cannot be used.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|fault| fault.severity == Severity::Error)
    }

    /// Keeps the first of those faults that say the same of the same place.
    pub fn forget_repeated(&mut self) {
        let mut kept: Vec<Fault> = Vec::with_capacity(self.list.len());
        let mut seen = BTreeSet::new();
        for fault in self.list.drain(..) {
            let Span { file, start, end } = fault.span;
            if seen.insert((file, start, end, fault.message.clone())) {
                kept.push(fault);
            }
        }
        self.list = kept;
    }

    fn push(&mut self, severity: Severity, span: Span, message: String) -> &mut Fault {
        let at = self.list.len();
        self.list.push(Fault {
            severity,
            span,
            message,
            help: None,
            also: None,
        });
        &mut self.list[at]
    }
}

impl Fault {
    /// Says what to type instead.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Points at a second place.
    pub fn also(&mut self, span: Span, label: impl Into<String>) -> &mut Self {
        self.also = Some((span, label.into()));
        self
    }
}

/// A value that remembers where it stood, for checks that come after decoding.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stood; the default span when it was left out.
    pub span: Span,
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The word of `known` that is nearest to `word`, when one is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase().replace('_', "-");
    known
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.replace('_', "-")),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().max(word.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The entries of `node`, or an error that says that a table was expected.
pub fn expect_table<'a>(node: &'a Node, what: &str, faults: &mut Faults) -> Option<&'a [Entry]> {
    match &node.value {
        Value::Table(entries) => Some(entries),
        _ => {
            faults.expected(node, what);
            None
        }
    }
}

/// The text of `node`, or an error that says what text was expected.
pub fn expect_text<'a>(node: &'a Node, what: &str, faults: &mut Faults) -> Option<&'a str> {
    match &node.value {
        Value::Text(text) | Value::Variable(text) => Some(text),
        _ => {
            faults.expected(node, what);
            None
        }
    }
}

impl<T: Decode> Decode for Located<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        T::decode(node, faults).map(|value| Located { value, span: node.span })
    }

    fn absent() -> Option<Self> {
        T::absent().map(|value| Located {
            value,
            span: Span::default(),
        })
    }

    fn schema() -> Json {
        T::schema()
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        T::decode(node, faults).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn schema() -> Json {
        T::schema()
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let Value::Array(items) = &node.value else {
            faults.expected(node, "a list");
            return None;
        };
        Some(items.iter().filter_map(|item| T::decode(item, faults)).collect())
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema() })
    }
}

/// A table whose keys are names that the user chose.
impl<T: Decode> Decode for BTreeMap<String, T> {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let entries = expect_table(node, "a table", faults)?;
        Some(
            entries
                .iter()
                .filter_map(|entry| T::decode(&entry.node, faults).map(|value| (entry.key.clone(), value)))
                .collect(),
        )
    }

    fn absent() -> Option<Self> {
        Some(BTreeMap::new())
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }
}

impl Decode for String {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        expect_text(node, "text", faults).map(str::to_owned)
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

impl Decode for bool {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Value::Bool(value) => Some(*value),
            Value::Variable(text) if text == "true" => Some(true),
            Value::Variable(text) if text == "false" => Some(false),
            _ => {
                faults.expected(node, "true or false");
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

macro_rules! decode_whole_number {
    ($($number:ty),*) => {$(
        impl Decode for $number {
            fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
                let Some(value) = node.integer() else {
                    faults.expected(node, "a whole number");
                    return None;
                };
                let number = <$number>::try_from(value).ok();
                if number.is_none() {
                    faults.error(node.span, format!("{value} is out of range: {} to {}", <$number>::MIN, <$number>::MAX));
                }
                number
            }

            fn schema() -> Json {
                json!({ "type": "integer", "minimum": <$number>::MIN, "maximum": <$number>::MAX })
            }
        }
    )*};
}

decode_whole_number!(u8, u16, u32, u64);

impl Decode for f64 {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let number = match &node.value {
            #[expect(clippy::cast_precision_loss, reason = "a configured number is far below 2^52")]
            Value::Integer(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            Value::Variable(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number: &f64| number.is_finite());
        if number.is_none() {
            faults.expected(node, "a number");
        }
        number
    }

    fn schema() -> Json {
        json!({ "type": "number" })
    }
}

impl Decode for SocketAddr {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "an address and a port, like \"127.0.0.1:8080\"", faults)?;
        let address = match text.strip_prefix(':') {
            Some(port) => port
                .parse()
                .ok()
                .map(|port| SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port)),
            None => text.parse().ok(),
        };
        if address.is_none() {
            faults
                .error(node.span, format!("\"{text}\" is not an address and a port"))
                .help("write it like \"127.0.0.1:8080\", \"[::1]:8080\" or \":8080\"");
        }
        address
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["127.0.0.1:8080", "[::1]:8080"] })
    }
}
