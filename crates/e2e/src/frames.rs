//! A client or server that sends exactly the HTTP/2 frames that it is given (RFC 9113 §4.1).

use std::io;
use std::net::{SocketAddr, TcpStream};

use crate::client::Wire;

/// Frame types.
pub mod kind {
    #![allow(missing_docs, reason = "the names are those of RFC 9113, section 6")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// What a client sends first.
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Ends a stream, of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// Ends a head, of HEADERS and CONTINUATION; of SETTINGS and PING, with [`END_STREAM`]'s value, an answer.
pub const END_HEADERS: u8 = 4;

/// What a frame carries at the most, unless the other end takes more (RFC 9113 §4.2).
const FRAME: usize = 16 << 10;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// A connection whose frames are sent and read one by one.
#[derive(Debug)]
pub struct Frames {
    /// The bytes.
    pub wire: Wire,
    /// The error code of the GOAWAY that came last.
    parted: Option<u32>,
}

impl Frames {
    /// Connects, and sends the preface and empty settings.
    #[track_caller]
    pub fn connect(to: SocketAddr) -> Frames {
        Frames::with_settings(to, &[])
    }

    /// Connects, and sends the preface and these settings.
    #[track_caller]
    pub fn with_settings(to: SocketAddr, settings: &[(u16, u32)]) -> Frames {
        let mut frames = Frames {
            wire: Wire::connect(to),
            parted: None,
        };
        frames.wire.send(PREFACE);
        frames.settings(settings).expect("settings are taken");
        frames
    }

    /// The server's end of a connection: reads the preface, and sends these settings.
    ///
    /// # Errors
    /// The connection is gone, or begins with something else.
    pub fn accept(stream: TcpStream, settings: &[(u16, u32)]) -> io::Result<Frames> {
        let mut frames = Frames {
            wire: Wire::of(stream)?,
            parted: None,
        };
        if frames.wire.try_read_bytes(PREFACE.len())? != PREFACE.as_bytes() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        frames.settings(settings)?;
        Ok(frames)
    }

    fn settings(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        self.send(kind::SETTINGS, 0, 0, &payload)
    }

    /// Sends the head of an answer; `flags` beside END_HEADERS.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn answer(&mut self, stream: u32, status: u16, more: &[(&str, &str)], flags: u8) -> io::Result<()> {
        let status = status.to_string();
        let fields = [&[(":status", &*status)], more].concat();
        self.send(kind::HEADERS, END_HEADERS | flags, stream, &head(&fields))
    }

    /// Ends a stream with a code (RFC 9113 §7).
    ///
    /// # Errors
    /// The connection is gone.
    pub fn reset(&mut self, stream: u32, code: u32) -> io::Result<()> {
        self.send(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
    }

    /// Says that no stream beyond `last` was or will be taken.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn part(&mut self, last: u32, code: u32) -> io::Result<()> {
        self.send(kind::GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.wire.try_send(encode(kind, flags, stream, payload))
    }

    /// Opens a stream with a request for `path`; `more` are further fields, `flags` beside END_HEADERS.
    #[track_caller]
    pub fn request(&mut self, stream: u32, method: &str, path: &str, more: &[(&str, &str)], flags: u8) {
        let mut fields = vec![
            (":method", method),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", path),
        ];
        fields.extend(more);
        let block = head(&fields);
        let mut parts = block.chunks(FRAME).enumerate().peekable();
        while let Some((at, part)) = parts.next() {
            let (kind, flags) = if at == 0 {
                (kind::HEADERS, flags)
            } else {
                (kind::CONTINUATION, 0)
            };
            let ends = if parts.peek().is_none() { END_HEADERS } else { 0 };
            self.send(kind, ends | flags, stream, part).expect("a request is taken");
        }
    }

    /// Reads the next frame.
    ///
    /// # Errors
    /// The connection is gone, or silent for too long.
    pub fn read(&mut self) -> io::Result<Frame> {
        let header = self.wire.try_read_bytes(9)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let length = usize::try_from(length).expect("24 bits fit");
        let payload = self.wire.try_read_bytes(length)?;
        if header[3] == kind::GOAWAY && length >= 8 {
            self.parted = Some(u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]));
        }
        Ok(Frame {
            kind: header[3],
            flags: header[4],
            stream: stream & 0x7fff_ffff,
            payload,
        })
    }

    /// Reads until a frame of `stream` and `kind` comes, answering settings and pings on the way.
    #[track_caller]
    pub fn wait_for(&mut self, stream: u32, kind: u8) -> Frame {
        loop {
            let frame = self
                .read()
                .unwrap_or_else(|error| panic!("no frame {kind} of {stream}: {error}"));
            if frame.stream == stream && frame.kind == kind {
                return frame;
            }
            if frame.kind == kind::SETTINGS && frame.flags == 0 {
                self.send(kind::SETTINGS, 1, 0, &[]).expect("an answer is taken");
            }
        }
    }

    /// The error code of the GOAWAY that comes or has come, or `None` when the connection ends without one.
    pub fn goaway(&mut self) -> Option<u32> {
        while self.parted.is_none() {
            self.read().ok()?;
        }
        self.parted
    }
}

/// The bytes of a frame.
pub fn encode(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A head's fields as literals that nobody remembers (RFC 7541 §6.2.2).
pub fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn length(length: usize, block: &mut Vec<u8>) {
    let Some(mut left) = length.checked_sub(127) else {
        return block.push(length as u8);
    };
    block.push(127);
    while left >= 128 {
        block.push((left % 128) as u8 | 128);
        left /= 128;
    }
    block.push(left as u8);
}

/// The status of an answer's head, whose first field it is, when it is one of the static table's (RFC 7541, appendix A).
pub fn status(block: &[u8]) -> Option<u16> {
    match block {
        [indexed @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]),
        _ => None,
    }
}
