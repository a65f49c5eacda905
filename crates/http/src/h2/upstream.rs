//! Towards backends: the head that was written for one becomes a request of HTTP/2, and what it answers becomes the text
//! of HTTP/1.1, to be read by the same strict parser as any other answer.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{Method, Request, Uri, response};

use super::HeadError;
use super::head::{line, trailer_lines};
use crate::h1::{TRAILER_FIELDS_MAX, TRAILERS_MAX, offset, phrase};
use crate::websocket::accept;

/// A request, and what it asks for besides.
#[derive(Debug)]
pub struct Asking {
    /// The request.
    pub request: Request<()>,
    /// When it asks for a WebSocket, what its key is accepted with. It has to go with the protocol's name then (RFC 8441).
    pub websocket: Option<[u8; 28]>,
}

/// The request whose head, as HTTP/1.1 has it, is `head`, on a connection that is `secure` or not. How its body is framed and what concerns its connection is
/// left out: HTTP/2 has words of its own for them (RFC 9113 §8.2.2), or none.
///
/// # Errors
/// A target or field that HTTP/2 cannot carry.
pub fn request(head: &[u8], secure: bool) -> Result<Asking, HeadError> {
    // The values share one copy of the head.
    let shared = Bytes::copy_from_slice(head);
    let part = |part: &[u8]| {
        let at = offset(head, part);
        shared.slice(at..at + part.len())
    };
    let mut lines = Lines(head);
    let mut first = lines.next().ok_or(HeadError)?.split(|byte| *byte == b' ');
    let (method, target) = (first.next().ok_or(HeadError)?, first.next().ok_or(HeadError)?);
    let mut uri = Parts::default();
    uri.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    uri.path_and_query = Some(PathAndQuery::from_maybe_shared(part(target)).map_err(|_| HeadError)?);
    let mut fields = HeaderMap::with_capacity(memchr::memchr_iter(b'\n', head).count());
    let (mut upgrades, mut key) = (false, None);
    for line in lines {
        let colon = memchr::memchr(b':', line).ok_or(HeadError)?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| HeadError)?;
        let value = part(line[colon + 1..].trim_ascii());
        match name {
            HOST => uri.authority = Some(Authority::from_maybe_shared(value).map_err(|_| HeadError)?),
            CONNECTION | TRANSFER_ENCODING => {}
            UPGRADE => upgrades |= value.eq_ignore_ascii_case(b"websocket"),
            // HTTP/2 has no use for it, and it means nothing but with an upgrade.
            SEC_WEBSOCKET_KEY => key = Some(value),
            name => {
                fields.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| HeadError)?);
            }
        }
    }
    let websocket = key.filter(|_| upgrades).map(|key| accept(&key));
    let mut request = Request::new(());
    *request.method_mut() = match websocket {
        Some(_) => Method::CONNECT,
        None => Method::from_bytes(method).map_err(|_| HeadError)?,
    };
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| HeadError)?;
    *request.headers_mut() = fields;
    Ok(Asking { request, websocket })
}

/// The lines of a head without their ends, up to the empty one.
struct Lines<'b>(&'b [u8]);

impl<'b> Iterator for Lines<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let end = memchr::memchr(b'\n', self.0)?;
        let line = self.0[..end].strip_suffix(b"\r")?;
        self.0 = &self.0[end + 1..];
        (!line.is_empty()).then_some(line)
    }
}

/// Writes the head of a backend's answer as HTTP/1.1 has it. Its body is framed by its length if it has one, and by its
/// end if not. The frames' own rules (RFC 9113 §8.2 and §8.3) were checked before.
pub fn write_response(out: &mut Vec<u8>, parts: &response::Parts) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(parts.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(phrase(parts.status.as_u16()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in &parts.headers {
        line(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of an answer that grants a WebSocket, as HTTP/1.1 has it.
pub fn write_switch(out: &mut Vec<u8>, parts: &response::Parts, accept: &[u8; 28]) {
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n");
    out.extend_from_slice(b"sec-websocket-accept: ");
    out.extend_from_slice(accept);
    out.extend_from_slice(b"\r\n");
    for (name, value) in &parts.headers {
        if *name != CONTENT_LENGTH && *name != SEC_WEBSOCKET_ACCEPT {
            line(out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The lines of a backend's trailer section, as far as its fields may stand in one, within the bounds that hold for any
/// other.
///
/// # Errors
/// It is too long, or has too many fields.
pub fn backend_trailers(trailers: &HeaderMap) -> Result<Vec<u8>, HeadError> {
    let lines = trailer_lines(trailers);
    if lines.len() > TRAILERS_MAX || trailers.len() > TRAILER_FIELDS_MAX {
        return Err(HeadError);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;
    use crate::h1::{FieldRoom, Framing, Method as Asked, parse_response};

    #[test]
    fn a_head_becomes_a_request() {
        let head =
            b"POST /a?b=c HTTP/1.1\r\nX-One:1\r\nx-two:  2 \r\nhost: shop.example:81\r\ntransfer-encoding: chunked\r\n\
                     connection: te\r\nte: trailers\r\nx-one: 3\r\n\r\n";
        let Asking { request, websocket } = request(head, false).unwrap();
        assert_eq!(websocket, None);
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "http://shop.example:81/a?b=c");
        let fields: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        assert_eq!(
            fields,
            [
                ("x-one", &b"1"[..]),
                ("x-one", b"3"),
                ("x-two", b"2"),
                ("te", b"trailers")
            ]
        );
        let all = super::request(b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", true).unwrap();
        assert_eq!(all.request.uri().path(), "*");
        let upgrade =
            b"GET /chat HTTP/1.1\r\nhost: a\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nconnection: upgrade\r\n\
                        upgrade: websocket\r\n\r\n";
        let asking = super::request(upgrade, false).unwrap();
        assert_eq!(asking.request.method(), Method::CONNECT);
        assert_eq!(asking.request.headers().len(), 0);
        let accepted = asking.websocket.unwrap();
        assert_eq!(&accepted, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let (parts, ()) = Response::builder()
            .header("sec-websocket-protocol", "chat")
            .body(())
            .unwrap()
            .into_parts();
        let mut out = Vec::new();
        write_switch(&mut out, &parts, &accepted);
        let mut room = FieldRoom::new();
        let head = parse_response(&out, &mut room, Asked::Other).unwrap();
        assert_eq!((head.status, head.framing), (101, Framing::None));
        assert_eq!(head.first("sec-websocket-protocol"), Some(&b"chat"[..]));
    }

    #[test]
    fn what_http_2_cannot_carry_is_refused() {
        for head in [
            &b"GET /<> HTTP/1.1\r\nhost: a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"",
        ] {
            assert!(request(head, false).is_err(), "{}", head.escape_ascii());
        }
    }

    #[test]
    fn an_answer_is_written_as_http_1_1_has_it_and_read_as_strictly() {
        let text = |response: http::response::Builder| {
            let mut out = Vec::new();
            write_response(&mut out, &response.body(()).unwrap().into_parts().0);
            out
        };
        let framing = |text: &[u8]| {
            let mut room = FieldRoom::new();
            parse_response(text, &mut room, Asked::Other).map(|head| head.framing)
        };
        let plain = text(Response::builder().status(200).header("x-one", "1"));
        assert_eq!(plain, b"HTTP/1.1 200 OK\r\nx-one: 1\r\n\r\n");
        assert_eq!(framing(&plain), Ok(Framing::UntilClose));
        let long = text(Response::builder().header("content-length", "3"));
        assert_eq!(framing(&long), Ok(Framing::Length(3)));
        let twice = text(
            Response::builder()
                .header("content-length", "3")
                .header("content-length", "3"),
        );
        assert!(framing(&twice).is_err());
    }

    #[test]
    fn trailers_are_bounded() {
        let mut fields = HeaderMap::new();
        fields.append("grpc-status", HeaderValue::from_static("0"));
        assert_eq!(backend_trailers(&fields).unwrap(), b"grpc-status: 0\r\n");
        let long = HeaderValue::from_str(&"x".repeat(TRAILERS_MAX)).unwrap();
        fields.append("x-long", long);
        assert!(backend_trailers(&fields).is_err());
    }
}
