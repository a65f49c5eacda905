//! Rules that no request can reach, because every request that matches them is taken by another one; for `check`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pattern::written;
use super::table::Entry;
use super::{HostMatch, PathMatch, RouteTable, Rule, ValueMatch, path};

/// How many rules that come before it a rule is compared with, of those for the same host and path.
const COMPARED_MAX: usize = 1000;

/// A rule that no request can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadowed {
    /// Its route.
    pub route: Arc<str>,
    /// Its position among the rules that [`RouteTable::build`] was given.
    pub rule: usize,
    /// The route that takes all its requests; its own, when one of its rules stands there twice.
    pub by: Arc<str>,
    /// The position of that route's rule.
    pub by_rule: usize,
}

/// The rules of one host by path, each list by precedence.
type Places<'t> = BTreeMap<&'t str, Vec<usize>>;

impl RouteTable {
    /// The rules that no request can reach, in the order of the file. A rule is found when one other hides it by
    /// itself; what several hide only together is not. (`OPTIONS *`, which has no path, is not thought of.)
    pub fn shadowed(&self) -> Vec<Shadowed> {
        let entries = self.entries();
        let hosts: Vec<String> = entries.iter().map(|entry| host_key(&entry.rule.host)).collect();
        let paths: Vec<String> = entries.iter().map(|entry| path_key(&entry.rule.path)).collect();
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by_cached_key(|at| entries[*at].rule.rank());
        let mut places: BTreeMap<&str, Places<'_>> = BTreeMap::new();
        for at in order {
            let of_host = places.entry(&hosts[at]).or_default();
            of_host.entry(&paths[at]).or_default().push(at);
        }
        let hidden = |rule: usize| Some((rule, hider(entries, rule, &paths[rule], &places[&*hosts[rule]])?));
        let told = |(rule, by_rule): (usize, usize)| Shadowed {
            route: entries[rule].route.name.clone(),
            rule,
            by: entries[by_rule].route.name.clone(),
            by_rule,
        };
        (0..entries.len()).filter_map(hidden).map(told).collect()
    }
}

impl PathMatch {
    /// Why no canonical path can match, when it is plain to see; an expression that merely looks odd is given the
    /// benefit of the doubt.
    pub fn impossible(&self) -> Option<String> {
        let PathMatch::Regex(regex) = self else {
            return None;
        };
        // The one target that is no path, `*`, cannot be written without an escape, which ends the literal.
        let literal = literal_start(written(regex));
        let odd = |byte: &u8| !path::may_stand(*byte);
        match literal.bytes().find(odd) {
            _ if !literal.is_empty() && !literal.starts_with('/') => Some("every path begins with a slash".into()),
            _ if literal.contains("//") => Some("two slashes are read as one".into()),
            Some(byte) if byte.is_ascii_graphic() || byte == b' ' => Some(format!(
                "\"{}\" stands in no path but as \"%{byte:02X}\"",
                char::from(byte)
            )),
            Some(_) => Some("bytes beyond visible ASCII stand in no path but percent-encoded".into()),
            None => None,
        }
    }
}

/// The rule that hides the one at `at`, whose path's key is `path`.
fn hider(entries: &[Entry], at: usize, path: &str, of_host: &Places<'_>) -> Option<usize> {
    let rule = &entries[at].rule;
    // In its own place, the rules that come before it; elsewhere those for a prefix, which comes before an expression.
    let own = of_host[path].iter().take_while(|other| **other != at);
    let prefixes = prefixes_over(&rule.path);
    let above = prefixes
        .iter()
        .filter_map(|prefix| of_host.get(prefix.as_str()))
        .flatten();
    let mut compared = own.take(COMPARED_MAX).chain(above.take(COMPARED_MAX));
    compared.find(|other| hides(&entries[**other].rule, rule)).copied()
}

/// The host as it is written; `*` for any.
fn host_key(host: &HostMatch) -> String {
    match host {
        HostMatch::Any => "*".into(),
        HostMatch::Exact(_) | HostMatch::Suffix(_) => host.to_string(),
    }
}

/// The path as it is written, kept apart from an expression or from nothing.
fn path_key(path: &PathMatch) -> String {
    match path {
        PathMatch::Any => String::new(),
        PathMatch::Regex(regex) => format!("~{}", regex.as_str()),
        PathMatch::Exact(_) | PathMatch::Prefix(_) => path.to_string(),
    }
}

/// The keys of all prefixes under which every path lies that an expression, or no path at all, can match.
fn prefixes_over(path: &PathMatch) -> Vec<String> {
    let literal = match path {
        PathMatch::Any => "",
        PathMatch::Regex(regex) => literal_start(written(regex)),
        PathMatch::Exact(_) | PathMatch::Prefix(_) => return Vec::new(),
    };
    let slashes = literal.match_indices('/').map(|(at, _)| at).skip(1);
    std::iter::once("/*".to_owned())
        .chain(slashes.map(|at| format!("{}/*", &literal[..at])))
        .collect()
}

/// What every text begins with that `expression` matches; too little rather than too much.
fn literal_start(expression: &str) -> &str {
    if expression.contains('|') || expression.contains("(?") {
        return "";
    }
    let expression = expression.strip_prefix('^').unwrap_or(expression);
    let end = expression
        .find(['\\', '.', '+', '*', '?', '(', ')', '[', ']', '{', '}', '^', '$'])
        .unwrap_or(expression.len());
    let repeated = expression[end..].starts_with(['*', '?', '{']);
    let literal = &expression[..end];
    match literal.char_indices().last() {
        // What is repeated may be missing.
        Some((last, _)) if repeated => &literal[..last],
        _ => literal,
    }
}

/// Whether `before`, of the same host and a path that is no narrower, matches whatever `after` matches.
fn hides(before: &Rule, after: &Rule) -> bool {
    let methods = before.methods.is_empty()
        || (!after.methods.is_empty() && after.methods.iter().all(|method| before.methods.contains(method)));
    methods
        && implied(&before.headers, &after.headers)
        && implied(&before.cookies, &after.cookies)
        && implied(&before.query, &after.query)
        && implied(&before.certificate, &after.certificate)
}

fn implied<N: PartialEq>(weaker: &[(N, ValueMatch)], stronger: &[(N, ValueMatch)]) -> bool {
    weaker.iter().all(|(name, weak)| {
        stronger
            .iter()
            .any(|(other, strong)| name == other && is_implied(weak, strong))
    })
}

fn is_implied(weak: &ValueMatch, strong: &ValueMatch) -> bool {
    match (weak, strong) {
        (ValueMatch::Exact(weak), ValueMatch::Exact(strong)) => weak == strong,
        (ValueMatch::Prefix(weak), ValueMatch::Exact(strong) | ValueMatch::Prefix(strong)) => strong.starts_with(weak),
        (ValueMatch::Regex(weak), ValueMatch::Regex(strong)) => weak.as_str() == strong.as_str(),
        (ValueMatch::Present(weak), ValueMatch::Present(strong)) => weak == strong,
        (ValueMatch::Present(weak), _) => *weak,
        _ => false,
    }
}

#[cfg(test)]
#[path = "shadow_tests.rs"]
mod tests;
