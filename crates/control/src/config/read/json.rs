//! JSON (RFC 8259), strictly: no comments, no trailing commas, each key once. serde_json tells no places.

use plimsoll_core::document::{Entry, Faults, Node, Value};

use super::table::Table;
use super::{DEPTH_MAX, span};

/// Reads `text`. `None` when it is no JSON.
pub(super) fn parse(file: u32, text: &str, faults: &mut Faults) -> Option<Node> {
    let mut reader = Reader {
        file,
        text,
        at: if text.starts_with('\u{feff}') {
            '\u{feff}'.len_utf8()
        } else {
            0
        },
        faults,
    };
    let result = reader.value(0).and_then(|node| {
        reader.space();
        if reader.at < text.len() {
            return Err(reader.wrong("nothing after the document"));
        }
        Ok(node)
    });
    match result {
        Ok(node) => Some(node),
        Err(Wrong { at, message }) => {
            let width = text[at..]
                .chars()
                .next()
                .map_or(0, |c| if c == '\n' { 0 } else { c.len_utf8() });
            faults.error(span(file, at, at + width), format!("JSON: {message}"));
            None
        }
    }
}

/// The first place where the text is no JSON.
struct Wrong {
    at: usize,
    message: String,
}

struct Reader<'a> {
    file: u32,
    text: &'a str,
    at: usize,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Node, Wrong> {
        self.space();
        let start = self.at;
        if depth > DEPTH_MAX {
            return Err(Wrong {
                at: start,
                message: format!("nested deeper than {DEPTH_MAX}"),
            });
        }
        let value = match self.peek() {
            Some(b'{') => self.table(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node {
            span: span(self.file, start, self.at),
            value,
        })
    }

    fn table(&mut self, depth: usize) -> Result<Value, Wrong> {
        self.at += 1;
        let mut table = Table::default();
        self.space();
        if self.take(b'}') {
            return Ok(Value::Table(Vec::new()));
        }
        loop {
            self.space();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a key in double quotes"));
            }
            let key = self.string()?;
            let key_span = span(self.file, start, self.at);
            self.space();
            if !self.take(b':') {
                return Err(self.wrong("`:` after the key"));
            }
            let node = self.value(depth + 1)?;
            table.insert(Entry { key, key_span, node }, self.faults);
            self.space();
            if self.take(b'}') {
                return Ok(Value::Table(table.into_entries()));
            }
            if !self.take(b',') {
                return Err(self.wrong("`,` or `}`"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Wrong> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.take(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            if self.take(b']') {
                return Ok(Value::Array(items));
            }
            if !self.take(b',') {
                return Err(self.wrong("`,` or `]`"));
            }
        }
    }

    fn string(&mut self) -> Result<String, Wrong> {
        let start = self.at;
        self.at += 1;
        let mut result = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(stop) = rest.find(|c: char| matches!(c, '"' | '\\') || c < ' ') else {
                return Err(Wrong {
                    at: start,
                    message: "the text that begins here has no end".into(),
                });
            };
            result.push_str(&rest[..stop]);
            self.at += stop;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(result);
                }
                Some(b'\\') => result.push(self.escape()?),
                _ => return Err(self.wrong("an escape like \\n: control characters may not stand in text")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Wrong> {
        let start = self.at;
        self.at += 2;
        let wrong = || Wrong {
            at: start,
            message: "no such escape".into(),
        };
        Ok(match self.text.as_bytes().get(start + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hex4().ok_or_else(wrong)?;
                let code = if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u") {
                    self.at += 2;
                    let second = self
                        .hex4()
                        .filter(|low| (0xdc00..0xe000).contains(low))
                        .ok_or_else(wrong)?;
                    0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                } else {
                    first
                };
                char::from_u32(code).ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        })
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        let all = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        all.then(|| u32::from_str_radix(digits, 16).ok())?
    }

    fn number(&mut self) -> Result<Value, Wrong> {
        let rest = &self.text[self.at..];
        let len = rest
            .find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'))
            .unwrap_or(rest.len());
        let written = &rest[..len];
        let digits = written.trim_start_matches('-');
        let leading_zero = digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
        let value = if written.contains(['.', 'e', 'E']) {
            // What serde_json takes for a number is one.
            serde_json::from_str::<f64>(written).ok().map(Value::Float)
        } else {
            written.parse().ok().map(Value::Integer)
        };
        match value {
            Some(value) if !leading_zero => {
                self.at += len;
                Ok(value)
            }
            _ => Err(Wrong {
                at: self.at,
                message: format!(
                    "`{}` is not a number, or too large",
                    written.chars().take(40).collect::<String>()
                ),
            }),
        }
    }

    fn word(&mut self) -> Result<Value, Wrong> {
        for (word, value) in [
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("null", Value::Null),
        ] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.wrong("a value"))
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn wrong(&self, expected: &str) -> Wrong {
        let found = self.text[self.at..].chars().next();
        Wrong {
            at: self.at,
            message: match found {
                Some(c) => format!("expected {expected}, found `{}`", c.escape_debug()),
                None => format!("expected {expected}, found the end of the text"),
            },
        }
    }
}
