//! TOML, through the `toml` crate's spanned tree.

use plimsoll_core::document::{Entry, Faults, Node, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::table::defined_twice;
use super::{DEPTH_MAX, span};

/// How many errors of syntax are told: what follows one is often its consequence.
const SYNTAX_ERRORS_MAX: usize = 20;

/// Reads `text`. `None` when it is no TOML.
pub(super) fn parse(file: u32, text: &str, faults: &mut Faults) -> Option<Node> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut well_formed = true;
    let mut last_line = None;
    for error in errors.iter().take(SYNTAX_ERRORS_MAX) {
        let range = error.span().unwrap_or(text.len()..text.len());
        if error.message() == "duplicate key" {
            let key = text.get(range.clone()).unwrap_or_default().trim_matches(['"', '\'']);
            let first = first_place(table.get_ref(), text, error).map(|range| span(file, range.start, range.end));
            defined_twice(key, span(file, range.start, range.end), first, faults);
            continue;
        }
        well_formed = false;
        let line = text.as_bytes()[..range.start.min(text.len())]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        if last_line.replace(line) != Some(line) {
            faults.error(span(file, range.start, range.end), format!("TOML: {}", error.message()));
        }
    }
    let tree = convert_table(file, table.get_ref(), 0..0, 0, faults);
    tree.filter(|_| well_formed)
}

fn convert_table(
    file: u32,
    table: &DeTable<'_>,
    range: std::ops::Range<usize>,
    depth: usize,
    faults: &mut Faults,
) -> Option<Node> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table {
        entries.push(Entry {
            key: key.get_ref().to_string(),
            key_span: span(file, key.span().start, key.span().end),
            node: convert(file, value, depth + 1, faults)?,
        });
    }
    // The crate sorts by key; the file's order is what users see.
    entries.sort_by_key(|entry| entry.key_span.start);
    Some(Node {
        span: span(file, range.start, range.end),
        value: Value::Table(entries),
    })
}

fn convert(file: u32, value: &Spanned<DeValue<'_>>, depth: usize, faults: &mut Faults) -> Option<Node> {
    let place = span(file, value.span().start, value.span().end);
    if depth > DEPTH_MAX {
        faults.error(place, format!("nested deeper than {DEPTH_MAX}"));
        return None;
    }
    let value = match value.get_ref() {
        DeValue::Table(table) => return convert_table(file, table, value.span(), depth, faults),
        DeValue::Array(items) => {
            let mut read = Vec::with_capacity(items.len());
            for item in items {
                read.push(convert(file, item, depth + 1, faults)?);
            }
            Value::Array(read)
        }
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => {
                faults.error(place, "the number is too large");
                return None;
            }
        },
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Datetime(_) => {
            faults.error(place, "a date has no meaning here");
            return None;
        }
    };
    Some(Node { span: place, value })
}

/// Where the key that `error` says is there twice stands first. The crate knows and does not say; the tree that it
/// recovered keeps the first value of a key, and of a header that stands twice the text tells.
fn first_place(root: &DeTable<'_>, text: &str, error: &Error) -> Option<std::ops::Range<usize>> {
    let second = error.span()?;
    let line_start = text.get(..second.start)?.rfind('\n').map_or(0, |at| at + 1);
    let header = text[line_start..].lines().next().unwrap_or_default().trim();
    if header.starts_with('[') {
        let path = header.split(']').next()?;
        let mut at = 0;
        for line in text[..line_start].split_inclusive('\n') {
            let written = line.trim_start();
            if written.starts_with(path) && written[path.len()..].starts_with(']') {
                let start = at + (line.len() - written.len());
                return Some(start..start + path.len() + 1);
            }
            at += line.len();
        }
        return None;
    }
    let sought = Sought {
        key: text.get(second.clone())?.trim_matches(['"', '\'']),
        section: section_start(text, line_start),
        second: second.start,
    };
    let mut found = None;
    sought.search(root, text, &mut found);
    found
}

/// Where the last header before `line_start` begins.
fn section_start(text: &str, line_start: usize) -> usize {
    let mut end = line_start;
    while let Some(line) = text[..end].trim_end_matches('\n').rfind('\n').map(|at| at + 1) {
        if text[line..].trim_start().starts_with('[') {
            return line;
        }
        end = line;
    }
    0
}

/// A key that stands twice in one table.
struct Sought<'a> {
    key: &'a str,
    /// Where the table's section begins.
    section: usize,
    /// Where the key stands the second time.
    second: usize,
}

impl Sought<'_> {
    /// The last such key of the same section that is not inside an inline table of its own.
    fn search(&self, table: &DeTable<'_>, text: &str, found: &mut Option<std::ops::Range<usize>>) {
        for (name, value) in table {
            let at = name.span();
            let before = self.section <= at.start && at.end <= self.second;
            if name.get_ref() == self.key && before && found.as_ref().is_none_or(|other| other.start < at.start) {
                *found = Some(at);
            }
            self.visit(value, text, found);
        }
    }

    fn visit(&self, value: &Spanned<DeValue<'_>>, text: &str, found: &mut Option<std::ops::Range<usize>>) {
        match value.get_ref() {
            DeValue::Table(table) => {
                let inline = text.as_bytes().get(value.span().start) == Some(&b'{');
                if !inline || value.span().contains(&self.second) {
                    self.search(table, text, found);
                }
            }
            DeValue::Array(items) => items.iter().for_each(|item| self.visit(item, text, found)),
            _ => {}
        }
    }
}
