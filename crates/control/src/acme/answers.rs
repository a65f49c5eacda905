//! What answers an authority that asks for a proof of a name, for as long as it may ask.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use plimsoll_core::challenge::Proofs;
use plimsoll_net::tls::{Manners, Pair, Termination, Tickets, Version};
use rcgen::{CertificateParams, CustomExtension, KeyPair};

/// What answers within TLS, by the names that are to be proved.
pub type Handshakes = ArcSwap<HashMap<Box<str>, Arc<Termination>>>;

/// The protocol of whoever asks there (RFC 8737 §6.2).
const ACME: &[u8] = b"acme-tls/1";

/// All answers, of all orders that are under way.
#[derive(Clone, Default)]
pub(crate) struct Answers {
    given: Arc<Mutex<Given>>,
    proofs: Arc<Proofs>,
    handshakes: Arc<Handshakes>,
}

#[derive(Default)]
struct Given {
    proofs: BTreeMap<Box<str>, Arc<str>>,
    handshakes: HashMap<Box<str>, Arc<Termination>>,
}

/// An answer, given until it is dropped.
pub(super) struct Answer {
    answers: Answers,
    kind: Kind,
}

enum Kind {
    Proof(Box<str>),
    Handshake(Box<str>, Arc<Termination>),
}

impl Answers {
    /// What workers read for those who ask over plain HTTP.
    pub(crate) fn proofs(&self) -> &Arc<Proofs> {
        &self.proofs
    }

    /// What they read for those who ask within TLS.
    pub(crate) fn handshakes(&self) -> &Arc<Handshakes> {
        &self.handshakes
    }

    /// Answers `proof` to whoever asks for `token` (RFC 8555 §8.3).
    pub(super) fn prove(&self, token: &str, proof: &str) -> Answer {
        self.change(|given| {
            given.proofs.insert(token.into(), proof.into());
        });
        self.answer(Kind::Proof(token.into()))
    }

    /// Shows a certificate for `name` that holds `digest` to whoever asks for it (RFC 8737 §3).
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn shake(&self, name: &str, digest: &[u8]) -> Result<Answer, String> {
        let termination = Arc::new(challenge(name, digest)?);
        self.change(|given| {
            given.handshakes.insert(name.into(), termination.clone());
        });
        Ok(self.answer(Kind::Handshake(name.into(), termination)))
    }

    fn answer(&self, kind: Kind) -> Answer {
        Answer {
            answers: self.clone(),
            kind,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Given)) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut given);
        self.proofs.publish(given.proofs.clone());
        self.handshakes.store(Arc::new(given.handshakes.clone()));
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.answers.change(|given| match &self.kind {
            Kind::Proof(token) => {
                given.proofs.remove(token);
            }
            // Another order for the same name may have its own by now.
            Kind::Handshake(name, ours) => {
                given
                    .handshakes
                    .retain(|of, theirs| of != name || !Arc::ptr_eq(ours, theirs));
            }
        });
    }
}

/// TLS that shows nothing but the answer for `name`.
fn challenge(name: &str, digest: &[u8]) -> Result<Termination, String> {
    let digest: &[u8; 32] = digest.try_into().map_err(|_| "the digest is none of SHA-256")?;
    let made = || {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new([name.to_owned()])?;
        parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let certificate = parameters.self_signed(&key)?;
        Ok::<_, rcgen::Error>((certificate.pem(), key.serialize_pem()))
    };
    let (certificate, key) = made().map_err(|error| error.to_string())?;
    let pair = Pair::read(certificate.as_bytes(), key.as_bytes()).map_err(|fault| format!("{fault:?}"))?;
    let manners = Manners {
        quic: Vec::new(),
        min_version: Version::Tls12,
        suites: Vec::new(),
        protocols: vec![ACME.to_vec()],
    };
    Termination::new(
        vec![Arc::new(pair)],
        &manners,
        None,
        &Tickets::new()?,
        SystemTime::now(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_given_while_it_is_held() {
        let answers = Answers::default();
        let at = |token: &str| answers.proofs().at(&format!("/.well-known/acme-challenge/{token}"));
        let (one, two) = (answers.prove("one", "one.key"), answers.prove("two", "two.key"));
        assert_eq!(
            (at("one").as_deref(), at("two").as_deref()),
            (Some("one.key"), Some("two.key"))
        );
        drop(one);
        assert_eq!((at("one"), at("two").as_deref()), (None, Some("two.key")));
        drop(two);
        assert_eq!(at("two"), None);
    }

    #[test]
    fn the_newest_certificate_for_a_name_is_shown() {
        let answers = Answers::default();
        let shown = |name: &str| answers.handshakes().load().get(name).cloned();
        let one = answers.shake("a.test", &[1; 32]).unwrap();
        let first = shown("a.test").expect("it is shown");
        assert!(first.knows("a.test") && !first.asks);
        let two = answers.shake("a.test", &[2; 32]).unwrap();
        let second = shown("a.test").expect("it is shown");
        assert!(!Arc::ptr_eq(&first, &second));
        drop(one);
        assert!(shown("a.test").is_some_and(|now| Arc::ptr_eq(&now, &second)));
        drop(two);
        assert!(shown("a.test").is_none());
        assert!(answers.shake("b.test", &[1; 31]).is_err());
    }
}
