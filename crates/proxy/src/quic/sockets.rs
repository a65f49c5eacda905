//! The sockets of QUIC, one a worker and address. They stay open until the last worker is done with them: the kernel
//! counts the sockets of an address, and one that closes would give its number to another.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use plimsoll_core::upcall::Address;
use plimsoll_net::quic::{is_ours_quic, listen_quic, steer};

/// The sockets of all addresses, by the address that they were asked for.
#[derive(Debug, Default)]
pub(crate) struct QuicSockets {
    groups: Mutex<HashMap<SocketAddr, Group>>,
    /// Those that the process before has handed over, in the order of its workers.
    handed: Mutex<HashMap<SocketAddr, Vec<UdpSocket>>>,
}

/// The sockets of one address.
#[derive(Debug)]
struct Group {
    local: SocketAddr,
    sockets: Vec<UdpSocket>,
    /// Workers that use theirs.
    users: usize,
    /// A listener is there for it.
    wanted: bool,
}

impl Group {
    /// Binds them, whether we stand in our own way or not; those that were `handed` over are used when there is one for
    /// each worker.
    fn bind(local: SocketAddr, workers: usize, is_in_our_way: bool, handed: Vec<UdpSocket>) -> io::Result<Group> {
        if !is_in_our_way && handed.is_empty() {
            is_ours_quic(local)?;
        }
        let sockets = if handed.len() == workers {
            handed
        } else {
            (0..workers)
                .map(|_| listen_quic(local))
                .collect::<io::Result<Vec<_>>>()?
        };
        if let Some(first) = sockets.first().filter(|_| workers > 1)
            && let Err(error) = steer(first, workers)
        {
            tracing::warn!(%error, %local, "clients of HTTP/3 that change their address will lose their connections");
        }
        Ok(Group {
            local,
            sockets,
            users: 0,
            wanted: true,
        })
    }
}

impl QuicSockets {
    fn groups(&self) -> MutexGuard<'_, HashMap<SocketAddr, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None yet, after a process that has handed these over, in the order of its workers.
    pub(crate) fn after(handed: Vec<(SocketAddr, OwnedFd)>) -> Self {
        let mut by_address: HashMap<SocketAddr, Vec<UdpSocket>> = HashMap::new();
        for (wanted, socket) in handed {
            by_address.entry(wanted).or_default().push(socket.into());
        }
        QuicSockets {
            groups: Mutex::default(),
            handed: Mutex::new(by_address),
        }
    }

    /// Copies of all that are wanted, in the order of the workers.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub(crate) fn copies(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let groups = self.groups();
        let wanted = groups.iter().filter(|(_, group)| group.wanted);
        let sockets = wanted.flat_map(|(address, group)| group.sockets.iter().map(move |socket| (*address, socket)));
        sockets
            .map(|(address, socket)| Ok((address, socket.try_clone()?.into())))
            .collect()
    }

    /// Binds a socket for each of so many workers at each of the addresses, which are bound over TCP at those beside them:
    /// all of them, or none. What is bound already stays.
    ///
    /// # Errors
    /// The first that cannot be bound, with its name.
    pub(crate) fn bind<'w>(
        &self,
        wanted: impl Iterator<Item = (Address<'w>, SocketAddr)>,
        workers: usize,
    ) -> Result<(), String> {
        let mut groups = self.groups();
        let mut new = HashMap::new();
        let mut again = Vec::new();
        for (Address { listener, address, .. }, local) in wanted {
            if groups.contains_key(&address) {
                again.push(address);
                continue;
            }
            let is_in_our_way = groups.values().any(|group| group.local.port() == local.port());
            let handed = self
                .handed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&address);
            let group = Group::bind(local, workers, is_in_our_way, handed.unwrap_or_default()).map_err(|error| {
                format!("listener \"{listener}\" cannot bind {address} over UDP, for HTTP/3: {error}")
            })?;
            new.insert(address, group);
        }
        groups.extend(new);
        for address in again {
            groups.entry(address).and_modify(|group| group.wanted = true);
        }
        Ok(())
    }

    /// The socket of a worker, who says when it [leaves](Self::leave) it.
    pub(crate) fn fetch(&self, wanted: SocketAddr, worker: usize) -> Option<UdpSocket> {
        let mut groups = self.groups();
        let group = groups.get_mut(&wanted)?;
        let socket = group.sockets.get(worker)?.try_clone();
        let socket = socket
            .map_err(|error| tracing::error!(%error, "a socket cannot be shared"))
            .ok()?;
        group.users += 1;
        Some(socket)
    }

    /// Nobody listens there any more. The socket goes with the last connection.
    pub(crate) fn retire(&self, wanted: SocketAddr) {
        if let Some(group) = self.groups().get_mut(&wanted) {
            group.wanted = false;
        }
    }

    /// A worker is done with its socket.
    pub(crate) fn leave(&self, wanted: SocketAddr) {
        let mut groups = self.groups();
        if let Some(group) = groups.get_mut(&wanted) {
            group.users = group.users.saturating_sub(1);
            if group.users == 0 && !group.wanted {
                groups.remove(&wanted);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_free_once_the_last_worker_has_left_it() {
        let sockets = QuicSockets::default();
        let local = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let wanted = Address {
            listener: "web",
            address: local,
            http3: true,
        };
        sockets.bind([(wanted, local)].into_iter(), 2).unwrap();
        let (first, second) = (sockets.fetch(local, 0), sockets.fetch(local, 1));
        assert!(is_ours_quic(local).is_err() && sockets.fetch(local, 2).is_none());
        sockets.retire(local);
        // It is wanted again while its connections go on.
        sockets.bind([(wanted, local)].into_iter(), 2).unwrap();
        sockets.leave(local);
        drop(first);
        sockets.retire(local);
        assert!(is_ours_quic(local).is_err());
        sockets.leave(local);
        drop(second);
        assert!(is_ours_quic(local).is_ok());
    }
}
