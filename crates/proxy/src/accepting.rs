//! Where a worker accepts connections: it follows the snapshot, and hands over what others should serve.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use plimsoll_core::name::NameId;
use plimsoll_core::outcome::Reason;
use plimsoll_core::time::Now;
use plimsoll_net::is_shortage;
use tokio::task::JoinHandle;

use crate::door::Door;
use crate::plane::Message;
use crate::worker::{Handed, Worker};

/// Time that the loop rests when accepting fails (out of descriptors): it would fail again at once.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Time between two looks whether the last connection of a listener that is no more has left; what another worker has
/// accepted there before it learnt of the end arrives well within it.
const EMPTY_CHECK: Duration = Duration::from_secs(1);

/// An address that connections are accepted on.
pub(crate) struct Accepting {
    socket: Rc<tokio::net::TcpListener>,
    /// Of the listener that has the address now.
    door: Rc<RefCell<Rc<Door>>>,
    pub(crate) task: JoinHandle<()>,
}

impl Worker {
    /// Listens where the newest snapshot says, and nowhere else.
    pub(crate) async fn reconcile(self: &Rc<Self>) {
        let pinned = self.pin();
        self.bound_idle(&pinned.snapshot);
        self.close_doors();
        self.quic.reconcile(self, &pinned);
        let wanted: HashMap<SocketAddr, NameId> = (pinned.snapshot.listeners.iter())
            .flat_map(|listener| listener.bind.iter().map(|address| (*address, listener.id)))
            .collect();
        let gone: Vec<(SocketAddr, Vec<Accepting>)> = {
            let mut accepting = self.accepting.borrow_mut();
            accepting
                .extract_if(|address, _| !wanted.contains_key(address))
                .collect()
        };
        for (address, accepting) in gone {
            for accepting in accepting {
                self.stop_accepting(accepting).await;
            }
            self.shared.forget(address);
        }
        for (address, listener) in wanted {
            let Some(door) = self.doors.find(listener, &pinned) else {
                continue;
            };
            let mut accepting = self.accepting.borrow_mut();
            let accepting = accepting.entry(address).or_default();
            for accepting in accepting.iter() {
                accepting.door.replace(door.clone());
            }
            for socket in self.shared.fetch_sockets(self.index, address) {
                match tokio::net::TcpListener::from_std(socket) {
                    Ok(socket) => accepting.push(self.begin_accepting(socket, door.clone())),
                    Err(error) => tracing::error!(%address, %error, "a listening socket cannot be used"),
                }
            }
        }
    }

    /// Closes a listening socket. Those who have connected and wait to be accepted would be reset: they are served first.
    async fn stop_accepting(self: &Rc<Self>, accepting: Accepting) {
        let Accepting { socket, door, task } = accepting;
        task.abort();
        // It ends at its next turn, with an error that says that it was aborted.
        let _ = task.await;
        let Some(Ok(socket)) = Rc::into_inner(socket).map(tokio::net::TcpListener::into_std) else {
            return;
        };
        let listener = door.borrow().listener;
        while let Ok((stream, peer)) = socket.accept() {
            if stream.set_nonblocking(true).is_ok() {
                self.serve_handed(Handed { stream, peer, listener });
            }
        }
    }

    /// Has the connections of listeners that are no more leave one after the other, and ends those that have not left by
    /// the deadline.
    fn close_doors(self: &Rc<Self>) {
        let closing = self.doors.take_closing();
        if closing.is_empty() {
            return;
        }
        // Idle ones learn when they have to leave.
        self.timers.wake_all();
        for door in closing {
            let worker = self.clone();
            tokio::task::spawn_local(async move {
                let deadline = door.drain().map_or(Now::START, |drain| drain.deadline);
                loop {
                    let left = deadline.since(worker.now());
                    tokio::time::sleep(left.min(EMPTY_CHECK)).await;
                    // What is left when nobody is inside is its generation, and that may be large.
                    if left <= EMPTY_CHECK || worker.doors.is_empty(&door) {
                        break;
                    }
                }
                worker.timers.expire(&door.lapse);
                worker.doors.forget(&door);
            });
        }
    }

    fn begin_accepting(self: &Rc<Self>, socket: tokio::net::TcpListener, door: Rc<Door>) -> Accepting {
        let (socket, door) = (Rc::new(socket), Rc::new(RefCell::new(door)));
        let task = tokio::task::spawn_local(self.clone().accept(socket.clone(), door.clone()));
        Accepting { socket, door, task }
    }

    async fn accept(self: Rc<Self>, socket: Rc<tokio::net::TcpListener>, door: Rc<RefCell<Rc<Door>>>) {
        loop {
            match socket.accept().await {
                Ok((stream, peer)) => {
                    let listener = door.borrow().listener;
                    self.place(stream, peer, listener);
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) if is_shortage(&error) && self.make_room() => {}
                Err(error) => {
                    tracing::warn!(%error, "accepting failed");
                    self.shard().failure(Reason::Overloaded);
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    /// Serves an accepted connection here, or hands it to a worker that carries less.
    fn place(self: &Rc<Self>, stream: tokio::net::TcpStream, peer: SocketAddr, listener: NameId) {
        let worker = self.shared.place(self.index);
        if worker == self.index {
            return self.serve(stream, peer, listener);
        }
        let Ok(stream) = stream.into_std() else { return };
        if let Err(Message::Serve(handed)) = self
            .shared
            .send(worker, Message::Serve(Handed { stream, peer, listener }))
        {
            self.serve_handed(handed);
        }
    }

    pub(crate) fn serve_handed(self: &Rc<Self>, handed: Handed) {
        match tokio::net::TcpStream::from_std(handed.stream) {
            Ok(stream) => self.serve(stream, handed.peer, handed.listener),
            Err(error) => tracing::warn!(%error, "a connection that was handed over cannot be served"),
        }
    }
}

/// Errors of accept that concern the connection and not the socket (accept(2)).
fn is_about_one_connection(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::Interrupted
    )
}
