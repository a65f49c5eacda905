//! From a head's bytes to a decision: read strictly, made canonical, matched, and written as it goes upstream.

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use plimsoll_core::decision::Decision;
use plimsoll_core::error_page::Wish;
use plimsoll_core::fallback::Serving;
use plimsoll_core::filter::{Changes, Decided, Done, Edited, Errand, Progress, Visitor};
use plimsoll_core::grpc;
use plimsoll_core::outcome::Reason;
use plimsoll_core::pool::Refusal;
use plimsoll_core::priority::Class;
use plimsoll_core::reply::Reply;
use plimsoll_core::retry::is_idempotent;
use plimsoll_core::reversal::HostSent;
use plimsoll_core::route::Asked;
use plimsoll_core::snapshot::{HttpService, PoolIndex, Route};
use plimsoll_core::time::Now;
use plimsoll_http::h1::{FieldRoom, Framing, RequestHead, RequestOut, parse_request, write_request_head};

use super::back::{Back, wall};
use super::respond;
use crate::client::Client;
use crate::decisions;
use crate::introduction::Introduction;
use crate::log::RequestLog;
use crate::traces::{self, Tracing};
use crate::worker::Pinned;

/// What is kept of a request once its head is gone.
pub(crate) struct Request {
    /// When its head was complete.
    pub(crate) started: Now,
    /// What is to be done.
    pub(crate) action: Routed,
    /// Who asks, once that is known.
    pub(crate) client: Option<IpAddr>,
    /// Position of its route in the snapshot.
    pub(crate) route: Option<usize>,
    /// The client speaks HTTP/1.x.
    pub(crate) minor: u8,
    /// The client wants to go on.
    pub(crate) keep_alive: bool,
    pub(crate) framing: Framing,
    pub(crate) is_head: bool,
    pub(crate) idempotent: bool,
    /// It may be sent again after a backend may have acted on it: by its method, or by its route's word.
    pub(crate) repeatable: bool,
    pub(crate) expect_continue: bool,
    pub(crate) upgrade: bool,
    /// It asks to become one on a stream of HTTP/2 (RFC 8441) or HTTP/3 (RFC 9220).
    pub(crate) tunnel: bool,
    /// What is known of it as a call of gRPC, when it is one.
    pub(crate) grpc: Option<Call>,
    /// The pool that was asked and why it cannot serve, when another took over.
    pub(crate) instead_of: Option<(PoolIndex, Refusal)>,
    /// Its Host is the address of the backend that it goes to.
    pub(crate) names_backend: bool,
    /// The hash of the policy's key, when the request has it.
    pub(crate) key: Option<u64>,
    /// Who is served before it when there is too much work.
    pub(crate) class: Class,
    pub(crate) head_bytes: usize,
    /// What the access log wants to know when there is one, and whoever looks at its decision.
    pub(crate) log: Option<Box<RequestLog>>,
    /// What is considered on its way, when that is to be told.
    pub(crate) record: Option<Box<RefCell<Decision>>>,
    /// Its trace, when requests have one.
    pub(crate) tracing: Option<Box<Tracing>>,
    /// What filters want of the answer, when they want anything.
    pub(crate) changes: Option<Box<Changes>>,
    /// What error pages want to know of it, when there are any.
    pub(crate) page: Option<Box<PageWish>>,
    /// What its answer needs to know of it, when it does.
    pub(crate) back: Option<Box<Back>>,
    /// What its backend is told of the client before the request, when it wants to know.
    pub(crate) introduction: Option<Box<Introduction>>,
}

/// What an error page tells of a request, and the kind of page that its client likes.
pub(crate) struct PageWish {
    pub(crate) request_id: String,
    pub(crate) wish: Wish,
}

/// A call of gRPC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// How long its client waits for its end.
    pub(crate) timeout: Option<Duration>,
}

impl Call {
    fn of(head: &RequestHead<'_>) -> Option<Call> {
        let content_type = head.first("content-type").filter(|_| head.method == "POST")?;
        grpc::is_grpc(content_type).then(|| Call {
            timeout: head.first("grpc-timeout").and_then(grpc::timeout),
        })
    }
}

/// What is to be done with a request.
pub(crate) enum Routed {
    /// Forward it to this pool.
    Pool(PoolIndex),
    /// Answer it ourselves.
    Reply(Reply),
    /// See to this first, and then ask again.
    Errand(Errand),
    /// The client went away while something was seen to.
    Gone,
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
    /// What the client speaks.
    pub(crate) spoken: Spoken,
}

/// A version of HTTP, as clients speak it. Heads of the later ones were translated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// 1.0 or 1.1, as the head says.
    Http1,
    Http2,
    Http3,
}

/// Reads the request whose head fills `bytes`, and [`route`]s it from where its `progress` ended, on an errand that is
/// `done` now.
pub(crate) fn read(
    arrived: &Arrived<'_>,
    bytes: &[u8],
    (progress, done): (&mut Progress, Option<Done>),
    out: &mut Vec<u8>,
) -> Request {
    let mut room = FieldRoom::new();
    match parse_request(bytes, &mut room, arrived.service.limits.fields) {
        Ok(head) => route(arrived, &head, (progress, done), out),
        Err(fault) => {
            Request::unread(bytes.len(), arrived.client.worker.now()).refused(Reply::detailed(fault.reason(), &fault))
        }
    }
}

/// Matches and prepares a request; writes its head as it goes upstream to `out`.
fn route(
    arrived: &Arrived<'_>,
    head: &RequestHead<'_>,
    (progress, done): (&mut Progress, Option<Done>),
    out: &mut Vec<u8>,
) -> Request {
    let Arrived { client, pinned, .. } = *arrived;
    let node = &pinned.snapshot.node;
    let mut request = Request::unread(head.bytes.len(), client.worker.now());
    request.note_head(head);
    let trusted = node.trusts(client.peer.ip());
    // A request that comes back from an errand keeps its id.
    let drawn = *progress.id.get_or_insert_with(|| request_id(client));
    let brought = head.first("x-request-id").filter(|id| trusted && !id.is_empty());
    // What is text, and that is nearly all, is known for it a word at a time.
    let id = brought.unwrap_or(&drawn);
    let id = std::str::from_utf8(id).map_or_else(|_| String::from_utf8_lossy(id), Cow::Borrowed);
    let from = node.client_address(client.peer.ip(), head);
    request.client = Some(from);
    decisions::begin((client, head, trusted), (done.is_none(), &id), progress, &mut request);
    request.tracing = traces::begin(node, head, trusted, &drawn);
    if node.access_log.is_some() || request.record.is_some() || request.is_sampled() {
        request.log = Some(Box::new(RequestLog::of(head, arrived.spoken, from, &id)));
    }
    if pinned.snapshot.has_error_pages {
        request.page = Some(Box::new(PageWish {
            request_id: id.clone().into_owned(),
            wish: Wish::of(head),
        }));
    }
    let visitor = Visitor {
        client: from,
        peer: client.peer,
        request_id: &id,
        scheme: client.scheme(),
        tls: client.tls.as_ref().map(|tls| &tls.secured),
        now: request.started,
        wall,
        is_question: false,
    };
    match decide(arrived, head, visitor, (progress, done), &mut request, out) {
        Ok(Routed::Reply(reply)) => {
            decisions::replied(arrived, head, (&reply, &id, &progress.changes), &mut request);
            request.action = Routed::Reply(reply);
        }
        Ok(action) => request.action = action,
        Err(reply) => {
            decisions::replied(arrived, head, (&reply, &id, &progress.changes), &mut request);
            return request.refused(reply);
        }
    }
    request.route = progress.route;
    request.introduction = introduction(arrived, &request.action, &id);
    request
}

/// What a backend is told of the client, when it wants to know.
fn introduction(arrived: &Arrived<'_>, action: &Routed, id: &str) -> Option<Box<Introduction>> {
    let Routed::Pool(pool) = action else { return None };
    let pool = &arrived.pinned.snapshot.pools[*pool];
    Introduction::wanted(pool, arrived.client, arrived.local, || id.to_owned()).map(Box::new)
}

impl Request {
    /// A request of which nothing is known but that it began.
    pub(crate) fn unread(head_bytes: usize, started: Now) -> Self {
        Request {
            started,
            action: Routed::Done,
            client: None,
            route: None,
            minor: 1,
            keep_alive: false,
            framing: Framing::None,
            is_head: false,
            idempotent: false,
            repeatable: false,
            expect_continue: false,
            upgrade: false,
            tunnel: false,
            grpc: None,
            instead_of: None,
            names_backend: false,
            key: None,
            class: Class::Normal,
            head_bytes,
            log: None,
            record: None,
            tracing: None,
            changes: None,
            page: None,
            back: None,
            introduction: None,
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
        self.grpc = Call::of(head);
    }

    /// Malformed: nobody can say where the next request would begin, so the connection ends.
    pub(super) fn refused(mut self, reply: Reply) -> Self {
        self.action = Routed::Reply(reply.closing());
        self
    }

    /// A copy of it that is sent to nobody's client at `now`.
    pub(super) fn copy(&self, now: Now) -> Self {
        Request {
            route: self.route,
            framing: self.framing,
            is_head: self.is_head,
            idempotent: self.idempotent,
            repeatable: self.repeatable,
            key: self.key,
            ..Request::unread(self.head_bytes, now)
        }
    }

    /// How long its body may be, when filters say so.
    pub(super) fn body_max(&self) -> Option<u64> {
        self.changes.as_ref().and_then(|changes| changes.body_max)
    }

    /// Whether the whole request was read with its head.
    pub(super) fn is_bodiless(&self) -> bool {
        matches!(self.framing, Framing::None | Framing::Length(0))
    }
}

fn decide(
    arrived: &Arrived<'_>,
    head: &RequestHead<'_>,
    visitor: Visitor<'_>,
    (progress, done): (&mut Progress, Option<Done>),
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
    if let Some(reply) = done.is_none().then(|| at_once(arrived, head, &asked)).flatten() {
        return Ok(Routed::Reply(reply));
    }
    let decided = {
        let mut rng = client.worker.rng.borrow_mut();
        let record = request.record.as_mut().map(|record| record.get_mut());
        pinned
            .snapshot
            .decide(service, &asked, visitor, &mut rng, (&mut *progress, done), record)
    };
    let Serving { pool, instead_of } = match decided {
        Decided::Forward(serving) => serving,
        Decided::Health => return Ok(Routed::Reply(respond::health(client.is_leaving()))),
        Decided::NoRoute => return Ok(Routed::Reply(Reply::reason(Reason::NoRoute))),
        Decided::NoPool => return Ok(Routed::Reply(Reply::reason(Reason::NoBackend))),
        Decided::Filtered(reply) | Decided::Answer(reply) => return Ok(Routed::Reply(reply)),
        Decided::Errand(errand) => return Ok(Routed::Errand(errand)),
    };
    request.instead_of = instead_of;
    let route = route_at(pinned, progress.route);
    request.tunnel = request.upgrade && arrived.spoken != Spoken::Http1;
    request.upgrade &= route.is_some_and(|route| route.upgrade_websocket);
    if request.tunnel && !request.upgrade {
        return Ok(Routed::Reply(Reply::reason(Reason::Denied)));
    }
    let fields = Edited {
        fields: head,
        edits: &progress.changes.request,
    };
    request.class = route.map_or(Class::Normal, |route| route.priority.class(&fields));
    request.repeatable = route.is_some_and(|route| route.retry.may_repeat(head.method, &fields));
    let host = route.map_or(&HostSent::Keep, |route| &route.host);
    request.names_backend = *host == HostSent::Backend;
    let span_at = prepare_upstream(arrived, head, (&asked, visitor, host), &progress.changes, request, out);
    if let Some(tracing) = &mut request.tracing {
        tracing.span_at = span_at;
        tracing.path = progress.changes.path.clone();
    }
    let turned = (host, &progress.changes.rewritten);
    request.back = Back::of(arrived, (head, &fields), (&asked, visitor), turned, pool);
    if let Some(key) = pinned.snapshot.pools[pool].key() {
        let asked = plimsoll_core::route::RequestHead {
            fields: &fields,
            ..asked.head()
        };
        request.key = key.of_request(&asked, visitor.client, client.peer, local);
    }
    Ok(Routed::Pool(pool))
}

/// What is answered before anybody is asked what to do with a request.
fn at_once(arrived: &Arrived<'_>, head: &RequestHead<'_>, asked: &Asked<'_>) -> Option<Reply> {
    let Arrived { client, service, .. } = *arrived;
    // Whoever issues our certificates asks by any name, and is sent nowhere else.
    if let Some(proof) = client.worker.proof(&asked.path)
        && matches!(head.method, "GET" | "HEAD")
    {
        return Some(respond::proof(proof));
    }
    if !service.is_health(asked) && client.worker.sheds() {
        return Some(respond::shed());
    }
    // RFC 9110 §15.5.20: another name may have other certificates, and be for other clients.
    let misdirected = client.tls.as_ref().is_some_and(|tls| !tls.covers(asked.host()));
    misdirected.then(|| Reply::reason(Reason::Misdirected))
}

fn prepare_upstream(
    arrived: &Arrived<'_>,
    head: &RequestHead<'_>,
    (asked, visitor, host): (&Asked<'_>, Visitor<'_>, &HostSent),
    changes: &Changes,
    request: &Request,
    out: &mut Vec<u8>,
) -> Option<usize> {
    let Arrived { client, pinned, .. } = *arrived;
    // Only an HTTP/1.0 client may leave it out; then the address that it reached us at has to do.
    let local = if head.host.is_empty() {
        (arrived.local)().map(|address| address.to_string())
    } else {
        None
    };
    let to = RequestOut {
        path: changes.path.as_deref().unwrap_or(&asked.path),
        query: asked.query,
        upgrade: request.upgrade,
        trusted: pinned.snapshot.node.trusts(client.peer.ip()),
        peer: client.peer.ip().to_canonical(),
        proto: visitor.scheme,
        request_id: visitor.request_id.as_bytes(),
        host: match host {
            HostSent::Keep => None,
            // Written for each attempt anew.
            HostSent::Backend => Some(""),
            HostSent::Name(name) => Some(name),
        },
        default_host: local.as_deref().unwrap_or_default(),
        edits: &changes.request,
        trace: request.tracing.as_ref().map(|tracing| tracing.out()),
    };
    write_request_head(out, head, &to)
}

/// 128 random bits in hexadecimal.
fn request_id(client: &Client) -> [u8; 32] {
    let bytes = client.worker.random();
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&HEXADECIMAL[usize::from(byte)]);
    }
    text
}

/// Each byte's two digits.
static HEXADECIMAL: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// The route at `at`, in the generation that the request began on.
pub(crate) fn route_at(pinned: &Pinned, at: Option<usize>) -> Option<&Route> {
    at.and_then(|at| pinned.snapshot.routes.get(at)).map(|route| &**route)
}
