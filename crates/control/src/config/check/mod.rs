//! Checks that concern more than one value, once everything could be read: references, duplicates, and settings that
//! contradict each other. All that is wrong is found, not the first.

mod acme;
mod addresses;
mod connections;
mod fallbacks;
mod files;
mod health;
mod listeners;
mod pool_tls;
mod pools;
mod routes;
mod shadows;
mod sticky;
mod tls;
mod tracing;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};

use plimsoll_core::document::{Faults, Located, Span, nearest};

use super::file::File;

pub(super) use files::check_files;
pub(super) use warnings::warn;

/// How many known names an error lists.
const LISTED_MAX: usize = 8;

/// Adds an error for everything that cannot be compiled. When the file is not `complete`, what is missing of it may be
/// in the part that could not be read, and is no error of its own.
pub(super) fn check(file: &File, complete: bool, faults: &mut Faults) {
    let known = Known {
        pools: complete.then(|| file.pools.names().collect()),
        listeners: complete.then(|| file.listeners.names().collect()),
        filters: complete.then(|| file.filters.names().collect()),
        complete,
    };
    addresses::check(file, &known, faults);
    listeners::check(file, &known, faults);
    routes::check(file, &known, faults);
    pools::check(file, faults);
    fallbacks::check(file, &known, faults);
    tracing::check(file, faults);
}

/// The names that may be referred to, also of what could not be read.
struct Known<'a> {
    pools: Names<'a>,
    listeners: Names<'a>,
    filters: Names<'a>,
    /// Whether there is nothing beside them.
    complete: bool,
}

/// All names of a kind; `None` when there may be others.
type Names<'a> = Option<BTreeSet<&'a str>>;

/// Adds an error when `name` is not the name of a `kind`.
fn check_reference(kind: &str, name: &Located<String>, known: &Names<'_>, faults: &mut Faults) {
    let Some(known) = known.as_ref().filter(|known| !known.contains(name.value.as_str())) else {
        return;
    };
    let fault = faults.error(name.span, format!("there is no {kind} called `{}`", name.value));
    match nearest(name, known.iter().copied()) {
        Some(near) => fault.help(format!("did you mean \"{near}\"?")),
        None if known.is_empty() => fault.help(format!("define it as [{kind}s.{}]", name.value)),
        None => {
            let listed: Vec<&str> = known.iter().copied().take(LISTED_MAX).collect();
            let more = if known.len() > LISTED_MAX { ", …" } else { "" };
            fault.help(format!("known here: {}{more}", listed.join(", ")))
        }
    };
}

/// What was seen so far, and where.
struct Seen<K>(BTreeMap<K, Span>);

impl<K: Ord> Seen<K> {
    fn new() -> Self {
        Seen(BTreeMap::new())
    }

    /// Where `key` was seen first.
    fn first(&self, key: &K) -> Option<Span> {
        self.0.get(key).copied()
    }

    /// Adds an error when `key` was seen before.
    fn insert(&mut self, key: K, span: Span, message: impl FnOnce() -> String, faults: &mut Faults) {
        match self.0.get(&key) {
            Some(first) => {
                faults.error(span, message()).also(*first, "first here");
            }
            None => {
                self.0.insert(key, span);
            }
        }
    }
}
