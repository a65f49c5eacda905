//! `include = ["conf.d/*.toml"]`: other files whose tables and lists join those of the first.

use std::path::{Path, PathBuf};

use plimsoll_core::document::{Entry, Faults, Node, Span, Value};

use super::super::source::Sources;
use super::table::{Table, defined_twice};
use super::{Environment, Format, Tree, parse, span, text_of};

/// The most files that one configuration includes.
const INCLUDES_MAX: usize = 1_000;

/// The tree of the file at `path` with the trees of the files that it includes, as far as they can be read.
pub(super) fn merge(
    tree: Node,
    path: &Path,
    environment: Environment<'_>,
    sources: &mut Sources,
    faults: &mut Faults,
) -> Tree {
    let before = faults.list.len();
    let files = included(&tree, path, sources, faults);
    let mut complete = faults.list.len() == before;
    let Value::Table(entries) = tree.value else {
        return Tree { root: tree, complete };
    };
    let mut table = Table::of(entries);
    for (place, path) in files {
        match read_included(&path, place, environment, sources, faults) {
            Some(entries) => join(&mut table, entries, faults),
            None => complete = false,
        }
    }
    let root = Node {
        span: tree.span,
        value: Value::Table(table.into_entries()),
    };
    Tree { root, complete }
}

/// The files that the patterns of `tree` name, each once, and the pattern's place. What is no text is left to decoding.
fn included(tree: &Node, path: &Path, sources: &mut Sources, faults: &mut Faults) -> Vec<(Span, PathBuf)> {
    let patterns = match tree.field("include") {
        Some(
            one @ Node {
                value: Value::Text(_) | Value::Variable(_),
                ..
            },
        ) => std::slice::from_ref(one),
        Some(Node {
            value: Value::Array(items),
            ..
        }) => items.as_slice(),
        _ => &[],
    };
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut files: Vec<(Span, PathBuf)> = Vec::new();
    for node in patterns {
        let (Value::Text(pattern) | Value::Variable(pattern)) = &node.value else {
            continue;
        };
        sources.patterns.push((directory.to_path_buf(), pattern.clone()));
        let matched = match expand(directory, pattern) {
            Ok(matched) => matched,
            Err(why) => {
                faults.error(node.span, why);
                continue;
            }
        };
        for file in matched {
            let seen = same(&file, path) || files.iter().any(|(_, other)| same(&file, other));
            if !seen {
                files.push((node.span, file));
            }
        }
    }
    if let Some((place, _)) = files.get(INCLUDES_MAX) {
        faults.error(*place, format!("more than {INCLUDES_MAX} files are included"));
        files.truncate(INCLUDES_MAX);
    }
    files
}

fn same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// The files that `pattern` matches, by name. `*` and `?` stand in the last part alone; hidden files match no `*`.
pub(super) fn expand(directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let (parent, last) = pattern.rsplit_once('/').unwrap_or(("", pattern));
    let is_wild = |text: &str| text.contains(['*', '?']);
    if is_wild(parent) {
        return Err("`*` and `?` may stand in the file's name only, not in a directory's".into());
    }
    if !is_wild(last) {
        return Ok(vec![directory.join(pattern)]);
    }
    let parent = if pattern.starts_with('/') && parent.is_empty() {
        "/"
    } else {
        parent
    };
    let place = directory.join(parent);
    let place = if place.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        place
    };
    let listed = std::fs::read_dir(&place).map_err(|error| format!("cannot list {}: {error}", place.display()))?;
    let mut names: Vec<String> = listed
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && matches(last.as_bytes(), name.as_bytes()))
        .collect();
    names.sort();
    Ok(names
        .into_iter()
        .map(|name| directory.join(parent).join(name))
        .collect())
}

/// Whether `name` matches `pattern`, where `*` is any text and `?` one byte. Linear in the product of the lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, n));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == b'?' || pattern[p] == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

fn read_included(
    path: &Path,
    place: Span,
    environment: Environment<'_>,
    sources: &mut Sources,
    faults: &mut Faults,
) -> Option<Vec<Entry>> {
    let name = path.display().to_string();
    let Some(format) = Format::of(path) else {
        faults
            .error(place, format!("the extension of {name} says no format"))
            .help("name it .toml, .yaml, .yml or .json");
        return None;
    };
    let (text, stamp) = match text_of(path) {
        Ok(read) => read,
        Err(why) => {
            faults.error(place, format!("{name}: {}", why.message));
            return None;
        }
    };
    let file = sources.add(name, Some((path.to_path_buf(), Some(stamp))), text);
    let tree = parse(format, file, sources, environment, faults)?;
    let Value::Table(mut entries) = tree.value else {
        faults.error(span(file, 0, 0), format!("expected a table, found {}", tree.kind()));
        return None;
    };
    entries.retain(|entry| {
        let nested = entry.key == "include";
        if nested {
            faults
                .error(entry.key_span, "a file that is included cannot include others")
                .help("name all files in the first one");
        }
        !nested
    });
    Some(entries)
}

/// Adds `entries` to `table`: names join the tables that they stand in, lists are appended.
fn join(table: &mut Table, entries: Vec<Entry>, faults: &mut Faults) {
    for entry in entries {
        let Some(present) = table.get_mut(&entry.key) else {
            table.insert(entry, faults);
            continue;
        };
        match (&mut present.value, entry.node.value) {
            (Value::Table(first), Value::Table(second)) => {
                let mut joined = Table::of(std::mem::take(first));
                for inner in second {
                    joined.insert(inner, faults);
                }
                *first = joined.into_entries();
            }
            (Value::Array(first), Value::Array(second)) => first.extend(second),
            _ => defined_twice(&entry.key, entry.key_span, Some(present.span), faults),
        }
    }
}
