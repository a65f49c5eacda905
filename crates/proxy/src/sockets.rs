//! The listening sockets of a process: bound before anything is served, fetched by the workers, and handed to the process
//! that takes over.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use plimsoll_core::snapshot::Snapshot;
use plimsoll_core::upcall::Address;
use plimsoll_net::HandedSocket;

use crate::quic::QuicSockets;

/// Sockets at the addresses that listeners name: one a worker and address, or those that this process was given.
#[derive(Debug)]
pub struct Sockets {
    workers: usize,
    /// Those that this process was given and no listener has asked for yet.
    handed: HashMap<SocketAddr, Vec<HandedSocket>>,
    /// Those that their worker has not fetched yet.
    waiting: HashMap<(usize, SocketAddr), Vec<TcpListener>>,
    /// By the address that was wanted.
    bound: HashMap<SocketAddr, Bound>,
    /// Those of HTTP/3, beside them.
    quic: Arc<QuicSockets>,
}

/// An address that is ours.
#[derive(Debug)]
struct Bound {
    /// Where it really is: another port when 0 was wanted.
    at: SocketAddr,
    /// Copies of its sockets, for the process that takes over. They go with the address: what nobody accepts from any
    /// more must not look as if somebody did.
    copies: Vec<TcpListener>,
}

impl Sockets {
    /// None yet, for so many workers; `handed` are used before others are bound, and so are those of HTTP/3.
    pub fn new(workers: usize, handed: Vec<HandedSocket>, quic: Vec<(SocketAddr, OwnedFd)>) -> Self {
        let mut by_address: HashMap<SocketAddr, Vec<HandedSocket>> = HashMap::new();
        for socket in handed {
            by_address.entry(socket.wanted).or_default().push(socket);
        }
        Sockets {
            workers: workers.max(1),
            handed: by_address,
            waiting: HashMap::new(),
            bound: HashMap::new(),
            quic: Arc::new(QuicSockets::after(quic)),
        }
    }

    pub(crate) fn quic(&self) -> Arc<QuicSockets> {
        self.quic.clone()
    }

    /// Binds what `snapshot` names and is not bound yet, or nothing of it.
    ///
    /// # Errors
    /// The first address that cannot be had, with its listener's name.
    pub fn bind(&mut self, snapshot: &Snapshot) -> Result<(), String> {
        self.bind_all(&addresses(snapshot).collect::<Vec<_>>())
    }

    pub(crate) fn bind_all(&mut self, wanted: &[Address<'_>]) -> Result<(), String> {
        let mut new: HashMap<SocketAddr, Bound> = HashMap::new();
        let mut waiting: HashMap<(usize, SocketAddr), Vec<TcpListener>> = HashMap::new();
        for Address { listener, address, .. } in wanted {
            if self.bound.contains_key(address) || new.contains_key(address) {
                continue;
            }
            let explain = |error: io::Error| format!("listener \"{listener}\" cannot bind {address}: {error}");
            let handed = self.handed.remove(address).unwrap_or_default();
            let taken = if handed.is_empty() {
                // Whoever widens an address to all of this machine's is in his own way.
                let is_in_our_way = self.bound.values().any(|ours| overlap(ours.at, *address));
                self.listen(*address, is_in_our_way)
            } else {
                tracing::info!(%address, sockets = handed.len(), "a socket was handed over");
                self.share_out(handed)
            };
            let taken = taken.map_err(explain)?;
            let copies = taken.iter().map(|(_, socket)| socket.try_clone());
            let bound = Bound {
                at: taken[0].1.local_addr().map_err(explain)?,
                copies: copies.collect::<io::Result<_>>().map_err(explain)?,
            };
            new.insert(*address, bound);
            for (worker, socket) in taken {
                waiting.entry((worker, *address)).or_default().push(socket);
            }
        }
        // Beside those of TCP, whose port they have.
        let local = |address: &SocketAddr| new.get(address).or(self.bound.get(address)).map(|bound| bound.at);
        let quic = wanted.iter().filter(|wanted| wanted.http3);
        let quic = quic.filter_map(|wanted| Some((*wanted, local(&wanted.address)?)));
        self.quic.bind(quic, self.workers)?;
        self.bound.extend(new);
        self.waiting.extend(waiting);
        Ok(())
    }

    /// A socket for each worker at `address`.
    fn listen(&self, address: SocketAddr, is_in_our_way: bool) -> io::Result<Vec<(usize, TcpListener)>> {
        // A port 0 is chosen by the first socket, and the others have to follow it.
        let mut chosen = address;
        if !is_in_our_way {
            plimsoll_net::is_ours(chosen)?;
        }
        let mut taken = Vec::with_capacity(self.workers);
        for worker in 0..self.workers {
            let socket = plimsoll_net::listen(chosen)?;
            chosen = socket.local_addr()?;
            taken.push((worker, socket));
        }
        Ok(taken)
    }

    /// Deals sockets that this process was given out to the workers. None may be left alone: the kernel goes on to put
    /// connections into it.
    fn share_out(&self, handed: Vec<HandedSocket>) -> io::Result<Vec<(usize, TcpListener)>> {
        let mut taken = Vec::new();
        if !handed.iter().all(HandedSocket::shares_port) {
            // Nobody can be bound beside it: all accept from the same.
            for socket in &handed {
                for worker in 0..self.workers {
                    taken.push((worker, socket.socket.try_clone()?));
                }
            }
            return Ok(taken);
        }
        let at = handed[0].socket.local_addr()?;
        let given = handed.len();
        for (number, socket) in handed.into_iter().enumerate() {
            taken.push((number % self.workers, socket.socket));
        }
        for worker in given..self.workers {
            taken.push((worker, plimsoll_net::listen(at)?));
        }
        Ok(taken)
    }

    /// Gives up what this process was given and nobody has asked for; where that was.
    pub fn give_up_the_rest(&mut self) -> Vec<SocketAddr> {
        self.handed.drain().map(|(address, _)| address).collect()
    }

    /// Where the address `wanted` is really bound.
    pub fn local_address(&self, wanted: SocketAddr) -> Option<SocketAddr> {
        self.bound.get(&wanted).map(|bound| bound.at)
    }

    /// Whether a port among them needs a privilege: one below 1024.
    pub fn needs_privilege(&self) -> bool {
        self.bound.values().any(|bound| bound.at.port() < 1024)
    }

    /// Copies of all sockets, by the address that was wanted.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub(crate) fn copies(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let sockets = self.bound.iter();
        let sockets = sockets.flat_map(|(wanted, bound)| bound.copies.iter().map(move |copy| (*wanted, copy)));
        sockets
            .map(|(wanted, copy)| Ok((wanted, copy.try_clone()?.into())))
            .collect()
    }

    /// The sockets for `worker` at `address`.
    pub(crate) fn fetch(&mut self, worker: usize, address: SocketAddr) -> Vec<TcpListener> {
        self.waiting.remove(&(worker, address)).unwrap_or_default()
    }

    /// Forgets an address, so that it can be bound again.
    pub(crate) fn forget(&mut self, address: SocketAddr) {
        self.bound.remove(&address);
    }
}

/// Where the listeners of `snapshot` accept.
fn addresses(snapshot: &Snapshot) -> impl Iterator<Item = Address<'_>> {
    snapshot.listeners.iter().flat_map(|listener| {
        let of = |address: &SocketAddr| Address {
            listener: &listener.name,
            address: *address,
            http3: listener.http3.is_some(),
        };
        listener.bind.iter().map(of)
    })
}

/// Whether two addresses that are not the same stand in each other's way all the same.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_wide = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && is_wide
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: &str = "127.0.0.1:0";

    fn wanted(address: SocketAddr) -> Address<'static> {
        Address {
            listener: "web",
            address,
            http3: false,
        }
    }

    /// What the workers of another process, so many of them, had at one address.
    fn handed(count: usize) -> (SocketAddr, Vec<HandedSocket>) {
        let any = ANY.parse().expect("an address");
        let mut before = Sockets::new(count, Vec::new(), Vec::new());
        before.bind_all(&[wanted(any)]).expect("a port is free");
        let sockets = before.copies().expect("descriptors");
        let at = before.local_address(any).expect("bound");
        let sockets = sockets.into_iter();
        let handed = sockets.map(|(wanted, socket)| HandedSocket::new(socket, Some(wanted)).expect("a socket"));
        (at, handed.collect())
    }

    #[test]
    fn every_socket_that_is_handed_over_has_a_worker_and_every_worker_a_socket() {
        let any = ANY.parse().expect("an address");
        for (before, after) in [(1, 3), (3, 1), (2, 2), (5, 2)] {
            let (at, handed) = handed(before);
            let mut sockets = Sockets::new(after, handed, Vec::new());
            sockets.bind_all(&[wanted(any)]).expect("they were handed over");
            assert_eq!(sockets.local_address(any), Some(at));
            let fetched: Vec<usize> = (0..after).map(|worker| sockets.fetch(worker, any).len()).collect();
            assert_eq!(fetched.iter().sum::<usize>(), before.max(after), "{before} to {after}");
            assert!(fetched.iter().all(|count| *count > 0), "{fetched:?}");
            assert_eq!(sockets.copies().expect("descriptors").len(), before.max(after));
        }
    }

    #[test]
    fn one_that_cannot_be_shared_is_accepted_from_by_all() {
        let alone = TcpListener::bind(ANY).expect("a port is free");
        let at = alone.local_addr().expect("bound");
        let handed = HandedSocket::new(alone.into(), None).expect("a socket");
        let mut sockets = Sockets::new(3, vec![handed], Vec::new());
        sockets.bind_all(&[wanted(at)]).expect("it was handed over");
        for worker in 0..3 {
            assert_eq!(sockets.fetch(worker, at).len(), 1);
        }
    }

    #[test]
    fn what_nobody_asks_for_is_given_up_and_a_failure_binds_nothing() {
        let (at, handed) = handed(1);
        let any: SocketAddr = ANY.parse().expect("an address");
        let mut sockets = Sockets::new(1, handed, Vec::new());
        assert_eq!(sockets.give_up_the_rest(), [any]);
        assert!(TcpListener::bind(at).is_ok(), "nobody listens there any more");
        let taken = TcpListener::bind(ANY).expect("a port is free");
        let taken = taken.local_addr().map(|at| (at, taken)).expect("bound");
        let mut sockets = Sockets::new(1, Vec::new(), Vec::new());
        let refused = sockets
            .bind_all(&[wanted(any), wanted(taken.0)])
            .expect_err("one is taken");
        assert!(refused.starts_with("listener \"web\" cannot bind"), "{refused}");
        assert!(sockets.local_address(any).is_none());
    }
}
