//! Listening sockets, one a worker and address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted; the kernel clamps it to `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;

/// Whether `address` can be bound by us alone. `SO_REUSEPORT` would let two processes of one user share it without a
/// word, each with a part of the connections; so the first socket asks without it.
///
/// # Errors
/// As [`listen`].
pub fn is_ours(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // What lingers of a process that has ended is no obstacle.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

/// Listens on `address`. Every worker opens its own socket there (`SO_REUSEPORT`), and the kernel spreads new
/// connections over them. Accepted sockets inherit `TCP_NODELAY` from the listening one, which saves a call each.
///
/// # Errors
/// The address is in use by somebody else, is not of this machine, or needs a privilege.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // So that "0.0.0.0:80" and "[::]:80" can stand beside each other.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_share_an_address_that_nobody_else_can_have() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let _second = listen(address).unwrap();
        assert_eq!(is_ours(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(is_ours("127.0.0.1:0".parse().unwrap()).is_ok());
    }
}
