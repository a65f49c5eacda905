//! What is counted and written of a request or connection once it has ended.

use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

pub(crate) use plimsoll_core::decision::Attempt;
use plimsoll_core::name::{BackendId, NameId};
use plimsoll_core::outcome::Reason;
use plimsoll_core::pool::Refusal;
use plimsoll_core::route::Target;
use plimsoll_core::snapshot::{AccessFormat, PoolIndex};
use plimsoll_core::telemetry::{RequestKey, Shard};
use plimsoll_core::time::Now;
use plimsoll_http::h1::RequestHead;
use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::decisions::{self, Remains};
use crate::http::{Request, Spoken};
use crate::traces;
use crate::worker::Pinned;

/// What the access log keeps of a request's head.
pub(crate) struct RequestLog {
    pub(crate) client: IpAddr,
    pub(crate) request_id: String,
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) protocol: &'static str,
    pub(crate) user_agent: Option<String>,
    referer: Option<String>,
}

impl RequestLog {
    /// Query values may hold secrets and stay out (the path ends at the question mark).
    pub(crate) fn of(head: &RequestHead<'_>, spoken: Spoken, client: IpAddr, request_id: &str) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let path = match head.target {
            Target::Origin(target) | Target::Absolute(target) => {
                text(target.split(|byte| *byte == b'?').next().unwrap_or_default())
            }
            Target::Asterisk => "*".into(),
        };
        RequestLog {
            client,
            request_id: request_id.into(),
            method: head.method.into(),
            host: text(head.host),
            path,
            protocol: match (spoken, head.minor) {
                (Spoken::Http3, _) => "HTTP/3",
                (Spoken::Http2, _) => "HTTP/2",
                (Spoken::Http1, 0) => "HTTP/1.0",
                (Spoken::Http1, _) => "HTTP/1.1",
            },
            user_agent: head.first("user-agent").map(text),
            referer: head.first("referer").map(text),
        }
    }
}

/// An attempt, as the log has it.
fn attempt_json(attempt: &Attempt) -> Value {
    let mut object = Map::new();
    object.insert("backend".into(), (*attempt.backend).into());
    match attempt.result {
        // A connection of layer 4 that was made has no status.
        Ok(0) => object.insert("status".into(), Value::Null),
        Ok(status) => object.insert("status".into(), status.into()),
        Err(word) => object.insert("error".into(), word.into()),
    };
    if let Some(cause) = attempt.cause {
        object.insert("cause".into(), cause.into());
    }
    if attempt.is_hedge {
        object.insert("hedge".into(), true.into());
    }
    object.insert("ms".into(), millis(attempt.took));
    Value::Object(object)
}

/// How a request or connection ended.
pub(crate) struct Finished {
    logged: bool,
    pub(crate) status: u16,
    pub(crate) reason: Option<Reason>,
    /// The status of gRPC that a call ended with.
    pub(crate) grpc: Option<u8>,
    pub(crate) pool: Option<NameId>,
    /// The pool that was asked and why it could not serve, when another took over.
    pub(crate) instead_of: Option<(PoolIndex, Refusal)>,
    pub(crate) backend: Option<BackendId>,
    /// The attempts: all of them while there is somebody to tell them to, and otherwise from the first failure on.
    pub(crate) attempts: Vec<Attempt>,
    /// How long it waited in its pool's queue.
    pub(crate) queued: Option<Duration>,
    pub(crate) connect: Option<Duration>,
    /// From the last attempt's begin to the head of its answer.
    pub(crate) first_byte: Option<Duration>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// When it ended, if somebody has looked at the clock since.
    pub(crate) ended: Option<Now>,
    /// What a backend was told that a connection is called.
    pub(crate) unique_id: Option<Box<u128>>,
    /// What was asked, of a failure that nobody foresaw.
    pub(crate) asked: Option<Box<Remains>>,
}

impl Finished {
    pub(crate) fn new(pinned: &Pinned) -> Self {
        Finished {
            logged: pinned.snapshot.node.access_log.is_some(),
            status: 0,
            reason: None,
            grpc: None,
            pool: None,
            instead_of: None,
            backend: None,
            attempts: Vec::new(),
            queued: None,
            connect: None,
            first_byte: None,
            bytes_in: 0,
            bytes_out: 0,
            ended: None,
            unique_id: None,
            asked: None,
        }
    }

    /// Nothing has happened yet, but that it goes to this pool.
    pub(crate) fn of_pool(pinned: &Pinned, pool: NameId) -> Self {
        let mut finished = Finished::new(pinned);
        finished.pool = Some(pool);
        finished
    }

    /// Attempts are kept, whoever they are told to.
    pub(crate) fn keep_attempts(&mut self) {
        self.logged = true;
    }

    /// Keeps an attempt that went well, when there is somebody to tell it to: the access log, or whoever looks at a
    /// decision that something else went wrong with.
    pub(crate) fn attempted(&mut self, attempt: impl FnOnce() -> Attempt) {
        if self.logged || !self.attempts.is_empty() {
            self.attempts.push(attempt());
        }
    }

    /// Keeps an attempt that did not go well.
    pub(crate) fn attempt_failed(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
    }

    /// It ended before anything was answered.
    pub(crate) fn fail(&mut self, reason: Reason) {
        self.status = reason.status();
        self.reason = Some(reason);
    }

    /// It ended in the middle of its answer, whose status stands.
    pub(crate) fn cut(&mut self, reason: Reason) {
        self.reason = Some(reason);
    }

    /// Counts that another pool took over, when one did.
    pub(crate) fn count_fallback(&self, pinned: &Pinned, shard: &mut Shard) {
        if let (Some((asked, why)), Some(to)) = (self.instead_of, self.pool) {
            shard.fell_back(pinned.snapshot.pools[asked].id, to, why.reason());
        }
    }

    /// Tells the access log of the pool that was asked, when another took over.
    fn tell_fallback(&self, pinned: &Pinned, value: &mut Value) {
        if let Some((asked, why)) = self.instead_of {
            let from = &*pinned.snapshot.pools[asked].name;
            value["fallback"] = json!({ "from": from, "reason": why.reason().word() });
        }
    }

    /// How much came of the body of `request`.
    fn body_bytes(&self, request: &Request) -> u64 {
        self.bytes_in.saturating_sub(request.head_bytes as u64)
    }

    fn closed_by(&self) -> &'static str {
        match self.reason {
            Some(Reason::ClientClosed) => "client",
            Some(reason) if reason.side() == plimsoll_core::outcome::Side::Backend => "backend",
            _ => "proxy",
        }
    }
}

/// Counts a request whose client went away before anything was sent anywhere.
pub(crate) fn gone(client: &Client, pinned: &Pinned, gone: &Request) {
    let mut finished = Finished::new(pinned);
    finished.fail(Reason::ClientClosed);
    request(client, pinned, gone, &finished);
}

/// Counts a finished request, and writes it to the access log when there is one.
pub(crate) fn request(client: &Client, pinned: &Pinned, request: &Request, finished: &Finished) {
    let worker = &client.worker;
    let ended = finished.ended.unwrap_or_else(|| worker.now());
    let duration = ended.since(request.started);
    let route = request.route.and_then(|at| pinned.snapshot.routes.get(at));
    let mut banned_for = None;
    {
        let mut shard = worker.shard();
        let key = RequestKey {
            listener: Some(client.listener),
            route: route.map(|route| route.id),
            pool: finished.pool,
            backend: finished.backend,
            code: finished.status,
        };
        shard.request(key, duration, finished.first_byte);
        if let Some(witness) = request.witness(ended) {
            shard.witness(&key, [Some(duration), finished.first_byte], &witness);
        }
        let counts = shard.listener(client.listener);
        counts.bytes_in += finished.bytes_in.max(request.head_bytes as u64);
        counts.bytes_out += finished.bytes_out;
        if let Some(reason) = finished.reason {
            shard.failure(reason);
        }
        finished.count_fallback(pinned, &mut shard);
        if let Some(changes) = &request.changes {
            let rehearsed = changes.rehearsed(finished.body_bytes(request));
            rehearsed.for_each(|reason| shard.rehearsed(reason));
            shard.crowded_out += u64::from(changes.crowded_out);
            for watched in &changes.watched {
                let counted = watched.ended(finished.status, ended);
                shard.crowded_out += u64::from(counted.crowded_out);
                if counted.is_banned {
                    shard.bans += 1;
                    banned_for = Some(watched.ban_for());
                }
            }
        }
    }
    if let Some(span) = banned_for {
        tell_ban(client, request, span);
    }
    decisions::request(client, pinned, request, finished, duration);
    traces::request(client, pinned, request, finished, ended);
    let Some(format) = pinned.snapshot.node.access_log else {
        return;
    };
    if !is_written(client, pinned, finished) {
        return;
    }
    let line = match format {
        AccessFormat::Json => json_line(client, pinned, request, finished, duration),
        AccessFormat::Combined => combined_line(client, request, finished),
    };
    worker.shared.wiring.access.write(line);
}

/// Whether what ended so is among those that the access log has.
pub(crate) fn is_written(client: &Client, pinned: &Pinned, finished: &Finished) -> bool {
    let percent = pinned.snapshot.node.access_percent;
    let failed = finished.reason.is_some() || finished.status >= 500;
    percent >= 100.0 || failed || client.worker.rng.borrow_mut().unit() * 100.0 < percent
}

/// Once for each ban. The client is who its last request was counted for.
fn tell_ban(client: &Client, request: &Request, ban_for: Duration) {
    let banned = request.client.unwrap_or_else(|| client.peer.ip().to_canonical());
    let seconds = ban_for.as_secs();
    tracing::warn!(client = %banned, seconds, "banned for a time: its requests fail far more often than others'");
}

fn json_line(client: &Client, pinned: &Pinned, request: &Request, finished: &Finished, duration: Duration) -> Vec<u8> {
    let log = request.log.as_deref();
    let name = |id: Option<usize>| {
        id.and_then(|at| pinned.snapshot.routes.get(at))
            .map(|route| &*route.name)
    };
    let pool = finished
        .pool
        .and_then(|id| pinned.snapshot.pools.iter().find(|pool| pool.id == id));
    let last = finished.attempts.last().map(|attempt| attempt.took);
    let mut value = json!({
        "time": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        "request_id": log.map(|log| &log.request_id),
        "listener": pinned.listener(client.listener).map(|listener| &*listener.name),
        "protocol": log.map(|log| log.protocol),
        "client": log.map_or(client.peer.ip().to_canonical(), |log| log.client).to_string(),
        "method": log.map(|log| &log.method),
        "host": log.map(|log| &log.host),
        "path": log.map(|log| &log.path),
        "status": finished.status,
        "grpc_status": finished.grpc,
        "reason": finished.reason.map(Reason::word),
        "route": name(request.route),
        "pool": pool.map(|pool| &*pool.name),
        "backend": finished.attempts.last().map(|attempt| &*attempt.backend),
        "attempts": finished.attempts.iter().map(attempt_json).collect::<Vec<_>>(),
        "bytes_in": finished.bytes_in.max(request.head_bytes as u64),
        "bytes_out": finished.bytes_out,
        "duration_ms": millis(duration),
        "queue_ms": millis(finished.queued.unwrap_or_default()),
        "connect_ms": finished.connect.map(millis),
        "tls_ms": tls_ms(client),
        "first_byte_ms": finished.first_byte.map(millis),
        "upstream_ms": last.map(millis),
        "closed_by": finished.closed_by(),
        "tls": tls(client),
        "user_agent": log.and_then(|log| log.user_agent.as_deref()),
    });
    if let Some(tracing) = &request.tracing {
        value["trace_id"] = unique_id(tracing.trace.id).into();
    }
    finished.tell_fallback(pinned, &mut value);
    let rehearsed = request
        .changes
        .as_ref()
        .map(|changes| changes.rehearsed(finished.body_bytes(request)));
    let words: Vec<&str> = rehearsed.into_iter().flatten().map(Reason::word).collect();
    if !words.is_empty() {
        value["dry_run"] = words.into();
    }
    line_of(&value)
}

/// What the access log keeps of a layer 4 connection.
pub(crate) struct ConnectionLog {
    pub(crate) protocol: &'static str,
    /// The position of its route.
    pub(crate) route: Option<usize>,
    /// The name that its client asks for.
    pub(crate) sni: Option<String>,
}

impl Default for ConnectionLog {
    fn default() -> Self {
        ConnectionLog::of("TCP")
    }
}

impl ConnectionLog {
    /// One on which this is spoken.
    fn of(protocol: &'static str) -> Self {
        ConnectionLog {
            protocol,
            route: None,
            sni: None,
        }
    }
}

/// An id as it is told and written.
pub(crate) fn unique_id(id: u128) -> String {
    format!("{id:032x}")
}

/// The line of a layer 4 connection. It has all the fields of a request's, so that whoever reads lines needs no two ways.
pub(crate) fn connection_line(client: &Client, pinned: &Pinned, log: &ConnectionLog, finished: &Finished) -> Vec<u8> {
    line_of(&connection_value(client, pinned, log, finished))
}

fn connection_value(client: &Client, pinned: &Pinned, log: &ConnectionLog, finished: &Finished) -> Value {
    let route = log.route.and_then(|at| pinned.snapshot.routes.get(at));
    let pool = finished
        .pool
        .and_then(|id| pinned.snapshot.pools.iter().find(|pool| pool.id == id));
    let mut value = json!({
        "time": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        "request_id": finished.unique_id.as_ref().map(|id| unique_id(**id)),
        "listener": pinned.listener(client.listener).map(|listener| &*listener.name),
        "protocol": log.protocol,
        "client": client.peer.ip().to_canonical().to_string(),
        "method": Value::Null,
        "host": Value::Null,
        "path": Value::Null,
        "status": Value::Null,
        "grpc_status": Value::Null,
        "reason": finished.reason.map(Reason::word),
        "route": route.map(|route| &*route.name),
        "pool": pool.map(|pool| &*pool.name),
        "backend": finished.attempts.last().map(|attempt| &*attempt.backend),
        "attempts": finished.attempts.iter().map(attempt_json).collect::<Vec<_>>(),
        "bytes_in": finished.bytes_in,
        "bytes_out": finished.bytes_out,
        "duration_ms": millis(client.worker.now().since(client.born)),
        "queue_ms": millis(finished.queued.unwrap_or_default()),
        "connect_ms": finished.connect.map(millis),
        "tls_ms": tls_ms(client),
        "first_byte_ms": Value::Null,
        "upstream_ms": Value::Null,
        "user_agent": Value::Null,
        "closed_by": finished.closed_by(),
        "tls": tls(client).or_else(|| passed(log)),
    });
    finished.tell_fallback(pinned, &mut value);
    value
}

/// Counts a connection whose handshake failed for this cause, and writes it to the access log when there is one.
pub(crate) fn handshake_failed(client: &Client, cause: &'static str) {
    let worker = &client.worker;
    worker.shard().handshake_failed(client.listener, cause);
    let pinned = client.pin();
    let mut finished = Finished::new(&pinned);
    finished.fail(Reason::ClientTlsFailed);
    let log = ConnectionLog::of("TLS");
    decisions::connection(client, &pinned, &log, &finished, false);
    if pinned.snapshot.node.access_log.is_some() {
        let mut line = connection_value(client, &pinned, &log, &finished);
        line["tls"] = json!({ "cause": cause });
        worker.shared.wiring.access.write(line_of(&line));
    }
}

/// Counts a connection, of HTTP/2 or HTTP/3 as `protocol` says, that ends for this reason apart from its requests, and
/// writes it to the access log when there is one; `cause` says more.
pub(crate) fn connection_failed(
    client: &Client,
    (protocol, reason): (&'static str, Reason),
    cause: Option<&dyn std::fmt::Display>,
) {
    let worker = &client.worker;
    worker.shard().failure(reason);
    let pinned = client.pin();
    let mut finished = Finished::new(&pinned);
    finished.fail(reason);
    let log = ConnectionLog::of(protocol);
    decisions::connection(client, &pinned, &log, &finished, false);
    if pinned.snapshot.node.access_log.is_some() {
        let mut line = connection_value(client, &pinned, &log, &finished);
        line["cause"] = cause.map(ToString::to_string).into();
        worker.shared.wiring.access.write(line_of(&line));
    }
}

/// Counts a request over HTTP/2 that is malformed, and gets no answer.
pub(crate) fn malformed(client: &Client) {
    let pinned = client.pin();
    let mut finished = Finished::new(&pinned);
    finished.fail(Reason::BadRequest);
    request(client, &pinned, &Request::unread(0, client.worker.now()), &finished);
}

/// The name that is asked for in TLS that is passed through.
fn passed(log: &ConnectionLog) -> Option<Value> {
    let sni = log.sni.as_ref()?;
    Some(json!({ "version": Value::Null, "sni": sni }))
}

/// What the handshake took, told once: later requests have not waited for it.
fn tls_ms(client: &Client) -> Option<Value> {
    client.tls.as_ref()?.took.take().map(millis)
}

fn tls(client: &Client) -> Option<Value> {
    let tls = client.tls.as_ref()?;
    let told = |text: &str| (!text.is_empty()).then(|| Value::from(text));
    let mut value = json!({ "version": tls.version.word(), "sni": told(&tls.secured.sni) });
    if let Some(subject) = told(&tls.secured.subject) {
        value["client"] = json!({ "subject": subject, "fingerprint": tls.secured.fingerprint });
    }
    Some(value)
}

fn line_of(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

fn millis(duration: Duration) -> Value {
    // Three places: microseconds.
    json!((duration.as_secs_f64() * 1e6).round() / 1e3)
}

/// Apache's combined format: `host - - [date] "request" status bytes "referer" "agent"`.
fn combined_line(client: &Client, request: &Request, finished: &Finished) -> Vec<u8> {
    let log = request.log.as_deref();
    let address = log.map_or(client.peer.ip().to_canonical(), |log| log.client);
    let first = log.map_or("-".into(), |log| {
        format!("{} {} {}", log.method, log.path, log.protocol)
    });
    let part = |text: Option<&str>| quoted(text.unwrap_or("-"));
    let mut line = Vec::with_capacity(256);
    // Writing into a Vec cannot fail.
    let _ = writeln!(
        line,
        "{address} - - [{}] \"{}\" {} {} \"{}\" \"{}\"",
        combined_date(),
        quoted(&first),
        finished.status,
        finished.bytes_out,
        part(log.and_then(|log| log.referer.as_deref())),
        part(log.and_then(|log| log.user_agent.as_deref())),
    );
    line
}

/// `20/Nov/2026:12:00:00 +0000`, cut out of `Fri, 20 Nov 2026 12:00:00 GMT`.
fn combined_date() -> String {
    let date = httpdate::fmt_http_date(SystemTime::now());
    format!(
        "{}/{}/{}:{} +0000",
        &date[5..7],
        &date[8..11],
        &date[12..16],
        &date[17..25]
    )
}

/// Quotes, backslashes and control characters escaped, so that no client can write a line of its own.
fn quoted(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
        out
    })
}
