//! Heads and trailers. A request becomes the text of HTTP/1.1 and is then read by the same strict parser as any other,
//! so that nothing malformed gets past by its version.

use bytes::Bytes;
use http::header::{
    self, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use crate::field::{Class, classify};
use crate::h1::{HeadFault, HeadOut, ResponseHead, offset};

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

/// Writes a request's head as HTTP/1.1 has it. The frames' own rules (pseudo-headers
/// in order, no connection fields, no upper case; RFC 9113 §8.2 and §8.3) were checked before.
///
/// # Errors
/// What names no path, or names two different hosts.
pub fn write_head(out: &mut Vec<u8>, parts: &Parts, follows: Follows<'_>) -> Result<(), HeadFault> {
    let method = match (follows, &parts.method) {
        (Follows::WebSocket(_), &Method::CONNECT) => "GET",
        (Follows::WebSocket(_), _) | (_, &Method::CONNECT) => {
            return Err(HeadFault::Malformed(
                "a CONNECT that is for no WebSocket, or the other way round",
            ));
        }
        (_, method) => method.as_str(),
    };
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    if target.is_empty() {
        return Err(HeadFault::Malformed("the request names no path"));
    }
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    // One pass: looking a field up costs more than meeting it.
    let (mut host, mut cookies, mut has_length) = (None, 0, false);
    for (name, value) in &parts.headers {
        match *name {
            HOST if host.replace(value.as_bytes()).is_some() => {
                return Err(HeadFault::Malformed("there has to be one Host field"));
            }
            HOST => {}
            COOKIE => cookies += 1,
            SEC_WEBSOCKET_KEY if matches!(follows, Follows::WebSocket(_)) => {}
            _ => {
                has_length |= *name == CONTENT_LENGTH;
                line(out, name, value);
            }
        }
    }
    if cookies > 0 {
        write_cookies(out, parts);
    }
    write_host(out, parts, host)?;
    follows.finish(out, has_length)
}

/// RFC 9113 §8.2.3: cookies may come one by one, and are one field again for whoever reads HTTP/1.1.
fn write_cookies(out: &mut Vec<u8>, parts: &Parts) {
    for (at, cookie) in parts.headers.get_all(COOKIE).iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"cookie: " } else { b"; " });
        out.extend_from_slice(cookie.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 9113 §8.3.1: `:authority` takes the place of `Host`, and must not differ from it.
fn write_host(out: &mut Vec<u8>, parts: &Parts, host: Option<&[u8]>) -> Result<(), HeadFault> {
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    if let (Some(authority), Some(host)) = (authority, host)
        && !authority.eq_ignore_ascii_case(host)
    {
        return Err(HeadFault::Malformed("the :authority and the Host field differ"));
    }
    if let Some(name) = authority.or(host) {
        out.extend_from_slice(b"host: ");
        out.extend_from_slice(name);
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

pub(super) fn line(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// An answer's head as HTTP/2 has it: without the fields that concern a connection (RFC 9113 §8.2.2), and dated. Its
/// values share `shared`, a copy of the head's bytes.
///
/// # Errors
/// A field or status that cannot be told.
pub fn response(head: &ResponseHead<'_>, to: &HeadOut<'_>, shared: &Bytes) -> Result<Response<()>, HeadError> {
    let mut response = Response::new(());
    // RFC 8441 §5: what HTTP/1.1 says with 101 and an accepted key, HTTP/2 says with 200.
    let switched = head.status == 101;
    let status = if switched { 200 } else { head.status };
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| HeadError)?;
    let fields = response.headers_mut();
    fields.reserve(head.fields.len() + 1);
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
        let name = name_of(field.name)?;
        if switched && name == SEC_WEBSOCKET_ACCEPT {
            continue;
        }
        let at = offset(head.bytes, field.value);
        let value = HeaderValue::from_maybe_shared(shared.slice(at..at + field.value.len()));
        fields.append(name, value.map_err(|_| HeadError)?);
    }
    if !dated {
        let date = HeaderValue::from_bytes(to.date).map_err(|_| HeadError)?;
        fields.append(header::DATE, date);
    }
    if let Some(alt_svc) = to.alt_svc_beside(head) {
        let alt_svc = HeaderValue::from_bytes(alt_svc).map_err(|_| HeadError)?;
        fields.append(header::ALT_SVC, alt_svc);
    }
    if let Some((edits, chosen)) = to.edits {
        for (name, value) in edits.added() {
            let mut whole = Vec::with_capacity(value.len());
            chosen.write(&mut whole, value);
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeadError)?;
            fields.append(name, HeaderValue::from_bytes(&whole).map_err(|_| HeadError)?);
        }
    }
    Ok(response)
}

/// The name of a field. Most answers have these and few others, and looking all known names through costs twice as much.
fn name_of(name: &str) -> Result<HeaderName, HeadError> {
    let bytes = name.as_bytes();
    let first = bytes.first().ok_or(HeadError)? | 0x20;
    let likely = match (bytes.len(), first) {
        (4, b'd') => header::DATE,
        (4, b'e') => header::ETAG,
        (4, b'v') => header::VARY,
        (6, b's') => header::SERVER,
        (7, b'e') => header::EXPIRES,
        (10, b's') => header::SET_COOKIE,
        (12, b'c') => header::CONTENT_TYPE,
        (13, b'c') => header::CACHE_CONTROL,
        (13, b'l') => header::LAST_MODIFIED,
        (14, b'c') => header::CONTENT_LENGTH,
        (16, b'c') => header::CONTENT_ENCODING,
        _ => return HeaderName::from_bytes(bytes).map_err(|_| HeadError),
    };
    if likely.as_str().eq_ignore_ascii_case(name) {
        return Ok(likely);
    }
    HeaderName::from_bytes(bytes).map_err(|_| HeadError)
}

/// The lines of a trailer section, as far as its fields may stand in one.
pub fn trailer_lines(trailers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in trailers {
        if classify(name.as_str()).may_be_trailer() {
            line(&mut lines, name, value);
        }
    }
    lines
}

/// The fields of trailer lines, which [`trailer_lines`] or a chunked body's decoder has written.
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
    use http::Request;

    use super::*;
    use crate::h1::{FieldRoom, Framing, Method as Asked, parse_request, parse_response};

    const TO: HeadOut<'static> = HeadOut {
        client_minor: 1,
        keep_alive: true,
        date: b"today",
        edits: None,
        alt_svc: None,
    };

    fn text(request: http::request::Builder, ended: bool) -> Result<String, HeadFault> {
        let mut out = Vec::new();
        let (parts, ()) = request.body(()).unwrap().into_parts();
        write_head(&mut out, &parts, if ended { Follows::Nothing } else { Follows::Body })?;
        parse_request(&out, &mut FieldRoom::new(), 64)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_request_is_written_as_http_1_1_has_it() {
        let request = Request::get("http://shop.example/a?b=c")
            .header("cookie", "a=1")
            .header("x-one", "1")
            .header("cookie", "b=2");
        assert_eq!(
            text(request, true).unwrap(),
            "GET /a?b=c HTTP/1.1\r\nx-one: 1\r\ncookie: a=1; b=2\r\nhost: shop.example\r\n\r\n"
        );
        let request = Request::post("http://a/").header("content-length", "3");
        assert!(text(request, false).unwrap().contains("content-length: 3\r\n"));
        assert!(
            text(Request::post("http://a/"), false)
                .unwrap()
                .ends_with("chunked\r\n\r\n")
        );
    }

    #[test]
    fn what_http_1_1_refuses_is_refused() {
        for request in [
            Request::get("http://a/").header("host", "b"),
            Request::get("http://a/").header("host", "a").header("host", "a"),
            Request::get("/"),
            Request::post("http://a/")
                .header("content-length", "3")
                .header("content-length", "3"),
            Request::post("http://a/").header("content-length", "+3"),
            Request::post("http://a/").header("transfer_encoding", "chunked"),
            Request::connect("a:443"),
            Request::connect("http://a/"),
        ] {
            assert!(text(request, false).is_err());
        }
    }

    #[test]
    fn a_websocket_is_asked_for_as_http_1_1_does() {
        let request = Request::connect("http://a/chat")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "theirs");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut out = Vec::new();
        write_head(&mut out, &parts, Follows::WebSocket(b"dGhlIHNhbXBsZSBub25jZQ==")).unwrap();
        let mut room = FieldRoom::new();
        let head = parse_request(&out, &mut room, 64).unwrap();
        assert!(head.upgrade_websocket && head.framing == Framing::None && head.method == "GET");
        assert_eq!(head.first("sec-websocket-key"), Some(&b"dGhlIHNhbXBsZSBub25jZQ=="[..]));
        let granted = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                        sec-websocket-accept: x\r\nsec-websocket-protocol: chat\r\n\r\n";
        let mut room = FieldRoom::new();
        let head = parse_response(granted, &mut room, Asked::Other).unwrap();
        let answer = response(&head, &TO, &Bytes::from_static(granted)).unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers().len(), 1);
    }

    #[test]
    fn an_answer_loses_what_concerns_a_connection_and_is_dated() {
        let bytes = b"HTTP/1.1 200 OK\r\nConnection: close, x-gone\r\nX-Gone: 1\r\nKeep-Alive: timeout=5\r\n\
                      Transfer-Encoding: chunked\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
        let mut room = FieldRoom::new();
        let head = parse_response(bytes, &mut room, Asked::Other).unwrap();
        assert_eq!(head.framing, Framing::Chunked);
        let response = response(&head, &TO, &Bytes::from_static(bytes)).unwrap();
        let names: Vec<_> = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        assert_eq!(
            names,
            [("set-cookie", &b"a"[..]), ("set-cookie", b"b"), ("date", b"today")]
        );
    }

    #[test]
    fn names_are_what_they_would_be_without_the_likely_ones() {
        for name in [
            "Date",
            "ETag",
            "vary",
            "Server",
            "EXPIRES",
            "Set-Cookie",
            "content-type",
            "Cache-Control",
            "Last-Modified",
            "Content-Length",
            "content-encoding",
            "data",
            "even",
            "secret",
            "x",
            "Content-Lengthy",
            "content_length",
        ] {
            assert_eq!(
                name_of(name).unwrap(),
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                "{name}"
            );
        }
        assert!(name_of("").is_err() && name_of("a b").is_err());
    }

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
