//! The heads and trailers of answers, as sections.

use super::HeadError;
use super::hpack::{write_field, write_status};
use crate::answer_fields;
use crate::h1::{HeadOut, ResponseHead};
use crate::head_text::is_sound;

/// Writes the head of a backend's answer.
///
/// # Errors
/// A field that cannot be told.
pub fn write_answer(out: &mut Vec<u8>, head: &ResponseHead<'_>, to: &HeadOut<'_>) -> Result<(), HeadError> {
    write_status(out, answer_fields::status(head));
    answer_fields::each(head, to, |name, value| write_field(out, name, value))
}

/// Writes the head of an answer of our own.
pub fn write_own<'f>(out: &mut Vec<u8>, status: u16, fields: impl Iterator<Item = (&'f str, &'f [u8])>) {
    write_status(out, status);
    for (name, value) in fields.filter(|(_, value)| is_sound(value)) {
        write_field(out, name.as_bytes(), value);
    }
}

/// Writes trailer lines.
pub fn write_trailers(out: &mut Vec<u8>, lines: &[u8]) {
    answer_fields::each_trailer(lines, |name, value| write_field(out, name, value));
}
