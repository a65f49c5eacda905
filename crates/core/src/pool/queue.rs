//! The queue of a pool: who waits for a place on one of its backends, whichever worker holds the request.
//!
//! A higher class comes before a lower one, and within a class the oldest is next. Nobody overtakes: while somebody
//! waits, whoever comes joins the queue. A lease that ends calls one waiter, who then picks as anybody does, from the view
//! as it is then; a call that its waiter has no use for goes to the next one. A [`Waker`] is all that this knows of tasks.
//!
//! While nobody waits, a request that begins or ends pays one load for it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::priority::Class;

/// How a pool's queue is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// How many may wait; 0: nobody.
    pub most: u32,
    /// How long each may wait.
    pub timeout: Duration,
}

impl Default for QueueSettings {
    /// Envoy's 1024 pending requests; a second, since few clients wait much longer.
    fn default() -> Self {
        QueueSettings {
            most: 1024,
            timeout: Duration::from_secs(1),
        }
    }
}

/// Those who wait for a pool. It outlives reloads, as the backends do whose places they wait for.
#[derive(Debug, Default)]
pub struct Queue {
    /// How many there are, for those who only want to know that.
    ///
    /// Whoever joins stores it and then looks for a place; whoever gives a place up does so and then loads it. Both in the
    /// one order of `SeqCst`, so that one of the two sees the other: otherwise the last place could be given up unseen
    /// by the only one who waits for it.
    waiting: AtomicU32,
    state: Mutex<State>,
}

/// A place in the order: class, then arrival.
type Turn = (Class, u64);

#[derive(Debug, Default)]
struct State {
    waiters: BTreeMap<Turn, Waiter>,
    /// Those of them who have not been called.
    uncalled: BTreeSet<Turn>,
    arrivals: u64,
}

#[derive(Debug, Default)]
struct Waiter {
    waker: Option<Waker>,
    call: Option<Call>,
}

/// Says that there may be a place.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// There may be more than one: whoever finds one calls the next.
    more: bool,
}

/// Nobody more may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// What has become of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// There may be a place for it.
    ToPick,
    /// It had to make room for one of a higher class.
    ToLeave,
}

/// A waiter's place in the queue, which it leaves with its end.
#[derive(Debug)]
pub struct Ticket {
    queue: Arc<Queue>,
    turn: Turn,
    /// The call that it follows now.
    follows: Cell<Option<Call>>,
}

impl Queue {
    /// How many wait.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(SeqCst)
    }

    /// Whether nobody waits, so that whoever comes may pick at once.
    pub fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// Joins the queue, behind those of its class. When `most` wait already, the youngest of the lowest class makes room,
    /// if that class is lower.
    ///
    /// # Errors
    /// There is no room.
    pub fn join(self: &Arc<Self>, class: Class, most: u32) -> Result<Ticket, QueueFull> {
        let mut state = self.state();
        let mut shed = None;
        if state.waiters.len() >= most as usize {
            // One that has been called is as good as served.
            let last = state.uncalled.last().copied();
            let last = last
                .filter(|(lowest, _)| *lowest > class && most > 0)
                .ok_or(QueueFull)?;
            state.uncalled.remove(&last);
            shed = state.waiters.remove(&last).and_then(|waiter| waiter.waker);
        }
        state.arrivals += 1;
        let turn = (class, state.arrivals);
        // The first one looks for itself: a place may have been given up before anybody could know that it waits. There
        // may be more than one.
        let call = state.waiters.is_empty().then_some(Call { more: true });
        if call.is_none() {
            state.uncalled.insert(turn);
        }
        state.waiters.insert(turn, Waiter { waker: None, call });
        self.count(&state);
        drop(state);
        shed.into_iter().for_each(Waker::wake);
        Ok(Ticket {
            queue: self.clone(),
            turn,
            follows: Cell::new(None),
        })
    }

    /// A place has been given up: calls whoever is next.
    pub(super) fn call(&self) {
        self.call_next(Call { more: false });
    }

    /// There may be several new places: calls one after the other, for as long as they find any.
    pub(super) fn call_while_served(&self) {
        self.call_next(Call { more: true });
    }

    fn call_next(&self, call: Call) {
        if self.is_empty() {
            return;
        }
        let waker = self.state().call_next(call);
        waker.into_iter().for_each(Waker::wake);
    }

    fn count(&self, state: &State) {
        self.waiting
            .store(u32::try_from(state.waiters.len()).unwrap_or(u32::MAX), SeqCst);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Calls the first who has not been called; the waker is for the caller, once the lock is free.
    fn call_next(&mut self, call: Call) -> Option<Waker> {
        let Some(turn) = self.uncalled.pop_first() else {
            // All have been called and not looked yet. Whoever does, or comes meanwhile, shall know that there is more.
            if let Some(called) = self
                .waiters
                .values_mut()
                .next_back()
                .and_then(|last| last.call.as_mut())
            {
                called.more = true;
            }
            return None;
        };
        let waiter = self.waiters.get_mut(&turn)?;
        waiter.call = Some(call);
        waiter.waker.take()
    }
}

impl Ticket {
    /// Ready once it has been called; it says then how it went with [`served`](Self::served) or [`in_vain`](Self::in_vain),
    /// or ends.
    pub fn poll_called(&self, cx: &mut Context<'_>) -> Poll<Called> {
        let mut state = self.queue.state();
        let Some(waiter) = state.waiters.get_mut(&self.turn) else {
            return Poll::Ready(Called::ToLeave);
        };
        let Some(call) = waiter.call.take() else {
            waiter.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        // From here on another call is for another place.
        state.uncalled.insert(self.turn);
        self.follows.set(Some(call));
        Poll::Ready(Called::ToPick)
    }

    /// It has found its place, and leaves.
    pub fn served(self) {
        let further = self.follows.take().filter(|call| call.more);
        self.follows.set(further);
    }

    /// There was no place after all; it waits on.
    pub fn in_vain(&self) {
        self.follows.set(None);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let queue = &self.queue;
        let mut state = queue.state();
        state.uncalled.remove(&self.turn);
        let unheard = state.waiters.remove(&self.turn).and_then(|waiter| waiter.call);
        queue.count(&state);
        // Nobody else was told of the places that it was called for.
        let calls = [self.follows.take(), unheard];
        let wakers = calls.map(|call| call.and_then(|call| state.call_next(call)));
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
