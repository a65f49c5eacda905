//! The rules of one host, arranged by path: a trie over segments for exact paths and prefixes, groups for expressions.
//!
//! A request walks down the trie once, no further than the trie is deep, and comes back by the links between nodes
//! that hold prefixes: longest first, without a stack.

use std::collections::HashMap;
use std::ops::ControlFlow;

use regex::{RegexSet, RegexSetBuilder};

use super::PathMatch;
use super::pattern::REGEX_BYTES_MAX;
use super::table::Entry;
use crate::rng::SeededState;

/// How many expressions are first asked as one whether any of them matches. A `RegexSet` allocates when asked which
/// ones do, and does not when asked whether one does.
const GROUP_MAX: usize = 32;

/// No more than the configuration is ever put into these tables, so requests cannot make them collide, and a seed that
/// is always the same does no harm.
pub(super) const SEED: SeededState = SeededState(0);

/// The position of an entry in the table.
pub(super) type EntryAt = u32;

/// The rules of one host.
#[derive(Default)]
pub(super) struct PathIndex {
    /// The first stands before the first slash.
    nodes: Vec<Node>,
    groups: Vec<RegexGroup>,
    any: Vec<EntryAt>,
}

struct Node {
    children: HashMap<Box<str>, usize, SeededState>,
    /// Rules for exactly this path.
    exact: Vec<EntryAt>,
    /// Rules for this path and what lies under it.
    prefix: Vec<EntryAt>,
    parent: usize,
    /// The nearest node above that has prefix rules.
    next_prefix: Option<usize>,
}

struct RegexGroup {
    /// `None` when the group is one, or too large to be asked as one.
    all: Option<RegexSet>,
    members: Vec<EntryAt>,
}

/// Where a path leaves the trie.
pub(super) struct Walk {
    node: usize,
    /// Whether the whole path was walked.
    whole: bool,
    /// How many segments were looked up.
    pub(super) steps: usize,
}

impl PathIndex {
    /// Arranges the entries at `members`, which come by precedence.
    pub(super) fn build(entries: &[Entry], members: &[EntryAt]) -> Self {
        let mut index = PathIndex {
            nodes: vec![Node::under(0)],
            ..PathIndex::default()
        };
        let mut expressions = Vec::new();
        for &at in members {
            match &entries[at as usize].rule.path {
                PathMatch::Any => index.any.push(at),
                PathMatch::Regex(regex) => expressions.push((at, regex.as_str())),
                PathMatch::Exact(path) => index.node(path).exact.push(at),
                PathMatch::Prefix(prefix) => index.node(prefix).prefix.push(at),
            }
        }
        // A node stands after its parent, which therefore has its link already.
        for at in 1..index.nodes.len() {
            let parent = index.nodes[at].parent;
            index.nodes[at].next_prefix = if index.nodes[parent].prefix.is_empty() {
                index.nodes[parent].next_prefix
            } else {
                Some(parent)
            };
        }
        index.groups = expressions.chunks(GROUP_MAX).map(RegexGroup::build).collect();
        index
    }

    /// Hands `visit` each entry whose path is that of the request, by precedence, until it breaks off.
    pub(super) fn search(
        &self,
        entries: &[Entry],
        path: &str,
        visit: &mut impl FnMut(EntryAt) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if let Some(walk) = self.walk(path) {
            if walk.whole {
                self.nodes[walk.node].exact.iter().try_for_each(|at| visit(*at))?;
            }
            let mut next = Some(walk.node);
            while let Some(at) = next {
                self.nodes[at].prefix.iter().try_for_each(|at| visit(*at))?;
                next = self.nodes[at].next_prefix;
            }
        }
        for group in self.groups.iter().filter(|group| group.may_match(path)) {
            for &at in &group.members {
                if entries[at as usize].rule.path.matches(path) {
                    visit(at)?;
                }
            }
        }
        self.any.iter().try_for_each(|at| visit(*at))
    }

    /// Walks down as far as the trie goes; `None` when `path` is no path, as in `OPTIONS *`.
    pub(super) fn walk(&self, path: &str) -> Option<Walk> {
        let mut rest = path.strip_prefix('/');
        let mut walk = Walk {
            node: 0,
            whole: false,
            steps: 0,
        };
        rest?;
        while let Some(tail) = rest {
            let (segment, after) = match tail.split_once('/') {
                Some((segment, after)) => (segment, Some(after)),
                None => (tail, None),
            };
            walk.steps += 1;
            match self.nodes.get(walk.node).and_then(|node| node.children.get(segment)) {
                Some(child) => walk.node = *child,
                None => return Some(walk),
            }
            rest = after;
        }
        walk.whole = true;
        Some(walk)
    }

    /// The node of `path`, made when it is not there. Texts begin with a slash or are empty ([`PathMatch`]).
    fn node(&mut self, path: &str) -> &mut Node {
        debug_assert!(
            path.is_empty() || path.starts_with('/'),
            "a pattern is canonical: {path}"
        );
        let mut at = 0;
        for segment in path.split('/').skip(1) {
            at = match self.nodes[at].children.get(segment) {
                Some(child) => *child,
                None => {
                    let child = self.nodes.len();
                    self.nodes.push(Node::under(at));
                    self.nodes[at].children.insert(segment.into(), child);
                    child
                }
            };
        }
        &mut self.nodes[at]
    }
}

impl Node {
    fn under(parent: usize) -> Self {
        Node {
            children: HashMap::with_hasher(SEED),
            exact: Vec::new(),
            prefix: Vec::new(),
            parent,
            next_prefix: None,
        }
    }
}

impl RegexGroup {
    fn build(expressions: &[(EntryAt, &str)]) -> Self {
        let set = || {
            RegexSetBuilder::new(expressions.iter().map(|(_, text)| text))
                .size_limit(REGEX_BYTES_MAX)
                .build()
                .ok()
        };
        RegexGroup {
            all: (expressions.len() > 1).then(set).flatten(),
            members: expressions.iter().map(|(at, _)| *at).collect(),
        }
    }

    fn may_match(&self, path: &str) -> bool {
        self.all.as_ref().is_none_or(|all| all.is_match(path))
    }
}
