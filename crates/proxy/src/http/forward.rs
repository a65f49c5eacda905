//! Forwarding: acquire a backend, reuse a connection or make one, send, stream; try another backend when that is safe.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_core::grpc::Code;
use plimsoll_core::name::BackendId;
use plimsoll_core::outcome::{Failure, Outcome, Reason};
use plimsoll_core::pool::{AcquireCx, Alarm, BackendProtocol, Lease, Pool, Refusal, TRIES_MAX};
use plimsoll_core::reply::Reply;
use plimsoll_core::retry::RetryPolicy;
use plimsoll_core::snapshot::{HttpService, PoolIndex, Route};
use plimsoll_core::telemetry::RetryResult;
use plimsoll_core::time::Now;
use plimsoll_net::{Deadline, Timer};

use super::accept::Next;
use super::answer::{Ended, Goes};
use super::downstream::Downstream;
use super::exchange::Exchange;
use super::fault::{Fault, Limits};
use super::mirror;
use super::route::{self, Request};
use super::upload::Upload;
use super::upstream::Upstream;
use crate::client::Client;
use crate::log::{self, Attempt, Finished};
use crate::worker::{Pinned, Worker};

/// How often in a row a backend may choose another version of HTTP than it chose before.
const CHOICES_MAX: usize = 3;

/// A request that is being forwarded.
pub(super) struct Forward<'f> {
    pub(super) worker: Rc<Worker>,
    pub(super) pinned: &'f Rc<Pinned>,
    pub(super) request: &'f Request,
    pub(super) pool: &'f Arc<Pool>,
    pool_at: PoolIndex,
    retry: &'f RetryPolicy,
    pub(super) deadline: Option<Deadline>,
    tried: [BackendId; TRIES_MAX],
    tries: usize,
    retries: u32,
    /// What was wrong with TLS in the attempt that is under way.
    pub(super) cause: Option<&'static str>,
    pub(super) finished: Finished,
}

/// How forwarding a request ended.
pub(super) enum Forwarded {
    /// It was answered, wholly or in part; what becomes of the connection.
    Answered(Next),
    /// It is to be answered by us, with this.
    Refused(Reply, Finished),
}

/// Forwards `request` to a backend of the pool at `pool_at`, and its answer to the client.
pub(super) async fn forward<D: Downstream>(
    (client, timer, downstream): (&Client, &Timer, &mut D),
    (pinned, service): (&Rc<Pinned>, &HttpService),
    request: &Request,
    pool_at: PoolIndex,
    head: Vec<u8>,
) -> Forwarded {
    let worker = client.worker.clone();
    let pool = &pinned.snapshot.pools[pool_at];
    let Some(chosen) = route::route_at(pinned, request.route) else {
        return Forwarded::Answered(Next::Close);
    };
    let retry = &chosen.retry;
    let limits = limits_of((service, pool, chosen), request, timer);
    pool.retry_budget.deposit(request.started);
    let goes = Goes::of(client, pinned, request);
    let upload = Upload::new(head, request.framing)
        .at_most(request.body_max())
        .naming_backend(request.names_backend);
    let mut exchange = exchange((&worker, timer, downstream), limits, upload);
    exchange.is_call = request.grpc.is_some();
    let compression = request
        .changes
        .as_ref()
        .and_then(|changes| changes.compression.as_ref());
    exchange.compression = compression.map(|compression| (compression, worker.coded.clone()));
    let deadline = limits.deadline.into_iter().chain(limits.call).min();
    let mut forward = Forward::new(&worker, pinned, request, (pool_at, retry), deadline);
    forward.finished.instead_of = request.instead_of;
    let ended = forward.run(&mut exchange, goes).await;
    forward.finished.bytes_in = exchange.upload.body_bytes + request.head_bytes as u64;
    forward.finished.bytes_out = exchange.bytes_out;
    forward.finished.grpc = exchange.grpc;
    let read = exchange.upload.is_read();
    let Exchange { upload, out, .. } = exchange;
    worker.blocks.give_scratch(out);
    let finished = forward.finished;
    match &chosen.mirror {
        Some(mirror) if !request.upgrade && mirror.takes(&mut worker.rng.borrow_mut()) => {
            mirror::send(&worker, pinned, (client.listener, request), mirror, upload);
        }
        _ => worker.blocks.give_scratch(upload.into_scratch()),
    }
    // Who waits here is called: a connection may be free.
    if let Some(backend) = finished.backend {
        worker.lines.call(backend);
    }
    match ended {
        Ended::Answered(next) => {
            log::request(client, pinned, request, &finished);
            Forwarded::Answered(next)
        }
        Ended::Refused(reason) => {
            let reply = Reply::reason(reason);
            Forwarded::Refused(if read { reply } else { reply.closing() }, finished)
        }
    }
}

fn limits_of<'l>(
    (service, pool, route): (&'l HttpService, &Pool, &Route),
    request: &Request,
    timer: &Timer,
) -> Limits<'l> {
    let call = request.grpc.and_then(|call| call.timeout);
    Limits {
        per_try: route.retry.per_try_timeout,
        deadline: route.timeout.map(|timeout| timer.after(timeout)),
        call: call.map(|span| timer.after(span)),
        ..Limits::of(service, pool)
    }
}

/// An exchange with a client.
pub(super) fn exchange<'c, D>(
    (worker, timer, client): (&Worker, &'c Timer, &'c mut D),
    limits: Limits<'c>,
    upload: Upload,
) -> Exchange<'c, D> {
    Exchange {
        timer,
        upload,
        answer: worker.blocks.buffer(),
        hungry: false,
        out: worker.blocks.take_scratch(),
        bytes_out: 0,
        told: false,
        is_call: false,
        grpc: None,
        compression: None,
        coder: None,
        limits,
        client,
        look_at: None,
        denied: None,
    }
}

impl<'f> Forward<'f> {
    /// A request that goes to the pool at `pool_at`.
    pub(super) fn new(
        worker: &Rc<Worker>,
        pinned: &'f Rc<Pinned>,
        request: &'f Request,
        (pool_at, retry): (PoolIndex, &'f RetryPolicy),
        deadline: Option<Deadline>,
    ) -> Self {
        let pool = &pinned.snapshot.pools[pool_at];
        Forward {
            worker: worker.clone(),
            pinned,
            request,
            pool,
            pool_at,
            retry,
            deadline,
            tried: [BackendId(0); TRIES_MAX],
            tries: 0,
            retries: 0,
            cause: None,
            finished: Finished::of_pool(pinned, pool.id),
        }
    }

    /// Tries backend after backend, as far as that is safe, until one has answered.
    pub(super) async fn run<D: Downstream>(&mut self, exchange: &mut Exchange<'_, D>, goes: Goes) -> Ended {
        let mut begun = self.request.started;
        // A retry that finds no backend is answered with what came before it: that is what went wrong.
        let mut failed = None;
        loop {
            let lease = match self.acquire(begun) {
                Ok(lease) => lease,
                Err(refusal) => match self.wait(exchange, refusal).await {
                    Ok(lease) => {
                        begun = self.worker.now();
                        lease
                    }
                    Err(fault @ (Fault::ClientGone | Fault::Cut)) => return self.end(exchange, fault.reason()),
                    Err(fault) => return self.give_up(failed.unwrap_or(fault.reason())),
                },
            };
            self.finished.backend = Some(lease.backend().id);
            exchange.upload.go_to(lease.backend().address);
            let attempted = match self.attempt(exchange, &lease, begun).await {
                Ok((upstream, length)) => self
                    .read_head(exchange, (&upstream, length), (&lease, goes))
                    .map(|(answer, keep_alive)| (upstream, answer, keep_alive)),
                Err(fault) => Err(fault),
            };
            let fault = match attempted {
                Ok((upstream, answer, keep_alive)) => {
                    let status = answer.status;
                    let code = exchange.grpc.and_then(Code::numbered);
                    let again = self.retry.covers_status(status, self.request.idempotent)
                        || code.is_some_and(|code| self.retry.covers_code(code));
                    if !(again && self.may_retry(exchange, &lease, (begun, false))) {
                        self.count_retries(!again);
                        return self
                            .answer(exchange, lease, (upstream, answer), keep_alive, begun)
                            .await;
                    }
                    self.finished
                        .attempted(|| Attempt::answered(&lease, status, self.worker.now().since(begun)));
                    let status = code.map_or(status, Code::http_status);
                    exchange.forget_answer();
                    begun = self.conclude(lease, Outcome::Answered(status), begun);
                    continue;
                }
                Err(fault) => fault,
            };
            // Whoever is to blame, this is where the request was.
            let cause = self.cause.take().or(exchange.denied.take());
            let took = self.worker.now().since(begun);
            self.finished
                .attempted(|| Attempt::failed(&lease, fault.reason(), took).because(cause));
            let failure = match fault {
                Fault::ClientGone | Fault::Cut => return self.end(exchange, fault.reason()),
                Fault::Client(reason) => return Ended::Refused(reason),
                Fault::Stale => Failure::sent(Reason::BackendReset),
                Fault::Unprocessed => Failure::unsent(Reason::BackendReset),
                Fault::Turned => Failure::unsent(Reason::BackendProtocolError),
                Fault::Backend(failure) => failure,
            };
            let again = self.retry.covers_failure(failure, self.request.idempotent);
            let again = again && self.may_retry(exchange, &lease, (begun, failure.is_of_the_connection()));
            begun = self.conclude(lease, Outcome::Failed(failure), begun);
            if !again {
                return self.give_up(failure.reason);
            }
            failed = Some(failure.reason);
            exchange.forget_answer();
        }
    }

    /// One attempt on the leased backend, in the version of HTTP that is spoken to it.
    async fn attempt<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_, D>,
        lease: &Lease,
        now: Now,
    ) -> Result<(Upstream, usize), Fault> {
        for _ in 0..CHOICES_MAX {
            let alone = match self.pool.settings.protocol {
                BackendProtocol::H1 => true,
                BackendProtocol::H2 => false,
                BackendProtocol::Auto => lease.backend().spoken.is_h1(),
            };
            let attempted = if alone {
                self.attempt_alone(exchange, lease, now).await
            } else {
                self.attempt_shared(exchange, lease).await
            };
            if !matches!(attempted, Err(Fault::Turned)) {
                return attempted;
            }
        }
        Err(Fault::Turned)
    }

    /// A lease, unless somebody waits for one already.
    fn acquire(&self, now: Now) -> Result<Lease, Refusal> {
        if self.pool.queue().is_empty() {
            self.pick(now)
        } else {
            Err(Refusal::Full)
        }
    }

    pub(super) fn pick(&self, now: Now) -> Result<Lease, Refusal> {
        let mut rng = self.worker.rng.borrow_mut();
        let key = self.request.key.unwrap_or_else(|| rng.bits());
        let tried = &self.tried[..self.tries];
        let mut cx = AcquireCx {
            now,
            rng: &mut rng,
            key,
            tried,
            tie: self.request.tie(),
            record: None,
        };
        match self.pinned.acquire(self.pool_at, &mut cx) {
            // Another try on a backend that was tried is better than none, when there is no other.
            Err(_) if self.tries > 0 => {
                cx.tried = &[];
                self.pinned.acquire(self.pool_at, &mut cx)
            }
            picked => picked,
        }
    }

    /// Whether another attempt is allowed after one that began at `begun` and perhaps `died` with its connection: by the
    /// route's count, the deadline, the budget, and what can be sent again.
    fn may_retry<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_, D>,
        lease: &Lease,
        (begun, died): (Now, bool),
    ) -> bool {
        if self.retries >= self.retry.attempts || self.is_late(exchange.timer) {
            return false;
        }
        if !exchange.upload.is_replayable() {
            return false;
        }
        let granted = died && lease.backend().grace.covers(begun, self.worker.now());
        if !granted && !self.pool.retry_budget.withdraw(begun) {
            self.worker.shard().retry(self.pool.id, RetryResult::BudgetSpent);
            return false;
        }
        exchange.upload.restart();
        self.retries += 1;
        if self.tries < TRIES_MAX {
            self.tried[self.tries] = lease.backend().id;
            self.tries += 1;
        }
        true
    }

    /// The fault of a request that has had its time, or whose client or node has.
    pub(super) fn lateness<D: Downstream>(&self, exchange: &Exchange<'_, D>) -> Option<Fault> {
        let late = || Fault::Backend(Failure::last(Reason::RequestTimeout));
        exchange.over().or_else(|| self.is_late(exchange.timer).then(late))
    }

    /// Whether the whole request has had its time.
    pub(super) fn is_late(&self, timer: &Timer) -> bool {
        self.deadline.is_some_and(|deadline| timer.is_past(deadline))
    }

    /// Records how an attempt ended that began at `begun`; the time now.
    fn conclude(&self, lease: Lease, outcome: Outcome, begun: Now) -> Now {
        let now = self.worker.now();
        let backend = lease.backend().id;
        self.conclude_after(lease, outcome, now.since(begun), now);
        self.worker.lines.call(backend);
        now
    }

    /// Records how an attempt ended, after the backend took `latency` to begin its answer, and tells control when the
    /// backend looks ill.
    pub(super) fn conclude_after(&self, lease: Lease, outcome: Outcome, latency: Duration, now: Now) {
        let backend = lease.backend().id;
        if lease.finish(outcome, latency, now) == Alarm::Suspect {
            self.worker.shared.wiring.alarms.suspect(self.pool.id, backend);
        }
    }

    fn give_up(&mut self, reason: Reason) -> Ended {
        self.count_retries(false);
        Ended::Refused(reason)
    }

    /// Ends it without an answer: there is nobody to read one, or no time.
    fn end<D: Downstream>(&mut self, exchange: &mut Exchange<'_, D>, reason: Reason) -> Ended {
        exchange.out.clear();
        self.finished.fail(reason);
        Ended::Answered(Next::Abort)
    }

    fn count_retries(&self, success: bool) {
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
