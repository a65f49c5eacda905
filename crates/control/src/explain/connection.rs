//! What becomes of a connection that nobody ends here.

use std::net::{IpAddr, SocketAddr};

use plimsoll_core::decision::{Stage, Verdict};
use plimsoll_core::outcome::Reason;
use plimsoll_core::pool::{Pool, View};
use plimsoll_core::route::{ConnectionHead, Destination, host};
use plimsoll_core::snapshot::{Action, Listener, PassthroughService, PoolIndex, TcpService};

use super::question::{Question, Scheme};
use super::{Explanation, forward};

/// What a client of https:// offers unless it is said, as browsers and curl do.
const OF_HTTPS: [&str; 2] = ["h2", "http/1.1"];

impl Explanation<'_> {
    /// What becomes of a TCP connection at `listener`.
    pub(super) fn connection(&mut self, listener: &Listener, service: &TcpService) {
        self.tell_client(self.question.peer().ip());
        let snapshot = self.snapshot.clone();
        if let Some(at) = self.relay(service.pool, None, listener.bind.first().copied()) {
            let pool = &snapshot.pools[at];
            self.tls(pool);
            self.action(
                "timeouts",
                Verdict::Taken,
                forward::tcp_timeouts(service.idle_timeout, pool),
            );
        }
    }

    /// What becomes of a TLS connection that `listener` passes through.
    pub(super) fn passed(&mut self, listener: &Listener, service: &PassthroughService) {
        let snapshot = self.snapshot.clone();
        let client = self.question.peer().ip();
        self.tell_client(client);
        let (sni, alpn) = (sni(self.question), alpn(self.question));
        self.tell_hello(sni.as_deref(), &alpn);
        let offered: Vec<Vec<u8>> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let head = ConnectionHead {
            sni: sni.as_deref().unwrap_or_default(),
            alpn: &offered,
            client: client.to_canonical(),
        };
        let with = (self.control.now(), &mut self.rng);
        let Destination { route, pool } = snapshot.destination(service, &head, with, Some(&mut self.decision));
        let pool = match pool {
            Ok(pool) => pool,
            Err(reason) => return self.closed(reason),
        };
        if let Some(Action::Split(split)) = route.and_then(|at| snapshot.routes.get(at)).map(|route| &route.action) {
            self.shares(split, pool, "connections");
        }
        if let Some(pool) = self.relay(pool, sni.as_deref(), listener.bind.first().copied()) {
            self.action("speaks", Verdict::Taken, "TLS as it came, to its end");
            self.tls(&snapshot.pools[pool]);
            let timeouts = forward::passed_timeouts(service, &snapshot.pools[pool]);
            self.action("timeouts", Verdict::Taken, timeouts);
        }
    }

    fn tell_hello(&mut self, sni: Option<&str>, alpn: &[String]) {
        let name = match sni {
            Some(name) => format!("{name}, the URL's host"),
            None => "none: the URL has no name for a host".to_owned(),
        };
        let offered = match (alpn, self.question.alpn.is_empty()) {
            ([], _) => "none; --alpn adds one".to_owned(),
            (names, true) => format!("{}, as clients of https:// offer", names.join(", ")),
            (names, false) => names.join(", "),
        };
        self.decision.step(Stage::Request, "sni", Verdict::Passed, name);
        self.decision.step(Stage::Request, "alpn", Verdict::Passed, offered);
    }

    /// The pick of a connection that is sent to the pool at `asked`; the pool that serves, if there is a backend.
    fn relay(&mut self, asked: PoolIndex, sni: Option<&str>, local: Option<SocketAddr>) -> Option<PoolIndex> {
        let snapshot = self.snapshot.clone();
        let peer = self.question.peer();
        let now = self.control.now();
        let keeps = |pool: &Pool, view: &View| {
            let tie = pool.sticky().map(|sticky| sticky.tie_of_connection(peer.ip()));
            tie.is_some_and(|tie| pool.keeps(&tie, view, now))
        };
        let serving = snapshot.serving(asked, keeps, Some(&mut self.decision));
        self.gone_over(serving);
        let pool = &snapshot.pools[serving.pool];
        let key = pool.key().map(|key| (key, key.of_connection(peer, sni, || local)));
        let tie = pool.sticky().map(|sticky| sticky.tie_of_connection(peer.ip()));
        self.pick(pool, key, tie.as_ref()).map(|_| serving.pool)
    }

    /// We end it ourselves, for this reason.
    fn closed(&mut self, reason: Reason) {
        self.decision.reason = Some(reason.word().to_owned());
        let why = match reason {
            Reason::NoRoute => "closed by us with the alert unrecognized_name: no route matches".to_owned(),
            reason => format!("closed by us: {}", reason.says()),
        };
        self.action(reason.word(), Verdict::Refused, why);
    }
}

/// The name that a client of the URL asks for: it sends no address (RFC 6066 §3).
fn sni(question: &Question) -> Option<String> {
    let written = &question.url.host;
    if written.parse::<IpAddr>().is_ok() {
        return None;
    }
    let read = host::normalise(written.as_bytes()).ok()??;
    Some(read.host.into_owned())
}

fn alpn(question: &Question) -> Vec<String> {
    match (question.alpn.as_slice(), question.url.scheme) {
        ([], Scheme::Https) => OF_HTTPS.iter().map(|name| (*name).to_owned()).collect(),
        (names, _) => names.to_vec(),
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
