//! What workers tell the control plane, and the other way round: bounded, never waited for.

use crate::name::{BackendId, NameId};

/// Takes note of backends whose failures in a row have passed their pool's threshold.
pub trait Alarms: Send + Sync {
    /// A worker saw it. A note that finds no room is dropped: the next failure brings another.
    fn suspect(&self, pool: NameId, backend: BackendId);
}

/// Ends connections that workers hold.
pub trait Cuts: Send + Sync {
    /// Has every worker end its connections to `backend`. False when not all of them could be told; it may be said again.
    fn cut(&self, backend: BackendId) -> bool;
}

/// Takes finished lines of the access log.
pub trait AccessLog: Send + Sync {
    /// Takes one line with its newline; a line that finds no room is dropped and counted.
    fn write(&self, line: Vec<u8>);
}
