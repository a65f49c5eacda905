//! A client's HTTP/2 connection: many requests at once, each on a stream, all of them driven by the connection's task.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::{Builder, Connection as Frames, SendResponse};
use h2::{Reason as Code, RecvStream};
use http::Request as Head;
use plimsoll_core::outcome::Reason;
use plimsoll_core::reply::Reply;
use plimsoll_core::snapshot::HttpService;
use plimsoll_http::h1::FIELDS_MAX;
use plimsoll_http::h2::{Follows, write_head};
use plimsoll_http::websocket;
use plimsoll_net::{Deadline, Timer};

use super::accept::http_service;
use super::downstream::H2;
use super::due::WORDS;
use super::errand;
use super::respond::may_go_on;
use super::route::{Arrived, Request, Spoken};
use super::stream;
use super::streams::{Desk, FRAMES, Job, Streams, parts};
use super::watched::{Sight, Watched};
use crate::client::{Client, Connection};
use crate::log;

/// What is spoken, as the access log has it.
const HTTP2: &str = "HTTP/2";

/// Streams that a client may have open at once (HAProxy's and nghttp2's default).
const STREAMS_MAX: u32 = 100;

/// What a client may send ahead of us on one stream, and on all together.
const WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// What small frames of a client's may cost that no backend has taken yet, where each counts as 256 bytes at the least. A
/// call of gRPC whose messages are a few bytes long fills its window with less.
const SMALL_FRAMES_MAX: usize = 8 << 20;

/// What we hold of one stream's answer for a client that is slow to take it.
const SEND_MAX: usize = 32 << 10;

/// Streams that a client has reset before we have looked at them: as many as it may reset in a second, since one whose
/// deadlines are short does so when we are late.
const RESET_MAX: usize = 1_000;

/// Streams that we have ended before the client had said all, and for how long they are remembered: what it still sends
/// on them is no fault of its own. An upload that is answered early leaves one.
const ENDED_MAX: usize = 1_024;
const FORGET_AFTER: Duration = Duration::from_secs(30);

/// Streams that we may have to reset for a client's errors in the connection's life.
const ERRORS_MAX: usize = 1_024;

/// How often a connection looks at what is due before it lets others have their turn.
const TURNS_MAX: usize = 8;

/// How long a connection that is to end may take to do so once nothing is under way.
const PARTING: Duration = Duration::from_secs(2);

/// How long a client may take to read our last words, which may be megabytes in the kernel, before the connection ends.
const LINGER: Duration = Duration::from_secs(30);

/// Serves a connection that is known to speak HTTP/2, by ALPN, to its end.
pub(crate) async fn serve_multiplexed(connection: Connection) {
    serve(connection, Vec::new()).await;
}

/// Serves a connection whose first bytes, `ahead`, are those of HTTP/2, to its end.
pub(super) async fn serve(connection: Connection, ahead: Vec<u8>) {
    let Connection { client, socket, timer } = connection;
    let worker = client.worker.clone();
    let local = socket.local().ok();
    let sight = Rc::new(Sight::default());
    let Some((mut greeting, times)) = http_service(&client.pin(), &client).map(|service| {
        let io = Watched::new(ahead, socket, worker.clone(), sight.clone());
        let times = Times {
            greeting: service.timeouts.request_header,
            idle: service.timeouts.idle,
            stream_idle: service.timeouts.stream_idle,
            age: service.keepalive_age,
        };
        (settings(service).handshake(io), times)
    }) else {
        return;
    };
    // Without bytes ahead there may be nothing to read yet, which is to be looked for at each turn.
    let greeting = poll_fn(|cx| {
        sight.dry.set(false);
        Pin::new(&mut greeting).poll(cx)
    });
    let Ok(Ok(frames)) = timer.within(timer.after(times.greeting), greeting).await else {
        return;
    };
    let mut multiplexed = Multiplexed {
        frames,
        streams: Streams::new(worker),
        local,
        client: Rc::new(client),
        was: Phase::Busy,
        idle_until: None,
        head_until: None,
        age_until: times.age.map(|age| timer.after(age)),
        times,
        drain_until: None,
        timer,
        parting: false,
        sight,
    };
    let waker = multiplexed.streams.due.waker(FRAMES);
    multiplexed.streams.due.set(FRAMES);
    poll_fn(|cx| multiplexed.poll(cx, &waker)).await;
    // Its streams see that it has ended, and tell how far they have come.
    let Multiplexed {
        frames, mut streams, ..
    } = multiplexed;
    drop(frames);
    poll_fn(|cx| streams.poll_rest(cx)).await;
}

/// How long a connection may take for its parts, as its listener has it.
struct Times {
    greeting: Duration,
    idle: Duration,
    stream_idle: Duration,
    age: Option<Duration>,
}

fn settings(service: &HttpService) -> Builder {
    // Each field counts 32 bytes more than it has (RFC 9113 §6.5.2): what is too long for us alone we answer ourselves,
    // with a reason, and the codec what is far too long.
    let head_bytes = service.limits.head_bytes + 32 * FIELDS_MAX;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .data_frame_budget(SMALL_FRAMES_MAX)
        .max_send_buffer_size(SEND_MAX)
        .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_reset_streams(ENDED_MAX)
        .max_pending_accept_reset_streams(RESET_MAX)
        .max_local_error_reset_streams(Some(ERRORS_MAX))
        .reset_stream_duration(FORGET_AFTER)
        .enable_connect_protocol();
    builder
}

/// A connection and what is known of its end.
struct Multiplexed {
    frames: Frames<Watched, Bytes>,
    streams: Streams,
    local: Option<SocketAddr>,
    client: Rc<Client>,
    timer: Timer,
    times: Times,
    /// What the connection was doing when `idle_until` was set.
    was: Phase,
    idle_until: Option<Deadline>,
    /// When the head that is under way has to be there.
    head_until: Option<Deadline>,
    /// When it begins to end because of its age, and because of a drain.
    age_until: Option<Deadline>,
    drain_until: Option<Deadline>,
    /// Whether the client was told that no further stream is taken.
    parting: bool,
    sight: Rc<Sight>,
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
    /// All has been said, and the client may still be reading it.
    Lingering,
    /// It has been cut off.
    CutOff,
}

impl Multiplexed {
    /// Looks at what is due, the frames by what `waker` wakes; ready once the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>, waker: &Waker) -> Poll<()> {
        self.streams.due.begin(cx.waker());
        for _ in 0..TURNS_MAX {
            for word in 0..WORDS {
                for at in parts(word, self.streams.due.take(word)) {
                    if at != FRAMES {
                        self.streams.poll(at);
                    } else if self.poll_frames(&mut Context::from_waker(waker)).is_ready() {
                        return Poll::Ready(());
                    }
                }
            }
            if self.streams.due.rest() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Moves frames, and begins the streams that come; ready once the connection has ended.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sight.dry.set(false);
        loop {
            let polled = self.frames.poll_accept(cx);
            if let Some(breach) = self.sight.breach.get()
                && self.was != Phase::CutOff
            {
                tracing::debug!(client = %self.client.peer, %breach, "an HTTP/2 connection is ended");
                log::connection_failed(&self.client, (HTTP2, Reason::Http2Abuse), Some(&breach));
                self.frames.abrupt_shutdown(Code::ENHANCE_YOUR_CALM);
                self.parting = true;
                self.enter(Phase::CutOff);
                continue;
            }
            for _ in 0..self.sight.too_large.take() {
                self.client.count_request();
                log::too_large(&self.client);
            }
            match polled {
                Poll::Ready(Some(Ok((head, respond)))) => {
                    self.begin(head, respond);
                    continue;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.count_error(&error);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if self.timer.is_expired() {
                return Poll::Ready(());
            }
            let until = self.ends_at();
            let Some(until) = until else { return Poll::Pending };
            match self.timer.poll_elapsed(cx, until) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(_) if self.timer.is_expired() => return Poll::Ready(()),
                Poll::Ready(_) if self.head_until.is_some_and(|head| self.timer.is_past(head)) => {
                    log::connection_failed(&self.client, (HTTP2, Reason::RequestHeaderTimeout), None);
                    return Poll::Ready(());
                }
                Poll::Ready(_) if self.parting => return Poll::Ready(()),
                Poll::Ready(_) => self.part(),
            }
        }
    }

    /// Counts an error of the client's for which the codec ends the connection. It has limits of its own, and says so
    /// with the same word.
    fn count_error(&self, error: &h2::Error) {
        if self.was != Phase::CutOff && error.is_go_away() && error.is_library() {
            let abuse = error.reason() == Some(Code::ENHANCE_YOUR_CALM);
            let reason = if abuse { Reason::Http2Abuse } else { Reason::BadRequest };
            log::connection_failed(&self.client, (HTTP2, reason), Some(error));
        }
    }

    /// When there is something to be done about the connection's end.
    fn ends_at(&mut self) -> Option<Deadline> {
        let phase = if self.was == Phase::CutOff {
            Phase::CutOff
        } else if self.sight.lingers.get() {
            Phase::Lingering
        } else if self.streams.open() > 0 {
            Phase::Busy
        } else if self.frames.has_streams() {
            Phase::Flushing
        } else if self.parting {
            Phase::Parting
        } else {
            Phase::Idle
        };
        if phase != self.was {
            self.enter(phase);
        }
        self.head_until = if self.sight.mid_head.get() && !self.parting {
            let patience = self.times.greeting;
            self.head_until.or_else(|| Some(self.timer.after(patience)))
        } else {
            None
        };
        let soon = [self.idle_until, self.head_until].into_iter().flatten().min();
        if self.parting {
            return soon;
        }
        let drain = || self.client.drain_close(&self.timer);
        self.drain_until = self.drain_until.or_else(drain);
        [soon, self.age_until, self.drain_until].into_iter().flatten().min()
    }

    /// Begins a phase, and the time that it may take.
    fn enter(&mut self, phase: Phase) {
        let patience = match phase {
            Phase::Busy => None,
            Phase::Flushing => Some(self.times.stream_idle),
            Phase::Idle => Some(self.times.idle),
            Phase::Parting | Phase::CutOff => Some(PARTING),
            Phase::Lingering => Some(LINGER),
        };
        self.was = phase;
        self.idle_until = patience.map(|patience| self.timer.after(patience));
    }

    /// Tells the client that no further stream is taken; those that are open are served.
    fn part(&mut self) {
        self.frames.graceful_shutdown();
        self.parting = true;
    }

    /// Begins to serve a stream.
    fn begin(&mut self, head: Head<RecvStream>, mut respond: SendResponse<Bytes>) {
        let client = self.client.clone();
        client.count_request();
        let pinned = client.pin();
        // Its age is looked after when nothing comes as well.
        let goes_on =
            may_go_on(&client, &pinned, client.born) && !client.is_too_many(pinned.snapshot.node.max_connections);
        if !self.parting && !goes_on {
            self.part();
        }
        if !self.streams.has_seat() {
            // RFC 9113 §8.7: it can be asked again, since nothing was done of it.
            respond.send_reset(Code::REFUSED_STREAM);
            return client.worker.shard().failure(Reason::Overloaded);
        }
        self.streams.begin(Job {
            client,
            local: self.local,
            pinned,
            head,
            respond,
        });
    }
}

/// Serves the stream that is on the desk to its end.
pub(super) async fn one_request(desk: &Desk) {
    let Some(job) = desk.take() else { return };
    let Job {
        client,
        local,
        pinned,
        head,
        mut respond,
    } = job;
    let (client, pinned) = (&*client, &pinned);
    let Some(service) = http_service(pinned, client) else {
        return;
    };
    let worker = &client.worker;
    let timer = client.timer();
    let (parts, body) = head.into_parts();
    let mut text = worker.blocks.take_scratch();
    let mut upstream_head = worker.blocks.take_scratch();
    let arrived = Arrived {
        client,
        local: &|| local,
        pinned,
        service,
        spoken: Spoken::Http2,
    };
    let protocol = parts.extensions.get::<Protocol>().map(Protocol::as_str);
    let key = (protocol == Some("websocket")).then(|| websocket::key(worker.random()));
    let follows = match &key {
        Some(key) => Follows::WebSocket(key),
        None if body.is_end_stream() => Follows::Nothing,
        None => Follows::Body,
    };
    let written = write_head(&mut text, &parts, follows);
    // Nobody needs the fields' map any more, for as long as the request lasts.
    drop(parts);
    let request = match written {
        Ok(()) if text.len() > service.limits.head_bytes => {
            Request::unread(text.len(), worker.now()).refused(Reply::reason(Reason::HeaderTooLarge))
        }
        Ok(()) => {
            let mut gone = |cx: &mut Context<'_>| respond.poll_reset(cx).map(drop);
            errand::through(&arrived, &timer, &text, &mut upstream_head, &mut gone).await
        }
        Err(fault) => Request::unread(text.len(), worker.now()).refused(Reply::detailed(fault.reason(), &fault)),
    };
    worker.blocks.give_scratch(text);
    let accept = key.map(|key| websocket::accept(&key));
    let mut downstream = H2::new((respond, body), accept, worker.pieces.clone());
    stream::answer(
        (client, &timer, &mut downstream),
        (pinned, service),
        request,
        upstream_head,
    )
    .await;
}
