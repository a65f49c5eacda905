//! Writing a header, for backends that want to know their clients.

use std::net::{IpAddr, SocketAddr};

use super::{ProxiedEnds, SIGNATURE, TCP4, TCP6};

/// The longest unique id (§2.2.5).
pub const UNIQUE_ID_BYTES_MAX: usize = 128;

/// Types of additions (§2.2.1).
const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const UNIQUE_ID: u8 = 0x05;

/// What version 2 says beyond addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vouched<'v> {
    /// The protocol within TLS.
    pub alpn: Option<&'v [u8]>,
    /// The name that the client asked for.
    pub authority: Option<&'v str>,
    /// What this connection or request is called in our log.
    pub unique_id: Option<&'v [u8]>,
}

/// Writes version 1; without ends it speaks for nobody.
pub fn write_proxy_v1(out: &mut Vec<u8>, ends: Option<ProxiedEnds>) {
    let line = match ends.map(alike) {
        None => "PROXY UNKNOWN\r\n".to_owned(),
        Some(ProxiedEnds { source, destination }) => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.port(), destination.port());
            format!("PROXY {family} {} {} {from} {to}\r\n", source.ip(), destination.ip())
        }
    };
    out.extend_from_slice(line.as_bytes());
}

/// Writes version 2; without ends it speaks for itself, as in health checks, and says nothing more.
pub fn write_proxy_v2(out: &mut Vec<u8>, ends: Option<ProxiedEnds>, vouched: Vouched<'_>) {
    out.extend_from_slice(&SIGNATURE);
    let Some(ProxiedEnds { source, destination }) = ends.map(alike) else {
        return out.extend_from_slice(&[0x20, 0, 0, 0]);
    };
    let mut content = Vec::with_capacity(64);
    for end in [source, destination] {
        match end.ip() {
            IpAddr::V4(address) => content.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => content.extend_from_slice(&address.octets()),
        }
    }
    content.extend_from_slice(&source.port().to_be_bytes());
    content.extend_from_slice(&destination.port().to_be_bytes());
    let unique_id = vouched.unique_id.filter(|id| id.len() <= UNIQUE_ID_BYTES_MAX);
    for (kind, value) in [
        (ALPN, vouched.alpn),
        (AUTHORITY, vouched.authority.map(str::as_bytes)),
        (UNIQUE_ID, unique_id),
    ] {
        // The longest is a protocol's name of 255 bytes: lengths have room.
        if let Some((value, length)) = value.and_then(|value| Some((value, u16::try_from(value.len()).ok()?))) {
            content.push(kind);
            content.extend_from_slice(&length.to_be_bytes());
            content.extend_from_slice(value);
        }
    }
    out.extend_from_slice(&[0x21, if source.is_ipv4() { TCP4 } else { TCP6 }]);
    out.extend_from_slice(&u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(&content);
}

/// The same ends in one family: IPv4 is written as IPv6 (RFC 4291 §2.5.5.2) beside IPv6, and as what it is otherwise.
fn alike(ends: ProxiedEnds) -> ProxiedEnds {
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let (source, destination) = (canonical(ends.source), canonical(ends.destination));
    if source.is_ipv4() == destination.is_ipv4() {
        return ProxiedEnds { source, destination };
    }
    let widened = |end: SocketAddr| match end.ip() {
        IpAddr::V4(address) => SocketAddr::new(address.to_ipv6_mapped().into(), end.port()),
        IpAddr::V6(_) => end,
    };
    ProxiedEnds {
        source: widened(source),
        destination: widened(destination),
    }
}
