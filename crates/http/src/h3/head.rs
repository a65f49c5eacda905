//! Heads and trailers, to and from field sections.

use super::frame::{HEADERS, write_frame_head};
use super::{Code, qpack};
use crate::answer_fields;
use crate::field::classify;
use crate::h1::{HeadFault, HeadOut, ResponseHead, TRAILER_FIELDS_MAX, TRAILERS_MAX};
use crate::h2::HeadError;
use crate::head_text::{Aside, Field, HeadText, Kind, Text, TextFault, is_sound, line};

/// Why a section is no head, or no trailers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionFault {
    /// The connection ends with this.
    Connection(Code),
    /// It is malformed by the rules of HTTP/3 (RFC 9114 §4.1.2): the stream ends with MESSAGE_ERROR.
    Malformed(&'static str),
    /// It can be answered like one of HTTP/1.1.
    Head(HeadFault),
}

impl From<qpack::Fault> for SectionFault {
    fn from(fault: qpack::Fault) -> Self {
        match fault {
            qpack::Fault::Unreadable => SectionFault::Connection(Code::DECOMPRESSION_FAILED),
            qpack::Fault::TooLong => SectionFault::Head(HeadFault::TooLarge),
        }
    }
}

/// Writes the head whose section this is as HTTP/1.1 has it, up to where it says what follows it, in no more than `most`
/// bytes.
///
/// # Errors
/// See [`SectionFault`].
pub fn read_section(section: &[u8], out: &mut Vec<u8>, most: usize) -> Result<HeadText, SectionFault> {
    let (mut room, mut aside) = (Vec::new(), Aside::default());
    let mut text = Text::new(out, &mut aside, most);
    qpack::read(section, (&mut room, most), |name, value| {
        let field = Field {
            name,
            value,
            kind: Kind::of(name),
            sound: false,
        };
        text.field(field).map_err(SectionFault::from)
    })?;
    Ok(text.end()?)
}

impl From<TextFault> for SectionFault {
    fn from(fault: TextFault) -> Self {
        match fault {
            TextFault::Malformed(why) => SectionFault::Malformed(why),
            TextFault::Head(fault) => SectionFault::Head(fault),
        }
    }
}

/// The lines of a trailer section, as far as its fields may stand in one.
///
/// # Errors
/// See [`SectionFault`].
pub fn read_trailers(section: &[u8]) -> Result<Vec<u8>, SectionFault> {
    let (mut lines, mut fields) = (Vec::new(), 0);
    qpack::read(section, (&mut Vec::new(), TRAILERS_MAX), |name, value| {
        // §4.3: no pseudo-header fields here.
        if !is_sound(value) || (Kind::of(name) as usize) <= Kind::Malformed as usize {
            return Err(SectionFault::Malformed(
                "a field of a trailer section that may not stand there",
            ));
        }
        fields += 1;
        if fields > TRAILER_FIELDS_MAX || lines.len() + name.len() + value.len() > TRAILERS_MAX {
            return Err(SectionFault::Head(HeadFault::TooLarge));
        }
        // A name is text, or it would be malformed.
        let name_text = std::str::from_utf8(name).unwrap_or_default();
        if classify(name_text).may_be_trailer() {
            line(&mut lines, name, value);
        }
        Ok(())
    })?;
    Ok(lines)
}

/// Writes an answer's head: without the fields that concern a connection (RFC 9114 §4.2), and dated.
///
/// # Errors
/// A field that cannot be told.
pub fn write_response(out: &mut Vec<u8>, head: &ResponseHead<'_>, to: &HeadOut<'_>) -> Result<(), HeadError> {
    framed(out, |out| {
        qpack::write_status(out, answer_fields::status(head));
        answer_fields::each(head, to, |name, value| qpack::write_field(out, name, value))
    })
}

/// Writes the head of an answer of our own.
pub fn write_reply<'f>(out: &mut Vec<u8>, status: u16, fields: impl Iterator<Item = (&'f str, &'f [u8])>) {
    let written = framed(out, |out| {
        qpack::write_status(out, status);
        for (name, value) in fields.filter(|(_, value)| is_sound(value)) {
            qpack::write_field(out, name.as_bytes(), value);
        }
        Ok::<(), HeadError>(())
    });
    debug_assert!(written.is_ok(), "nothing in it can fail");
}

/// Writes trailer lines, which [`read_trailers`] or a chunked body's decoder has written.
pub fn write_trailers(out: &mut Vec<u8>, lines: &[u8]) {
    let written = framed(out, |out| {
        answer_fields::each_trailer(lines, |name, value| qpack::write_field(out, name, value));
        Ok::<(), HeadError>(())
    });
    debug_assert!(written.is_ok(), "nothing in it can fail");
}

/// Writes a frame of a field section. What was written of one that cannot be told is taken back.
fn framed<E>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let start = out.len();
    qpack::begin(out);
    if let Err(error) = write(out) {
        out.truncate(start);
        return Err(error);
    }
    // Its length is known now, and goes in front.
    let length = out.len() - start;
    let mut head = Vec::with_capacity(10);
    write_frame_head(&mut head, HEADERS, length as u64);
    out.splice(start..start, head);
    Ok(())
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
