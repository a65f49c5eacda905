//! Lines of requests that wait for a connection to a backend: first come, first served.
//!
//! A worker has one for each backend whose connections are all taken. Only the first of a line looks for a place; it is
//! called when the worker is done with a connection, and looks now and then for those of other workers.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use plimsoll_core::backend::Place;
use plimsoll_core::name::BackendId;
use plimsoll_core::rng::IdState;
use plimsoll_core::time::Now;

/// A worker's lines.
#[derive(Default)]
pub(crate) struct Lines(RefCell<HashMap<BackendId, Line, IdState>>);

/// One of them. How many may stand in it is the backend's limit of requests.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Rc<Waiting>>,
    /// Places that other workers have given up for it.
    granted: Vec<Place>,
}

struct Waiting {
    since: Now,
    called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A place in a line, which it leaves with its end.
pub(crate) struct Ticket {
    lines: Rc<Lines>,
    backend: BackendId,
    own: Rc<Waiting>,
}

impl Lines {
    /// Whether nobody waits for the backend.
    pub(crate) fn is_empty(&self, backend: BackendId) -> bool {
        !self.0.borrow().contains_key(&backend)
    }

    /// Since when the first has waited for the backend.
    pub(crate) fn first_since(&self, backend: BackendId) -> Option<Now> {
        let lines = self.0.borrow();
        lines.get(&backend)?.waiting.front().map(|first| first.since)
    }

    /// Another worker has given this up for whoever waits; for nobody when nobody does any more.
    pub(crate) fn grant(&self, place: Place) {
        let backend = place.backend().id;
        if let Some(line) = self.0.borrow_mut().get_mut(&backend) {
            line.granted.push(place);
        }
        self.call(backend);
    }

    /// A place at the end.
    pub(crate) fn join(self: &Rc<Self>, backend: BackendId, since: Now) -> Ticket {
        let own = Rc::new(Waiting {
            since,
            called: Cell::new(false),
            waker: RefCell::default(),
        });
        self.0
            .borrow_mut()
            .entry(backend)
            .or_default()
            .waiting
            .push_back(own.clone());
        Ticket {
            lines: self.clone(),
            backend,
            own,
        }
    }

    /// Calls the first who waits for the backend: a connection may be free.
    pub(crate) fn call(&self, backend: BackendId) {
        let first = self
            .0
            .borrow()
            .get(&backend)
            .and_then(|line| line.waiting.front().cloned());
        if let Some(first) = first {
            first.called.set(true);
            if let Some(waker) = first.waker.take() {
                waker.wake();
            }
        }
    }
}

impl Ticket {
    /// Whether nobody stands before.
    pub(crate) fn is_first(&self) -> bool {
        let lines = self.lines.0.borrow();
        let first = lines.get(&self.backend).and_then(|line| line.waiting.front());
        first.is_some_and(|first| Rc::ptr_eq(first, &self.own))
    }

    /// A place that another worker has given up for this line.
    pub(crate) fn take_granted(&self) -> Option<Place> {
        self.lines.0.borrow_mut().get_mut(&self.backend)?.granted.pop()
    }

    /// Ready once it has been called.
    pub(crate) fn poll_called(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.own.called.replace(false) {
            return Poll::Ready(());
        }
        self.own.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        {
            let mut lines = self.lines.0.borrow_mut();
            if let Some(line) = lines.get_mut(&self.backend) {
                line.waiting.retain(|waiting| !Rc::ptr_eq(waiting, &self.own));
                if line.waiting.is_empty() {
                    lines.remove(&self.backend);
                }
            }
        }
        // Whoever is first now has to know it, and may find a second free one.
        self.lines.call(self.backend);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: BackendId = BackendId(1);

    #[test]
    fn the_first_is_called_and_the_next_one_follows_when_it_leaves() {
        let lines = Rc::new(Lines::default());
        let cx = &mut Context::from_waker(Waker::noop());
        let at = Now::from_millis;
        assert!(lines.is_empty(ONE));
        let (first, second) = (lines.join(ONE, at(1)), lines.join(ONE, at(2)));
        assert!(first.is_first() && !second.is_first());
        assert_eq!(lines.first_since(ONE), Some(at(1)));
        lines.call(ONE);
        lines.call(BackendId(2));
        assert!(first.poll_called(cx).is_ready() && second.poll_called(cx).is_pending());
        assert!(first.poll_called(cx).is_pending());
        drop(first);
        assert!(second.is_first() && second.poll_called(cx).is_ready());
        drop(second);
        assert!(lines.is_empty(ONE));
    }
}
