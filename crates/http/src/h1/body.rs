//! Bodies: where they end, and chunks in both directions (RFC 9112 §7).

use std::io::Write;

use super::Framing;
use crate::field::classify;

/// The longest line with a chunk's size and extensions, in bytes. Extensions are dropped.
const CHUNK_LINE_MAX: usize = 256;

/// The most bytes of chunk lines beyond a reasonable share of the data between them: what a body may spend on
/// extensions, or on telling its bytes one by one with leading zeros.
const CHUNK_EXCESS_MAX: usize = 16 << 10;

/// The share of a chunk's line that is reasonable: so many bytes for the line, and two for each byte of data. Go's
/// net/http counts in the same way since it was found that extensions had no bound (CVE-2023-39326).
const CHUNK_LINE_SHARE: usize = 16;

/// The longest trailer section, in bytes.
pub(crate) const TRAILERS_MAX: usize = 8 << 10;

/// The most fields in a trailer section.
pub(crate) const TRAILER_FIELDS_MAX: usize = 32;

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// A chunk's size, line or trailer does not follow the grammar.
    #[error("{0}")]
    Malformed(&'static str),
    /// The connection ended before the body did.
    #[error("the body ends early")]
    Truncated,
}

/// What to do next with a body's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next `usize` unread bytes are framing: consume them and ask again.
    Skip(usize),
    /// The next `usize` unread bytes are the body's: use and consume them, tell [`BodyDecoder::used`], ask again.
    Data(usize),
    /// More bytes are needed.
    More,
    /// The body is complete.
    End,
}

/// Follows a body through the bytes that arrive.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes of chunk lines beyond their share, so far.
    excess: usize,
    /// The trailer section's lines that may be passed on, each with its CRLF.
    trailers: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Length(u64),
    UntilClose,
    ChunkLine,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    End,
}

impl BodyDecoder {
    /// A decoder for a body that is framed so.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::End,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkLine,
            Framing::UntilClose => State::UntilClose,
        };
        BodyDecoder {
            state,
            excess: 0,
            trailers: Vec::new(),
        }
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// The trailer section's lines, once the body is complete.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// What to do with `unread`.
    ///
    /// # Errors
    /// The framing is malformed.
    pub fn step(&mut self, unread: &[u8]) -> Result<Step, BodyFault> {
        Ok(match self.state {
            State::End => Step::End,
            State::UntilClose if unread.is_empty() => Step::More,
            State::UntilClose => Step::Data(unread.len()),
            State::Length(left) | State::ChunkData(left) => match bounded(unread.len(), left) {
                0 => Step::More,
                count => Step::Data(count),
            },
            State::ChunkLine => match chunk_size(unread)? {
                None => Step::More,
                Some((line, size)) => {
                    self.count_line(line, size)?;
                    self.state = if size == 0 {
                        State::Trailers
                    } else {
                        State::ChunkData(size)
                    };
                    Step::Skip(line)
                }
            },
            State::ChunkEnd => match unread {
                [b'\r', b'\n', ..] => {
                    self.state = State::ChunkLine;
                    Step::Skip(2)
                }
                [] | [b'\r'] => Step::More,
                _ => return Err(BodyFault::Malformed("a chunk's data does not end where its size says")),
            },
            State::Trailers => match self.read_trailers(unread)? {
                None => Step::More,
                Some(length) => {
                    self.state = State::End;
                    Step::Skip(length)
                }
            },
        })
    }

    /// Counts `count` bytes of the body as used.
    pub fn used(&mut self, count: usize) {
        match &mut self.state {
            State::Length(left) => {
                *left -= count as u64;
                if *left == 0 {
                    self.state = State::End;
                }
            }
            State::ChunkData(left) => {
                *left -= count as u64;
                if *left == 0 {
                    self.state = State::ChunkEnd;
                }
            }
            _ => {}
        }
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// The body has not.
    pub fn ended(&mut self) -> Result<(), BodyFault> {
        match self.state {
            State::End | State::UntilClose => {
                self.state = State::End;
                Ok(())
            }
            _ => Err(BodyFault::Truncated),
        }
    }

    /// Counts a chunk's line of `line` bytes before `size` bytes of data.
    fn count_line(&mut self, line: usize, size: u64) -> Result<(), BodyFault> {
        let data = usize::try_from(size).unwrap_or(usize::MAX);
        let share = data.saturating_mul(2).saturating_add(CHUNK_LINE_SHARE);
        self.excess = (self.excess + line).saturating_sub(share);
        if self.excess > CHUNK_EXCESS_MAX {
            return Err(BodyFault::Malformed(
                "the chunks' lines are out of proportion to their data",
            ));
        }
        Ok(())
    }

    /// Reads the trailer section with its empty line, once all of it is there.
    fn read_trailers(&mut self, unread: &[u8]) -> Result<Option<usize>, BodyFault> {
        let end = match unread {
            [b'\r', b'\n', ..] => return Ok(Some(2)),
            _ => memchr::memmem::find(unread, b"\r\n\r\n"),
        };
        let Some(end) = end else {
            return if unread.len() > TRAILERS_MAX {
                Err(BodyFault::Malformed("the trailers are too long"))
            } else {
                Ok(None)
            };
        };
        let section = &unread[..end + 4];
        if section.len() > TRAILERS_MAX
            || memchr::memchr_iter(b'\n', section).any(|at| section[..at].last() != Some(&b'\r'))
        {
            return Err(BodyFault::Malformed("the trailers are too long or hold a bare LF"));
        }
        let mut room = [httparse::EMPTY_HEADER; TRAILER_FIELDS_MAX];
        match httparse::parse_headers(section, &mut room) {
            Ok(httparse::Status::Complete((length, fields))) if length == section.len() => {
                for field in fields.iter().filter(|field| classify(field.name).may_be_trailer()) {
                    self.trailers.extend_from_slice(field.name.as_bytes());
                    self.trailers.extend_from_slice(b": ");
                    self.trailers.extend_from_slice(field.value);
                    self.trailers.extend_from_slice(b"\r\n");
                }
                Ok(Some(section.len()))
            }
            _ => Err(BodyFault::Malformed("the trailers are malformed")),
        }
    }
}

/// The smaller of the two.
fn bounded(have: usize, left: u64) -> usize {
    usize::try_from(left).map_or(have, |left| left.min(have))
}

/// Reads `1a;ext=1\r\n`: the line's length and the chunk's size.
fn chunk_size(unread: &[u8]) -> Result<Option<(usize, u64)>, BodyFault> {
    let window = &unread[..unread.len().min(CHUNK_LINE_MAX)];
    let Some(newline) = memchr::memchr(b'\n', window) else {
        // What cannot become a size is refused before its line ends.
        let digits = window.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let fits = matches!(window.get(digits), None | Some(b'\r' | b';' | b' ' | b'\t'));
        let begun = window.is_empty() || digits > 0;
        return if window.len() < CHUNK_LINE_MAX && fits && begun && digits <= 16 {
            Ok(None)
        } else {
            Err(BodyFault::Malformed("a chunk's size is malformed or its line too long"))
        };
    };
    let line = window[..newline]
        .strip_suffix(b"\r")
        .ok_or(BodyFault::Malformed("a chunk's line ends in LF without CR"))?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    // Sixteen digits are all that 64 bits hold; leading zeros beyond that serve nobody but a smuggler.
    if digits == 0 || digits > 16 {
        return Err(BodyFault::Malformed("a chunk's size is malformed"));
    }
    // Spaces and tabs alone (RFC 9112 §7.1.1): a bare CR ends the line for some.
    let space = line[digits..]
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    let extension = &line[digits + space..];
    let legal = extension.is_empty() && line.len() == digits
        || extension.first() == Some(&b';')
            && extension
                .iter()
                .all(|byte| *byte == b'\t' || (0x20..0x7f).contains(byte));
    if !legal {
        return Err(BodyFault::Malformed("a chunk's extension is malformed"));
    }
    let text = std::str::from_utf8(&line[..digits]).unwrap_or_default();
    let size = u64::from_str_radix(text, 16).map_err(|_| BodyFault::Malformed("a chunk's size is out of range"))?;
    if size > i64::MAX as u64 {
        return Err(BodyFault::Malformed("a chunk's size is out of range"));
    }
    Ok(Some((newline + 1, size)))
}

/// Writes the line before a chunk of `size` bytes, which must not be 0.
pub fn write_chunk_head(out: &mut Vec<u8>, size: usize) {
    debug_assert!(size > 0, "a chunk of no bytes would end the body");
    // Writing into a Vec cannot fail.
    let _ = write!(out, "{size:x}\r\n");
}

/// Writes what stands after a chunk's bytes.
pub fn write_chunk_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Writes the end of a chunked body, with its trailers.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
