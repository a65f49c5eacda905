//! A client's HTTP/2 connection: many requests at once, each on a stream, all of them driven by the connection's task.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use plimsoll_core::outcome::Reason;
use plimsoll_core::snapshot::HttpService;
use plimsoll_http::h1::FIELDS_MAX;
use plimsoll_http::h2::{self, Fault, Opened, Received};
use plimsoll_net::{Buffer, Deadline, Socket, Timer};

use super::accept::http_service;
use super::downstream::{Link, Place};
use super::due::WORDS;
use super::respond::may_go_on;
use super::streams::{FRAMES, Job, Streams, parts};
use crate::client::{Client, Connection};
use crate::log;

/// What is spoken, as the access log has it.
const HTTP2: &str = "HTTP/2";

/// The most that stands in the buffer for what comes: some frames of the largest size.
const INPUT_MAX: usize = 64 << 10;

/// How often is read before the streams have their turn.
const READS_MAX: usize = 4;

/// The most that is read and thrown away of what a client says after we have said all.
const WASTE_MAX: usize = 1 << 20;

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
    let Some(mut multiplexed) = Multiplexed::new(connection, &ahead) else {
        return;
    };
    drop(ahead);
    let waker = multiplexed.streams.due.waker(FRAMES);
    multiplexed.streams.due.set(FRAMES);
    poll_fn(|cx| multiplexed.poll(cx, &waker)).await;
    // Its streams see that it has ended, and tell how far they have come.
    let Multiplexed {
        link,
        socket,
        input,
        mut streams,
        ..
    } = multiplexed;
    drop((socket, input));
    link.frames.borrow_mut().end();
    streams.pass_on(&link);
    poll_fn(|cx| streams.poll_rest(cx)).await;
}

/// How long a connection may take for its parts, as its listener has it.
struct Times {
    greeting: Duration,
    idle: Duration,
    stream_idle: Duration,
    age: Option<Duration>,
}

fn codec(service: &HttpService) -> h2::Connection {
    let head_bytes = service.limits.head_bytes;
    h2::Connection::new(head_bytes, head_bytes + 32 * FIELDS_MAX)
}

/// A connection and what is known of its end.
struct Multiplexed {
    link: Rc<Link>,
    socket: Socket,
    /// What came and was not used yet.
    input: Buffer,
    /// Room for the text of the next request.
    text: Vec<u8>,
    streams: Streams,
    local: Option<SocketAddr>,
    client: Rc<Client>,
    timer: Timer,
    times: Times,
    /// What the connection was doing when `idle_until` was set.
    was: Phase,
    idle_until: Option<Deadline>,
    /// When the client has to have said that it speaks HTTP/2.
    greeting_until: Option<Deadline>,
    /// When the head that is under way has to be there.
    head_until: Option<Deadline>,
    /// When it begins to end because of its age, and because of a drain.
    age_until: Option<Deadline>,
    drain_until: Option<Deadline>,
    /// Whether the client was told that no further stream is taken.
    parting: bool,
    /// All has been said, and the client is given time to read it: closing while it still talks would make the kernel
    /// throw away what it has not read.
    lingers: bool,
    wasted: usize,
    /// Streams that were given up had a turn to leave their seats.
    made_way: bool,
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
    /// One that begins with these bytes; `None` when its listener is gone.
    fn new(connection: Connection, ahead: &[u8]) -> Option<Self> {
        let Connection { client, socket, timer } = connection;
        let worker = client.worker.clone();
        let (frames, times) = http_service(&client.pin(), &client).map(|service| {
            let times = Times {
                greeting: service.timeouts.request_header,
                idle: service.timeouts.idle,
                stream_idle: service.timeouts.stream_idle,
                age: service.keepalive_age,
            };
            (codec(service), times)
        })?;
        let mut input = worker.blocks.buffer();
        if !ahead.is_empty() {
            while input.room().len() < ahead.len() && input.grow(INPUT_MAX) {}
            let count = ahead.len().min(input.room().len());
            debug_assert_eq!(count, ahead.len(), "a preface is looked for in what is read first");
            input.room()[..count].copy_from_slice(&ahead[..count]);
            input.filled(count);
        }
        Some(Multiplexed {
            local: socket.local().ok(),
            link: Rc::new(Link {
                frames: RefCell::new(frames),
                worker: worker.clone(),
            }),
            socket,
            input,
            text: Vec::new(),
            streams: Streams::new(worker),
            client: Rc::new(client),
            was: Phase::Busy,
            idle_until: None,
            greeting_until: Some(timer.after(times.greeting)),
            head_until: None,
            age_until: times.age.map(|age| timer.after(age)),
            times,
            drain_until: None,
            timer,
            parting: false,
            lingers: false,
            wasted: 0,
            made_way: false,
        })
    }

    /// Looks at what is due, the frames by what `waker` wakes; ready once the connection has ended. What there is to send
    /// is sent when everybody has had a turn.
    fn poll(&mut self, cx: &mut Context<'_>, waker: &Waker) -> Poll<()> {
        let of_frames = &mut Context::from_waker(waker);
        self.streams.due.begin(cx.waker());
        let mut looks_after = false;
        for _ in 0..TURNS_MAX {
            for word in 0..WORDS {
                for at in parts(word, self.streams.due.take(word)) {
                    if at != FRAMES {
                        self.streams.poll(at);
                        continue;
                    }
                    looks_after = true;
                    if self.poll_read(of_frames).is_ready() {
                        return Poll::Ready(());
                    }
                }
            }
            self.streams.pass_on(&self.link);
            if self.streams.due.any() {
                continue;
            }
            if self.poll_flush(of_frames).is_ready() {
                return Poll::Ready(());
            }
            if std::mem::take(&mut looks_after)
                && (self.look_after(of_frames).is_ready() || self.poll_flush(of_frames).is_ready())
            {
                return Poll::Ready(());
            }
            if self.streams.due.rest() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads, and begins the streams that come; ready once the client has ended the connection.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.input.is_empty() {
            self.take_in();
        }
        for _ in 0..READS_MAX {
            if !self.lingers && !self.link.frames.borrow().hears() {
                // Until some of it is taken.
                return Poll::Pending;
            }
            if self.input.is_full() && !self.input.grow(INPUT_MAX) {
                // The streams that it is for have to make way first.
                self.streams.due.set(FRAMES);
                return Poll::Pending;
            }
            match self.socket.poll_fill(cx, &mut self.input) {
                Poll::Pending => {
                    self.input.release();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
            }
            if self.lingers {
                self.wasted += self.input.len();
                self.input.consume(self.input.len());
                if self.wasted >= WASTE_MAX {
                    return Poll::Ready(());
                }
            } else {
                self.take_in();
            }
        }
        self.streams.due.set(FRAMES);
        Poll::Pending
    }

    /// Takes what was read.
    fn take_in(&mut self) {
        let now_ms = self.client.worker.now().millis();
        loop {
            let mut frames = self.link.frames.borrow_mut();
            if !frames.has_seat() && !std::mem::replace(&mut self.made_way, true) {
                return self.streams.due.set(FRAMES);
            }
            let (count, received) = frames.receive(self.input.unread(), now_ms, &mut self.text);
            drop(frames);
            self.input.consume(count);
            match received {
                Received::More => break,
                Received::Request(opened) => self.begin(opened),
                Received::Malformed(why) => {
                    tracing::debug!(client = %self.client.peer, why, "a request over HTTP/2 is malformed");
                    self.client.count_request();
                    log::malformed(&self.client);
                }
                Received::Refused => self.client.worker.shard().failure(Reason::Overloaded),
                Received::Ended(fault) => return self.cut_off(&fault),
            }
        }
        self.made_way = false;
    }

    /// The client's fault has ended the connection.
    fn cut_off(&mut self, fault: &Fault) {
        tracing::debug!(client = %self.client.peer, %fault, "an HTTP/2 connection is ended");
        let reason = match fault {
            Fault::Breach(_) => Reason::Http2Abuse,
            Fault::Error(..) => Reason::BadRequest,
        };
        log::connection_failed(&self.client, (HTTP2, reason), Some(fault));
        self.parting = true;
        self.enter(Phase::CutOff);
    }

    /// Writes what there is to send; ready when the client has gone.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut frames = self.link.frames.borrow_mut();
        let was_deaf = !frames.hears();
        while !frames.pending().is_empty() {
            match self.socket.poll_write(cx, frames.pending()) {
                Poll::Pending => break,
                Poll::Ready(Ok(count)) if count > 0 => frames.wrote(count),
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        if was_deaf && frames.hears() {
            self.streams.due.set(FRAMES);
        }
        if !self.lingers && frames.is_over() && frames.pending().is_empty() {
            self.socket.shutdown_write();
            self.lingers = true;
            self.input.consume(self.input.len());
            self.streams.due.set(FRAMES);
        }
        drop(frames);
        self.streams.pass_on(&self.link);
        Poll::Pending
    }

    /// Looks after the connection's end; ready once it has come.
    fn look_after(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.timer.is_expired() {
                return Poll::Ready(());
            }
            let until = self.ends_at();
            let Some(until) = until else { return Poll::Pending };
            match self.timer.poll_elapsed(cx, until) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(_) if self.timer.is_expired() => return Poll::Ready(()),
                Poll::Ready(_) if self.greeting_until.is_some_and(|greeting| self.timer.is_past(greeting)) => {
                    return Poll::Ready(());
                }
                Poll::Ready(_) if self.head_until.is_some_and(|head| self.timer.is_past(head)) => {
                    log::connection_failed(&self.client, (HTTP2, Reason::RequestHeaderTimeout), None);
                    return Poll::Ready(());
                }
                Poll::Ready(_) if self.parting => return Poll::Ready(()),
                Poll::Ready(_) => self.part(),
            }
        }
    }

    /// When there is something to be done about the connection's end.
    fn ends_at(&mut self) -> Option<Deadline> {
        let frames = self.link.frames.borrow();
        let phase = if self.was == Phase::CutOff {
            Phase::CutOff
        } else if self.lingers {
            Phase::Lingering
        } else if self.streams.open() > 0 {
            Phase::Busy
        } else if !frames.pending().is_empty() {
            Phase::Flushing
        } else if self.parting {
            Phase::Parting
        } else {
            Phase::Idle
        };
        let mid_head = frames.is_mid_head(self.input.unread());
        self.greeting_until = self.greeting_until.filter(|_| !frames.is_greeted());
        drop(frames);
        if phase != self.was {
            self.enter(phase);
        }
        self.head_until = if mid_head && !self.parting {
            let patience = self.times.greeting;
            self.head_until.or_else(|| Some(self.timer.after(patience)))
        } else {
            None
        };
        let soon = [self.idle_until, self.head_until, self.greeting_until]
            .into_iter()
            .flatten()
            .min();
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
        if phase == Phase::Idle {
            self.link.frames.borrow_mut().rest();
        }
        self.was = phase;
        self.idle_until = patience.map(|patience| self.timer.after(patience));
    }

    /// Tells the client that no further stream is taken; those that are open are served.
    fn part(&mut self) {
        self.link.frames.borrow_mut().part();
        self.parting = true;
    }

    /// Begins to serve a stream.
    fn begin(&mut self, Opened { seat, head, is_ended }: Opened) {
        let client = self.client.clone();
        client.count_request();
        let pinned = client.pin();
        // Its age is looked after when nothing comes as well.
        let goes_on =
            may_go_on(&client, &pinned, client.born) && !client.is_too_many(pinned.snapshot.node.max_connections);
        if !self.parting && !goes_on {
            self.part();
        }
        let room = client.worker.blocks.take_scratch();
        self.streams.begin(Job {
            local: self.local,
            pinned,
            place: Place {
                link: self.link.clone(),
                seat,
            },
            text: std::mem::replace(&mut self.text, room),
            head,
            is_ended,
            client,
        });
    }
}
