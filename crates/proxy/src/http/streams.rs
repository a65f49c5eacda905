//! The streams of one HTTP/2 connection, driven by its own task.
//!
//! A task for each would cost its making, its wake-ups and its end for every request. Instead a connection has seats for
//! its streams, and what serves a stream there stays for the next one, with all the room that a request needs.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request as Head;
use tokio::task::unconstrained;

use super::due::{Due, PARTS_MAX, WORDS};
use super::multiplex::one_request;
use crate::client::Client;
use crate::worker::{Pinned, Worker};

/// Streams that a connection may have at once: more than a client may open, since one that it has given up is there
/// until that was noticed.
pub(super) const SEATS_MAX: usize = PARTS_MAX - 1;

/// The part of a connection that is not a stream. The last, so that what the streams have to say goes out together.
pub(super) const FRAMES: usize = PARTS_MAX - 1;

/// Idle runners that a worker keeps, of some 4 KiB each.
const KEPT_MAX: usize = 256;

/// A request on a stream, and where its answer goes.
pub(super) struct Job {
    pub(super) client: Rc<Client>,
    pub(super) local: Option<SocketAddr>,
    pub(super) pinned: Rc<Pinned>,
    pub(super) head: Head<RecvStream>,
    pub(super) respond: SendResponse<Bytes>,
}

/// A connection's streams.
pub(super) struct Streams {
    pub(super) due: Arc<Due>,
    worker: Rc<Worker>,
    seats: Vec<Seat>,
    free: Vec<usize>,
}

struct Seat {
    waker: Waker,
    /// What serves its stream, while there is one.
    runner: Option<Runner>,
}

impl Streams {
    /// None yet.
    pub(super) fn new(worker: Rc<Worker>) -> Self {
        Streams {
            due: Arc::default(),
            worker,
            seats: Vec::new(),
            free: Vec::new(),
        }
    }

    /// How many are under way.
    pub(super) fn open(&self) -> usize {
        self.seats.len() - self.free.len()
    }

    /// Whether there is a seat for one more.
    pub(super) fn has_seat(&self) -> bool {
        !self.free.is_empty() || self.seats.len() < SEATS_MAX
    }

    /// Begins one, at the next look. It must [have a seat](Self::has_seat).
    pub(super) fn begin(&mut self, job: Job) {
        let at = self.free.pop().unwrap_or_else(|| {
            let waker = self.due.waker(self.seats.len());
            self.seats.push(Seat { waker, runner: None });
            self.seats.len() - 1
        });
        let runner = self.worker.runners.take();
        runner.desk.job.set(Some(job));
        runner.desk.waits.set(false);
        self.seats[at].runner = Some(runner);
        self.due.set(at);
    }

    /// Moves the stream at a seat on.
    pub(super) fn poll(&mut self, at: usize) {
        let Some(seat) = self.seats.get_mut(at) else { return };
        let Some(runner) = &mut seat.runner else { return };
        if runner.poll(&mut Context::from_waker(&seat.waker)).is_pending() {
            return;
        }
        if let Some(runner) = seat.runner.take() {
            self.worker.runners.give(runner);
        }
        self.free.push(at);
        if self.open() == 0 {
            // The connection may be idle from now on.
            self.due.set(FRAMES);
        }
    }

    /// Ready once all have ended, of a connection that has.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.due.begin(cx.waker());
        while self.open() > 0 {
            for word in 0..WORDS {
                for at in parts(word, self.due.take(word)) {
                    self.poll(at);
                }
            }
            if self.due.rest() && self.open() > 0 {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

/// The parts whose bits are set in a word.
pub(super) fn parts(word: usize, mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(at)
    })
}

/// Serves one stream after the other.
struct Runner {
    desk: Rc<Desk>,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

/// Where a runner finds its next stream.
#[derive(Default)]
pub(super) struct Desk {
    job: Cell<Option<Job>>,
    /// There is none.
    waits: Cell<bool>,
}

impl Desk {
    /// The stream that is to be served.
    pub(super) fn take(&self) -> Option<Job> {
        self.job.take()
    }
}

impl Runner {
    fn new() -> Self {
        let desk = Rc::<Desk>::default();
        let run = run(desk.clone());
        // A stream is held up by its connection's windows and buffers long before it takes too long. Charged to the
        // connection's task, the budget of the runtime would run out in the middle of what came in one read.
        Runner {
            desk,
            future: Box::pin(unconstrained(run)),
        }
    }

    /// Ready once its stream has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.future.as_mut().poll(cx);
        if self.desk.waits.get() { Poll::Ready(()) } else { polled }
    }
}

async fn run(desk: Rc<Desk>) {
    loop {
        one_request(&desk).await;
        desk.waits.set(true);
        let waiting = || {
            if desk.waits.get() {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        };
        poll_fn(|_| waiting()).await;
    }
}

/// A worker's idle runners.
#[derive(Default)]
pub(crate) struct Runners(RefCell<Vec<Runner>>);

impl Runners {
    fn take(&self) -> Runner {
        let kept = self.0.borrow_mut().pop();
        kept.unwrap_or_else(Runner::new)
    }

    fn give(&self, runner: Runner) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT_MAX {
            kept.push(runner);
        }
    }
}
