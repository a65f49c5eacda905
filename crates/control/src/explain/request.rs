//! What becomes of an HTTP request: read as a worker reads it, matched, and acted on.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use plimsoll_core::decision::{Stage, Verdict};
use plimsoll_core::error_page::Wish;
use plimsoll_core::filter::{Changes, Decided, Done, Edited, Errand, Progress, Visitor};
use plimsoll_core::grpc::is_grpc;
use plimsoll_core::outcome::Reason;
use plimsoll_core::pool::{BackendProtocol, Pool};
use plimsoll_core::priority::Priority;
use plimsoll_core::reply::Reply;
use plimsoll_core::reversal::Reversal;
use plimsoll_core::route::{Asked, Fields};
use plimsoll_core::secured::Secured;
use plimsoll_core::snapshot::{Action, HttpService, Listener, PoolIndex, Route};
use plimsoll_core::split::Split;
use plimsoll_http::h1::{FieldRoom, HeadFault, HeadScan, RequestHead, Scanned, parse_request};

use super::question::{Question, redacted};
use super::{Explanation, forward};

impl Explanation<'_> {
    /// What becomes of the request at `listener`.
    pub(super) fn request(&mut self, listener: &Listener, service: &HttpService) {
        let question = self.question;
        let line = format!("{} {}", question.method, shown_url(question));
        self.decision.step(Stage::Request, "request", Verdict::Passed, line);
        let bytes = head_bytes(question);
        let mut room = FieldRoom::new();
        match read(&bytes, &mut room, service) {
            Ok(head) => self.head(listener, service, &head),
            Err(fault) => {
                self.malformed("head", fault, fault.reason());
                self.page((None, service), None, None);
            }
        }
    }

    fn head(&mut self, listener: &Listener, service: &HttpService, head: &RequestHead<'_>) {
        let client = self.snapshot.node.client_address(self.question.peer().ip(), head);
        self.tell_client(client);
        let asked = match head.asked(service.allow_encoded_slash) {
            Ok(asked) => asked,
            Err(fault) => {
                self.malformed(fault.part(), fault, Reason::BadRequest);
                return self.page((None, service), None, Some(head));
            }
        };
        self.respelled("host", head.host, asked.host());
        let sent = self.question.url.target.split('?').next().unwrap_or_default();
        self.respelled("path", sent.as_bytes(), &asked.path);
        self.decide(listener, service, client, (head, &asked));
    }

    /// Takes it through filters and route to its action.
    fn decide(
        &mut self,
        listener: &Listener,
        service: &HttpService,
        client: IpAddr,
        (head, asked): (&RequestHead<'_>, &Asked<'_>),
    ) {
        let snapshot = self.snapshot.clone();
        let secured = listener.tls.map(|_| Secured {
            sni: self.question.url.server_name().unwrap_or_default(),
            ..Secured::default()
        });
        let visitor = Visitor {
            client,
            peer: self.question.peer(),
            request_id: forward::NEW_ID,
            scheme: self.scheme(),
            tls: secured.as_ref(),
            now: self.control.now(),
            wall,
            is_question: true,
        };
        let (mut progress, mut done) = (Progress::default(), None);
        let decided = loop {
            let (way, record) = ((&mut progress, done.take()), Some(&mut self.decision));
            match snapshot.decide(service, asked, visitor, &mut self.rng, way, record) {
                Decided::Errand(Errand::Wait(_)) => done = Some(Done::Waited),
                // Nobody is bothered with a question.
                Decided::Errand(_) => done = Some(Done::Assumed),
                decided => break decided,
            }
        };
        let route = progress.route.and_then(|at| snapshot.routes.get(at));
        let reply = match &decided {
            Decided::Filtered(reply) | Decided::Answer(reply) => Some(reply.clone()),
            _ => None,
        };
        match (decided, route) {
            (Decided::Health, _) => {
                let why = "the listener's health path: answered by us, 200 while serving and 503 while draining";
                self.action("health_path", Verdict::Taken, why);
            }
            (Decided::Filtered(reply), _) => self.filtered(&reply),
            (Decided::NoPool, _) => self.answer(Reason::NoBackend),
            (Decided::Answer(reply), Some(route)) => self.answered(route, &reply),
            (Decided::Forward(serving), Some(route)) => {
                let asked_pool = serving.instead_of.map_or(serving.pool, |(asked, _)| asked);
                if let Action::Split(split) = &route.action {
                    self.shares(split, asked_pool, "requests");
                }
                self.gone_over(serving);
                self.send(
                    (listener, service),
                    route,
                    serving.pool,
                    (head, asked, &progress.changes),
                );
            }
            _ => self.answer(Reason::NoRoute),
        }
        self.page((route.map(|route| &**route), service), reply, Some(head));
    }

    /// Which error page the client sees, where the answer is our own.
    fn page(
        &mut self,
        (route, service): (Option<&Route>, &HttpService),
        reply: Option<Reply>,
        head: Option<&RequestHead<'_>>,
    ) {
        let is_call = head.is_some_and(|head| head.first("content-type").is_some_and(is_grpc));
        let of_reason = || Some(Reply::reason(Reason::of_word(self.decision.reason.as_deref()?)?));
        let Some(reply) = reply.or_else(of_reason).filter(|_| !is_call) else {
            return;
        };
        let snapshot = self.snapshot.clone();
        let wish = head.map_or(Wish::default(), |head| Wish::of(head));
        if let Some((whose, page)) = snapshot.error_page((route, Some(service)), &reply, wish) {
            let why = format!(
                "the {}'s for {}, as {}",
                whose.word(),
                page.on.word(),
                page.media.essence()
            );
            self.action("error page", Verdict::Taken, why);
        }
    }

    /// What the client speaks with the listener that was chosen.
    fn scheme(&self) -> &'static str {
        let chosen = self.decision.listener.as_deref();
        let mut listeners = self.snapshot.listeners.iter();
        let chosen = listeners.find(|listener| Some(&*listener.name) == chosen);
        match chosen.and_then(|listener| listener.tls) {
            Some(_) => "https",
            None => "http",
        }
    }

    /// A filter answers it.
    fn filtered(&mut self, reply: &Reply) {
        match (reply.reason, location(reply)) {
            (Some(reason), _) => self.answer_as(reason, reply.status),
            (None, Some(location)) => {
                let why = format!("answered by a filter: {} to {location}", reply.status);
                self.action("redirect", Verdict::Taken, why);
            }
            (None, None) => self.action(
                "reply",
                Verdict::Taken,
                format!("answered by a filter: {}", reply.status),
            ),
        }
    }

    /// The route answers it.
    fn answered(&mut self, route: &Route, reply: &Reply) {
        if let Some(reason) = reply.reason {
            return self.answer_as(reason, reply.status);
        }
        match (&route.action, location(reply)) {
            (Action::Redirect(_), Some(location)) => {
                let why = format!("answered by us: {} to {location}", reply.status);
                self.action("redirect", Verdict::Taken, why);
            }
            _ => self.action("respond", Verdict::Taken, respond_words(reply)),
        }
    }

    /// Tells each part of a split, and which one was drawn.
    pub(super) fn shares(&mut self, split: &Split, drawn: PoolIndex, what: &str) {
        let shares = split.shares();
        let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
        let snapshot = self.snapshot.clone();
        for share in &*shares {
            let (verdict, which) = if share.pool == drawn {
                (Verdict::Taken, "drawn: ")
            } else {
                (Verdict::Passed, "")
            };
            let why = format!("{which}{} of {total} {what}, at random", share.weight);
            self.action(&snapshot.pools[share.pool].name, verdict, why);
        }
    }

    /// What becomes of it in the pool at `at`.
    fn send(
        &mut self,
        (listener, service): (&Listener, &HttpService),
        route: &Route,
        at: PoolIndex,
        (head, asked, changes): (&RequestHead<'_>, &Asked<'_>, &Changes),
    ) {
        let snapshot = self.snapshot.clone();
        let pool = &snapshot.pools[at];
        let peer = self.question.peer();
        let client = snapshot.node.client_address(peer.ip(), head);
        let local = || listener.bind.first().copied();
        let fields = Edited {
            fields: head,
            edits: &changes.request,
        };
        let edited = plimsoll_core::route::RequestHead {
            fields: &fields,
            ..asked.head()
        };
        let key = pool
            .key()
            .map(|key| (key, key.of_request(&edited, client, peer, local)));
        if route.priority != Priority::default() {
            let class = route.priority.class(&fields).word();
            self.action("priority", Verdict::Taken, format!("{class}, if it has to wait"));
        }
        let tie = pool.sticky().map(|sticky| {
            let fields: &dyn Fields = if sticky.is_by_cookie() { head } else { &fields };
            sticky.tie(fields, client, wall(), &mut self.rng)
        });
        if let Some(backend) = self.pick(pool, key, tie.as_ref()) {
            self.upstream(route, service, (pool, backend), (head, asked, changes));
        }
    }

    fn upstream(
        &mut self,
        route: &Route,
        service: &HttpService,
        (pool, backend): (&Pool, SocketAddr),
        (head, asked, changes): (&RequestHead<'_>, &Asked<'_>, &Changes),
    ) {
        let peer = self.question.peer().ip();
        let trusted = self.snapshot.node.trusts(peer);
        let fields = Edited {
            fields: head,
            edits: &changes.request,
        };
        let back = Reversal::of(self.scheme(), asked.authority.as_ref(), &route.host, &changes.rewritten);
        let changes = forward::changes((head, asked), changes, route, (peer, trusted, self.scheme(), backend));
        self.action("speaks", Verdict::Taken, self.spoken(pool));
        self.tls(pool);
        self.action("line", Verdict::Taken, changes.line);
        for line in changes.added {
            self.action("adds", Verdict::Taken, line);
        }
        for name in changes.removed {
            self.action("removes", Verdict::Taken, name);
        }
        if let Some(back) = back {
            self.action("turns back", Verdict::Taken, back.words());
        }
        self.action("timeouts", Verdict::Taken, forward::timeouts(route, service, pool));
        if let Some(mirror) = route.mirror {
            let to = &self.snapshot.pools[mirror.pool].name;
            let why = format!(
                "{} % of the requests are sent to `{to}` as well, and nobody reads its answers",
                mirror.percent
            );
            self.action("mirror", Verdict::Taken, why);
        }
        let retries = forward::retries(&route.retry, asked.method, &fields);
        self.action("retries", Verdict::Taken, retries);
        if route.retry.attempts > 0 {
            self.action("budget", Verdict::Taken, forward::retry_budget(pool));
        }
        if let Some(hedge) = &route.hedge {
            let is_upgrade = head.upgrade_websocket && route.upgrade_websocket;
            let hedging = forward::hedging(hedge, pool, (asked.method, is_upgrade), self.control.now());
            self.action("hedges", Verdict::Taken, hedging);
        }
    }

    /// What is spoken to the backends of `pool`.
    pub(super) fn spoken(&self, pool: &Pool) -> String {
        let within = if pool.settings.tls { " within TLS" } else { "" };
        let chosen = if pool.settings.protocol == BackendProtocol::Auto {
            ", as the backend chooses (ALPN)"
        } else {
            ""
        };
        format!("{}{within}{chosen}", pool.settings.protocol.words())
    }

    fn malformed(&mut self, what: &str, fault: impl Display, reason: Reason) {
        self.decision
            .step(Stage::Request, what, Verdict::Refused, fault.to_string());
        self.answer(reason);
    }

    fn respelled(&mut self, what: &str, sent: &[u8], read: &str) {
        let sent = String::from_utf8_lossy(sent);
        let why = if sent == read {
            format!("{read}, as it was sent")
        } else {
            format!("{sent} is read as {read}")
        };
        self.decision.step(Stage::Request, what, Verdict::Passed, why);
    }
}

/// Seconds since 1970.
fn wall() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

/// The head that a client would send.
fn head_bytes(question: &Question) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\n", question.method, question.url.target);
    // As with curl, a Host that is given takes the place of the URL's.
    let own_host = question
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"));
    if !own_host {
        head.push_str(&format!("host: {}\r\n", question.url.authority));
    }
    for (name, value) in &question.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn read<'b>(bytes: &'b [u8], room: &'b mut FieldRoom<'b>, service: &HttpService) -> Result<RequestHead<'b>, HeadFault> {
    let limits = &service.limits;
    match HeadScan::default().look(bytes, limits.request_line, limits.head_bytes)? {
        Scanned::Head(length) if length == bytes.len() => parse_request(bytes, room, limits.fields),
        _ => Err(HeadFault::Malformed("the head does not end where its empty line is")),
    }
}

fn shown_url(question: &Question) -> String {
    let url = &question.url;
    format!("{}://{}{}", url.scheme.word(), url.authority, redacted(&url.target))
}

/// Where a reply sends the client, without the values of the query.
fn location(reply: &Reply) -> Option<String> {
    let (_, location) = reply.headers.iter().find(|(name, _)| name == "location")?;
    Some(redacted(location))
}

fn respond_words(reply: &Reply) -> String {
    let mut why = format!("answered by us: {}", reply.status);
    if !reply.body.is_empty() {
        why.push_str(&format!(", with {} bytes of body", reply.body.len()));
    }
    for (name, _) in &reply.headers {
        why.push_str(&format!(", {name}"));
    }
    why
}
