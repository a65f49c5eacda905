//! How a request goes on to its backend: what is changed in its head, how long each phase may take, what is retried.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use plimsoll_core::budget::BudgetRules;
use plimsoll_core::hedge::{After, Hedge, HedgePolicy};
use plimsoll_core::outcome::Reason;
use plimsoll_core::pool::Pool;
use plimsoll_core::retry::{NonIdempotent, RetryPolicy, is_idempotent};
use plimsoll_core::reversal::HostSent;
use plimsoll_core::route::{Asked, Fields};
use plimsoll_core::snapshot::{HttpService, PassthroughService, Route};
use plimsoll_core::time::Now;
use plimsoll_http::h1::{RequestHead, RequestOut, write_request_head};

use super::question::redacted_query;

/// What stands for an id that is drawn for each request.
pub(super) const NEW_ID: &str = "(new for each request)";

/// Fields whose values are never shown.
const SECRET: &[&str] = &["authorization", "proxy-authorization", "cookie"];

/// What is done to a request's head.
pub(super) struct Changes {
    /// The request line.
    pub(super) line: String,
    /// Fields that were not there, or not so.
    pub(super) added: Vec<String>,
    /// The names of fields that are gone.
    pub(super) removed: Vec<String>,
}

/// What a backend gets to see of the request that a client did not send, and the other way round.
pub(super) fn changes(
    (head, asked): (&RequestHead<'_>, &Asked<'_>),
    filtered: &plimsoll_core::filter::Changes,
    route: &Route,
    (peer, trusted, proto, backend): (IpAddr, bool, &str, SocketAddr),
) -> Changes {
    let mut out = Vec::new();
    let path = filtered.path.as_deref().unwrap_or(&asked.path);
    let backend = backend.to_string();
    let to = RequestOut {
        path,
        query: asked.query,
        upgrade: head.upgrade_websocket && route.upgrade_websocket,
        trusted,
        peer: peer.to_canonical(),
        proto,
        request_id: NEW_ID.as_bytes(),
        host: match &route.host {
            HostSent::Keep => None,
            HostSent::Backend => Some(&backend),
            HostSent::Name(name) => Some(name),
        },
        default_host: "",
        edits: &filtered.request,
        trace: None,
    };
    write_request_head(&mut out, head, &to);
    let sent = String::from_utf8_lossy(head.bytes);
    let goes = String::from_utf8_lossy(&out);
    let (before, after) = (fields(&sent), fields(&goes));
    let added = after.iter().filter(|field| !before.contains(field));
    let mut removed: Vec<String> = before
        .iter()
        .filter(|(name, _)| !after.iter().any(|(kept, _)| kept == name))
        .map(|(name, _)| name.clone())
        .collect();
    removed.dedup();
    let query = asked.query.map(|query| format!("?{}", redacted_query(query)));
    Changes {
        line: format!("{} {path}{}", asked.method, query.unwrap_or_default()),
        added: added.map(|(name, value)| shown(name, value)).collect(),
        removed,
    }
}

/// The fields of a head, by their names in lower case.
fn fields(head: &str) -> Vec<(String, &str)> {
    let lines = head.split("\r\n").skip(1);
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect()
}

fn shown(name: &str, value: &str) -> String {
    let value = if SECRET.contains(&name) { "…" } else { value };
    format!("{name}: {value}")
}

/// How long each phase of a request may take.
pub(super) fn timeouts(route: &Route, service: &HttpService, pool: &Pool) -> String {
    let mut parts = Vec::new();
    if let Some(timeout) = route.timeout {
        parts.push(format!("whole request {}", words(timeout)));
    }
    if let Some(timeout) = route.retry.per_try_timeout {
        parts.push(format!("each try {}", words(timeout)));
    }
    parts.push(format!("connect {}", words(pool.settings.connect_timeout)));
    parts.push(format!(
        "response header {}",
        words(pool.settings.response_header_timeout)
    ));
    parts.push(format!("stream idle {}", words(service.timeouts.stream_idle)));
    parts.join(", ")
}

/// How it waits for a place in the pool, all of whose backends are full.
pub(super) fn queue(pool: &Pool) -> String {
    let settings = pool.settings.queue;
    format!(
        "waits for a backend, {} at the most, then {}: {} of {} wait",
        words(settings.timeout),
        Reason::QueueTimeout.word(),
        pool.queue().waiting(),
        settings.most
    )
}

/// How long each phase of a connection may take.
pub(super) fn tcp_timeouts(idle: Duration, pool: &Pool) -> String {
    let connect = words(pool.settings.connect_timeout);
    format!("connect {connect}, idle {}", words(idle))
}

/// The same, of one whose ClientHello is read.
pub(super) fn passed_timeouts(service: &PassthroughService, pool: &Pool) -> String {
    let hello = words(service.hello_timeout);
    format!("ClientHello {hello}, {}", tcp_timeouts(service.idle_timeout, pool))
}

/// What is retried, and how often, of a request with these `fields`.
pub(super) fn retries(policy: &RetryPolicy, method: &str, fields: &dyn Fields) -> String {
    if policy.attempts == 0 {
        return "none".into();
    }
    let mut on: Vec<String> = [
        (policy.on_connect, "connect"),
        (policy.on_reset, "reset"),
        (policy.on_timeout, "timeout"),
        (policy.on_5xx, "5xx"),
    ]
    .iter()
    .filter(|(on, _)| *on)
    .map(|(_, word)| (*word).to_owned())
    .collect();
    on.extend(policy.on_status.iter().map(ToString::to_string));
    on.extend(policy.on_grpc.iter().map(|code| format!("grpc:{}", code.name())));
    if on.is_empty() {
        return "none: nothing is named that would be retried".into();
    }
    let repeatable = policy.may_repeat(method, fields);
    let safe = match policy.non_idempotent {
        _ if is_idempotent(method) => format!("{method} may be sent again"),
        NonIdempotent::Keyed if repeatable => {
            format!("this {method} may be sent again, since it has an Idempotency-Key")
        }
        NonIdempotent::All => format!("{method} may be sent again, since the route says so"),
        NonIdempotent::Keyed => {
            format!("{method} may not be sent again once any of it was sent, without an Idempotency-Key")
        }
        NonIdempotent::Never => format!("{method} may not be sent again once any of it was sent"),
    };
    let safe = if policy.on_grpc.is_empty() || repeatable {
        safe
    } else {
        format!("{safe}, unless gRPC answers with such a status and nothing else")
    };
    let attempts = policy.attempts;
    format!(
        "{attempts}, on {}, on another backend if there is one{}; {safe}",
        on.join(", "),
        waits(policy)
    )
}

/// How long retries wait, when they do.
fn waits(policy: &RetryPolicy) -> String {
    let (backoff, attempts) = (policy.backoff, policy.attempts);
    let (first, last) = (backoff.limit(1), backoff.limit(attempts));
    match (first.is_zero(), attempts) {
        (_, 1) if first.is_zero() => String::new(),
        (true, _) => format!(", the first at once, further ones after up to {}", words(last)),
        (false, _) if first == last => format!(", after up to {}", words(last)),
        (false, _) => format!(", after up to {}, in the end {}", words(first), words(last)),
    }
}

/// What may be spent on retries in a pool.
pub(super) fn retry_budget(pool: &Pool) -> String {
    let BudgetRules { percent, per_second } = pool.settings.retry_budget;
    format!("{percent} % of the pool's requests and {per_second} a second are retried at the most")
}

/// Whether a request is sent to a second backend though the first has not failed.
pub(super) fn hedging(hedge: &Hedge, pool: &Pool, (method, is_upgrade): (&str, bool), now: Now) -> String {
    if !is_idempotent(method) {
        return format!("never: {method} is not sent twice");
    }
    if is_upgrade {
        return "never: a connection is upgraded once".into();
    }
    let HedgePolicy { after, max_percent } = hedge.policy;
    let when = match (after, after.of(pool, now)) {
        (After::Fixed(span), _) => format!("after {}", words(span)),
        (_, Some(span)) => format!("after {after}, now {span:?}"),
        (_, None) => format!("after {after}, of which too few answers tell yet"),
    };
    format!(
        "{when}, to another backend, {max_percent} % of the requests at the most; the answer that begins first counts"
    )
}

/// A duration as configurations have it.
fn words(span: Duration) -> String {
    let millis = span.as_millis();
    match millis {
        0 => "0s".into(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ => format!("{millis}ms"),
    }
}
