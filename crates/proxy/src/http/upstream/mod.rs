//! The backend's side of an exchange, whatever version of HTTP it speaks.

mod h2;
mod open;
mod trunk;
mod wire;

use std::io;
use std::task::{Context, Poll};

use plimsoll_core::outcome::Reason;
use plimsoll_http::reuse::Upstream as Kept;
use plimsoll_net::{Buffer, Cuttable, End, tls};

pub(crate) use h2::H2;
pub(crate) use open::{Opened, Opening, adopt, open};
pub(crate) use trunk::Trunks;

/// The backend's side of one request and its answer.
pub(crate) enum Upstream {
    /// A connection that the request has to itself.
    H1(Kept),
    /// A stream.
    H2(Box<H2>),
}

/// How a backend's side came to an end before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The connection ended or failed.
    Connection,
    /// The backend has ended the stream.
    Reset,
    /// It has refused the stream, of which it says that it has done nothing (RFC 9113 §8.7).
    Refused,
    /// It takes no further streams on this connection, and has done nothing of this one (RFC 9113 §6.8).
    Unprocessed,
    /// What it says is against the rules.
    Malformed,
    /// It wants no TLS with us, for this cause, and has taken nothing of what we have said.
    Denied(&'static str),
}

impl Lost {
    /// What the error of a connection means.
    fn of(error: &io::Error) -> Self {
        tls::refusal(error).map_or(Lost::Connection, Lost::Denied)
    }

    /// What it is called.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Lost::Malformed => Reason::BackendProtocolError,
            Lost::Denied(_) => Reason::TlsFailed,
            Lost::Connection | Lost::Reset | Lost::Refused | Lost::Unprocessed => Reason::BackendReset,
        }
    }
}

/// Why the backend's side takes no more of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deaf {
    /// It has ended, or stopped listening.
    Gone,
    /// The request cannot be told in its version of HTTP.
    Unspeakable,
}

/// A part of a request that is to be sent: its head, then its body.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'o> {
    /// What is to be sent now.
    pub(crate) bytes: &'o [u8],
    /// How many of these bytes are of the head.
    pub(crate) head: usize,
    /// Nothing follows these bytes.
    pub(crate) last: bool,
}

impl Upstream {
    /// Reads what has come of the answer into the buffer's room, its head as HTTP/1.1 has it; 0 is the end. The buffer
    /// must have room.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<Result<usize, Lost>> {
        match self {
            Upstream::H1(kept) => kept.socket.poll_fill(cx, buffer).map_err(|error| Lost::of(&error)),
            Upstream::H2(stream) => stream.poll_fill(cx, buffer),
        }
    }

    /// Has nothing of the answer wait where it is in the way of others, while the client takes none of it.
    pub(crate) fn take_ahead(&mut self, cx: &mut Context<'_>) {
        if let Upstream::H2(stream) = self {
            stream.take_ahead(cx);
        }
    }

    /// Sends some of a request.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, part: Outgoing<'_>) -> Poll<Result<usize, Deaf>> {
        match self {
            Upstream::H1(kept) => match kept.socket.poll_write(cx, part.bytes) {
                Poll::Ready(Ok(count)) if count > 0 => Poll::Ready(Ok(count)),
                Poll::Ready(_) => Poll::Ready(Err(Deaf::Gone)),
                Poll::Pending => Poll::Pending,
            },
            Upstream::H2(stream) => stream.poll_write(cx, part),
        }
    }

    /// The request is complete, with these trailer lines, which HTTP/1.1 has been sent already.
    pub(crate) fn end(&mut self, trailers: &[u8]) -> Result<(), Deaf> {
        match self {
            Upstream::H1(_) => Ok(()),
            Upstream::H2(stream) => stream.end(trailers),
        }
    }

    /// Whether the answer has ended, as far as that is told apart from its bytes.
    pub(crate) fn is_ended(&self) -> bool {
        match self {
            Upstream::H1(_) => false,
            Upstream::H2(stream) => stream.is_ended(),
        }
    }

    /// The trailers of an answer that has ended: those that came apart from its bytes, or else what the `decoded` were.
    pub(crate) fn trailers<'t>(&'t self, decoded: &'t [u8]) -> &'t [u8] {
        match self {
            Upstream::H1(_) => decoded,
            Upstream::H2(stream) => stream.trailers(),
        }
    }
}

/// The backend's end of an upgraded connection.
impl End for Upstream {
    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<io::Result<usize>> {
        Upstream::poll_fill(self, cx, buffer).map_err(|_| io::ErrorKind::ConnectionReset.into())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let part = Outgoing {
            bytes,
            head: 0,
            last: false,
        };
        Upstream::poll_write(self, cx, part).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn shutdown_write(&mut self) {
        match self {
            Upstream::H1(kept) => kept.socket.shutdown_write(),
            Upstream::H2(stream) => stream.shutdown_write(),
        }
    }

    fn take_ahead(&mut self, cx: &mut Context<'_>) {
        Upstream::take_ahead(self, cx);
    }
}

impl Cuttable for Upstream {
    /// The end of a trunk, which is cut as a whole, ends its streams.
    fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Upstream::H1(kept) => kept.socket.poll_cut(cx),
            Upstream::H2(_) => Poll::Pending,
        }
    }
}
