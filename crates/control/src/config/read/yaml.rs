//! YAML 1.2, one document, by its core schema: `yes` is text, `true` is a boolean. Anchors and aliases work; tags other
//! than the core schema's do not.

use std::collections::HashMap;

use plimsoll_core::document::{Entry, Faults, Node, Value};
use saphyr_parser::{Event, Parser, ScalarStyle, Span as Marks, StrInput, Tag};

use super::table::Table;
use super::{DEPTH_MAX, span};

/// The most values that one document holds, aliases counted for what they stand for: ten lines of aliases to aliases
/// stand for billions.
const VALUES_MAX: usize = 2_000_000;

/// Reads `text`. `None` when it is no YAML.
pub(super) fn parse(file: u32, text: &str, faults: &mut Faults) -> Option<Node> {
    let mut reader = Reader {
        file,
        text,
        bytes: byte_offsets(text),
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        values: 0,
        faults,
    };
    match reader.document() {
        Ok(node) => Some(node),
        Err(Wrong { from, to, message }) => {
            faults.error(span(file, from, to), format!("YAML: {message}"));
            None
        }
    }
}

/// The byte at which each character begins; `None` when every character is a byte.
fn byte_offsets(text: &str) -> Option<Vec<u32>> {
    (!text.is_ascii()).then(|| {
        text.char_indices()
            .map(|(at, _)| u32::try_from(at).unwrap_or(u32::MAX))
            .collect()
    })
}

/// The first place where the text is no YAML that we read.
struct Wrong {
    from: usize,
    to: usize,
    message: String,
}

struct Reader<'a> {
    file: u32,
    text: &'a str,
    bytes: Option<Vec<u32>>,
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    values: usize,
    faults: &'a mut Faults,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Node, Wrong> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, marks) => {
                    let (from, _) = self.range(marks);
                    return Ok(root.unwrap_or(Node {
                        span: span(self.file, from, from),
                        value: Value::Table(Vec::new()),
                    }));
                }
                (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
                (event, marks) if root.is_none() => root = Some(self.value(event, marks, 0)?),
                (_, marks) => return Err(self.wrong(marks, "a second document has no meaning here")),
            }
        }
    }

    fn value(&mut self, event: Event<'a>, marks: Marks, depth: usize) -> Result<Node, Wrong> {
        if depth > DEPTH_MAX {
            return Err(self.wrong(marks, &format!("nested deeper than {DEPTH_MAX}")));
        }
        self.count(1, marks)?;
        let (from, mut to) = self.range(marks);
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (self.scalar(&text, style, tag.as_deref(), marks)?, anchor),
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), "seq", marks)?;
                let value = self.sequence(depth, &mut to)?;
                (value, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), "map", marks)?;
                let value = self.mapping(depth, &mut to)?;
                (value, anchor)
            }
            Event::Alias(id) => return self.alias(id, marks, depth),
            _ => return Err(self.wrong(marks, "expected a value")),
        };
        let node = Node {
            span: span(self.file, from, to.max(from)),
            value,
        };
        if anchor != 0 {
            self.count(size(&node), marks)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, marks: Marks, at: usize) -> Result<Node, Wrong> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            return Err(self.wrong(marks, "an alias inside of what it stands for"));
        };
        self.count(size(&node), marks)?;
        if at + depth(&node) > DEPTH_MAX {
            return Err(self.wrong(marks, &format!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize, to: &mut usize) -> Result<Value, Wrong> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, marks) => {
                    *to = self.range(marks).1;
                    return Ok(Value::Array(items));
                }
                (event, marks) => items.push(self.value(event, marks, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize, to: &mut usize) -> Result<Value, Wrong> {
        let mut table = Table::default();
        loop {
            let (event, marks) = self.next()?;
            if event == Event::MappingEnd {
                *to = self.range(marks).1;
                return Ok(Value::Table(table.into_entries()));
            }
            let Event::Scalar(key, ..) = event else {
                return Err(self.wrong(marks, "a key has to be text"));
            };
            let (from, to) = self.range(marks);
            let (event, marks) = self.next()?;
            let node = self.value(event, marks, depth + 1)?;
            let entry = Entry {
                key: key.into_owned(),
                key_span: span(self.file, from, to),
                node,
            };
            table.insert(entry, self.faults);
        }
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, marks: Marks) -> Result<Value, Wrong> {
        if tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str") {
            return Ok(Value::Text(text.to_owned()));
        }
        self.refuse_tag(tag, "", marks)?;
        if style != ScalarStyle::Plain {
            return Ok(Value::Text(text.to_owned()));
        }
        plain(text).ok_or_else(|| self.wrong(marks, "the number is too large"))
    }

    fn refuse_tag(&self, tag: Option<&Tag>, allowed: &str, marks: Marks) -> Result<(), Wrong> {
        match tag {
            Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == allowed) => {
                Err(self.wrong(marks, &format!("the tag {tag} has no meaning here")))
            }
            _ => Ok(()),
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Marks), Wrong> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let at = self.byte(error.marker().index());
                let width = self.text[at..]
                    .chars()
                    .next()
                    .map_or(0, |c| if c == '\n' { 0 } else { c.len_utf8() });
                Err(Wrong {
                    from: at,
                    to: at + width,
                    message: error.info().to_owned(),
                })
            }
            None => Err(Wrong {
                from: self.text.len(),
                to: self.text.len(),
                message: "the text ends too early".into(),
            }),
        }
    }

    fn count(&mut self, values: usize, marks: Marks) -> Result<(), Wrong> {
        self.values = self.values.saturating_add(values);
        if self.values > VALUES_MAX {
            return Err(self.wrong(marks, &format!("more than {VALUES_MAX} values")));
        }
        Ok(())
    }

    fn wrong(&self, marks: Marks, message: &str) -> Wrong {
        let (from, to) = self.range(marks);
        Wrong {
            from,
            to,
            message: message.into(),
        }
    }

    fn range(&self, marks: Marks) -> (usize, usize) {
        let from = self.byte(marks.start.index());
        (from, self.byte(marks.end.index()).max(from))
    }

    /// The byte at which the character number `index` begins.
    fn byte(&self, index: usize) -> usize {
        match &self.bytes {
            None => index.min(self.text.len()),
            Some(bytes) => bytes.get(index).map_or(self.text.len(), |at| *at as usize),
        }
    }
}

/// A plain scalar by the core schema (YAML 1.2.2 §10.3.2). `None` for a whole number out of range.
fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 {
        return Some(Value::Text(text.to_owned()));
    }
    let number = text.strip_prefix('+').unwrap_or(text);
    let is_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits(unsigned) {
        return number.parse().ok().map(Value::Integer);
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.chars().all(|c| c.is_digit(radix))
        {
            return i64::from_str_radix(digits, radix).ok().map(Value::Integer);
        }
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Some(Value::Float(f64::INFINITY));
    }
    let looks_like_one = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    Some(match number.parse() {
        Ok(float) if looks_like_one => Value::Float(float),
        _ => Value::Text(text.to_owned()),
    })
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Table(entries) => entries.iter().map(|entry| size(&entry.node)).sum(),
        Value::Array(items) => items.iter().map(size).sum(),
        _ => 0,
    }
}

fn depth(node: &Node) -> usize {
    1 + match &node.value {
        Value::Table(entries) => entries.iter().map(|entry| depth(&entry.node)).max().unwrap_or(0),
        Value::Array(items) => items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
