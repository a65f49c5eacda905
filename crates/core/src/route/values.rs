//! Values of header fields, query parameters and cookies, compared where they stand.
//!
//! Nothing is allocated, except where a regular expression is to see a value that does not stand in one piece.

use super::{Fields, ValueMatch};
use crate::secured::{CertificatePart, Secured};

/// What the values of one name lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// There is none.
    Absent,
    /// There is one, and there should be none.
    Unwanted,
    /// None of them is what was asked for.
    Other,
}

/// What the header fields `name` lack.
pub(super) fn header(fields: &dyn Fields, name: &str, wanted: &ValueMatch) -> Option<Misfit> {
    let mut seen = Seen::new(wanted);
    let mut joined = Joined::new(wanted);
    fields.each(name, &mut |value| {
        joined.push(value);
        seen.value(|| wanted.accepts(value))
    });
    if !seen.fits && joined.parts > 1 {
        seen.fits = match wanted {
            ValueMatch::Regex(_) => wanted.accepts(&join(fields, name)),
            _ => joined.fits(),
        };
    }
    seen.misfit()
}

/// What the parameters `name` of `query` lack, as `application/x-www-form-urlencoded` is read (WHATWG URL §5.1):
/// escapes decoded, `+` a space, a `%` that begins no escape left as it is.
pub(super) fn parameter(query: &str, name: &str, wanted: &ValueMatch) -> Option<Misfit> {
    let mut seen = Seen::new(wanted);
    for pair in query.as_bytes().split(|byte| *byte == b'&') {
        let (key, value) = split_once(pair, b'=').unwrap_or((pair, b""));
        if !pair.is_empty() && decoded(key).eq(name.bytes()) && !seen.value(|| wanted.accepts_encoded(value)) {
            break;
        }
    }
    seen.misfit()
}

/// What the cookies `name` lack, over all `Cookie` fields: HTTP/2 may split them (RFC 9113 §8.2.3).
///
/// RFC 6265 §5.4 has a client write `a=1; b=2`; any spaces around a pair are forgiven. A value in double quotes
/// (§4.1.1) is looked at both with and without them, since servers differ on whose they are.
pub(super) fn cookie(fields: &dyn Fields, name: &str, wanted: &ValueMatch) -> Option<Misfit> {
    let mut seen = Seen::new(wanted);
    fields.each("cookie", &mut |line| {
        line.split(|byte| *byte == b';')
            .filter_map(|pair| split_once(pair, b'='))
            .filter(|(key, _)| key.trim_ascii() == name.as_bytes())
            .all(|(_, value)| {
                let value = value.trim_ascii();
                seen.value(|| wanted.accepts(value) || unquoted(value).is_some_and(|inner| wanted.accepts(inner)))
            })
    });
    seen.misfit()
}

/// What a part of the client's certificate lacks.
pub(super) fn certificate(tls: Option<&Secured>, part: CertificatePart, wanted: &ValueMatch) -> Option<Misfit> {
    let mut seen = Seen::new(wanted);
    if let Some(tls) = tls {
        tls.each_of(part, |value| seen.value(|| wanted.accepts(value.as_bytes())));
    }
    seen.misfit()
}

/// The first value of the parameter `name` of `query`, decoded.
pub fn query_value(query: &str, name: &str) -> Option<Vec<u8>> {
    query
        .as_bytes()
        .split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| split_once(pair, b'=').unwrap_or((pair, b"")))
        .find(|(key, _)| decoded(key).eq(name.bytes()))
        .map(|(_, value)| decoded(value).collect())
}

/// The first value of the cookie `name`.
pub fn cookie_value(fields: &dyn Fields, name: &str) -> Option<Vec<u8>> {
    let mut found = None;
    fields.each("cookie", &mut |line| {
        found = line
            .split(|byte| *byte == b';')
            .filter_map(|pair| split_once(pair, b'='))
            .find(|(key, _)| key.trim_ascii() == name.as_bytes())
            .map(|(_, value)| value.trim_ascii().to_vec());
        found.is_none()
    });
    found
}

impl ValueMatch {
    fn accepts(&self, value: &[u8]) -> bool {
        match self {
            ValueMatch::Exact(text) => value == text.as_bytes(),
            ValueMatch::Prefix(text) => value.starts_with(text.as_bytes()),
            ValueMatch::Regex(regex) => std::str::from_utf8(value).is_ok_and(|value| regex.is_match(value)),
            ValueMatch::Present(wanted) => *wanted,
        }
    }

    fn accepts_encoded(&self, value: &[u8]) -> bool {
        match self {
            ValueMatch::Exact(text) => decoded(value).eq(text.bytes()),
            ValueMatch::Prefix(text) => {
                let mut value = decoded(value);
                text.bytes().all(|byte| value.next() == Some(byte))
            }
            ValueMatch::Regex(_) if value.iter().any(|byte| matches!(byte, b'%' | b'+')) => {
                self.accepts(&decoded(value).collect::<Vec<u8>>())
            }
            ValueMatch::Regex(_) | ValueMatch::Present(_) => self.accepts(value),
        }
    }
}

/// The values of one name that were looked at so far.
struct Seen<'w> {
    wanted: &'w ValueMatch,
    any: bool,
    fits: bool,
}

impl<'w> Seen<'w> {
    fn new(wanted: &'w ValueMatch) -> Self {
        Seen {
            wanted,
            any: false,
            fits: false,
        }
    }

    /// Looks at one more; false when no more need be looked at.
    fn value(&mut self, fits: impl FnOnce() -> bool) -> bool {
        self.any = true;
        self.fits = fits();
        !self.fits
    }

    fn misfit(&self) -> Option<Misfit> {
        match (self.wanted, self.any) {
            (ValueMatch::Present(false), true) => Some(Misfit::Unwanted),
            (ValueMatch::Present(false), false) => None,
            (_, false) => Some(Misfit::Absent),
            (_, true) => (!self.fits).then_some(Misfit::Other),
        }
    }
}

/// Compares values that are joined by `", "` to one text, without joining them.
struct Joined<'w> {
    /// What is still to come; `None` once they differ.
    rest: Option<&'w [u8]>,
    may_be_longer: bool,
    parts: usize,
}

impl<'w> Joined<'w> {
    fn new(wanted: &'w ValueMatch) -> Self {
        let (rest, may_be_longer) = match wanted {
            ValueMatch::Exact(text) => (Some(text.as_bytes()), false),
            ValueMatch::Prefix(text) => (Some(text.as_bytes()), true),
            ValueMatch::Regex(_) | ValueMatch::Present(_) => (None, false),
        };
        Joined {
            rest,
            may_be_longer,
            parts: 0,
        }
    }

    fn push(&mut self, value: &[u8]) {
        if self.parts > 0 {
            self.eat(b", ");
        }
        self.eat(value);
        self.parts += 1;
    }

    fn eat(&mut self, part: &[u8]) {
        let Some(rest) = self.rest else { return };
        let shared = rest.len().min(part.len());
        let same = rest[..shared] == part[..shared] && (self.may_be_longer || part.len() == shared);
        self.rest = same.then_some(&rest[shared..]);
    }

    fn fits(&self) -> bool {
        self.rest.is_some_and(<[u8]>::is_empty)
    }
}

fn join(fields: &dyn Fields, name: &str) -> Vec<u8> {
    let mut whole = Vec::new();
    let mut first = true;
    fields.each(name, &mut |value| {
        if !std::mem::take(&mut first) {
            whole.extend_from_slice(b", ");
        }
        whole.extend_from_slice(value);
        true
    });
    whole
}

/// The bytes that a part of a query stands for.
fn decoded(raw: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *raw.get(at)?;
        let digit = |offset: usize| raw.get(at + offset).and_then(|digit| char::from(*digit).to_digit(16));
        let (value, taken) = match (byte, digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => (u8::try_from(high * 16 + low).unwrap_or(byte), 3),
            (b'+', ..) => (b' ', 1),
            _ => (byte, 1),
        };
        at += taken;
        Some(value)
    })
}

fn unquoted(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

fn split_once(raw: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let split = raw.iter().position(|byte| *byte == at)?;
    Some((&raw[..split], &raw[split + 1..]))
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
