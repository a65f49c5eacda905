//! `map`: a field of the request is set to what a file has for a key, as HAProxy's `map_str` does.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::held::{self, Contents, Wrong};
use super::{FieldName, FileName, FileUse, Filter, FilterCx, FilterKind, Flow, Held, Keep, RequestView};
use crate::document;
use crate::template::{Position, Template};

document! {
    /// A field of the request is set to what a file has for a key.
    pub struct Map {
        /// A file with one key a line and, behind white space, its value; it is watched.
        file: FileName,
        /// What is looked up.
        key: Template,
        /// The field that is set to the key's value, in place of what the client sent.
        set: FieldName,
        /// What it is set to when the file has no such key; the field is removed unless this is set.
        default: Option<Template>,
    }
}

/// Keys and their values.
struct Pairs(BTreeMap<Box<str>, Box<str>>);

/// The filter.
struct Mapped {
    pairs: Arc<Held<Pairs>>,
    table: Map,
}

impl Contents for Pairs {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let mut pairs: BTreeMap<Box<str>, Box<str>> = BTreeMap::new();
        for (at, line) in held::lines(text) {
            let Some((key, value)) = line.split_once([' ', '\t']) else {
                return Err(Wrong::line(
                    at,
                    format!("the key `{}` has no value", line.escape_debug()),
                ));
            };
            // RFC 9110 §5.5: anything else could end the field that the value is written to.
            if value.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
                return Err(Wrong::line(at, "the value holds control characters"));
            }
            if pairs.insert(key.into(), value.trim_start().into()).is_some() {
                return Err(Wrong::line(
                    at,
                    format!("the key `{}` is there twice", key.escape_debug()),
                ));
            }
        }
        Ok(Pairs(pairs))
    }

    fn entries(&self) -> usize {
        self.0.len()
    }
}

impl FilterKind for Map {
    fn build(&self, keep: &mut dyn Keep) -> Box<dyn Filter> {
        Box::new(Mapped {
            pairs: Held::of(&self.file, keep),
            table: self.clone(),
        })
    }

    fn files(&mut self) -> Vec<FileUse<'_>> {
        vec![FileUse {
            name: &mut self.file,
            slot: Held::<Pairs>::slot,
        }]
    }
}

impl Filter for Mapped {
    fn request(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let Map { key, set, default, .. } = &self.table;
        let rendered = |template: &Template| {
            let mut out = Vec::new();
            template.render(&mut out, Position::Field, &cx.values(head, &head.fields()));
            out
        };
        let key = String::from_utf8_lossy(&rendered(key)).into_owned();
        let pairs = self.pairs.now();
        let found = pairs.as_ref().and_then(|pairs| pairs.0.get(&*key));
        let default = if found.is_none() {
            default.as_ref().map(rendered)
        } else {
            None
        };
        let name = &set.0;
        match (found, &default) {
            (Some(value), _) => {
                cx.say(|| format!("sets {name}"));
                head.changes.request.set(name, value.as_bytes());
            }
            (None, Some(value)) => {
                cx.say(|| format!("the file has no such key; sets {name} to the default"));
                head.changes.request.set(name, value);
            }
            (None, None) => {
                cx.say(|| format!("the file has no such key; removes {name}"));
                head.changes.request.remove(name);
            }
        }
        Flow::Next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_key_and_its_value_a_line() {
        let pairs = Pairs::parse("# tenants\na.example  one\nb.example\ttwo words # no comment\n").unwrap();
        let value = |key: &str| pairs.0.get(key).map(|value| &**value);
        assert_eq!(value("a.example"), Some("one"));
        assert_eq!(value("b.example"), Some("two words # no comment"));
        assert_eq!((value("A.example"), pairs.entries()), (None, 2));
        for (bad, line) in [("a", 1), ("a 1\na 2", 2), ("a 1\nb \x01", 2)] {
            assert_eq!(
                Pairs::parse(bad).err().and_then(|wrong| wrong.line),
                Some(line),
                "{bad:?}"
            );
        }
    }
}
