//! Connections to backends.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::socket::Socket;

/// Connects to `address`, without a limit in time: the caller has a timer.
///
/// # Errors
/// What the kernel says: refused, unreachable, out of ports or descriptors.
pub async fn connect(address: SocketAddr) -> io::Result<Socket> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Socket::new(stream))
}

/// Whether a connection failed because this process or machine has run out of something, and not because of the other
/// end: descriptors, memory, or ports to connect from.
pub fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let ours = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    Errno::from_io_error(error).is_some_and(|errno| ours.contains(&errno))
}
