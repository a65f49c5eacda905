//! A client's HTTP/3 connection: many requests at once, each on a stream of QUIC and in a task of its own; and what
//! concerns the connection as a whole.

mod requests;
mod ties;
mod unis;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use plimsoll_core::outcome::Reason;
use plimsoll_http::h3::{Code, VARINT_MAX, opening, write_goaway, write_nothing};
use plimsoll_net::{Deadline, Timer};
use quinn::{Connection as Quic, RecvStream, SendStream, VarInt};

use super::accept::http_service;
use super::respond::may_go_on;
use crate::client::Client;
use crate::log;
use requests::Job;
pub(super) use ties::Ties;
use unis::Unis;

/// How long a client that was told to go may still open streams, since it could not know: a long round trip.
const SETTLING: Duration = Duration::from_millis(500);

/// How long a connection that is to end may take to do so once nothing is under way.
const PARTING: Duration = Duration::from_secs(2);

/// While requests are under way, how often there is something to acknowledge: a client that is there says so, and one that
/// only waits for its answer is not taken for gone.
const BREATH: Duration = Duration::from_secs(10);

/// Serves a connection whose handshake is over to its end.
pub(crate) async fn serve_quic((quic, local): (Quic, SocketAddr), client: Client, timer: Timer) {
    let worker = client.worker.clone();
    let pinned = client.pin();
    let Some(service) = http_service(&pinned, &client) else {
        return quic.close(number(Code::NO_ERROR), b"");
    };
    let idle = service.timeouts.idle;
    let stream_idle = service.timeouts.stream_idle;
    let head_bytes = service.limits.head_bytes as u64;
    let age_until = service.keepalive_age.map(|age| timer.after(age));
    drop(pinned);
    let mut control = Control {
        stream: None,
        waiting: opening(head_bytes),
    };
    let mut connection = Http3 {
        ties: Ties::new(worker),
        client: Rc::new(client),
        local,
        unis: Unis::default(),
        idle,
        stream_idle,
        was: Phase::Busy,
        idle_until: None,
        breath_until: None,
        age_until,
        drain_until: None,
        parting: Parting::Not,
        next: 0,
        timer,
    };
    let code = {
        let (mut opening, mut requests, mut unis) =
            (pin!(quic.open_uni()), pin!(quic.accept_bi()), pin!(quic.accept_uni()));
        poll_fn(|cx| {
            *connection.ties.waker.borrow_mut() = Some(cx.waker().clone());
            if control.stream.is_none()
                && let Poll::Ready(opened) = opening.as_mut().poll(cx)
            {
                let Ok(stream) = opened else { return Poll::Ready(None) };
                control.stream = Some(stream);
            }
            while let Poll::Ready(accepted) = requests.as_mut().poll(cx) {
                let Ok(streams) = accepted else {
                    return Poll::Ready(None);
                };
                connection.begin(streams);
                requests.set(quic.accept_bi());
            }
            while let Poll::Ready(accepted) = unis.as_mut().poll(cx) {
                let Ok(stream) = accepted else { return Poll::Ready(None) };
                connection.unis.add(stream);
                unis.set(quic.accept_uni());
            }
            connection.poll(cx, &mut control).map(Some)
        })
        .await
    };
    // `None` is a client that went by itself, or stayed away. What is under way sees it, and says how far it has come.
    if let Some(code) = code {
        quic.close(number(code), b"");
    }
}

fn number(code: Code) -> VarInt {
    code.0.into()
}

/// Our control stream.
struct Control {
    stream: Option<SendStream>,
    /// What is to be said on it. It grows by a few bytes each time that there is something to say, which is seldom.
    waiting: Vec<u8>,
}

impl Control {
    /// Says what there is to say. It is never pending for want of what to say.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Code>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Pending;
        };
        while !self.waiting.is_empty() {
            let written = ready!(pin!(stream.write(&self.waiting)).poll(cx));
            // RFC 9114 §6.2.1: the client must not refuse it.
            let count = written.map_err(|_| Code::CLOSED_CRITICAL_STREAM)?;
            self.waiting.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

/// A connection and what is known of its end.
struct Http3 {
    ties: Rc<Ties>,
    client: Rc<Client>,
    local: SocketAddr,
    unis: Unis,
    timer: Timer,
    idle: Duration,
    stream_idle: Duration,
    /// What the connection was doing when `idle_until` was set.
    was: Phase,
    idle_until: Option<Deadline>,
    /// When there is to be something to acknowledge.
    breath_until: Option<Deadline>,
    /// When it begins to end because of its age, and because of a drain.
    age_until: Option<Deadline>,
    drain_until: Option<Deadline>,
    parting: Parting,
    /// The number of the stream behind the last one that was taken.
    next: u64,
}

/// What a connection is doing, as far as it matters for how long it may.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Requests are under way.
    Busy,
    /// All is answered, and the client has not taken all of it yet.
    Flushing,
    /// Nothing is under way.
    Idle,
    /// Nothing is under way, and the client was told that it may go.
    Parting,
}

/// How far a client was told to go (RFC 9114 §5.2).
#[derive(Clone, Copy)]
enum Parting {
    Not,
    /// It was told to open no more streams; those that it opens before it hears so are taken, until then.
    Settling(Deadline),
    /// It was told which streams are taken.
    Settled,
}

impl Http3 {
    /// Looks at what concerns the connection; ready with what it ends with.
    fn poll(&mut self, cx: &mut Context<'_>, control: &mut Control) -> Poll<Code> {
        self.unis.poll(cx, &self.ties);
        loop {
            if let Some(code) = self.ties.fault.get() {
                tracing::debug!(client = %self.client.peer, code = code.0, "an HTTP/3 connection is ended");
                let is_abuse = code == Code::EXCESSIVE_LOAD;
                let reason = if is_abuse {
                    Reason::Http3Abuse
                } else {
                    Reason::BadRequest
                };
                log::connection_failed(&self.client, ("HTTP/3", reason), None);
                return Poll::Ready(code);
            }
            if let Poll::Ready(Err(code)) = control.poll(cx) {
                return Poll::Ready(code);
            }
            if self.timer.is_expired() {
                // Requests under way see for themselves that their time is up, and say so first.
                return if self.ties.busy.get() > 0 {
                    Poll::Pending
                } else {
                    Poll::Ready(Code::NO_ERROR)
                };
            }
            let until = self.ends_at();
            let Some(until) = until else { return Poll::Pending };
            ready!(self.timer.poll_elapsed(cx, until));
            if self.timer.is_expired() {
                continue;
            }
            let is_past = |until: Option<Deadline>| until.is_some_and(|until| self.timer.is_past(until));
            if is_past(self.breath_until) {
                self.breath_until = None;
                write_nothing(&mut control.waiting);
                continue;
            }
            match self.parting {
                Parting::Not => {
                    write_goaway(&mut control.waiting, VARINT_MAX - 3);
                    self.parting = Parting::Settling(self.timer.after(SETTLING));
                }
                Parting::Settling(until) if self.timer.is_past(until) => {
                    write_goaway(&mut control.waiting, self.next);
                    self.parting = Parting::Settled;
                }
                Parting::Settling(_) | Parting::Settled => return Poll::Ready(Code::NO_ERROR),
            }
        }
    }

    /// When there is something to be done about the connection.
    fn ends_at(&mut self) -> Option<Deadline> {
        let is_parting = !matches!(self.parting, Parting::Not);
        let phase = if self.ties.busy.get() > 0 {
            Phase::Busy
        } else if self.ties.flushing.get() > 0 {
            Phase::Flushing
        } else if is_parting {
            Phase::Parting
        } else {
            Phase::Idle
        };
        if phase != self.was || (phase != Phase::Busy && self.idle_until.is_none()) {
            let patience = match phase {
                Phase::Busy => None,
                Phase::Flushing => Some(self.stream_idle),
                Phase::Idle => Some(self.idle),
                Phase::Parting => Some(PARTING),
            };
            self.was = phase;
            self.idle_until = patience.map(|patience| self.timer.after(patience));
        }
        self.breath_until = match phase {
            Phase::Busy => self.breath_until.or_else(|| Some(self.timer.after(BREATH))),
            _ => None,
        };
        let settles_at = match self.parting {
            Parting::Settling(until) => Some(until),
            _ => None,
        };
        let soon = [self.idle_until, self.breath_until, settles_at]
            .into_iter()
            .flatten()
            .min();
        if is_parting {
            return soon;
        }
        let drain = || self.client.drain_close(&self.timer);
        self.drain_until = self.drain_until.or_else(drain);
        [soon, self.age_until, self.drain_until].into_iter().flatten().min()
    }

    /// Begins to serve a stream.
    fn begin(&mut self, (mut send, mut receive): (SendStream, RecvStream)) {
        let client = self.client.clone();
        if matches!(self.parting, Parting::Settled) {
            // RFC 9114 §4.1.1: it can be asked again, since nothing was done of it.
            let _ = send.reset(number(Code::REQUEST_REJECTED));
            let _ = receive.stop(number(Code::REQUEST_REJECTED));
            return;
        }
        self.next = u64::from(VarInt::from(send.id())) + 4;
        client.count_request();
        let pinned = client.pin();
        // Its age is looked after when nothing comes as well.
        let is_spoken = pinned
            .listener(client.listener)
            .is_some_and(|listener| listener.http3.is_some());
        let goes_on = is_spoken
            && may_go_on(&client, &pinned, client.born)
            && !client.is_too_many(pinned.snapshot.node.max_connections);
        if !goes_on && matches!(self.parting, Parting::Not) {
            self.age_until = Some(self.timer.after(Duration::ZERO));
        }
        self.ties.busy.set(self.ties.busy.get() + 1);
        let job = Job {
            ties: self.ties.clone(),
            client,
            local: self.local,
            pinned,
            streams: (send, receive),
        };
        tokio::task::spawn_local(job.serve());
    }
}
