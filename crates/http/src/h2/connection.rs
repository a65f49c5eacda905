//! The server's side of a connection (RFC 9113), without its socket and its clock: bytes that come are shown to it, and
//! what there is to send stands ready. What it tells of a stream it tells by the stream's seat, which stays that stream's
//! until whoever serves it lets go.

use std::collections::VecDeque;

use super::PREFACE;
use super::frame::{
    CONTINUATION, Code, DATA, FRAME_MAX, FrameHead, GOAWAY, HEADER, HEADERS, PING, PRIORITY, PUSH_PROMISE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, write_frame_head, write_numbers,
};
use super::guard::{Breach, Tally};
use super::hpack::Decoder;
use crate::h1::HeadFault;
use crate::head_text::{Aside, HeadText};

/// Streams that a client may have open at once (HAProxy's and nghttp2's default).
pub(super) const STREAMS_MAX: usize = 100;

/// Seats that there may be: more than a client may open, since a stream that it has given up keeps its seat until that was
/// noticed.
pub const SEATS_MAX: usize = 255;

/// Words of a bit for every seat.
pub const SEAT_WORDS: usize = 4;

/// What a client may send ahead of us on one stream, and on all together.
pub(super) const WINDOW: u32 = 256 << 10;
pub(super) const CONNECTION_WINDOW: u32 = 1 << 20;

/// The windows that every connection begins with (RFC 9113 §6.9.2), and the largest.
pub(super) const FIRST_WINDOW: i64 = 65_535;
pub(super) const WINDOW_MAX: i64 = 0x7fff_ffff;

/// What we hold of answers for a client that is slow to take them.
pub(super) const OUT_MAX: usize = 64 << 10;

/// What we hold besides, of heads, of answers to settings and pings: no more is read before some of it is taken.
const ASIDE_MAX: usize = 64 << 10;

/// Streams that we have ended before the client had said all, which are remembered: what it still sends on them is no
/// fault of its own. An upload that is answered early leaves one.
const ENDED_MAX: usize = 1_024;

/// Streams that we may have to reset for a client's errors in the connection's life.
const ERRORS_MAX: u32 = 1_024;

/// What an idle connection keeps of its buffers.
const KEPT_MAX: usize = 1 << 10;

/// The largest identifier of a stream.
const ID_MAX: u32 = 0x7fff_ffff;

/// What a ping carries that is answered by those who know that we are about to leave.
pub(super) const PARTING_PING: [u8; 8] = *b"plimsoll";

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is too much of something.
    #[error("{0}")]
    Breach(#[from] Breach),
    /// What the client says is no HTTP/2.
    #[error("{1}")]
    Error(Code, &'static str),
}

impl Fault {
    pub(super) fn code(self) -> Code {
        match self {
            Fault::Breach(_) => Code::ENHANCE_YOUR_CALM,
            Fault::Error(code, _) => code,
        }
    }
}

/// What came of bytes.
#[derive(Debug)]
pub enum Received {
    /// Nothing that whoever serves streams has to know, and what is left is not whole yet.
    More,
    /// A request, whose text was written up to where it says what follows it.
    Request(Opened),
    /// One that is malformed by the rules of HTTP/2 (RFC 9113 §8.1.1). Its stream was reset.
    Malformed(&'static str),
    /// One that there was no seat for. It can be asked again (RFC 9113 §8.7).
    Refused,
    /// The connection ends.
    Ended(Fault),
}

/// A request's head.
#[derive(Debug)]
pub struct Opened {
    /// Its stream.
    pub seat: usize,
    /// What it asks for besides its text, or why it cannot be served.
    pub head: Result<HeadText, HeadFault>,
    /// Nothing follows it.
    pub is_ended: bool,
}

/// How far a connection is on its way to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    No,
    /// The client was told that there will be an end (RFC 9113 §6.8).
    Told,
    /// It was told which stream is the last.
    Last,
    /// Nothing more is said: the client has gone, or was told of its fault.
    Over,
}

/// A stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) send_window: i64,
    pub(super) receive_window: i64,
    /// What was taken of the body and is not told yet.
    pub(super) owed: u32,
    pub(super) body: Vec<u8>,
    /// How much of it was taken.
    pub(super) taken: usize,
    /// Small frames of it that were not all taken.
    pub(super) crumbs: u32,
    /// The lines of the trailers.
    pub(super) trailers: Vec<u8>,
    /// How much is to come of a body whose length is known.
    pub(super) length: Option<u64>,
    /// The client has not said all.
    pub(super) receives: bool,
    /// We have not said all.
    pub(super) sends: bool,
    /// One of us has reset it.
    pub(super) gone: bool,
    /// It counts among those that the client may have open.
    pub(super) live: bool,
    /// It stands in line.
    pub(super) waits: bool,
}

/// A frame of data that is under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UnderWay {
    pub(super) id: u32,
    pub(super) left: usize,
    pub(super) padding: usize,
    pub(super) ends: bool,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    /// Bytes of the preface that have come.
    preface: usize,
    /// The client's settings have come.
    greeted: bool,
    pub(super) decoder: Decoder,
    pub(super) aside: Aside,
    tally: Tally,
    /// The head that is under way, and whether its stream ends with it.
    pub(super) head: Option<(u32, bool)>,
    pub(super) section: Vec<u8>,
    pub(super) data: UnderWay,
    /// Bytes that mean nothing.
    skip: usize,
    /// The streams' identifiers by their seats, 0 where there is none.
    pub(super) ids: Vec<u32>,
    pub(super) streams: Vec<Stream>,
    free: Vec<usize>,
    pub(super) last: u32,
    pub(super) live: usize,
    pub(super) ended: VecDeque<u32>,
    errors: u32,
    pub(super) first_window: i64,
    pub(super) send_window: i64,
    pub(super) receive_window: i64,
    pub(super) owed: u32,
    pub(super) out: Vec<u8>,
    sent: usize,
    /// Streams that wait for their turn to send, the first first.
    pub(super) waiting: VecDeque<usize>,
    touched: [u64; SEAT_WORDS],
    pub(super) parting: Parting,
    pub(super) head_bytes: usize,
    /// The client's table is smaller than ours would be, which it wants to hear (RFC 7541 §4.2).
    pub(super) table_shrinks: bool,
}

impl Connection {
    /// One that begins, whose heads may have so many bytes as text. `list_bytes` is what the client is told, where each
    /// field counts 32 bytes more than it has (RFC 9113 §6.5.2).
    pub fn new(head_bytes: usize, list_bytes: usize) -> Self {
        let mut out = Vec::with_capacity(KEPT_MAX);
        let settings = [
            (3, STREAMS_MAX as u32),
            (4, WINDOW),
            (6, u32::try_from(list_bytes).unwrap_or(u32::MAX)),
            // RFC 8441 §3.
            (8, 1),
        ];
        write_frame_head(&mut out, settings.len() * 6, (SETTINGS, 0), 0);
        for (id, value) in settings {
            out.extend_from_slice(&u16::to_be_bytes(id));
            out.extend_from_slice(&value.to_be_bytes());
        }
        write_numbers(&mut out, WINDOW_UPDATE, 0, &[CONNECTION_WINDOW - FIRST_WINDOW as u32]);
        Connection {
            preface: 0,
            greeted: false,
            decoder: Decoder::new(),
            aside: Aside::default(),
            tally: Tally::of_client(),
            head: None,
            section: Vec::new(),
            data: UnderWay::default(),
            skip: 0,
            ids: Vec::new(),
            streams: Vec::new(),
            free: Vec::new(),
            last: 0,
            live: 0,
            ended: VecDeque::new(),
            errors: 0,
            first_window: FIRST_WINDOW,
            send_window: FIRST_WINDOW,
            receive_window: i64::from(CONNECTION_WINDOW),
            owed: 0,
            out,
            sent: 0,
            waiting: VecDeque::new(),
            touched: [0; SEAT_WORDS],
            parting: Parting::No,
            head_bytes,
            table_shrinks: false,
        }
    }

    /// Takes what came, at `now_ms` of any clock; how much of it was used. What is left is to be shown again, with more
    /// behind it. The text of a request goes into `text`, which is emptied before.
    pub fn receive(&mut self, bytes: &[u8], now_ms: u64, text: &mut Vec<u8>) -> (usize, Received) {
        self.tally.pass(now_ms);
        let mut used = 0;
        loop {
            if self.parting == Parting::Over {
                return (bytes.len(), Received::More);
            }
            match self.step(&bytes[used..], text) {
                Ok((count, step)) => {
                    used += count;
                    match step {
                        Step::Next => {}
                        Step::More => return (used, Received::More),
                        Step::Told(received) => return (used, received),
                    }
                }
                Err(fault) => {
                    self.end_with(fault.code());
                    return (bytes.len(), Received::Ended(fault));
                }
            }
        }
    }

    fn step(&mut self, bytes: &[u8], text: &mut Vec<u8>) -> Result<(usize, Step), Fault> {
        if self.preface < PREFACE.len() {
            let count = bytes.len().min(PREFACE.len() - self.preface);
            if bytes[..count] != PREFACE[self.preface..][..count] {
                return Err(protocol("what came is no HTTP/2"));
            }
            self.preface += count;
            return Ok((count, if count == 0 { Step::More } else { Step::Next }));
        }
        if self.data.left + self.data.padding > 0 {
            return self.data_part(bytes);
        }
        if self.skip > 0 {
            let count = bytes.len().min(self.skip);
            self.skip -= count;
            return Ok((count, if count == 0 { Step::More } else { Step::Next }));
        }
        let Some(frame) = FrameHead::read(bytes) else {
            return Ok((0, Step::More));
        };
        if frame.length > FRAME_MAX {
            return Err(Fault::Error(Code::FRAME_SIZE_ERROR, "a frame is too long"));
        }
        if !self.greeted && frame.kind != SETTINGS {
            return Err(protocol("the first frame is none of settings"));
        }
        if let Some((id, _)) = self.head
            && (frame.kind != CONTINUATION || frame.id != id)
        {
            return Err(protocol("a head is interrupted"));
        }
        match frame.kind {
            DATA => {
                let Some(step) = self.data(frame, &bytes[HEADER..])? else {
                    return Ok((0, Step::More));
                };
                Ok(step)
            }
            HEADERS..=CONTINUATION => {
                let Some(payload) = bytes[HEADER..].get(..frame.length) else {
                    return Ok((0, Step::More));
                };
                let step = self.frame(frame, payload, text)?;
                Ok((HEADER + frame.length, step))
            }
            // RFC 9113 §4.1: what is not known is passed over.
            _ => {
                self.count(frame, None)?;
                self.skip = frame.length;
                Ok((HEADER, Step::Next))
            }
        }
    }

    /// Counts what may not be done too often.
    pub(super) fn count(&mut self, frame: FrameHead, increment: Option<u32>) -> Result<(), Fault> {
        let FrameHead {
            length,
            kind,
            flags,
            id,
        } = frame;
        Ok(self.tally.count((kind, flags), id, length, increment)?)
    }

    fn frame(&mut self, frame: FrameHead, payload: &[u8], text: &mut Vec<u8>) -> Result<Step, Fault> {
        let increment = payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let is_update = frame.kind == WINDOW_UPDATE && frame.length == 4;
        self.count(frame, increment.filter(|_| is_update).map(|by| by & ID_MAX))?;
        match frame.kind {
            HEADERS => return self.headers(frame, payload, text),
            CONTINUATION => return self.continuation(frame, payload, text),
            PRIORITY => self.priority(frame)?,
            RST_STREAM => self.reset_by_client(frame)?,
            SETTINGS => {
                self.settings(frame, payload)?;
                self.greeted = true;
            }
            PING => self.ping(frame, payload)?,
            GOAWAY if frame.id != 0 => return Err(protocol("a GOAWAY of a stream")),
            GOAWAY if frame.length < 8 => return Err(size("a GOAWAY is too short")),
            // The client ends the connection when it has its answers.
            GOAWAY => {}
            WINDOW_UPDATE => self.window_update(frame, increment.unwrap_or_default() & ID_MAX)?,
            PUSH_PROMISE => return Err(protocol("a client promises something")),
            _ => {}
        }
        Ok(Step::Next)
    }

    /// Whether what is left of what came ends in the middle of a head.
    pub fn is_mid_head(&self, left: &[u8]) -> bool {
        let begun = match left {
            [] => false,
            [_, _, _, kind, ..] if left.len() >= HEADER => matches!(*kind, HEADERS | CONTINUATION),
            _ => true,
        };
        self.head.is_some() || begun
    }

    /// Whether anything may be read: a client that takes none of our answers is not heard.
    pub fn hears(&self) -> bool {
        self.pending().len() < OUT_MAX + ASIDE_MAX
    }

    /// What there is to send.
    pub fn pending(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    /// So much of it was sent.
    pub fn wrote(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        } else if self.sent >= OUT_MAX {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        self.call_next();
    }

    /// Gives back what nobody needs while nothing is under way.
    pub fn rest(&mut self) {
        self.decoder.shrink(KEPT_MAX);
        self.aside.shrink(KEPT_MAX);
        // A head may be under way while no stream is.
        self.section.shrink_to(0);
        if self.out.is_empty() {
            self.out.shrink_to(KEPT_MAX);
        }
        for stream in &mut self.streams {
            stream.body.shrink_to(0);
        }
    }

    /// Takes the seats of which there is something new, a bit each.
    pub fn take_touched(&mut self) -> [u64; SEAT_WORDS] {
        std::mem::take(&mut self.touched)
    }

    pub(super) fn touch(&mut self, seat: usize) {
        self.touched[seat / 64] |= 1 << (seat % 64);
    }

    /// Whether there is a seat for another stream.
    pub fn has_seat(&self) -> bool {
        !self.free.is_empty() || self.streams.len() < SEATS_MAX
    }

    /// How many streams have a seat.
    pub fn open(&self) -> usize {
        self.streams.len() - self.free.len()
    }

    pub(super) fn find(&self, id: u32) -> Option<usize> {
        self.ids.iter().position(|known| *known == id)
    }

    /// A seat for the stream `id`.
    pub(super) fn sit_down(&mut self, id: u32, length: Option<u64>, ends: bool) -> usize {
        let seat = self.free.pop().unwrap_or_else(|| {
            self.ids.push(0);
            self.streams.push(Stream::default());
            self.streams.len() - 1
        });
        self.ids[seat] = id;
        let body = std::mem::take(&mut self.streams[seat].body);
        self.streams[seat] = Stream {
            send_window: self.first_window,
            receive_window: i64::from(WINDOW),
            body,
            length,
            receives: !ends,
            sends: true,
            live: true,
            ..Stream::default()
        };
        self.live += 1;
        seat
    }

    /// Whoever served the stream lets go: what is open of it is ended, so that neither side takes a part for the whole.
    pub fn release(&mut self, seat: usize) {
        let stream = &mut self.streams[seat];
        let unread = stream.body.len() - stream.taken;
        if !stream.gone && (stream.sends || stream.receives) {
            // RFC 9113 §8.1: the answer stands, and the rest of the request is not needed.
            let code = if stream.sends { Code::CANCEL } else { Code::NO_ERROR };
            self.reset(seat, code);
        }
        self.leave_line(seat);
        self.ids[seat] = 0;
        let body = &mut self.streams[seat].body;
        body.clear();
        body.shrink_to(FRAME_MAX);
        self.free.push(seat);
        self.credit(unread);
    }

    /// Ends a stream with this code.
    pub fn reset(&mut self, seat: usize, code: Code) {
        let id = self.ids[seat];
        if self.streams[seat].gone || self.parting == Parting::Over {
            return;
        }
        write_numbers(&mut self.out, RST_STREAM, id, &[code.0]);
        if self.streams[seat].receives {
            self.remember(id);
        }
        self.streams[seat].gone = true;
        self.settle(seat);
    }

    /// What the client still sends on this stream is no fault of its own.
    pub(super) fn remember(&mut self, id: u32) {
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(id);
    }

    /// Ends a stream for an error of the client's.
    pub(super) fn fail(&mut self, seat: usize, code: Code) -> Result<(), Fault> {
        if !self.streams[seat].gone {
            self.reset(seat, code);
            self.touch(seat);
        }
        self.count_error()
    }

    pub(super) fn count_error(&mut self) -> Result<(), Fault> {
        self.errors += 1;
        if self.errors > ERRORS_MAX {
            return Err(Breach("streams that had to be reset").into());
        }
        Ok(())
    }

    /// A stream that has ended does not count any more.
    pub(super) fn settle(&mut self, seat: usize) {
        let stream = &mut self.streams[seat];
        if stream.live && (stream.gone || !stream.receives && !stream.sends) {
            stream.live = false;
            self.live -= 1;
        }
    }

    /// Tells the client that the connection is about to end, and takes what it has sent before it hears that.
    pub fn part(&mut self) {
        if self.parting == Parting::No {
            self.parting = Parting::Told;
            write_numbers(&mut self.out, GOAWAY, 0, &[ID_MAX, Code::NO_ERROR.0]);
            write_frame_head(&mut self.out, PARTING_PING.len(), (PING, 0), 0);
            self.out.extend_from_slice(&PARTING_PING);
        }
    }

    /// The client has heard that.
    pub(super) fn part_for_good(&mut self) {
        if self.parting == Parting::Told {
            self.parting = Parting::Last;
            write_numbers(&mut self.out, GOAWAY, 0, &[self.last, Code::NO_ERROR.0]);
        }
    }

    /// Ends the connection with this code: nothing more is heard.
    pub fn end_with(&mut self, code: Code) {
        if self.parting != Parting::Over {
            write_numbers(&mut self.out, GOAWAY, 0, &[self.last, code.0]);
        }
        self.end();
    }

    /// The connection has ended, or is of no use: all streams are gone.
    pub fn end(&mut self) {
        self.parting = Parting::Over;
        for seat in 0..self.streams.len() {
            self.touch(seat);
        }
    }

    /// Whether the client's settings have come, with which it begins.
    pub fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// Whether there is nothing more to say but what is [pending](Self::pending).
    pub fn is_over(&self) -> bool {
        self.parting == Parting::Over || self.parting == Parting::Last && self.open() == 0
    }
}

/// What a frame was.
pub(super) enum Step {
    /// Nothing that has to be told.
    Next,
    /// It is not whole.
    More,
    Told(Received),
}

pub(super) fn protocol(why: &'static str) -> Fault {
    Fault::Error(Code::PROTOCOL_ERROR, why)
}

pub(super) fn size(why: &'static str) -> Fault {
    Fault::Error(Code::FRAME_SIZE_ERROR, why)
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
