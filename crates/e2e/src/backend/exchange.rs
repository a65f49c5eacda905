//! One request on a backend's connection, and the playing of a script on it.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::json;

use super::script::Script;
use crate::message::Request;

/// A request that came, and the means to answer it.
pub struct Exchange<'a> {
    /// The request.
    pub request: &'a Request,
    /// The backend's name.
    pub backend: &'a str,
    /// How many requests this backend got before this one.
    pub number: usize,
    stream: &'a mut BufReader<TcpStream>,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        request: &'a Request,
        backend: &'a str,
        number: usize,
        stream: &'a mut BufReader<TcpStream>,
    ) -> Exchange<'a> {
        Exchange {
            request,
            backend,
            number,
            stream,
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Reads what comes after the request; 0 at the end.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.read(into)
    }

    /// Sends a whole reply with `content-length`.
    pub fn reply(&mut self, status: u16, headers: &[(String, String)], body: &[u8]) -> io::Result<()> {
        let mut bytes = format!("HTTP/1.1 {status} Scripted\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        // 1xx, 204 and 304 have no content (RFC 9110, section 6.4.1); 204 must not even declare one.
        let bodiless = status < 200 || status == 204 || status == 304;
        if !bodiless {
            bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        if !bodiless && self.request.method() != "HEAD" {
            bytes.extend_from_slice(body);
        }
        self.send(bytes)
    }

    /// Plays a script; whether the connection goes on to the next request.
    pub(super) fn play(&mut self, script: &Script) -> io::Result<bool> {
        match script {
            Script::Echo => self.echo(),
            Script::Reply { status, headers, body } => self.reply(*status, headers, body).map(|()| true),
            Script::Chunked {
                chunks,
                pause,
                trailers,
            } => self.chunked(chunks, *pause, trailers),
            Script::Hang => self.wait_for_close(),
            Script::Bytes(bytes) => self.send(bytes).map(|()| true),
            Script::BytesThenClose(bytes) => self.send(bytes).map(|()| false),
            Script::BytesThenReset(bytes) => self.reset_after(bytes),
            Script::Drip { bytes, pause } => {
                for byte in bytes {
                    self.send([*byte])?;
                    std::thread::sleep(*pause);
                }
                Ok(true)
            }
            Script::WebSocket => self.websocket(),
            Script::After(pause, then) => {
                std::thread::sleep(*pause);
                self.play(then)
            }
            Script::ByPath(scripts) => {
                let path = self.request.path();
                match scripts.iter().find(|(prefix, _)| path.starts_with(prefix.as_str())) {
                    Some((_, then)) => self.play(then),
                    None => self.reply(404, &[], b"no script for this path\n").map(|()| true),
                }
            }
            Script::InTurn(scripts) => match scripts.get(self.number).or(scripts.last()) {
                Some(then) => self.play(then),
                None => Ok(false),
            },
            Script::Custom(custom) => custom(self),
        }
    }

    fn echo(&mut self) -> io::Result<bool> {
        let request = self.request;
        let body = json!({
            "backend": self.backend,
            "method": request.method(),
            "target": request.target(),
            "headers": request.head.headers,
            "body": String::from_utf8_lossy(&request.body),
            "trailers": request.trailers,
        });
        let headers = [("content-type".to_owned(), "application/json".to_owned())];
        self.reply(200, &headers, body.to_string().as_bytes()).map(|()| true)
    }

    fn chunked(&mut self, chunks: &[Vec<u8>], pause: Duration, trailers: &[(String, String)]) -> io::Result<bool> {
        self.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for chunk in chunks {
            std::thread::sleep(pause);
            self.send(format!("{:x}\r\n", chunk.len()))?;
            self.send(chunk)?;
            self.send("\r\n")?;
        }
        self.send("0\r\n")?;
        for (name, value) in trailers {
            self.send(format!("{name}: {value}\r\n"))?;
        }
        self.send("\r\n").map(|()| true)
    }

    /// Only the peer ends it, or the backend's stop.
    fn wait_for_close(&mut self) -> io::Result<bool> {
        let mut sink = [0; 4096];
        while self.read(&mut sink)? > 0 {}
        Ok(false)
    }

    fn reset_after(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.send(bytes)?;
        if !bytes.is_empty() {
            // A reset may overtake data that has not been read; give the peer time to take it.
            std::thread::sleep(Duration::from_millis(50));
        }
        socket2::SockRef::from(self.stream.get_ref()).set_linger(Some(Duration::ZERO))?;
        Ok(false)
    }

    /// The handshake of RFC 6455 without its proof: the peer's `sec-websocket-accept` is for clients
    /// to judge, and real ones are used where that matters.
    fn websocket(&mut self) -> io::Result<bool> {
        let asks = self
            .request
            .head
            .header("upgrade")
            .is_some_and(|to| to.eq_ignore_ascii_case("websocket"));
        if !asks {
            return self
                .reply(426, &[("upgrade".to_owned(), "websocket".to_owned())], b"")
                .map(|()| true);
        }
        self.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")?;
        let mut bytes = [0; 4096];
        loop {
            let count = self.read(&mut bytes)?;
            if count == 0 {
                self.stream.get_ref().shutdown(Shutdown::Write)?;
                return Ok(false);
            }
            self.send(&bytes[..count])?;
        }
    }
}
