//! The PROXY protocol (haproxy.org's proxy-protocol.txt, of 2020): a header before anything else on a connection, by which
//! a proxy says whom it speaks for. Version 1 is a line of text, version 2 is binary.

mod read;
mod receive;
mod write;

use std::net::SocketAddr;

pub use read::read_proxy_header;
pub use receive::Unintroduced;
pub use write::{UNIQUE_ID_BYTES_MAX, Vouched, write_proxy_v1, write_proxy_v2};

/// The longest header that is read, in bytes. The specification has 536 suffice for addresses and usual additions; those
/// of TLS may hold a client's certificate names.
pub const PROXY_HEADER_BYTES_MAX: usize = 4 << 10;

/// The longest line of version 1, with its end (§2.1).
const LINE_BYTES_MAX: usize = 107;

/// What version 2 begins with (§2.2): no text, and no TLS.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What version 1 begins with.
const WORD: &[u8] = b"PROXY ";

/// The header of version 2 without addresses.
const FIXED_BYTES: usize = 16;

/// Addresses over TCP, by the byte that announces them.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// The two ends of the connection that a proxy speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxiedEnds {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// A header that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Whom the proxy speaks for; `None` when that is itself, as in its health checks, or it does not know.
    pub ends: Option<ProxiedEnds>,
    /// How many bytes it has.
    pub length: usize,
}

/// Why there is no header, and will not be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyFault {
    /// Something else begins the connection.
    #[error("no header of the PROXY protocol begins the connection")]
    Absent,
    /// It follows no grammar.
    #[error("the header of the PROXY protocol is malformed: {0}")]
    Malformed(&'static str),
    /// Longer than [`PROXY_HEADER_BYTES_MAX`].
    #[error("the header of the PROXY protocol is longer than {PROXY_HEADER_BYTES_MAX} bytes")]
    TooLong,
}

#[cfg(test)]
mod tests;
