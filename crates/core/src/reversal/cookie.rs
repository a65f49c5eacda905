//! Where a cookie holds.

use std::net::{IpAddr, SocketAddr};

use super::{HostSent, Reversal};

impl Reversal {
    /// The `Set-Cookie` that the client gets for `value` of `backend`; `None` when it stays.
    pub fn set_cookie(&self, value: &[u8], backend: SocketAddr) -> Option<Vec<u8>> {
        let mut parts = value.split(|byte| *byte == b';');
        let pair = parts.next().unwrap_or_default();
        // RFC 6265bis §4.1.3.2: its path is "/", or it is none.
        let is_host_cookie = pair.trim_ascii_start().starts_with(b"__Host-");
        let (mut out, mut changed) = (pair.to_vec(), false);
        for part in parts {
            let (name, of) = match part.iter().position(|byte| *byte == b'=') {
                Some(at) => (&part[..at], &part[at + 1..]),
                None => (part, &b""[..]),
            };
            let text = std::str::from_utf8(of.trim_ascii()).unwrap_or_default();
            let turned = if name.trim_ascii().eq_ignore_ascii_case(b"domain") {
                self.domain(text, backend)
            } else if name.trim_ascii().eq_ignore_ascii_case(b"path") && !is_host_cookie {
                self.path(text).map(Some)
            } else {
                None
            };
            match turned {
                None => {
                    out.push(b';');
                    out.extend_from_slice(part);
                }
                Some(Some(turned)) => {
                    changed = true;
                    out.push(b';');
                    out.extend_from_slice(name);
                    out.push(b'=');
                    out.extend_from_slice(turned.as_bytes());
                }
                Some(None) => changed = true,
            }
        }
        changed.then_some(out)
    }

    /// What becomes of a `Path`. All paths under `/v1` are `/v1`, without the slash that would leave that one out.
    fn path(&self, path: &str) -> Option<String> {
        let back = self.prefixes.back(path)?;
        let bare = if path == "/" { back.trim_end_matches('/') } else { &back };
        Some(if bare.is_empty() { "/".into() } else { bare.to_owned() })
    }

    /// What becomes of a `Domain`: it stays, becomes the client's host, or goes (`Some(None)`) where that is none that a
    /// cookie may name. Whoever the cookie was for besides, under the backend's domain, no client of ours asks.
    fn domain(&self, domain: &str, backend: SocketAddr) -> Option<Option<String>> {
        if self.sent == HostSent::Keep {
            return None;
        }
        let domain = domain.strip_prefix('.').unwrap_or(domain).to_ascii_lowercase();
        let sent = self.sent_host(backend);
        let parent = sent
            .strip_suffix(domain.as_str())
            .is_some_and(|rest| rest.ends_with('.'));
        let is_name = domain.contains('.') && sent.parse::<IpAddr>().is_err();
        if domain.is_empty() || domain != sent && !(parent && is_name) {
            return None;
        }
        let host = &self.client_host;
        let may_be_named = host.contains('.') && host.parse::<IpAddr>().is_err() && !host.starts_with('[');
        Some(may_be_named.then(|| host.clone()))
    }
}
