//! The rules of a listener, arranged by host: the exact name, then the longest wildcard, then any.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use super::paths::{EntryAt, PathIndex, SEED};
use super::table::Entry;
use super::{HostMatch, RequestHead};
use crate::rng::SeededState;

/// The rules of a listener by host.
pub(super) struct HostIndex {
    exact: HashMap<Box<str>, PathIndex, SeededState>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, PathIndex, SeededState>,
    /// The longest key of `wildcard`: longer ends of a host need no look.
    wildcard_bytes_max: usize,
    any: PathIndex,
}

impl HostIndex {
    /// Arranges `entries`, which come in the order of the file.
    pub(super) fn build(entries: &[Entry]) -> Self {
        let mut order: Vec<EntryAt> = (0..).take(entries.len()).collect();
        // The sort is stable, so that the order of the file decides last.
        order.sort_by_cached_key(|at| entries[*at as usize].rule.rank());
        let mut exact: BTreeMap<&str, Vec<EntryAt>> = BTreeMap::new();
        let mut wildcard: BTreeMap<&str, Vec<EntryAt>> = BTreeMap::new();
        let mut any = Vec::new();
        for at in order {
            match &entries[at as usize].rule.host {
                HostMatch::Any => any.push(at),
                HostMatch::Exact(name) => exact.entry(name).or_default().push(at),
                HostMatch::Suffix(suffix) => wildcard
                    .entry(suffix.strip_prefix('.').unwrap_or(suffix))
                    .or_default()
                    .push(at),
            }
        }
        HostIndex {
            wildcard_bytes_max: wildcard.keys().map(|name| name.len()).max().unwrap_or(0),
            exact: arrange(entries, exact),
            wildcard: arrange(entries, wildcard),
            any: PathIndex::build(entries, &any),
        }
    }

    /// Hands `visit` each entry whose host and path are those of the request, by precedence, until it breaks off.
    pub(super) fn search(
        &self,
        entries: &[Entry],
        head: &RequestHead<'_>,
        visit: &mut impl FnMut(EntryAt) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if let Some(paths) = self.exact.get(head.host) {
            paths.search(entries, head.path, visit)?;
        }
        if !self.wildcard.is_empty() {
            let dots = head.host.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'.');
            for (dot, _) in dots {
                let end = &head.host[dot + 1..];
                if end.len() <= self.wildcard_bytes_max
                    && let Some(paths) = self.wildcard.get(end)
                {
                    paths.search(entries, head.path, visit)?;
                }
            }
        }
        self.any.search(entries, head.path, visit)
    }

    #[cfg(test)]
    pub(super) fn any(&self) -> &PathIndex {
        &self.any
    }
}

fn arrange(entries: &[Entry], hosts: BTreeMap<&str, Vec<EntryAt>>) -> HashMap<Box<str>, PathIndex, SeededState> {
    let mut arranged = HashMap::with_capacity_and_hasher(hosts.len(), SEED);
    for (name, members) in hosts {
        arranged.insert(name.into(), PathIndex::build(entries, &members));
    }
    arranged
}
