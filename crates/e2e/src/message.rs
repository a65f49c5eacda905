//! HTTP/1.1 messages as the harness reads them: strictly, because it judges what Plimsoll sends.

use std::io::{self, BufRead, Error, ErrorKind, Read};

/// No line and no body that a test makes is longer.
const LINE_MAX: u64 = 1 << 20;
const BODY_MAX: u64 = 1 << 28;

/// A first line and the fields under it, in order and in the spelling they came in.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// Request line or status line, without its line end.
    pub first_line: String,
    /// Names as they were spelt; values without the spaces around them.
    pub headers: Vec<(String, String)>,
}

/// A request as a backend got it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Request line and fields.
    pub head: Head,
    /// The body, decoded when it was chunked.
    pub body: Vec<u8>,
    /// Fields after a chunked body.
    pub trailers: Vec<(String, String)>,
}

/// A response as a client got it.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The final status.
    pub status: u16,
    /// Statuses of interim responses that came before it (100, 103).
    pub interim: Vec<u16>,
    /// Status line and fields of the final response.
    pub head: Head,
    /// The body, decoded when it was chunked.
    pub body: Vec<u8>,
    /// Fields after a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Head {
    /// The first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Every field of this name, in order.
    pub fn headers_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    fn word(&self, index: usize) -> &str {
        self.first_line.split(' ').nth(index).unwrap_or_default()
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    /// The declared length; lengths that disagree are an error.
    fn length(&self) -> io::Result<Option<u64>> {
        let mut lengths = self.headers_named("content-length");
        let Some(first) = lengths.next() else { return Ok(None) };
        if lengths.next().is_some() || self.header("transfer-encoding").is_some() {
            return Err(malformed("more than one framing"));
        }
        if first.is_empty() || !first.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed("Content-Length is not a number"));
        }
        first
            .parse()
            .map(Some)
            .map_err(|_| malformed("Content-Length is too large"))
    }
}

impl Request {
    /// The method.
    pub fn method(&self) -> &str {
        self.head.word(0)
    }

    /// The target as it stood in the request line.
    pub fn target(&self) -> &str {
        self.head.word(1)
    }

    /// The target's path, without a query.
    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// Reads one; `None` when the connection ended before its first byte. `proceed` is called when
    /// the client waits for 100 (Continue).
    pub fn read(from: &mut impl BufRead, proceed: impl FnOnce() -> io::Result<()>) -> io::Result<Option<Request>> {
        let Some(head) = read_head(from)? else { return Ok(None) };
        if head.first_line.split(' ').count() != 3 || !head.word(2).starts_with("HTTP/1.") {
            return Err(malformed(&format!("request line {:?}", head.first_line)));
        }
        if head
            .header("expect")
            .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
        {
            proceed()?;
        }
        let mut request = Request {
            head,
            body: Vec::new(),
            trailers: Vec::new(),
        };
        if request.head.header("transfer-encoding").is_some() {
            if !request.head.is_chunked() || request.head.length().is_err() {
                return Err(malformed("a request's only coding is a final chunked"));
            }
            (request.body, request.trailers) = read_chunked(from)?;
        } else if let Some(length) = request.head.length()? {
            request.body = read_exactly(from, length)?;
        }
        Ok(Some(request))
    }
}

impl Reply {
    /// The first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// Why Plimsoll answered itself: `x-plimsoll-reason`.
    pub fn reason(&self) -> Option<&str> {
        self.header("x-plimsoll-reason")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics with the body when it is none.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// Panics, with the whole reply, unless status and reason are these.
    #[track_caller]
    pub fn assert_reason(&self, status: u16, reason: &str) {
        assert!(
            self.status == status && self.reason() == Some(reason),
            "expected {status} {reason}, got {self:#?}"
        );
    }

    /// Reads one, interim responses included, as the answer to a request with this method.
    pub fn read(from: &mut impl BufRead, method: &str) -> io::Result<Reply> {
        let mut interim = Vec::new();
        let (status, head) = loop {
            let head = read_head(from)?.ok_or_else(|| Error::new(ErrorKind::UnexpectedEof, "closed before a reply"))?;
            let status = status_of(&head)?;
            if !(100..200).contains(&status) || status == 101 {
                break (status, head);
            }
            interim.push(status);
        };
        let mut reply = Reply {
            status,
            interim,
            head,
            body: Vec::new(),
            trailers: Vec::new(),
        };
        let bodiless = method == "HEAD" || matches!(status, 101 | 204 | 304);
        if bodiless {
            return Ok(reply);
        }
        if reply.head.header("transfer-encoding").is_some() {
            reply.head.length()?;
            (reply.body, reply.trailers) = read_chunked(from)?;
        } else if let Some(length) = reply.head.length()? {
            reply.body = read_exactly(from, length)?;
        } else {
            from.take(BODY_MAX).read_to_end(&mut reply.body)?;
        }
        Ok(reply)
    }
}

fn status_of(head: &Head) -> io::Result<u16> {
    let word = head.word(1);
    match word.parse() {
        Ok(status) if word.len() == 3 && head.first_line.starts_with("HTTP/1.") => Ok(status),
        _ => Err(malformed(&format!("status line {:?}", head.first_line))),
    }
}

/// Reads up to and including the empty line; `None` when the connection ended before its first byte.
pub fn read_head(from: &mut impl BufRead) -> io::Result<Option<Head>> {
    if from.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let first_line = read_line(from)?;
    Ok(Some(Head {
        first_line,
        headers: read_fields(from)?,
    }))
}

fn read_fields(from: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = read_line(from)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| malformed(&format!("field line {line:?}")))?;
        let is_token = |byte: u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(malformed(&format!("field name {name:?}")));
        }
        fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
}

/// One line that must end in CR LF and hold no other CR, LF or NUL.
fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    from.take(LINE_MAX).read_until(b'\n', &mut line)?;
    let Some(text) = line.strip_suffix(b"\r\n") else {
        let kind = if line.ends_with(b"\n") {
            ErrorKind::InvalidData
        } else {
            ErrorKind::UnexpectedEof
        };
        return Err(Error::new(
            kind,
            format!("a line without CR LF: {:?}", String::from_utf8_lossy(&line)),
        ));
    };
    if text.iter().any(|byte| matches!(byte, b'\r' | b'\0')) {
        return Err(malformed("CR or NUL inside a line"));
    }
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn read_exactly(from: &mut impl BufRead, length: u64) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    from.take(length.min(BODY_MAX)).read_to_end(&mut body)?;
    if body.len() as u64 != length {
        return Err(Error::new(
            ErrorKind::UnexpectedEof,
            format!("{} of {length} bytes of the body came", body.len()),
        ));
    }
    Ok(body)
}

type ChunkedBody = (Vec<u8>, Vec<(String, String)>);

fn read_chunked(from: &mut impl BufRead) -> io::Result<ChunkedBody> {
    let mut body = Vec::new();
    loop {
        let line = read_line(from)?;
        let digits = line.split(';').next().unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(malformed(&format!("chunk size {line:?}")));
        }
        let size = u64::from_str_radix(digits, 16).map_err(|_| malformed("chunk size is too large"))?;
        if size == 0 {
            return Ok((body, read_fields(from)?));
        }
        body.extend(read_exactly(from, size)?);
        if !read_line(from)?.is_empty() {
            return Err(malformed("a chunk is longer than its size says"));
        }
    }
}

/// An error that says the peer broke the protocol, as opposed to having gone away.
fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("malformed message: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(bytes: &str) -> io::Result<Option<Request>> {
        Request::read(&mut bytes.as_bytes(), || Ok(()))
    }

    #[test]
    fn a_chunked_request_is_decoded_with_its_trailers() {
        let read = request("POST /a?b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n");
        let read = read.unwrap().unwrap();
        assert_eq!(
            (read.method(), read.path(), read.body.as_slice()),
            ("POST", "/a", b"abc".as_slice())
        );
        assert_eq!(read.trailers, [("x".to_owned(), "y".to_owned())]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for bytes in [
            "GET / HTTP/1.1\nhost: a\n\n",
            "GET / HTTP/1.1\r\nhost : a\r\n\r\n",
            "GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
            "GET / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\ncontent-length: +1\r\n\r\na",
        ] {
            assert_eq!(request(bytes).unwrap_err().kind(), ErrorKind::InvalidData, "{bytes:?}");
        }
    }

    #[test]
    fn interim_responses_come_before_the_reply() {
        let bytes = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        let reply = Reply::read(&mut bytes.as_slice(), "GET").unwrap();
        assert_eq!(
            (reply.status, reply.interim.as_slice(), reply.text().as_str()),
            (200, [103].as_slice(), "hi")
        );
    }
}
