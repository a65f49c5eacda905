//! What is asked for over HTTP by the control plane, now and then: a set of keys, a certificate. One request, one
//! connection, on a thread that may wait.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use plimsoll_core::filter::{Url, Wrong};
use plimsoll_http::h1::{BodyDecoder, FieldRoom, Framing, HeadScan, Method, Scanned, Step, parse_response};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::files::open;
use crate::originations::{authorities, system_roots};

/// How long it may take: to connect to one address, and in all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest head and the longest body.
const HEAD_MAX: usize = 64 << 10;
const BODY_MAX: usize = 1 << 20;

/// Bytes that are read at once.
const PIECE: usize = 8 << 10;

/// A question over HTTP.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a Url,
    /// Fields beside those that say who asks whom, and how long the body is.
    pub(crate) fields: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
    /// Who vouches for whoever answers; those whom the machine trusts when `None`.
    pub(crate) trust: Option<&'a Arc<ClientConfig>>,
    /// How long it may take in all.
    pub(crate) timeout: Duration,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Its fields, their names as they were written.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

/// What `url` answers.
///
/// # Errors
/// Why there is no answer that could be used.
pub(crate) fn fetch(url: &Url) -> Result<Vec<u8>, Wrong> {
    usable(ask(&Ask {
        method: "GET",
        url,
        fields: &[("accept", "application/json")],
        body: &[],
        trust: None,
        timeout: TIMEOUT,
    })?)
}

fn usable(answer: Answer) -> Result<Vec<u8>, Wrong> {
    match answer.status {
        200 => Ok(answer.body),
        status @ 300..400 => Err(Wrong::whole(format!("answers {status}: name the URL that it leads to"))),
        status => Err(Wrong::whole(format!("answers {status}"))),
    }
}

/// Asks, and waits for the answer, whatever its status.
///
/// # Errors
/// Why there is none.
pub(crate) fn ask(ask: &Ask<'_>) -> Result<Answer, Wrong> {
    let until = Instant::now() + ask.timeout;
    let stream = connect(ask.url).map_err(|error| Wrong::whole(format!("cannot be reached: {error}")))?;
    let unheard = |error: io::Error| Wrong::whole(format!("does not answer: {error}"));
    let timed = Timed { stream, until };
    if !ask.url.secure {
        return converse(timed, ask).map_err(unheard)?;
    }
    let session = session(ask).map_err(Wrong::whole)?;
    converse(StreamOwned::new(session, timed), ask).map_err(unheard)?
}

fn connect(url: &Url) -> io::Result<TcpStream> {
    let (host, port) = url.host_and_port().ok_or(io::ErrorKind::InvalidInput)?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A session of TLS with whom the question trusts.
fn session(ask: &Ask<'_>) -> Result<ClientConnection, String> {
    static OF_THE_MACHINE: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let config = match ask.trust {
        Some(config) => config.clone(),
        None => OF_THE_MACHINE.get_or_init(|| trusting(system_roots()?)).clone()?,
    };
    let (host, _) = ask.url.host_and_port().ok_or("the host is none")?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    ClientConnection::new(config, name).map_err(|error| error.to_string())
}

/// TLS with whomever those vouch for whom the file at `path` names.
///
/// # Errors
/// It cannot be read, or names nobody who vouches for anybody.
pub(crate) fn trusting_file(path: &Path) -> Result<Arc<ClientConfig>, String> {
    let read = open(path).and_then(|(_, bytes)| authorities(&bytes));
    trusting(read.map_err(|wrong| wrong.told(&path.display().to_string()))?)
}

/// TLS with whomever `roots` vouch for.
///
/// # Errors
/// They vouch for nobody.
fn trusting(roots: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, String> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A socket whose reads and writes end in time.
struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(left)
    }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(bytes).map_err(in_time)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes).map_err(in_time)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A socket whose time is over says that it would block.
fn in_time(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

/// Asks, and reads the answer; what is wrong with it is the inner result.
fn converse(mut stream: impl Read + Write, ask: &Ask<'_>) -> io::Result<Result<Answer, Wrong>> {
    stream.write_all(&request(ask))?;
    stream.flush()?;
    let method = match ask.method {
        "HEAD" => Method::Head,
        _ => Method::Other,
    };
    let mut bytes = Vec::new();
    let mut scan = HeadScan::default();
    let (mut answer, framing) = loop {
        if !read_more(&mut stream, &mut bytes)? {
            return Ok(Err(Wrong::whole("ends the connection without an answer")));
        }
        let length = match scan.look(&bytes, HEAD_MAX, HEAD_MAX) {
            Ok(Scanned::Head(length)) => length,
            Ok(Scanned::More) => continue,
            Err(_) => return Ok(Err(malformed())),
        };
        match read_head(&bytes[..length], method) {
            Ok(read) => {
                bytes.drain(..length);
                break read;
            }
            Err(wrong) => return Ok(Err(wrong)),
        }
    };
    Ok(read_body(&mut stream, bytes, framing)?.map(|body| {
        answer.body = body;
        answer
    }))
}

fn request(ask: &Ask<'_>) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let Ask { method, url, body, .. } = ask;
    let mut head = format!(
        "{method} {} HTTP/1.1\r\nhost: {}\r\nuser-agent: plimsoll/{version}\r\nconnection: close\r\n",
        url.target, url.host
    );
    for (name, value) in ask.fields {
        head += &format!("{name}: {value}\r\n");
    }
    if *method == "POST" {
        head += &format!("content-length: {}\r\n", body.len());
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

fn read_head(bytes: &[u8], method: Method) -> Result<(Answer, Framing), Wrong> {
    let mut room = FieldRoom::new();
    let head = parse_response(bytes, &mut room, method).map_err(|_| malformed())?;
    let fields = head.fields.iter();
    let answer = Answer {
        status: head.status,
        fields: fields
            .map(|field| (field.name.to_owned(), field.value.to_vec()))
            .collect(),
        body: Vec::new(),
    };
    Ok((answer, head.framing))
}

fn read_body(stream: &mut impl Read, mut unread: Vec<u8>, framing: Framing) -> io::Result<Result<Vec<u8>, Wrong>> {
    let mut decoder = BodyDecoder::new(framing);
    let mut body = Vec::new();
    loop {
        match decoder.step(&unread) {
            Ok(Step::Skip(count)) => {
                unread.drain(..count);
            }
            Ok(Step::Data(count)) => {
                if body.len() + count > BODY_MAX {
                    return Ok(Err(Wrong::whole(format!(
                        "answers with more than {} KiB",
                        BODY_MAX >> 10
                    ))));
                }
                decoder.used(count);
                body.extend(unread.drain(..count));
            }
            Ok(Step::More) => {
                if !read_more(stream, &mut unread)? && decoder.ended().is_err() {
                    return Ok(Err(Wrong::whole("ends the connection in its answer")));
                }
            }
            Ok(Step::End) => return Ok(Ok(body)),
            Err(_) => return Ok(Err(malformed())),
        }
    }
}

/// Reads what there is; false at the end.
fn read_more(stream: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let before = bytes.len();
    bytes.resize(before + PIECE, 0);
    let read = stream.read(&mut bytes[before..]);
    bytes.truncate(before + read.as_ref().copied().unwrap_or_default());
    Ok(read? > 0)
}

fn malformed() -> Wrong {
    Wrong::whole("answers with what is no HTTP")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that has said all of this.
    struct Said(io::Cursor<Vec<u8>>);

    impl Read for Said {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let few = bytes.len().min(7);
            self.0.read(&mut bytes[..few])
        }
    }

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_answer_is_taken_whole_or_not_at_all() {
        let url = Url::parse("http://a/keys").unwrap();
        let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(BODY_MAX + 1));
        for (said, heard) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", Ok("{}")),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
                Ok("{}"),
            ),
            ("HTTP/1.0 200 OK\r\n\r\n{}", Ok("{}")),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}",
                Err("ends the connection in its answer"),
            ),
            (
                "HTTP/1.1 301 Moved\r\nlocation: /x\r\n\r\n",
                Err("name the URL that it leads to"),
            ),
            ("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", Err("answers 404")),
            ("", Err("without an answer")),
            ("SSH-2.0-x\r\n\r\n", Err("no HTTP")),
            (&long, Err("more than 1024 KiB")),
        ] {
            let question = Ask {
                method: "GET",
                url: &url,
                fields: &[],
                body: &[],
                trust: None,
                timeout: TIMEOUT,
            };
            let answer = converse(Said(io::Cursor::new(said.into())), &question).unwrap();
            let answer = answer.and_then(usable);
            match (&answer, heard) {
                (Ok(body), Ok(expected)) => assert_eq!(body, expected.as_bytes()),
                (Err(wrong), Err(says)) => assert!(wrong.message.contains(says), "{wrong:?}"),
                _ => panic!("{said:.60}: {answer:?}"),
            }
        }
    }
}
