//! A client's HTTP/2 bytes, watched for what it may not do too often while the codec reads them.

use std::cell::Cell;
use std::io::{self, Cursor, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use plimsoll_http::h2::{Breach, Guard, Sent};
use plimsoll_net::Socket;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Chain, ReadBuf};

use crate::worker::Worker;

/// The most that is read and thrown away of what a client says after we have said all.
const WASTE_MAX: usize = 1 << 20;

/// What is seen of a connection.
#[derive(Default)]
pub(super) struct Sight {
    /// What there was too much of. Nothing more is read then.
    pub(super) breach: Cell<Option<Breach>>,
    /// Heads that the codec has found too large, and answered, since somebody looked.
    pub(super) too_large: Cell<u32>,
    /// What has come ends in the middle of a head.
    pub(super) mid_head: Cell<bool>,
    /// There was nothing more to read, and somebody will be woken when there is: the codec looks again for each stream
    /// that it hands over.
    pub(super) dry: Cell<bool>,
    /// All has been said, and the client is given time to read it: closing while it still talks would make the kernel
    /// throw away what it has not read.
    pub(super) lingers: Cell<bool>,
}

/// A connection that is watched.
pub(super) struct Watched {
    /// What was read before it was known what it is, and then the stream.
    inner: Chain<Cursor<Vec<u8>>, Socket>,
    guard: Guard,
    sent: Sent,
    worker: Rc<Worker>,
    sight: Rc<Sight>,
    wasted: usize,
}

impl Watched {
    /// Watches `stream`, whose first bytes are in `ahead`, and keeps `sight` up to date.
    pub(super) fn new(ahead: Vec<u8>, stream: Socket, worker: Rc<Worker>, sight: Rc<Sight>) -> Self {
        Watched {
            inner: Cursor::new(ahead).chain(stream),
            guard: Guard::of_client(),
            sent: Sent::default(),
            worker,
            sight,
            wasted: 0,
        }
    }

    /// Follows what was sent.
    fn follow(&mut self, bytes: &[u8]) {
        let too_large = self.sent.see(bytes);
        if too_large > 0 {
            self.sight.too_large.set(self.sight.too_large.get() + too_large);
        }
    }

    fn stream(&mut self) -> Pin<&mut Socket> {
        Pin::new(self.inner.get_mut().1)
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.sight.dry.get() || self.sight.breach.get().is_some() {
            return Poll::Pending;
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, into);
        self.sight.dry.set(read.is_pending());
        ready!(read)?;
        let now_ms = self.worker.now().millis();
        if let Err(breach) = self.guard.see(&into.filled()[before..], now_ms) {
            self.sight.breach.set(Some(breach));
        }
        self.sight.mid_head.set(self.guard.is_mid_head());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.stream().poll_write(cx, bytes))?;
        self.follow(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.stream().poll_write_vectored(cx, parts))?;
        let mut left = written;
        for part in parts {
            let count = part.len().min(left);
            self.follow(&part[..count]);
            left -= count;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.sight.lingers.get() {
            ready!(self.stream().poll_shutdown(cx))?;
            self.sight.lingers.set(true);
        }
        let mut waste = [0; 4096];
        while self.wasted < WASTE_MAX {
            let mut read = ReadBuf::new(&mut waste);
            match ready!(self.stream().poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => self.wasted += read.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
