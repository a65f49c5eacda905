//! Replies of our own: errors with their reasons, redirects, configured answers, the health path.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode};
use plimsoll_core::filter::Chosen;
use plimsoll_core::outcome::Reason;
use plimsoll_core::reply::Reply;
use plimsoll_core::time::Now;
use plimsoll_http::h1::{HeadOut, ReplyHead, phrase, write_reply_head};
use plimsoll_net::Timer;

use super::accept::{Next, http_service};
use super::downstream::H2;
use super::route::Request;
use crate::client::{Client, Connection};
use crate::log::Finished;
use crate::worker::Pinned;

/// The longest that a client may take to read a reply of ours.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// The answer at a listener's health path.
pub(crate) fn health(draining: bool) -> Reply {
    if draining {
        return Reply::reason(Reason::Draining);
    }
    Reply::new(200, Vec::new(), "ready\n")
}

/// Sends `reply` and counts the request.
pub(crate) async fn respond(connection: &mut Connection, pinned: &Rc<Pinned>, request: &Request, reply: Reply) -> Next {
    // A body that was not read is in the way of the next request.
    let closing = if request.is_bodiless() { reply } else { reply.closing() };
    respond_after(connection, pinned, request, &closing, Finished::new(pinned)).await
}

/// Sends `reply` after what `finished` says was tried, and counts the request.
pub(crate) async fn respond_after(
    connection: &mut Connection,
    pinned: &Rc<Pinned>,
    request: &Request,
    reply: &Reply,
    mut finished: Finished,
) -> Next {
    let Connection { client, socket, timer } = connection;
    let now = client.worker.now();
    let close = reply.close;
    let keep_alive = request.keep_alive && !close && may_go_on(client, pinned, now);
    let mut out = Vec::with_capacity(512);
    write_reply(&mut out, client, pinned, request, reply, (keep_alive, now));
    let until = timer.after(REPLY_TIMEOUT);
    let written = timer.within(until, socket.write_all(&out)).await;
    finished.status = reply.status;
    finished.reason = reply.reason;
    finished.bytes_out += out.len() as u64;
    crate::log::request(client, pinned, request, &finished);
    match written {
        Ok(Ok(())) if close => Next::Linger,
        Ok(Ok(())) => after(request, keep_alive),
        _ => Next::Close,
    }
}

/// Sends `reply` on a stream after what `finished` says was tried, and counts the request.
pub(crate) async fn respond_on_stream(
    (client, timer, stream): (&Client, &Timer, &mut H2),
    pinned: &Pinned,
    request: &Request,
    reply: &Reply,
    mut finished: Finished,
) {
    let (fields, body) = compose(pinned, request, reply);
    let mut head = Response::new(());
    let date = client.worker.date(client.worker.now()).1.clone();
    *head.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let length = body.len().to_string();
    let framing = [("content-length", length.as_bytes()), ("date", date.as_bytes())];
    let framing = &framing[usize::from(reply.status == 204 || reply.status == 304)..];
    for (name, value) in fields.iter().chain(framing) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
            head.headers_mut().append(name, value);
        }
    }
    let bodiless = request.is_head || reply.status == 204 || reply.status == 304;
    let body = if bodiless { &[] } else { body.as_bytes() };
    // As fast as the client takes it, and no longer than one on HTTP/1.1 may take.
    let told = timer.within(timer.after(REPLY_TIMEOUT), stream.reply(head, body)).await;
    if !matches!(told, Ok(Ok(()))) {
        stream.abort();
    }
    finished.status = reply.status;
    finished.reason = reply.reason;
    finished.bytes_out += body.len() as u64;
    crate::log::request(client, pinned, request, &finished);
}

/// The fields of a reply besides those that frame and date it, and its body.
fn compose<'r>(pinned: &Pinned, request: &'r Request, reply: &'r Reply) -> (Vec<(&'r str, &'r [u8])>, Cow<'r, str>) {
    let exposed = pinned.snapshot.node.expose_reason;
    let body = match reply.reason {
        Some(reason) if !exposed => Cow::Owned(format!("{} {}\n", reason.status(), phrase(reason.status()))),
        _ => Cow::Borrowed(&*reply.body),
    };
    let own = reply.headers.iter().map(|(name, value)| (&**name, value.as_bytes()));
    let mut fields: Vec<(&str, &[u8])> = own.collect();
    if let Some(changes) = &request.changes {
        fields.retain(|(name, _)| !changes.answer.removes(name));
        // Without a backend, what only names it has nothing to say.
        fields.extend(changes.answer.added().filter(|(_, value)| !Chosen::is_named_in(value)));
    }
    if let Some(reason) = reply.reason.filter(|_| exposed) {
        fields.push(("x-plimsoll-reason", reason.word().as_bytes()));
    }
    (fields, body)
}

/// What becomes of the connection after an answer, which has told the client whether it `goes_on`.
pub(super) fn after(request: &Request, goes_on: bool) -> Next {
    if goes_on {
        Next::Idle
    } else if request.keep_alive {
        // The client may have sent its next request before it reads that we take none.
        Next::Linger
    } else {
        Next::Close
    }
}

fn write_reply(
    out: &mut Vec<u8>,
    client: &Client,
    pinned: &Pinned,
    request: &Request,
    reply: &Reply,
    (keep_alive, now): (bool, Now),
) {
    let date = client.worker.date(now);
    let (fields, body) = compose(pinned, request, reply);
    let head = ReplyHead {
        status: reply.status,
        fields: &fields,
        length: body.len(),
        to: HeadOut {
            client_minor: request.minor,
            keep_alive,
            date: date.1.as_bytes(),
            edits: None,
        },
    };
    write_reply_head(out, &head);
    if !request.is_head && reply.status != 204 && reply.status != 304 {
        out.extend_from_slice(body.as_bytes());
    }
}

/// Whether the connection may serve another request, for all that we know.
pub(crate) fn may_go_on(client: &Client, pinned: &Pinned, now: Now) -> bool {
    http_service(pinned, client).is_some_and(|service| {
        !client.worker.is_draining()
            && client.requests.get() < service.keepalive_requests
            && service.keepalive_age.is_none_or(|age| now.since(client.born) < age)
    })
}
