//! One order, from its beginning to a certificate.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeHandle, ChallengeType, Error, Identifier, NewOrder,
    Order, OrderStatus,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::answers::{Answer, Answers};
use super::fault::Fault;
use super::nonces::{self, again};
use super::transport::Transport;
use crate::config::{AcmePlan, Challenge};
use crate::program;

/// Between two looks at an order: the first, and the longest. An authority may ask for more, up to a point.
const LOOK: Duration = Duration::from_millis(250);
const LOOK_MAX: Duration = Duration::from_secs(10);
const LOOK_ASKED_MAX: Duration = Duration::from_secs(60);

/// What an order is made with.
pub(super) struct Ordering<'o> {
    pub(super) plan: &'o AcmePlan,
    pub(super) answers: &'o Answers,
    pub(super) transport: &'o Transport,
}

/// What stands somewhere for the authority to find.
enum Set {
    /// With us.
    Here { _answer: Answer },
    /// In DNS.
    Record { name: String, text: String },
}

impl Ordering<'_> {
    /// A certificate with its key, in PEM; `replaces` is the one that it takes the place of (RFC 9773 §5).
    pub(super) async fn certificate(
        &self,
        account: &Account,
        replaces: Option<CertificateIdentifier<'static>>,
    ) -> Result<Vec<u8>, Fault> {
        let mut order = self.begin(account, replaces).await?;
        let mut set = Vec::new();
        let proved = self.prove(&mut order, &mut set).await;
        self.take_back(set).await;
        proved?;
        self.finish(&mut order).await
    }

    async fn begin(&self, account: &Account, replaces: Option<CertificateIdentifier<'static>>) -> Result<Order, Fault> {
        let names: Vec<Identifier> = self.plan.domains.iter().cloned().map(Identifier::Dns).collect();
        if let Some(replaces) = replaces {
            let wanted = NewOrder::new(&names).replaces(replaces);
            let order = again!("ordering", self.transport, account.new_order(&wanted));
            match order {
                // It was replaced already, or the authority takes no word of it after all: an order is an order.
                Err(fault) if fault.is("alreadyReplaced") || fault.is("malformed") || fault.problem.is_none() => {
                    tracing::debug!(told = fault.told, "ordering without saying what is replaced");
                }
                order => return order,
            }
        }
        again!("ordering", self.transport, account.new_order(&NewOrder::new(&names)))
    }

    /// Shows that the names are ours. What was `set` for that is to be taken back, however this ends.
    async fn prove(&self, order: &mut Order, set: &mut Vec<Set>) -> Result<(), Fault> {
        self.know_authorizations(order).await?;
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let mut authorization = next.map_err(|error| self.fault("asking for authorizations", error))?;
            match authorization.status {
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Valid => continue,
                status => return Err(Fault::ours(format!("an authorization is {status:?}"))),
            }
            let name = authorization.identifier().to_string();
            let kind = match self.plan.challenge {
                Challenge::Http01 => ChallengeType::Http01,
                Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
                Challenge::Dns01 => ChallengeType::Dns01,
            };
            let Some(mut challenge) = authorization.challenge(kind) else {
                let word = self.plan.challenge.word();
                return Err(Fault::ours(format!("{name}: the authority does not take {word}")));
            };
            set.push(
                self.set(&challenge)
                    .await
                    .map_err(|why| Fault::ours(format!("{name}: {why}")))?,
            );
            again!(&format!("proving {name}"), self.transport, challenge.set_ready())?;
        }
        self.settle(order, |status| !matches!(status, OrderStatus::Pending))
            .await
    }

    /// Fetches them all, so that a nonce that is refused does not have one of them skipped.
    async fn know_authorizations(&self, order: &mut Order) -> Result<(), Fault> {
        let mut tries = 0;
        loop {
            let mut failed = None;
            let mut authorizations = order.authorizations();
            while let Some(next) = authorizations.next().await {
                if let Err(error) = next {
                    failed = Some(error);
                    break;
                }
            }
            match failed {
                None => return Ok(()),
                Some(error) if tries < nonces::NONCES_MAX && nonces::wanted(&error) => tries += 1,
                Some(error) => return Err(self.fault("asking for authorizations", error)),
            }
        }
    }

    /// Puts the proof where the authority will look for it.
    async fn set(&self, challenge: &ChallengeHandle<'_>) -> Result<Set, String> {
        let proof = challenge.key_authorization();
        let Identifier::Dns(name) = challenge.identifier().identifier else {
            return Err("the authority asks for a proof of something else".into());
        };
        let _answer = match self.plan.challenge {
            Challenge::Http01 => self.answers.prove(&challenge.token, proof.as_str()),
            Challenge::TlsAlpn01 => self.answers.shake(name, proof.digest().as_ref())?,
            Challenge::Dns01 => {
                let (name, text) = (format!("_acme-challenge.{name}"), proof.dns_value());
                self.hook("add", &name, &text).await?;
                return Ok(Set::Record { name, text });
            }
        };
        Ok(Set::Here { _answer })
    }

    /// Has the program of dns-01 do this.
    async fn hook(&self, does: &str, name: &str, text: &str) -> Result<(), String> {
        let Some(hook) = &self.plan.dns_hook else {
            return Err("there is no dns_hook".into());
        };
        let shown = hook.program.display();
        let mut command = program::command(hook);
        command.args([does, name, text]);
        let ended = tokio::time::timeout(self.plan.dns_timeout, program::run(&mut command)).await;
        let within = humantime::format_duration(self.plan.dns_timeout);
        let ended = ended.map_err(|_| format!("{shown} {does} {name} has not ended within {within}"))?;
        let ended = ended.map_err(|error| format!("{shown} cannot be run: {error}"))?;
        match ended.failure() {
            Some(why) => Err(format!("{shown} {does} {name}: {why}")),
            None => Ok(()),
        }
    }

    async fn take_back(&self, set: Vec<Set>) {
        for set in set {
            if let Set::Record { name, text } = set
                && let Err(why) = self.hook("remove", &name, &text).await
            {
                tracing::warn!(why, "a record of dns-01 stays where it is");
            }
        }
    }

    /// Waits until the order's status is as wanted; an order that comes to nothing is told with its cause.
    async fn settle(&self, order: &mut Order, wanted: impl Fn(OrderStatus) -> bool) -> Result<(), Fault> {
        let mut wait = LOOK;
        loop {
            let state = order.state();
            if state.status == OrderStatus::Invalid {
                let told = state.error.as_ref().map(Fault::refused);
                return Err(self.blame(order, told).await);
            }
            if wanted(state.status) {
                return Ok(());
            }
            let asked = self.transport.heard().retry_after;
            let asked = asked.and_then(|at| at.duration_since(std::time::SystemTime::now()).ok());
            tokio::time::sleep(asked.unwrap_or_default().min(LOOK_ASKED_MAX).max(wait)).await;
            wait = (wait * 2).min(LOOK_MAX);
            again!("looking at the order", self.transport, async {
                order.refresh().await.map(|_| ())
            })?;
        }
    }

    /// Which proof the authority did not take, and why.
    async fn blame(&self, order: &mut Order, told: Option<Fault>) -> Fault {
        let mut faults = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let refreshed: Result<(), Fault> = again!("asking for authorizations", self.transport, async {
                authorization.refresh().await.map(|_| ())
            });
            if refreshed.is_err() {
                continue;
            }
            let name = authorization.identifier().to_string();
            let problems = authorization
                .challenges
                .iter()
                .filter_map(|challenge| challenge.error.as_ref());
            faults.extend(problems.map(|problem| {
                let fault = Fault::refused(problem);
                Fault {
                    told: format!("{name}: {}", fault.told),
                    ..fault
                }
            }));
        }
        let mut faults = faults.into_iter();
        match (faults.next(), told) {
            (Some(first), _) => faults.fold(first, |all, next| Fault {
                told: format!("{}; {}", all.told, next.told),
                ..all
            }),
            (None, Some(told)) => told,
            (None, None) => Fault::ours("the order has become invalid, and the authority does not say why"),
        }
    }

    /// Asks for the certificate of an order whose names are proved.
    async fn finish(&self, order: &mut Order) -> Result<Vec<u8>, Fault> {
        let (key, request) = request(&self.plan.domains).map_err(Fault::ours)?;
        // While it is "processing", what was asked for before is being made ready.
        self.settle(order, |status| {
            matches!(status, OrderStatus::Ready | OrderStatus::Valid)
        })
        .await?;
        again!(
            "asking for the certificate",
            self.transport,
            order.finalize_csr(&request)
        )?;
        self.settle(order, |status| status == OrderStatus::Valid).await?;
        let chain = again!("fetching the certificate", self.transport, order.certificate())?;
        let chain = chain.ok_or_else(|| Fault::ours("the authority has no certificate for a valid order"))?;
        let pem = format!("{key}{chain}").into_bytes();
        self.judge(&pem)
            .map_err(|why| Fault::ours(format!("the authority's certificate {why}")))?;
        Ok(pem)
    }

    /// What was given is used only if it is what was asked for.
    fn judge(&self, pem: &[u8]) -> Result<(), String> {
        let pair = super::pair(pem)?;
        let facts = &pair.facts;
        if facts.is_expired(std::time::SystemTime::now()) {
            return Err("is over already".into());
        }
        match self.plan.domains.iter().find(|name| !facts.names.contains(name)) {
            Some(name) => Err(format!("is not for {name}")),
            None => Ok(()),
        }
    }

    fn fault(&self, doing: &str, error: Error) -> Fault {
        Fault::of(doing, error, self.transport.heard())
    }
}

/// A new key in PEM, and what asks for a certificate of it.
fn request(domains: &[String]) -> Result<(String, Vec<u8>), String> {
    let made = || {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(domains)?;
        // The names are all that an authority takes from it.
        parameters.distinguished_name = DistinguishedName::new();
        let request = parameters.serialize_request(&key)?;
        Ok::<_, rcgen::Error>((key.serialize_pem(), request.der().to_vec()))
    };
    made().map_err(|error| error.to_string())
}
