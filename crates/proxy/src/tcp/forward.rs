//! Forwarding a connection: a backend that takes it, then bytes both ways.

use std::cell::Cell;
use std::task::{Context, Poll};
use std::time::Duration;

use plimsoll_core::backend::Place;
use plimsoll_core::fallback::Serving;
use plimsoll_core::name::BackendId;
use plimsoll_core::outcome::{Failure, Outcome, Reason};
use plimsoll_core::pool::{AcquireCx, Alarm, Lease, Pool, Refusal, View};
use plimsoll_core::priority::Class;
use plimsoll_core::snapshot::{PoolIndex, TcpService};
use plimsoll_net::tls::{self, Offer};
use plimsoll_net::{Buffer, Relayed, Socket, relay};

use crate::client::{Client, Connection};
use crate::connect::{Unreached, connect};
use crate::introduction::Introduction;
use crate::log::{Attempt, Finished, unique_id};
use crate::queue;
use crate::worker::Pinned;

/// Backends that a connection is tried on: nothing was sent to those that refused it, so trying is always safe.
const CONNECT_TRIES_MAX: usize = 3;

/// Where a connection goes.
#[derive(Clone, Copy)]
pub(super) struct Way<'w> {
    pub(super) pool: PoolIndex,
    pub(super) idle_timeout: Duration,
    /// The name that its client asks for, when it speaks TLS, and the protocols that it offers.
    pub(super) sni: Option<&'w str>,
    pub(super) alpn: &'w [Vec<u8>],
}

impl Way<'_> {
    /// The only one that there is at a listener.
    pub(super) fn of_listener(service: &TcpService) -> Self {
        Way {
            pool: service.pool,
            idle_timeout: service.idle_timeout,
            sni: None,
            alpn: &[],
        }
    }
}

/// Connects the client to a backend and relays until either side ends; what was read `ahead` goes first.
pub(super) async fn forward(
    connection: &mut Connection,
    pinned: &Pinned,
    (way, ahead): (Way<'_>, Buffer),
    finished: &mut Finished,
) {
    let Serving { pool, instead_of } = serving(connection, pinned, way.pool);
    let way = Way { pool, ..way };
    let pool = pinned.snapshot.pools[pool].clone();
    (finished.pool, finished.instead_of) = (Some(pool.id), instead_of);
    let Some((lease, (mut backend, place), latency)) = reach(connection, pinned, way, &pool, finished).await else {
        return;
    };
    let (forth, back) = (Cell::new(0), Cell::new(0));
    let worker = connection.client.worker.clone();
    let moved = (&forth, &back);
    let ended = relay(
        &mut connection.socket,
        &mut backend,
        (ahead, worker.blocks.buffer()),
        &connection.timer,
        way.idle_timeout,
        moved,
    )
    .await;
    (finished.bytes_in, finished.bytes_out) = (forth.get(), back.get());
    let mut outcome = Outcome::Answered(0);
    match ended {
        Relayed::Closed => {}
        Relayed::Idle if connection.timer.is_expired() => finished.cut(Reason::DrainDeadline),
        Relayed::Idle => finished.cut(Reason::IdleTimeout),
        Relayed::Cut => {
            let reason = worker.links.reason(lease.backend());
            finished.cut(reason);
            // Neither side may take what it has for the whole, and its checks have said what there is to say about it.
            if reason == Reason::BackendUnhealthy {
                backend.abort();
                connection.socket.abort();
            }
            outcome = Outcome::Cancelled;
        }
        Relayed::FirstFailed(_) => {
            finished.cut(Reason::ClientClosed);
            // The backend must not take what it has for the whole.
            backend.abort();
        }
        Relayed::SecondFailed(error) => {
            let denied = tls::refusal(&error).filter(|_| finished.bytes_out == 0);
            let reason = denied.map_or(Reason::BackendReset, |_| Reason::TlsFailed);
            finished.cut(reason);
            // One that has said something works; how it ends its connections is its protocol's affair.
            if finished.bytes_out == 0 {
                outcome = Outcome::Failed(Failure::last(reason));
            }
            // The client learns that its connection did not end well.
            connection.socket.abort();
        }
    }
    drop(place);
    conclude(&connection.client, &pool, lease, outcome, latency);
}

/// The pool that serves a connection for the one at `asked`: that, or a fallback of it.
fn serving(connection: &Connection, pinned: &Pinned, asked: PoolIndex) -> Serving {
    let client = &connection.client;
    let now = client.worker.now();
    let keeps = |pool: &Pool, view: &View| {
        let tie = pool.sticky().map(|sticky| sticky.tie_of_connection(client.peer.ip()));
        tie.is_some_and(|tie| pool.keeps(&tie, view, now))
    };
    pinned.snapshot.serving(asked, keeps, None)
}

/// A connection to the first backend that takes it.
async fn reach(
    connection: &Connection,
    pinned: &Pinned,
    way: Way<'_>,
    pool: &Pool,
    finished: &mut Finished,
) -> Option<(Lease, (Socket, Place), Duration)> {
    let (client, timer) = (&connection.client, &connection.timer);
    let mut tried = [BackendId(0); CONNECT_TRIES_MAX];
    let id = u128::from_be_bytes(client.worker.random());
    let introduction = introduction(connection, way, pool, id);
    finished.unique_id = introduction.as_ref().map(|_| Box::new(id));
    for tries in 0..CONNECT_TRIES_MAX {
        let lease = match lease(connection, pinned, way, &tried[..tries], finished).await {
            Ok(lease) => lease,
            Err(reason) => {
                // What failed before is what went wrong.
                finished.fail(finished.reason.unwrap_or(reason));
                return None;
            }
        };
        let begun = client.worker.now();
        finished.backend = Some(lease.backend().id);
        let Unreached { reason, cause } = if let Some(place) = lease.backend().place(lease.limits().connections) {
            let until = timer.after(pool.settings.connect_timeout);
            let cut = Some(client.worker.links.link(lease.backend().id));
            let connecting = connect(
                &client.worker,
                pool,
                (lease.backend(), Offer::Bytes),
                introduction.as_ref(),
            );
            match timer.within(until, connecting).await {
                Ok(Ok(reached)) => {
                    let latency = client.worker.now().since(begun);
                    // What failed before has been made good.
                    finished.reason = None;
                    finished.connect = Some(latency);
                    finished.attempted(|| Attempt::answered(&lease, 0, latency));
                    client
                        .worker
                        .shard()
                        .backend_connection(pool.id, lease.backend().id, false);
                    return Some((lease, (reached.socket.cut_by(cut), place), latency));
                }
                Ok(Err(unreached)) => unreached,
                Err(_) => Reason::ConnectTimeout.into(),
            }
        } else {
            Reason::PoolFull.into()
        };
        let took = client.worker.now().since(begun);
        finished.attempt_failed(Attempt::failed(&lease, reason, took).because(cause));
        finished.fail(reason);
        tried[tries] = lease.backend().id;
        conclude(client, pool, lease, Outcome::Failed(Failure::unsent(reason)), took);
    }
    None
}

/// What backends are told of the client. Which of several protocols it will speak is for them to say.
fn introduction(connection: &Connection, way: Way<'_>, pool: &Pool, id: u128) -> Option<Introduction> {
    let local = || connection.socket.local().ok();
    let introduction = Introduction::wanted(pool, &connection.client, local, || unique_id(id))?;
    Some(Introduction {
        alpn: match way.alpn {
            [only] => Some(only.clone()),
            _ => None,
        },
        sni: way.sni.map(str::to_owned),
        ..introduction
    })
}

/// A lease, in the order of the pool's queue when all are full.
async fn lease(
    connection: &Connection,
    pinned: &Pinned,
    way: Way<'_>,
    tried: &[BackendId],
    finished: &mut Finished,
) -> Result<Lease, Reason> {
    let (worker, timer) = (&connection.client.worker, &connection.timer);
    let pool = &pinned.snapshot.pools[way.pool];
    let pick = || acquire(connection, pinned, way, tried);
    let refusal = if pool.queue().is_empty() {
        match pick() {
            Ok(lease) => return Ok(lease),
            Err(refusal) => refusal,
        }
    } else {
        Refusal::Full
    };
    if refusal != Refusal::Full {
        return Err(refusal.reason());
    }
    let since = worker.now();
    // That a client sends no more does not mean that it has gone: only the end of both directions does.
    let poll_gone = |_: &mut Context<'_>| {
        if timer.is_expired() {
            Poll::Ready(Reason::DrainDeadline)
        } else if connection.socket.is_over() {
            Poll::Ready(Reason::ClientClosed)
        } else {
            Poll::Pending
        }
    };
    let waited = queue::wait((worker, pool, timer), (Class::Normal, None), pick, poll_gone).await;
    finished.queued = Some(finished.queued.unwrap_or_default() + worker.now().since(since));
    waited.map_err(|turned| turned.reason().unwrap_or_else(|gone| gone))
}

fn acquire(connection: &Connection, pinned: &Pinned, way: Way<'_>, tried: &[BackendId]) -> Result<Lease, Refusal> {
    let client = &connection.client;
    let pool = &pinned.snapshot.pools[way.pool];
    let mut rng = client.worker.rng.borrow_mut();
    let local = || connection.socket.local().ok();
    let key = pool
        .key()
        .and_then(|key| key.of_connection(client.peer, way.sni, local));
    let key = key.unwrap_or_else(|| rng.bits());
    let now = client.worker.now();
    let tie = pool.sticky().map(|sticky| sticky.tie_of_connection(client.peer.ip()));
    pinned.acquire(
        way.pool,
        &mut AcquireCx {
            now,
            rng: &mut rng,
            key,
            tried,
            tie: tie.as_ref(),
            is_question: false,
            record: None,
        },
    )
}

fn conclude(client: &Client, pool: &Pool, lease: Lease, outcome: Outcome, latency: Duration) {
    let backend = lease.backend().id;
    if lease.finish(outcome, latency, client.worker.now()) == Alarm::Suspect {
        client.worker.shared.wiring.alarms.suspect(pool.id, backend);
    }
}
