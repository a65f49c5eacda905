//! The routes of one listener, and the search for the one that a request takes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::hosts::HostIndex;
use super::tell::Telling;
use super::{PathMatch, RequestHead, Rule};
use crate::decision::Record;
use crate::name::NameId;
use crate::snapshot::Route;

/// The routes of one listener, arranged for a quick answer: what a request costs depends on its host, on how deep the
/// routes of that host are, and on how many share its very path, not on how many routes there are.
pub struct RouteTable {
    /// In the order of the file.
    entries: Vec<Entry>,
    /// Boxed, so that whatever holds a table stays small.
    hosts: Box<HostIndex>,
}

/// The route that a request takes.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'t> {
    /// The route.
    pub route: &'t Arc<Route>,
    rule: &'t Rule,
}

impl Taken<'_> {
    /// The part of `path` that its match named: the prefix, without a slash at its end, or else the whole.
    pub fn prefix<'p>(&self, path: &'p str) -> &'p str {
        match &self.rule.path {
            PathMatch::Prefix(prefix) => path.get(..prefix.len()).unwrap_or(path),
            PathMatch::Any => "",
            PathMatch::Exact(_) | PathMatch::Regex(_) => path,
        }
    }
}

/// One rule and where it leads.
pub(super) struct Entry {
    pub(super) rule: Rule,
    pub(super) route: Arc<Route>,
    /// Which of its route's rules it is, from 1; `None` when there is no other.
    pub(super) nth: Option<usize>,
}

impl RouteTable {
    /// Arranges `routes`, which come in the order of the file; one route may stand there with several rules.
    pub fn build(routes: Vec<(Rule, Arc<Route>)>) -> Self {
        let mut rules_of: BTreeMap<NameId, usize> = BTreeMap::new();
        for (_, route) in &routes {
            *rules_of.entry(route.id).or_default() += 1;
        }
        let mut seen_of: BTreeMap<NameId, usize> = BTreeMap::new();
        let entries: Vec<Entry> = routes
            .into_iter()
            .map(|(rule, route)| {
                let seen = seen_of.entry(route.id).or_default();
                *seen += 1;
                let nth = (rules_of[&route.id] > 1).then_some(*seen);
                Entry { rule, route, nth }
            })
            .collect();
        RouteTable {
            hosts: Box::new(HostIndex::build(&entries)),
            entries,
        }
    }

    /// The route that `head` takes: the most specific of those that match wholly. It allocates nothing, unless an
    /// expression is to see a value that does not stand in one piece.
    ///
    /// A record is told of each candidate (host and path are the request's) by precedence: what refused it, which was
    /// taken, and which match too and are less specific; then of the other routes. At most [`TOLD_MAX`] of each kind
    /// are told, and the rest is counted; that takes time in proportion to the number of routes.
    ///
    /// [`TOLD_MAX`]: super::TOLD_MAX
    pub fn find(&self, head: &RequestHead<'_>, record: Record<'_>) -> Option<Taken<'_>> {
        let mut telling = record.map(|decision| Telling::begin(decision, &self.entries, head));
        let mut taken: Option<&Entry> = None;
        let _ = self.search(head, |at, entry| {
            let refusal = entry.rule.condition_refusal(head);
            if let Some(telling) = &mut telling {
                telling.candidate(at, refusal, taken);
            }
            if refusal.is_none() && taken.is_none() {
                taken = Some(entry);
            }
            // Whoever asks why also wants to know what would have come next.
            if taken.is_some() && telling.is_none() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        if let Some(telling) = telling {
            telling.finish(taken);
        }
        taken.map(|Entry { route, rule, .. }| Taken { route, rule })
    }

    /// The entries in the order of the file.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Hands `visit` each entry whose host and path are those of the request, by precedence, until it breaks off.
    pub(super) fn search<'t>(
        &'t self,
        head: &RequestHead<'_>,
        mut visit: impl FnMut(usize, &'t Entry) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.hosts.search(&self.entries, head, &mut |at| {
            let at = at as usize;
            visit(at, &self.entries[at])
        })
    }

    #[cfg(test)]
    pub(super) fn hosts(&self) -> &HostIndex {
        &self.hosts
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
