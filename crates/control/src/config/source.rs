//! The texts that were read, and where a span stands in them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use plimsoll_core::document::Span;

use super::plan::Origin;
use crate::files::Stamp;

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
    /// What the kernel said of it before it was read.
    stamp: Option<Stamp>,
}

/// All files that one configuration was read from, in the order of [`Span::file`].
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The files, the one that includes the others first.
    pub files: Vec<Source>,
    /// The patterns by which it includes them, with the directory that each is relative to.
    pub(super) patterns: Vec<Pattern>,
    /// From which number on they are additions, where there may be some.
    additions: Option<u32>,
    /// Where files are named.
    named: RefCell<Vec<Span>>,
}

/// A pattern that names files, and the directory that it is relative to.
pub(super) type Pattern = (PathBuf, String);

/// The files that a configuration was read from, without what they hold.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Those that were read, the one that includes the others first.
    pub files: Vec<PathBuf>,
    patterns: Vec<Pattern>,
    /// What the kernel said of the files before they were read.
    pub(crate) stamps: BTreeMap<PathBuf, Stamp>,
}

impl Origins {
    /// These as well.
    pub(crate) fn join(&mut self, other: Origins) {
        let Origins {
            files,
            patterns,
            stamps,
        } = other;
        self.files.extend(files);
        self.stamps.extend(stamps);
        self.patterns.extend(patterns);
        // The first stays the first.
        let mut seen = std::collections::BTreeSet::new();
        self.files.retain(|file| seen.insert(file.clone()));
        let mut seen = std::collections::BTreeSet::new();
        self.patterns.retain(|pattern| seen.insert(pattern.clone()));
    }

    /// What there is to look at to see whether the same would be read again: the files, and those that the patterns name
    /// now.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let named = super::read::included(&self.patterns);
        let mut paths: Vec<PathBuf> = self.files.iter().cloned().chain(named).collect();
        paths.sort();
        paths.dedup();
        paths
    }
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
    /// Adds a text and returns its number; one that comes from a file with what the kernel said of that before.
    pub(crate) fn add(&mut self, name: String, from: Option<(PathBuf, Option<Stamp>)>, text: String) -> u32 {
        let (path, stamp) = from.unzip();
        self.files.push(Source {
            name,
            path,
            text,
            stamp: stamp.flatten(),
        });
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

    /// What is added from now on are additions, each by itself.
    pub(super) fn begin_additions(&mut self) {
        self.additions = Some(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
    }

    /// Which addition `span` is in, if it is in one.
    pub(super) fn addition(&self, span: Span) -> Option<usize> {
        span.file.checked_sub(self.additions?).map(|place| place as usize)
    }

    /// Who made what stands at `span`.
    pub(super) fn origin(&self, span: Span) -> Origin {
        self.addition(span).map_or(Origin::File, |_| Origin::Api)
    }

    /// Where they come from.
    pub fn origins(&self) -> Origins {
        Origins {
            files: self.files.iter().filter_map(|source| source.path.clone()).collect(),
            patterns: self.patterns.clone(),
            stamps: (self.files.iter())
                .filter_map(|source| Some((source.path.clone()?, source.stamp?)))
                .collect(),
        }
    }

    /// Where files are named, by whatever key.
    pub(super) fn names_files(&self) -> Vec<Span> {
        self.named.borrow().clone()
    }

    /// `path` as written in the file of `span`: relative to that file. Whatever names a file, a directory or a program is
    /// resolved here, so that a text that may name none can be told.
    pub(crate) fn resolve(&self, span: Span, path: &str) -> PathBuf {
        self.named.borrow_mut().push(span);
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
