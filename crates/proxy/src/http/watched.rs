//! A client's HTTP/2 bytes, watched for what it may not do too often while the codec reads them.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use plimsoll_http::h2::{Breach, Guard};
use plimsoll_net::Rewound;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::worker::Worker;

/// A connection that is watched.
pub(super) struct Watched {
    inner: Rewound,
    guard: Guard,
    worker: Rc<Worker>,
    breach: Rc<Cell<Option<Breach>>>,
}

impl Watched {
    /// Watches `inner`; what is found is left in `breach`, and nothing more is read then.
    pub(super) fn new(inner: Rewound, worker: Rc<Worker>, breach: Rc<Cell<Option<Breach>>>) -> Self {
        Watched {
            inner,
            guard: Guard::default(),
            worker,
            breach,
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.breach.get().is_some() {
            return Poll::Pending;
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, into))?;
        let now_ms = self.worker.now().millis();
        if let Err(breach) = self.guard.see(&into.filled()[before..], now_ms) {
            self.breach.set(Some(breach));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
