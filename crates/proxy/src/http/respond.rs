//! Replies of our own: errors with their reasons, redirects, configured answers, the health path.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_core::error_page::{Told, Wish};
use plimsoll_core::filter::Chosen;
use plimsoll_core::grpc::{self, Code};
use plimsoll_core::outcome::Reason;
use plimsoll_core::reply::Reply;
use plimsoll_core::time::Now;
use plimsoll_http::h1::{HeadOut, ReplyHead, phrase, write_reply_head};
use plimsoll_net::Timer;

use super::accept::{Next, http_service};
use super::downstream::Stream;
use super::route::{Request, route_at};
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

/// What whoever issues certificates wants to read (RFC 8555 §8.3).
pub(super) fn proof(proof: Arc<str>) -> Reply {
    Reply::new(
        200,
        vec![("content-type".into(), "application/octet-stream".into())],
        proof,
    )
}

/// The answer of a worker that is late for everything. Whoever comes back in a second finds it in time, or no worse.
pub(super) fn shed() -> Reply {
    Reply::reason(Reason::Overloaded).with("retry-after", "1")
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
    let composed = compose((client, pinned), request, reply);
    let mut out = Vec::with_capacity(512);
    write_reply(&mut out, client, request, &composed, (keep_alive, now));
    let until = timer.after(REPLY_TIMEOUT);
    let written = timer.within(until, socket.write_all(&out)).await;
    finished.status = composed.status;
    finished.grpc = composed.grpc.map(Code::number);
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
pub(super) async fn respond_on_stream(
    (client, timer, stream): (&Client, &Timer, &mut impl Stream),
    pinned: &Pinned,
    request: &Request,
    reply: &Reply,
    mut finished: Finished,
) {
    let composed = compose((client, pinned), request, reply);
    let date = client.worker.date(client.worker.now()).1.clone();
    let alt_svc = client.alt_svc();
    let length = composed.body.len().to_string();
    let lengthless = reply.status == 204 || reply.status == 304 || composed.grpc.is_some();
    let framing = [
        Some(("content-length", length.as_bytes())).filter(|_| !lengthless),
        Some(("date", date.as_bytes())),
        alt_svc.as_ref().map(|alt_svc| ("alt-svc", &**alt_svc)),
    ];
    let own = composed.fields.iter().map(|(name, value)| (*name, &**value));
    let mut fields = own.chain(framing.into_iter().flatten());
    let bodiless = request.is_head || reply.status == 204 || reply.status == 304;
    let body = if bodiless { &[] } else { composed.body.as_bytes() };
    stream.take_reply(composed.status, &mut fields, body.is_empty());
    // As fast as the client takes it, and no longer than one on HTTP/1.1 may take.
    let told = timer.within(timer.after(REPLY_TIMEOUT), stream.send_reply(body)).await;
    if !matches!(told, Ok(Ok(()))) {
        stream.abort();
    }
    finished.status = composed.status;
    finished.grpc = composed.grpc.map(Code::number);
    finished.reason = reply.reason;
    finished.bytes_out += body.len() as u64;
    crate::log::request(client, pinned, request, &finished);
}

/// A reply as it is sent: its status, its fields besides those that frame and date it, and its body.
struct Composed<'r> {
    status: u16,
    fields: Vec<(&'r str, Cow<'r, [u8]>)>,
    body: Cow<'r, str>,
    grpc: Option<Code>,
}

fn compose<'r>((client, pinned): (&Client, &Pinned), request: &'r Request, reply: &'r Reply) -> Composed<'r> {
    let exposed = pinned.snapshot.node.expose_reason;
    let body = match reply.reason {
        Some(_) if !exposed && !reply.theirs => Cow::Owned(format!("{} {}\n", reply.status, phrase(reply.status))),
        _ => Cow::Borrowed(&*reply.body),
    };
    let call = request.grpc.and_then(|_| Code::of_reply(reply));
    let mut composed = match call {
        Some(code) => Composed::of_call(code, &body),
        None => Composed {
            status: reply.status,
            fields: (reply.headers.iter())
                .map(|(name, value)| (&**name, Cow::Borrowed(value.as_bytes())))
                .collect(),
            body,
            grpc: None,
        },
    };
    if call.is_none() {
        composed.put_page((client, pinned), request, reply);
    }
    if let Some(changes) = &request.changes {
        // What makes it an answer to a call stays.
        (composed.fields).retain(|(name, _)| call.is_some() || !changes.answer.removes(name));
        // Without a backend, what only names it has nothing to say.
        let added = changes.answer.added().filter(|(_, value)| !Chosen::is_named_in(value));
        composed
            .fields
            .extend(added.map(|(name, value)| (name, Cow::Borrowed(value))));
    }
    if let Some(reason) = reply.reason.filter(|_| exposed) {
        let word = Cow::Borrowed(reason.word().as_bytes());
        composed.fields.push(("x-plimsoll-reason", word));
    }
    composed
}

impl Composed<'_> {
    /// Puts an error page in place of the body, where there is one.
    fn put_page(&mut self, (client, pinned): (&Client, &Pinned), request: &Request, reply: &Reply) {
        let (wish, request_id) = match &request.page {
            Some(page) => (page.wish, page.request_id.as_str()),
            None => (Wish::default(), ""),
        };
        let places = (route_at(pinned, request.route), http_service(pinned, client));
        let Some((_, page)) = pinned.snapshot.error_page(places, reply, wish) else {
            return;
        };
        let reason = reply.reason.filter(|_| pinned.snapshot.node.expose_reason);
        let told = Told {
            status: reply.status,
            reason: reason.map_or("", Reason::word),
            message: reason.map_or(phrase(reply.status), Reason::says),
            request_id,
        };
        self.fields.retain(|(name, _)| *name != "content-type");
        self.fields
            .push(("content-type", Cow::Borrowed(page.media.content_type().as_bytes())));
        if page.varies {
            self.fields.push(("vary", Cow::Borrowed(b"accept")));
        }
        self.body = page.render(&told).into();
    }

    /// A call is answered with 200 and trailers alone, which stand in the head then: a client of gRPC looks at no other
    /// status, and reads no body that is not a message.
    fn of_call(code: Code, says: &str) -> Self {
        let says = grpc::message(says.trim_end());
        Composed {
            status: 200,
            fields: vec![
                ("content-type", Cow::Borrowed(b"application/grpc")),
                ("grpc-status", code.number().to_string().into_bytes().into()),
                ("grpc-message", says.into_bytes().into()),
            ],
            body: "".into(),
            grpc: Some(code),
        }
    }
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
    request: &Request,
    reply: &Composed<'_>,
    (keep_alive, now): (bool, Now),
) {
    let date = client.worker.date(now);
    let alt_svc = client.alt_svc();
    let fields: Vec<(&str, &[u8])> = reply.fields.iter().map(|(name, value)| (*name, &**value)).collect();
    let head = ReplyHead {
        status: reply.status,
        fields: &fields,
        length: reply.body.len(),
        to: HeadOut {
            client_minor: request.minor,
            keep_alive,
            date: date.1.as_bytes(),
            edits: None,
            alt_svc: alt_svc.as_deref(),
        },
    };
    write_reply_head(out, &head);
    if !request.is_head && reply.status != 204 && reply.status != 304 {
        out.extend_from_slice(reply.body.as_bytes());
    }
}

/// Whether the connection may serve another request, for all that we know.
pub(crate) fn may_go_on(client: &Client, pinned: &Pinned, now: Now) -> bool {
    http_service(pinned, client).is_some_and(|service| {
        !client.is_draining()
            && client.requests.get() < service.keepalive_requests
            && service.keepalive_age.is_none_or(|age| now.since(client.born) < age)
    })
}
