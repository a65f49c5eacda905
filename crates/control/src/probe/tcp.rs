//! A TCP check: a connection can be made, and TLS spoken on it where the pool wants that.

use plimsoll_net::tls::Offer;
use tokio::time::Instant;

use super::{Probe, Probing, Way};

/// Passes when the backend takes a connection.
pub(super) struct Tcp;

impl Probe for Tcp {
    fn probe(&self, way: Way, _deadline: Instant) -> Probing<'_> {
        Box::pin(async move { way.dial(Offer::Bytes).await.map(drop) })
    }
}
