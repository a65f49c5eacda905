//! What a connection of HTTP/3 and its streams tell each other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use plimsoll_http::h3::{Code, Guard, Kind};

use crate::worker::Worker;

/// What ties a connection and its streams together.
pub(crate) struct Ties {
    pub(crate) worker: Rc<Worker>,
    /// What the client does too often.
    pub(crate) guard: RefCell<Guard>,
    /// What the connection is to end with.
    pub(crate) fault: Cell<Option<Code>>,
    /// Requests that are under way.
    pub(crate) busy: Cell<usize>,
    /// Answers that the client has not taken all of.
    pub(crate) flushing: Cell<usize>,
    /// Who looks after the connection.
    pub(crate) waker: RefCell<Option<Waker>>,
}

impl Ties {
    /// Of a connection that has no streams yet.
    pub(crate) fn new(worker: Rc<Worker>) -> Rc<Self> {
        Rc::new(Ties {
            worker,
            guard: RefCell::default(),
            fault: Cell::default(),
            busy: Cell::default(),
            flushing: Cell::default(),
            waker: RefCell::default(),
        })
    }

    /// The connection ends with this.
    pub(crate) fn fail(&self, code: Code) {
        if self.fault.get().is_some() {
            return;
        }
        self.fault.set(Some(code));
        self.wake();
    }

    /// Counts what may not be done too often.
    pub(crate) fn count(&self, kind: Kind) {
        let mut guard = self.guard.borrow_mut();
        guard.pass(self.worker.now().millis());
        let counted = guard.count(kind);
        drop(guard);
        if let Err(code) = counted {
            self.fail(code);
        }
    }

    /// Has the connection looked after.
    pub(crate) fn wake(&self) {
        let waker = self.waker.borrow_mut().take();
        waker.into_iter().for_each(Waker::wake);
    }
}
