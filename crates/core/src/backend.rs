//! A backend: one address that we send to, alive from its first sight to its last lease.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use crate::budget::Grace;
use crate::curve::Curve;
use crate::load::Load;
use crate::load_line::LoadLine;
use crate::name::BackendId;
use crate::orca::Report;
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
    /// Likewise what is sent once more because a kept connection turned out to be closed.
    pub resend_grace: Grace,
    /// The sticky sessions that came of late, where a cookie of ours tells them apart.
    pub seen: Seen,
    /// What it chose to speak, where it has the choice.
    pub spoken: Spoken,
    /// Whether its work is to end.
    pub leaving: Leaving,
}

/// Whether a backend's work is to end, since it drains, is in maintenance, or has left its pool: connections to it are kept
/// for nobody. Control writes it; workers count what they had to cut.
#[derive(Debug, Default)]
pub struct Leaving {
    is_so: AtomicBool,
    cut: AtomicU64,
}

impl Leaving {
    /// Whether it is.
    pub fn is_so(&self) -> bool {
        self.is_so.load(Relaxed)
    }

    /// Whether it is from now on.
    pub fn set(&self, is_so: bool) {
        self.is_so.store(is_so, Relaxed);
    }

    /// Something that was still under way at a drain's deadline was cut.
    pub fn count_cut(&self) {
        self.cut.fetch_add(1, Relaxed);
    }

    /// How much was.
    pub fn cut(&self) -> u64 {
        self.cut.load(Relaxed)
    }
}

/// The version of HTTP that a backend chose the last time that it was asked to.
#[derive(Debug, Default)]
pub struct Spoken(AtomicU8);

impl Spoken {
    const H1: u8 = 1;
    const H2: u8 = 2;

    /// Whether it chose HTTP/1.1.
    pub fn is_h1(&self) -> bool {
        self.0.load(Relaxed) == Self::H1
    }

    /// Whether it chose HTTP/2.
    pub fn is_h2(&self) -> bool {
        self.0.load(Relaxed) == Self::H2
    }

    /// It chose HTTP/2, or else HTTP/1.1.
    pub fn choose(&self, h2: bool) {
        let chosen = if h2 { Self::H2 } else { Self::H1 };
        // A store makes other threads read it anew; it hardly ever tells anything new.
        if self.0.load(Relaxed) != chosen {
            self.0.store(chosen, Relaxed);
        }
    }

    /// It has no choice any more.
    pub fn forget(&self) {
        self.0.store(0, Relaxed);
    }
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
            resend_grace: Grace::default(),
            seen: Seen::default(),
            spoken: Spoken::default(),
            leaving: Leaving::default(),
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
