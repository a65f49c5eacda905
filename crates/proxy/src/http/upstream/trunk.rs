//! A worker's trunks: its HTTP/2 connections to backends, each shared by many streams.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::SendRequest;
use plimsoll_core::backend::Place;
use plimsoll_core::name::BackendId;
use plimsoll_core::rng::IdState;
use plimsoll_net::tls::Terms;

use super::open::Opening;

/// The most streams that we open at once on one trunk, however many more the backend allows: what they may have sent
/// ahead of their clients is what a trunk holds at the most.
pub(super) const STREAMS_MAX: usize = 128;

/// A worker's trunks, by backend.
#[derive(Default)]
pub(crate) struct Trunks(RefCell<HashMap<BackendId, Known, IdState>>);

#[derive(Default)]
struct Known {
    /// The oldest first: the others may become idle and leave.
    trunks: Vec<Rc<Trunk>>,
    opening: Option<Opening>,
}

/// A connection to a backend.
pub(super) struct Trunk {
    /// Taken once no further stream is to be opened; the connection ends when the last one has.
    requests: RefCell<Option<SendRequest<Bytes>>>,
    /// Streams under way, and the most that the backend allows.
    streams: Cell<usize>,
    pub(super) most: Cell<usize>,
    place: RefCell<Option<Place>>,
    /// Under what it was made.
    terms: Terms,
    /// The worker that waits for its place.
    owed: Cell<Option<usize>>,
    /// Whether a stream was ever opened.
    used: Cell<bool>,
}

impl Trunk {
    pub(super) fn new(requests: SendRequest<Bytes>, place: Place, terms: Terms) -> Rc<Self> {
        Rc::new(Trunk {
            requests: RefCell::new(Some(requests)),
            streams: Cell::new(0),
            most: Cell::new(0),
            place: RefCell::new(Some(place)),
            terms,
            owed: Cell::new(None),
            used: Cell::new(false),
        })
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// Opens no further stream.
    pub(super) fn retire(&self) {
        self.requests.take();
    }

    /// Its place among the backend's connections, and the worker that it is owed to.
    pub(super) fn leave(&self) -> (Option<Place>, Option<usize>) {
        (self.place.take(), self.owed.take())
    }

    /// A way for another stream, if there is room for one.
    fn enter(self: &Rc<Self>) -> Option<(Way, SendRequest<Bytes>)> {
        let streams = self.streams.get();
        if streams >= self.most.get().min(STREAMS_MAX) {
            return None;
        }
        let mut requests = self.requests.borrow_mut();
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Err(_)) = requests.as_mut()?.poll_ready(&mut cx) {
            // The backend has said farewell, or the connection has failed; its task sees to its end.
            requests.take();
            return None;
        }
        let requests = requests.clone()?;
        self.streams.set(streams + 1);
        let way = Way {
            trunk: self.clone(),
            was_idle: self.used.replace(true) && streams == 0,
        };
        Some((way, requests))
    }
}

/// A stream's way to its backend, counted while it lives.
pub(crate) struct Way {
    trunk: Rc<Trunk>,
    /// It has been kept, and nothing else was under way there when this began.
    pub(super) was_idle: bool,
}

impl Way {
    /// Whether TLS is spoken there.
    pub(super) fn is_secure(&self) -> bool {
        self.trunk.terms != Terms::PLAIN
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.trunk.streams.set(self.trunk.streams.get() - 1);
    }
}

impl Trunks {
    /// Whether there are any to the backend.
    pub(crate) fn knows(&self, backend: BackendId) -> bool {
        self.0.borrow().contains_key(&backend)
    }

    /// A way to the backend on a trunk that was made under these terms and has room for another stream, and what it is
    /// asked with. Trunks that were made under others end once they have served what they carry.
    pub(crate) fn take(&self, backend: BackendId, terms: Terms) -> Option<(Way, SendRequest<Bytes>)> {
        let known = self.0.borrow();
        let trunks = &known.get(&backend)?.trunks;
        trunks.iter().find_map(|trunk| {
            if trunk.terms != terms {
                trunk.retire();
                return None;
            }
            trunk.enter()
        })
    }

    /// Whether the backend is known not to take WebSockets on its streams (RFC 8441 §3).
    pub(crate) fn refuse_tunnels(&self, backend: BackendId) -> bool {
        let known = self.0.borrow();
        let trunks = known.get(&backend).map(|known| &known.trunks);
        trunks.into_iter().flatten().any(|trunk| {
            let requests = trunk.requests.borrow();
            requests
                .as_ref()
                .is_some_and(|requests| !requests.is_extended_connect_protocol_enabled())
        })
    }

    /// The connection that is being made to the backend.
    pub(crate) fn opening(&self, backend: BackendId) -> Option<Opening> {
        self.0.borrow().get(&backend)?.opening.clone()
    }

    /// A connection is being made.
    pub(super) fn open(&self, backend: BackendId, opening: Opening) {
        self.0.borrow_mut().entry(backend).or_default().opening = Some(opening);
    }

    /// It has been made, or has failed.
    pub(super) fn opened(&self, backend: BackendId, trunk: Option<Rc<Trunk>>) {
        if let Some(known) = self.0.borrow_mut().get_mut(&backend) {
            known.opening = None;
            known.trunks.extend(trunk);
        }
        self.tidy(backend);
    }

    /// A trunk has ended.
    pub(super) fn ended(&self, backend: BackendId, trunk: &Rc<Trunk>) {
        if let Some(known) = self.0.borrow_mut().get_mut(&backend) {
            known.trunks.retain(|other| !Rc::ptr_eq(other, trunk));
        }
        self.tidy(backend);
    }

    /// Forgets a backend that nothing is known of.
    fn tidy(&self, backend: BackendId) {
        let mut all = self.0.borrow_mut();
        if (all.get(&backend)).is_some_and(|known| known.trunks.is_empty() && known.opening.is_none()) {
            all.remove(&backend);
        }
    }

    /// Ends idle trunks to backends whose work is to end; a worker calls it every second or so.
    pub(crate) fn sweep(&self) {
        let all = self.0.borrow();
        let idle = all
            .values()
            .flat_map(|known| &known.trunks)
            .filter(|trunk| trunk.is_idle());
        let leaves = |trunk: &&Rc<Trunk>| {
            let place = trunk.place.borrow();
            place.as_ref().is_some_and(|place| place.backend().leaving.is_so())
        };
        idle.filter(leaves).for_each(|trunk| trunk.retire());
    }

    /// Gives up a trunk for `worker` to have its place: an idle one at once, which is returned; or else the one with the
    /// fewest streams once these have ended, unless there is one such already.
    pub(crate) fn shed_or_owe(&self, backend: BackendId, worker: usize) -> Option<Place> {
        let known = self.0.borrow();
        let trunks = &known.get(&backend)?.trunks;
        let open = trunks.iter().filter(|trunk| trunk.requests.borrow().is_some());
        let least = open.min_by_key(|trunk| trunk.streams.get())?;
        if !least.is_idle() && trunks.iter().any(|trunk| trunk.owed.get().is_some()) {
            return None;
        }
        least.retire();
        if least.is_idle() {
            return least.place.take();
        }
        least.owed.set(Some(worker));
        None
    }
}
