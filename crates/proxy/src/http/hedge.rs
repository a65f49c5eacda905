//! Hedging: a second attempt beside the first one, driven by the same task; the answer that begins first is the client's.
//!
//! The first attempt looks after the second whenever it looks after its client ([`Exchange::poll_client`]), which it does
//! while it waits for anything and never while it writes. So there is one writer: the second attempt has nobody for a
//! client, and when it comes first, its answer and its request take the place of the first one's.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use plimsoll_core::decision::Sent;
use plimsoll_core::hedge::Hedge;
use plimsoll_core::name::BackendId;
use plimsoll_core::outcome::Outcome;
use plimsoll_core::pool::Lease;
use plimsoll_core::retry::RetryPolicy;
use plimsoll_core::snapshot::PoolIndex;
use plimsoll_core::telemetry::Hedged;
use plimsoll_core::time::Now;
use plimsoll_net::{Buffer, Deadline};
use tokio::time::Sleep;

use super::downstream::{Downstream, Nobody};
use super::exchange::{Exchange, status_of};
use super::fault::{Fault, Limits};
use super::forward::{Forward, exchange};
use super::route::Request;
use super::upload::Upload;
use super::upstream::Upstream;
use crate::log::Attempt;
use crate::worker::{Pinned, Worker};

/// The first attempt's retries are its own.
static NEVER: RetryPolicy = RetryPolicy::NEVER;

/// What an attempt comes to: the head of an answer, and its length.
pub(super) type Attempted = Result<(Upstream, usize), Fault>;

/// The second attempt of a request, from before it begins.
pub(crate) struct Hedging<'c> {
    hedge: &'c Hedge,
    after: Duration,
    worker: Rc<Worker>,
    pinned: &'c Rc<Pinned>,
    request: &'c Request,
    pool_at: PoolIndex,
    deadline: Option<Deadline>,
    limits: Limits<'c>,
    /// Where the first attempt is.
    first: BackendId,
    /// Where the second one is, and since when.
    on: Option<SecondOn>,
    /// How the second one ended, when it did so without an answer to be used.
    ended: Option<Attempt>,
    state: State<'c>,
}

/// Where a second attempt is.
struct SecondOn {
    backend: BackendId,
    name: Arc<str>,
    begun: Now,
    sent: Option<Sent>,
}

enum State<'c> {
    /// The request is not complete.
    New,
    /// The first attempt has its time.
    Waiting(Pin<Box<Sleep>>),
    Running(Pin<Box<dyn Future<Output = Second> + 'c>>),
    /// It was answered first.
    Answered(Box<Second>),
    /// There is none, or none any more.
    Over,
}

/// A second attempt that has ended.
struct Second {
    lease: Lease,
    begun: Now,
    attempted: Attempted,
    answer: Buffer,
    upload: Upload,
    connect: Option<Duration>,
    span: u64,
}

impl<'c> Hedging<'c> {
    /// Looks after the second attempt, which sends what `upload` has; ready when it was answered first.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, upload: &Upload) -> Poll<()> {
        loop {
            match &mut self.state {
                State::New => self.state = State::Waiting(Box::pin(tokio::time::sleep(self.after))),
                State::Waiting(rest) => {
                    ready!(rest.as_mut().poll(cx));
                    self.state = self.begin(upload);
                }
                State::Running(second) => {
                    let second = ready!(second.as_mut().poll(cx));
                    self.state = self.judge(second);
                }
                State::Answered(_) => return Poll::Ready(()),
                State::Over => return Poll::Pending,
            }
        }
    }

    fn begin(&mut self, upload: &Upload) -> State<'c> {
        let Some(mut upload) = upload.copy() else {
            return State::Over;
        };
        let (pool_at, now) = (self.pool_at, self.worker.now());
        let mut forward = Forward::new(
            &self.worker,
            self.pinned,
            self.request,
            (pool_at, &NEVER),
            self.deadline,
        );
        forward.tried[0] = self.first;
        forward.tries = 1;
        // Who waits already comes first.
        let picked = if forward.pool.queue().is_empty() {
            forward.pick_untried(now).ok()
        } else {
            None
        };
        let Some(lease) = picked else {
            self.count(Hedged::NoBackend);
            return State::Over;
        };
        if !self.hedge.spend() {
            self.count(Hedged::BudgetSpent);
            return State::Over;
        }
        forward.address(&mut upload, &lease);
        self.on = Some(SecondOn {
            backend: lease.backend().id,
            name: lease.name().clone(),
            begun: now,
            sent: forward.sent(&lease, now),
        });
        State::Running(Box::pin(run(forward, self.limits, (lease, now), upload)))
    }

    /// What becomes of a second attempt that has ended: an answer of an ill backend is not worth more than what may still
    /// come of the first.
    fn judge(&mut self, second: Second) -> State<'c> {
        let Second { lease, begun, .. } = &second;
        let took = self.worker.now().since(*begun);
        let sent = self.on.as_ref().and_then(|on| on.sent);
        let outcome = match &second.attempted {
            Ok((_, length)) => match status_of(&second.answer.unread()[..*length]) {
                status @ 500.. => {
                    self.ended = Some(Attempt::answered(lease, status, took).second().sent(sent));
                    Outcome::Answered(status)
                }
                _ => return State::Answered(Box::new(second)),
            },
            Err(fault) => {
                self.ended = Some(Attempt::failed(lease, fault.reason(), took).second().sent(sent));
                fault.failure().map_or(Outcome::Cancelled, Outcome::Failed)
            }
        };
        self.count(Hedged::Failed);
        let forward = Forward::new(
            &self.worker,
            self.pinned,
            self.request,
            (self.pool_at, &NEVER),
            self.deadline,
        );
        forward.conclude(second.lease, outcome, second.begun);
        State::Over
    }

    fn count(&self, result: Hedged) {
        let pool = self.pinned.snapshot.pools[self.pool_at].id;
        self.worker.shard().hedged(pool, result);
    }

    /// The second attempt's answer, if there is one: waits for it while the client is watched.
    async fn answered<D: Downstream>(&mut self, exchange: &mut Exchange<'_, D>) -> Result<Option<Box<Second>>, Fault> {
        poll_fn(|cx| {
            if matches!(self.state, State::New | State::Waiting(_) | State::Over) {
                return Poll::Ready(Ok(()));
            }
            exchange.poll_client(cx)?;
            match self.poll(cx, &exchange.upload) {
                // It may be over now.
                Poll::Pending if matches!(self.state, State::Running(_)) => Poll::Pending,
                _ => Poll::Ready(Ok(())),
            }
        })
        .await?;
        Ok(match std::mem::replace(&mut self.state, State::Over) {
            State::Answered(second) => Some(second),
            _ => None,
        })
    }

    /// Ends a second attempt that is still under way, since the first one counts.
    fn end(&mut self) -> bool {
        let under_way = matches!(self.state, State::Running(_) | State::Answered(_));
        // Its connection is closed, or its stream reset, and its lease is given back as a cancellation.
        self.state = State::Over;
        if under_way {
            self.count(Hedged::Lost);
        }
        under_way
    }
}

/// The second attempt itself.
async fn run(mut forward: Forward<'_>, limits: Limits<'_>, (lease, begun): (Lease, Now), upload: Upload) -> Second {
    let worker = forward.worker.clone();
    let timer = worker.timers.timer();
    let mut nobody = Nobody;
    let mut exchange = exchange((&worker, &timer, &mut nobody), limits, upload);
    let attempted = forward.attempt(&mut exchange, &lease, begun).await;
    let Exchange {
        upload, answer, out, ..
    } = exchange;
    worker.blocks.give_scratch(out);
    Second {
        lease,
        begun,
        attempted,
        answer,
        upload,
        connect: forward.finished.connect,
        span: forward.span,
    }
}

impl<'f> Forward<'f> {
    /// An attempt on the leased backend, and perhaps a second one beside it: the lease and the begin of the one that counts.
    pub(super) async fn attempt_hedged<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'f, D>,
        lease: Lease,
        begun: Now,
    ) -> (Lease, Now, Attempted) {
        self.is_second = false;
        exchange.hedging = self.hedging(exchange.limits, &lease, begun);
        let first = self.attempt(exchange, &lease, begun).await;
        match exchange.hedging.take() {
            None => (lease, begun, first),
            // Boxed, so that those who are not hedged don't carry the state of it.
            Some(hedging) => Box::pin(self.settle(exchange, hedging, (lease, begun), first)).await,
        }
    }

    /// A second attempt for a request whose first one begins `now` with `lease`, where its route wants that. A sticky
    /// session is not served by another backend for the sake of a moment.
    fn hedging(&self, limits: Limits<'f>, lease: &Lease, now: Now) -> Option<Box<Hedging<'f>>> {
        let hedge = self.hedge.filter(|_| self.retries == 0 && !lease.is_kept())?;
        Some(Box::new(Hedging {
            after: hedge.policy.after.of(self.pool, now)?,
            hedge,
            worker: self.worker.clone(),
            pinned: self.pinned,
            request: self.request,
            pool_at: self.pool_at,
            deadline: self.deadline,
            limits,
            first: lease.backend().id,
            on: None,
            ended: None,
            state: State::New,
        }))
    }

    /// What counts of a `first` attempt, which has ended, and a second one: the first one's good answer; or that of the
    /// second one, which is waited for when it is under way; or what the first came to.
    async fn settle<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'f, D>,
        mut hedging: Box<Hedging<'f>>,
        (lease, begun): (Lease, Now),
        first: Attempted,
    ) -> (Lease, Now, Attempted) {
        let status = |(_, length): &(Upstream, usize)| status_of(&exchange.answer.unread()[..*length]);
        let first_status = first.as_ref().map(status).map_err(|fault| *fault);
        let may_be_better = match first_status {
            Ok(status) => status >= 500,
            Err(Fault::ClientGone | Fault::Cut | Fault::Client(_)) => false,
            Err(_) => true,
        };
        let second = if may_be_better {
            hedging.answered(exchange).await
        } else {
            Ok(None)
        };
        match second {
            Ok(Some(second)) => {
                self.give_way(lease, begun, first_status);
                hedging.count(Hedged::Won);
                exchange.forget_answer();
                let Second {
                    lease,
                    begun,
                    attempted,
                    answer,
                    upload,
                    connect,
                    span,
                } = *second;
                (exchange.answer, exchange.upload) = (answer, upload);
                (self.finished.connect, self.span) = (connect, span);
                self.finished.backend = Some(lease.backend().id);
                self.is_second = true;
                (lease, begun, attempted)
            }
            Ok(None) => {
                self.go_on_without(&mut hedging);
                (lease, begun, first)
            }
            Err(fault) => {
                self.go_on_without(&mut hedging);
                (lease, begun, Err(fault))
            }
        }
    }

    /// The first attempt does not count any more, whatever it came to.
    fn give_way(&mut self, lease: Lease, begun: Now, first: Result<u16, Fault>) {
        let now = self.worker.now();
        let took = now.since(begun);
        let sent = self.sent(&lease, begun);
        self.finished.attempted(|| {
            let attempt = match first {
                Ok(status) => Attempt::answered(&lease, status, took),
                Err(Fault::Overtaken) => Attempt::overtaken(lease.name(), took),
                Err(fault) => Attempt::failed(&lease, fault.reason(), took),
            };
            attempt.sent(sent)
        });
        match first {
            Ok(status) => self.conclude(lease, Outcome::Answered(status), begun),
            Err(fault) => match fault.failure() {
                Some(failure) => self.conclude(lease, Outcome::Failed(failure), begun),
                None => {
                    let backend = lease.backend().id;
                    lease.overtaken(took, now);
                    self.worker.lines.call(backend);
                }
            },
        }
    }

    /// The second attempt does not count.
    fn go_on_without(&mut self, hedging: &mut Hedging<'_>) {
        let was_under_way = hedging.end();
        let Some(on) = &hedging.on else {
            return;
        };
        let backend = on.backend;
        if was_under_way {
            let took = self.worker.now().since(on.begun);
            self.finished
                .attempted(|| Attempt::overtaken(&on.name, took).second().sent(on.sent));
            self.worker.lines.call(backend);
        } else if let Some(ended) = hedging.ended.take() {
            self.finished.attempted(|| ended);
            self.note_tried(backend);
        }
    }
}
