//! A connected socket, polled by hand: one task drives both directions of two sockets.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::buffer::Buffer;
use crate::cut::Cut;
use crate::tls::Tls;

/// A connected TCP socket, on which TLS may be spoken. What is read and written is the same with it and without it.
pub struct Socket {
    pub(crate) stream: TcpStream,
    pub(crate) tls: Option<Box<Tls>>,
    /// What may end it from outside.
    cut: Option<Rc<Cut>>,
}

impl Socket {
    /// Wraps a connected stream.
    pub fn new(stream: TcpStream) -> Self {
        Socket {
            stream,
            tls: None,
            cut: None,
        }
    }

    /// Lets `cut` end it: from then on it reads as a connection that was reset.
    pub fn cut_by(mut self, cut: Option<Rc<Cut>>) -> Self {
        self.cut = cut;
        self
    }

    /// Ready once it was ended from outside; otherwise the task is woken when it is.
    pub fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.cut {
            None => Poll::Pending,
            Some(cut) => cut.poll(cx),
        }
    }

    fn is_cut(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| cut.is_done())
    }

    /// The other end's address.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn peer(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// Our own address.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Ready, without a buffer, when there is something to read (or the end).
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.tls {
            None => self.stream.poll_read_ready(cx),
            Some(tls) => tls.poll_readable(cx, &self.stream),
        }
    }

    /// The first byte that is to be read, once there is one, which stays; `None` at the end. TLS has not begun.
    ///
    /// # Errors
    /// The connection failed.
    pub fn poll_first(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<u8>>> {
        let mut byte = [0];
        let count = ready!(self.stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)))?;
        Poll::Ready(Ok((count > 0).then_some(byte[0])))
    }

    /// Ready once the other end has ended its side, with nothing before that which is still to be read. When there is,
    /// nobody can tell without reading it, and nobody is told.
    pub fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(tls) = &self.tls {
            return tls.poll_ended(cx, &self.stream);
        }
        let mut byte = [0];
        match ready!(self.stream.poll_peek(cx, &mut ReadBuf::new(&mut byte))) {
            Ok(1..) => Poll::Pending,
            Ok(0) | Err(_) => Poll::Ready(()),
        }
    }

    /// Reads what there is into the buffer's room; 0 is the end. The buffer must have room; one without a block takes
    /// one only when there is something to read.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<io::Result<usize>> {
        if self.poll_cut(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if !buffer.holds_block() {
            ready!(self.poll_readable(cx))?;
        }
        let room = buffer.room();
        debug_assert!(!room.is_empty(), "a read into no room would look like the end");
        let count = match &mut self.tls {
            None => {
                let mut read = ReadBuf::new(room);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
                read.filled().len()
            }
            Some(tls) => ready!(tls.poll_fill(cx, &mut self.stream, room))?,
        };
        buffer.filled(count);
        Poll::Ready(Ok(count))
    }

    /// Reads what is there now into the buffer's room; `None` when that is nothing. A socket that was just accepted
    /// counts as readable until somebody has tried: the runtime saves itself a turn when the client spoke first.
    ///
    /// # Errors
    /// The connection failed.
    pub fn try_fill(&mut self, buffer: &mut Buffer) -> io::Result<Option<usize>> {
        let room = buffer.room();
        let size = room.len();
        if let Some(tls) = &mut self.tls {
            let read = tls.try_fill(&self.stream, room)?;
            buffer.filled(read.unwrap_or_default());
            return Ok(read);
        }
        match self.stream.try_read(room) {
            Ok(count) => {
                buffer.filled(count);
                if 0 < count && count < size {
                    // There was no more, which the runtime does not conclude here as it does in its own reads: without
                    // this the next look would be a call of the kernel for nothing. What comes from now on is told anew.
                    let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                    let _ = self.stream.try_io(Interest::READABLE, nothing);
                }
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// [`poll_fill`](Self::poll_fill), awaited.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn fill(&mut self, buffer: &mut Buffer) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, buffer)).await
    }

    /// Writes some of `bytes`. Whoever was told to wait comes back with the same bytes, and maybe more behind them: of
    /// what TLS has sealed nothing can be changed.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.tls {
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
            Some(tls) => tls.poll_write(cx, &mut self.stream, &[bytes]),
        }
    }

    /// Writes some of `first`, and of `second` behind it, in one call.
    pub fn poll_write_both(&mut self, cx: &mut Context<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>> {
        if second.is_empty() {
            return self.poll_write(cx, first);
        }
        if first.is_empty() {
            return self.poll_write(cx, second);
        }
        match &mut self.tls {
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)]),
            Some(tls) => tls.poll_write(cx, &mut self.stream, &[first, second]),
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = poll_fn(|cx| self.poll_write(cx, bytes)).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Says that nothing more will be written.
    pub fn shutdown_write(&mut self) {
        if let Some(tls) = &self.tls {
            tls.end(&self.stream);
        }
        // When it fails the connection is gone already, which the next read tells.
        let _ = SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
    }

    /// Makes the coming close an abort (RST), so that the other end does not take what it has for the whole.
    pub fn abort(&self) {
        if let Some(tls) = &self.tls {
            tls.abort();
        }
        // When it fails the connection is gone already.
        let _ = SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }

    /// Whether the connection has ended in both directions, or failed, whatever is still to be read from it.
    pub fn is_over(&self) -> bool {
        // Errors and hang-ups are told without being asked for.
        let mut fds = [PollFd::new(&self.stream, PollFlags::empty())];
        matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1..))
    }

    /// Whether a connection that should be silent still is, as far as the runtime has heard: false when the other
    /// end closed it or sent something unasked, which is then lost.
    pub fn is_silent(&self) -> bool {
        if self.is_cut() {
            return false;
        }
        match &self.tls {
            None => matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock),
            Some(tls) => tls.is_silent(&self.stream),
        }
    }

    /// Like [`is_silent`](Self::is_silent), but asks the kernel.
    pub fn is_silent_now(&self) -> bool {
        if let Some(tls) = &self.tls {
            return tls.is_silent_now(&self.stream);
        }
        let mut byte = [std::mem::MaybeUninit::uninit()];
        match SockRef::from(&self.stream).peek(&mut byte) {
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            Ok(_) => false,
        }
    }
}

/// A connection that ends is said to: otherwise a peer of TLS could not tell the whole from a part.
impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(tls) = &self.tls {
            tls.end(&self.stream);
        }
    }
}

/// For codecs that read and write by themselves.
impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Socket { stream, tls, .. } = &mut *self;
        match tls {
            None => Pin::new(stream).poll_read(cx, into),
            Some(tls) => {
                let count = ready!(tls.poll_fill(cx, stream, into.initialize_unfilled()))?;
                into.advance(count);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Socket::poll_write(&mut self, cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Socket { stream, tls, .. } = &mut *self;
        match tls {
            None => Pin::new(stream).poll_write_vectored(cx, parts),
            Some(tls) => {
                // As many as a codec of ours has at once; what is beyond them is written the next time.
                let mut slices = [&[][..]; PARTS_MAX];
                let count = parts.len().min(PARTS_MAX);
                for (slice, part) in slices.iter_mut().zip(parts) {
                    *slice = part;
                }
                tls.poll_write(cx, stream, &slices[..count])
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Socket { stream, tls, .. } = &mut *self;
        match tls {
            None => Poll::Ready(Ok(())),
            Some(tls) => tls.poll_flush(cx, stream),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Socket { stream, tls, .. } = &mut *self;
        if let Some(tls) = tls {
            ready!(tls.poll_end(cx, stream))?;
        }
        Pin::new(stream).poll_shutdown(cx)
    }
}

/// Parts of one vectored write that TLS seals together.
const PARTS_MAX: usize = 64;

pub(crate) fn poll_read(stream: &mut TcpStream, waker: &Waker, into: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut read = ReadBuf::new(into);
    ready!(Pin::new(stream).poll_read(&mut Context::from_waker(waker), &mut read))?;
    Poll::Ready(Ok(read.filled().len()))
}

pub(crate) fn poll_write(stream: &mut TcpStream, waker: &Waker, bytes: &[u8]) -> Poll<io::Result<usize>> {
    Pin::new(stream).poll_write(&mut Context::from_waker(waker), bytes)
}
