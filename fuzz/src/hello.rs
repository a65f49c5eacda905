//! A ClientHello read by a reader that has all bytes at hand and favours no speed.

use plimsoll_net::{ALPN_NAMES_MAX, HELLO_BYTES_MAX, HELLO_RECORDS_MAX, Hello};

/// What bytes were found to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A ClientHello, and how many bytes it took.
    Hello(Hello, usize),
    /// It is not there to its end; it may have gone wrong already.
    Cut,
    /// None, whatever comes.
    Wrong,
}

/// Reads the ClientHello at the front of `bytes`.
pub fn read(bytes: &[u8]) -> Found {
    let (mut message, mut at) = (Vec::new(), 0);
    for records in 0.. {
        if let [1, high, middle, low, rest @ ..] = message.as_slice() {
            let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            if rest.len() > length || length + 4 > HELLO_BYTES_MAX {
                return Found::Wrong;
            }
            if rest.len() == length {
                return body(rest).map_or(Found::Wrong, |hello| Found::Hello(hello, at));
            }
        } else if message.first().is_some_and(|kind| *kind != 1) {
            return Found::Wrong;
        }
        let Some([kind, major, _, high, low]) = bytes.get(at..at + 5) else {
            return Found::Cut;
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if (*kind, *major) != (22, 3) || !(1..=16_384).contains(&length) || records == HELLO_RECORDS_MAX {
            return Found::Wrong;
        }
        let Some(fragment) = bytes.get(at + 5..at + 5 + length) else {
            return Found::Cut;
        };
        message.extend_from_slice(fragment);
        at += 5 + length;
    }
    Found::Cut
}

fn body(bytes: &[u8]) -> Option<Hello> {
    let rest = bytes.strip_prefix(&[3])?.get(33..)?;
    let (session, rest) = counted(rest, 1)?;
    let (suites, rest) = counted(rest, 2)?;
    let (compressions, rest) = counted(rest, 1)?;
    if session.len() > 32 || suites.is_empty() || suites.len() % 2 == 1 || compressions.is_empty() {
        return None;
    }
    let mut hello = Hello::default();
    if rest.is_empty() {
        return Some(hello);
    }
    let mut extensions = whole(rest)?;
    let mut kinds = Vec::new();
    while !extensions.is_empty() {
        let kind = u16::from_be_bytes([*extensions.first()?, *extensions.get(1)?]);
        let (content, rest) = counted(&extensions[2..], 2)?;
        match kind {
            _ if ![0, 16].contains(&kind) => {}
            _ if kinds.contains(&kind) => return None,
            0 => hello.sni = name(whole(whole(content)?.strip_prefix(&[0])?)?)?,
            _ => hello.alpn = names(whole(content)?)?,
        }
        kinds.push(kind);
        extensions = rest;
    }
    Some(hello)
}

/// What is counted by a length of so many bytes, and what follows.
fn counted(bytes: &[u8], size: usize) -> Option<(&[u8], &[u8])> {
    let length = bytes
        .get(..size)?
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    bytes[size..].split_at_checked(length)
}

fn whole(bytes: &[u8]) -> Option<&[u8]> {
    counted(bytes, 2)
        .filter(|(_, rest)| rest.is_empty())
        .map(|(content, _)| content)
}

/// `None` when it is none, and no name when it is an address.
fn name(bytes: &[u8]) -> Option<Option<String>> {
    let text = String::from_utf8(bytes.to_vec()).ok()?;
    if text.parse::<std::net::Ipv4Addr>().is_ok() || text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some(None);
    }
    let text = text.strip_suffix('.').unwrap_or(&text).to_ascii_lowercase();
    let known = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_');
    let fits = text.len() <= 253
        && text
            .split('.')
            .all(|label| (1..=63).contains(&label.len()) && label.chars().all(known));
    fits.then_some(Some(text))
}

fn names(mut list: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    while !list.is_empty() {
        let (name, rest) = counted(list, 1)?;
        names.push(name.to_vec());
        list = rest;
    }
    let fits = (1..=ALPN_NAMES_MAX).contains(&names.len()) && names.iter().all(|name| !name.is_empty());
    fits.then_some(names)
}
