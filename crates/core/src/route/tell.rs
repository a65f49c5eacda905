//! Telling a record how a route was found.

use super::rule::{Rank, Refusal};
use super::table::Entry;
use super::{HostMatch, RequestHead};
use crate::decision::{Decision, Stage, Verdict};

/// How many refused or passed candidates are told, and how many routes besides; the rest is counted.
pub const TOLD_MAX: usize = 100;

/// A record while the search goes on.
pub(super) struct Telling<'a> {
    decision: &'a mut Decision,
    entries: &'a [Entry],
    head: &'a RequestHead<'a>,
    /// The entries that were candidates.
    candidates: Vec<bool>,
    told: usize,
    untold: usize,
}

impl<'a> Telling<'a> {
    pub(super) fn begin(decision: &'a mut Decision, entries: &'a [Entry], head: &'a RequestHead<'a>) -> Self {
        Telling {
            decision,
            entries,
            head,
            candidates: vec![false; entries.len()],
            told: 0,
            untold: 0,
        }
    }

    /// Tells of the entry at `at`, whose host and path are the request's; `taken` came before it.
    pub(super) fn candidate(&mut self, at: usize, refusal: Option<Refusal<'_>>, taken: Option<&Entry>) {
        self.candidates[at] = true;
        let entry = &self.entries[at];
        let (verdict, why) = match (refusal, taken) {
            (Some(refusal), _) => (Verdict::Refused, refusal.words(&entry.rule, self.head)),
            (None, Some(taken)) => (Verdict::Passed, passed_words(entry, taken)),
            (None, None) => {
                let why = format!("the most specific match: {}", entry.rule.words());
                return self.step(entry, Verdict::Taken, &why);
            }
        };
        if self.told < TOLD_MAX {
            self.told += 1;
            self.step(entry, verdict, &why);
        } else {
            self.untold += 1;
        }
    }

    /// Tells of the entries that were no candidates, those of the request's host first.
    pub(super) fn finish(mut self, taken: Option<&Entry>) {
        self.decision.route = taken.map(|entry| entry.route.name.to_string());
        self.count("candidates for this host and path");
        let entries = self.entries;
        let mut others = 0;
        for same_host in [true, false] {
            for (at, entry) in entries.iter().enumerate() {
                if others == TOLD_MAX {
                    break;
                }
                if self.candidates[at] || entry.rule.host.matches(self.head.host) != same_host {
                    continue;
                }
                if let Some(refusal) = entry.rule.refusal(self.head) {
                    others += 1;
                    self.step(entry, Verdict::Refused, &refusal.words(&entry.rule, self.head));
                }
            }
        }
        self.untold = self.candidates.iter().filter(|was| !**was).count() - others;
        self.count("matches for other hosts or paths");
    }

    fn step(&mut self, entry: &Entry, verdict: Verdict, why: &str) {
        let why = match entry.nth {
            Some(nth) => format!("match {nth}: {why}"),
            None => why.to_owned(),
        };
        self.decision.step(Stage::Route, &*entry.route.name, verdict, why);
    }

    fn count(&mut self, what: &str) {
        if self.untold > 0 {
            let why = format!("{} more {what} are not shown", self.untold);
            self.decision.step(Stage::Route, "…", Verdict::Refused, why);
        }
        self.untold = 0;
    }
}

/// Why `taken` came before `entry`, which matches too.
fn passed_words(entry: &Entry, taken: &Entry) -> String {
    let (this, that): (Rank, Rank) = (entry.rule.rank(), taken.rule.rank());
    let (rule, other) = (&entry.rule, &taken.rule);
    let more = |what: &str, here: usize, there: usize| format!("this one asks for {here} {what}, and not for {there}");
    let why = if this.host != that.host {
        match rule.host {
            HostMatch::Any => "this one names no host".to_owned(),
            _ => format!("its host {} is less specific than {}", rule.host, other.host),
        }
    } else if this.path != that.path {
        format!("its path {} is less specific than {}", rule.path, other.path)
    } else if this.any_method != that.any_method {
        "this one names no method".to_owned()
    } else if this.headers != that.headers {
        more("headers", this.headers.0, that.headers.0)
    } else if this.query != that.query {
        more("query parameters", this.query.0, that.query.0)
    } else if this.cookies != that.cookies {
        more("cookies", this.cookies.0, that.cookies.0)
    } else if this.certificate != that.certificate {
        more(
            "parts of the client's certificate",
            this.certificate.0,
            that.certificate.0,
        )
    } else {
        "this one is as specific and stands later in the file".to_owned()
    };
    format!("matches as well, but {} comes first: {why}", taken.route.name)
}
