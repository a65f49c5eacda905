//! Addresses to accept on and to send to.

use std::net::{IpAddr, SocketAddr};

use plimsoll_core::document::{Decode, Faults, Json, Node, expect_text};
use serde_json::json;

/// An address to accept on: `127.0.0.1:8080`, `[::]:8080`, `:8080`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct BindAddress(pub(in super::super) SocketAddr);

impl Decode for BindAddress {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        if let Some(port) = node.integer() {
            faults
                .error(node.span, format!("{port} is not an address and a port"))
                .help(format!("write \":{port}\" for every address of this host"));
            return None;
        }
        let text = expect_text(node, "an address and a port, like \"0.0.0.0:8080\"", faults)?;
        if refuse_unix(text, node, faults) {
            return None;
        }
        let parsed = match text.strip_prefix(':') {
            Some(port) => port
                .parse()
                .ok()
                .map(|port| SocketAddr::new(IpAddr::from([0; 4]), port)),
            None => text.parse().ok(),
        };
        if parsed.is_none() {
            let fault = faults.error(node.span, format!("\"{text}\" is not an address and a port"));
            fault.help(match text.strip_prefix("*:") {
                Some(port) => format!("write \":{port}\", or \"[::]:{port}\" with IPv6"),
                None => corrected(text).map_or_else(
                    || "write it like \"0.0.0.0:8080\", \"[::]:8080\" or \":8080\"".into(),
                    |address| format!("write \"{address}\""),
                ),
            });
        }
        parsed.map(BindAddress)
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["0.0.0.0:8080", "[::]:8080", ":8080"] })
    }
}

/// An address to send to: `10.0.0.1:8080`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct BackendAddress(pub(in super::super) SocketAddr);

impl Decode for BackendAddress {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "an address and a port, like \"10.0.0.1:8080\"", faults)?;
        if refuse_unix(text, node, faults) {
            return None;
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            if address.port() == 0 {
                faults.error(node.span, "nobody can be reached at port 0");
                return None;
            }
            return Some(BackendAddress(address));
        }
        if let Some(address) = corrected(text) {
            faults
                .error(node.span, format!("\"{text}\" is not an address and a port"))
                .help(format!("write \"{address}\""));
        } else if is_host_and_port(text) {
            faults
                .not_built(node.span, &format!("\"{text}\" is a hostname, and discovery by DNS"))
                .help("write its address and port, like \"10.0.0.1:8080\"");
        } else {
            faults
                .error(node.span, format!("\"{text}\" is not an address and a port"))
                .help("write it like \"10.0.0.1:8080\" or \"[2001:db8::1]:8080\"");
        }
        None
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["10.0.0.1:8080", "[2001:db8::1]:8080"] })
    }
}

fn refuse_unix(text: &str, node: &Node, faults: &mut Faults) -> bool {
    let unix = text.starts_with("unix:");
    if unix {
        faults
            .not_built(node.span, "an address that begins with \"unix:\"")
            .help("write an address and a port, like \"127.0.0.1:8080\"");
    }
    unix
}

/// What was meant by text that is almost an address and a port.
fn corrected(text: &str) -> Option<String> {
    let bare = ["http://", "https://", "tcp://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let bare = bare.map_or(text, |rest| rest.trim_end_matches('/'));
    if let Ok(address) = bare.parse::<SocketAddr>() {
        return Some(address.to_string());
    }
    if let Ok(ip) = bare.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, 8080).to_string());
    }
    let (host, port) = bare.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let local = host.is_empty() || host.eq_ignore_ascii_case("localhost");
    if local {
        return Some(format!("127.0.0.1:{port}"));
    }
    // An IPv6 address without its brackets.
    let ip: IpAddr = host.parse().ok()?;
    Some(SocketAddr::new(ip, port).to_string())
}

fn is_host_and_port(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "1"));
    let labels = host.strip_suffix('.').unwrap_or(host).split('.');
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    port.parse::<u16>().is_ok() && !numeric && labels.into_iter().all(is_label)
}

/// RFC 1123 §2.1, with the underscore that people use.
pub(super) fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
