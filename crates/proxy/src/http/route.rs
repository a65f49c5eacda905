//! From a head's bytes to a decision: read strictly, made canonical, matched, and written as it goes upstream.

use std::net::SocketAddr;
use std::rc::Rc;

use plimsoll_core::outcome::Reason;
use plimsoll_core::retry::is_idempotent;
use plimsoll_core::route::Decided;
use plimsoll_core::snapshot::{Action, HttpService, PoolIndex, Route};
use plimsoll_core::time::Now;
use plimsoll_http::h1::{FieldRoom, Framing, RequestHead, RequestOut, parse_request, write_request_head};

use super::respond::{self, Reply};
use crate::client::Client;
use crate::log::RequestLog;
use crate::worker::Pinned;

/// What is kept of a request once its head is gone.
pub(crate) struct Request {
    /// When its head was complete.
    pub(crate) started: Now,
    /// What is to be done.
    pub(crate) action: Routed,
    /// Position of its route in the snapshot.
    pub(crate) route: Option<usize>,
    /// The client speaks HTTP/1.x.
    pub(crate) minor: u8,
    /// The client wants to go on.
    pub(crate) keep_alive: bool,
    pub(crate) framing: Framing,
    pub(crate) is_head: bool,
    pub(crate) idempotent: bool,
    pub(crate) expect_continue: bool,
    pub(crate) upgrade: bool,
    /// The hash of the policy's key, when the request has it.
    pub(crate) key: Option<u64>,
    pub(crate) head_bytes: usize,
    /// What the access log wants to know, when there is one.
    pub(crate) log: Option<Box<RequestLog>>,
}

/// What is to be done with a request.
pub(crate) enum Routed {
    /// Forward it to this pool.
    Pool(PoolIndex),
    /// Answer it ourselves.
    Reply(Reply),
    /// It is being done.
    Done,
}

/// Where a request came in.
#[derive(Clone, Copy)]
pub(crate) struct Arrived<'a> {
    pub(crate) client: &'a Client,
    /// Our address, as the client reached it.
    pub(crate) local: &'a dyn Fn() -> Option<SocketAddr>,
    pub(crate) pinned: &'a Pinned,
    pub(crate) service: &'a HttpService,
    /// Its head was translated from HTTP/2.
    pub(crate) http2: bool,
}

/// Reads the request whose head fills `bytes`, and [`route`]s it.
pub(crate) fn read(arrived: &Arrived<'_>, bytes: &[u8], out: &mut Vec<u8>) -> Request {
    let mut room = FieldRoom::new();
    match parse_request(bytes, &mut room, arrived.service.limits.fields) {
        Ok(head) => route(arrived, &head, out),
        Err(fault) => {
            Request::unread(bytes.len(), arrived.client.worker.now()).refused(Reply::detailed(fault.reason(), &fault))
        }
    }
}

/// Matches and prepares a request; writes its head as it goes upstream to `out`.
fn route(arrived: &Arrived<'_>, head: &RequestHead<'_>, out: &mut Vec<u8>) -> Request {
    let Arrived { client, pinned, .. } = *arrived;
    let mut request = Request::unread(head.bytes.len(), client.worker.now());
    request.note_head(head);
    if pinned.snapshot.node.access_log.is_some() {
        request.log = Some(Box::new(RequestLog::of(
            head,
            arrived.http2,
            pinned.snapshot.node.client_address(client.peer.ip(), head),
        )));
    }
    let decided = decide(arrived, head, &mut request, out);
    if let Some(log) = request.log.as_deref_mut().filter(|log| log.request_id.is_empty()) {
        // It goes to no backend, and still has a name that it can be asked for by.
        log.identify(head, pinned.snapshot.node.trusts(client.peer.ip()), &request_id(client));
    }
    match decided {
        Ok(action) => request.action = action,
        Err(reply) => return request.refused(reply),
    }
    request
}

impl Request {
    /// A request of which nothing is known but that it began.
    pub(super) fn unread(head_bytes: usize, started: Now) -> Self {
        Request {
            started,
            action: Routed::Done,
            route: None,
            minor: 1,
            keep_alive: false,
            framing: Framing::None,
            is_head: false,
            idempotent: false,
            expect_continue: false,
            upgrade: false,
            key: None,
            head_bytes,
            log: None,
        }
    }

    fn note_head(&mut self, head: &RequestHead<'_>) {
        self.minor = head.minor;
        self.keep_alive = head.keep_alive;
        self.framing = head.framing;
        self.is_head = head.method == "HEAD";
        self.idempotent = is_idempotent(head.method);
        self.expect_continue = head.expect_continue;
        self.upgrade = head.upgrade_websocket;
    }

    /// Malformed: nobody can say where the next request would begin, so the connection ends.
    pub(super) fn refused(mut self, reply: Reply) -> Self {
        self.action = Routed::Reply(reply.closing());
        self
    }

    /// Whether the whole request was read with its head.
    pub(super) fn is_bodiless(&self) -> bool {
        matches!(self.framing, Framing::None | Framing::Length(0))
    }
}

fn decide(
    arrived: &Arrived<'_>,
    head: &RequestHead<'_>,
    request: &mut Request,
    out: &mut Vec<u8>,
) -> Result<Routed, Reply> {
    let Arrived {
        client,
        local,
        pinned,
        service,
        ..
    } = *arrived;
    let asked = head
        .asked(service.allow_encoded_slash)
        .map_err(|fault| Reply::detailed(Reason::BadRequest, &fault))?;
    let route = match service.decide(&asked, None) {
        Decided::Route(route) => route,
        Decided::Health => return Ok(Routed::Reply(respond::health(client.worker.is_draining()))),
        Decided::NoRoute => return Ok(Routed::Reply(Reply::reason(Reason::NoRoute))),
    };
    request.route = Some(route.index);
    let pool = match &route.action {
        Action::Pool(pool) => *pool,
        Action::Split(split) => match split.draw(&mut client.worker.rng.borrow_mut()) {
            Some(pool) => pool,
            None => return Ok(Routed::Reply(Reply::reason(Reason::NoBackend))),
        },
        Action::Respond(respond) => return Ok(Routed::Reply(Reply::configured(respond))),
        Action::Redirect(redirect) => return Ok(Routed::Reply(respond::redirect(redirect, &asked))),
    };
    request.upgrade &= route.upgrade_websocket;
    prepare_upstream(arrived, head, (&asked.path, asked.query), request, out);
    if let Some(key) = pinned.snapshot.pools[pool].key() {
        let from = pinned.snapshot.node.client_address(client.peer.ip(), head);
        request.key = key.of_request(&asked.head(), from, client.peer, local);
    }
    Ok(Routed::Pool(pool))
}

fn prepare_upstream(
    arrived: &Arrived<'_>,
    head: &RequestHead<'_>,
    (path, query): (&str, Option<&str>),
    request: &mut Request,
    out: &mut Vec<u8>,
) {
    let Arrived { client, pinned, .. } = *arrived;
    let trusted = pinned.snapshot.node.trusts(client.peer.ip());
    let id = request_id(client);
    // Only an HTTP/1.0 client may leave it out; then the address that it reached us at has to do.
    let local = if head.host.is_empty() {
        (arrived.local)().map(|address| address.to_string())
    } else {
        None
    };
    let to = RequestOut {
        path,
        query,
        upgrade: request.upgrade,
        trusted,
        peer: client.peer.ip().to_canonical(),
        proto: "http",
        request_id: &id,
        default_host: local.as_deref().unwrap_or_default(),
    };
    if let Some(log) = &mut request.log {
        log.identify(head, trusted, &id);
    }
    write_request_head(out, head, &to);
}

/// 128 random bits in hexadecimal.
fn request_id(client: &Client) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut rng = client.worker.rng.borrow_mut();
    let bytes = (u128::from(rng.bits()) << 64 | u128::from(rng.bits())).to_be_bytes();
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// The route at `at`, in the generation that the request began on.
pub(crate) fn route_at(pinned: &Rc<Pinned>, at: Option<usize>) -> Option<&Route> {
    at.and_then(|at| pinned.snapshot.routes.get(at)).map(|route| &**route)
}
