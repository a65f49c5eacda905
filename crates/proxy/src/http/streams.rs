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

use plimsoll_core::outcome::Reason;
use plimsoll_core::reply::Reply;
use plimsoll_http::h1::HeadFault;
use plimsoll_http::h2::{Follows, HeadText, SEAT_WORDS, SEATS_MAX};
use plimsoll_http::websocket;
use tokio::task::unconstrained;

use super::accept::http_service;
use super::downstream::{Downstream, H2, Link, Place};
use super::due::{Due, PARTS_MAX, WORDS};
use super::route::{Arrived, Request, Spoken};
use super::{errand, stream};
use crate::client::Client;
use crate::worker::{Pinned, Worker};

/// The part of a connection that is not a stream. The last, so that what the streams have to say goes out together.
pub(super) const FRAMES: usize = PARTS_MAX - 1;

const _: () = assert!(SEATS_MAX == FRAMES && SEAT_WORDS == WORDS, "a seat is a part");

/// Idle runners that a worker keeps, of some 4 KiB each.
const KEPT_MAX: usize = 256;

/// A request on a stream, and where its answer goes.
pub(super) struct Job {
    pub(super) client: Rc<Client>,
    pub(super) local: Option<SocketAddr>,
    pub(super) pinned: Rc<Pinned>,
    pub(super) place: Place,
    /// Its head, up to where it says what follows it.
    pub(super) text: Vec<u8>,
    pub(super) head: Result<HeadText, HeadFault>,
    /// Nothing follows it.
    pub(super) is_ended: bool,
}

/// A connection's streams.
pub(super) struct Streams {
    pub(super) due: Arc<Due>,
    worker: Rc<Worker>,
    seats: Vec<Seat>,
    open: usize,
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
            open: 0,
        }
    }

    /// How many are under way.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Begins one, at the next look, in the seat that the codec has given it.
    pub(super) fn begin(&mut self, job: Job) {
        let at = job.place.seat;
        while self.seats.len() <= at {
            let waker = self.due.waker(self.seats.len());
            self.seats.push(Seat { waker, runner: None });
        }
        let seat = &mut self.seats[at];
        debug_assert!(seat.runner.is_none(), "who has let go of a place has left its seat");
        let runner = seat.runner.get_or_insert_with(|| {
            self.open += 1;
            self.worker.runners.take()
        });
        runner.desk.job.set(Some(job));
        runner.desk.waits.set(false);
        self.due.set(at);
    }

    /// Those of which the codec has learnt something are due.
    pub(super) fn pass_on(&self, link: &Link) {
        let touched = link.frames.borrow_mut().take_touched();
        for (word, bits) in touched.into_iter().enumerate() {
            self.due.add(word, bits);
        }
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
        self.open -= 1;
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

/// Serves the stream that is on the desk to its end.
async fn one_request(desk: &Desk) {
    let Some(job) = desk.take() else { return };
    let Job {
        client,
        local,
        pinned,
        place,
        mut text,
        head,
        is_ended,
    } = job;
    let (client, pinned) = (&*client, &pinned);
    let mut downstream = H2::new(place);
    let Some(service) = http_service(pinned, client) else {
        return;
    };
    let worker = &client.worker;
    let timer = client.timer();
    let mut upstream_head = worker.blocks.take_scratch();
    let arrived = Arrived {
        client,
        local: &|| local,
        pinned,
        service,
        spoken: Spoken::Http2,
    };
    let head = head.and_then(|head| {
        if head.is_websocket {
            let key = websocket::key(worker.random());
            downstream.accept_with(websocket::accept(&key));
            return head.finish(&mut text, Follows::WebSocket(&key));
        }
        head.finish(&mut text, if is_ended { Follows::Nothing } else { Follows::Body })
    });
    let request = match head {
        Ok(()) if text.len() > service.limits.head_bytes => {
            Request::unread(text.len(), worker.now()).refused(Reply::reason(Reason::HeaderTooLarge))
        }
        Ok(()) => {
            let mut gone = |cx: &mut Context<'_>| downstream.poll_gone(cx);
            errand::through(&arrived, &timer, &text, &mut upstream_head, &mut gone).await
        }
        Err(fault) => Request::unread(text.len(), worker.now()).refused(Reply::detailed(fault.reason(), &fault)),
    };
    downstream.write_into(text);
    stream::answer(
        (client, &timer, &mut downstream),
        (pinned, service),
        request,
        upstream_head,
    )
    .await;
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
