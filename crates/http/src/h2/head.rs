//! What follows a head, and trailers.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::field::classify;
use crate::h1::HeadFault;

/// A head that HTTP/2 cannot carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a part of the head cannot be sent over HTTP/2")]
pub struct HeadError;

/// What follows a request's head on its stream.
#[derive(Clone, Copy, Debug)]
pub enum Follows<'f> {
    /// Nothing.
    Nothing,
    /// A body.
    Body,
    /// A WebSocket, if it is granted (RFC 8441): asked for with this key, which HTTP/2 has none of.
    WebSocket(&'f [u8; 24]),
}

impl Follows<'_> {
    /// Writes how it is told, and the end of the head, which `has_length` or not.
    ///
    /// # Errors
    /// It says what cannot be.
    pub(crate) fn finish(self, out: &mut Vec<u8>, has_length: bool) -> Result<(), HeadFault> {
        match self {
            Follows::Body if !has_length => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Follows::Body | Follows::Nothing => {}
            Follows::WebSocket(_) if has_length => {
                return Err(HeadFault::Malformed("a WebSocket has no Content-Length"));
            }
            Follows::WebSocket(key) => {
                out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ");
                out.extend_from_slice(key);
                out.extend_from_slice(b"\r\n");
            }
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

pub(super) fn line(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The lines of a trailer section, as far as its fields may stand in one.
pub(super) fn trailer_lines(trailers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in trailers {
        if classify(name.as_str()).may_be_trailer() {
            line(&mut lines, name, value);
        }
    }
    lines
}

/// The fields of trailer lines, which `trailer_lines` or a chunked body's decoder has written.
pub fn trailers(lines: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            fields.append(name, value);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_come_back_as_they_were_but_for_what_may_not_stand_there() {
        let mut fields = HeaderMap::new();
        fields.append("grpc-status", HeaderValue::from_static("0"));
        fields.append("host", HeaderValue::from_static("evil"));
        let lines = trailer_lines(&fields);
        assert_eq!(lines, b"grpc-status: 0\r\n");
        fields.remove("host");
        assert_eq!(trailers(&lines), fields);
    }
}
