//! Trying again: whether a request may be sent to another backend, when, and what that costs.

use std::time::Duration;

use plimsoll_core::grpc::Code;
use plimsoll_core::name::BackendId;
use plimsoll_core::outcome::{Outcome, Reason};
use plimsoll_core::pool::{Lease, TRIES_MAX};
use plimsoll_core::telemetry::RetryResult;
use plimsoll_core::time::Now;

use super::answer::Ended;
use super::downstream::Downstream;
use super::exchange::{Answer, Exchange};
use super::fault::Fault;
use super::forward::Forward;
use crate::log::Attempt;

impl Forward<'_> {
    /// Goes on after an attempt that began at `begun` and failed: the reason, once another attempt may begin, and otherwise
    /// the end.
    pub(super) async fn again<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_, D>,
        lease: Lease,
        (fault, begun): (Fault, Now),
    ) -> Result<Reason, Ended> {
        if let Fault::Cut = self.of_drain(&lease, fault)
            && !matches!(fault, Fault::Cut)
        {
            return self.again_elsewhere(exchange, lease, (fault, begun)).await;
        }
        // Whoever is to blame, this is where the request was.
        let cause = self.cause.take().or(exchange.denied.take());
        let took = self.worker.now().since(begun);
        let sent = self.sent(&lease, begun);
        self.finished
            .attempt_failed(Attempt::failed(&lease, fault.reason(), took).because(cause).sent(sent));
        let Some(failure) = fault.failure() else {
            return Err(self.leave(exchange, fault));
        };
        let again = self.retry.covers_failure(failure, self.request.repeatable);
        let wait = again
            .then(|| self.may_retry(exchange, &lease, (begun, failure.is_of_the_connection())))
            .flatten();
        self.conclude(lease, Outcome::Failed(failure), begun);
        let Some(wait) = wait else {
            return Err(self.give_up(failure.reason));
        };
        exchange.forget_answer();
        exchange.upload.restart();
        match exchange.rest(wait).await {
            Ok(()) => Ok(failure.reason),
            Err(fault) => Err(self.leave(exchange, fault)),
        }
    }

    /// Goes on after an attempt whose connection was cut, since its backend's drain has come to its deadline, which is no
    /// failure of anybody's.
    async fn again_elsewhere<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_, D>,
        lease: Lease,
        (fault, begun): (Fault, Now),
    ) -> Result<Reason, Ended> {
        let took = self.worker.now().since(begun);
        let sent = self.sent(&lease, begun);
        self.finished
            .attempted(|| Attempt::failed(&lease, Reason::DrainDeadline, took).sent(sent));
        let failure = fault.failure();
        let again = failure.is_some_and(|failure| self.retry.covers_failure(failure, self.request.repeatable))
            && self.may_retry(exchange, &lease, (begun, true)).is_some();
        if !again {
            lease.backend().leaving.count_cut();
        }
        self.conclude(lease, Outcome::Cancelled, begun);
        if !again {
            return Err(self.leave(exchange, Fault::Cut));
        }
        exchange.forget_answer();
        exchange.upload.restart();
        // What it is told when there is nobody else.
        Ok(Reason::NoBackend)
    }

    /// What a fault of the backend's is when its connections were cut at the deadline of its drain.
    pub(super) fn of_drain(&self, lease: &Lease, fault: Fault) -> Fault {
        let is_lost = matches!(fault, Fault::Stale | Fault::Unprocessed)
            || matches!(fault, Fault::Backend(failure) if failure.reason == Reason::BackendReset);
        if is_lost && self.worker.links.was_drained(lease.backend()) {
            Fault::Cut
        } else {
            fault
        }
    }

    /// Another backend for a request whose answer, of which the head has come, may be thrown away for that of another:
    /// when there is none, this one is what the client gets. One who asks to be asked again later is not asked now.
    pub(super) async fn instead<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_, D>,
        lease: &Lease,
        (answer, begun): (&Answer, Now),
    ) -> Result<Option<Lease>, Fault> {
        let code = exchange.grpc.and_then(Code::numbered);
        let again = self.retry.covers_status(answer.status, self.request.repeatable)
            || code.is_some_and(|code| self.retry.covers_code(code));
        if !again {
            self.count_retries(true);
            return Ok(None);
        }
        let other = match self.may_retry(exchange, lease, (begun, false)) {
            Some(wait) => {
                exchange.rest(wait).await?;
                self.other(answer.retry_after)
            }
            None => None,
        };
        match &other {
            Some(_) => {
                let attempt = Attempt::answered(lease, answer.status, self.worker.now().since(begun));
                let sent = self.sent(lease, begun);
                self.finished.attempt_failed(attempt.sent(sent));
            }
            None => self.count_retries(false),
        }
        Ok(other)
    }

    /// A lease for a retry that was charged; on an `untried` backend, if it has to be.
    fn other(&mut self, untried: bool) -> Option<Lease> {
        let now = self.worker.now();
        let picked = if !self.pool.queue().is_empty() {
            None
        } else if untried {
            self.pick_untried(now).ok()
        } else {
            self.pick(now).ok()
        };
        if picked.is_none() {
            self.retries -= 1;
            self.pool.unspend_retry(now);
        }
        picked
    }

    /// How long to wait before another attempt, if one is allowed after one that began at `begun` and perhaps `died` with
    /// its connection: by the route's count, the deadline, the budget, which is charged, and what can be sent again.
    fn may_retry<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_, D>,
        lease: &Lease,
        (begun, died): (Now, bool),
    ) -> Option<Duration> {
        if self.retries >= self.retry.attempts || self.is_late(exchange.timer) {
            return None;
        }
        if !exchange.upload.is_replayable() {
            return None;
        }
        let wait = self
            .retry
            .backoff
            .draw(self.retries + 1, &mut self.worker.rng.borrow_mut());
        // What could not begin in time is not waited for.
        if !wait.is_zero()
            && self
                .deadline
                .is_some_and(|deadline| exchange.timer.after(wait) >= deadline)
        {
            return None;
        }
        let granted = died && lease.backend().grace.covers(begun, self.worker.now());
        if !granted && !self.pool.spend_retry(begun) {
            self.worker.shard().retry(self.pool.id, RetryResult::BudgetSpent);
            return None;
        }
        self.retries += 1;
        self.note_tried(lease.backend().id);
        Some(wait)
    }

    pub(super) fn note_tried(&mut self, backend: BackendId) {
        if self.tries < TRIES_MAX {
            self.tried[self.tries] = backend;
            self.tries += 1;
        }
    }

    /// Whether a request may be sent once more to the backend that it was sent to at `begun` on a kept connection, since
    /// that was closed. Nobody can tell a connection that was closed just before from one that is closed because of the
    /// request: so the budget pays, except for what was under way when the first one failed.
    pub(super) fn may_resend(&self, lease: &Lease, begun: Now) -> bool {
        self.request.repeatable
            && (lease.backend().resend_grace.covers(begun, self.worker.now()) || self.pool.spend_retry(begun))
    }

    pub(super) fn count_retries(&self, success: bool) {
        if self.retries > 0 {
            let result = if success {
                RetryResult::Success
            } else {
                RetryResult::Failure
            };
            self.worker.shard().retry(self.pool.id, result);
        }
    }
}
