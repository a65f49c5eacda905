//! The request on its way to a backend: its head and body, framed by us, kept for a retry while that is possible.

use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use plimsoll_core::pool::BackendProtocol;
use plimsoll_http::h1::{Framing, write_chunk_end, write_chunk_head, write_last_chunk};
use plimsoll_net::{Deadline, Timer};

use super::downstream::Downstream;
use super::upstream::{Deaf, Outgoing, Upstream};

/// The most bytes of a request that are kept to be sent again; a longer request is sent and not retried.
pub(crate) const REPLAY_MAX: usize = 64 << 10;

/// Bytes that are framed before they are written.
const BATCH: usize = 64 << 10;

/// A request on its way.
pub(crate) struct Upload {
    chunked: bool,
    sending: Vec<u8>,
    written: usize,
    head: usize,
    replayable: bool,
    complete: bool,
    /// The lines of its trailers, when they go apart from its bytes.
    trailers: Vec<u8>,
    /// All of it has been sent.
    sent: bool,
    /// Nothing more can be sent: the backend does not take it. Its answer may still come.
    pub(crate) broken: bool,
    /// Whether a byte has moved since the deadline was set.
    moved: bool,
    stalls_at: Option<Deadline>,
    /// Bytes of the body that came from the client.
    pub(crate) body_bytes: u64,
    /// How many there may be.
    body_max: u64,
    /// Its Host is the backend's address.
    names_backend: bool,
}

/// Why a request cannot be sent on.
#[derive(Debug)]
pub(crate) enum UploadFault {
    /// The client went away.
    ClientGone,
    /// The client's body is malformed.
    ClientBody,
    /// The client's body is longer than it may be.
    TooLarge,
    /// The backend does not take it.
    Backend,
    /// It cannot be told in the version of HTTP that is spoken to the backend.
    Unspeakable,
}

impl From<Deaf> for UploadFault {
    fn from(deaf: Deaf) -> Self {
        match deaf {
            Deaf::Gone => UploadFault::Backend,
            Deaf::Unspeakable => UploadFault::Unspeakable,
        }
    }
}

impl Upload {
    /// A request with this head, and a body framed so; one that goes over HTTP/2 is framed by its stream.
    pub(crate) fn new(head: Vec<u8>, framing: Framing, protocol: BackendProtocol) -> Self {
        Upload {
            chunked: framing == Framing::Chunked && protocol == BackendProtocol::H1,
            complete: matches!(framing, Framing::None | Framing::Length(0)),
            head: head.len(),
            sending: head,
            written: 0,
            trailers: Vec::new(),
            sent: false,
            replayable: true,
            broken: false,
            moved: false,
            stalls_at: None,
            body_bytes: 0,
            body_max: u64::MAX,
            names_backend: false,
        }
    }

    /// The same; if `names_backend`, with the address of the backend that it goes to as its Host.
    pub(crate) fn naming_backend(mut self, names_backend: bool) -> Self {
        self.names_backend = names_backend;
        self
    }

    /// It goes to the backend at `address` next.
    pub(crate) fn go_to(&mut self, address: SocketAddr) {
        if !self.names_backend || self.is_begun() {
            return;
        }
        // Behind the request line, since we have put it there.
        let line_after = |from: usize| {
            self.sending[from..]
                .windows(2)
                .position(|pair| pair == b"\r\n")
                .map(|at| from + at)
        };
        let Some(start) = line_after(0).map(|end| end + b"\r\nhost: ".len()) else {
            return;
        };
        let Some(end) = line_after(start) else { return };
        let host = address.to_string();
        self.head = self.head + host.len() - (end - start);
        self.sending.splice(start..end, host.into_bytes());
    }

    /// The same once more, when all of it was kept.
    pub(crate) fn again(mut self) -> Option<Self> {
        (self.complete && self.restart()).then_some(self)
    }

    /// The same with a body of so many bytes at the most.
    pub(crate) fn at_most(mut self, body_max: Option<u64>) -> Self {
        self.body_max = body_max.unwrap_or(u64::MAX);
        self
    }

    /// The vector that its bytes were kept in.
    pub(crate) fn into_scratch(self) -> Vec<u8> {
        self.sending
    }

    /// Whether all of the client's request has been taken from it.
    pub(crate) fn is_read(&self) -> bool {
        self.complete
    }

    /// When it has to have moved on: `patience` after it last did.
    pub(crate) fn stalls_at(&mut self, timer: &Timer, patience: Duration) -> Deadline {
        self.take_moved();
        *self.stalls_at.get_or_insert_with(|| timer.after(patience))
    }

    /// Whether anything has moved since the last time that this was asked.
    pub(crate) fn take_moved(&mut self) -> bool {
        let moved = std::mem::take(&mut self.moved);
        if moved {
            self.stalls_at = None;
        }
        moved
    }

    /// The answer has moved, while the request is under way: the client may be waiting for it.
    pub(crate) fn touch(&mut self) {
        self.moved = true;
    }

    /// Whether the backend is slow to take what is here of it, so that no more is read from the client.
    pub(crate) fn is_backed_up(&self) -> bool {
        !self.complete && !self.broken && self.written < self.sending.len()
    }

    /// Whether it waits for the client to send more of it.
    pub(crate) fn is_starved(&self) -> bool {
        !self.complete && !self.broken && self.written == self.sending.len()
    }

    /// Whether all of it has been sent.
    pub(crate) fn is_sent(&self) -> bool {
        self.sent
    }

    /// Whether the backend may have seen any of it.
    pub(crate) fn is_begun(&self) -> bool {
        self.written > 0 || !self.replayable
    }

    /// Whether all that was sent is still there.
    pub(crate) fn is_replayable(&self) -> bool {
        self.replayable
    }

    /// Begins again for another backend; false when what was sent is no longer there.
    pub(crate) fn restart(&mut self) -> bool {
        self.written = 0;
        self.sent = false;
        self.broken = false;
        self.stalls_at = None;
        self.replayable
    }

    /// Moves what can be moved now; ready once all is sent.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut impl Downstream,
        backend: &mut Upstream,
    ) -> Poll<Result<(), UploadFault>> {
        loop {
            // What is at hand goes into the same write as the head.
            let starved = match client.gather(self) {
                Ok(starved) => starved,
                Err(fault) => return Poll::Ready(Err(fault)),
            };
            if self.body_bytes > self.body_max {
                return Poll::Ready(Err(UploadFault::TooLarge));
            }
            while self.written < self.sending.len() {
                let part = Outgoing {
                    bytes: &self.sending[self.written..],
                    head: self.head.saturating_sub(self.written),
                    last: self.complete && self.trailers.is_empty(),
                };
                self.written += ready!(backend.poll_write(cx, part))?;
                self.moved = true;
            }
            if self.complete {
                backend.end(&self.trailers)?;
                self.sent = true;
                return Poll::Ready(Ok(()));
            }
            self.make_room();
            if starved {
                ready!(client.poll_more(cx))?;
                self.moved = true;
            }
        }
    }

    /// Whether more of the body can be taken now.
    pub(crate) fn has_room(&self) -> bool {
        !self.complete && self.sending.len() - self.written < BATCH
    }

    /// Takes some of `data`, the next part of the body, and frames it; how much.
    pub(crate) fn add(&mut self, data: &[u8]) -> usize {
        let data = &data[..data.len().min(BATCH)];
        if self.chunked {
            write_chunk_head(&mut self.sending, data.len());
        }
        self.sending.extend_from_slice(data);
        if self.chunked {
            write_chunk_end(&mut self.sending);
        }
        self.body_bytes += data.len() as u64;
        data.len()
    }

    /// The body is complete, with these trailer lines.
    pub(crate) fn end(&mut self, trailers: &[u8]) {
        match (self.complete, self.chunked) {
            (true, _) => {}
            (false, true) => write_last_chunk(&mut self.sending, trailers),
            (false, false) => self.trailers = trailers.to_vec(),
        }
        self.complete = true;
    }

    /// Drops what was sent once there is too much of it to be kept for a retry.
    fn make_room(&mut self) {
        if self.sending.len() - self.head.min(self.sending.len()) > REPLAY_MAX || !self.replayable {
            self.replayable = false;
            self.sending.clear();
            self.written = 0;
            self.head = 0;
        }
    }
}
