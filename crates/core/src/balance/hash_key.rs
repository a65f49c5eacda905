//! What a hash policy sends alike: `client-ip`, `header:NAME`, `cookie:NAME`, `query:NAME`, `path`, `host`,
//! `sni`, `5-tuple`.

use std::net::{IpAddr, SocketAddr};

use xxhash_rust::xxh3::xxh3_64;

use crate::document::{Decode, Faults, Json, Node, expect_text};
use crate::route::{RequestHead, cookie_value, query_value};

/// The part of a request or connection whose hash chooses the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address; IPv6 by its /64, which is what one customer is given.
    ClientIp,
    /// The first value of a header, by its name in lower case.
    Header(String),
    /// A cookie's value.
    Cookie(String),
    /// A query parameter's value.
    Query(String),
    /// The canonical path.
    Path,
    /// The host asked for.
    Host,
    /// The name asked for in the TLS handshake, of connections that are passed through.
    Sni,
    /// Both addresses, both ports, and the protocol.
    FiveTuple,
}

/// The number of TCP in a 5-tuple (IANA protocol numbers).
const TCP: u8 = 6;

const FORMS: &str = "client-ip, header:NAME, cookie:NAME, query:NAME, path, host, sni or 5-tuple";

impl HashKey {
    /// The key as users write it.
    pub fn text(&self) -> String {
        match self {
            HashKey::ClientIp => "client-ip".into(),
            HashKey::Header(name) => format!("header:{name}"),
            HashKey::Cookie(name) => format!("cookie:{name}"),
            HashKey::Query(name) => format!("query:{name}"),
            HashKey::Path => "path".into(),
            HashKey::Host => "host".into(),
            HashKey::Sni => "sni".into(),
            HashKey::FiveTuple => "5-tuple".into(),
        }
    }

    /// The key's hash for a request of `client`, over a connection from `peer`; `None` when the request has no such
    /// thing. `local` is our end of the connection, asked for only when it counts.
    pub fn of_request(
        &self,
        head: &RequestHead<'_>,
        client: IpAddr,
        peer: SocketAddr,
        local: impl FnOnce() -> Option<SocketAddr>,
    ) -> Option<u64> {
        match self {
            HashKey::FiveTuple => self.of_connection(peer, None, local),
            _ => self.read(head, client, hash_bytes),
        }
    }

    /// What `read` makes of the key's bytes in a request of `client`; `None` when the request has no such thing, as it
    /// never has both ends of its connection.
    pub fn read<T>(&self, head: &RequestHead<'_>, client: IpAddr, mut read: impl FnMut(&[u8]) -> T) -> Option<T> {
        match self {
            HashKey::ClientIp => {
                let (bytes, count) = client_bytes(client);
                Some(read(&bytes[..count]))
            }
            HashKey::Header(name) => {
                let mut found = None;
                head.fields.each(name, &mut |value| {
                    found = Some(read(value));
                    false
                });
                found
            }
            HashKey::Cookie(name) => cookie_value(head.fields, name).map(|value| read(&value)),
            HashKey::Query(name) => query_value(head.query, name).map(|value| read(&value)),
            HashKey::Path => Some(read(head.path.as_bytes())),
            HashKey::Host => Some(read(head.host.as_bytes())),
            HashKey::Sni | HashKey::FiveTuple => None,
        }
    }

    /// The key's hash for a layer 4 connection, which has nothing but its two ends, and the name that a TLS client asks
    /// for.
    pub fn of_connection(
        &self,
        peer: SocketAddr,
        sni: Option<&str>,
        local: impl FnOnce() -> Option<SocketAddr>,
    ) -> Option<u64> {
        match self {
            HashKey::ClientIp => Some(hash_client(peer.ip())),
            HashKey::Sni => sni.map(|name| hash_bytes(name.as_bytes())),
            HashKey::FiveTuple => local().map(|local| hash_flow(peer, local, TCP)),
            _ => None,
        }
    }

    /// Reads a key as users write it.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.split_once(':') {
            None => match text {
                "client-ip" => HashKey::ClientIp,
                "path" => HashKey::Path,
                "host" => HashKey::Host,
                "sni" => HashKey::Sni,
                "5-tuple" => HashKey::FiveTuple,
                _ => return None,
            },
            Some((_, "")) => return None,
            Some(("header", name)) => HashKey::Header(name.to_ascii_lowercase()),
            Some(("cookie", name)) => HashKey::Cookie(name.into()),
            Some(("query", name)) => HashKey::Query(name.into()),
            Some(_) => return None,
        })
    }
}

impl Decode for HashKey {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a hash key, like \"client-ip\"", faults)?;
        let key = HashKey::parse(text);
        if key.is_none() {
            faults
                .error(node.span, format!("\"{text}\" is not a hash key"))
                .help(format!("known here: {FORMS}"));
        }
        key
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "string", "pattern": "^(client-ip|path|host|sni|5-tuple|(header|cookie|query):.+)$" })
    }
}

/// The hash of a key's bytes. Without a seed, so that every node chooses alike.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// The hash of a client's address: IPv4 whole, IPv6 by its /64.
pub fn hash_client(address: IpAddr) -> u64 {
    let (bytes, count) = client_bytes(address);
    xxh3_64(&bytes[..count])
}

/// What is taken for one client: an IPv4 address, or the /64 of an IPv6 address; the bytes, and how many count.
pub fn client_bytes(address: IpAddr) -> ([u8; 8], usize) {
    let mut bytes = [0; 8];
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            bytes[..4].copy_from_slice(&v4.octets());
            (bytes, 4)
        }
        IpAddr::V6(v6) => {
            bytes.copy_from_slice(&v6.octets()[..8]);
            (bytes, 8)
        }
    }
}

/// The hash of a flow's two ends.
pub fn hash_flow(source: SocketAddr, destination: SocketAddr, protocol: u8) -> u64 {
    let mut bytes = [0u8; 37];
    bytes[..18].copy_from_slice(&address_bytes(source));
    bytes[18..36].copy_from_slice(&address_bytes(destination));
    bytes[36] = protocol;
    xxh3_64(&bytes)
}

/// The hash of a backend's address and port: what it is to every hash policy, on every node and after every restart,
/// wherever it stands in the list.
pub fn hash_address(address: SocketAddr) -> u64 {
    xxh3_64(&address_bytes(address))
}

/// The address as IPv6 and the port, in network order.
fn address_bytes(end: SocketAddr) -> [u8; 18] {
    let octets = match end.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let mut bytes = [0u8; 18];
    bytes[..16].copy_from_slice(&octets);
    bytes[16..].copy_from_slice(&end.port().to_be_bytes());
    bytes
}
