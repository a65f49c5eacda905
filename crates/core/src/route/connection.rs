//! Routing of connections that nobody ends here: by the name that a TLS client asks for, the protocols that it offers, and
//! where it comes from. The most specific rule wins, hosts by the same order as those of requests.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::HostMatch;
use super::paths::SEED;
use super::shadow::Shadowed;
use super::tell::TOLD_MAX;
use crate::decision::{Decision, Record, Stage, Verdict};
use crate::name::NameId;
use crate::network::Network;
use crate::rng::SeededState;
use crate::snapshot::Route;

/// How many rules that come before it a rule is compared with, of those for the same name.
const COMPARED_MAX: usize = 1000;

/// One match of a route for connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRule {
    /// The name that is asked for.
    pub sni: HostMatch,
    /// Protocols of which the client has to offer one; none means any.
    pub alpn: Vec<String>,
    /// Where the client has to come from; anywhere when `None`.
    pub client: Option<Network>,
}

/// The parts of a connection that a route may look at.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionHead<'a> {
    /// The name that is asked for, in lower case; empty when there is none.
    pub sni: &'a str,
    /// The protocols that the client offers.
    pub alpn: &'a [Vec<u8>],
    /// The client.
    pub client: IpAddr,
}

/// The routes of one listener for connections, arranged by name.
pub struct ConnectionTable {
    /// In the order of the file.
    entries: Vec<Entry>,
    exact: HashMap<Box<str>, Vec<usize>, SeededState>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Vec<usize>, SeededState>,
    any: Vec<usize>,
}

/// One rule and where it leads.
struct Entry {
    rule: ConnectionRule,
    route: Arc<Route>,
    /// Which of its route's rules it is, from 1; `None` when there is no other.
    nth: Option<usize>,
}

/// How specific a rule is; the smallest comes first: the name as of requests, then whether a protocol is asked for, then
/// the network, the smaller one first. Then the order of the file, which is not in here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    sni: (u8, Reverse<usize>),
    any_protocol: bool,
    network: Reverse<u32>,
}

/// The first thing that keeps a rule from matching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Sni,
    Alpn,
    Client,
}

impl ConnectionTable {
    /// Arranges `routes`, which come in the order of the file; one route may stand there with several rules.
    pub fn build(routes: Vec<(ConnectionRule, Arc<Route>)>) -> Self {
        let mut rules_of: BTreeMap<NameId, usize> = BTreeMap::new();
        for (_, route) in &routes {
            *rules_of.entry(route.id).or_default() += 1;
        }
        let mut seen_of: BTreeMap<NameId, usize> = BTreeMap::new();
        let mut table = ConnectionTable {
            entries: Vec::with_capacity(routes.len()),
            exact: HashMap::with_hasher(SEED),
            wildcard: HashMap::with_hasher(SEED),
            any: Vec::new(),
        };
        for (rule, route) in routes {
            let seen = seen_of.entry(route.id).or_default();
            *seen += 1;
            let nth = (rules_of[&route.id] > 1).then_some(*seen);
            table.entries.push(Entry { rule, route, nth });
        }
        let mut order: Vec<usize> = (0..table.entries.len()).collect();
        // The sort is stable, so that the order of the file decides last.
        order.sort_by_cached_key(|at| table.entries[*at].rule.rank());
        for at in order {
            let list = match &table.entries[at].rule.sni {
                HostMatch::Any => &mut table.any,
                HostMatch::Exact(name) => table.exact.entry(name.as_str().into()).or_default(),
                HostMatch::Suffix(suffix) => {
                    let name = suffix.strip_prefix('.').unwrap_or(suffix);
                    table.wildcard.entry(name.into()).or_default()
                }
            };
            list.push(at);
        }
        table
    }

    /// The route that a connection takes: the most specific of those that match wholly. A record is told of the candidates
    /// by precedence, and then of the other routes, [`TOLD_MAX`] at most of both; the rest is counted.
    pub fn find(&self, head: &ConnectionHead<'_>, record: Record<'_>) -> Option<&Arc<Route>> {
        let mut candidates = self.candidates(head.sni);
        let fits = |at: &usize| self.entries[*at].rule.refusal(head).is_none();
        let Some(decision) = record else {
            return candidates.find(fits).map(|at| &self.entries[at].route);
        };
        let candidates: Vec<usize> = candidates.collect();
        let taken = candidates.iter().copied().find(fits);
        self.tell(decision, head, &candidates, taken);
        taken.map(|at| &self.entries[at].route)
    }

    /// The rules that no connection can reach, in the order of the file. A rule is found when one other hides it by itself.
    pub fn shadowed(&self) -> Vec<Shadowed> {
        let hider = |at: &usize| {
            let of_name = self.of_name(&self.entries[*at].rule.sni);
            let mut before = of_name.iter().take_while(|other| *other != at).take(COMPARED_MAX);
            let hides = |other: &&usize| self.entries[**other].rule.hides(&self.entries[*at].rule);
            before.find(hides).copied()
        };
        let told = |(rule, by_rule): (usize, usize)| Shadowed {
            route: self.entries[rule].route.name.clone(),
            rule,
            by: self.entries[by_rule].route.name.clone(),
            by_rule,
        };
        let hidden = (0..self.entries.len()).filter_map(|at| Some((at, hider(&at)?)));
        hidden.map(told).collect()
    }

    /// The entries whose name is `sni`, by precedence.
    fn candidates(&self, sni: &str) -> impl Iterator<Item = usize> {
        let dots = sni.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'.');
        let wider = dots.filter_map(|(dot, _)| self.wildcard.get(&sni[dot + 1..]));
        let lists = self.exact.get(sni).into_iter().chain(wider).chain([&self.any]);
        lists.flatten().copied()
    }

    fn of_name(&self, sni: &HostMatch) -> &[usize] {
        let list = match sni {
            HostMatch::Any => Some(&self.any),
            HostMatch::Exact(name) => self.exact.get(name.as_str()),
            HostMatch::Suffix(suffix) => self.wildcard.get(suffix.strip_prefix('.').unwrap_or(suffix)),
        };
        list.map_or(&[], Vec::as_slice)
    }

    fn tell(&self, decision: &mut Decision, head: &ConnectionHead<'_>, candidates: &[usize], taken: Option<usize>) {
        decision.route = taken.map(|at| self.entries[at].route.name.to_string());
        let mut is_candidate = vec![false; self.entries.len()];
        candidates.iter().for_each(|at| is_candidate[*at] = true);
        let others = (0..self.entries.len()).filter(|at| !is_candidate[*at]);
        let mut untold = 0;
        for (at, place) in candidates.iter().copied().chain(others).zip(0..) {
            if place >= TOLD_MAX && taken != Some(at) {
                untold += 1;
                continue;
            }
            let entry = &self.entries[at];
            let (verdict, why) = match (entry.rule.refusal(head), taken) {
                (Some(refusal), _) => (Verdict::Refused, refusal.words(&entry.rule, head)),
                (None, Some(taken)) if taken != at => {
                    let first = &self.entries[taken];
                    let less = entry.rule.less_than(&first.rule);
                    let why = format!("matches as well, but {} comes first: {less}", first.route.name);
                    (Verdict::Passed, why)
                }
                _ => (Verdict::Taken, format!("the most specific match: {}", entry.rule)),
            };
            let why = match entry.nth {
                Some(nth) => format!("match {nth}: {why}"),
                None => why,
            };
            decision.step(Stage::Route, &*entry.route.name, verdict, why);
        }
        if untold > 0 {
            let why = format!("{untold} more matches are not shown");
            decision.step(Stage::Route, "…", Verdict::Refused, why);
        }
    }
}

impl ConnectionRule {
    fn rank(&self) -> Rank {
        Rank {
            sni: self.sni.rank(),
            any_protocol: self.alpn.is_empty(),
            network: Reverse(self.client.map_or(0, |network| network.prefix() + 1)),
        }
    }

    /// What keeps `head` from matching.
    fn refusal(&self, head: &ConnectionHead<'_>) -> Option<Refusal> {
        let offered = |name: &String| head.alpn.iter().any(|offered| offered == name.as_bytes());
        if !self.sni.matches(head.sni) {
            Some(Refusal::Sni)
        } else if !self.alpn.is_empty() && !self.alpn.iter().any(offered) {
            Some(Refusal::Alpn)
        } else if self.client.is_some_and(|network| !network.contains(head.client)) {
            Some(Refusal::Client)
        } else {
            None
        }
    }

    /// Whether it matches whatever `after`, of the same name, matches.
    fn hides(&self, after: &ConnectionRule) -> bool {
        let of_these = |name: &String| self.alpn.contains(name);
        let protocols = self.alpn.is_empty() || (!after.alpn.is_empty() && after.alpn.iter().all(of_these));
        let networks = match (&self.client, &after.client) {
            (None, _) => true,
            (Some(wide), Some(narrow)) => wide.covers(narrow),
            (Some(_), None) => false,
        };
        protocols && networks
    }

    /// Why `first` comes before it.
    fn less_than(&self, first: &ConnectionRule) -> String {
        let (this, that) = (self.rank(), first.rank());
        if this.sni != that.sni {
            match self.sni {
                HostMatch::Any => "this one names no sni".to_owned(),
                _ => format!("its sni {} is less specific than {}", self.sni, first.sni),
            }
        } else if this.any_protocol != that.any_protocol {
            "this one names no protocol".to_owned()
        } else if this.network != that.network {
            "this one names no network, or a wider one".to_owned()
        } else {
            "this one is as specific and stands later in the file".to_owned()
        }
    }
}

impl Refusal {
    /// Why `rule` does not match `head`.
    fn words(self, rule: &ConnectionRule, head: &ConnectionHead<'_>) -> String {
        match self {
            Refusal::Sni if head.sni.is_empty() => format!("no sni was sent, not {}", rule.sni),
            Refusal::Sni => format!("sni is {}, not {}", head.sni, rule.sni),
            Refusal::Alpn if head.alpn.is_empty() => format!("no alpn was sent, not {}", rule.alpn.join(" or ")),
            Refusal::Alpn => format!("alpn has no {}", rule.alpn.join(" or ")),
            Refusal::Client => match &rule.client {
                Some(network) => format!("client {} is not in {network}", head.client),
                None => String::new(),
            },
        }
    }
}

/// What it asks for, in words.
impl fmt::Display for ConnectionRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.sni != HostMatch::Any {
            parts.push(format!("sni {}", self.sni));
        }
        if !self.alpn.is_empty() {
            parts.push(format!("alpn {}", self.alpn.join(" or ")));
        }
        parts.extend(self.client.map(|network| format!("client in {network}")));
        match parts.is_empty() {
            true => out.write_str("any connection"),
            false => out.write_str(&parts.join(", ")),
        }
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
