//! One rule against one request, and two rules against each other.

use std::cmp::Reverse;
use std::fmt;

use super::pattern::written;
use super::values::{self, Misfit};
use super::{HostMatch, PathMatch, RequestHead, Rule, ValueMatch};

/// How specific a rule is; the smallest comes first: host, path, method, headers, query, as in the Kubernetes Gateway
/// API, which knows neither cookies nor certificates: they come after. Then the order of the file, which is not in here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Exact, the longest suffix, any.
    pub(super) host: (u8, Reverse<usize>),
    /// Exact, the longest prefix, an expression, any.
    pub(super) path: (u8, Reverse<usize>),
    pub(super) any_method: bool,
    pub(super) headers: Reverse<usize>,
    pub(super) query: Reverse<usize>,
    pub(super) cookies: Reverse<usize>,
    pub(super) certificate: Reverse<usize>,
}

/// The first thing that keeps a rule from matching.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal<'t> {
    Host,
    Path,
    Method,
    Value(Kind, &'t str, &'t ValueMatch, Misfit),
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Header,
    Cookie,
    Query,
    Certificate,
}

impl HostMatch {
    /// Whether `host`, a normalised one, is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            HostMatch::Any => true,
            HostMatch::Exact(name) => host == name,
            HostMatch::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }

    /// Exact, the longest suffix, any: the smallest comes first.
    pub(super) fn rank(&self) -> (u8, Reverse<usize>) {
        match self {
            HostMatch::Exact(_) => (0, Reverse(0)),
            HostMatch::Suffix(suffix) => (1, Reverse(suffix.len())),
            HostMatch::Any => (2, Reverse(0)),
        }
    }
}

impl PathMatch {
    /// Whether `path`, a canonical one, is meant.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            PathMatch::Any => true,
            PathMatch::Exact(exact) => path == exact,
            PathMatch::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.starts_with('/') || (rest.is_empty() && !path.is_empty())),
            PathMatch::Regex(regex) => regex.is_match(path),
        }
    }
}

impl Rule {
    pub(super) fn rank(&self) -> Rank {
        Rank {
            host: self.host.rank(),
            path: match &self.path {
                PathMatch::Exact(_) => (0, Reverse(0)),
                PathMatch::Prefix(prefix) => (1, Reverse(prefix.len())),
                PathMatch::Regex(_) => (2, Reverse(0)),
                PathMatch::Any => (3, Reverse(0)),
            },
            any_method: self.methods.is_empty(),
            headers: Reverse(self.headers.len()),
            query: Reverse(self.query.len()),
            cookies: Reverse(self.cookies.len()),
            certificate: Reverse(self.certificate.len()),
        }
    }

    /// What keeps `head` from matching, from the host on.
    pub(super) fn refusal(&self, head: &RequestHead<'_>) -> Option<Refusal<'_>> {
        if !self.host.matches(head.host) {
            return Some(Refusal::Host);
        }
        if !self.path.matches(head.path) {
            return Some(Refusal::Path);
        }
        self.condition_refusal(head)
    }

    /// What keeps `head` from matching when host and path are known to.
    pub(super) fn condition_refusal(&self, head: &RequestHead<'_>) -> Option<Refusal<'_>> {
        if !self.methods.is_empty() && !self.methods.iter().any(|method| method == head.method) {
            return Some(Refusal::Method);
        }
        let headers = self.headers.iter().find_map(|(name, wanted)| {
            let misfit = values::header(head.fields, name, wanted)?;
            Some(Refusal::Value(Kind::Header, name, wanted, misfit))
        });
        headers
            .or_else(|| {
                self.cookies.iter().find_map(|(name, wanted)| {
                    let misfit = values::cookie(head.fields, name, wanted)?;
                    Some(Refusal::Value(Kind::Cookie, name, wanted, misfit))
                })
            })
            .or_else(|| {
                self.query.iter().find_map(|(name, wanted)| {
                    let misfit = values::parameter(head.query, name, wanted)?;
                    Some(Refusal::Value(Kind::Query, name, wanted, misfit))
                })
            })
            .or_else(|| {
                self.certificate.iter().find_map(|(part, wanted)| {
                    let misfit = values::certificate(head.tls, *part, wanted)?;
                    Some(Refusal::Value(Kind::Certificate, part.word(), wanted, misfit))
                })
            })
    }

    /// What the rule asks for, in words.
    pub(super) fn words(&self) -> String {
        let mut parts = Vec::new();
        if self.host != HostMatch::Any {
            parts.push(format!("host {}", self.host));
        }
        if !matches!(self.path, PathMatch::Any) {
            parts.push(format!("path {}", self.path));
        }
        if !self.methods.is_empty() {
            parts.push(format!("method {}", self.methods.join(" or ")));
        }
        for (kind, conditions) in [
            (Kind::Header, &self.headers),
            (Kind::Cookie, &self.cookies),
            (Kind::Query, &self.query),
        ] {
            parts.extend(conditions.iter().map(|(name, _)| format!("{kind} {name}")));
        }
        parts.extend(
            self.certificate
                .iter()
                .map(|(part, _)| format!("{} {}", Kind::Certificate, part.word())),
        );
        if parts.is_empty() {
            return "any request".into();
        }
        parts.join(", ")
    }
}

impl Refusal<'_> {
    /// Why `rule` does not match `head`. No value of the request's headers, cookies or query is shown.
    pub(super) fn words(&self, rule: &Rule, head: &RequestHead<'_>) -> String {
        match self {
            Refusal::Host if head.host.is_empty() => format!("no host was sent, not {}", rule.host),
            Refusal::Host => format!("host is {}, not {}", head.host, rule.host),
            Refusal::Path => format!("path {} is not {}", head.path, rule.path),
            Refusal::Method => format!("method {} is not {}", head.method, rule.methods.join(" or ")),
            Refusal::Value(kind, name, _, Misfit::Absent) => format!("{kind} {name} is absent"),
            Refusal::Value(kind, name, _, Misfit::Unwanted) => format!("{kind} {name} is present"),
            Refusal::Value(kind, name, wanted, Misfit::Other) => {
                // The wanted value may be a secret as well, as in a route for one API key.
                let secret = match kind {
                    Kind::Header => matches!(*name, "authorization" | "proxy-authorization" | "cookie"),
                    Kind::Cookie | Kind::Query => true,
                    Kind::Certificate => false,
                };
                match wanted {
                    ValueMatch::Exact(text) if !secret => format!("{kind} {name} is not \"{text}\""),
                    ValueMatch::Prefix(text) if !secret => format!("{kind} {name} does not begin with \"{text}\""),
                    ValueMatch::Regex(regex) if !secret => {
                        format!("{kind} {name} does not match \"{}\"", written(regex))
                    }
                    _ => format!("{kind} {name} has another value"),
                }
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Kind::Header => "header",
            Kind::Cookie => "cookie",
            Kind::Query => "query parameter",
            Kind::Certificate => "the client certificate's",
        })
    }
}

/// As users write it; `any` for any.
impl fmt::Display for HostMatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostMatch::Any => out.write_str("any"),
            HostMatch::Exact(name) => out.write_str(name),
            HostMatch::Suffix(suffix) => write!(out, "*{suffix}"),
        }
    }
}

/// As users write it; `any` for any.
impl fmt::Display for PathMatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathMatch::Any => out.write_str("any"),
            PathMatch::Exact(path) => out.write_str(path),
            PathMatch::Prefix(prefix) => write!(out, "{prefix}/*"),
            PathMatch::Regex(regex) => out.write_str(written(regex)),
        }
    }
}
