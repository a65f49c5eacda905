//! The bytes of a connection to an HTTP/2 backend, watched for what it may not do too often while the codec reads them.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use plimsoll_http::h2::Guard;
use plimsoll_net::{Socket, tls};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::worker::Worker;

/// What is heard of a backend.
#[derive(Default)]
pub(super) struct Heard {
    /// Something has come.
    pub(super) anything: Cell<bool>,
    /// A head or data has come.
    pub(super) speech: Cell<bool>,
    /// It wants no TLS with us, for this cause.
    pub(super) denial: Cell<Option<&'static str>>,
}

/// A connection that is watched. What there is too much of ends it, as an error of kind `InvalidData`.
pub(super) struct Wire {
    stream: Socket,
    guard: Guard,
    worker: Rc<Worker>,
    heard: Rc<Heard>,
}

impl Wire {
    /// Watches `stream`, and keeps `heard` up to date.
    pub(super) fn new(stream: Socket, worker: Rc<Worker>, heard: Rc<Heard>) -> Self {
        Wire {
            stream,
            guard: Guard::of_backend(),
            worker,
            heard,
        }
    }

    fn stream(&mut self) -> Pin<&mut Socket> {
        Pin::new(&mut self.stream)
    }

    /// Passes on how a write went. One that failed before anything was heard may have been refused, with a word that is
    /// here by now and that nobody would read any more.
    fn written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Err(_))) && !self.heard.anything.get() {
            self.heard.denial.set(self.stream.refusal_now());
        }
        written
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        if let Err(error) = ready!(self.stream().poll_read(cx, into)) {
            self.heard.denial.set(tls::refusal(&error));
            // Of what is against TLS's rules HTTP/2 knows nothing: for it the connection is lost.
            return Poll::Ready(Err(match error.kind() {
                io::ErrorKind::InvalidData => io::ErrorKind::ConnectionAborted.into(),
                _ => error,
            }));
        }
        let now_ms = self.worker.now().millis();
        if let Err(breach) = self.guard.see(&into.filled()[before..], now_ms) {
            tracing::warn!(backend = ?self.stream.peer().ok(), %breach, "an HTTP/2 connection to a backend is ended");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, breach)));
        }
        self.heard.anything.set(true);
        if self.guard.take_spoke() {
            self.heard.speech.set(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write(cx, bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write_vectored(cx, parts);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}
