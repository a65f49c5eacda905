//! The frames of a request's stream (RFC 9114 §7), followed as their bytes come.

use bytes::{Buf, Bytes};

use super::varint::{length_of, read, write_varint};
use super::{Code, VARINT_MAX};

pub(super) const DATA: u64 = 0x0;
pub(super) const HEADERS: u64 = 0x1;
pub(super) const CANCEL_PUSH: u64 = 0x3;
pub(super) const SETTINGS: u64 = 0x4;
pub(super) const PUSH_PROMISE: u64 = 0x5;
pub(super) const GOAWAY: u64 = 0x7;
pub(super) const MAX_PUSH_ID: u64 = 0xd;

/// Kinds of HTTP/2 that have none of HTTP/3 in their place (§7.2.8).
pub(super) const OF_HTTP2: [u64; 4] = [0x2, 0x6, 0x8, 0x9];

/// A frame's head: a kind and a length.
#[derive(Debug, Default)]
pub(super) struct FrameHead {
    bytes: [u8; 16],
    filled: usize,
}

impl FrameHead {
    /// Takes what belongs to it off `bytes`; the kind and the length once all of it has come.
    pub(super) fn take(&mut self, bytes: &mut &[u8]) -> Option<(u64, u64)> {
        while let Some((byte, rest)) = bytes.split_first() {
            self.bytes[self.filled] = *byte;
            self.filled += 1;
            *bytes = rest;
            let kind = length_of(self.bytes[0]);
            if self.filled > kind && self.filled == kind + length_of(self.bytes[kind]) {
                let mut whole = &self.bytes[..self.filled];
                self.filled = 0;
                return read(&mut whole).zip(read(&mut whole));
            }
        }
        None
    }

    /// Whether it has begun and is not all there.
    pub(super) fn is_begun(&self) -> bool {
        self.filled > 0
    }
}

/// What comes next on a request's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// What is there was used.
    More,
    /// A frame of an unknown kind has begun, or one of data without any: whoever serves the request has no use for them,
    /// and counts them.
    Idle,
    /// A field section of so many bytes begins.
    Section(u64),
    /// A part of it.
    Part(Bytes),
    /// It is whole.
    SectionEnd,
    /// So many bytes of the body are next, which stay where they are.
    Data(usize),
}

/// Where a request's stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before its head.
    Head,
    /// Behind it.
    Body,
    /// Behind its trailers.
    Over,
}

/// Follows the frames of a request.
#[derive(Debug)]
pub struct RequestFrames {
    head: FrameHead,
    stage: Stage,
    /// The frame under way, and how many of its bytes are still to come.
    kind: u64,
    left: u64,
    /// The end of a section is still to be told.
    ends: bool,
}

impl Default for RequestFrames {
    fn default() -> Self {
        RequestFrames {
            head: FrameHead::default(),
            stage: Stage::Head,
            kind: VARINT_MAX,
            left: 0,
            ends: false,
        }
    }
}

impl RequestFrames {
    /// Takes the next step off `bytes`. Data stays, for the caller to take and [tell](Self::used).
    ///
    /// # Errors
    /// What the connection ends with.
    pub fn step(&mut self, bytes: &mut Bytes) -> Result<Step, Code> {
        loop {
            if self.left > 0 {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                match self.kind {
                    _ if count == 0 => return Ok(Step::More),
                    DATA => return Ok(Step::Data(count)),
                    HEADERS => {
                        self.used(count);
                        self.ends = self.left == 0;
                        return Ok(Step::Part(bytes.split_to(count)));
                    }
                    _ => {
                        self.used(count);
                        bytes.advance(count);
                    }
                }
                continue;
            }
            if std::mem::take(&mut self.ends) {
                return Ok(Step::SectionEnd);
            }
            let mut rest = &bytes[..];
            let head = self.head.take(&mut rest);
            let taken = bytes.len() - rest.len();
            bytes.advance(taken);
            let Some((kind, length)) = head else {
                return Ok(Step::More);
            };
            if let Some(step) = self.begin(kind, length)? {
                return Ok(step);
            }
        }
    }

    /// So many bytes of data were taken.
    pub fn used(&mut self, count: usize) {
        self.left -= count as u64;
    }

    /// Whether the request may end here.
    ///
    /// # Errors
    /// What the stream ends with when no head has come, and what the connection ends with (true) when a frame is not whole.
    pub fn ended(&self) -> Result<(), (Code, bool)> {
        if self.left > 0 || self.ends || self.head.is_begun() {
            // §7.1
            Err((Code::FRAME_ERROR, true))
        } else if self.stage == Stage::Head {
            // §4.1.1
            Err((Code::REQUEST_INCOMPLETE, false))
        } else {
            Ok(())
        }
    }

    /// A frame begins (§4.1, §7.2).
    fn begin(&mut self, kind: u64, length: u64) -> Result<Option<Step>, Code> {
        (self.kind, self.left) = (kind, length);
        match (kind, self.stage) {
            (DATA, Stage::Body) => Ok((length == 0).then_some(Step::Idle)),
            (HEADERS, Stage::Head | Stage::Body) => {
                self.stage = match self.stage {
                    Stage::Head => Stage::Body,
                    _ => Stage::Over,
                };
                self.ends = length == 0;
                Ok(Some(Step::Section(length)))
            }
            (DATA | HEADERS | CANCEL_PUSH | SETTINGS | PUSH_PROMISE | GOAWAY | MAX_PUSH_ID, _) => {
                Err(Code::FRAME_UNEXPECTED)
            }
            (kind, _) if OF_HTTP2.contains(&kind) => Err(Code::FRAME_UNEXPECTED),
            _ => Ok(Some(Step::Idle)),
        }
    }
}

/// Writes the head of a frame.
pub(super) fn write_frame_head(out: &mut Vec<u8>, kind: u64, length: u64) {
    write_varint(out, kind);
    write_varint(out, length);
}

/// Writes the head of a frame of so many bytes of a body.
pub fn write_data_head(out: &mut Vec<u8>, length: usize) {
    write_frame_head(out, DATA, length as u64);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame, as it is on the wire.
    fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_frame_head(&mut out, kind, payload.len() as u64);
        out.extend_from_slice(payload);
        out
    }

    /// What is told of a stream: sections, body, frames without use.
    type Told = (Vec<Vec<u8>>, Vec<u8>, usize);

    /// What is told of one that comes in pieces of these sizes.
    fn told(stream: &[u8], sizes: &[usize]) -> Result<Told, Code> {
        let mut frames = RequestFrames::default();
        let (mut sections, mut body, mut idle) = (Vec::new(), Vec::new(), 0);
        let (mut rest, mut sizes) = (stream, sizes.iter().copied().cycle());
        while !rest.is_empty() {
            let count = sizes.next().unwrap_or(usize::MAX).clamp(1, rest.len());
            let mut bytes = Bytes::copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            loop {
                match frames.step(&mut bytes)? {
                    Step::More => break,
                    Step::Idle => idle += 1,
                    Step::Section(_) => sections.push(Vec::new()),
                    Step::Part(part) => sections.last_mut().unwrap().extend_from_slice(&part),
                    Step::SectionEnd => {}
                    Step::Data(count) => {
                        let taken = count.min(3);
                        body.extend_from_slice(&bytes.split_to(taken));
                        frames.used(taken);
                    }
                }
            }
        }
        frames
            .ended()
            .map(|()| (sections, body, idle))
            .map_err(|(code, _)| code)
    }

    #[test]
    fn what_may_not_come_there_ends_the_connection() {
        let (head, data) = (frame(HEADERS, b"h"), frame(DATA, b"d"));
        for stream in [
            data.clone(),
            frame(SETTINGS, b""),
            [head.clone(), frame(GOAWAY, b"\0")].concat(),
            [head.clone(), frame(PUSH_PROMISE, b"\0")].concat(),
            [head.clone(), frame(OF_HTTP2[1], b"12345678")].concat(),
            [head.clone(), head.clone(), data].concat(),
            [head.clone(), head.clone(), head.clone()].concat(),
        ] {
            assert_eq!(told(&stream, &[9]), Err(Code::FRAME_UNEXPECTED));
        }
        assert_eq!(told(&head[..2], &[9]), Err(Code::FRAME_ERROR));
        assert_eq!(told(&head[..1], &[9]), Err(Code::FRAME_ERROR));
        assert_eq!(told(&frame(0x21, b"x"), &[9]), Err(Code::REQUEST_INCOMPLETE));
    }

    proptest! {
        #[test]
        fn a_request_is_told_the_same_however_it_is_cut(
            parts in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 0..8),
            sizes in prop::collection::vec(1usize..200, 1..6),
        ) {
            let mut stream = frame(HEADERS, b"head");
            let (mut body, mut idle) = (Vec::new(), 0);
            for (known, bytes) in parts {
                stream.extend(frame(if known { DATA } else { 0x21 }, &bytes));
                idle += usize::from(!known || bytes.is_empty());
                body.extend(bytes.into_iter().filter(|_| known));
            }
            stream.extend(frame(HEADERS, b"end"));
            let expected = (vec![b"head".to_vec(), b"end".to_vec()], body, idle);
            prop_assert_eq!(told(&stream, &sizes), Ok(expected));
        }

        #[test]
        fn no_bytes_are_too_strange(stream in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = told(&stream, &[7]);
        }
    }
}
