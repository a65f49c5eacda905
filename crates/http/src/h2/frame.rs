//! Frames (RFC 9113 §4 and §6).

/// Frame types.
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Flags. The first is an answer's, of SETTINGS and PING.
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const WITH_PRIORITY: u8 = 0x20;

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 9;

/// What a frame may carry, in both directions: nobody is asked for more, and it is what everybody takes (RFC 9113 §4.2).
pub(super) const FRAME_MAX: usize = 16 << 10;

/// A code of an error (RFC 9113 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    /// There is no error, and nothing more to say.
    pub const NO_ERROR: Code = Code(0);
    /// The peer breaks the protocol in a way that has no word of its own.
    pub const PROTOCOL_ERROR: Code = Code(1);
    /// Something went wrong on our side.
    pub const INTERNAL_ERROR: Code = Code(2);
    /// The peer sends what there is no window for.
    pub const FLOW_CONTROL_ERROR: Code = Code(3);
    /// A frame on a stream that has ended.
    pub const STREAM_CLOSED: Code = Code(5);
    /// A frame of a length that it may not have.
    pub const FRAME_SIZE_ERROR: Code = Code(6);
    /// A request of which nothing was done.
    pub const REFUSED_STREAM: Code = Code(7);
    /// The request, or its answer, is not wanted any more.
    pub const CANCEL: Code = Code(8);
    /// A field section that cannot be read.
    pub const COMPRESSION_ERROR: Code = Code(9);
    /// The peer does too much of something.
    pub const ENHANCE_YOUR_CALM: Code = Code(11);
}

/// A frame's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHead {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) id: u32,
}

impl FrameHead {
    /// Reads one, when all of it is there.
    #[inline]
    pub(super) fn read(bytes: &[u8]) -> Option<FrameHead> {
        let [a, b, c, kind, flags, id @ ..] = *bytes.first_chunk::<HEADER>()?;
        Some(FrameHead {
            length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind,
            flags,
            id: u32::from_be_bytes(id) & 0x7fff_ffff,
        })
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Writes a frame's header.
#[inline]
pub(super) fn write_frame_head(out: &mut Vec<u8>, length: usize, (kind, flags): (u8, u8), id: u32) {
    debug_assert!(length <= FRAME_MAX);
    let [.., a, b, c] = (length as u32).to_be_bytes();
    let [w, x, y, z] = id.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, w, x, y, z]);
}

/// Writes a frame that carries a number, and maybe another.
pub(super) fn write_numbers(out: &mut Vec<u8>, kind: u8, id: u32, numbers: &[u32]) {
    write_frame_head(out, numbers.len() * 4, (kind, 0), id);
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// Writes a field section: a HEADERS frame, and CONTINUATION behind it when it is long.
pub(super) fn write_section(out: &mut Vec<u8>, section: &[u8], flags: u8, id: u32) {
    let (first, mut rest) = section.split_at(section.len().min(FRAME_MAX));
    let end = |rest: &[u8]| if rest.is_empty() { END_HEADERS } else { 0 };
    write_frame_head(out, first.len(), (HEADERS, flags | end(rest)), id);
    out.extend_from_slice(first);
    while !rest.is_empty() {
        let (part, more) = rest.split_at(rest.len().min(FRAME_MAX));
        write_frame_head(out, part.len(), (CONTINUATION, end(more)), id);
        out.extend_from_slice(part);
        rest = more;
    }
}
