//! The one canonical path that is matched, filtered and sent.
//!
//! What reaches a backend is a strict RFC 3986 path, so that no two parsers behind us can read it differently:
//! whatever could be read in two ways is refused, whatever has two spellings gets one.

use std::borrow::Cow;

/// Why a request target is refused; the answer is 400 with the reason `bad_request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// It does not begin with `/`.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// A control byte, NUL and DEL among them.
    #[error("the control byte 0x{0:02x} stands in the target")]
    Control(u8),
    /// A space; request lines are split at spaces.
    #[error("a space stands in the target")]
    Space,
    /// A byte above ASCII that is not percent-encoded.
    #[error("the byte 0x{0:02x} has to be percent-encoded")]
    NonAscii(u8),
    /// `#`: fragments are never sent (RFC 9110 §7.1), and parsers differ on where the path ends.
    #[error("a fragment stands in the target")]
    Fragment,
    /// `?` where a path was expected; [`split`] comes first.
    #[error("a question mark stands in the path")]
    QuestionMark,
    /// A raw backslash, which some servers take for a slash.
    #[error("a backslash stands in the path")]
    Backslash,
    /// `%` that two hexadecimal digits do not follow.
    #[error("a percent sign is not followed by two hexadecimal digits")]
    BadEscape,
    /// `%00`, where C programs end the path.
    #[error("an encoded NUL stands in the path")]
    EncodedNul,
    /// `%2F` or `%5C`, which some servers decode before they split the path.
    #[error("an encoded slash or backslash stands in the path")]
    EncodedSlash,
    /// `..;x`, or `..` beside an encoded slash: a dot segment to some servers and a plain one to others.
    #[error("a dot segment is hidden behind a parameter or an encoded slash")]
    HiddenDots,
}

/// A request target in origin form (RFC 9112 §3.2.1), taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split<'a> {
    /// The path as it was sent; [`canonical`] comes next.
    pub path: &'a [u8],
    /// The query without its question mark, as it was sent; `None` when there is no question mark.
    pub query: Option<&'a str>,
}

/// Takes an origin-form target apart at its first `?` and checks the query, which is otherwise left as it is.
///
/// A query may hold any visible ASCII but `#`. RFC 3986 §3.4 is stricter, but browsers send `|`, `^`, `{`, a lone `%`
/// and more, and nobody splits at them. Raw bytes above ASCII are refused: browsers encode them, and servers decode
/// them differently.
///
/// # Errors
/// The first byte of the query that may not stand there. The path is not looked at.
pub fn split(target: &[u8]) -> Result<Split<'_>, PathFault> {
    let Some(mark) = target.iter().position(|byte| *byte == b'?') else {
        return Ok(Split {
            path: target,
            query: None,
        });
    };
    let (path, query) = (&target[..mark], &target[mark + 1..]);
    if let Some(byte) = query.iter().find(|byte| !byte.is_ascii_graphic() || **byte == b'#') {
        return Err(unwelcome(*byte));
    }
    let query = std::str::from_utf8(query).expect("visible ASCII is UTF-8");
    Ok(Split {
        path,
        query: Some(query),
    })
}

/// The canonical form of `raw`, a path without its query. It borrows when nothing is to be changed, and it is
/// idempotent.
///
/// - Escapes of unreserved characters are decoded, all others are kept with upper-case digits (RFC 3986 §6.2.2).
/// - Visible characters that RFC 3986 §3.3 does not allow in a path but clients send (`"<>[]^{|}` and the backtick;
///   nginx, HAProxy and Envoy accept them) are percent-encoded, so that a backend never meets them.
/// - Dot segments are removed as in RFC 3986 §5.2.4 (`/../x` is `/x`), also when written `%2e`; then `//` becomes `/`.
///   In this order, `/a//../b` is `/a/b`, as in Envoy and in browsers.
/// - `%2F` and `%5C` are refused unless `allow_encoded_slash`, and even then are kept as they are, never decoded.
///
/// # Errors
/// What cannot be read in one way only; see [`PathFault`].
pub fn canonical(raw: &[u8], allow_encoded_slash: bool) -> Result<Cow<'_, str>, PathFault> {
    if raw.first() != Some(&b'/') {
        return Err(PathFault::NotAbsolute);
    }
    if !is_canonical(raw) {
        let spelled = respell(raw, allow_encoded_slash)?;
        let walked = remove_dots(&spelled)?;
        if walked != raw {
            return Ok(Cow::Owned(String::from_utf8(walked).expect("only ASCII was written")));
        }
    }
    Ok(Cow::Borrowed(
        std::str::from_utf8(raw).expect("a canonical path is ASCII"),
    ))
}

/// What a byte means in a path.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    /// pchar of RFC 3986 §3.3 but `%`.
    Plain,
    Slash,
    Dot,
    Percent,
    /// To be percent-encoded.
    Encode,
    /// To be refused.
    Refuse,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Refuse; 256];
    let mut byte = 0x21u8;
    while byte < 0x7f {
        classes[byte as usize] = match byte {
            b'/' => Class::Slash,
            b'.' => Class::Dot,
            b'%' => Class::Percent,
            b'#' | b'?' | b'\\' => Class::Refuse,
            b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => Class::Encode,
            _ => Class::Plain,
        };
        byte += 1;
    }
    classes
};

/// Whether `byte` can stand in a canonical path, where it may.
pub(super) fn may_stand(byte: u8) -> bool {
    !matches!(CLASSES[usize::from(byte)], Class::Encode | Class::Refuse)
}

/// Whether `raw`, which begins with a slash, is its own canonical form, without a doubt; false sends it the long way.
fn is_canonical(raw: &[u8]) -> bool {
    let mut at = 1;
    while let Some(&byte) = raw.get(at) {
        let after_slash = raw[at - 1] == b'/';
        match CLASSES[usize::from(byte)] {
            Class::Plain => {}
            Class::Slash if !after_slash => {}
            // `.well-known` begins no dot segment.
            Class::Dot if !after_slash || raw.get(at + 1).is_some_and(u8::is_ascii_alphanumeric) => {}
            Class::Percent if is_canonical_escape(&raw[at..]) => at += 2,
            _ => return false,
        }
        at += 1;
    }
    true
}

fn is_canonical_escape(raw: &[u8]) -> bool {
    let upper = |digit: &u8| digit.is_ascii_digit() || (b'A'..=b'F').contains(digit);
    raw.len() > 2
        && raw[1..3].iter().all(upper)
        && unescape(raw).is_ok_and(|byte| !is_unreserved(byte) && !matches!(byte, 0 | b'/' | b'\\'))
}

/// Gives each byte its one spelling.
fn respell(raw: &[u8], allow_encoded_slash: bool) -> Result<Vec<u8>, PathFault> {
    let mut spelled = Vec::with_capacity(raw.len() + 16);
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        match CLASSES[usize::from(byte)] {
            Class::Plain | Class::Slash | Class::Dot => spelled.push(byte),
            Class::Encode => push_escape(&mut spelled, byte),
            Class::Refuse => return Err(unwelcome(byte)),
            Class::Percent => {
                match unescape(&raw[at..])? {
                    0 => return Err(PathFault::EncodedNul),
                    b'/' | b'\\' if !allow_encoded_slash => return Err(PathFault::EncodedSlash),
                    decoded if is_unreserved(decoded) => spelled.push(decoded),
                    kept => push_escape(&mut spelled, kept),
                }
                at += 2;
            }
        }
        at += 1;
    }
    Ok(spelled)
}

/// RFC 3986 §5.2.4, then `//` merged.
fn remove_dots(path: &[u8]) -> Result<Vec<u8>, PathFault> {
    let mut walked: Vec<u8> = Vec::with_capacity(path.len());
    let mut ends_in_dots = false;
    for segment in path[1..].split(|byte| *byte == b'/') {
        ends_in_dots = matches!(segment, b"." | b"..");
        if segment == b".." {
            let parent = walked.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            walked.truncate(parent);
        } else if !ends_in_dots {
            if hides_dots(segment) {
                return Err(PathFault::HiddenDots);
            }
            walked.push(b'/');
            walked.extend_from_slice(segment);
        }
    }
    if ends_in_dots {
        walked.push(b'/');
    }
    walked.dedup_by(|later, earlier| *later == b'/' && *earlier == b'/');
    Ok(walked)
}

/// Whether some server would find a dot segment in `segment`, which is none itself: Tomcat cuts `;…` off before it
/// walks, and others decode `%2F` and `%5C` (here only when they are allowed). The escapes are upper-case by now.
fn hides_dots(segment: &[u8]) -> bool {
    if !segment.contains(&b'.') {
        return false;
    }
    let mut rest = segment;
    loop {
        let cut = (0..rest.len()).find(|at| matches!(&rest[*at..], [b'%', b'2', b'F', ..] | [b'%', b'5', b'C', ..]));
        let piece = &rest[..cut.unwrap_or(rest.len())];
        let bare = match (0..piece.len()).find(|at| matches!(&piece[*at..], [b';', ..] | [b'%', b'3', b'B', ..])) {
            Some(parameter) => &piece[..parameter],
            None => piece,
        };
        if matches!(bare, b"." | b"..") {
            return true;
        }
        match cut {
            Some(at) => rest = &rest[at + 3..],
            None => return false,
        }
    }
}

fn unescape(raw: &[u8]) -> Result<u8, PathFault> {
    let digit = |at: usize| raw.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    match (digit(1), digit(2)) {
        (Some(high), Some(low)) => Ok(u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte")),
        _ => Err(PathFault::BadEscape),
    }
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn unwelcome(byte: u8) -> PathFault {
    match byte {
        b' ' => PathFault::Space,
        b'#' => PathFault::Fragment,
        b'?' => PathFault::QuestionMark,
        b'\\' => PathFault::Backslash,
        0x80.. => PathFault::NonAscii(byte),
        _ => PathFault::Control(byte),
    }
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
