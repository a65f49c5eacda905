//! A trunk's life: it is opened by the first request that finds none with room, and driven by a task of its own until it
//! ends, fails, or has been idle for too long.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use plimsoll_core::backend::Place;
use plimsoll_core::outcome::Reason;
use plimsoll_core::pool::{BackendProtocol, Pool};
use plimsoll_http::reuse;
use plimsoll_net::{Cut, Deadline, Timer};
use tokio::sync::watch;

use super::Lost;
use super::h2::lost as meaning;
use super::trunk::{STREAMS_MAX, Trunk};
use super::wire::{Heard, Wire};
use crate::connect::{Reached, Unreached, connect, offer};
use crate::worker::Worker;

/// What a backend may send ahead of us on one stream, and on all together: as much as all streams may, so that clients
/// that are slow to take their answers do not stop those of others.
const WINDOW: u32 = 128 << 10;
#[expect(clippy::cast_possible_truncation, reason = "16 MiB")]
const CONNECTION_WINDOW: u32 = WINDOW * STREAMS_MAX as u32;

/// What small frames cost that were not taken yet, where each counts as 256 bytes at the least. They are taken as they
/// come, but many may come at once.
const SMALL_FRAMES_MAX: usize = 32 << 20;

/// What we hold of one stream's request for a backend that is slow to take it.
const SEND_MAX: usize = 32 << 10;

/// The largest head or trailer section of an answer: the largest that a listener takes, and 32 bytes for each of 128
/// fields, which HTTP/2 counts as well (RFC 9113 §10.5.1).
const HEAD_MAX: u32 = (64 << 10) + 128 * 32;

/// Streams that we have ended before the backend had said all, and for how long they are remembered.
const ENDED_MAX: usize = 1_024;
const FORGET_AFTER: Duration = Duration::from_secs(30);

/// How long a backend with streams under way may be silent before it is asked for a sign of life, and how long it may
/// take to give one.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The least between two pings of which the backend has said nothing but that it lives: gRPC's servers take three within
/// five minutes for abuse (gRFC A8).
const PING_REST: Duration = Duration::from_secs(310);

/// How making a connection went.
pub(crate) type Opened = Result<(), Unreached>;

/// A connection that is being made: what becomes of it.
pub(crate) type Opening = watch::Receiver<Option<Opened>>;

/// Begins to open a trunk in `place`, or, where the backend chooses that, a connection of HTTP/1.1 to be kept.
pub(crate) fn open(worker: &Rc<Worker>, pool: &Arc<Pool>, place: Place) {
    let cut = Some(worker.links.link(place.backend().id));
    let opening = Begun::new(worker, pool, cut, &place);
    tokio::task::spawn_local(async move {
        let Begun { worker, pool, .. } = &opening;
        let connecting = connect(worker, pool, (place.backend(), offer(pool.settings.protocol)), None);
        let reached = match opening.timer.within(opening.until, connecting).await {
            Ok(reached) => reached,
            Err(_) => Err(Reason::ConnectTimeout.into()),
        };
        match reached {
            Ok(reached) if pool.settings.protocol == BackendProtocol::Auto => {
                place.backend().spoken.choose(reached.h2);
                if reached.h2 {
                    opening.serve(reached, place).await;
                } else {
                    opening.keep(reached, place);
                }
            }
            Ok(reached) => opening.serve(reached, place).await,
            Err(unreached) => opening.fail(place, unreached),
        }
    });
}

/// Begins to make a trunk of a connection that was made for one request, and on which the backend has chosen HTTP/2.
pub(crate) fn adopt(worker: &Rc<Worker>, pool: &Arc<Pool>, reached: Reached, (place, cut): (Place, Option<Rc<Cut>>)) {
    let opening = Begun::new(worker, pool, cut, &place);
    tokio::task::spawn_local(opening.serve(reached, place));
}

/// A trunk that is being opened, and who is to be told what becomes of it.
struct Begun {
    worker: Rc<Worker>,
    pool: Arc<Pool>,
    cut: Option<Rc<Cut>>,
    timer: Timer,
    /// When it has to be there.
    until: Deadline,
    done: watch::Sender<Option<Opened>>,
}

impl Begun {
    fn new(worker: &Rc<Worker>, pool: &Arc<Pool>, cut: Option<Rc<Cut>>, place: &Place) -> Self {
        let (done, opening) = watch::channel(None);
        worker.trunks.open(place.backend().id, opening);
        let timer = worker.timers.timer();
        Begun {
            worker: worker.clone(),
            pool: pool.clone(),
            cut,
            until: timer.after(pool.settings.connect_timeout),
            timer,
            done,
        }
    }

    /// There is none.
    fn fail(self, place: Place, unreached: Unreached) {
        let backend = place.backend().id;
        drop(place);
        self.worker.trunks.opened(backend, None);
        // Nobody may wait any more.
        let _ = self.done.send(Some(Err(unreached)));
        self.worker.lines.call(backend);
    }

    /// There is a connection of HTTP/1.1, which is kept for the first who comes for it.
    fn keep(self, reached: Reached, place: Place) {
        let (worker, backend) = (&self.worker, place.backend().id);
        let kept = reuse::Upstream {
            socket: reached.socket.cut_by(self.cut),
            place,
            terms: reached.terms,
        };
        worker.keep(kept, self.pool.settings.idle_timeout);
        worker.trunks.opened(backend, None);
        let _ = self.done.send(Some(Ok(())));
        worker.lines.call(backend);
    }

    /// Greets the backend, and drives the trunk to its end.
    async fn serve(self, reached: Reached, place: Place) {
        let heard = Rc::new(Heard::default());
        let terms = reached.terms;
        let wire = Wire::new(reached.socket, self.worker.clone(), heard.clone());
        let greeted = self.timer.within(self.until, greet(wire, &heard)).await;
        let (mut connection, requests) = match greeted.unwrap_or(Err(Reason::ConnectTimeout.into())) {
            Ok(made) => made,
            Err(unreached) => return self.fail(place, unreached),
        };
        let Begun {
            worker,
            pool,
            cut,
            timer,
            done,
            ..
        } = self;
        let backend = place.backend().id;
        let trunk = Trunk::new(requests, place, terms);
        let pings = connection.ping_pong();
        let mut driven = Driven {
            connection,
            pings,
            heard,
            timer,
            cut,
            idle: pool.settings.idle_timeout,
            was_idle: false,
            until: None,
            asked: None,
            rests_until: None,
        };
        drop(pool);
        driven.look(&trunk);
        worker.trunks.opened(backend, Some(trunk.clone()));
        let _ = done.send(Some(Ok(())));
        worker.lines.call(backend);
        poll_fn(|cx| driven.poll(cx, &trunk)).await;
        // Its streams are told before anybody looks for another.
        drop(driven);
        worker.trunks.ended(backend, &trunk);
        if let (Some(place), Some(other)) = trunk.leave() {
            worker.grant(other, place);
        }
        worker.lines.call(backend);
    }
}

type Made = (Connection<Wire, Bytes>, SendRequest<Bytes>);

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        // None before its settings say how many (RFC 9113 §3.4 has them come first).
        .initial_max_send_streams(0)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .data_frame_budget(SMALL_FRAMES_MAX)
        .max_send_buffer_size(SEND_MAX)
        .max_header_list_size(HEAD_MAX)
        .max_concurrent_reset_streams(ENDED_MAX)
        .max_local_error_reset_streams(Some(ENDED_MAX))
        .reset_stream_duration(FORGET_AFTER);
    builder
}

/// Begins to speak, and waits for the backend's settings: who sends none speaks no HTTP/2.
async fn greet(wire: Wire, heard: &Heard) -> Result<Made, Unreached> {
    let lost = |lost: Lost| match heard.denial.get() {
        Some(cause) => Unreached {
            reason: Reason::TlsFailed,
            cause: Some(cause),
        },
        None => lost.reason().into(),
    };
    let made = builder().handshake(wire).await;
    let (requests, mut connection) = made.map_err(|_| lost(Lost::Connection))?;
    let greeted = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(match meaning(&error) {
            Lost::Malformed => lost(Lost::Malformed),
            _ => lost(Lost::Connection),
        })),
        Poll::Ready(Ok(())) => Poll::Ready(Err(lost(Lost::Connection))),
        Poll::Pending if connection.max_concurrent_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    });
    greeted.await.map(|()| (connection, requests))
}

/// A connection that is driven.
struct Driven {
    connection: Connection<Wire, Bytes>,
    pings: Option<PingPong>,
    heard: Rc<Heard>,
    timer: Timer,
    /// What ends it when its backend becomes unhealthy, in pools that want that.
    cut: Option<Rc<Cut>>,
    /// How long it may be idle.
    idle: Duration,
    was_idle: bool,
    /// When there is something to be done about its silence.
    until: Option<Deadline>,
    /// When the backend has to have answered a ping.
    asked: Option<Deadline>,
    /// When it may be pinged again though it has said nothing.
    rests_until: Option<Deadline>,
}

impl Driven {
    /// Ready once the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>, trunk: &Trunk) -> Poll<()> {
        if self.cut.as_ref().is_some_and(|cut| cut.poll(cx).is_ready()) {
            return Poll::Ready(());
        }
        loop {
            let ended = Pin::new(&mut self.connection).poll(cx);
            self.look(trunk);
            if let Poll::Ready(result) = ended {
                if let Err(error) = result {
                    tracing::debug!(%error, "an HTTP/2 connection to a backend has failed");
                }
                return Poll::Ready(());
            }
            let until = self.silent_until(cx, trunk);
            if self.timer.poll_elapsed(cx, until).is_pending() {
                return Poll::Pending;
            }
            if self.timer.is_expired() || self.asked.is_some() {
                // Dropped as it is: nobody is there to say farewell to.
                return Poll::Ready(());
            }
            if trunk.is_idle() {
                trunk.retire();
                // The last handle is gone, and with it goes the connection.
                self.until = Some(self.timer.after(PING_TIMEOUT));
                self.asked = self.until;
            } else {
                self.ping();
            }
        }
    }

    /// Takes over what the backend's settings say.
    fn look(&mut self, trunk: &Trunk) {
        trunk.most.set(self.connection.max_concurrent_send_streams());
    }

    /// Until when the backend may be silent.
    fn silent_until(&mut self, cx: &mut Context<'_>, trunk: &Trunk) -> Deadline {
        if let Some(pings) = &mut self.pings {
            // Takes note of an answer, so that it can be asked again; what counts is that anything was heard.
            let _ = pings.poll_pong(cx);
        }
        let idle = trunk.is_idle();
        let heard = self.heard.anything.take();
        if idle != self.was_idle || (heard && !idle) {
            self.was_idle = idle;
            (self.until, self.asked) = (None, None);
        }
        if self.heard.speech.take() {
            self.rests_until = None;
        }
        let patience = if idle { self.idle } else { PING_AFTER.min(self.idle) };
        *self.until.get_or_insert_with(|| self.timer.after(patience))
    }

    /// Asks for a sign of life, unless it was asked so shortly before that it could take offence.
    fn ping(&mut self) {
        let rests = self.rests_until.is_some_and(|until| !self.timer.is_past(until));
        let pings = self.pings.as_mut().filter(|_| !rests);
        let sent = pings.is_some_and(|pings| pings.send_ping(Ping::opaque()).is_ok());
        let patience = if sent { PING_TIMEOUT } else { PING_AFTER };
        let until = self.timer.after(patience);
        self.until = Some(until);
        if sent {
            self.asked = Some(until);
            self.rests_until = Some(self.timer.after(PING_REST));
        }
    }
}
