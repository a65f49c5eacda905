//! Heads as an independent reader sees them, and the scan for their end.

use httparse::Header;
use plimsoll_http::h1::{Framing, HeadFault, HeadScan, Scanned};

use crate::arrivals;

/// Room for what we add to the most fields that are read.
pub const ROOM: usize = 160;

/// A field, its name in lower case.
pub type Field = (String, Vec<u8>);

/// Limits of a first line and of a head, in bytes.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Of the first line.
    pub line: usize,
    /// Of the head.
    pub head: usize,
}

/// Looks for the end of a head in all of `bytes` at once.
pub fn scan(bytes: &[u8], limits: Limits) -> Result<Scanned, HeadFault> {
    HeadScan::default().look(bytes, limits.line, limits.head)
}

/// The same while they arrive in pieces; `None` when none arrive.
pub fn scan_in_pieces(bytes: &[u8], seed: u8, limits: Limits) -> Option<Result<Scanned, HeadFault>> {
    let mut scan = HeadScan::default();
    let mut last = None;
    for have in arrivals(bytes.len(), seed) {
        let found = scan.look(&bytes[..have], limits.line, limits.head);
        last = Some(found);
        if found != Ok(Scanned::More) {
            break;
        }
    }
    last
}

/// The head at the front of `bytes`, when there is one. However it is cut, what is found is the same, but that a head
/// which `refuses` would refuse as a whole may be refused before it is complete.
pub fn found(bytes: &[u8], seed: u8, limits: Limits, refuses: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
    let whole = scan(bytes, limits);
    let pieces = scan_in_pieces(bytes, seed, limits)?;
    match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces, "cut differently, it ends elsewhere"),
        (Err(_), Err(_)) => {}
        (Ok(Scanned::Head(length)), Err(fault)) => {
            assert!(refuses(&bytes[..length]), "refused for how it is cut: {fault}");
        }
        (whole, pieces) => panic!("at once {whole:?}, in pieces {pieces:?}"),
    }
    match whole {
        Ok(Scanned::Head(length)) => Some(&bytes[..length]),
        _ => None,
    }
}

/// The fields of a head, read line by line: a line ends at CRLF, a name at the first colon. Panics where anybody could
/// see another line, or another end of the head.
pub fn fields_by_line(head: &[u8]) -> (String, Vec<Field>) {
    let text = head.strip_suffix(b"\r\n\r\n").expect("it ends in an empty line");
    let mut lines = split_lines(text).into_iter();
    let first = lines.next().expect("there is a first line");
    assert!(!first.is_empty(), "the first line is empty");
    let fields = lines.map(|line| {
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .expect("a line without colon");
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        assert!(
            !name.is_empty() && name.iter().all(|byte| is_token(*byte)),
            "{name:?} is no name"
        );
        (lower(name), value.trim_ascii().to_vec())
    });
    (String::from_utf8_lossy(first).into_owned(), fields.collect())
}

fn split_lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        assert!(
            rest[at..].starts_with(b"\r\n"),
            "a bare CR, LF or NUL at {at} of {rest:?}"
        );
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    assert!(
        lines.iter().all(|line| !line.is_empty()),
        "an empty line before the end"
    );
    lines
}

/// RFC 9110 §5.6.2.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `name` in lower case.
pub fn lower(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// The fields that httparse found, in the form of [`fields_by_line`].
pub fn fields_of(headers: &[Header<'_>]) -> Vec<Field> {
    headers
        .iter()
        .map(|header| (lower(header.name.as_bytes()), header.value.to_vec()))
        .collect()
}

/// The values of the fields of one name.
pub fn values<'f>(fields: &'f [Field], name: &str) -> Vec<&'f [u8]> {
    fields
        .iter()
        .filter(|(known, _)| known == name)
        .map(|(_, value)| &**value)
        .collect()
}

/// The members of a list in all fields of a name, in lower case.
pub fn members(fields: &[Field], name: &str) -> Vec<String> {
    values(fields, name)
        .iter()
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|member| lower(member.trim_ascii()))
        .filter(|member| !member.is_empty())
        .collect()
}

/// How the fields frame a body, as the most literal reading of RFC 9112 §6 has it; panics where there are two readings.
/// Without any, it is `otherwise`.
pub fn framing(fields: &[Field], otherwise: Framing) -> Framing {
    let (codings, lengths) = (values(fields, "transfer-encoding"), values(fields, "content-length"));
    for (name, _) in fields {
        let hyphens = name.replace('_', "-");
        let hidden = hyphens != *name && matches!(&*hyphens, "content-length" | "transfer-encoding");
        assert!(!hidden, "{name} frames the body for some");
    }
    match (&*codings, &*lengths) {
        ([], []) => otherwise,
        ([coding], []) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked"), "an unknown coding goes out");
            Framing::Chunked
        }
        ([], [length]) => {
            let text = std::str::from_utf8(length).expect("a length that is no text");
            assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?} is no length");
            Framing::Length(text.parse().expect("a length without a sign that fits"))
        }
        _ => panic!("{codings:?} and {lengths:?} frame the body differently"),
    }
}
