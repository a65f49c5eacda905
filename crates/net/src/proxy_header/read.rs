//! Reading a header of either version.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    FIXED_BYTES, LINE_BYTES_MAX, PROXY_HEADER_BYTES_MAX, ProxiedEnds, ProxyFault, ProxyHeader, SIGNATURE, TCP4, TCP6,
    WORD,
};

/// Reads the header at the front of `bytes`; `None` when it is too early to tell. What follows it is not looked at.
///
/// # Errors
/// See [`ProxyFault`]; it is told as soon as it is sure.
pub fn read_proxy_header(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyFault> {
    let begins = |with: &[u8]| {
        let count = with.len().min(bytes.len());
        bytes[..count] == with[..count]
    };
    if begins(WORD) {
        return line(bytes);
    }
    if begins(&SIGNATURE) {
        return binary(bytes);
    }
    Err(ProxyFault::Absent)
}

/// Version 1 (§2.1).
fn line(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyFault> {
    let start = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = start.iter().position(|byte| *byte == b'\n') else {
        return match bytes.len() {
            0..LINE_BYTES_MAX => Ok(None),
            _ => Err(ProxyFault::Malformed("its line does not end")),
        };
    };
    let text = std::str::from_utf8(&start[..end])
        .ok()
        .and_then(|text| text.strip_suffix('\r')?.strip_prefix("PROXY "));
    let Some(text) = text else {
        return Err(ProxyFault::Malformed("its line is no text"));
    };
    // What follows UNKNOWN means nothing.
    let ends = match text.split(' ').collect::<Vec<_>>().as_slice() {
        ["UNKNOWN", ..] => None,
        [family @ ("TCP4" | "TCP6"), source, destination, from, to] => {
            let of = |address: &str, at: &str| Some(SocketAddr::new(address_of(address, family)?, port(at)?));
            let ends = of(source, from).zip(of(destination, to));
            let (source, destination) = ends.ok_or(ProxyFault::Malformed("its addresses cannot be read"))?;
            Some(ProxiedEnds { source, destination })
        }
        _ => return Err(ProxyFault::Malformed("its line has other words")),
    };
    let length = end + 1;
    Ok(Some(ProxyHeader { ends, length }))
}

fn address_of(text: &str, family: &str) -> Option<IpAddr> {
    match family {
        "TCP4" => text.parse().ok().map(IpAddr::V4),
        _ => text.parse().ok().map(IpAddr::V6),
    }
}

/// Digits without a leading zero.
fn port(text: &str) -> Option<u16> {
    let plain = text == "0" || text.bytes().next().is_some_and(|byte| matches!(byte, b'1'..=b'9'));
    text.parse().ok().filter(|_| plain)
}

/// Version 2 (§2.2).
fn binary(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyFault> {
    let rest = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    match rest.first() {
        Some(0x20 | 0x21) | None => {}
        Some(first) if first >> 4 != 2 => return Err(ProxyFault::Malformed("another version")),
        Some(_) => return Err(ProxyFault::Malformed("an unknown command")),
    }
    let [command, family, high, low, content @ ..] = rest else {
        return Ok(None);
    };
    let size = usize::from(u16::from_be_bytes([*high, *low]));
    let length = FIXED_BYTES + size;
    if length > PROXY_HEADER_BYTES_MAX {
        return Err(ProxyFault::TooLong);
    }
    let Some(content) = content.get(..size) else {
        return Ok(None);
    };
    let short = ProxyFault::Malformed("it is shorter than its addresses");
    let ends = match *family {
        TCP4 => Some(ends::<4, Ipv4Addr>(content).ok_or(short)?),
        TCP6 => Some(ends::<16, Ipv6Addr>(content).ok_or(short)?),
        // Nothing, datagrams or Unix sockets: no client that we could name (§2.2 has us keep the peer).
        _ => None,
    };
    let addresses = match *family {
        TCP4 => 12,
        TCP6 => 36,
        _ => content.len(),
    };
    additions(&content[addresses..])?;
    Ok(Some(ProxyHeader {
        // The proxy itself, as for its health checks.
        ends: ends.filter(|_| command & 0x0f == 1),
        length,
    }))
}

/// Two addresses of `N` bytes, and two ports.
fn ends<const N: usize, A: From<[u8; N]> + Into<IpAddr>>(content: &[u8]) -> Option<ProxiedEnds> {
    let (source, rest) = content.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let [from_high, from_low, to_high, to_low, ..] = rest else {
        return None;
    };
    let end =
        |address: [u8; N], high: u8, low: u8| SocketAddr::new(A::from(address).into(), u16::from_be_bytes([high, low]));
    Some(ProxiedEnds {
        source: end(*source, *from_high, *from_low),
        destination: end(*destination, *to_high, *to_low),
    })
}

/// Whether types, lengths and values fill the rest (§2.2.1); nothing of them is used.
fn additions(mut rest: &[u8]) -> Result<(), ProxyFault> {
    while !rest.is_empty() {
        let fault = ProxyFault::Malformed("an addition is longer than the header");
        let [_, high, low, value @ ..] = rest else {
            return Err(fault);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = value.get(length..).ok_or(fault)?;
    }
    Ok(())
}
