//! The fields of an answer, as they are told over HTTP/2 and HTTP/3: without those that concern a connection (RFC 9113
//! §8.2.2, RFC 9114 §4.2), and dated.

use crate::field::Class;
use crate::h1::{HeadOut, ResponseHead};
use crate::h2::HeadError;
use crate::head_text::is_sound;

/// The status of an answer there. What HTTP/1.1 says with 101 and an accepted key, they say with 200 (RFC 8441 §5,
/// RFC 9220 §3).
pub(crate) fn status(head: &ResponseHead<'_>) -> u16 {
    if head.status == 101 { 200 } else { head.status }
}

/// Shows each field of an answer to `tell`.
///
/// # Errors
/// A field that cannot be told.
pub(crate) fn each(
    head: &ResponseHead<'_>,
    to: &HeadOut<'_>,
    mut tell: impl FnMut(&[u8], &[u8]),
) -> Result<(), HeadError> {
    let switched = head.status == 101;
    let may_frame = head.status >= 200 && head.status != 204;
    let mut dated = head.status < 200;
    for (field, class) in head.fields.iter().zip(&*head.classes) {
        match class {
            Class::Connection | Class::HopByHop | Class::Upgrade | Class::TransferEncoding => continue,
            Class::ContentLength if !may_frame => continue,
            Class::ContentLength => {}
            _ if to.edits.is_some_and(|(edits, _)| edits.removes(field.name)) => continue,
            Class::Date => dated = true,
            _ => {}
        }
        if switched && field.name.eq_ignore_ascii_case("sec-websocket-accept") {
            continue;
        }
        tell(field.name.as_bytes(), field.value);
    }
    if !dated {
        tell(b"date", to.date);
    }
    if let Some(alt_svc) = to.alt_svc_beside(head) {
        tell(b"alt-svc", alt_svc);
    }
    if let Some((edits, chosen)) = to.edits {
        for (name, value) in edits.added() {
            let mut whole = Vec::with_capacity(value.len());
            chosen.write(&mut whole, value);
            if !is_sound(&whole) {
                return Err(HeadError);
            }
            tell(name.as_bytes(), &whole);
        }
    }
    Ok(())
}

/// Shows each field of trailer lines to `tell`, which a chunked body's decoder or one of trailers has written.
pub(crate) fn each_trailer(lines: &[u8], mut tell: impl FnMut(&[u8], &[u8])) {
    for line in lines.split(|byte| *byte == b'\n') {
        if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            tell(&line[..colon], line[colon + 1..].trim_ascii());
        }
    }
}
