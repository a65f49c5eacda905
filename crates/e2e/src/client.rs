//! A client that sends exactly the bytes that it is given.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::message::{Reply, Request};

/// One connection. Each read waits at most [`PATIENCE`] unless [`Wire::patience`] says otherwise.
#[derive(Debug)]
pub struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    /// Connects; panics when nobody listens.
    #[track_caller]
    pub fn connect(to: SocketAddr) -> Wire {
        Wire::try_connect(to).unwrap_or_else(|error| panic!("cannot connect to {to}: {error}"))
    }

    /// Connects, for tests in which that may fail.
    pub fn try_connect(to: SocketAddr) -> io::Result<Wire> {
        Wire::of(TcpStream::connect_timeout(&to, PATIENCE)?)
    }

    /// The other end of a connection: for a test that plays the server by hand.
    pub fn of(stream: TcpStream) -> io::Result<Wire> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Wire {
            stream: BufReader::new(stream),
        })
    }

    /// Sets how long one read may wait.
    pub fn patience(self, patience: Duration) -> Wire {
        self.socket()
            .set_read_timeout(Some(patience))
            .expect("a read timeout can be set");
        self
    }

    /// Sends bytes; panics when the peer does not take them.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes)
            .unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// Sends bytes, for tests in which the peer may have closed.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Sends bytes one at a time with a pause after each, as a slow client would.
    pub fn drip(&mut self, bytes: impl AsRef<[u8]>, pause: Duration) -> io::Result<()> {
        for byte in bytes.as_ref() {
            self.try_send([*byte])?;
            std::thread::sleep(pause);
        }
        Ok(())
    }

    /// Reads the reply to a request that was not HEAD.
    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        self.reply_to("GET")
    }

    /// Reads the reply to a request with this method; panics when none comes or it is malformed.
    #[track_caller]
    pub fn reply_to(&mut self, method: &str) -> Reply {
        self.try_reply_to(method)
            .unwrap_or_else(|error| panic!("no reply: {error}"))
    }

    /// Reads a reply, for tests in which there may be none.
    pub fn try_reply_to(&mut self, method: &str) -> io::Result<Reply> {
        Reply::read(&mut self.stream, method)
    }

    /// Sends a GET and reads its reply; the connection stays open.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test.example\r\n\r\n"));
        self.reply()
    }

    /// Reads exactly `count` bytes.
    #[track_caller]
    pub fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        self.try_read_bytes(count)
            .unwrap_or_else(|error| panic!("{count} bytes did not come: {error}"))
    }

    /// Reads exactly `count` bytes, for tests in which they may not come.
    pub fn try_read_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads until the peer closes; what came, and how it ended.
    pub fn read_to_end(&mut self) -> (Vec<u8>, io::Result<()>) {
        let mut bytes = Vec::new();
        let result = self.stream.read_to_end(&mut bytes).map(drop);
        (bytes, result)
    }

    /// Reads a request that came in on this connection: for a test that plays the server by hand.
    pub fn read_request(&mut self) -> io::Result<Option<Request>> {
        Request::read(&mut self.stream, || Ok(()))
    }

    /// Panics unless the peer closes (or resets) within `span` without sending anything more.
    #[track_caller]
    pub fn assert_closed_within(&mut self, span: Duration) {
        let started = Instant::now();
        self.socket()
            .set_read_timeout(Some(span))
            .expect("a read timeout can be set");
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => {}
            Ok(_) => panic!("expected a close, got byte {:?}", byte[0]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("still open after {:?}: {error}", started.elapsed()),
        }
    }

    /// Whether the peer keeps the connection open, and silent, for `span`.
    pub fn is_idle_for(&mut self, span: Duration) -> bool {
        self.socket()
            .set_read_timeout(Some(span))
            .expect("a read timeout can be set");
        let quiet = match self.stream.read(&mut [0]) {
            Ok(_) => false,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        self.socket()
            .set_read_timeout(Some(PATIENCE))
            .expect("a read timeout can be set");
        quiet
    }

    /// Closes our direction and keeps reading.
    pub fn half_close(&mut self) {
        self.socket()
            .shutdown(Shutdown::Write)
            .expect("our direction can be closed");
    }

    /// Closes with a reset (RST) instead of an orderly end.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(self.stream.get_ref());
        socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER can be set");
    }

    /// Our end's address.
    pub fn local_address(&self) -> SocketAddr {
        self.socket().local_addr().expect("a connected socket has an address")
    }

    /// The socket itself.
    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}
