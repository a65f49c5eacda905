//! Forwarding: acquire a backend, reuse a connection or make one, send, stream; try another backend when that is safe.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_core::grpc::Code;
use plimsoll_core::hedge::Hedge;
use plimsoll_core::name::BackendId;
use plimsoll_core::outcome::{Failure, Outcome, Reason};
use plimsoll_core::pool::{AcquireCx, Alarm, BackendProtocol, Lease, Pool, Refusal, TRIES_MAX};
use plimsoll_core::reply::Reply;
use plimsoll_core::retry::RetryPolicy;
use plimsoll_core::snapshot::{HttpService, PoolIndex, Route};
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
use crate::decisions::{self, Remains};
use crate::log::{self, Finished};
use crate::worker::{Pinned, Worker};

/// How often in a row a backend may choose another version of HTTP than it chose before.
const CHOICES_MAX: usize = 3;

/// A request that is being forwarded.
pub(crate) struct Forward<'f> {
    pub(crate) worker: Rc<Worker>,
    pub(super) pinned: &'f Rc<Pinned>,
    pub(crate) request: &'f Request,
    pub(super) pool: &'f Arc<Pool>,
    pub(super) pool_at: PoolIndex,
    pub(super) retry: &'f RetryPolicy,
    /// Its route's hedging, when it may be hedged.
    pub(super) hedge: Option<&'f Hedge>,
    /// The attempt that counts is the second one of a hedged request.
    pub(super) is_second: bool,
    pub(super) deadline: Option<Deadline>,
    /// What was wrong with TLS in the attempt that is under way.
    pub(super) cause: Option<&'static str>,
    pub(super) tried: [BackendId; TRIES_MAX],
    pub(super) tries: usize,
    pub(super) retries: u32,
    /// The span of the attempt that is under way, in the request's trace.
    pub(crate) span: u64,
    pub(crate) finished: Finished,
}

/// How forwarding a request ended.
pub(super) enum Forwarded {
    /// It was answered, wholly or in part; what becomes of the connection.
    Answered(Next),
    /// It is to be answered by us, with this.
    Refused(Reply, Box<Finished>),
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
    pool.earn_retry(request.started);
    let goes = Goes::of(client, pinned, request);
    let upload = Upload::new(head, request.framing)
        .at_most(request.body_max())
        .naming_backend(request.names_backend)
        .in_span_at(request.tracing.as_ref().and_then(|tracing| tracing.span_at));
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
    // What may be sent twice though nothing has failed is up to the method alone.
    forward.hedge = (chosen.hedge.as_deref()).filter(|_| request.idempotent && !request.upgrade);
    forward.hedge.into_iter().for_each(Hedge::earn);
    let ended = forward.run(&mut exchange, goes).await;
    forward.finished.bytes_in = exchange.upload.body_bytes + request.head_bytes as u64;
    forward.finished.bytes_out = exchange.bytes_out;
    forward.finished.grpc = exchange.grpc;
    let read = exchange.upload.is_read();
    let failed =
        matches!(ended, Ended::Refused(_)) || forward.finished.reason.is_some() || forward.finished.status >= 500;
    if decisions::is_unforeseen(&worker, request, failed) {
        forward.finished.asked = Some(Box::new(Remains::of(exchange.upload.head())));
    }
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
            Forwarded::Refused(if read { reply } else { reply.closing() }, Box::new(finished))
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
        hedging: None,
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
        let mut finished = Finished::of_pool(pinned, pool.id);
        if request.record.is_some() || request.is_sampled() {
            finished.keep_attempts();
        }
        Forward {
            worker: worker.clone(),
            pinned,
            request,
            pool,
            pool_at,
            retry,
            hedge: None,
            is_second: false,
            deadline,
            tried: [BackendId(0); TRIES_MAX],
            tries: 0,
            retries: 0,
            cause: None,
            span: 0,
            finished,
        }
    }

    /// Tries backend after backend, as far as that is safe, until one has answered.
    pub(super) async fn run<D: Downstream>(&mut self, exchange: &mut Exchange<'f, D>, goes: Goes<'_>) -> Ended {
        let mut begun = self.request.started;
        let mut next = None;
        // A retry that finds no backend is answered with what came before it: that is what went wrong.
        let mut failed = None;
        loop {
            let lease = match next.take().map_or_else(|| self.acquire(begun), Ok) {
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
            self.address(&mut exchange.upload, &lease);
            let (lease, began, attempted) = self.attempt_hedged(exchange, lease, begun).await;
            begun = began;
            let attempted = match attempted {
                Ok((upstream, length)) => self
                    .read_head(exchange, (&upstream, length), (&lease, goes))
                    .map(|(answer, keep_alive)| (upstream, answer, keep_alive)),
                Err(fault) => Err(fault),
            };
            let fault = match attempted {
                Ok((upstream, answer, keep_alive)) => {
                    match self.instead(exchange, &lease, (&answer, begun)).await {
                        Ok(None) => {
                            return self
                                .answer(exchange, lease, (upstream, answer), keep_alive, begun)
                                .await;
                        }
                        Ok(Some(other)) => next = Some(other),
                        Err(fault) => return self.leave(exchange, fault),
                    }
                    let status = (exchange.grpc.and_then(Code::numbered)).map_or(answer.status, Code::http_status);
                    self.conclude(lease, Outcome::Answered(status), begun);
                    exchange.forget_answer();
                    exchange.upload.restart();
                    begun = self.worker.now();
                    continue;
                }
                Err(fault) => fault,
            };
            match self.again(exchange, lease, (fault, begun)).await {
                Ok(reason) => failed = Some(reason),
                Err(ended) => return ended,
            }
            begun = self.worker.now();
        }
    }

    /// One attempt on the leased backend, in the version of HTTP that is spoken to it.
    pub(super) async fn attempt<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_, D>,
        lease: &Lease,
        now: Now,
    ) -> Result<(Upstream, usize), Fault> {
        for _ in 0..CHOICES_MAX {
            let alone = match self.pool.settings.protocol {
                BackendProtocol::H1 => true,
                BackendProtocol::H2 => false,
                BackendProtocol::Auto => {
                    let backend = lease.backend();
                    backend.spoken.is_h1() || (self.request.upgrade && self.worker.trunks.refuse_tunnels(backend.id))
                }
            };
            let attempted = if alone {
                self.attempt_alone(exchange, lease, now).await
            } else {
                self.attempt_shared(exchange, lease, now).await
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
        match self.pick_but(now, &self.tried[..self.tries]) {
            // Another try on a backend that was tried is better than none, when there is no other.
            Err(_) if self.tries > 0 => self.pick_but(now, &[]),
            picked => picked,
        }
    }

    /// A lease on a backend that was not tried.
    pub(super) fn pick_untried(&self, now: Now) -> Result<Lease, Refusal> {
        self.pick_but(now, &self.tried[..self.tries])
    }

    fn pick_but(&self, now: Now, tried: &[BackendId]) -> Result<Lease, Refusal> {
        let mut rng = self.worker.rng.borrow_mut();
        let key = self.request.key.unwrap_or_else(|| rng.bits());
        let mut record = self.request.record.as_ref().map(|record| record.borrow_mut());
        let mut cx = AcquireCx {
            now,
            rng: &mut rng,
            key,
            tried,
            tie: self.request.tie(),
            is_question: false,
            record: record.as_deref_mut(),
        };
        self.pinned.acquire(self.pool_at, &mut cx)
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

    /// Records how an attempt ended that began at `begun`.
    pub(super) fn conclude(&self, lease: Lease, outcome: Outcome, begun: Now) {
        let now = self.worker.now();
        let backend = lease.backend().id;
        self.conclude_after(lease, outcome, now.since(begun), now);
        self.worker.lines.call(backend);
    }

    /// Records how an attempt ended, after the backend took `latency` to begin its answer, and tells control when the
    /// backend looks ill.
    pub(super) fn conclude_after(&self, lease: Lease, outcome: Outcome, latency: Duration, now: Now) {
        let backend = lease.backend().id;
        if lease.finish(outcome, latency, now) == Alarm::Suspect {
            self.worker.shared.wiring.alarms.suspect(self.pool.id, backend);
        }
    }

    /// Ends it for a reason that lies with no backend.
    pub(super) fn leave<D: Downstream>(&mut self, exchange: &mut Exchange<'_, D>, fault: Fault) -> Ended {
        match fault {
            Fault::ClientGone | Fault::Cut => self.end(exchange, fault.reason()),
            _ => Ended::Refused(fault.reason()),
        }
    }

    pub(super) fn give_up(&mut self, reason: Reason) -> Ended {
        self.count_retries(false);
        Ended::Refused(reason)
    }

    /// Ends it without an answer: there is nobody to read one, or no time.
    fn end<D: Downstream>(&mut self, exchange: &mut Exchange<'_, D>, reason: Reason) -> Ended {
        exchange.out.clear();
        self.finished.fail(reason);
        Ended::Answered(Next::Abort)
    }
}
