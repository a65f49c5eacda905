//! Waiting for a place in a pool: the queue is core's, the time and the tasks are ours.

use std::future::poll_fn;
use std::task::{Context, Poll};

use plimsoll_core::outcome::Reason;
use plimsoll_core::pool::{Called, Lease, Pool, Refusal, Ticket};
use plimsoll_core::priority::Class;
use plimsoll_core::telemetry::Queued;
use plimsoll_net::{Deadline, Timer};

use crate::worker::Worker;

/// One that waits.
pub(crate) struct Waiting<'w> {
    ticket: Ticket,
    timer: &'w Timer,
    until: Deadline,
}

/// Why one waits no more, or never did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned<F> {
    /// No room, or none any more.
    Away(Queued),
    /// It may be served by nobody: other than that all are full.
    Refused(Refusal),
    /// It has gone of itself.
    Gone(F),
}

impl<F> Turned<F> {
    /// How it counts.
    fn counts(&self) -> Queued {
        match self {
            Turned::Away(how) => *how,
            Turned::Refused(_) | Turned::Gone(_) => Queued::Left,
        }
    }

    /// The reason, unless it has gone of itself.
    pub(crate) fn reason(self) -> Result<Reason, F> {
        match self {
            Turned::Away(Queued::TimedOut) => Ok(Reason::QueueTimeout),
            Turned::Away(_) => Ok(Reason::PoolFull),
            Turned::Refused(refusal) => Ok(refusal.reason()),
            Turned::Gone(why) => Err(why),
        }
    }
}

/// A lease in the queue's order: `pick` looks for one whenever there may be one, and `poll_gone` sees whether there is still
/// anybody to be served, as at `deadline`. Counted, whatever comes of it.
pub(crate) async fn wait<F>(
    (worker, pool, timer): (&Worker, &Pool, &Timer),
    (class, deadline): (Class, Option<Deadline>),
    mut pick: impl FnMut() -> Result<Lease, Refusal>,
    mut poll_gone: impl FnMut(&mut Context<'_>) -> Poll<F>,
) -> Result<Lease, Turned<F>> {
    let since = worker.now();
    let waited = match Waiting::begin((pool, timer), class, deadline) {
        Some(waiting) => waiting.served(&mut pick, &mut poll_gone).await,
        None => Err(Turned::Away(Queued::Refused)),
    };
    let result = waited.as_ref().map_or_else(Turned::counts, |_| Queued::Served);
    let span = worker.now().since(since);
    worker.shard().queued(pool.id, class, result, span);
    waited
}

impl<'w> Waiting<'w> {
    fn begin((pool, timer): (&Pool, &'w Timer), class: Class, deadline: Option<Deadline>) -> Option<Self> {
        let settings = pool.settings.queue;
        let ticket = pool.queue().join(class, settings.most).ok()?;
        let until = timer.after(settings.timeout);
        Some(Waiting {
            ticket,
            timer,
            until: deadline.map_or(until, |deadline| deadline.min(until)),
        })
    }

    async fn served<F>(
        self,
        pick: &mut impl FnMut() -> Result<Lease, Refusal>,
        poll_gone: &mut impl FnMut(&mut Context<'_>) -> Poll<F>,
    ) -> Result<Lease, Turned<F>> {
        loop {
            match poll_fn(|cx| self.poll_called(cx, poll_gone)).await? {
                Called::ToLeave => return Err(Turned::Away(Queued::Shed)),
                Called::ToPick => {}
            }
            match pick() {
                Ok(lease) => {
                    self.ticket.served();
                    return Ok(lease);
                }
                Err(Refusal::Full) => self.ticket.in_vain(),
                Err(refusal) => return Err(Turned::Refused(refusal)),
            }
        }
    }

    fn poll_called<F>(
        &self,
        cx: &mut Context<'_>,
        poll_gone: &mut impl FnMut(&mut Context<'_>) -> Poll<F>,
    ) -> Poll<Result<Called, Turned<F>>> {
        if let Poll::Ready(why) = poll_gone(cx) {
            return Poll::Ready(Err(Turned::Gone(why)));
        }
        if let Poll::Ready(called) = self.ticket.poll_called(cx) {
            return Poll::Ready(Ok(called));
        }
        let late = self.timer.poll_elapsed(cx, self.until);
        late.map(|_| Err(Turned::Away(Queued::TimedOut)))
    }
}
