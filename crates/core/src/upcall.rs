//! What workers tell the control plane, and the other way round: bounded, and never waited for by a worker.

use std::net::SocketAddr;

use crate::name::{BackendId, NameId};

/// Takes note of backends whose failures in a row have passed their pool's threshold.
pub trait Alarms: Send + Sync {
    /// A worker saw it. A note that finds no room is dropped: the next failure brings another.
    fn suspect(&self, pool: NameId, backend: BackendId);
}

/// Why connections to a backend are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It has become unhealthy.
    Unhealthy,
    /// Its drain has come to its deadline.
    Drained,
}

/// Ends connections that workers hold.
pub trait Cuts: Send + Sync {
    /// Has every worker end its connections to `backend`. False when not all of them could be told; it may be said again.
    fn cut(&self, backend: BackendId, why: Ending) -> bool;
}

/// An address that a listener is to accept on.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    /// The listener's name.
    pub listener: &'a str,
    /// The address.
    pub address: SocketAddr,
    /// Whether HTTP/3 is spoken there as well, over UDP.
    pub http3: bool,
}

/// Has the workers follow what is published.
pub trait Follow: Send + Sync {
    /// Binds those of `wanted` that are not bound yet, all of them or none. It comes before the snapshot that names them
    /// is published, so that a port that is taken refuses the change and not half of it.
    ///
    /// # Errors
    /// The first address that cannot be bound, and why.
    fn bind(&self, wanted: &[Address<'_>]) -> Result<(), String>;

    /// Tells every worker that there is another snapshot. Returns once all listen where it says and nowhere else, or
    /// after a while: until then an address that was given up cannot be bound again.
    fn follow(&self);
}

/// Takes finished lines of the access log.
pub trait AccessLog: Send + Sync {
    /// Takes one line with its newline; a line that finds no room is dropped and counted.
    fn write(&self, line: Vec<u8>);
}
