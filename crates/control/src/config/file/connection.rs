//! What a `match` may ask of a TLS connection that is passed through: the name and the protocols of its ClientHello.

use std::net::IpAddr;

use plimsoll_core::document::{Decode, Faults, Json, Node, expect_text};
use plimsoll_core::route::HostMatch;
use serde_json::json;

use super::matching::understood;

/// The longest name of a protocol, in bytes (RFC 7301 §3.1).
const ALPN_BYTES_MAX: usize = 255;

/// A name that a client asks for in its ClientHello (RFC 6066 §3).
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Sni(pub(in super::super) HostMatch);

impl Decode for Sni {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a name, like \"db.example.com\" or \"*.example.com\"", faults)?;
        if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            faults
                .error(node.span, format!("\"{text}\" is an address, and clients send names"))
                .help("leave `sni` out: a client that knows an address alone sends no name");
            return None;
        }
        understood(HostMatch::parse(text), node, faults).map(Sni)
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["db.example.com", "*.example.com"] })
    }
}

/// The name of a protocol that a client offers (RFC 7301).
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Alpn(pub(in super::super) String);

impl Decode for Alpn {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a protocol, like \"h2\"", faults)?;
        let visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && text.len() <= ALPN_BYTES_MAX {
            return Some(Alpn(text.to_owned()));
        }
        faults
            .error(
                node.span,
                format!("\"{}\" is not a protocol's name", text.escape_debug()),
            )
            .help("clients offer names like \"h2\", \"http/1.1\" or \"acme-tls/1\"");
        None
    }

    fn schema() -> Json {
        json!({
            "type": "string", "pattern": "^[!-~]+$", "maxLength": ALPN_BYTES_MAX, "examples": ["h2", "http/1.1"]
        })
    }
}
