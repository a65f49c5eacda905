//! Replies of our own: errors with their reasons, redirects, configured answers, the health path.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode};
use plimsoll_core::outcome::Reason;
use plimsoll_core::route::Asked;
use plimsoll_core::snapshot::{Redirect, Respond};
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

/// A reply of our own.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) reason: Option<Reason>,
    headers: Vec<(String, String)>,
    body: Arc<str>,
    close: bool,
}

impl Reply {
    /// The reply for a reason.
    pub(crate) fn reason(reason: Reason) -> Self {
        Reply::saying(reason, reason.says())
    }

    /// The reply for a reason, with what exactly was wrong.
    pub(crate) fn detailed(reason: Reason, detail: &dyn std::fmt::Display) -> Self {
        Reply::saying(reason, &format!("{} In detail: {detail}.", reason.says()))
    }

    fn saying(reason: Reason, says: &str) -> Self {
        let body = format!("{} {}: {says}\n", reason.status(), reason.word());
        let headers = vec![("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())];
        Reply {
            status: reason.status(),
            reason: Some(reason),
            headers,
            body: body.into(),
            close: false,
        }
    }

    /// The reply that a route is configured with.
    pub(crate) fn configured(respond: &Respond) -> Self {
        let mut headers = respond.headers.clone();
        if !respond.body.is_empty()
            && !headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        {
            headers.push(("content-type".into(), "text/plain; charset=utf-8".into()));
        }
        Reply {
            status: respond.status,
            reason: None,
            headers,
            body: respond.body.clone(),
            close: false,
        }
    }

    /// The connection ends with it.
    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}

/// The answer at a listener's health path.
pub(crate) fn health(draining: bool) -> Reply {
    if draining {
        return Reply::reason(Reason::Draining);
    }
    Reply {
        status: 200,
        reason: None,
        headers: Vec::new(),
        body: "ready\n".into(),
        close: false,
    }
}

/// The reply that sends a client elsewhere.
pub(crate) fn redirect(to: &Redirect, asked: &Asked<'_>) -> Reply {
    Reply {
        status: to.status,
        reason: None,
        headers: vec![(
            "location".into(),
            to.location(asked.authority.as_ref(), &asked.path, asked.query),
        )],
        body: "".into(),
        close: false,
    }
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
    let (fields, body) = compose(pinned, reply);
    let mut head = Response::new(());
    let date = client.worker.date(client.worker.now()).1.clone();
    *head.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let length = body.len().to_string();
    let framing = [("content-length", &*length), ("date", &*date)];
    let framing = &framing[usize::from(reply.status == 204 || reply.status == 304)..];
    for (name, value) in fields.iter().chain(framing) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
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
fn compose<'r>(pinned: &Pinned, reply: &'r Reply) -> (Vec<(&'r str, &'r str)>, Cow<'r, str>) {
    let exposed = pinned.snapshot.node.expose_reason;
    let body = match reply.reason {
        Some(reason) if !exposed => Cow::Owned(format!("{} {}\n", reason.status(), phrase(reason.status()))),
        _ => Cow::Borrowed(&*reply.body),
    };
    let mut fields: Vec<(&str, &str)> = reply.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    if let Some(reason) = reply.reason.filter(|_| exposed) {
        fields.push(("x-plimsoll-reason", reason.word()));
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
    let (fields, body) = compose(pinned, reply);
    let head = ReplyHead {
        status: reply.status,
        fields: &fields,
        length: body.len(),
        to: HeadOut {
            client_minor: request.minor,
            keep_alive,
            date: date.1.as_bytes(),
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
