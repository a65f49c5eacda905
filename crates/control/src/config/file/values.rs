//! Values that several tables use: lists, names, and numbers with a range.

use std::time::Duration;

use plimsoll_core::document::{Decode, Faults, Json, Located, Node, Span, Value, expect_table, expect_text};
use serde_json::json;

/// The longest duration: a year. Longer ones are slips, and clocks overflow somewhere.
const DURATION_MAX: Duration = Duration::from_secs(365 * 86_400);

/// The longest name, in bytes. Names are labels of metrics and parts of URLs.
const NAME_BYTES_MAX: usize = 128;

/// A list, or one value that stands for a list of one.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Many<T> {
    /// What could be read.
    pub(in super::super) items: Vec<Located<T>>,
    /// How many were written.
    pub(in super::super) written: usize,
}

impl<T> Default for Many<T> {
    fn default() -> Self {
        Many {
            items: Vec::new(),
            written: 0,
        }
    }
}

impl<T> Many<T> {
    /// The values.
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = &Located<T>> {
        self.items.iter()
    }
}

impl<T: Decode> Decode for Many<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let written = match &node.value {
            Value::Array(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        if written.is_empty() {
            faults
                .error(node.span, "the list is empty")
                .help("leave the key out, or name at least one");
            return None;
        }
        Some(Many {
            items: written
                .iter()
                .filter_map(|item| Located::decode(item, faults))
                .collect(),
            written: written.len(),
        })
    }

    fn schema() -> Json {
        json!({ "anyOf": [T::schema(), { "type": "array", "items": T::schema(), "minItems": 1 }] })
    }
}

/// A list of tables, with what was written of each beside what could be read.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Each<T>(pub(in super::super) Vec<Item<T>>);

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Item<T> {
    /// What could be read.
    pub(in super::super) value: Option<T>,
    /// Where it stands.
    pub(in super::super) span: Span,
    /// The keys that were written.
    pub(in super::super) keys: Vec<String>,
}

impl<T: Decode> Item<T> {
    fn read(node: &Node, span: Span, faults: &mut Faults) -> Self {
        let keys = match &node.value {
            Value::Table(entries) => entries.iter().map(|entry| entry.key.clone()).collect(),
            _ => Vec::new(),
        };
        Item {
            value: T::decode(node, faults),
            span,
            keys,
        }
    }
}

impl<T> Item<T> {
    /// Whether `key` was written, readable or not.
    pub(in super::super) fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|written| written == key)
    }
}

impl<T: Decode> Decode for Item<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        Some(Item::read(node, node.span, faults))
    }

    fn schema() -> Json {
        T::schema()
    }
}

impl<T: Decode> Decode for Each<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let Value::Array(items) = &node.value else {
            faults.expected(node, "a list of tables");
            return None;
        };
        Some(Each(
            items.iter().map(|item| Item::read(item, item.span, faults)).collect(),
        ))
    }

    fn absent() -> Option<Self> {
        Some(Each(Vec::new()))
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema() })
    }
}

/// A table of named tables, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Named<T>(pub(in super::super) Vec<(String, Item<T>)>);

impl<T> Named<T> {
    /// All names, also of what could not be read.
    pub(in super::super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// What could be read, with name and place.
    pub(in super::super) fn read(&self) -> impl Iterator<Item = (&str, &Item<T>, &T)> {
        self.0
            .iter()
            .filter_map(|(name, item)| item.value.as_ref().map(|value| (name.as_str(), item, value)))
    }
}

impl<T: Decode> Decode for Named<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let entries = expect_table(node, "a table of named tables", faults)?;
        let mut named = Vec::with_capacity(entries.len());
        for entry in entries {
            check_name(&entry.key, entry.key_span, faults);
            named.push((entry.key.clone(), Item::read(&entry.node, entry.key_span, faults)));
        }
        Some(Named(named))
    }

    fn absent() -> Option<Self> {
        Some(Named(Vec::new()))
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }
}

/// A name that the user chose.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Name(pub(in super::super) String);

impl Decode for Name {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a name", faults)?;
        check_name(text, node.span, faults).then(|| Name(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[^\\s/]+$", "maxLength": NAME_BYTES_MAX })
    }
}

/// Names stand in URLs, in `POOL/BACKEND`, and in metrics: no slash, no space, nothing that cannot be seen.
fn check_name(name: &str, span: Span, faults: &mut Faults) -> bool {
    let wrong = name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || name
            .chars()
            .any(|c| c == '/' || c.is_whitespace() || c.is_control() || is_invisible(c));
    if wrong {
        faults.error(span, "this cannot be a name").help(format!(
            "a name has 1 to {NAME_BYTES_MAX} bytes, and no slash, space or control character"
        ));
    }
    !wrong
}

/// What nobody sees and what turns text round: those of Unicode's default ignorable code points that are marks of format
/// (UAX #44). In a terminal they would make one name look like another.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

/// A table whose keys are names that have no meaning to us, each with its place, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Keyed<T>(pub(in super::super) Vec<(Located<String>, T)>);

impl<T: Decode> Decode for Keyed<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let entries = expect_table(node, "a table", faults)?;
        let read = entries.iter().filter_map(|entry| {
            let name = Located {
                value: entry.key.clone(),
                span: entry.key_span,
            };
            Some((name, T::decode(&entry.node, faults)?))
        });
        Some(Keyed(read.collect()))
    }

    fn absent() -> Option<Self> {
        Some(Keyed(Vec::new()))
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }
}

/// A value that may have been written in a way that could not be read: unlike one that was left out, it is not known.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Tried<T>(pub(in super::super) Option<Located<T>>);

impl<T> Tried<T> {
    /// The value of a key that was left out.
    pub(in super::super) fn absent(value: T) -> Self {
        Tried(Some(Located {
            value,
            span: Span::default(),
        }))
    }
}

impl<T: Decode> Decode for Tried<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        Some(Tried(Located::decode(node, faults)))
    }

    fn schema() -> Json {
        T::schema()
    }
}

fn duration(node: &Node, zero: Option<&str>, faults: &mut Faults) -> Option<Duration> {
    let duration = Duration::decode(node, faults)?;
    if let (true, Some(help)) = (duration.is_zero(), zero) {
        faults
            .error(node.span, "a timeout of zero lets nothing through")
            .help(help);
        return None;
    }
    if duration > DURATION_MAX {
        faults
            .error(node.span, "longer than a year")
            .help(format!("write at most \"{}d\"", DURATION_MAX.as_secs() / 86_400));
        return None;
    }
    Some(duration)
}

/// A duration that is not zero, up to a year.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Timeout(pub(in super::super) Duration);

impl Decode for Timeout {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        duration(node, Some("leave the key out to have the default"), faults).map(Timeout)
    }

    fn schema() -> Json {
        Duration::schema()
    }
}

/// A duration up to a year; zero means not at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Pause(pub(in super::super) Duration);

impl Decode for Pause {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        duration(node, None, faults).map(Pause)
    }

    fn schema() -> Json {
        Duration::schema()
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Within<const MIN: u32, const MAX: u32>(pub(crate) u32);

/// Percent, 0 to 100.
pub(in super::super) type Percent = Within<0, 100>;

/// At least one.
pub(in super::super) type Positive = Within<1, { u32::MAX }>;

impl<const MIN: u32, const MAX: u32> Decode for Within<MIN, MAX> {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let Some(number) = node.integer() else {
            faults.expected(node, "a whole number");
            return None;
        };
        let value = u32::try_from(number).ok().filter(|number| (MIN..=MAX).contains(number));
        if value.is_none() {
            let message = match (MAX, number < i64::from(MIN)) {
                (u32::MAX, true) => format!("{number} is out of range: at least {MIN}"),
                _ => format!("{number} is out of range: {MIN} to {MAX}"),
            };
            faults.error(node.span, message);
        }
        value.map(Within)
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A table that `false` may stand instead of.
macro_rules! table_or_false {
    ($name:ident, $variant:ident($table:ty)) => {
        impl Decode for $name {
            fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
                match node.value {
                    Value::Bool(false) => Some($name::Off),
                    Value::Table(_) => <$table>::decode(node, faults).map($name::$variant),
                    _ => {
                        faults.expected(node, "a table, or false");
                        None
                    }
                }
            }

            fn schema() -> Json {
                json!({ "anyOf": [{ "const": false }, <$table>::schema()] })
            }
        }
    };
}

pub(super) use table_or_false;
