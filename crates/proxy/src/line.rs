//! Lines of requests that wait for a connection to a backend: first come, first served.
//!
//! A worker has one for each backend whose connections are all taken. Only the first of a line looks for a place; it is
//! called when the worker is done with a connection, and looks now and then for those of other workers.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use plimsoll_core::name::BackendId;
use plimsoll_core::rng::IdState;

/// A worker's lines. How many may stand in one is the backend's limit of requests.
#[derive(Default)]
pub(crate) struct Lines(RefCell<HashMap<BackendId, VecDeque<Rc<Waiting>>, IdState>>);

#[derive(Default)]
struct Waiting {
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

    /// A place at the end.
    pub(crate) fn join(self: &Rc<Self>, backend: BackendId) -> Ticket {
        let own = Rc::new(Waiting::default());
        self.0.borrow_mut().entry(backend).or_default().push_back(own.clone());
        Ticket {
            lines: self.clone(),
            backend,
            own,
        }
    }

    /// Calls the first who waits for the backend: a connection may be free.
    pub(crate) fn call(&self, backend: BackendId) {
        let first = self.0.borrow().get(&backend).and_then(|line| line.front().cloned());
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
        let first = lines.get(&self.backend).and_then(|line| line.front());
        first.is_some_and(|first| Rc::ptr_eq(first, &self.own))
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
                line.retain(|waiting| !Rc::ptr_eq(waiting, &self.own));
                if line.is_empty() {
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
        assert!(lines.is_empty(ONE));
        let (first, second) = (lines.join(ONE), lines.join(ONE));
        assert!(first.is_first() && !second.is_first());
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
