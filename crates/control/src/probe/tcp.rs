//! A TCP check: a connection can be made.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Probe, Probing};

/// Passes when the backend takes a connection.
pub(super) struct Tcp;

impl Probe for Tcp {
    fn probe(&self, to: SocketAddr, _deadline: Instant) -> Probing<'_> {
        Box::pin(async move {
            TcpStream::connect(to).await?;
            Ok(())
        })
    }
}
