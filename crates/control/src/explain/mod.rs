//! Explaining a decision: which listener, route, pool and backend a request would get, and why.
//!
//! It asks the functions that serve (`parse_request`, `RouteTable::find`, `Membership::view`, `Pool::acquire`), each
//! with a record to fill; nothing is decided here. No value of an `Authorization`, a `Cookie` or a query is shown.

mod connection;
mod forward;
mod listener;
mod past;
mod question;
mod request;
#[cfg(test)]
mod tests;

pub use question::{Question, Scheme, Unanswerable, Url};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use plimsoll_core::balance::HashKey;
use plimsoll_core::decision::{Decision, Stage, Verdict};
use plimsoll_core::fallback::Serving;
use plimsoll_core::outcome::Reason;
use plimsoll_core::pool::{AcquireCx, Pool, Refusal};
use plimsoll_core::rng::Rng;
use plimsoll_core::snapshot::{Listener, Service, Snapshot};
use plimsoll_core::sticky::Tie;
use plimsoll_core::time::Now;

use crate::config::Plan;
use crate::publish::Control;

/// Explains what a node that serves `plan` would do, with every backend healthy and nothing in flight.
///
/// # Errors
/// What has to be asked in another way.
pub fn offline(plan: &Plan, question: &Question) -> Result<Decision, Unanswerable> {
    let mut plan = plan.clone();
    for check in plan.pools.iter_mut().filter_map(|pool| pool.check.as_mut()) {
        check.initially_healthy = true;
    }
    let control = Control::new(&plan, || Now::START, question.seed);
    Explanation::begin(&control, question, true).run()
}

impl Control {
    /// Explains what this node would do now.
    ///
    /// # Errors
    /// What has to be asked in another way.
    pub fn explain(&self, question: &Question) -> Result<Decision, Unanswerable> {
        Explanation::begin(self, question, false).run()
    }
}

/// An explanation in the making.
struct Explanation<'e> {
    control: &'e Control,
    question: &'e Question,
    snapshot: Arc<Snapshot>,
    decision: Decision,
    rng: Rng,
    offline: bool,
}

impl<'e> Explanation<'e> {
    fn begin(control: &'e Control, question: &'e Question, offline: bool) -> Self {
        Explanation {
            control,
            question,
            snapshot: control.snapshot().load_full(),
            decision: Decision::default(),
            rng: Rng::seeded(question.seed),
            offline,
        }
    }

    fn run(mut self) -> Result<Decision, Unanswerable> {
        let snapshot = self.snapshot.clone();
        let listener = listener::choose(&snapshot, self.question, &mut self.decision)?;
        if listener.tls.is_some() {
            self.handshake(listener);
        }
        match &listener.service {
            Service::Http(service) => self.request(listener, service),
            Service::Tcp(service) => self.connection(listener, service),
            Service::Passthrough(service) => self.passed(listener, service),
        }
        Ok(self.decision)
    }

    /// Which certificate a client is shown.
    fn handshake(&mut self, listener: &Listener) {
        let name = self.question.url.server_name();
        let asked = name
            .as_ref()
            .map_or("no name".to_owned(), |name| format!("the name {name}"));
        let (verdict, why) = match self.control.termination(listener.id) {
            None => (Verdict::Refused, self.no_certificate(listener)),
            Some(termination) => {
                let known = name.as_deref().is_some_and(|name| termination.knows(name));
                let default = if known {
                    ""
                } else {
                    ", which no certificate is for, gets the default"
                };
                let now = SystemTime::now();
                let shown = termination.certificates(name.as_deref(), now).map(|pair| {
                    let (facts, kind) = (&pair.facts, pair.key_kind());
                    let ends = humantime::format_rfc3339_seconds(facts.not_after);
                    let over = if facts.is_expired(now) { ", which is over" } else { "" };
                    format!("{kind} for {} until {ends}{over}", facts.names.join(", "))
                });
                let shown: Vec<String> = shown.collect();
                let client = if termination.asks {
                    "; the client is asked for its own"
                } else {
                    ""
                };
                (
                    Verdict::Taken,
                    format!("{asked}{default}: {}{client}", shown.join("; or ")),
                )
            }
        };
        self.decision.step(Stage::Listener, "certificate", verdict, why);
    }

    /// Why there is nothing to show.
    fn no_certificate(&self, listener: &Listener) -> String {
        let status = self.control.certificates().into_iter();
        let acme = status
            .filter(|status| status.listener == listener.name)
            .find_map(|status| status.acme);
        match acme {
            None => "no certificate of the listener can be used".to_owned(),
            Some(acme) => format!(
                "no certificate was issued yet for {}: it is asked for at {} by {}{}",
                acme.domains.join(", "),
                acme.directory,
                acme.challenge,
                acme.error.map(|error| format!("; {error}")).unwrap_or_default()
            ),
        }
    }

    /// TLS with the backends of `pool`, where it is spoken: who is believed to be one, and who we say that we are.
    fn tls(&mut self, pool: &Pool) {
        let plan = self.control.plan();
        let plan = plan.pools.iter().find(|plan| plan.name == *pool.name);
        let Some(tls) = plan.and_then(|plan| plan.tls.as_ref()) else {
            return;
        };
        self.action("verifies", Verdict::Taken, tls.trust_words());
        if let Some((cert, _)) = &tls.own {
            self.action("shows", Verdict::Taken, cert.display().to_string());
        }
    }

    /// Tells of the pool that was asked, when another takes over: who is in it, and why none can serve.
    fn gone_over(&mut self, serving: Serving) {
        let Some((asked, why)) = serving.instead_of else {
            return;
        };
        let snapshot = self.snapshot.clone();
        let (asked, serves) = (&snapshot.pools[asked].name, &snapshot.pools[serving.pool].name);
        self.control.view_of(asked, Some(&mut self.decision));
        let why = format!("{} `{serves}` takes over", why.reason().says());
        self.action(asked, Verdict::Refused, why);
    }

    /// Members, tiers and the pick of `pool`; where the backend is.
    fn pick(
        &mut self,
        pool: &Arc<Pool>,
        key: Option<(&HashKey, Option<u64>)>,
        tie: Option<&Tie>,
    ) -> Option<SocketAddr> {
        self.decision.pool = Some(pool.name.to_string());
        self.action(
            &pool.name,
            Verdict::Taken,
            format!("forwarded to this pool; its policy is {}", pool.policy.name()),
        );
        if self.offline {
            let why = "nothing was asked: every backend is assumed to be healthy, with nothing in flight";
            self.decision.step(Stage::Member, "offline", Verdict::Passed, why);
        }
        let view = self.control.view_of(&pool.name, Some(&mut self.decision))?;
        if let Some((key, hash)) = key {
            let why = match hash {
                Some(hash) => format!("{} hashes to {hash:016x}", key.text()),
                None => format!(
                    "the request has no {}: a random number stands in for its hash",
                    key.text()
                ),
            };
            self.decision.step(Stage::Pick, "key", Verdict::Passed, why);
        }
        let hash = key.and_then(|(_, hash)| hash);
        let (seq, key) = (self.rng.bits(), hash.unwrap_or_else(|| self.rng.bits()));
        let mut cx = AcquireCx {
            now: self.control.now(),
            rng: &mut self.rng,
            key,
            tried: &[],
            tie,
            is_question: true,
            record: Some(&mut self.decision),
        };
        // The lease is dropped at once, which counts as a cancellation: it leaves no trace in the backend's numbers.
        match pool.acquire(&view, seq, &mut cx) {
            Ok(lease) => {
                self.decision.backend = Some(lease.name().to_string());
                let address = lease.backend().address;
                self.action(lease.name(), Verdict::Taken, format!("sent to {address}"));
                if let Some(version) = pool.settings.send_proxy {
                    let why = format!(
                        "begins with a PROXY header of version {}, which names the client",
                        version.number()
                    );
                    self.action("introduces", Verdict::Taken, why);
                }
                Some(address)
            }
            Err(Refusal::Full) if pool.queue().waiting() < pool.settings.queue.most => {
                self.action("queue", Verdict::Taken, forward::queue(pool));
                None
            }
            Err(refusal) => {
                self.answer(refusal.reason());
                None
            }
        }
    }

    fn tell_client(&mut self, client: std::net::IpAddr) {
        let peer = self.question.peer().ip();
        let why = if client != peer.to_canonical() {
            format!("{client}, which the trusted proxy {peer} forwards for")
        } else if self.question.client.is_none() {
            format!("{client}, since none was given")
        } else {
            client.to_string()
        };
        self.decision.step(Stage::Request, "client", Verdict::Passed, why);
    }

    /// We answer ourselves, for this reason.
    fn answer(&mut self, reason: Reason) {
        self.answer_as(reason, reason.status());
    }

    /// The same with another status than the reason's own.
    fn answer_as(&mut self, reason: Reason, status: u16) {
        self.decision.reason = Some(reason.word().to_owned());
        let why = format!("answered by us: {status} {}", reason.says());
        self.action(reason.word(), Verdict::Refused, why);
    }

    fn action(&mut self, subject: &str, verdict: Verdict, why: impl Into<String>) {
        self.decision.step(Stage::Action, subject, verdict, why);
    }
}
