//! A request that finds every backend of its pool full: it waits in the pool's queue while its client is watched.

use std::task::{Context, Poll};

use plimsoll_core::outcome::{Failure, Reason};
use plimsoll_core::pool::{Lease, Refusal};

use super::downstream::Downstream;
use super::exchange::Exchange;
use super::fault::Fault;
use super::forward::Forward;
use crate::queue;

impl Forward<'_> {
    /// A lease after `refusal`: that all are full is worth waiting for.
    pub(super) async fn wait<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_, D>,
        refusal: Refusal,
    ) -> Result<Lease, Fault> {
        if refusal != Refusal::Full {
            return Err(unserved(refusal.reason()));
        }
        let since = self.worker.now();
        // Boxed, so that those who need not wait don't carry the state of it.
        let waited = Box::pin(queue::wait(
            (&self.worker, self.pool, exchange.timer),
            (self.request.class, self.deadline),
            || self.pick(self.worker.now()),
            |cx| self.poll_unwanted(exchange, cx),
        ))
        .await;
        let span = self.worker.now().since(since);
        self.finished.queued = Some(self.finished.queued.unwrap_or_default() + span);
        waited.map_err(|turned| turned.reason().map_or_else(|fault| fault, unserved))
    }

    /// Ready when there is nobody any more to be served, or no time.
    fn poll_unwanted<D: Downstream>(&self, exchange: &mut Exchange<'_, D>, cx: &mut Context<'_>) -> Poll<Fault> {
        if exchange.timer.is_expired() {
            return Poll::Ready(Fault::Cut);
        }
        if self.is_late(exchange.timer) {
            return Poll::Ready(unserved(Reason::RequestTimeout));
        }
        if exchange.upload.is_read()
            && let Err(fault) = exchange.poll_client(cx)
        {
            return Poll::Ready(fault);
        }
        Poll::Pending
    }
}

/// No backend had any part in it.
fn unserved(reason: Reason) -> Fault {
    Fault::Backend(Failure::unsent(reason))
}
