//! A request that has ended, as OTLP's spans: `opentelemetry/proto/trace/v1/trace.proto`, with the attributes of
//! OpenTelemetry's semantic conventions for HTTP.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use plimsoll_core::decision::{Asked, Attempt, Sent};
use plimsoll_core::filter::Url;
use plimsoll_core::outcome::{Reason, Side};
use plimsoll_core::time::Now;
use plimsoll_core::trace::Traced;

use super::protobuf::Message;

/// `SpanKind` of who answers, and of who asks.
const SERVER: u64 = 2;
const CLIENT: u64 = 3;

/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;

/// Of a span's flags: whether its parent is elsewhere is known, and it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Methods that are called by their names; any other would be a name of the client's choice.
const METHODS: [&str; 10] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
];

/// Who tells.
pub(super) struct Resource<'r> {
    pub(super) service_name: &'r str,
    pub(super) attributes: &'r [(String, String)],
    /// The pools that TLS is spoken with.
    pub(super) secured: &'r [String],
}

/// The names that a request's numbers stand for.
pub(super) struct Names {
    pub(super) listener: Arc<str>,
    pub(super) route: Option<Arc<str>>,
    pub(super) pool: Option<Arc<str>>,
}

type Wall<'w> = &'w dyn Fn(Now) -> SystemTime;

/// An `ExportTraceServiceRequest` with the spans of these requests.
pub(super) fn request<'t>(
    resource: &Resource<'_>,
    batch: impl Iterator<Item = (&'t Traced, &'t Names)>,
    wall: Wall<'_>,
) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let mut request = Message::default();
    request.message(1, |spans| {
        spans.message(1, |told| {
            let mut own = Attributes(told, 1);
            own.text("service.name", resource.service_name);
            own.text("service.version", version);
            own.text("telemetry.sdk.name", "plimsoll");
            own.text("telemetry.sdk.language", "rust");
            own.text("telemetry.sdk.version", version);
            for (name, value) in resource.attributes {
                own.text(name, value);
            }
        });
        spans.message(2, |scope| {
            scope.message(1, |library| {
                library.text(1, "plimsoll").text(2, version);
            });
            for (traced, names) in batch {
                let told = Told {
                    traced,
                    names,
                    is_secured: names
                        .pool
                        .as_ref()
                        .is_some_and(|pool| resource.secured.iter().any(|secured| **secured == **pool)),
                    wall,
                };
                scope.message(2, |span| told.request(span));
                for (at, attempt) in traced.taken.attempts.iter().enumerate() {
                    if let Some(sent) = &attempt.sent {
                        scope.message(2, |span| told.attempt(span, (at, attempt), sent));
                    }
                }
            }
        });
    });
    request.into_bytes()
}

/// A request that is told.
struct Told<'t> {
    traced: &'t Traced,
    names: &'t Names,
    /// Whether TLS is spoken with its pool.
    is_secured: bool,
    wall: Wall<'t>,
}

impl Told<'_> {
    /// The span of the request itself.
    fn request(&self, span: &mut Message) {
        let (traced, taken) = (self.traced, &self.traced.taken);
        let method = Called::of(taken.asked.as_ref());
        let name = match &self.names.route {
            Some(route) => Cow::Owned(format!("{} {route}", method.in_name())),
            None => Cow::Borrowed(method.in_name()),
        };
        let flags = if traced.trace.parent.is_some() { IS_REMOTE } else { 0 };
        self.identify(span, (traced.span, traced.trace.parent), flags);
        span.text(5, &name).number(6, SERVER);
        self.times(span, taken.at, taken.at + taken.took);
        let mut own = Attributes(span, 9);
        method.tell(&mut own);
        own.text("url.scheme", if traced.is_secure { "https" } else { "http" });
        if let Some(asked) = &taken.asked {
            own.text("url.path", &asked.path);
            tell_server(&mut own, traced.is_secure, asked);
        }
        own.text("client.address", &taken.client.to_string());
        tell_version(&mut own, taken.protocol);
        if let Some(agent) = &traced.user_agent {
            own.text("user_agent.original", agent);
        }
        if taken.status > 0 {
            own.number("http.response.status_code", taken.status.into());
        }
        own.text("plimsoll.request_id", &taken.id);
        own.text("plimsoll.listener", &self.names.listener);
        for (key, name) in [
            ("plimsoll.route", &self.names.route),
            ("plimsoll.pool", &self.names.pool),
        ] {
            name.iter().for_each(|name| own.text(key, name));
        }
        if let Some(reason) = taken.reason {
            own.text("plimsoll.reason", reason.word());
        }
        if let Some(queued) = taken.queued {
            own.milliseconds("plimsoll.queue_ms", queued);
        }
        self.judge(span);
        if let Some(link) = traced.trace.link {
            span.message(13, |told| {
                told.bytes(1, &link.trace.to_be_bytes())
                    .bytes(2, &link.span.to_be_bytes());
                told.fixed32(6, u32::from(link.flags) | HAS_IS_REMOTE | IS_REMOTE);
            });
        }
    }

    /// Whether the request failed, and of what: what the client did wrong is no failure of a server's.
    fn judge(&self, span: &mut Message) {
        let taken = &self.traced.taken;
        let reason = taken.reason;
        let failed =
            taken.status >= 500 || reason.is_some_and(|reason| reason.side() != Side::Client && taken.status < 400);
        let kind = reason.map(|reason| Cow::Borrowed(reason.word()));
        let kind = kind.or_else(|| (taken.status >= 500).then(|| taken.status.to_string().into()));
        if let Some(kind) = kind {
            Attributes(span, 9).text("error.type", &kind);
        }
        if failed {
            span.message(15, |status| {
                status.text(2, reason.map_or("", Reason::says)).number(3, ERROR);
            });
        }
    }

    /// The span of one attempt.
    fn attempt(&self, span: &mut Message, (at, attempt): (usize, &Attempt), sent: &Sent) {
        let taken = &self.traced.taken;
        let method = Called::of(taken.asked.as_ref());
        self.identify(span, (sent.span, Some(self.traced.span)), 0);
        span.text(5, method.in_name()).number(6, CLIENT);
        let ended = sent.begun + attempt.took;
        // The answer that the client got took until the end of it.
        let is_last = at + 1 == taken.attempts.len() && attempt.result.is_ok();
        let ended = if is_last {
            ended.max(taken.at + taken.took)
        } else {
            ended
        };
        self.times(span, sent.begun, ended);
        let mut own = Attributes(span, 9);
        method.tell(&mut own);
        let asked = taken.asked.as_ref().map(|asked| asked.path.as_str());
        if let Some(path) = self.traced.path.as_deref().or(asked) {
            let scheme = if self.is_secured { "https" } else { "http" };
            own.text("url.full", &format!("{scheme}://{}{path}", sent.to));
        }
        let address = sent.to.ip().to_string();
        own.text("server.address", &address);
        own.number("server.port", sent.to.port().into());
        own.text("network.peer.address", &address);
        own.number("network.peer.port", sent.to.port().into());
        if at > 0 && !attempt.is_hedge {
            own.number("http.request.resend_count", at as u64);
        }
        if let Some(pool) = &self.names.pool {
            own.text("plimsoll.pool", pool);
        }
        own.text("plimsoll.backend", &attempt.backend);
        if attempt.is_hedge {
            own.flag("plimsoll.hedge");
        }
        if attempt.is_overtaken() {
            own.flag("plimsoll.overtaken");
        }
        if let Some(connect) = sent.connect {
            own.milliseconds("plimsoll.connect_ms", connect);
        }
        if let Some(cause) = attempt.cause {
            own.text("plimsoll.cause", cause);
        }
        let failed: Option<Cow<'_, str>> = match attempt.result {
            Ok(status) => {
                own.number("http.response.status_code", status.into());
                (status >= 400).then(|| status.to_string().into())
            }
            Err(_) if attempt.is_overtaken() => None,
            Err(word) => Some(word.into()),
        };
        if let Some(kind) = failed {
            own.text("error.type", &kind);
            span.message(15, |status| {
                status.number(3, ERROR);
            });
        }
    }

    fn identify(&self, span: &mut Message, (id, parent): (u64, Option<u64>), flags: u32) {
        let trace = &self.traced.trace;
        span.bytes(1, &trace.id.to_be_bytes()).bytes(2, &id.to_be_bytes());
        if let Some(state) = &trace.state {
            span.text(3, state);
        }
        if let Some(parent) = parent {
            span.bytes(4, &parent.to_be_bytes());
        }
        span.fixed32(16, u32::from(trace.flags) | HAS_IS_REMOTE | flags);
    }

    fn times(&self, span: &mut Message, begun: Now, ended: Now) {
        let nanos = |now| {
            let since = (self.wall)(now)
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        };
        span.fixed64(7, nanos(begun)).fixed64(8, nanos(ended));
    }
}

/// A method, as it is told.
enum Called<'m> {
    Known(&'m str),
    Other(&'m str),
    Unknown,
}

impl<'m> Called<'m> {
    fn of(asked: Option<&'m Asked>) -> Self {
        match asked.map(|asked| asked.method.as_str()) {
            None | Some("") => Called::Unknown,
            Some(method) if METHODS.contains(&method) => Called::Known(method),
            Some(method) => Called::Other(method),
        }
    }

    fn in_name(&self) -> &'m str {
        match self {
            Called::Known(method) => method,
            Called::Other(_) | Called::Unknown => "HTTP",
        }
    }

    fn tell(&self, own: &mut Attributes<'_>) {
        match self {
            Called::Known(method) => own.text("http.request.method", method),
            Called::Other(method) => {
                own.text("http.request.method", "_OTHER");
                own.text("http.request.method_original", method);
            }
            Called::Unknown => own.text("http.request.method", "_OTHER"),
        }
    }
}

/// The name and port that the client asked.
fn tell_server(own: &mut Attributes<'_>, secure: bool, asked: &Asked) {
    let url = Url {
        secure,
        host: asked.host.clone(),
        target: String::new(),
    };
    if let Some((host, port)) = url.host_and_port() {
        own.text("server.address", host);
        own.number("server.port", port.into());
    }
}

/// `HTTP/1.1`, in parts.
fn tell_version(own: &mut Attributes<'_>, protocol: &str) {
    own.text("network.protocol.name", "http");
    if let Some((_, version)) = protocol.split_once('/') {
        own.text("network.protocol.version", version);
    }
}

/// The attributes of a span or a resource, in this field of its message.
struct Attributes<'m>(&'m mut Message, u32);

impl Attributes<'_> {
    fn text(&mut self, key: &str, value: &str) {
        self.any(key, |any| {
            any.text(1, value);
        });
    }

    fn flag(&mut self, key: &str) {
        self.any(key, |any| {
            any.number(2, 1);
        });
    }

    fn number(&mut self, key: &str, value: u64) {
        self.any(key, |any| {
            any.number(3, value);
        });
    }

    fn milliseconds(&mut self, key: &str, span: std::time::Duration) {
        let value = (span.as_secs_f64() * 1e6).round() / 1e3;
        self.any(key, |any| {
            any.fixed64(4, value.to_bits());
        });
    }

    fn any(&mut self, key: &str, write: impl FnOnce(&mut Message)) {
        self.0.message(self.1, |pair| {
            pair.text(1, key).message(2, write);
        });
    }
}
