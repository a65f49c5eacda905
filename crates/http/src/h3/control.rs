//! The streams of one direction (RFC 9114 §6.2): the control stream, and those of QPACK (RFC 9204 §4.2).

use super::frame::{
    CANCEL_PUSH, DATA, FrameHead, GOAWAY, HEADERS, MAX_PUSH_ID, OF_HTTP2, PUSH_PROMISE, SETTINGS, write_frame_head,
};
use super::varint::{length_of, read, write_varint};
use super::{Code, Guard, Kind};
use crate::prefixed::INTEGER_SHIFT_MAX;

/// The longest frame of settings. There are six settings, and browsers add one or two that mean nothing.
const SETTINGS_BYTES_MAX: usize = 1 << 10;

/// A kind of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Settings and what else concerns the connection.
    Control,
    /// What the peer's encoder says: its table is not used.
    Encoder,
    /// What the peer's decoder says of sections of ours.
    Decoder,
}

impl StreamKind {
    const ALL: [StreamKind; 3] = [StreamKind::Control, StreamKind::Encoder, StreamKind::Decoder];

    fn of(number: u64) -> Option<StreamKind> {
        Some(match number {
            0 => StreamKind::Control,
            2 => StreamKind::Encoder,
            3 => StreamKind::Decoder,
            _ => return None,
        })
    }
}

/// Our control stream's first bytes: its kind, and settings that allow heads of so many bytes and WebSockets (RFC 9220).
/// No table of QPACK is offered, which is what it is without a word.
pub fn opening(head_bytes_max: u64) -> Vec<u8> {
    let mut settings = Vec::new();
    for (setting, value) in [(MAX_FIELD_SECTION_SIZE, head_bytes_max), (ENABLE_CONNECT_PROTOCOL, 1)] {
        write_varint(&mut settings, setting);
        write_varint(&mut settings, value);
    }
    let mut out = vec![0];
    write_frame_head(&mut out, SETTINGS, settings.len() as u64);
    out.extend_from_slice(&settings);
    out
}

const MAX_FIELD_SECTION_SIZE: u64 = 0x6;
const ENABLE_CONNECT_PROTOCOL: u64 = 0x8;

/// Writes that no request from stream `id` on will be served (RFC 9114 §5.2).
pub fn write_goaway(out: &mut Vec<u8>, id: u64) {
    let mut payload = Vec::new();
    write_varint(&mut payload, id);
    write_frame_head(out, GOAWAY, payload.len() as u64);
    out.extend_from_slice(&payload);
}

/// Writes a frame that means nothing (§7.2.8), so that there is something to acknowledge.
pub fn write_nothing(out: &mut Vec<u8>) {
    write_frame_head(out, 0x21, 0);
}

/// Which of the three a connection's peer has opened.
#[derive(Debug, Default)]
pub struct Opened([bool; 3]);

impl Opened {
    fn open(&mut self, kind: StreamKind) -> Result<(), Code> {
        let at = StreamKind::ALL
            .iter()
            .position(|known| *known == kind)
            .unwrap_or_default();
        // §6.2.1, RFC 9204 §4.2: there is one of each.
        if std::mem::replace(&mut self.0[at], true) {
            return Err(Code::STREAM_CREATION_ERROR);
        }
        Ok(())
    }
}

/// A stream that the peer has opened, followed as its bytes come.
#[derive(Debug, Default)]
pub struct UniStream {
    /// Its kind's number, as far as it has come.
    number: [u8; 8],
    filled: usize,
    kind: Option<StreamKind>,
    control: Control,
    instruction: Instruction,
}

/// A stream is of a kind that nobody here knows.
#[derive(Debug, PartialEq, Eq)]
pub enum UniFault {
    /// It is none of ours to read (§6.2): it is declined, and nothing else happens.
    Unknown,
    /// The connection ends with this.
    Connection(Code),
}

impl From<Code> for UniFault {
    fn from(code: Code) -> Self {
        UniFault::Connection(code)
    }
}

impl UniStream {
    /// Follows the next bytes.
    ///
    /// # Errors
    /// See [`UniFault`].
    pub fn see(&mut self, mut bytes: &[u8], opened: &mut Opened, guard: &mut Guard) -> Result<(), UniFault> {
        while self.kind.is_none() {
            let Some((byte, rest)) = bytes.split_first() else {
                return Ok(());
            };
            self.number[self.filled] = *byte;
            self.filled += 1;
            bytes = rest;
            if self.filled == length_of(self.number[0]) {
                let number = read(&mut &self.number[..self.filled]).unwrap_or_default();
                // A client pushes nothing (§6.2.2).
                if number == 1 {
                    return Err(Code::STREAM_CREATION_ERROR.into());
                }
                let kind = StreamKind::of(number).ok_or(UniFault::Unknown)?;
                opened.open(kind)?;
                self.kind = Some(kind);
            }
        }
        match self.kind {
            Some(StreamKind::Control) => self.control.see(bytes, guard)?,
            Some(StreamKind::Encoder) => self.instruction.see_encoder(bytes)?,
            Some(StreamKind::Decoder) => self.instruction.see_decoder(bytes, guard)?,
            None => {}
        }
        Ok(())
    }

    /// The peer has ended it, or given it up.
    ///
    /// # Errors
    /// The connection cannot do without it.
    pub fn ended(&self) -> Result<(), Code> {
        match self.kind {
            Some(_) => Err(Code::CLOSED_CRITICAL_STREAM),
            None => Ok(()),
        }
    }
}

/// The peer's control stream.
#[derive(Debug, Default)]
struct Control {
    head: FrameHead,
    /// The frame under way, and how many of its bytes are still to come.
    kind: u64,
    left: u64,
    payload: Vec<u8>,
    has_settings: bool,
    /// The last numbers that it has named.
    goaway: Option<u64>,
    max_push: Option<u64>,
}

impl Control {
    fn see(&mut self, mut bytes: &[u8], guard: &mut Guard) -> Result<(), Code> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let Some((kind, length)) = self.head.take(&mut bytes) else {
                    return Ok(());
                };
                self.begin(kind, length, guard)?;
            }
            let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            let (part, rest) = bytes.split_at(count);
            if is_kept(self.kind) {
                self.payload.extend_from_slice(part);
            }
            self.left -= count as u64;
            bytes = rest;
            if self.left == 0 {
                self.complete()?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, kind: u64, length: u64, guard: &mut Guard) -> Result<(), Code> {
        match kind {
            SETTINGS if self.has_settings => return Err(Code::FRAME_UNEXPECTED),
            SETTINGS => self.has_settings = true,
            // §6.2.1
            _ if !self.has_settings => return Err(Code::MISSING_SETTINGS),
            DATA | HEADERS | PUSH_PROMISE => return Err(Code::FRAME_UNEXPECTED),
            kind if OF_HTTP2.contains(&kind) => return Err(Code::FRAME_UNEXPECTED),
            _ => guard.count(Kind::Control)?,
        }
        if is_kept(kind) && length > if kind == SETTINGS { SETTINGS_BYTES_MAX as u64 } else { 8 } {
            return Err(Code::EXCESSIVE_LOAD);
        }
        (self.kind, self.left) = (kind, length);
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Code> {
        let payload = std::mem::take(&mut self.payload);
        let mut rest = &payload[..];
        let mut number = || read(&mut rest).filter(|_| rest.is_empty()).ok_or(Code::FRAME_ERROR);
        match self.kind {
            SETTINGS => settings(&payload),
            GOAWAY => {
                // §5.2: it names pushes, and fewer each time.
                let id = number()?;
                let before = self.goaway.replace(id);
                if before.is_some_and(|before| id > before) {
                    Err(Code::ID_ERROR)
                } else {
                    Ok(())
                }
            }
            MAX_PUSH_ID => {
                // §7.2.7: more each time.
                let id = number()?;
                let before = self.max_push.replace(id);
                if before.is_some_and(|before| id < before) {
                    Err(Code::ID_ERROR)
                } else {
                    Ok(())
                }
            }
            // §7.2.3: nothing was promised that could be cancelled.
            CANCEL_PUSH => number().and(Err(Code::ID_ERROR)),
            _ => Ok(()),
        }
    }
}

/// Whether a frame's payload is read.
fn is_kept(kind: u64) -> bool {
    matches!(kind, SETTINGS | GOAWAY | MAX_PUSH_ID | CANCEL_PUSH)
}

/// Judges settings (§7.2.4). None of them changes what we do: our sections refer to no table, nothing is pushed.
fn settings(mut payload: &[u8]) -> Result<(), Code> {
    let mut seen = Vec::new();
    while !payload.is_empty() {
        let setting = read(&mut payload).ok_or(Code::FRAME_ERROR)?;
        let value = read(&mut payload).ok_or(Code::FRAME_ERROR)?;
        // §7.2.4.1: those of HTTP/2 that have none in their place.
        let of_http2 = (0x2..=0x5).contains(&setting);
        let is_wrong_flag = setting == ENABLE_CONNECT_PROTOCOL && value > 1;
        if of_http2 || is_wrong_flag || seen.contains(&setting) {
            return Err(Code::SETTINGS_ERROR);
        }
        seen.push(setting);
    }
    Ok(())
}

/// An instruction of QPACK that goes on in the next bytes: its number, as far as it has come.
#[derive(Debug, Default)]
struct Instruction {
    /// How far the next part of the number is shifted; `None` between two instructions.
    shift: Option<u32>,
}

impl Instruction {
    /// RFC 9204 §4.3: with no table, all that can be said is that it has no room (§3.2.3).
    fn see_encoder(&mut self, bytes: &[u8]) -> Result<(), Code> {
        if bytes.iter().all(|byte| *byte == 0b0010_0000) {
            return Ok(());
        }
        Err(Code::ENCODER_STREAM_ERROR)
    }

    /// §4.4: no section of ours needs to be acknowledged, and no insertion; streams may be cancelled.
    fn see_decoder(&mut self, bytes: &[u8], guard: &mut Guard) -> Result<(), Code> {
        for byte in bytes {
            self.shift = match (self.shift, byte) {
                (None, 0b0111_1111) => Some(0),
                (None, 0b0100_0000..=0b0111_1110) => None,
                (None, _) => return Err(Code::DECODER_STREAM_ERROR),
                (Some(shift), _) if shift > INTEGER_SHIFT_MAX => return Err(Code::DECODER_STREAM_ERROR),
                (Some(shift), 0x80..) => Some(shift + 7),
                (Some(_), _) => None,
            };
            if self.shift.is_none() {
                guard.count(Kind::Control)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
