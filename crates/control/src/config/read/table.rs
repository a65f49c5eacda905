//! Building a table whose keys stand there once.

use std::collections::HashMap;

use plimsoll_core::document::{Entry, Faults, Node, Span};

/// The entries of a table, in the order of the file.
#[derive(Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
    by_key: HashMap<String, usize>,
}

impl Table {
    /// The table that holds `entries`, whose keys are known to differ.
    pub(super) fn of(entries: Vec<Entry>) -> Self {
        let by_key = entries
            .iter()
            .enumerate()
            .map(|(at, entry)| (entry.key.clone(), at))
            .collect();
        Table { entries, by_key }
    }

    /// Adds an entry, or the error that shows both places when its key is there.
    pub(super) fn insert(&mut self, entry: Entry, faults: &mut Faults) {
        match self.by_key.get(&entry.key) {
            Some(at) => defined_twice(&entry.key, entry.key_span, Some(self.entries[*at].key_span), faults),
            None => {
                self.by_key.insert(entry.key.clone(), self.entries.len());
                self.entries.push(entry);
            }
        }
    }

    /// The value under `key`.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.by_key.get(key).map(|at| &mut self.entries[*at].node)
    }

    /// The entries.
    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}

/// Adds the error that `key` was there before.
pub(super) fn defined_twice(key: &str, second: Span, first: Option<Span>, faults: &mut Faults) {
    let fault = faults.error(second, format!("`{key}` is defined twice"));
    if let Some(first) = first {
        fault.also(first, "first defined here");
    }
}
