//! HTTP/3 (RFC 9114) with QPACK (RFC 9204), to and from the form in which requests are judged, routed and forwarded,
//! which is that of HTTP/1.1; and what a connection may not do too often.
//!
//! It is ours, as HTTP/1.1 is, since the crates that speak it hold a frame until all of it has come, however long it
//! says that it is, and look past what a head may not say. No table is kept for either side: a client may compress
//! with the static one alone, so that nothing that it says early costs memory later.

mod control;
mod frame;
mod guard;
mod head;
mod qpack;
mod table;
mod varint;

pub use control::{Opened, StreamKind, UniFault, UniStream, opening, write_goaway, write_nothing};
pub use frame::{RequestFrames, Step, write_data_head};
pub use guard::{Guard, HASTE_MS, Kind};
pub use head::{SectionFault, read_section, read_trailers, write_reply, write_response, write_trailers};
pub use varint::VARINT_MAX;

pub use crate::head_text::HeadText;

/// A code of an error (RFC 9114 §8.1, RFC 9204 §8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    /// There is no error, and nothing more to say.
    pub const NO_ERROR: Code = Code(0x100);
    /// The peer breaks the protocol in a way that has no word of its own.
    pub const GENERAL_PROTOCOL_ERROR: Code = Code(0x101);
    /// Something went wrong on our side.
    pub const INTERNAL_ERROR: Code = Code(0x102);
    /// The peer opened a stream that is none.
    pub const STREAM_CREATION_ERROR: Code = Code(0x103);
    /// A stream that the connection cannot do without has ended.
    pub const CLOSED_CRITICAL_STREAM: Code = Code(0x104);
    /// A frame that may not come there, or then.
    pub const FRAME_UNEXPECTED: Code = Code(0x105);
    /// A frame whose form is wrong.
    pub const FRAME_ERROR: Code = Code(0x106);
    /// The peer does too much of something.
    pub const EXCESSIVE_LOAD: Code = Code(0x107);
    /// A number that may not come there.
    pub const ID_ERROR: Code = Code(0x108);
    /// Settings that may not be.
    pub const SETTINGS_ERROR: Code = Code(0x109);
    /// The control stream does not begin with settings.
    pub const MISSING_SETTINGS: Code = Code(0x10a);
    /// A request of which nothing was done.
    pub const REQUEST_REJECTED: Code = Code(0x10b);
    /// The request, or its answer, is not wanted any more.
    pub const REQUEST_CANCELLED: Code = Code(0x10c);
    /// The request ended before it was whole.
    pub const REQUEST_INCOMPLETE: Code = Code(0x10d);
    /// A message that is malformed.
    pub const MESSAGE_ERROR: Code = Code(0x10e);
    /// A field section that cannot be read.
    pub const DECOMPRESSION_FAILED: Code = Code(0x200);
    /// The peer's encoder says what it may not.
    pub const ENCODER_STREAM_ERROR: Code = Code(0x201);
    /// The peer's decoder says what it may not.
    pub const DECODER_STREAM_ERROR: Code = Code(0x202);
}
