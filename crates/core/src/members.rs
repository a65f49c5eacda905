//! The backends that one picker chooses among.

use std::sync::Arc;

use crate::backend::Backend;
use crate::load_line::Bounds;

/// How much work may be given to one backend at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections, busy and idle, of all workers.
    pub connections: u32,
    /// Requests (or layer 4 connections) in flight.
    pub requests: u32,
    /// Whether a connection carries many requests at once, as HTTP/2 does, whatever the backend chooses.
    pub shared: bool,
    /// The least that the load line may fall to, where it is learned; `requests` is then the most.
    pub learned: Option<u32>,
}

impl Default for Limits {
    /// Envoy's circuit limits: 1024 of each.
    fn default() -> Self {
        Limits {
            connections: 1024,
            requests: 1024,
            shared: false,
            learned: None,
        }
    }
}

impl Limits {
    /// How much work `backend` may ever have at once.
    fn at_once(&self, backend: &Backend) -> u32 {
        if self.shared || backend.spoken.is_h2() {
            self.requests
        } else {
            self.requests.min(self.connections)
        }
    }

    /// Between what its load line moves, where that is learned.
    pub fn bounds(&self, backend: &Backend) -> Option<Bounds> {
        let most = self.at_once(backend);
        self.learned.map(|least| Bounds {
            least: least.clamp(1, most.max(1)),
            most: most.max(1),
        })
    }

    /// The load line of `backend`: how much work it may have at once now.
    pub fn load_line(&self, backend: &Backend) -> u32 {
        match self.bounds(backend) {
            Some(bounds) => backend.line.get(bounds),
            None => self.at_once(backend),
        }
    }
}

/// One backend as its pool sees it now.
#[derive(Clone, Debug)]
pub struct Member {
    /// The living backend.
    pub backend: Arc<Backend>,
    /// Its name in the pool, unique there.
    pub name: Arc<str>,
    /// The share of work that it shall get, relative to the other members'. Never 0 inside [`Members`].
    pub weight: u32,
    /// What it may carry.
    pub limits: Limits,
}

/// A position in [`Members`].
pub type Slot = usize;

/// An immutable set of backends with their effective weights; all may be chosen.
#[derive(Clone, Debug, Default)]
pub struct Members(Box<[Member]>);

impl Members {
    /// The set of those members whose weight is above 0, in the order given.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Self {
        Members(members.into_iter().filter(|member| member.weight > 0).collect())
    }

    /// All, by slot.
    pub fn as_slice(&self) -> &[Member] {
        &self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nobody to choose.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The member in `slot`.
    pub fn get(&self, slot: Slot) -> Option<&Member> {
        self.0.get(slot)
    }

    /// The sum of all weights.
    pub fn total_weight(&self) -> u64 {
        self.0.iter().map(|member| u64::from(member.weight)).sum()
    }
}

impl std::ops::Index<Slot> for Members {
    type Output = Member;

    fn index(&self, slot: Slot) -> &Member {
        &self.0[slot]
    }
}
