//! What users write, as a tree that remembers where each part stood, and how it becomes typed configuration.
//!
//! The tree is the same for TOML, YAML and JSON; `plimsoll-control` reads the text. Decoding collects every fault
//! instead of stopping at the first, so that `plimsoll check` can show them all. An extension (a policy, a filter)
//! owns its configuration: it is declared once, with [`document!`](crate::document!), which makes the struct, its decoder and its
//! JSON Schema.

mod decode;
mod macros;
mod table;
pub mod units;

pub use decode::{Decode, Fault, Faults, Located, Severity, expect_table, expect_text, nearest};
pub use serde_json::{Map as JsonMap, Value as Json};
pub use table::{
    absent_or_fault, described, expect_word, plain, quoted, refuse_unknown, table_schema, with_property, with_required,
    words_schema,
};

/// A range of bytes in one of the files that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Which file, in the order in which they were read.
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// One value of the document and where it stood.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stood.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// What a [`Node`] can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// YAML's and JSON's null; TOML has none.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
    /// Text that is one variable of the environment and nothing else: it may also stand for a number or a boolean.
    Variable(String),
    /// A list.
    Array(Vec<Node>),
    /// Keys and values, in the order of the file, each key once.
    Table(Vec<Entry>),
}

/// One key of a table and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stood.
    pub key_span: Span,
    /// The value.
    pub node: Node,
}

impl Node {
    /// The value under `key`, when this is a table that has it.
    pub fn field(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Table(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub fn field_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Table(entries) => {
                let entry = entries.iter_mut().find(|entry| entry.key == key);
                entry.map(|entry| &mut entry.node)
            }
            _ => None,
        }
    }

    /// The whole number that this is, or that the variable holds.
    pub fn integer(&self) -> Option<i64> {
        match &self.value {
            Value::Integer(number) => Some(*number),
            Value::Variable(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// What kind of value this is, as an error message calls it.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Text(_) | Value::Variable(_) => "text",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}
