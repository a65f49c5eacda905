//! What a [`Socket`] does otherwise when TLS is spoken on it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, Read};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::handshake::{Agreed, HandshakeFault, refusal};
use super::session::Session;
use super::terminate::Termination;
use crate::buffer::Blocks;
use crate::socket::{Socket, poll_read, poll_write};

/// TLS of a socket. It is looked at through shared references as well, as the kernel's part of a connection can be.
pub(crate) struct Tls(RefCell<Session>);

impl Socket {
    /// Speaks TLS from now on, as the server; `read` is what was read of it already. The caller has a timer.
    ///
    /// # Errors
    /// Why the client and we cannot. It has been told.
    pub async fn accept_tls(
        &mut self,
        termination: &Termination,
        read: &[u8],
        blocks: &Rc<Blocks>,
    ) -> Result<Agreed, HandshakeFault> {
        let connection = UnbufferedServerConnection::new(termination.config()).map_err(HandshakeFault::Tls)?;
        let mut session = Session::server(connection, blocks);
        session.begin_with(read);
        self.shake(session).await
    }

    /// Speaks TLS from now on, as a client of the server that is called `name`. The caller has a timer.
    ///
    /// # Errors
    /// Why the server and we cannot. It has been told.
    pub async fn connect_tls(
        &mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        blocks: &Rc<Blocks>,
    ) -> Result<Agreed, HandshakeFault> {
        let connection = UnbufferedClientConnection::new(config, name).map_err(HandshakeFault::Tls)?;
        self.shake(Session::client(connection, blocks)).await
    }

    async fn shake(&mut self, mut session: Session) -> Result<Agreed, HandshakeFault> {
        let stream = &mut self.stream;
        let agreed = poll_fn(|cx| {
            let stream = RefCell::new(&mut *stream);
            session.poll_handshake(
                &mut |room| poll_read(&mut stream.borrow_mut(), cx.waker(), room),
                &mut |bytes| poll_write(&mut stream.borrow_mut(), cx.waker(), bytes),
            )
        })
        .await?;
        self.tls = Some(Box::new(Tls(RefCell::new(session))));
        Ok(agreed)
    }

    /// What the peer did not like of our TLS, on a connection that has failed and of which nothing was read: whoever
    /// hangs up says so before.
    pub fn refusal_now(&self) -> Option<&'static str> {
        self.tls.as_ref()?.refusal_now(&self.stream)
    }

    /// Whether TLS is spoken on it.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

impl Tls {
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let session = self.0.get_mut();
        let read = session.poll_fill(into, &mut |room| poll_read(stream, cx.waker(), room));
        if session.has_out() {
            // Answers to what the peer said beside its words, and the alert that ends a broken connection; whether they
            // can go now is no matter of this read's.
            let _ = session.poll_flush(&mut |bytes| poll_write(stream, cx.waker(), bytes));
        }
        read
    }

    /// Reads what there is; `None` when that is nothing.
    pub(crate) fn try_fill(&mut self, stream: &TcpStream, into: &mut [u8]) -> io::Result<Option<usize>> {
        let session = self.0.get_mut();
        let read = session.poll_fill(into, &mut |room| now(stream.try_read(room)));
        if session.has_out() {
            let _ = session.poll_flush(&mut |bytes| now(stream.try_write(bytes)));
        }
        match read {
            Poll::Ready(read) => read.map(Some),
            Poll::Pending => Ok(None),
        }
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>, stream: &TcpStream) -> Poll<io::Result<()>> {
        if self.0.borrow().is_readable() {
            return Poll::Ready(Ok(()));
        }
        stream.poll_read_ready(cx)
    }

    /// Ready at an end with nothing before it that is still to be read.
    pub(crate) fn poll_ended(&self, cx: &mut Context<'_>, stream: &TcpStream) -> Poll<()> {
        let mut session = self.0.borrow_mut();
        loop {
            if session.look_ahead().is_err() || session.has_ended() && !session.holds_opened() {
                return Poll::Ready(());
            }
            if session.holds_opened() {
                return Poll::Pending;
            }
            if ready!(stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            match session.poll_more(&mut |room| now(stream.try_read(room))) {
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                // Nothing after all, which was noted: the next look waits.
                Poll::Pending | Poll::Ready(Ok(())) => {}
            }
        }
    }

    /// Whether nothing was said and nothing ended, as far as the runtime has heard.
    pub(crate) fn is_silent(&self, stream: &TcpStream) -> bool {
        self.hears_nothing(&mut |room| now(stream.try_read(room)))
    }

    /// The same, but asks the kernel.
    pub(crate) fn is_silent_now(&self, stream: &TcpStream) -> bool {
        let socket = SockRef::from(stream);
        self.hears_nothing(&mut |room| now((&*socket).read(room)))
    }

    /// What the peer did not like of us, if that was the last that it has said: asks the kernel.
    fn refusal_now(&self, stream: &TcpStream) -> Option<&'static str> {
        let socket = SockRef::from(stream);
        let mut session = self.0.borrow_mut();
        loop {
            if let Err(error) = session.look_ahead() {
                return refusal(&error);
            }
            if session.has_ended() || session.holds_opened() {
                return None;
            }
            let more = session.poll_more(&mut |room| now((&*socket).read(room)));
            if !matches!(more, Poll::Ready(Ok(()))) {
                return None;
            }
        }
    }

    /// What the peer's TLS says unasked, such as tickets, is no word of its own.
    fn hears_nothing(&self, read: &mut dyn FnMut(&mut [u8]) -> Poll<io::Result<usize>>) -> bool {
        let mut session = self.0.borrow_mut();
        loop {
            if session.look_ahead().is_err() || session.has_ended() || session.holds_opened() {
                return false;
            }
            match session.poll_more(read) {
                Poll::Pending => return true,
                Poll::Ready(Err(_)) => return false,
                Poll::Ready(Ok(())) => {}
            }
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
        parts: &[&[u8]],
    ) -> Poll<io::Result<usize>> {
        // What is sealed cannot be taken back, so that nothing is before it can go.
        ready!(stream.poll_write_ready(cx))?;
        let write = &mut |bytes: &[u8]| poll_write(stream, cx.waker(), bytes);
        self.0.get_mut().poll_write(parts, write)
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>, stream: &mut TcpStream) -> Poll<io::Result<()>> {
        let write = &mut |bytes: &[u8]| poll_write(stream, cx.waker(), bytes);
        self.0.get_mut().poll_flush(write)
    }

    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>, stream: &mut TcpStream) -> Poll<io::Result<()>> {
        self.0.get_mut().seal_end()?;
        self.poll_flush(cx, stream)
    }

    /// Announces that nothing more is sent, unless the kernel takes nothing now, which it will not in time: then the
    /// peer sees an end that was not announced, and knows that something is missing.
    pub(crate) fn end(&self, stream: &TcpStream) {
        let mut session = self.0.borrow_mut();
        let write = &mut |bytes: &[u8]| now(stream.try_write(bytes));
        // When it fails the connection is gone already.
        if !session.said_end() && session.poll_flush(write).is_ready() && session.seal_end().is_ok() {
            let _ = session.poll_flush(write);
        }
    }

    /// No end is announced any more: what the peer has is not the whole.
    pub(crate) fn abort(&self) {
        self.0.borrow_mut().forget_end();
    }
}

fn now<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}
