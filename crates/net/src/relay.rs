//! Relaying bytes between two ends, with half-close and an idle timeout.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::buffer::{Buffer, GROWN_MAX};
use crate::socket::Socket;
use crate::timer::Timer;

/// Reads in a row that one turn may make in a direction, so that one fast flow does not starve the worker's others.
const TURN_MAX: usize = 16;

/// One end of a relay: a socket, or what stands for one.
pub trait End {
    /// Reads what there is into the buffer's room; 0 is the end. The buffer must have room; one without a block takes one
    /// only when there is something to read.
    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<io::Result<usize>>;

    /// Writes some of `bytes`.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Says that nothing more will be written.
    fn shutdown_write(&mut self);

    /// Has nothing that has come wait where it is in the way of others, while the other end takes nothing.
    fn take_ahead(&mut self, _cx: &mut Context<'_>) {}
}

/// An end that may be ended from outside.
pub trait Cuttable: End {
    /// Ready once it was; otherwise the task is woken when it is.
    fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Cuttable for Socket {
    fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()> {
        Socket::poll_cut(self, cx)
    }
}

impl End for Socket {
    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<io::Result<usize>> {
        Socket::poll_fill(self, cx, buffer)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Socket::poll_write(self, cx, bytes)
    }

    fn shutdown_write(&mut self) {
        Socket::shutdown_write(self);
    }
}

/// How a relay ended.
#[derive(Debug)]
pub enum Relayed {
    /// Both sides said all that they had to say.
    Closed,
    /// Neither side said anything for the idle timeout.
    Idle,
    /// The second end was ended from outside ([`Cut`](crate::Cut)).
    Cut,
    /// The first end (the client's) failed.
    FirstFailed(io::Error),
    /// The second end (the backend's) failed.
    SecondFailed(io::Error),
}

/// Bytes on their way in one direction.
struct Flow<'a> {
    pending: Buffer,
    ended: bool,
    shut: bool,
    moved: &'a Cell<u64>,
}

/// Which end of a flow failed.
enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

impl Flow<'_> {
    /// Nothing more can be moved: the sink has failed.
    fn give_up(&mut self) {
        self.pending.consume(self.pending.len());
        self.pending.release();
        (self.ended, self.shut) = (true, true);
    }

    /// Moves what can be moved now. Ready when the source has ended and all of it was passed on.
    fn poll(&mut self, cx: &mut Context<'_>, source: &mut impl End, sink: &mut impl End) -> Poll<Result<(), Broken>> {
        for _ in 0..TURN_MAX {
            while !self.pending.is_empty() {
                match sink.poll_write(cx, self.pending.unread()) {
                    Poll::Pending => {
                        source.take_ahead(cx);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(Broken::Sink(io::ErrorKind::WriteZero.into()))),
                    Poll::Ready(Ok(count)) => {
                        self.pending.consume(count);
                        self.moved.set(self.moved.get() + count as u64);
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Sink(error))),
                }
            }
            if self.ended {
                if !self.shut {
                    sink.shutdown_write();
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            match source.poll_fill(cx, &mut self.pending) {
                Poll::Pending => {
                    self.pending.release();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) if self.pending.is_full() => {
                    self.pending.grow(GROWN_MAX);
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Source(error))),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Relays between `first` and `second` until both have ended, one fails, `second` is cut, or nothing moves for `idle`.
/// Bytes that are `pending` already go first. `moved` counts the bytes from first to second and back while they move.
pub async fn relay(
    first: &mut impl End,
    second: &mut impl Cuttable,
    pending: (Buffer, Buffer),
    timer: &Timer,
    idle: Duration,
    moved: (&Cell<u64>, &Cell<u64>),
) -> Relayed {
    let mut forth = Flow {
        pending: pending.0,
        ended: false,
        shut: false,
        moved: moved.0,
    };
    let mut back = Flow {
        pending: pending.1,
        ended: false,
        shut: false,
        moved: moved.1,
    };
    let mut seen = (moved.0.get(), moved.1.get());
    let mut deadline = timer.after(idle);
    let mut failed = None;
    poll_fn(|cx| {
        // Before anything is moved: neither side may be reading.
        if second.poll_cut(cx).is_ready() {
            return Poll::Ready(Relayed::Cut);
        }
        // An end that takes no more may have said something before: its last words are passed on.
        let forth_done = match forth.poll(cx, first, second) {
            Poll::Ready(Err(Broken::Source(error))) => return Poll::Ready(Relayed::FirstFailed(error)),
            Poll::Ready(Err(Broken::Sink(error))) => {
                forth.give_up();
                failed.get_or_insert(Relayed::SecondFailed(error));
                true
            }
            polled => polled.is_ready(),
        };
        let back_done = match back.poll(cx, second, first) {
            Poll::Ready(Err(Broken::Source(error))) => return Poll::Ready(Relayed::SecondFailed(error)),
            Poll::Ready(Err(Broken::Sink(error))) => {
                back.give_up();
                failed.get_or_insert(Relayed::FirstFailed(error));
                true
            }
            polled => polled.is_ready(),
        };
        if forth_done && back_done {
            return Poll::Ready(failed.take().unwrap_or(Relayed::Closed));
        }
        let now_moved = (moved.0.get(), moved.1.get());
        if now_moved != seen {
            seen = now_moved;
            deadline = timer.after(idle);
        }
        timer.poll_elapsed(cx, deadline).map(|_| Relayed::Idle)
    })
    .await
}
