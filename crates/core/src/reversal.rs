//! Reversal: an answer names hosts and paths as its backend knows them, and its client knows others.
//!
//! What is turned back is where a redirect leads (`Location`, `Content-Location`, `Refresh`), and where a cookie holds
//! (`Domain`, `Path`). What names anybody else stays as it is, and so does everything that could be read in two ways.

mod cookie;
mod prefixes;

pub use prefixes::{Prefixes, Rewritten};

use std::net::SocketAddr;
use std::sync::Arc;

use crate::route::host::{self, Authority};

/// The Host that a route sends upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostSent {
    /// The client's.
    #[default]
    Keep,
    /// The backend's address.
    Backend,
    /// This one.
    Name(Arc<str>),
}

/// What is turned back in the answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversal {
    /// `http` or `https`, as the client asked.
    scheme: &'static str,
    /// The client's host, with its port; empty when it named none.
    client: String,
    /// The same without the port.
    client_host: String,
    sent: HostSent,
    prefixes: Prefixes,
}

impl Reversal {
    /// What is to be turned back for a request to `authority` over `scheme`, sent on under the host `sent` and with its
    /// path `rewritten`; `None` when there is nothing.
    pub fn of(
        scheme: &'static str,
        authority: Option<&Authority<'_>>,
        sent: &HostSent,
        rewritten: &Rewritten,
    ) -> Option<Self> {
        let prefixes = rewritten.prefixes();
        if *sent == HostSent::Keep && prefixes.is_none() {
            return None;
        }
        let port = authority.and_then(|authority| authority.port);
        let client_host = authority.map_or_else(String::new, |authority| authority.host.clone().into_owned());
        Some(Reversal {
            scheme,
            client: port.map_or_else(|| client_host.clone(), |port| format!("{client_host}:{port}")),
            client_host,
            sent: sent.clone(),
            prefixes: prefixes.cloned().unwrap_or_default(),
        })
    }

    /// What it does, in words.
    pub fn words(&self) -> String {
        let host = match &self.sent {
            HostSent::Keep => None,
            HostSent::Backend => Some("the backend's address".to_owned()),
            HostSent::Name(name) => Some(name.to_string()),
        };
        let host = host.map(|host| format!("{host} becomes {}://{}", self.scheme, self.client));
        let Prefixes { client, upstream } = &self.prefixes;
        let slash = |prefix: &str| {
            if prefix.is_empty() {
                "/".to_owned()
            } else {
                prefix.to_owned()
            }
        };
        let path = (client != upstream).then(|| format!("paths under {} go under {}", slash(upstream), slash(client)));
        let parts: Vec<String> = host.into_iter().chain(path).collect();
        format!("where redirects lead and cookies hold: {}", parts.join(", "))
    }

    /// Where the client is to go for `value`, a URL in an answer of `backend`; `None` when it stays.
    pub fn url(&self, value: &[u8], backend: SocketAddr) -> Option<String> {
        // What browsers leave out of a URL, and what they take for a slash, would make another URL of it behind our back.
        let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'\\';
        let url = std::str::from_utf8(value)
            .ok()
            .filter(|url| url.bytes().all(|byte| plain(&byte)))?;
        let (is_sent, head, rest) = match authority_of(url) {
            None => (false, "", url),
            Some(found) => {
                let is_sent = self.is_sent(found.scheme, found.authority, backend);
                if !is_sent {
                    return None;
                }
                (true, found.head, found.rest)
            }
        };
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let (path, tail) = rest.split_at(end);
        // RFC 3986 §6.2.3: behind an authority an empty path is a slash.
        let path = if is_sent && path.is_empty() { "/" } else { path };
        let back = self.prefixes.back(path);
        if !(is_sent && self.sent != HostSent::Keep) {
            return back.map(|path| format!("{head}{path}{tail}"));
        }
        let path = back.as_deref().unwrap_or(path);
        if self.client.is_empty() {
            // No client is sent to another host by `//` at the beginning of a path.
            return Some(format!("/{}{tail}", path.trim_start_matches('/')));
        }
        Some(format!("{}://{}{path}{tail}", self.scheme, self.client))
    }

    /// The same of a `Refresh` field: `5; url=/there`, or `0;/there`.
    pub fn refresh(&self, value: &[u8], backend: SocketAddr) -> Option<String> {
        let text = std::str::from_utf8(value).ok()?;
        let url = refreshed(text)?;
        let back = self.url(url.trim_matches(['"', '\'', ' ']).as_bytes(), backend)?;
        Some(format!("{}{back}", &text[..text.len() - url.len()]))
    }

    /// Whether `authority` is the one that was sent upstream, or the backend's own.
    fn is_sent(&self, scheme: &str, authority: &str, backend: SocketAddr) -> bool {
        let Ok(Some(named)) = host::normalise(authority.as_bytes()) else {
            return false;
        };
        let usual = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
        let is = |known: &str, also: Option<u16>| {
            let Ok(Some(known)) = host::normalise(known.as_bytes()) else {
                return false;
            };
            let ports = [known.port.unwrap_or(usual), also.unwrap_or(usual)];
            known.host == named.host && (named.port.is_none() || ports.contains(&named.port.unwrap_or(usual)))
        };
        match &self.sent {
            HostSent::Keep => is(&self.client, None),
            HostSent::Backend => is(&backend.to_string(), None),
            // Some servers add the port that they listen at, whatever they are called, and some know their address alone.
            HostSent::Name(name) => is(name, Some(backend.port())) || is(&backend.to_string(), None),
        }
    }

    /// The host that was sent upstream, without its port.
    fn sent_host(&self, backend: SocketAddr) -> String {
        match &self.sent {
            HostSent::Keep => self.client_host.clone(),
            HostSent::Backend => backend.ip().to_string(),
            HostSent::Name(name) => match host::normalise(name.as_bytes()) {
                Ok(Some(authority)) => authority.host.into_owned(),
                _ => name.to_string(),
            },
        }
    }
}

/// The URL of a `Refresh` field, to its end, as browsers find it (HTML, "shared declarative refresh steps"): behind the
/// seconds and what parts them from it, `url=` or not.
fn refreshed(text: &str) -> Option<&str> {
    let seconds = |c: char| c.is_ascii_digit() || c == '.';
    let rest = text.trim_start().trim_start_matches(seconds);
    let parted = rest.trim_start();
    let url = parted.strip_prefix([';', ',']).unwrap_or(parted).trim_start();
    if url.is_empty() || url.len() == rest.len() {
        return None;
    }
    let named = url.get(..3).filter(|word| word.eq_ignore_ascii_case("url"));
    let named = named.and_then(|word| url[word.len()..].trim_start().strip_prefix('='));
    Some(named.map_or(url, str::trim_start))
}

/// A URL that names an authority.
struct Absolute<'u> {
    scheme: &'u str,
    authority: &'u str,
    /// All up to the end of the authority.
    head: &'u str,
    rest: &'u str,
}

fn authority_of(url: &str) -> Option<Absolute<'_>> {
    let (scheme, start) = match url.split_once("://") {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") => {
            (scheme, scheme.len() + 3)
        }
        _ if url.starts_with("//") => ("", 2),
        _ => return None,
    };
    let length = url[start..].find(['/', '?', '#']).unwrap_or(url.len() - start);
    let (head, rest) = url.split_at(start + length);
    Some(Absolute {
        scheme,
        authority: &head[start..],
        head,
        rest,
    })
}

#[cfg(test)]
#[path = "reversal/tests.rs"]
mod tests;
