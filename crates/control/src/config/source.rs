//! The texts that were read, and where a span stands in them.

use std::path::{Path, PathBuf};

use plimsoll_core::document::Span;

/// The largest file that is read: ten thousand routes are three of these sixteen MiB.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// One file that was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file's name as messages show it.
    pub name: String,
    /// Where it is; `None` for text that did not come from a file.
    pub path: Option<PathBuf>,
    /// What it holds.
    pub text: String,
}

/// All files that one configuration was read from, in the order of [`Span::file`].
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The files, the one that includes the others first.
    pub files: Vec<Source>,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Sources {
    /// Adds a file and returns its number.
    pub(crate) fn add(&mut self, name: String, path: Option<PathBuf>, text: String) -> u32 {
        self.files.push(Source { name, path, text });
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    /// The file that `span` is in.
    pub fn source(&self, span: Span) -> Option<&Source> {
        self.files.get(span.file as usize)
    }

    /// The text that `span` covers.
    pub fn excerpt(&self, span: Span) -> &str {
        self.source(span)
            .and_then(|source| source.text.get(span.start as usize..span.end as usize))
            .unwrap_or_default()
    }

    /// The place where `span` begins.
    pub fn position(&self, span: Span) -> Position {
        let Some(source) = self.source(span) else {
            return Position {
                file: String::new(),
                line: 1,
                column: 1,
            };
        };
        let before = &source.text[..floor_boundary(&source.text, span.start as usize)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Position {
            file: source.name.clone(),
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// `path` as written in the file of `span`: relative to that file.
    pub(crate) fn resolve(&self, span: Span, path: &str) -> PathBuf {
        let directory = self
            .source(span)
            .and_then(|source| source.path.as_deref())
            .and_then(Path::parent);
        match directory {
            Some(directory) => directory.join(path),
            None => PathBuf::from(path),
        }
    }
}

/// The last character boundary of `text` that is not after `at`.
pub(crate) fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
