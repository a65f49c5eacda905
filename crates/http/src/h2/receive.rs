//! What comes: heads, bodies, and what a client says of its connection.

use super::connection::{
    CONNECTION_WINDOW, Connection, Fault, Opened, PARTING_PING, Parting, Received, STREAMS_MAX, Step, UnderWay, WINDOW,
    WINDOW_MAX, protocol, size,
};
use super::frame::{
    ACK, Code, END_HEADERS, END_STREAM, FRAME_MAX, FrameHead, HEADER, PADDED, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, WITH_PRIORITY, write_frame_head, write_numbers,
};
use super::guard::Breach;
use super::hpack::TABLE_MAX;
use crate::field::classify;
use crate::h1::{TRAILER_FIELDS_MAX, TRAILERS_MAX};
use crate::head_text::{Field, Kind, Text, TextFault, is_sound, line};

/// A frame with less data than this is a small one, and so many there may be of a body that nobody has taken yet. A call of
/// gRPC whose messages are a few bytes long fills its window with less.
const CRUMB: usize = 256;
const CRUMBS_MAX: u32 = 32 << 10;

/// A head of more fields than this is no mistake: of a byte each, from the table, they are megabytes (CVE-2016-6581).
const FIELDS_MAX: usize = 4 << 10;

const UNREADABLE: Fault = Fault::Error(Code::COMPRESSION_ERROR, "a field section cannot be read");
const CLOSED: Fault = Fault::Error(Code::STREAM_CLOSED, "a frame on a stream that has ended");

impl Connection {
    /// A head, or the beginning of one (RFC 9113 §6.2).
    pub(super) fn headers(&mut self, frame: FrameHead, payload: &[u8], text: &mut Vec<u8>) -> Result<Step, Fault> {
        if frame.id.is_multiple_of(2) {
            return Err(protocol("a stream that a client cannot open"));
        }
        let mut fragment = unpadded(frame, payload)?;
        if frame.has(WITH_PRIORITY) {
            // Of no meaning any more (RFC 9113 §5.3.2).
            fragment = fragment.get(5..).ok_or(size("a priority is cut off"))?;
        }
        let ends = frame.has(END_STREAM);
        if frame.has(END_HEADERS) {
            return self.whole_section(frame.id, ends, fragment, text);
        }
        self.head = Some((frame.id, ends));
        self.section.clear();
        self.section.extend_from_slice(fragment);
        Ok(Step::Next)
    }

    /// More of a head. How many there may be is counted.
    pub(super) fn continuation(&mut self, frame: FrameHead, payload: &[u8], text: &mut Vec<u8>) -> Result<Step, Fault> {
        let Some((id, ends)) = self.head else {
            return Err(protocol("a CONTINUATION of nothing"));
        };
        self.section.extend_from_slice(payload);
        if !frame.has(END_HEADERS) {
            return Ok(Step::Next);
        }
        self.head = None;
        let mut section = std::mem::take(&mut self.section);
        let step = self.whole_section(id, ends, &section, text);
        section.clear();
        self.section = section;
        step
    }

    fn whole_section(&mut self, id: u32, ends: bool, section: &[u8], text: &mut Vec<u8>) -> Result<Step, Fault> {
        if let Some(seat) = self.find(id) {
            return self.trailers_of(seat, ends, section).map(|()| Step::Next);
        }
        if id > self.last && self.parting != Parting::Last {
            self.last = id;
            return self.request(id, ends, section, text).map(Step::Told);
        }
        // The table has to stay that of the client's.
        self.decoder.read(section, |_| {}).map_err(|_| UNREADABLE)?;
        if id > self.last || self.ended.contains(&id) {
            return Ok(Step::Next);
        }
        Err(CLOSED)
    }

    fn request(&mut self, id: u32, ends: bool, section: &[u8], text: &mut Vec<u8>) -> Result<Received, Fault> {
        text.clear();
        let mut writer = Text::new(text, &mut self.aside, self.head_bytes);
        let (mut fault, mut fields) = (None, 0);
        self.decoder
            .read(section, |field| {
                fields += 1;
                if fault.is_none() {
                    fault = writer.field(field).err();
                }
            })
            .map_err(|_| UNREADABLE)?;
        if fields > FIELDS_MAX {
            return Err(Breach("fields in one head").into());
        }
        let head = fault.map_or_else(|| writer.end(), Err);
        if self.live >= STREAMS_MAX || !self.has_seat() {
            self.turn_away(id, ends, Code::REFUSED_STREAM);
            return Ok(Received::Refused);
        }
        let (head, length) = match head {
            Ok(head) => (Ok(head), head.length),
            Err(TextFault::Head(fault)) => (Err(fault), None),
            Err(TextFault::Malformed(why)) => return self.malformed(id, ends, why),
        };
        if ends && length.is_some_and(|length| length > 0) {
            return self.malformed(id, ends, "the body is shorter than it is said to be");
        }
        let seat = self.sit_down(id, length, ends);
        Ok(Received::Request(Opened {
            seat,
            head,
            is_ended: ends,
        }))
    }

    fn malformed(&mut self, id: u32, ends: bool, why: &'static str) -> Result<Received, Fault> {
        self.turn_away(id, ends, Code::PROTOCOL_ERROR);
        self.count_error()?;
        Ok(Received::Malformed(why))
    }

    fn turn_away(&mut self, id: u32, ends: bool, code: Code) {
        write_numbers(&mut self.out, RST_STREAM, id, &[code.0]);
        if !ends {
            self.remember(id);
        }
    }

    /// Trailers (RFC 9113 §8.1): they end their stream, and have no pseudo-header fields.
    fn trailers_of(&mut self, seat: usize, ends: bool, section: &[u8]) -> Result<(), Fault> {
        let (mut lines, mut fields, mut fine) = (Vec::new(), 0, true);
        self.decoder
            .read(section, |Field { name, value, kind, .. }| {
                fields += 1;
                fine &= kind as usize > Kind::Malformed as usize
                    && is_sound(value)
                    && fields <= TRAILER_FIELDS_MAX
                    && lines.len() + name.len() + value.len() <= TRAILERS_MAX;
                // A name is text, or it would be malformed.
                if fine && classify(std::str::from_utf8(name).unwrap_or_default()).may_be_trailer() {
                    line(&mut lines, name, value);
                }
            })
            .map_err(|_| UNREADABLE)?;
        let stream = &mut self.streams[seat];
        if stream.gone {
            return Ok(());
        }
        if !stream.receives {
            return self.fail(seat, Code::STREAM_CLOSED);
        }
        if !ends || !fine {
            return self.fail(seat, Code::PROTOCOL_ERROR);
        }
        stream.trailers = lines;
        self.body_ends(seat)
    }

    /// The client has said all on this stream.
    fn body_ends(&mut self, seat: usize) -> Result<(), Fault> {
        let stream = &mut self.streams[seat];
        if stream.length.is_some_and(|left| left > 0) {
            return self.fail(seat, Code::PROTOCOL_ERROR);
        }
        stream.receives = false;
        self.settle(seat);
        self.touch(seat);
        Ok(())
    }

    /// The beginning of a frame of data (RFC 9113 §6.1); `None` when it is not there yet.
    pub(super) fn data(&mut self, frame: FrameHead, behind: &[u8]) -> Result<Option<(usize, Step)>, Fault> {
        let (mut used, mut padding) = (HEADER, 0);
        if frame.has(PADDED) {
            if frame.length == 0 {
                return Err(size("there is no room for the padding"));
            }
            let Some(length) = behind.first() else { return Ok(None) };
            padding = usize::from(*length);
            used += 1;
        }
        let told = used - HEADER;
        if frame.id == 0 || frame.id > self.last && self.parting != Parting::Last {
            return Err(protocol("data of no stream"));
        }
        let left = frame
            .length
            .checked_sub(told + padding)
            .ok_or(protocol("more padding than there is frame"))?;
        // What is padding alone carries nothing.
        self.count(FrameHead { length: left, ..frame }, None)?;
        self.receive_window -= frame.length as i64;
        if self.receive_window < 0 {
            return Err(Fault::Error(
                Code::FLOW_CONTROL_ERROR,
                "data beyond the connection's window",
            ));
        }
        let ends = frame.has(END_STREAM);
        let mut id = frame.id;
        match self.find(id) {
            Some(seat) if !self.streams[seat].gone => {
                let stream = &mut self.streams[seat];
                if !stream.receives {
                    self.fail(seat, Code::STREAM_CLOSED)?;
                    id = 0;
                } else {
                    stream.receive_window -= frame.length as i64;
                    if stream.receive_window < 0 {
                        return Err(Fault::Error(Code::FLOW_CONTROL_ERROR, "data beyond a stream's window"));
                    }
                    stream.owed += (told + padding) as u32;
                    if (1..CRUMB).contains(&left) {
                        stream.crumbs += 1;
                        if stream.crumbs > CRUMBS_MAX {
                            return Err(Breach("small DATA frames that nobody takes").into());
                        }
                    }
                    if let Some(length) = &mut stream.length {
                        match length.checked_sub(left as u64) {
                            Some(rest) => *length = rest,
                            None => self.fail(seat, Code::PROTOCOL_ERROR)?,
                        }
                    }
                    if left == 0 && padding == 0 && ends && !self.streams[seat].gone {
                        self.body_ends(seat)?;
                    }
                }
            }
            None if frame.id <= self.last && !self.ended.contains(&frame.id) => return Err(CLOSED),
            _ => id = 0,
        }
        self.data = UnderWay {
            id,
            left,
            padding,
            ends,
        };
        self.credit(told + padding);
        Ok(Some((used, Step::Next)))
    }

    /// A part of a frame of data.
    pub(super) fn data_part(&mut self, bytes: &[u8]) -> Result<(usize, Step), Fault> {
        if bytes.is_empty() {
            return Ok((0, Step::More));
        }
        let count = bytes.len().min(self.data.left);
        let padding = (bytes.len() - count).min(self.data.padding);
        self.data.left -= count;
        self.data.padding -= padding;
        let whole = self.data.left == 0 && self.data.padding == 0;
        let seat = (self.data.id != 0).then(|| self.find(self.data.id)).flatten();
        match seat {
            Some(seat) if !self.streams[seat].gone => {
                let stream = &mut self.streams[seat];
                if count > 0 {
                    if stream.taken > 0 && stream.taken * 2 >= stream.body.len() {
                        stream.body.drain(..stream.taken);
                        stream.taken = 0;
                    }
                    stream.body.extend_from_slice(&bytes[..count]);
                    self.touch(seat);
                }
                if whole && self.data.ends {
                    self.body_ends(seat)?;
                }
            }
            _ => self.credit(count),
        }
        Ok((count + padding, Step::Next))
    }

    /// So many bytes on the connection are of no concern to anybody any more: the client may send as many again.
    pub(super) fn credit(&mut self, count: usize) {
        self.owed += count as u32;
        if self.owed >= CONNECTION_WINDOW / 2 && self.parting != Parting::Over {
            write_numbers(&mut self.out, WINDOW_UPDATE, 0, &[self.owed]);
            self.receive_window += i64::from(std::mem::take(&mut self.owed));
        }
    }

    /// What has come of a stream's body and was not taken.
    pub fn body(&self, seat: usize) -> &[u8] {
        let stream = &self.streams[seat];
        &stream.body[stream.taken..]
    }

    /// So much of it was taken. Only that makes room in the client's windows: a slow backend slows the client down.
    pub fn took(&mut self, seat: usize, count: usize) {
        let id = self.ids[seat];
        let stream = &mut self.streams[seat];
        stream.taken += count;
        if stream.taken == stream.body.len() {
            stream.body.clear();
            (stream.taken, stream.crumbs) = (0, 0);
        }
        stream.owed += count as u32;
        if stream.owed >= WINDOW / 2 && stream.receives && !stream.gone && self.parting != Parting::Over {
            let owed = std::mem::take(&mut stream.owed);
            stream.receive_window += i64::from(owed);
            write_numbers(&mut self.out, WINDOW_UPDATE, id, &[owed]);
        }
        self.credit(count);
    }

    /// Whether the client has said all on a stream.
    pub fn has_ended(&self, seat: usize) -> bool {
        !self.streams[seat].receives
    }

    /// The lines of a stream's trailers.
    pub fn trailers(&self, seat: usize) -> &[u8] {
        &self.streams[seat].trailers
    }

    /// Whether a stream was reset, by whomever, or its connection has ended.
    pub fn is_gone(&self, seat: usize) -> bool {
        self.streams[seat].gone || self.parting == Parting::Over
    }

    pub(super) fn priority(&mut self, frame: FrameHead) -> Result<(), Fault> {
        if frame.id == 0 {
            return Err(protocol("a priority of the connection"));
        }
        if frame.length != 5 {
            // An error of the stream's alone (RFC 9113 §6.3), which need not be.
            return match self.find(frame.id) {
                Some(seat) => self.fail(seat, Code::FRAME_SIZE_ERROR),
                None => Err(size("a priority of another length")),
            };
        }
        Ok(())
    }

    pub(super) fn reset_by_client(&mut self, frame: FrameHead) -> Result<(), Fault> {
        if frame.length != 4 {
            return Err(size("a reset of another length"));
        }
        if frame.id == 0 || frame.id > self.last && self.parting != Parting::Last {
            return Err(protocol("a reset of no stream"));
        }
        if let Some(seat) = self.find(frame.id) {
            self.streams[seat].gone = true;
            self.settle(seat);
            self.touch(seat);
        }
        Ok(())
    }

    pub(super) fn settings(&mut self, frame: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if frame.id != 0 {
            return Err(protocol("settings of a stream"));
        }
        let is_answer = frame.has(ACK);
        if !payload.len().is_multiple_of(6) || is_answer && !payload.is_empty() {
            return Err(size("settings of another length"));
        }
        if is_answer {
            return Ok(());
        }
        for setting in payload.chunks_exact(6) {
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match u16::from_be_bytes([setting[0], setting[1]]) {
                1 => self.table_shrinks |= (value as usize) < TABLE_MAX,
                2 if value > 1 => return Err(protocol("a push that is neither on nor off")),
                4 => self.change_window(i64::from(value))?,
                5 if !(FRAME_MAX as u32..1 << 24).contains(&value) => {
                    return Err(protocol("frames of a length that may not be"));
                }
                _ => {}
            }
        }
        write_frame_head(&mut self.out, 0, (SETTINGS, ACK), 0);
        Ok(())
    }

    /// RFC 9113 §6.9.2: streams that are open are changed too, and may be in debt then.
    fn change_window(&mut self, window: i64) -> Result<(), Fault> {
        const TOO_LARGE: Fault = Fault::Error(Code::FLOW_CONTROL_ERROR, "a window is too large");
        if window > WINDOW_MAX {
            return Err(TOO_LARGE);
        }
        let by = window - self.first_window;
        self.first_window = window;
        for seat in 0..self.streams.len() {
            if self.ids[seat] == 0 {
                continue;
            }
            self.streams[seat].send_window += by;
            if self.streams[seat].send_window > WINDOW_MAX {
                return Err(TOO_LARGE);
            }
            self.touch(seat);
        }
        Ok(())
    }

    pub(super) fn ping(&mut self, frame: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if frame.id != 0 {
            return Err(protocol("a ping of a stream"));
        }
        if frame.length != 8 {
            return Err(size("a ping of another length"));
        }
        if !frame.has(ACK) {
            write_frame_head(&mut self.out, payload.len(), (PING, ACK), 0);
            self.out.extend_from_slice(payload);
        } else if payload == PARTING_PING {
            self.part_for_good();
        }
        Ok(())
    }

    pub(super) fn window_update(&mut self, frame: FrameHead, by: u32) -> Result<(), Fault> {
        if frame.length != 4 {
            return Err(size("a window's update of another length"));
        }
        if frame.id == 0 {
            if by == 0 {
                return Err(protocol("a window's update by nothing"));
            }
            self.send_window += i64::from(by);
            if self.send_window > WINDOW_MAX {
                return Err(Fault::Error(
                    Code::FLOW_CONTROL_ERROR,
                    "the connection's window is too large",
                ));
            }
            self.call_next();
            return Ok(());
        }
        if frame.id > self.last && self.parting != Parting::Last {
            return Err(protocol("a window's update of no stream"));
        }
        // What was on its way to a stream that has ended means nothing.
        let Some(seat) = self.find(frame.id) else { return Ok(()) };
        if by == 0 {
            return self.fail(seat, Code::PROTOCOL_ERROR);
        }
        self.streams[seat].send_window += i64::from(by);
        if self.streams[seat].send_window > WINDOW_MAX {
            return self.fail(seat, Code::FLOW_CONTROL_ERROR);
        }
        self.touch(seat);
        Ok(())
    }
}

/// What a frame carries besides its padding.
fn unpadded(frame: FrameHead, payload: &[u8]) -> Result<&[u8], Fault> {
    if !frame.has(PADDED) {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(size("there is no room for the padding"))?;
    let length = rest.len().checked_sub(usize::from(*padding));
    length
        .map(|length| &rest[..length])
        .ok_or(protocol("more padding than there is frame"))
}
