//! Listening sockets, one a worker and address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted; the kernel clamps it to `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;

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
