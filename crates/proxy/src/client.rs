//! A client's connection: the socket, its deadline, and its place in the counts.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use plimsoll_core::limit::Held;
use plimsoll_core::name::NameId;
use plimsoll_core::time::Now;
use plimsoll_net::{Buffer, Deadline, Socket, Timer};

use crate::door::Door;
use crate::handshake::ClientTls;
use crate::worker::{Pinned, Worker};

/// Bytes that are read and thrown away after we have said our last word, so that the client gets to read it: closing
/// with unread bytes would reset the connection (RFC 9112 §9.6). A client that has more to say is left to stand before
/// full buffers, where it has nothing to do but read.
pub(crate) const LINGER_BYTES_MAX: usize = 256 << 10;

/// How long both may take.
pub(crate) const LINGER: std::time::Duration = std::time::Duration::from_secs(2);

/// Who is at the other end of a connection, and who serves it. While it lives the connection is counted.
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) peer: SocketAddr,
    /// Where it connected to, when a proxy in front says so.
    pub(crate) reached: Option<SocketAddr>,
    /// Where it came in.
    door: Rc<Door>,
    pub(crate) listener: NameId,
    pub(crate) born: Now,
    /// What is known of its TLS, when it speaks it with us.
    pub(crate) tls: Option<Box<ClientTls>>,
    /// Requests that were begun on the connection.
    pub(crate) requests: Cell<u64>,
    /// All workers together carried as many connections as they may when it came.
    one_too_many: bool,
    /// Its place among the connections of its client, where those are counted.
    held: Option<Held>,
}

/// A client's connection.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) socket: Socket,
    pub(crate) timer: Timer,
}

impl Client {
    /// One who has come, among the `most` connections that all workers may carry together or beyond them.
    pub(crate) fn new(worker: Rc<Worker>, (peer, held): (SocketAddr, Option<Held>), door: Rc<Door>, most: u32) -> Self {
        let listener = door.listener;
        worker.shared.carried[worker.index].fetch_add(1, Relaxed);
        let before = worker.shared.connections.fetch_add(1, Relaxed);
        worker.shard().listener(listener).opened += 1;
        Client {
            peer,
            reached: None,
            door,
            listener,
            born: worker.now(),
            tls: None,
            requests: Cell::new(0),
            one_too_many: before >= most,
            held,
            worker,
        }
    }

    /// What serves it now, to be kept for as long as a request lasts.
    pub(crate) fn pin(&self) -> Rc<Pinned> {
        self.door.pin(&self.worker)
    }

    /// A timer for something that is done for it.
    pub(crate) fn timer(&self) -> Timer {
        self.worker.timers.timer_with(&self.door.lapse)
    }

    /// Whether its work is to end: the node is being shut down, or its listener is no more.
    pub(crate) fn is_draining(&self) -> bool {
        self.worker.is_draining() || self.door.drain().is_some()
    }

    /// Whether whoever watches this node is told to send clients elsewhere.
    pub(crate) fn is_leaving(&self) -> bool {
        self.worker.shared.draining.load(Relaxed) || self.is_draining()
    }

    /// When its connection is to be closed, if it is idle, because of a drain: spread over the drain's first half, so that
    /// the clients do not all come to the other nodes at once.
    pub(crate) fn drain_close(&self, timer: &Timer) -> Option<Deadline> {
        let drain = self.worker.drain().or_else(|| self.door.drain())?;
        let half = drain.deadline.since(drain.begun) / 2;
        // A port is as good as a random number here, and needs no place in every idle connection.
        let close = drain.begun + half.mul_f64(f64::from(self.peer.port().wrapping_mul(40_503)) / 65_536.0);
        Some(timer.after(close.since(self.worker.now())))
    }

    /// How answers over TCP tell it that there is HTTP/3 where it came in. Nobody is sent to what is being closed.
    pub(crate) fn alt_svc(&self) -> Option<Rc<[u8]>> {
        if self.is_draining() {
            None
        } else {
            self.worker.quic.advert(self.listener)
        }
    }

    /// What a URL of what it asks for begins with.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// It has this place among the connections of its client, who was not known before.
    pub(crate) fn hold(&mut self, held: Option<Held>) {
        self.held = held;
    }

    /// Counts one more request.
    pub(crate) fn count_request(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    /// Whether there was no place for it among the `most` connections that all workers may carry together, and still
    /// is none. Those that were there before it keep theirs.
    pub(crate) fn is_too_many(&self, most: u32) -> bool {
        self.one_too_many && self.worker.shared.connections.load(Relaxed) > most
    }
}

impl Connection {
    /// A connection, among the `most` that all workers may carry together or beyond them.
    pub(crate) fn new(
        worker: Rc<Worker>,
        stream: tokio::net::TcpStream,
        peer: (SocketAddr, Option<Held>),
        door: Rc<Door>,
        most: u32,
    ) -> Self {
        let client = Client::new(worker, peer, door, most);
        Connection {
            timer: client.timer(),
            client,
            socket: Socket::new(stream),
        }
    }

    /// Says that nothing more will be written, and reads on for a moment, so that the client can read what was.
    pub(crate) async fn linger(&mut self, buffer: &mut Buffer) {
        self.socket.shutdown_write();
        let deadline = self.timer.after(LINGER);
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            buffer.consume(buffer.len());
            match self.timer.within(deadline, self.socket.fill(buffer)).await {
                Ok(Ok(count)) if count > 0 => left = left.saturating_sub(count),
                _ => return,
            }
        }
        buffer.consume(buffer.len());
        buffer.release();
        self.timer.sleep(deadline).await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.worker.shared.carried[self.worker.index].fetch_sub(1, Relaxed);
        self.worker.shared.connections.fetch_sub(1, Relaxed);
        self.worker.shard().listener(self.listener).closed += 1;
    }
}
