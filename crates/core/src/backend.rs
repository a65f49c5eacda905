//! A backend: one address that we send to, alive from its first sight to its last lease.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::curve::Curve;
use crate::load::Load;
use crate::load_line::LoadLine;
use crate::name::BackendId;
use crate::orca::Report;
use crate::retry::Grace;
use crate::sticky::Seen;

/// One address of one pool. Its identity is (pool, address, port): two pools that name one address share nothing.
#[derive(Debug)]
pub struct Backend {
    /// The number that stands for the identity.
    pub id: BackendId,
    /// The pool that it belongs to.
    pub pool: Arc<str>,
    /// Where to connect to.
    pub address: SocketAddr,
    /// What it carries and how it answered, written by the workers.
    pub load: Load,
    /// How long it took by how much it had in hand.
    pub curve: Curve,
    /// What it said of itself.
    pub report: Report,
    /// How much it may carry at once, where that is learned.
    pub line: LoadLine,
    /// Retries that are not charged to the pool's budget.
    pub grace: Grace,
    /// The sticky sessions that came of late, where a cookie of ours tells them apart.
    pub seen: Seen,
}

impl Backend {
    /// A backend that carries nothing yet.
    pub fn new(id: BackendId, pool: impl Into<Arc<str>>, address: SocketAddr) -> Self {
        Backend {
            id,
            pool: pool.into(),
            address,
            load: Load::default(),
            curve: Curve::default(),
            report: Report::default(),
            line: LoadLine::default(),
            grace: Grace::default(),
            seen: Seen::default(),
        }
    }

    /// A place among the backend's connections, unless `most` are taken.
    pub fn place(self: &Arc<Self>, most: u32) -> Option<Place> {
        self.load.connect(most).then(|| Place(self.clone()))
    }
}

/// One connection's place among its backend's, counted while it lives.
#[derive(Debug)]
pub struct Place(Arc<Backend>);

impl Place {
    /// The backend.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.load.disconnect();
    }
}
