//! Connections to backends that can be cut: when their backend becomes unhealthy, in the pools that ask for it, and at the
//! deadline of its drain.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::{Rc, Weak};

use plimsoll_core::backend::Backend;
use plimsoll_core::name::BackendId;
use plimsoll_core::outcome::Reason;
use plimsoll_core::rng::IdState;
use plimsoll_core::upcall::Ending;
use plimsoll_net::Cut;

/// One worker's connections, by backend. They are as many as there are connections, whose number is limited elsewhere.
#[derive(Default)]
pub(crate) struct Links {
    cuts: RefCell<HashMap<BackendId, Vec<Weak<Cut>>, IdState>>,
    /// Backends whose connections were cut at the deadline of a drain. Control says so of few, and only for as long as they
    /// leave it counts.
    drained: RefCell<HashSet<BackendId, IdState>>,
    turn: Cell<u32>,
}

/// Every so many turns the table is swept.
const SWEEP_TURNS: u32 = 60;

impl Links {
    /// What will cut a connection to `backend` that is about to be made.
    ///
    /// A pool's view is published before workers are told to cut. So whoever links as soon as it was given the backend is
    /// in time: either the view was the new one, and the backend is meant in spite of its state, or the word has still to
    /// come. A request that has waited for a place in between may miss it: it goes on where the backend is unhealthy, and
    /// is cut with the next word where it has drained, which comes once a second.
    pub(crate) fn link(&self, backend: BackendId) -> Rc<Cut> {
        let mut links = self.cuts.borrow_mut();
        let links = links.entry(backend).or_default();
        // Before it would grow, so that looking through it costs each link a few steps on average.
        if links.len() == links.capacity() {
            links.retain(|link| link.strong_count() > 0);
        }
        let cut = Rc::new(Cut::default());
        links.push(Rc::downgrade(&cut));
        cut
    }

    /// Cuts all connections to `backend`.
    pub(crate) fn cut(&self, backend: BackendId, why: Ending) {
        match why {
            Ending::Drained => self.drained.borrow_mut().insert(backend),
            Ending::Unhealthy => self.drained.borrow_mut().remove(&backend),
        };
        let links = self.cuts.borrow_mut().remove(&backend).unwrap_or_default();
        links.iter().filter_map(Weak::upgrade).for_each(|cut| cut.cut());
    }

    /// Forgets, now and then, the backends to which nothing is connected any more, so that the table does not grow with
    /// those that come and go. A worker calls it every second or so.
    pub(crate) fn sweep(&self) {
        // It looks at each connection.
        self.turn.set((self.turn.get() + 1) % SWEEP_TURNS);
        if self.turn.get() > 0 {
            return;
        }
        self.cuts.borrow_mut().retain(|_, links| {
            links.retain(|link| link.strong_count() > 0);
            !links.is_empty()
        });
    }

    /// Whether a connection to `backend` that has ended was cut because of its drain.
    pub(crate) fn was_drained(&self, backend: &Backend) -> bool {
        backend.leaving.is_so() && self.drained.borrow().contains(&backend.id)
    }

    /// Why a connection to `backend` was cut; it is counted.
    pub(crate) fn reason(&self, backend: &Backend) -> Reason {
        if self.was_drained(backend) {
            backend.leaving.count_cut();
            Reason::DrainDeadline
        } else {
            Reason::BackendUnhealthy
        }
    }
}
