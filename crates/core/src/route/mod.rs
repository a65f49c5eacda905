//! Routing: which route a request takes, or a connection that nobody ends here. The most specific one wins, as in the
//! Kubernetes Gateway API.
//!
//! A request's target and host are first given their one spelling ([`path`], [`host`]); [`RouteTable`] then finds the
//! route, and can tell why it was that one.

pub mod host;
pub mod path;

mod asked;
mod connection;
mod destination;
mod hosts;
mod paths;
mod pattern;
mod rule;
mod shadow;
mod table;
mod tell;
mod values;

#[cfg(test)]
mod fixtures;

use regex::Regex;

use crate::secured::{CertificatePart, Secured};

pub use asked::{Asked, AskedFault, Target};
pub use connection::{ConnectionHead, ConnectionRule, ConnectionTable};
pub use destination::Destination;
pub use pattern::{PatternFault, REGEX_BYTES_MAX};
pub use shadow::Shadowed;
pub use table::{RouteTable, Taken};
pub use tell::TOLD_MAX;
pub use values::{cookie_value, query_value};

/// The host of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    /// Any host.
    Any,
    /// This one, in lower case.
    Exact(String),
    /// Any name that ends in this, which begins with a dot: `*.example.com` is `.example.com`. One or more labels
    /// stand to its left; `example.com` itself is not meant.
    Suffix(String),
}

/// The path of a rule. All texts are canonical paths; a target that is no path, as in `OPTIONS *`, is matched by `Any`
/// and expressions alone.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// Any path.
    Any,
    /// This one.
    Exact(String),
    /// This one and what lies under it; without the `/*` at the end: `/api/*` is `/api`, `/*` is empty.
    Prefix(String),
    /// A regular expression over the whole path.
    Regex(Regex),
}

/// A value of a header, query parameter or cookie. When there are several of one name, any of them may match; of a
/// header also all of them, joined by `", "` (RFC 9110 §5.3).
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// This value.
    Exact(String),
    /// It begins so.
    Prefix(String),
    /// A regular expression over the whole value; one that is no UTF-8 never matches.
    Regex(Regex),
    /// Any value (`true`), or none at all (`false`).
    Present(bool),
}

/// One match of a route.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The host.
    pub host: HostMatch,
    /// The canonical path.
    pub path: PathMatch,
    /// The methods; none means any.
    pub methods: Vec<String>,
    /// Header fields, by their names in lower case; all have to match.
    pub headers: Vec<(String, ValueMatch)>,
    /// Query parameters; all have to match.
    pub query: Vec<(String, ValueMatch)>,
    /// Cookies; all have to match.
    pub cookies: Vec<(String, ValueMatch)>,
    /// Parts of the client's certificate; all have to match.
    pub certificate: Vec<(CertificatePart, ValueMatch)>,
}

/// The parts of a request's head that a route may look at.
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a str,
    /// The host in lower case, without port or trailing dot; empty when there is none.
    pub host: &'a str,
    /// The canonical path.
    pub path: &'a str,
    /// The query without its question mark; empty when there is none.
    pub query: &'a str,
    /// The header fields.
    pub fields: &'a dyn Fields,
    /// What is known of the client's TLS, when it speaks it with us.
    pub tls: Option<&'a Secured>,
}

/// The header fields of a message, whatever holds them.
pub trait Fields {
    /// Calls `visit` with each value of the field `name` (in lower case) in order, until it returns false.
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool);
}
