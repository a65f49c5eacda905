//! What a scripted backend does with a request.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::exchange::Exchange;

/// A backend's behaviour for each HTTP request. Scripts nest: `Script::after(pause, Script::Echo)`.
#[derive(Clone)]
pub enum Script {
    /// 200 with the request as JSON: `method`, `target`, `headers` (pairs), `body`, `trailers`, `backend`.
    Echo,
    /// A whole reply, with `content-length`.
    Reply {
        /// The status.
        status: u16,
        /// Further fields.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// 200 in chunks, with a pause before each and trailers at the end.
    Chunked {
        /// The chunks.
        chunks: Vec<Vec<u8>>,
        /// The pause before each.
        pause: Duration,
        /// Fields after the last.
        trailers: Vec<(String, String)>,
    },
    /// Reads the request and never answers.
    Hang,
    /// Sends these bytes, whatever they are, and keeps the connection open.
    Bytes(Vec<u8>),
    /// Sends these bytes, and closes. Without bytes: closes without an answer.
    BytesThenClose(Vec<u8>),
    /// Sends these bytes, and resets the connection. Without bytes: resets without an answer.
    BytesThenReset(Vec<u8>),
    /// Sends these bytes one at a time with a pause after each.
    Drip {
        /// The bytes.
        bytes: Vec<u8>,
        /// The pause after each.
        pause: Duration,
    },
    /// Accepts the upgrade to WebSocket, then echoes the bytes that come, frame by frame or not.
    WebSocket,
    /// Waits, then does something else.
    After(Duration, Box<Script>),
    /// The first script whose path is a prefix of the request's; 404 when none is.
    ByPath(Vec<(String, Script)>),
    /// One script for each request in turn, the last for all that follow.
    InTurn(Vec<Script>),
    /// Whatever a closure does.
    Custom(Arc<CustomScript>),
}

/// A closure that answers by hand; `Ok(true)` keeps the connection for the next request.
pub type CustomScript = dyn Fn(&mut Exchange<'_>) -> io::Result<bool> + Send + Sync;

impl Script {
    /// A reply of this status with a short body.
    pub fn status(status: u16) -> Script {
        Script::reply(status, format!("status {status}\n"))
    }

    /// A reply of this status and body.
    pub fn reply(status: u16, body: impl Into<Vec<u8>>) -> Script {
        Script::Reply {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// Adds a field to a `Reply`; other scripts stay as they are.
    pub fn header(mut self, name: &str, value: &str) -> Script {
        if let Script::Reply { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// 200 in these chunks, at once and without trailers.
    pub fn chunked<const N: usize>(chunks: [&str; N]) -> Script {
        let chunks = chunks.iter().map(|chunk| chunk.as_bytes().to_vec()).collect();
        Script::Chunked {
            chunks,
            pause: Duration::ZERO,
            trailers: Vec::new(),
        }
    }

    /// Closes without an answer.
    pub fn close() -> Script {
        Script::BytesThenClose(Vec::new())
    }

    /// Resets without an answer.
    pub fn reset() -> Script {
        Script::BytesThenReset(Vec::new())
    }

    /// Promises `promised` bytes, sends `body`, and closes: a Content-Length that lies when they differ.
    pub fn wrong_length(promised: usize, body: &str) -> Script {
        Script::BytesThenClose(format!("HTTP/1.1 200 OK\r\ncontent-length: {promised}\r\n\r\n{body}").into_bytes())
    }

    /// Bytes that are no HTTP, and a close.
    pub fn garbage() -> Script {
        Script::BytesThenClose(b"\x00\x16 this is not HTTP\xff\r\n\r\n".to_vec())
    }

    /// Waits, then does `then`.
    pub fn after(pause: Duration, then: Script) -> Script {
        Script::After(pause, Box::new(then))
    }

    /// Chooses by the longest given path that the request's begins with.
    pub fn by_path<const N: usize>(scripts: [(&str, Script); N]) -> Script {
        let mut scripts: Vec<_> = scripts
            .into_iter()
            .map(|(path, script)| (path.to_owned(), script))
            .collect();
        scripts.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Script::ByPath(scripts)
    }

    /// A closure; `Ok(true)` keeps the connection for the next request.
    pub fn custom(script: impl Fn(&mut Exchange<'_>) -> io::Result<bool> + Send + Sync + 'static) -> Script {
        Script::Custom(Arc::new(script))
    }
}
