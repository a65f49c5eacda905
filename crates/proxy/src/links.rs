//! Connections to backends that are cut when their backend becomes unhealthy, of the pools that ask for it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use plimsoll_core::name::BackendId;
use plimsoll_core::pool::PoolSettings;
use plimsoll_core::rng::IdState;
use plimsoll_net::Cut;

/// One worker's connections that can be cut, by backend. They are as many as there are connections, whose number is
/// limited elsewhere.
#[derive(Default)]
pub(crate) struct Links(RefCell<HashMap<BackendId, Vec<Weak<Cut>>, IdState>>);

impl Links {
    /// What will cut a connection to `backend` that is about to be made, if its pool wants that.
    ///
    /// A pool's view is published before workers are told to cut. So whoever links as soon as it was given the backend is
    /// in time: either the view was the new one, and the backend is meant in spite of its state, or the word has still to
    /// come. A request that has waited for a place in between may miss it, and goes on.
    pub(crate) fn link(&self, settings: &PoolSettings, backend: BackendId) -> Option<Rc<Cut>> {
        if !settings.closes_unhealthy {
            return None;
        }
        let mut links = self.0.borrow_mut();
        let links = links.entry(backend).or_default();
        // Before it would grow, so that looking through it costs each link a few steps on average.
        if links.len() == links.capacity() {
            links.retain(|link| link.strong_count() > 0);
        }
        let cut = Rc::new(Cut::default());
        links.push(Rc::downgrade(&cut));
        Some(cut)
    }

    /// Cuts all connections to `backend`.
    pub(crate) fn cut(&self, backend: BackendId) {
        let links = self.0.borrow_mut().remove(&backend).unwrap_or_default();
        links.iter().filter_map(Weak::upgrade).for_each(|cut| cut.cut());
    }
}
