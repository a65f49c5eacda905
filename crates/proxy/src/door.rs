//! Doors: listeners as their connections know them. Whoever came in through one that a reload takes away, or makes into
//! something else, is served as it was until its work is done, or the drain's deadline has come.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::mem::{discriminant, take};
use std::rc::Rc;

use plimsoll_core::name::NameId;
use plimsoll_core::rng::IdState;
use plimsoll_core::snapshot::Listener;
use plimsoll_core::time::Now;
use plimsoll_net::Lapse;

use crate::worker::{Drain, Pinned, Worker};

/// A listener for as long as it stays what it is.
pub(crate) struct Door {
    pub(crate) listener: NameId,
    /// What makes all deadlines of its connections pass.
    pub(crate) lapse: Rc<Lapse>,
    closed: OnceCell<Closed>,
}

/// A listener that is no more.
struct Closed {
    /// The last generation that had it, which serves its connections.
    pinned: Rc<Pinned>,
    drain: Drain,
}

impl Door {
    fn of(listener: NameId) -> Rc<Self> {
        Rc::new(Door {
            listener,
            lapse: Rc::default(),
            closed: OnceCell::new(),
        })
    }

    /// What serves a connection that came in here, to be kept for as long as a request lasts.
    pub(crate) fn pin(&self, worker: &Worker) -> Rc<Pinned> {
        // In this order: it may be this that finds it closed.
        let newest = worker.pin();
        match self.closed.get() {
            Some(closed) => closed.pinned.clone(),
            None => newest,
        }
    }

    /// How its connections are to end, if they are.
    pub(crate) fn drain(&self) -> Option<Drain> {
        self.closed.get().map(|closed| closed.drain)
    }
}

/// The doors of one worker.
#[derive(Default)]
pub(crate) struct Doors {
    open: RefCell<HashMap<NameId, Rc<Door>, IdState>>,
    /// Those whose deadline has not come yet.
    closed: RefCell<Vec<Rc<Door>>>,
    /// Those whose connections do not know of it yet.
    closing: RefCell<Vec<Rc<Door>>>,
}

impl Doors {
    /// The door of `listener`, where the newest generation, or the one that a reload has just ended, has one.
    pub(crate) fn find(&self, listener: NameId, newest: &Pinned) -> Option<Rc<Door>> {
        if let Some(door) = self.open.borrow().get(&listener) {
            return Some(door.clone());
        }
        if newest.listener(listener).is_some() {
            let door = Door::of(listener);
            self.open.borrow_mut().insert(listener, door.clone());
            return Some(door);
        }
        let closed = self.closed.borrow();
        closed.iter().rev().find(|door| door.listener == listener).cloned()
    }

    /// Closes those that are not in `newest` what they were in `before`.
    pub(crate) fn follow(&self, before: &Rc<Pinned>, newest: &Pinned, now: Now) {
        let is_gone = |door: &Rc<Door>| match (before.listener(door.listener), newest.listener(door.listener)) {
            (Some(was), Some(is)) => !serves_alike(was, is),
            _ => true,
        };
        let mut open = self.open.borrow_mut();
        let mut gone: Vec<Rc<Door>> = open.values().filter(|door| is_gone(door)).cloned().collect();
        open.retain(|_, door| !is_gone(door));
        for door in &gone {
            let drain = Drain {
                begun: now,
                deadline: now + before.snapshot.node.drain_timeout,
            };
            let pinned = before.clone();
            // It was open until now.
            let _ = door.closed.set(Closed { pinned, drain });
        }
        self.closed.borrow_mut().extend(gone.iter().cloned());
        self.closing.borrow_mut().append(&mut gone);
    }

    /// Those that were closed since this was last asked.
    pub(crate) fn take_closing(&self) -> Vec<Rc<Door>> {
        take(&mut *self.closing.borrow_mut())
    }

    /// Whether no connection is left inside of `door`, which is closed and held by the asker.
    pub(crate) fn is_empty(&self, door: &Rc<Door>) -> bool {
        let held_here = usize::from(self.closed.borrow().iter().any(|other| Rc::ptr_eq(other, door)));
        Rc::strong_count(door) <= 1 + held_here
    }

    /// The deadline of `door` has come, or nobody is left inside.
    pub(crate) fn forget(&self, door: &Rc<Door>) {
        self.closed.borrow_mut().retain(|other| !Rc::ptr_eq(other, door));
    }
}

/// Whether a connection of one listener can go on as one of the other, which has its name.
fn serves_alike(was: &Listener, is: &Listener) -> bool {
    discriminant(&was.service) == discriminant(&is.service) && was.tls.is_some() == is.tls.is_some()
}
