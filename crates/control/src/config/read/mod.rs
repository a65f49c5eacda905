//! Reading: from files to one tree that remembers where each part stood.
//!
//! The format is told by the file's extension. Text values may name environment variables, and the first file may
//! include others.

mod environment;
mod include;
mod json;
mod table;
mod toml;
mod yaml;

use std::io::Read;
use std::path::Path;

use plimsoll_core::document::{Faults, Node, Span, Value};

use super::source::{FILE_BYTES_MAX, Sources, floor_boundary};
use crate::files::{Stamp, open_file};

/// How deep tables and lists may stand in each other. The configuration itself needs eight.
pub(super) const DEPTH_MAX: usize = 64;

/// What an environment variable holds; `None` when it is not set.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How a configuration is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// TOML 1.1.
    Toml,
    /// YAML 1.2, one document.
    Yaml,
    /// JSON (RFC 8259).
    Json,
}

impl Format {
    /// The format that `path`'s extension stands for.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "toml" => Some(Format::Toml),
            "yaml" | "yml" => Some(Format::Yaml),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

/// The files that patterns name now, with the directory that each is relative to.
pub(super) fn included(patterns: &[(std::path::PathBuf, String)]) -> impl Iterator<Item = std::path::PathBuf> {
    let expand = |(directory, pattern): &(std::path::PathBuf, String)| include::expand(directory, pattern);
    patterns
        .iter()
        .filter_map(move |pattern| expand(pattern).ok())
        .flatten()
}

/// What was read of the first file and of those that it includes.
pub(super) struct Tree {
    /// All of it.
    pub(super) root: Node,
    /// Whether every file could be read. One that could not may hold any name, and any setting of a table.
    pub(super) complete: bool,
}

/// Reads the file at `path` and what it includes. `None` when its text is not well-formed; `faults` says why.
pub(super) fn read_file(
    path: &Path,
    environment: Environment<'_>,
    sources: &mut Sources,
    faults: &mut Faults,
) -> Option<Tree> {
    let name = path.display().to_string();
    let (text, stamp) = match text_of(path) {
        Ok(read) => read,
        Err(Unreadable { message, text, at }) => {
            let file = sources.add(name, Some((path.to_path_buf(), None)), text);
            faults.error(span(file, at, at), message);
            return None;
        }
    };
    let file = sources.add(name, Some((path.to_path_buf(), Some(stamp))), text);
    let Some(format) = Format::of(path) else {
        faults
            .error(span(file, 0, 0), "the file's extension says no format")
            .help("name it .toml, .yaml, .yml or .json");
        return None;
    };
    let tree = parse(format, file, sources, environment, faults)?;
    Some(include::merge(tree, path, environment, sources, faults))
}

/// Reads the text of one source into a tree, with its variables filled in.
pub(super) fn parse(
    format: Format,
    file: u32,
    sources: &Sources,
    environment: Environment<'_>,
    faults: &mut Faults,
) -> Option<Node> {
    let text = sources.files[file as usize].text.as_str();
    let mut tree = match format {
        Format::Toml => toml::parse(file, text, faults),
        Format::Yaml => yaml::parse(file, text, faults),
        Format::Json => json::parse(file, text, faults),
    }?;
    environment::fill(&mut tree, text, environment, faults);
    narrow(&mut tree, text, None);
    Some(tree)
}

/// Why a file has no text.
struct Unreadable {
    message: String,
    /// What can be shown of it.
    text: String,
    /// Where the fault is.
    at: usize,
}

/// A file's text, and what the kernel said of the file before it was read.
fn text_of(path: &Path) -> Result<(String, Stamp), Unreadable> {
    let refuse = |message: String| Unreadable {
        message,
        text: String::new(),
        at: 0,
    };
    let unreadable = |error: std::io::Error| refuse(format!("cannot read the file: {error}"));
    let file = open_file(path).map_err(unreadable)?;
    let stamp = Stamp::of(&file.metadata().map_err(unreadable)?);
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse(format!("the file is larger than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|error| Unreadable {
        message: "the file is not UTF-8 text from here on".into(),
        at: error.utf8_error().valid_up_to(),
        text: String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })?;
    Ok((text, stamp))
}

/// The span of the bytes `start..end` of `file`. Files are below 4 GiB.
fn span(file: u32, start: usize, end: usize) -> Span {
    Span {
        file,
        start: u32::try_from(start).unwrap_or(u32::MAX),
        end: u32::try_from(end).unwrap_or(u32::MAX),
    }
}

/// Shortens spans of several lines, of which an underlining is unreadable: a table or a list is pointed at by its key,
/// and where it has none by its first line.
fn narrow(node: &mut Node, text: &str, key: Option<Span>) {
    let (start, end) = (node.span.start as usize, node.span.end as usize);
    let covered = &text[floor_boundary(text, start)..floor_boundary(text, end).max(floor_boundary(text, start))];
    if let Some(line) = covered.find('\n') {
        node.span = match (&node.value, key) {
            (Value::Table(_) | Value::Array(_), Some(key)) => key,
            _ => span(node.span.file, start, start + covered[..line].trim_end().len().max(1)),
        };
    }
    match &mut node.value {
        Value::Table(entries) => {
            for entry in entries {
                narrow(&mut entry.node, text, Some(entry.key_span));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| narrow(item, text, None)),
        _ => {}
    }
}
