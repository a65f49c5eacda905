//! `match = { … }` of a route: hosts, paths, methods and values.

use plimsoll_core::document;
use plimsoll_core::document::{Decode, Faults, Json, Located, Node, Value, expect_text};
use plimsoll_core::filter::is_token;
use plimsoll_core::network::Network;
use plimsoll_core::route::{HostMatch, PathMatch, PatternFault, ValueMatch};
use plimsoll_core::secured::CertificatePart;
use serde_json::json;

use super::address::is_label;
use super::connection::{Alpn, Sni};
use super::values::{Keyed, Many};

document! {
    /// What a request, or a TLS connection that is passed through, has to be like.
    pub(in super::super) struct Match {
        /// Hosts: exact, or "*.suffix".
        pub(in super::super) host: Many<Host> = Many::default(),
        /// Paths: exact, or a prefix when it ends in "/*".
        pub(in super::super) path: Many<PathPattern> = Many::default(),
        /// A regular expression over the whole path.
        pub(in super::super) path_regex: Option<Located<PathRegex>>,
        /// Methods, in capitals.
        pub(in super::super) methods: Many<Method> = Many::default(),
        /// Header fields: all have to match.
        pub(in super::super) headers: Keyed<ValueRule>,
        /// Query parameters: all have to match.
        pub(in super::super) query: Keyed<ValueRule>,
        /// Cookies: all have to match.
        pub(in super::super) cookies: Keyed<ValueRule>,
        /// The certificate that the client has shown, which `client_ca` of the listener asks for: all parts have to match.
        pub(in super::super) client_cert: Option<Located<ClientCert>>,
        /// Of tls: names that the client asks for, exact or "*.suffix".
        pub(in super::super) sni: Many<Sni> = Many::default(),
        /// Of tls: protocols of which the client offers one, like "h2".
        pub(in super::super) alpn: Many<Alpn> = Many::default(),
        /// Of tls: networks that the client comes from.
        pub(in super::super) client: Many<Network> = Many::default(),
    }
}

/// Adds what core says of a pattern that it refused.
pub(super) fn understood<T>(parsed: Result<T, PatternFault>, node: &Node, faults: &mut Faults) -> Option<T> {
    match parsed {
        Ok(value) => Some(value),
        Err(refused) => {
            faults.error(node.span, one_line(&refused.message)).help = refused.help;
            None
        }
    }
}

/// What the regex crate says in several lines, which point at the place that is underlined anyway.
pub(super) fn one_line(message: &str) -> String {
    match (
        message.split_once(": regex parse error:"),
        message.rsplit_once("error: "),
    ) {
        (Some((subject, _)), Some((_, cause))) => format!("{subject}: {cause}"),
        _ => message.to_owned(),
    }
}

/// A host of a match.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Host(pub(in super::super) HostMatch);

impl Decode for Host {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a host, like \"shop.example.com\" or \"*.example.com\"", faults)?;
        understood(HostMatch::parse(text), node, faults).map(Host)
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
        understood(PathMatch::parse(text), node, faults).map(PathPattern)
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/", "examples": ["/health", "/api/*"] })
    }
}

/// A regular expression over a whole path.
#[derive(Clone, Debug)]
pub(in super::super) struct PathRegex(pub(in super::super) PathMatch);

impl PartialEq for PathRegex {
    fn eq(&self, other: &Self) -> bool {
        format!("{:?}", self.0) == format!("{:?}", other.0)
    }
}

impl Decode for PathRegex {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a regular expression", faults)?;
        understood(PathMatch::regex(text), node, faults).map(PathRegex)
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["/reports/[0-9]+"] })
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
        if let (true, Some((bare, _))) = (text.starts_with('/'), text.split_once('#')) {
            fault.help(format!("a path has no fragment: write \"{}\"", bare.escape_debug()));
        } else if !visible {
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

/// What the value of a header, query parameter or cookie has to be.
#[derive(Clone, Debug)]
pub(in super::super) struct ValueRule(pub(in super::super) ValueMatch);

impl PartialEq for ValueRule {
    fn eq(&self, other: &Self) -> bool {
        format!("{:?}", self.0) == format!("{:?}", other.0)
    }
}

/// A regular expression over a whole value.
#[derive(Clone, Debug)]
struct ValueRegex(ValueMatch);

impl PartialEq for ValueRegex {
    fn eq(&self, other: &Self) -> bool {
        format!("{:?}", self.0) == format!("{:?}", other.0)
    }
}

impl Decode for ValueRegex {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a regular expression", faults)?;
        understood(ValueMatch::regex(text), node, faults).map(ValueRegex)
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["[0-9]+"] })
    }
}

document! {
    /// What a client's certificate has to be.
    pub(in super::super) struct ClientCert {
        /// Whether there is one.
        pub(in super::super) present: Option<bool>,
        /// Its subject, as RFC 4514 writes it: "CN=ann,O=Shop".
        pub(in super::super) subject: Option<ValueRule>,
        /// Its issuer, written alike.
        pub(in super::super) issuer: Option<ValueRule>,
        /// One of its alternative names: a host in lower case, an address, a mail address, or a URI.
        pub(in super::super) san: Option<ValueRule>,
        /// SHA-256 of it, in hexadecimal, with or without colons; any of several suffices.
        pub(in super::super) fingerprint: Many<Fingerprint> = Many::default(),
    }
}

impl ClientCert {
    /// The parts that are asked for.
    pub(in super::super) fn parts(&self) -> Vec<(CertificatePart, ValueMatch)> {
        let one = |part: CertificatePart, rule: &Option<ValueRule>| Some((part, rule.as_ref()?.0.clone()));
        let prints: Vec<&str> = self.fingerprint.iter().map(|print| &*print.value.0).collect();
        let print = match prints.as_slice() {
            [] => self.present.map(ValueMatch::Present),
            _ if self.present == Some(false) => Some(ValueMatch::Present(false)),
            [only] => Some(ValueMatch::Exact((*only).to_owned())),
            several => ValueMatch::regex(&several.join("|")).ok(),
        };
        [
            one(CertificatePart::Subject, &self.subject),
            one(CertificatePart::Issuer, &self.issuer),
            one(CertificatePart::Name, &self.san),
            print.map(|print| (CertificatePart::Fingerprint, print)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// SHA-256 of a certificate, in lower case without colons.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Fingerprint(String);

/// Digits of it.
const FINGERPRINT_DIGITS: usize = 64;

impl Decode for Fingerprint {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "SHA-256 of a certificate, in hexadecimal", faults)?;
        let digits = text.replace(':', "").to_ascii_lowercase();
        let valid = digits.len() == FINGERPRINT_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !valid {
            faults
                .error(
                    node.span,
                    format!("\"{}\" is no SHA-256 of a certificate", text.escape_debug()),
                )
                .help("openssl x509 -in FILE -noout -fingerprint -sha256 prints it");
        }
        valid.then_some(Fingerprint(digits))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^([0-9A-Fa-f]{2}:?){32}$" })
    }
}

document! {
    /// What a value has to be, other than one text: one of these.
    struct ValueTable {
        /// A regular expression over the whole value.
        regex: Option<ValueRegex>,
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
                regex: Some(ValueRegex(regex)),
                prefix: None,
                present: None,
            } => regex,
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
