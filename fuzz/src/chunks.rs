//! The chunked coding (RFC 9112 §7.1) read by a decoder that has all bytes at hand and favours no speed.

use plimsoll_http::field::classify;

use crate::head::{is_token, lower};

/// The limits that ours keeps to as well.
const LINE_MAX: usize = 256;
const EXCESS_MAX: u64 = 16 << 10;
const TRAILERS_MAX: usize = 8 << 10;
const TRAILER_FIELDS_MAX: usize = 32;

/// What a body was found to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Body {
    /// Its bytes.
    pub data: Vec<u8>,
    /// The trailer fields that may be passed on, as lines.
    pub trailers: Vec<u8>,
    /// How many bytes of the connection it took.
    pub used: usize,
}

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub enum NoBody {
    /// It follows no grammar, whatever comes.
    Malformed,
    /// It is not there to its end; it may have gone wrong already.
    Cut,
}

/// Reads the body at the front of `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Body, NoBody> {
    let mut data = Vec::new();
    let (mut at, mut excess) = (0, 0u64);
    loop {
        let line = line(&bytes[at..])?;
        let size = size(line)?;
        at += line.len() + 2;
        // Lines may cost sixteen bytes each, and two for each byte of data; what they cost beyond that adds up.
        excess = (excess + line.len() as u64 + 2).saturating_sub(size.saturating_mul(2).saturating_add(16));
        if excess > EXCESS_MAX {
            return Err(NoBody::Malformed);
        }
        if size == 0 {
            let (trailers, length) = trailers(&bytes[at..])?;
            return Ok(Body {
                data,
                trailers,
                used: at + length,
            });
        }
        let end = usize::try_from(size)
            .ok()
            .and_then(|size| at.checked_add(size))
            .ok_or(NoBody::Malformed)?;
        data.extend_from_slice(bytes.get(at..end).ok_or(NoBody::Cut)?);
        match bytes.get(end..end + 2) {
            Some(b"\r\n") => at = end + 2,
            Some(_) => return Err(NoBody::Malformed),
            None => return Err(NoBody::Cut),
        }
    }
}

/// The line at the front of `bytes`, without its end. A CR or LF that is none ends no line.
fn line(bytes: &[u8]) -> Result<&[u8], NoBody> {
    let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    match end.map(|end| &bytes[end..]) {
        None | Some(b"\r") => Err(NoBody::Cut),
        Some([b'\r', b'\n', ..]) => Ok(&bytes[..end.unwrap_or_default()]),
        Some(_) => Err(NoBody::Malformed),
    }
}

/// `chunk-size [ chunk-ext ]`, of an extension no more than that it begins with a semicolon and is text.
fn size(line: &[u8]) -> Result<u64, NoBody> {
    let digits = line
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(line.len());
    let extension = &line[digits..];
    let space = extension
        .iter()
        .position(|byte| !matches!(byte, b' ' | b'\t'))
        .unwrap_or(extension.len());
    let begins = extension.is_empty() || extension.get(space) == Some(&b';');
    let text = extension.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    if !(1..=16).contains(&digits) || !begins || !text || line.len() + 2 > LINE_MAX {
        return Err(NoBody::Malformed);
    }
    let size = line[..digits].iter().fold(0u64, |size, digit| {
        size << 4 | u64::from(char::from(*digit).to_digit(16).unwrap_or_default())
    });
    if size >> 63 == 0 {
        Ok(size)
    } else {
        Err(NoBody::Malformed)
    }
}

/// The trailers that may go on, and the length of the whole section.
fn trailers(bytes: &[u8]) -> Result<(Vec<u8>, usize), NoBody> {
    let (mut kept, mut at, mut count) = (Vec::new(), 0, 0);
    loop {
        let line = line(&bytes[at..])?;
        at += line.len() + 2;
        if at > TRAILERS_MAX || count > TRAILER_FIELDS_MAX {
            return Err(NoBody::Malformed);
        }
        if line.is_empty() {
            return Ok((kept, at));
        }
        count += 1;
        let colon = line.iter().position(|byte| *byte == b':').ok_or(NoBody::Malformed)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let text = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) || !text {
            return Err(NoBody::Malformed);
        }
        if classify(&lower(name)).may_be_trailer() {
            kept.extend_from_slice(&[name, b": ", value.trim_ascii(), b"\r\n"].concat());
        }
    }
}
