//! Who vouches for others, each for as long as it may. What webpki looks at ends with the last certificate before an
//! authority (RFC 5280 §6.1 leaves it to us which authorities are believed); OpenSSL refuses those that are over, too.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error, OtherError, RootCertStore};

use super::certificate::Facts;

/// From when until when somebody or something may be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Whose it is, as RFC 4514 writes it.
    pub subject: String,
    /// From when.
    pub begins: SystemTime,
    /// Until when; `None` when it does not say.
    pub ends: Option<SystemTime>,
}

impl Validity {
    /// Whether it is over at `now`.
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.ends.is_some_and(|ends| now > ends)
    }

    /// Whether it holds at `now`.
    pub fn holds(&self, now: SystemTime) -> bool {
        now >= self.begins && !self.is_over(now)
    }
}

/// Why somebody is not believed who would have been at another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untimely {
    #[error("the authority that vouches for it is over")]
    Over,
    #[error("the authority that vouches for it has not begun")]
    Early,
}

impl From<Untimely> for Error {
    fn from(untimely: Untimely) -> Error {
        CertificateError::Other(OtherError(std::sync::Arc::new(untimely))).into()
    }
}

/// Certificates of authorities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Authorities(Vec<(CertificateDer<'static>, Validity)>);

impl Authorities {
    /// Adds one.
    pub(super) fn add(&mut self, certificate: CertificateDer<'static>, facts: &Facts) -> Result<(), String> {
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| error.to_string())?;
        self.0.push((certificate, facts.validity()));
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From when until when each of them may be believed.
    pub(super) fn validities(&self) -> impl Iterator<Item = &Validity> {
        self.0.iter().map(|(_, validity)| validity)
    }

    /// Which of them hold at `now`.
    pub(super) fn standing(&self, now: SystemTime) -> Vec<bool> {
        self.validities().map(|validity| validity.holds(now)).collect()
    }

    /// Their certificates, as they were read.
    pub(super) fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|(certificate, _)| certificate.as_ref())
    }

    /// All of them.
    pub(super) fn all(&self) -> RootCertStore {
        self.roots(|_| true)
    }

    /// Those that hold at `now`.
    pub(super) fn holding(&self, now: SystemTime) -> RootCertStore {
        self.roots(|validity| validity.holds(now))
    }

    /// Those that do not, the over and the early: whom they vouch for is told so.
    pub(super) fn untimely(&self, now: SystemTime) -> [(Untimely, RootCertStore); 2] {
        let early = |validity: &Validity| now < validity.begins;
        [
            (Untimely::Over, self.roots(|validity| validity.is_over(now))),
            (Untimely::Early, self.roots(early)),
        ]
    }

    fn roots(&self, which: impl Fn(&Validity) -> bool) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let chosen = self.0.iter().filter(|(_, validity)| which(validity));
        roots.add_parsable_certificates(chosen.map(|(certificate, _)| certificate.clone()));
        roots
    }
}

/// What is to be said of a peer whom nobody vouches for at this time: whether somebody has or will.
pub(super) fn unknown(error: Error, ask: impl Fn() -> Option<Untimely>) -> Error {
    match error {
        // The second is what another authority of the same name makes of it.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            ask().map_or(error, Error::from)
        }
        error => error,
    }
}
