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
