//! What users write in `match`, read into [`HostMatch`], [`PathMatch`] and [`ValueMatch`].

use regex::{Regex, RegexBuilder};

use super::host;
use super::path::{self, PathFault};
use super::{HostMatch, PathMatch, ValueMatch};

/// The most that one compiled regular expression may take, in bytes. Matching is linear in any case; this bounds what
/// `\w{1000}` costs to build and to keep.
pub const REGEX_BYTES_MAX: usize = 1 << 20;

/// What stands around an expression that is to match the whole text, and keeps its alternatives together.
const ANCHORS: (&str, &str) = (r"\A(?:", r")\z");

/// What is wrong with a pattern, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternFault {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl PatternFault {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        PatternFault {
            message: message.into(),
            help: Some(help.into()),
        }
    }
}

impl HostMatch {
    /// Reads `shop.example.com` or `*.example.com`; upper case and a dot at the end are put right.
    ///
    /// # Errors
    /// What is no host, with what was probably meant.
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        if text == "*" {
            return Err(PatternFault::new(
                "\"*\" is not a host",
                "leave `host` out to match any host",
            ));
        }
        let (name, wildcard) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.contains('*') {
            return Err(PatternFault::new(
                format!("\"{text}\" has a wildcard inside"),
                "a wildcard stands for whole labels at the beginning: \"*.example.com\"",
            ));
        }
        let fault = |message: String| PatternFault::new(message, host_help(name));
        let authority = host::normalise(name.as_bytes())
            .map_err(|why| fault(format!("\"{text}\" is not a host: {why}")))?
            .ok_or_else(|| fault(format!("\"{text}\" is not a host: it is empty")))?;
        if let Some(port) = authority.port {
            return Err(PatternFault::new(
                format!("\"{text}\" has a port"),
                format!("hosts are compared without port: leave \":{port}\" out, and name a listener instead"),
            ));
        }
        if wildcard && authority.host.starts_with('[') {
            return Err(fault(format!("\"{text}\" is a wildcard over an address")));
        }
        Ok(if wildcard {
            HostMatch::Suffix(format!(".{}", authority.host))
        } else {
            HostMatch::Exact(authority.host.into_owned())
        })
    }
}

fn host_help(name: &str) -> String {
    if let Some((_, rest)) = name.split_once("://") {
        let bare = rest.split(['/', ':']).next().unwrap_or(rest);
        return format!("write the host alone: \"{bare}\"");
    }
    if name.parse::<std::net::Ipv6Addr>().is_ok() {
        return format!("IPv6 addresses stand in brackets: \"[{name}]\"");
    }
    if !name.is_ascii() {
        return "write names beyond ASCII as browsers send them, in punycode: \"xn--…\"".into();
    }
    "write it like \"shop.example.com\" or \"*.example.com\"".into()
}

impl PathMatch {
    /// Reads `/exact` or `/prefix/*`. Paths are compared in their canonical form, so another form would never match
    /// and is refused.
    ///
    /// # Errors
    /// What is no canonical path, with what was probably meant.
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        if !text.starts_with('/') {
            return Err(PatternFault::new(
                format!("the path \"{text}\" does not begin with a slash"),
                format!("write \"/{text}\""),
            ));
        }
        let (bare, is_prefix) = match text.strip_suffix('*') {
            Some(bare) => (bare, true),
            None => (text, false),
        };
        if bare.contains('*') {
            return Err(PatternFault::new(
                format!("\"{text}\" has a wildcard inside"),
                "a wildcard stands at the end, after a slash; use `path_regex` for other patterns",
            ));
        }
        if is_prefix && !bare.ends_with('/') {
            return Err(PatternFault::new(
                format!("the wildcard in \"{text}\" does not follow a slash"),
                format!("write \"{bare}/*\" for everything under {bare}"),
            ));
        }
        // A listener that allows `%2F` has to be able to route on it, and elsewhere it does no harm.
        let star = if is_prefix { "*" } else { "" };
        match path::canonical(bare.as_bytes(), true) {
            Ok(path) if path != bare => Err(PatternFault::new(
                format!("the path \"{text}\" is not canonical, so that no request would match"),
                spelling_help(bare, &format!("{path}{star}")),
            )),
            Ok(path) => Ok(match path.strip_suffix('/') {
                Some(prefix) if is_prefix => PathMatch::Prefix(prefix.to_owned()),
                _ => PathMatch::Exact(path.into_owned()),
            }),
            Err(fault) => Err(PatternFault::new(
                format!("\"{text}\" is not a path: {fault}"),
                path_help(fault, bare, star),
            )),
        }
    }

    /// Compiles a regular expression over the whole path.
    ///
    /// # Errors
    /// What the expression's parser says, or that it is too large.
    pub fn regex(text: &str) -> Result<Self, PatternFault> {
        compile(text).map(PathMatch::Regex)
    }
}

impl ValueMatch {
    /// Compiles a regular expression over the whole value.
    ///
    /// # Errors
    /// What the expression's parser says, or that it is too large.
    pub fn regex(text: &str) -> Result<Self, PatternFault> {
        compile(text).map(ValueMatch::Regex)
    }
}

fn spelling_help(bare: &str, canonical: &str) -> String {
    if bare.contains(['{', '[', '^']) {
        return format!("use `path_regex` for patterns, or write \"{canonical}\" if these characters are meant");
    }
    format!("write \"{canonical}\"")
}

fn path_help(fault: PathFault, bare: &str, star: &str) -> String {
    match fault {
        PathFault::NonAscii(_) | PathFault::Space => {
            let escaped: String = bare
                .bytes()
                .map(|byte| match byte {
                    b' ' | 0x80.. => format!("%{byte:02X}"),
                    _ => char::from(byte).to_string(),
                })
                .collect();
            format!("write \"{escaped}{star}\"")
        }
        PathFault::QuestionMark => "parameters are matched by `query = { name = \"value\" }`".into(),
        PathFault::Fragment => "fragments are never sent to a server: leave it out".into(),
        PathFault::Backslash => format!("write \"{}{star}\"", bare.replace('\\', "/")),
        PathFault::BadEscape => "a percent sign itself is written \"%25\"".into(),
        _ => "such a request is refused before any route is asked".into(),
    }
}

fn compile(text: &str) -> Result<Regex, PatternFault> {
    let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
    // By itself first: `a)(b` would close the anchors' group, and the error should show the user's text alone.
    build(text)
        .and_then(|_| build(&format!("{}{text}{}", ANCHORS.0, ANCHORS.1)))
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => PatternFault::new(
                format!("the regular expression takes more than {limit} bytes"),
                "repeat less, or write `(?-u:\\w)` for letters of ASCII alone",
            ),
            other => PatternFault::new(
                format!("\"{text}\" is not a regular expression: {other}"),
                "the syntax is that of Rust's regex crate, without look-around and back-references",
            ),
        })
}

/// The expression as it was written, without our anchors.
pub(super) fn written(regex: &Regex) -> &str {
    let text = regex.as_str();
    text.strip_prefix(ANCHORS.0)
        .and_then(|text| text.strip_suffix(ANCHORS.1))
        .unwrap_or(text)
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
