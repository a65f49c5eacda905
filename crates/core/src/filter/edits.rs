//! Changes to the fields of a head, kept until the head is written.

use std::net::SocketAddr;

use crate::document::{Decode, Faults, Json, Node, Span, Value, expect_table, expect_text};
use crate::route::Fields;
use crate::template::{BACKEND_ADDRESS, BACKEND_NAME};

/// Fields that we write ourselves: a second one would let two readers frame a message differently.
pub const FRAMING: [&str; 7] = [
    "connection",
    "content-length",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Bytes of room that are kept for the next request's changes.
const ROOM_KEPT_MAX: usize = 4 << 10;

/// Fields that are to be taken away, and fields that are to be added. Names are in lower case.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    bytes: Vec<u8>,
    removed: Vec<Part>,
    added: Vec<(Part, Part)>,
}

/// A range of the bytes of [`Edits`].
#[derive(Clone, Copy, Debug)]
struct Part {
    start: usize,
    end: usize,
}

/// The backend that a request went to, for the fields of its answer that name it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chosen<'c> {
    /// Its name; empty when there is none.
    pub name: &'c str,
    /// Its address.
    pub address: Option<SocketAddr>,
}

impl Edits {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }

    /// Forgets all changes, and keeps the room for as much, unless that is unusually large.
    pub fn clear(&mut self) {
        if self.bytes.capacity() > ROOM_KEPT_MAX {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.removed.clear();
        self.added.clear();
    }

    /// Takes away what is there of `name`, on its way in and by earlier changes.
    pub fn remove(&mut self, name: &str) {
        let Edits { bytes, added, .. } = self;
        added.retain(|(known, _)| bytes[known.start..known.end] != *name.as_bytes());
        if !self.removes(name) {
            let part = self.keep(name.as_bytes());
            self.removed.push(part);
        }
    }

    /// Adds a field beside those of its name that are there.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        let name = self.keep(name.as_bytes());
        let value = self.keep(value);
        self.added.push((name, value));
    }

    /// Puts a field in place of those of its name.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.add(name, value);
    }

    /// Does what `later` says after all of this.
    pub fn follow(&mut self, later: &Edits) {
        for part in &later.removed {
            let name = std::str::from_utf8(&later.bytes[part.start..part.end]).unwrap_or_default();
            self.remove(name);
        }
        later.added().for_each(|(name, value)| self.add(name, value));
    }

    /// Whether the fields called `name`, in any case, are taken away; with underscores for hyphens as well, since
    /// CGI-like servers do not tell them apart.
    pub fn removes(&self, name: &str) -> bool {
        let same = |(known, byte): (&u8, u8)| known.eq_ignore_ascii_case(&byte) || (*known == b'-' && byte == b'_');
        self.removed.iter().any(|part| {
            let known = &self.bytes[part.start..part.end];
            known.len() == name.len() && known.iter().zip(name.bytes()).all(same)
        })
    }

    /// What is added: names and values, which name the backend by [`Chosen::write`]'s marks.
    pub fn added(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.added.iter().map(|(name, value)| {
            let name = std::str::from_utf8(&self.bytes[name.start..name.end]).unwrap_or_default();
            (name, &self.bytes[value.start..value.end])
        })
    }

    fn keep(&mut self, bytes: &[u8]) -> Part {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let end = self.bytes.len();
        Part { start, end }
    }
}

impl Chosen<'_> {
    /// Whether a value of [`Edits::added`] names the backend.
    pub fn is_named_in(value: &[u8]) -> bool {
        value.iter().any(|byte| matches!(*byte, BACKEND_NAME | BACKEND_ADDRESS))
    }

    /// Writes a value of [`Edits::added`] with the backend in the places that are kept for it.
    pub fn write(&self, out: &mut Vec<u8>, value: &[u8]) {
        let mut rest = value;
        while let Some(at) = rest
            .iter()
            .position(|byte| matches!(*byte, BACKEND_NAME | BACKEND_ADDRESS))
        {
            out.extend_from_slice(&rest[..at]);
            match (rest[at], self.address) {
                (BACKEND_NAME, _) => out.extend_from_slice(self.name.as_bytes()),
                (_, Some(address)) => out.extend_from_slice(address.to_string().as_bytes()),
                (_, None) => {}
            }
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
    }
}

/// The fields of a head with the changes made to them.
pub struct Edited<'e> {
    /// As they came.
    pub fields: &'e dyn Fields,
    /// What is changed.
    pub edits: &'e Edits,
}

impl Fields for Edited<'_> {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let mut on = true;
        if !self.edits.removes(name) {
            self.fields.each(name, &mut |value| {
                on = visit(value);
                on
            });
        }
        let added = self.edits.added().filter(|(known, _)| *known == name);
        let _ = on && added.map(|(_, value)| value).all(visit);
    }
}

/// The name of a header field that the configuration may write, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldName(pub String);

impl FieldName {
    /// Reads `text`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = text.to_ascii_lowercase();
        if !is_token(&name) {
            return Err(format!("`{}` is not a header's name", name.escape_debug()));
        }
        if FRAMING.contains(&&*name) {
            return Err(format!("`{name}` is written by Plimsoll itself"));
        }
        if name == "host" {
            return Err("the Host is not a filter's to change".into());
        }
        Ok(FieldName(name))
    }
}

/// Header fields by their names, each once.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldMap<T>(Vec<(FieldName, T)>);

impl<T> FieldMap<T> {
    /// The fields in their order.
    pub fn iter(&self) -> impl Iterator<Item = &(FieldName, T)> {
        self.0.iter()
    }
}

impl<T: Decode> Decode for FieldMap<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let entries = expect_table(node, "a table of header fields", faults)?;
        let mut fields: Vec<(FieldName, T)> = Vec::new();
        let mut spans: Vec<Span> = Vec::new();
        for entry in entries {
            let name = match FieldName::parse(&entry.key) {
                Ok(name) => name,
                Err(why) => {
                    faults.error(entry.key_span, why);
                    continue;
                }
            };
            // RFC 9110 §5.5: anything else could end the field, or the message.
            let control = |byte: u8| byte != b'\t' && (byte < b' ' || byte == 0x7f);
            if matches!(&entry.node.value, Value::Text(text) | Value::Variable(text) if text.bytes().any(control)) {
                faults.error(entry.node.span, "a header's value holds no control characters");
                continue;
            }
            let Some(value) = T::decode(&entry.node, faults) else {
                continue;
            };
            if let Some(first) = fields.iter().position(|(known, _)| *known == name) {
                faults
                    .error(entry.key_span, format!("`{}` is there in another spelling", entry.key))
                    .also(spans[first], "first here");
                continue;
            }
            spans.push(entry.key_span);
            fields.push((name, value));
        }
        Some(FieldMap(fields))
    }

    fn absent() -> Option<Self> {
        Some(FieldMap(Vec::new()))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "object", "additionalProperties": T::schema() })
    }
}

/// Whether `text` is a token (RFC 9110 §5.6.2).
pub fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

impl Decode for FieldName {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a header's name", faults)?;
        FieldName::parse(text)
            .map_err(|why| {
                faults.error(node.span, why);
            })
            .ok()
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "string", "examples": ["x-real-ip"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Came(&'static [(&'static str, &'static str)]);

    impl Fields for Came {
        fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
            let mut values = self.0.iter().filter(|(known, _)| *known == name);
            let _ = values.all(|(_, value)| visit(value.as_bytes()));
        }
    }

    fn values(edits: &Edits, name: &str) -> Vec<String> {
        let fields = Came(&[("a", "1"), ("a", "2"), ("b", "3")]);
        let mut found = Vec::new();
        Edited { fields: &fields, edits }.each(name, &mut |value| {
            found.push(String::from_utf8_lossy(value).into_owned());
            true
        });
        found
    }

    #[test]
    fn the_last_change_of_a_field_holds() {
        let mut edits = Edits::default();
        assert_eq!(values(&edits, "a"), ["1", "2"]);
        edits.add("a", b"4");
        assert_eq!(values(&edits, "a"), ["1", "2", "4"]);
        edits.set("a", b"5");
        edits.add("a", b"6");
        assert_eq!(values(&edits, "a"), ["5", "6"]);
        edits.remove("a");
        assert!(values(&edits, "a").is_empty() && edits.removes("A"));
        edits.remove("x-user");
        assert!(edits.removes("X_User") && !edits.removes("x-use"));
        assert_eq!(values(&edits, "b"), ["3"]);
        edits.clear();
        assert!(edits.is_empty());
    }

    #[test]
    fn what_comes_later_has_the_last_word() {
        let (mut first, mut later) = (Edits::default(), Edits::default());
        first.set("a", b"4");
        first.set("b", b"5");
        later.set("a", b"6");
        later.add("b", b"7");
        first.follow(&later);
        assert_eq!(values(&first, "a"), ["6"]);
        assert_eq!(values(&first, "b"), ["5", "7"]);
    }

    #[test]
    fn the_backend_stands_where_its_place_was_kept() {
        let chosen = Chosen {
            name: "api-1",
            address: Some("10.0.0.1:80".parse().unwrap()),
        };
        let mut out = Vec::new();
        chosen.write(&mut out, b"by \x01 (\x02)!");
        assert_eq!(out, b"by api-1 (10.0.0.1:80)!");
    }
}
