//! A client's HTTP/1.1 connection: idle without a buffer, busy with one, request after request.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use plimsoll_core::outcome::Reason;
use plimsoll_core::reply::Reply;
use plimsoll_core::snapshot::{HttpService, Service};
use plimsoll_core::time::Now;
use plimsoll_http::h1::{HeadScan, Scanned};
use plimsoll_http::h2::PREFACE;
use plimsoll_net::{Buffer, Deadline, GROWN_MAX};

use super::downstream::H1;
use super::forward::{Forwarded, forward};
use super::route::{Arrived, Request, Spoken};
use super::{errand, multiplex, respond, route};
use crate::client::{Client, Connection};
use crate::log::{self, Finished};
use crate::worker::Pinned;

/// How long the state of a request outlives it. It is some 2.5 KB, so that it must not be long: a thousand clients that
/// ask once a second hold 250 KB by it.
const SOON: Duration = Duration::from_millis(50);

/// What becomes of a connection after what was done on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It waits for another request.
    Idle,
    /// It is closed at once.
    Close,
    /// It is reset, so that the client does not take what it has for the whole.
    Abort,
    /// It is closed once the client has had time to read our last words.
    Linger,
    /// It speaks HTTP/2.
    Multiplex,
}

/// Serves a connection to its end.
#[expect(
    clippy::manual_async_fn,
    reason = "an async function holds its argument twice, in each of thousands of idle connections"
)]
pub(crate) fn serve(mut connection: Connection) -> impl Future<Output = ()> {
    async move {
        let mut ahead = Vec::new();
        loop {
            if !becomes_readable(&connection).await {
                return;
            }
            // Boxed, so that the state of a request does not swell every idle connection.
            match Box::pin(busy(&mut connection, &mut ahead)).await {
                Next::Idle => {}
                Next::Multiplex => return Box::pin(multiplex::serve(connection, ahead)).await,
                Next::Abort => return connection.socket.abort(),
                Next::Close | Next::Linger => return,
            }
        }
    }
}

/// Tells a client that speaks HTTP where TLS is spoken so, in its own words.
pub(crate) async fn refuse_plain(connection: &mut Connection) {
    let worker = connection.client.worker.clone();
    let pinned = connection.client.pin();
    let request = Request::unread(0, worker.now());
    let reply = Reply::detailed(Reason::BadRequest, &"this port speaks TLS: ask with https://").closing();
    respond::respond(connection, &pinned, &request, reply).await;
    connection.linger(&mut worker.blocks.buffer()).await;
}

/// Waits, without a buffer, for the next request; false when the connection has had its time.
async fn becomes_readable(connection: &Connection) -> bool {
    let Connection { client, socket, timer } = connection;
    let worker = &client.worker;
    let pinned = client.pin();
    let Some(service) = http_service(&pinned, client) else {
        return false;
    };
    let patience = if client.requests.get() == 0 {
        service.timeouts.request_header
    } else {
        service.timeouts.idle
    };
    let age_limit = (service.keepalive_age).map(|age| timer.after((client.born + age).since(worker.now())));
    drop(pinned);
    let idle_until = timer.after(patience);
    // Looked up once: a deadline that is moved at each look never comes.
    let mut drain_until = None;
    poll_fn(|cx| {
        if let Poll::Ready(result) = socket.poll_readable(cx) {
            return Poll::Ready(result.is_ok());
        }
        drain_until = drain_until.or_else(|| client.drain_close(timer));
        let until = sooner(sooner(idle_until, age_limit), drain_until);
        timer.poll_elapsed(cx, until).map(|_| false)
    })
    .await
}

/// Waits for a moment for the next request, with the state of the last one still there: a client that asks again and
/// again does not pay for making it anew each time.
async fn another_comes_soon(connection: &Connection) -> bool {
    let until = connection.timer.after(SOON);
    poll_fn(|cx| {
        if connection.socket.poll_readable(cx).is_ready() {
            return Poll::Ready(true);
        }
        connection.timer.poll_elapsed(cx, until).map(|_| false)
    })
    .await
}

pub(super) fn http_service<'p>(pinned: &'p Pinned, client: &Client) -> Option<&'p HttpService> {
    match &pinned.listener(client.listener)?.service {
        Service::Http(service) => Some(service),
        Service::Tcp(_) | Service::Passthrough(_) => None,
    }
}

/// Serves requests until no byte of a next one is there. What was read of a connection that turns out to speak HTTP/2 is
/// left in `ahead`.
async fn busy(connection: &mut Connection, ahead: &mut Vec<u8>) -> Next {
    let mut input = connection.client.worker.blocks.buffer();
    loop {
        let pinned = connection.client.pin();
        let next = match http_service(&pinned, &connection.client) {
            Some(service) => one_request(connection, &mut input, &pinned, service).await,
            None => Next::Close,
        };
        match next {
            Next::Idle if input.is_empty() => {
                drop(pinned);
                input.release();
                if !another_comes_soon(connection).await {
                    return Next::Idle;
                }
            }
            Next::Idle => {}
            Next::Abort => return next,
            Next::Multiplex => {
                ahead.extend_from_slice(input.unread());
                return next;
            }
            Next::Close if input.is_empty() => return next,
            // What was sent and will not be read would make the close a reset, which may overtake our last words.
            Next::Close | Next::Linger => {
                connection.linger(&mut input).await;
                return Next::Close;
            }
        }
    }
}

async fn one_request(
    connection: &mut Connection,
    input: &mut Buffer,
    pinned: &Rc<Pinned>,
    service: &HttpService,
) -> Next {
    let head = match read_head(connection, input, service).await {
        Ok(length) => length,
        Err(HeadEnd::NotBegun) => return Next::Idle,
        Err(HeadEnd::Silent) => return Next::Close,
        Err(HeadEnd::Preface) => return Next::Multiplex,
        Err(HeadEnd::Broken(begun, reason)) => {
            let request = Request::unread(input.len(), begun);
            let mut finished = Finished::new(pinned);
            finished.fail(reason);
            log::request(&connection.client, pinned, &request, &finished);
            return Next::Close;
        }
        Err(HeadEnd::Fault(begun, reply)) => {
            connection.client.count_request();
            let request = Request::unread(input.len(), begun);
            return respond::respond(connection, pinned, &request, reply.closing()).await;
        }
    };
    connection.client.count_request();
    let client = &connection.client;
    let mut upstream_head = client.worker.blocks.take_scratch();
    let arrived = Arrived {
        client,
        local: &|| connection.socket.local().ok(),
        pinned,
        service,
        spoken: Spoken::Http1,
    };
    let timer = &connection.timer;
    let mut gone = |cx: &mut Context<'_>| connection.socket.poll_ended(cx);
    let head_bytes = &input.unread()[..head];
    let mut request = errand::through(&arrived, timer, head_bytes, &mut upstream_head, &mut gone).await;
    input.consume(head);
    if client.requests.get() == 1 && client.is_too_many(pinned.snapshot.node.max_connections) {
        request.action = route::Routed::Reply(Reply::reason(Reason::Overloaded).closing());
    }
    match std::mem::replace(&mut request.action, route::Routed::Done) {
        route::Routed::Pool(pool) => {
            // A request without a body needs no buffer while it waits for its answer.
            input.release();
            let mut downstream = H1::new(&mut connection.socket, input, request.framing);
            let from = (&connection.client, &connection.timer, &mut downstream);
            match forward(from, (pinned, service), &request, pool, upstream_head).await {
                Forwarded::Answered(next) => {
                    connection.client.worker.keep_changes(request.changes.take());
                    next
                }
                Forwarded::Refused(reply, finished) => {
                    respond::respond_after(connection, pinned, &request, &reply, *finished).await
                }
            }
        }
        route::Routed::Reply(reply) => respond::respond(connection, pinned, &request, reply).await,
        route::Routed::Gone => {
            log::gone(&connection.client, pinned, &request);
            Next::Close
        }
        route::Routed::Errand(_) | route::Routed::Done => Next::Close,
    }
}

/// Why there is no head.
enum HeadEnd {
    /// There was nothing to read after all.
    NotBegun,
    /// The connection ended before any of it came.
    Silent,
    /// It is the preface of HTTP/2.
    Preface,
    /// It ended, or was cut, in the middle of a head that began to come then.
    Broken(Now, Reason),
    /// It sent what is no head, or not in time, and this is what it is told.
    Fault(Now, Reply),
}

/// Reads until a whole head stands at the front of `input`; its length.
async fn read_head(connection: &mut Connection, input: &mut Buffer, service: &HttpService) -> Result<usize, HeadEnd> {
    let Connection { client, socket, timer } = connection;
    let limits = &service.limits;
    let mut scan = HeadScan::default();
    // Looked up once there is more to wait for: most heads come whole.
    let mut begun = None;
    let now = || client.worker.now();
    let mut may_skip = true;
    // Within TLS it is chosen by ALPN, and by nothing else (RFC 9113 §3.2).
    let may_be_http2 = client.requests.get() == 0 && client.tls.is_none();
    if input.is_empty() {
        match socket.try_fill(input) {
            Ok(None) => return Err(HeadEnd::NotBegun),
            Ok(Some(0)) | Err(_) => return Err(HeadEnd::Silent),
            Ok(Some(_)) => {}
        }
    }
    loop {
        may_skip = may_skip && !skip_empty_line(input);
        let undecided = may_skip && input.unread() == b"\r" || may_be_http2 && PREFACE.starts_with(input.unread());
        if may_be_http2 && input.unread().starts_with(PREFACE) {
            return Err(HeadEnd::Preface);
        }
        let fault = if input.is_empty() || undecided {
            None
        } else {
            match scan.look(input.unread(), limits.request_line, limits.head_bytes) {
                Ok(Scanned::Head(length)) => return Ok(length),
                Ok(Scanned::More) => None,
                Err(fault) => Some(Reply::detailed(fault.reason(), &fault)),
            }
        };
        let (since, until) = *begun.get_or_insert_with(|| (now(), timer.after(service.timeouts.request_header)));
        if let Some(reply) = fault {
            return Err(HeadEnd::Fault(since, reply));
        }
        if input.is_full() && !input.grow(GROWN_MAX) {
            return Err(HeadEnd::Fault(since, Reply::reason(Reason::HeaderTooLarge)));
        }
        let read = timer.within(until, socket.fill(input)).await;
        if let Ok(Ok(1..)) = read {
            continue;
        }
        return Err(match read {
            _ if input.is_empty() => HeadEnd::Silent,
            Err(_) if timer.is_expired() => HeadEnd::Broken(since, Reason::DrainDeadline),
            Err(_) => HeadEnd::Fault(since, Reply::reason(Reason::RequestHeaderTimeout)),
            Ok(_) => HeadEnd::Broken(since, Reason::ClientClosed),
        });
    }
}

/// RFC 9112 §2.2: an empty line before a request is ignored; old clients send one behind a body. Whether there was one.
fn skip_empty_line(input: &mut Buffer) -> bool {
    let found = input.unread().starts_with(b"\r\n");
    if found {
        input.consume(2);
    }
    found
}

/// The earlier of two deadlines.
pub(super) fn sooner(a: Deadline, b: Option<Deadline>) -> Deadline {
    b.map_or(a, |b| a.min(b))
}
