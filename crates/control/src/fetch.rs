//! What is asked for over HTTP by the control plane, now and then: a set of keys. One request, one connection, on a
//! thread that may wait.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use plimsoll_core::filter::{Url, Wrong};
use plimsoll_http::h1::{BodyDecoder, FieldRoom, Framing, HeadScan, Method, Scanned, Step, parse_response};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::originations::system_roots;

/// How long it may take: to connect to one address, and in all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest head and the longest body.
const HEAD_MAX: usize = 64 << 10;
const BODY_MAX: usize = 1 << 20;

/// Bytes that are read at once.
const PIECE: usize = 8 << 10;

/// What `url` answers.
///
/// # Errors
/// Why there is no answer that could be used.
pub(crate) fn fetch(url: &Url) -> Result<Vec<u8>, Wrong> {
    let until = Instant::now() + TIMEOUT;
    let stream = connect(url).map_err(|error| Wrong::whole(format!("cannot be reached: {error}")))?;
    let unheard = |error: io::Error| Wrong::whole(format!("does not answer: {error}"));
    let timed = Timed { stream, until };
    if !url.secure {
        return ask(timed, url).map_err(unheard)?;
    }
    let session = session(url).map_err(Wrong::whole)?;
    ask(StreamOwned::new(session, timed), url).map_err(unheard)?
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

/// A session of TLS with whom the machine's own certificates vouch for.
fn session(url: &Url) -> Result<ClientConnection, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let config = CONFIG.get_or_init(tls_config).clone()?;
    let (host, _) = url.host_and_port().ok_or("the host is none")?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    ClientConnection::new(config, name).map_err(|error| error.to_string())
}

fn tls_config() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system_roots()?);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
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
fn ask(mut stream: impl Read + Write, url: &Url) -> io::Result<Result<Vec<u8>, Wrong>> {
    let version = env!("CARGO_PKG_VERSION");
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: {}\r\nuser-agent: plimsoll/{version}\r\naccept: application/json\r\nconnection: close\r\n\r\n",
        url.target, url.host
    );
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut bytes = Vec::new();
    let mut scan = HeadScan::default();
    let framing = loop {
        if !read_more(&mut stream, &mut bytes)? {
            return Ok(Err(Wrong::whole("ends the connection without an answer")));
        }
        match scan.look(&bytes, HEAD_MAX, HEAD_MAX) {
            Ok(Scanned::Head(length)) => match judge_head(&bytes[..length]) {
                Ok(framing) => {
                    bytes.drain(..length);
                    break framing;
                }
                Err(wrong) => return Ok(Err(wrong)),
            },
            Ok(Scanned::More) => {}
            Err(_) => return Ok(Err(malformed())),
        }
    };
    read_body(&mut stream, bytes, framing)
}

fn judge_head(bytes: &[u8]) -> Result<Framing, Wrong> {
    let mut room = FieldRoom::new();
    let head = parse_response(bytes, &mut room, Method::Other).map_err(|_| malformed())?;
    match head.status {
        200 => Ok(head.framing),
        status @ 300..400 => Err(Wrong::whole(format!("answers {status}: name the URL that it leads to"))),
        status => Err(Wrong::whole(format!("answers {status}"))),
    }
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
            let answer = ask(Said(io::Cursor::new(said.into())), &url).unwrap();
            match (&answer, heard) {
                (Ok(body), Ok(expected)) => assert_eq!(body, expected.as_bytes()),
                (Err(wrong), Err(says)) => assert!(wrong.message.contains(says), "{wrong:?}"),
                _ => panic!("{said:.60}: {answer:?}"),
            }
        }
    }
}
