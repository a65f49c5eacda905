//! A file, and its code without comments and literals.

use std::path::{Path, PathBuf};

/// A text file of the repository.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// For Rust: the text with comments and the contents of literals blanked, line by line alike.
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: &str, text: String) -> Source {
        let code = if path.ends_with(".rs") {
            blanked(&text)
        } else {
            String::new()
        };
        Source {
            path: PathBuf::from(path),
            text,
            code,
        }
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Replaces comments and the contents of strings and characters by spaces, so that braces and words
/// can be counted. Line ends stay where they are.
fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let opaque = opaque_prefix(rest, out.chars().next_back());
        if opaque > 0 {
            let (skipped, after) = rest.split_at(opaque);
            out.extend(skipped.chars().map(|char| if char == '\n' { '\n' } else { ' ' }));
            rest = after;
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// How many bytes at the start are a comment or a literal; 0 when code starts there.
fn opaque_prefix(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    // `r` inside a word is no prefix: `for"` cannot occur, but `br#"` and `r"` can.
    let in_word = before.is_some_and(|char| char.is_alphanumeric() || char == '_');
    if in_word { 0 } else { raw_string(rest) }
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let tail = &rest[at..];
        if tail.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if tail.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += tail.chars().next().map_or(0, char::len_utf8);
        }
        if depth == 0 || at >= rest.len() {
            return at;
        }
    }
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, char) in rest.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if char == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character literal; a lifetime is code.
fn character(rest: &str) -> usize {
    let mut chars = rest.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted(rest, '\''),
        _ => 0,
    }
}

fn raw_string(rest: &str) -> usize {
    let after_b = rest
        .strip_prefix('b')
        .or_else(|| rest.strip_prefix('c'))
        .unwrap_or(rest);
    let Some(after_r) = after_b.strip_prefix('r') else {
        return 0;
    };
    let hashes = after_r.len() - after_r.trim_start_matches('#').len();
    if !after_r[hashes..].starts_with('"') {
        return 0;
    }
    let opening = rest.len() - after_r.len() + hashes + 1;
    let closing = format!("\"{}", "#".repeat(hashes));
    rest[opening..]
        .find(&closing)
        .map_or(rest.len(), |at| opening + at + closing.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_stays() {
        for (text, code) in [
            ("a // { b\nc", "a       \nc"),
            ("/* { /* } */ */x", "               x"),
            (r#"f("{\"") {"#, "f(     ) {"),
            ("'{' 'a '\\''", "    'a     "),
            ("r#\"{ \" {\"# }", "           }"),
            ("&'static str", "&'static str"),
        ] {
            assert_eq!(blanked(text), code, "{text}");
        }
    }
}
