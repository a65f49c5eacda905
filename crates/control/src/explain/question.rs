//! What is asked: a URL, and what a client would send with it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The port that a client is assumed to come from when only its address is known: the first of the dynamic ones
/// (RFC 6335 §6).
const CLIENT_PORT: u16 = 49_152;

/// A request whose way is to be explained.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where it goes.
    pub url: Url,
    /// Its method.
    pub method: String,
    /// Its header fields, besides `Host`.
    pub headers: Vec<(String, String)>,
    /// Who connects to us; this host when `None`.
    pub client: Option<SocketAddr>,
    /// The protocols that it offers within TLS; those of its URL's scheme when there are none.
    pub alpn: Vec<String>,
    /// The listener that it comes in by; found by the URL when `None`.
    pub listener: Option<String>,
    /// What the random part of the pick follows from.
    pub seed: u64,
}

/// Why there is no answer, and what to ask instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// The text is no URL that a client could send.
    #[error("{0}")]
    Url(String),
    /// A header that no client could send.
    #[error("{0}")]
    Header(String),
    /// A client's address that cannot be read.
    #[error("\"{0}\" is not an address; write it like --client 10.0.0.1 or --client 10.0.0.1:40000")]
    Client(String),
    /// A method that no client could send.
    #[error("\"{0}\" is not a method; write it like -X POST")]
    Method(String),
    /// There is no such listener, or none for this URL.
    #[error("{0}")]
    Listener(String),
}

/// A URL, as a client would take it apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// What is spoken.
    pub scheme: Scheme,
    /// `host[:port]`, as written.
    pub authority: String,
    /// The host, as written; IPv6 without its brackets.
    pub host: String,
    /// The port, when one is given.
    pub port: Option<u16>,
    /// Path and query, as written; never empty.
    pub target: String,
}

/// What is spoken with the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP.
    Http,
    /// HTTP within TLS.
    Https,
    /// Bytes.
    Tcp,
    /// Bytes within TLS.
    Tls,
}

impl Scheme {
    /// The port of a URL that names none.
    pub(super) fn default_port(self) -> Option<u16> {
        match self {
            Scheme::Http => Some(80),
            Scheme::Https | Scheme::Tls => Some(443),
            Scheme::Tcp => None,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Tcp => "tcp",
            Scheme::Tls => "tls",
        }
    }
}

impl Url {
    /// What a client asks for in its handshake: a host's name, and no address (RFC 6066 §3).
    pub(super) fn server_name(&self) -> Option<String> {
        let is_name = !self.host.is_empty() && self.host.parse::<IpAddr>().is_err();
        is_name.then(|| self.host.trim_end_matches('.').to_ascii_lowercase())
    }
}

impl Question {
    /// Who connects to us.
    pub(super) fn peer(&self) -> SocketAddr {
        self.client
            .unwrap_or_else(|| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), CLIENT_PORT))
    }

    /// Reads a client's address, with or without a port.
    ///
    /// # Errors
    /// It is neither.
    pub fn client(text: &str) -> Result<SocketAddr, Unanswerable> {
        let address = text.parse().ok();
        let bare = || text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        address
            .or_else(|| bare().map(|ip| SocketAddr::new(ip, CLIENT_PORT)))
            .ok_or_else(|| Unanswerable::Client(text.to_owned()))
    }

    /// Reads a header field as it is written for curl: `name: value`.
    ///
    /// # Errors
    /// There is no name, or a line break.
    pub fn header(text: &str) -> Result<(String, String), Unanswerable> {
        let fault = |what: &str| Unanswerable::Header(format!("{what}; write a header like -H 'x-beta: 1'"));
        // What stands behind the colon may be a secret, and is not repeated.
        let (name, value) = text
            .split_once(':')
            .ok_or_else(|| fault("a header has no colon behind its name"))?;
        if name.trim().is_empty() {
            return Err(fault("a header has no name"));
        }
        if text.contains(['\r', '\n', '\0']) {
            return Err(fault(&format!(
                "the header {} has a line break in it",
                name.escape_debug()
            )));
        }
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    }

    /// Judges a method: it may not end its line.
    ///
    /// # Errors
    /// It is empty, or has a space or control character in it.
    pub fn method(text: &str) -> Result<String, Unanswerable> {
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Unanswerable::Method(text.escape_debug().to_string()));
        }
        Ok(text.to_owned())
    }
}

impl Url {
    /// Reads `text`.
    ///
    /// # Errors
    /// What is missing, and what to type.
    pub fn parse(text: &str) -> Result<Self, Unanswerable> {
        let fault = |what: String| Unanswerable::Url(what);
        if let Some(bad) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
            let help = if bad == ' ' {
                "write a space as %20"
            } else {
                "clients percent-encode it"
            };
            return Err(fault(format!("the URL has {bad:?} in it; {help}")));
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "http" => (Scheme::Http, rest),
                "https" => (Scheme::Https, rest),
                "tcp" => (Scheme::Tcp, rest),
                "tls" => (Scheme::Tls, rest),
                other => {
                    return Err(fault(format!(
                        "the scheme \"{other}\" is not served; write http://, https://, tls:// or tcp://"
                    )));
                }
            },
            None if text.starts_with('/') => {
                return Err(fault(format!(
                    "the URL has no host; write it like http://shop.example.com{}",
                    redacted(text)
                )));
            }
            None => {
                return Err(fault(format!("the URL has no scheme; write http://{}", redacted(text))));
            }
        };
        // Clients keep the fragment to themselves (RFC 9110 §7.1).
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            let help = "clients send it as a header; write -H 'authorization: …'";
            return Err(fault(format!("the URL has a user in it; {help}")));
        }
        let (host, port) = split_authority(authority).ok_or_else(|| {
            fault(format!(
                "\"{authority}\" is not a host and a port from 1 to 65535; write it like shop.example.com:8080 or \
                 [2001:db8::1]:8080"
            ))
        })?;
        if host.is_empty() && scheme != Scheme::Tcp {
            return Err(fault(
                "the URL has no host; write it like http://shop.example.com/".into(),
            ));
        }
        Ok(Url {
            scheme,
            authority: authority.to_owned(),
            host: host.to_owned(),
            port,
            // A client that is given no path asks for the root (RFC 9112 §3.2.1).
            target: if target.starts_with('/') {
                target.to_owned()
            } else {
                format!("/{target}")
            },
        })
    }
}

/// The host, IPv6 without brackets, and the port of `host[:port]`.
fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    match port {
        "" => Some((host, None)),
        port => Some((host, Some(port.parse().ok().filter(|port| *port > 0)?))),
    }
}

/// `target` with the values of its query taken out.
pub(super) fn redacted(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return target.to_owned();
    };
    format!("{path}?{}", redacted_query(query))
}

/// A query's names alone. What stands alone may be a value, as in `?token`.
pub(super) fn redacted_query(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) => format!("{name}=…"),
        None if pair.is_empty() => String::new(),
        None => "…".to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}
