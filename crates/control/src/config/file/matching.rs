//! `match = { … }` of a route: hosts, paths, methods and values.

use std::collections::BTreeMap;

use plimsoll_core::document;
use plimsoll_core::document::{Decode, Faults, Json, Located, Node, Value, expect_text};
use plimsoll_core::route::{HostMatch, PathMatch, ValueMatch};
use regex::{Regex, RegexBuilder};
use serde_json::json;

use super::address::is_label;
use super::values::Many;

/// The largest program that one regular expression may become.
const REGEX_BYTES_MAX: usize = 1 << 20;

document! {
    /// What a request has to be like.
    pub(in super::super) struct Match {
        /// Hosts: exact, or "*.suffix".
        pub(in super::super) host: Many<Host> = Many::default(),
        /// Paths: exact, or a prefix when it ends in "/*".
        pub(in super::super) path: Many<PathPattern> = Many::default(),
        /// A regular expression over the whole path.
        pub(in super::super) path_regex: Option<Located<Pattern>>,
        /// Methods, in capitals.
        pub(in super::super) methods: Many<Method> = Many::default(),
        /// Header fields: all have to match.
        pub(in super::super) headers: BTreeMap<String, ValueRule>,
        /// Query parameters: all have to match.
        pub(in super::super) query: BTreeMap<String, ValueRule>,
        /// Cookies: all have to match.
        pub(in super::super) cookies: BTreeMap<String, ValueRule>,
    } later { "sni" }
}

/// A host of a match.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Host(pub(in super::super) HostMatch);

impl Decode for Host {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a host, like \"shop.example.com\" or \"*.example.com\"", faults)?;
        if text == "*" {
            return Some(Host(HostMatch::Any));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if let Some(suffix) = name.strip_prefix("*.")
            && is_hostname(suffix)
        {
            return Some(Host(HostMatch::Suffix(format!(".{suffix}"))));
        }
        if is_hostname(&name) {
            return Some(Host(HostMatch::Exact(name)));
        }
        let fault = faults.error(node.span, format!("\"{text}\" is not a host"));
        match name.rsplit_once(':') {
            Some((host, port)) if is_hostname(host) && port.parse::<u16>().is_ok() => {
                fault.help(format!("hosts are compared without their ports: write \"{host}\""))
            }
            _ => fault.help("write a name, an address, or \"*.\" and a name; `*` stands for whole labels at the front"),
        };
        None
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["shop.example.com", "*.example.com"] })
    }
}

/// Whether `text`, in lower case, can be a Host without its port: a name, an IPv4 or a bracketed IPv6 address.
pub(super) fn is_hostname(text: &str) -> bool {
    if let Some(v6) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return v6.parse::<std::net::Ipv6Addr>().is_ok();
    }
    text.len() <= 253 && text.split('.').all(is_label)
}

/// A path of a match.
#[derive(Clone, Debug)]
pub(in super::super) struct PathPattern(pub(in super::super) PathMatch);

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        format!("{:?}", self.0) == format!("{:?}", other.0)
    }
}

impl Decode for PathPattern {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a path, like \"/api/*\"", faults)?;
        let (stem, prefix) = match text.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (text, false),
        };
        let refusal = if !text.starts_with('/') {
            Some(format!("paths begin with a slash: write \"/{text}\""))
        } else if stem.contains('*') {
            Some("`*` may stand at the end only; `path_regex` takes more".into())
        } else if prefix && !stem.ends_with('/') {
            Some(format!(
                "a prefix ends at a slash: write \"{stem}/*\", which matches \"{stem}\" too"
            ))
        } else if stem.contains(['?', '#']) || stem.chars().any(|c| c.is_control() || c.is_whitespace()) {
            Some("a path holds no `?`, `#`, space or control character; `query` matches parameters".into())
        } else {
            None
        };
        if let Some(help) = refusal {
            faults
                .error(node.span, format!("\"{text}\" can match no path"))
                .help(help);
            return None;
        }
        Some(PathPattern(if prefix {
            PathMatch::Prefix(stem[..stem.len() - 1].to_owned())
        } else {
            PathMatch::Exact(stem.to_owned())
        }))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/", "examples": ["/health", "/api/*"] })
    }
}

/// A path that is one path, not a pattern.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct AbsolutePath(pub(in super::super) String);

impl Decode for AbsolutePath {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a path, like \"/healthz\"", faults)?;
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if text.starts_with('/') && !text.starts_with("//") && visible {
            return Some(AbsolutePath(text.to_owned()));
        }
        let fault = faults.error(node.span, format!("\"{}\" is not a path", text.escape_debug()));
        if !visible {
            fault.help("a path holds visible ASCII characters only, percent-encode the others");
        } else {
            fault.help(format!(
                "paths begin with one slash: write \"/{}\"",
                text.trim_start_matches('/')
            ));
        }
        None
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/", "examples": ["/healthz"] })
    }
}

/// A method: a token (RFC 9110 §9.1) in capitals, since methods are told apart by case and all that are in use are.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Method(pub(in super::super) String);

impl Decode for Method {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a method, like \"GET\"", faults)?;
        if is_token(text) && !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Some(Method(text.to_owned()));
        }
        let fault = faults.error(node.span, format!("\"{}\" is not a method", text.escape_debug()));
        if is_token(text) {
            fault.help(format!("did you mean \"{}\"?", text.to_ascii_uppercase()));
        }
        None
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["GET", "POST"] })
    }
}

/// RFC 9110 §5.6.2.
pub(in super::super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A regular expression over a whole value.
#[derive(Clone, Debug)]
pub(in super::super) struct Pattern(pub(in super::super) Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Decode for Pattern {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a regular expression", faults)?;
        // Alone first: `a)(b` would be well-formed inside of the group.
        let built = RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
        let built = built.and_then(|_| {
            RegexBuilder::new(&format!("^(?:{text})$"))
                .size_limit(REGEX_BYTES_MAX)
                .build()
        });
        match built {
            Ok(regex) => Some(Pattern(regex)),
            Err(error) => {
                let text = error.to_string();
                let cause = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                faults.error(node.span, format!("the regular expression does not compile: {cause}"));
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "format": "regex" })
    }
}

/// What the value of a header, query parameter or cookie has to be.
#[derive(Clone, Debug)]
pub(in super::super) struct ValueRule(pub(in super::super) ValueMatch);

impl PartialEq for ValueRule {
    fn eq(&self, other: &Self) -> bool {
        format!("{:?}", self.0) == format!("{:?}", other.0)
    }
}

document! {
    /// What a value has to be, other than one text: one of these.
    struct ValueTable {
        /// A regular expression over the whole value.
        regex: Option<Pattern>,
        /// The value begins with this.
        prefix: Option<String>,
        /// Any value will do (true), or there must be none (false).
        present: Option<bool>,
    }
}

impl Decode for ValueRule {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        if let Value::Text(text) | Value::Variable(text) = &node.value {
            return Some(ValueRule(ValueMatch::Exact(text.clone())));
        }
        let Value::Table(entries) = &node.value else {
            faults.expected(node, "text, or one of { regex = … }, { prefix = … }, { present = … }");
            return None;
        };
        let before = faults.list.len();
        let table = ValueTable::decode(node, faults)?;
        let rule = match table {
            ValueTable {
                regex: Some(Pattern(regex)),
                prefix: None,
                present: None,
            } => ValueMatch::Regex(regex),
            ValueTable {
                regex: None,
                prefix: Some(prefix),
                present: None,
            } => ValueMatch::Prefix(prefix),
            ValueTable {
                regex: None,
                prefix: None,
                present: Some(present),
            } => ValueMatch::Present(present),
            _ => {
                if faults.list.len() == before {
                    faults
                        .error(
                            node.span,
                            format!("one of these is wanted, and {} are there", entries.len()),
                        )
                        .help("write one of { regex = \"…\" }, { prefix = \"…\" }, { present = true }");
                }
                return None;
            }
        };
        Some(ValueRule(rule))
    }

    fn schema() -> Json {
        let mut table = ValueTable::schema();
        table["minProperties"] = 1.into();
        table["maxProperties"] = 1.into();
        json!({ "anyOf": [{ "type": "string" }, table] })
    }
}
