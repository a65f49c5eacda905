//! HTTP/1.1 (RFC 9112): strict on what comes in, and what goes out is always framed by us.

mod ask;
mod body;
mod phrase;
mod request;
#[cfg(test)]
mod request_tests;
mod response;
mod scan;
mod write;

pub use ask::{AskOut, write_ask_head};
pub use body::{BodyDecoder, BodyFault, Step, write_chunk_end, write_chunk_head, write_last_chunk};
pub(crate) use body::{TRAILER_FIELDS_MAX, TRAILERS_MAX};
pub use phrase::phrase;
pub use request::{Framing, RequestHead, parse_request};
pub use response::{Method, ResponseHead, parse_response};
pub use scan::{HeadScan, Scanned};
pub use write::{HeadOut, ReplyHead, RequestOut, TraceOut, write_reply_head, write_request_head, write_response_head};

use std::mem::MaybeUninit;

use httparse::Header;
use plimsoll_core::outcome::Reason;

use crate::field::Class;

/// The most header fields of one head, whatever the configuration says.
pub const FIELDS_MAX: usize = 128;

/// Room for a head's fields, on the stack of the one function that handles it.
pub struct FieldRoom<'b> {
    headers: [MaybeUninit<Header<'b>>; FIELDS_MAX],
    classes: [Class; FIELDS_MAX],
}

impl FieldRoom<'_> {
    /// Room for [`FIELDS_MAX`] fields.
    pub fn new() -> Self {
        FieldRoom {
            headers: [const { MaybeUninit::uninit() }; FIELDS_MAX],
            classes: [Class::Plain; FIELDS_MAX],
        }
    }
}

impl Default for FieldRoom<'_> {
    fn default() -> Self {
        FieldRoom::new()
    }
}

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    /// It does not follow the grammar, or leaves room for doubt about where it ends.
    #[error("{0}")]
    Malformed(&'static str),
    /// The head is too long, or has too many fields.
    #[error("the head is too long or has too many fields")]
    TooLarge,
    /// The request line is too long.
    #[error("the request line is too long")]
    LineTooLong,
}

/// Whether every line of `head` ends in CRLF; `start` says where the line of each of its `fields` begins, and last
/// where the empty line does. The parser takes a bare LF for a line's end, and others do not.
fn lines_end_in_crlf(head: &[u8], fields: usize, start: impl Fn(usize) -> usize) -> bool {
    (0..=fields).all(|at| start(at).checked_sub(2).is_some_and(|end| head[end] == b'\r'))
}

impl HeadFault {
    /// The reason that the client is given.
    pub fn reason(self) -> Reason {
        match self {
            HeadFault::Malformed(_) => Reason::BadRequest,
            HeadFault::TooLarge => Reason::HeaderTooLarge,
            HeadFault::LineTooLong => Reason::UriTooLong,
        }
    }
}

/// The position of `part`, which lies in `whole`.
pub(crate) fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}
