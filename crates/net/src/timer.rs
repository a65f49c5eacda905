//! Deadlines for thousands of connections at the price of a store each.
//!
//! Every connection owns one [`Timer`]; arming it writes a number into a dense array that a worker sweeps every
//! [`TICK`]. That is coarser than a timer wheel and much cheaper: 10,000 connections cost 20 microseconds a sweep,
//! and a request that arms its timer four times pays four stores.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How late a deadline may be noticed.
pub const TICK: Duration = Duration::from_millis(25);

const NEVER: u64 = u64::MAX;

/// A point in time as timers count it: milliseconds since the worker began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

/// A deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Makes all deadlines of some timers pass, whatever they are: those of one listener's connections, say.
#[derive(Debug, Default)]
pub struct Lapse(Cell<bool>);

/// The deadlines of one worker's connections.
pub struct Timers {
    origin: Instant,
    /// The clock as of the last sweep, in milliseconds since the origin.
    coarse: Cell<u64>,
    deadlines: RefCell<Vec<u64>>,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    armed: Cell<usize>,
    /// Every deadline has passed, whatever it was.
    expired: Cell<bool>,
    wanted: Notify,
}

impl Timers {
    /// No deadlines yet.
    pub fn new() -> Rc<Self> {
        Rc::new(Timers {
            origin: Instant::now(),
            coarse: Cell::new(0),
            deadlines: RefCell::default(),
            wakers: RefCell::default(),
            free: RefCell::default(),
            armed: Cell::new(0),
            expired: Cell::new(false),
            wanted: Notify::new(),
        })
    }

    /// Wakes whatever waits past its deadline, for ever. A worker runs it as a task of its own.
    pub async fn run(self: Rc<Self>) {
        loop {
            if self.armed.get() == 0 {
                self.wanted.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.look();
            self.sweep(self.coarse.get());
        }
    }

    /// A timer for one connection.
    pub fn timer(self: &Rc<Self>) -> Timer {
        self.timer_until(None)
    }

    /// A timer whose deadlines pass with `lapse` at the latest.
    pub fn timer_with(self: &Rc<Self>, lapse: &Rc<Lapse>) -> Timer {
        self.timer_until(Some(lapse.clone()))
    }

    fn timer_until(self: &Rc<Self>, lapse: Option<Rc<Lapse>>) -> Timer {
        let slot = self.free.borrow_mut().pop().unwrap_or_else(|| {
            self.deadlines.borrow_mut().push(NEVER);
            self.wakers.borrow_mut().push(None);
            self.wakers.borrow().len() - 1
        });
        if self.armed.replace(self.armed.get() + 1) == 0 {
            // Nobody has looked at the clock since the last timer ended.
            self.look();
            self.wanted.notify_one();
        }
        Timer {
            timers: self.clone(),
            slot,
            lapse,
        }
    }

    /// Wakes everything that waits, whatever its deadline, so that it looks again at how long it should.
    pub fn wake_all(&self) {
        let wakers: Vec<Waker> = self.wakers.borrow_mut().iter_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Makes every deadline pass now, those to come as well.
    pub fn expire_all(&self) {
        self.expired.set(true);
        self.wake_all();
    }

    /// The same for the timers that were made with `lapse`.
    pub fn expire(&self, lapse: &Lapse) {
        lapse.0.set(true);
        self.wake_all();
    }

    /// Looks at the clock.
    fn look(&self) {
        let millis = self.origin.elapsed().as_millis();
        self.coarse.set(u64::try_from(millis).unwrap_or(NEVER - 1));
    }

    fn sweep(&self, now: u64) {
        let mut due = Vec::new();
        {
            let mut deadlines = self.deadlines.borrow_mut();
            let mut wakers = self.wakers.borrow_mut();
            for (slot, deadline) in deadlines.iter_mut().enumerate() {
                if *deadline <= now {
                    *deadline = NEVER;
                    due.extend(wakers[slot].take());
                }
            }
        }
        // Outside the borrows: waking may run a task's drop.
        due.into_iter().for_each(Waker::wake);
    }
}

/// One connection's deadline; it ends with it.
pub struct Timer {
    timers: Rc<Timers>,
    slot: usize,
    lapse: Option<Rc<Lapse>>,
}

impl Timer {
    /// Runs `future`, but not beyond `deadline`.
    pub async fn within<F: Future>(&self, deadline: Deadline, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_elapsed(cx, deadline).map(Err),
        })
        .await
    }

    /// Waits until `deadline`.
    pub async fn sleep(&self, deadline: Deadline) {
        poll_fn(|cx| self.poll_elapsed(cx, deadline)).await;
    }

    /// The deadline `span` from now, without a look at the clock: up to a tick later than one would find with it.
    pub fn after(&self, span: Duration) -> Deadline {
        #[expect(clippy::cast_possible_truncation, reason = "585 million years fit")]
        let millis = TICK.saturating_add(span).as_millis() as u64;
        // One more, since the clock may stand just before the next millisecond.
        Deadline(
            self.timers
                .coarse
                .get()
                .saturating_add(millis)
                .saturating_add(1)
                .min(NEVER - 1),
        )
    }

    /// Whether `deadline` has passed, as of the last sweep.
    pub fn is_past(&self, deadline: Deadline) -> bool {
        self.timers.coarse.get() >= deadline.0 || self.is_expired()
    }

    /// Whether all deadlines were made to pass.
    pub fn is_expired(&self) -> bool {
        self.timers.expired.get() || self.lapse.as_ref().is_some_and(|lapse| lapse.0.get())
    }

    /// Ready once `deadline` has passed; otherwise the task is woken when it does.
    pub fn poll_elapsed(&self, cx: &mut Context<'_>, deadline: Deadline) -> Poll<Elapsed> {
        if self.is_past(deadline) {
            return Poll::Ready(Elapsed);
        }
        self.timers.deadlines.borrow_mut()[self.slot] = deadline.0;
        let waker = &mut self.timers.wakers.borrow_mut()[self.slot];
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.timers.deadlines.borrow_mut()[self.slot] = NEVER;
        let waker = self.timers.wakers.borrow_mut()[self.slot].take();
        self.timers.free.borrow_mut().push(self.slot);
        self.timers.armed.set(self.timers.armed.get() - 1);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "local")]
    async fn a_future_ends_at_its_deadline_and_not_before() {
        let timers = Timers::new();
        let sweeping = tokio::task::spawn_local(timers.clone().run());
        let timer = timers.timer();
        let (start, span) = (Instant::now(), Duration::from_millis(60));
        let never = std::future::pending::<()>();
        assert_eq!(timer.within(timer.after(span), never).await, Err(Elapsed));
        assert!(start.elapsed() >= span);
        assert_eq!(timer.within(timer.after(Duration::MAX), async { 7 }).await, Ok(7));
        sweeping.abort();
    }

    #[tokio::test(flavor = "local")]
    async fn every_deadline_can_be_made_to_pass() {
        let timers = Timers::new();
        let timer = timers.timer();
        let waiting = {
            let timer = timers.timer();
            tokio::task::spawn_local(async move {
                let never = std::future::pending::<()>();
                timer.within(timer.after(Duration::MAX), never).await
            })
        };
        tokio::task::yield_now().await;
        assert!(!timer.is_expired());
        timers.expire_all();
        assert_eq!(waiting.await.expect("no panic"), Err(Elapsed));
        assert!(timer.is_expired() && timer.is_past(timer.after(Duration::MAX)));
    }

    #[test]
    fn the_deadlines_of_some_can_be_made_to_pass_without_the_others() {
        let (timers, lapse) = (Timers::new(), Rc::<Lapse>::default());
        let (some, other) = (timers.timer_with(&lapse), timers.timer());
        assert!(!some.is_expired());
        timers.expire(&lapse);
        assert!(some.is_expired() && timers.timer_with(&lapse).is_expired() && !other.is_expired());
    }

    #[test]
    fn slots_are_used_again() {
        let timers = Timers::new();
        let first = timers.timer();
        let slot = first.slot;
        drop(first);
        assert_eq!(timers.timer().slot, slot);
    }
}
