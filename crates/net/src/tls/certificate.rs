//! Certificates with their keys: read, and judged before anybody is shown them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureAlgorithm};
use x509_cert::Certificate;
use x509_cert::certificate::Version as Edition;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, SubjectAltName};

use super::authorities::Validity;
use super::faults::{Wanted, no_pem, nothing, unusable_key};
use super::provider;
use super::staple::Staple;

/// Certificates that a chain may have. Public ones have three.
pub const CHAIN_MAX: usize = 16;

/// What stands in a certificate, as far as anybody here wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whom it is for, as RFC 4514 writes it.
    pub subject: String,
    /// Who vouches for it.
    pub issuer: String,
    /// The names that it is for: hosts in lower case, and addresses.
    pub names: Vec<String>,
    /// Who else it is for: mail addresses, and URIs such as SPIFFE's.
    pub identities: Vec<String>,
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
    /// SHA-256 of its DER, in hexadecimal.
    pub fingerprint: String,
    /// Whether it may vouch for others (RFC 5280 §4.2.1.9). Old roots of X.509 version 1 cannot say so.
    pub is_authority: bool,
    /// Whether it is of X.509 version 1, which cannot say what it is for.
    pub is_old: bool,
    /// Subject and issuer as they are written in it.
    ends: (Vec<u8>, Vec<u8>),
}

impl Facts {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// It is none, in words.
    pub fn read(der: &[u8]) -> Result<Facts, String> {
        let unreadable = |error: x509_cert::der::Error| format!("is no certificate: {error}");
        let certificate = Certificate::from_der(der).map_err(unreadable)?;
        let inner = certificate.tbs_certificate();
        let constraints = inner.get_extension::<BasicConstraints>().map_err(unreadable)?;
        let is_old = inner.version() == Edition::V1;
        let is_old_root = is_old && inner.subject() == inner.issuer();
        let names = inner.get_extension::<SubjectAltName>().map_err(unreadable)?;
        let names = names.map(|(_, names)| names.0).unwrap_or_default();
        let time = |since: Duration| SystemTime::UNIX_EPOCH + since;
        let encoded = |name: &x509_cert::name::Name| name.to_der().map_err(unreadable);
        Ok(Facts {
            subject: printable(&inner.subject().to_string()),
            issuer: printable(&inner.issuer().to_string()),
            identities: names.iter().filter_map(identity).collect(),
            names: names.iter().filter_map(name).collect(),
            not_before: time(inner.validity().not_before.to_unix_duration()),
            not_after: time(inner.validity().not_after.to_unix_duration()),
            fingerprint: (digest(&SHA256, der).as_ref().iter())
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            is_authority: constraints.map_or(is_old_root, |(_, constraints)| constraints.ca),
            is_old,
            ends: (encoded(inner.subject())?, encoded(inner.issuer())?),
        })
    }

    /// From when until when it may be believed.
    pub fn validity(&self) -> Validity {
        Validity {
            subject: self.subject.clone(),
            begins: self.not_before,
            ends: Some(self.not_after),
        }
    }

    /// Who vouches for it, as it is written in it.
    pub(super) fn issuer_name(&self) -> &[u8] {
        &self.ends.1
    }

    /// Whether it is over at `now`.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        now > self.not_after
    }

    /// Whether it has not begun at `now`.
    pub fn is_early(&self, now: SystemTime) -> bool {
        now < self.not_before
    }
}

/// Subjects stand in logs and header fields, and their writers are not ours.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let address = four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

fn identity(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::Rfc822Name(mail) => Some(printable(mail.as_str())),
        GeneralName::UniformResourceIdentifier(uri) => Some(printable(uri.as_str())),
        _ => None,
    }
}

/// A chain of certificates with the key of its first.
pub struct Pair {
    /// What the first certificate says.
    pub facts: Facts,
    pub(super) certified: Arc<CertifiedKey>,
}

impl Pair {
    /// Reads a chain and its key, both in PEM.
    ///
    /// # Errors
    /// What is wrong, and with which of the two. Dates are for the caller to judge.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Pair, PairFault> {
        let certificates = certificates(chain).map_err(PairFault::Chain)?;
        if certificates.len() > CHAIN_MAX {
            return Err(PairFault::Chain(format!("has more than {CHAIN_MAX} certificates")));
        }
        let facts: Vec<Facts> = (certificates.iter().enumerate())
            .map(|(at, certificate)| {
                Facts::read(certificate).map_err(|why| PairFault::Chain(format!("certificate {}: {why}", at + 1)))
            })
            .collect::<Result<_, _>>()?;
        let key = private_key(key).map_err(PairFault::Key)?;
        let key = (provider().key_provider.load_private_key(key)).map_err(|_| {
            PairFault::Key(
                certificates
                    .first()
                    .map_or_else(String::new, |first| unusable_key(first)),
            )
        })?;
        let certified = CertifiedKey::new(certificates, key);
        if let Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) = certified.keys_match() {
            return Err(mismatch(&certified));
        }
        check_order(&facts).map_err(PairFault::Chain)?;
        let facts = facts
            .into_iter()
            .next()
            .ok_or_else(|| PairFault::Chain("holds no certificate".into()))?;
        Ok(Pair {
            facts,
            certified: Arc::new(certified),
        })
    }

    /// The same, shown with what its authority says of it, or without.
    #[must_use]
    pub fn with_staple(&self, staple: Option<&Staple>) -> Pair {
        let mut certified = CertifiedKey::clone(&self.certified);
        certified.ocsp = staple.map(|staple| staple.response.clone());
        Pair {
            facts: self.facts.clone(),
            certified: Arc::new(certified),
        }
    }

    /// The first certificate, in DER.
    pub fn der(&self) -> &[u8] {
        self.certified.cert.first().map_or(&[], AsRef::as_ref)
    }

    /// What whoever has issued it knows it by; `None` when it does not say so.
    pub fn marks(&self) -> Option<Marks> {
        let certificate = Certificate::from_der(self.certified.cert.first()?).ok()?;
        let inner = certificate.tbs_certificate();
        let (_, issuer) = inner.get_extension::<AuthorityKeyIdentifier>().ok()??;
        Some(Marks {
            authority_key: issuer.key_identifier?.as_bytes().to_vec(),
            serial: contents(&inner.serial_number().to_der().ok()?)?.to_vec(),
        })
    }

    pub(super) fn algorithm(&self) -> SignatureAlgorithm {
        self.certified.key.algorithm()
    }

    /// The kind of its key.
    pub fn key_kind(&self) -> &'static str {
        match self.algorithm() {
            SignatureAlgorithm::RSA => "RSA",
            SignatureAlgorithm::ECDSA => "ECDSA",
            SignatureAlgorithm::ED25519 => "Ed25519",
            _ => "other",
        }
    }
}

/// What an authority knows a certificate by (RFC 9773 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Which of the authority's keys has signed it.
    pub authority_key: Vec<u8>,
    /// Its number as DER has it: with a zero in front where the first bit would be a sign.
    pub serial: Vec<u8>,
}

/// What stands in a value of DER that is shorter than 128 bytes.
pub(super) fn contents(der: &[u8]) -> Option<&[u8]> {
    let (length, contents) = der.get(1..)?.split_first()?;
    (usize::from(*length) == contents.len()).then_some(contents)
}

/// What is wrong with a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairFault {
    /// With the file of certificates.
    Chain(String),
    /// With the file of the key.
    Key(String),
}

/// The certificates of a text in PEM.
///
/// # Errors
/// There is none, or one that cannot be read.
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let read = read.map_err(|error| no_pem(text, &error))?;
    if read.is_empty() {
        return Err(nothing(text, Wanted::Certificates));
    }
    Ok(read)
}

/// Whether a text in PEM holds a private key.
///
/// # Errors
/// There is none, or one that cannot be read.
pub fn has_key(text: &[u8]) -> Result<(), String> {
    private_key(text).map(|_| ())
}

fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => nothing(text, Wanted::Key),
        error => no_pem(text, &error),
    })
}

/// The key is not the first certificate's; it may be a later one's.
fn mismatch(certified: &CertifiedKey) -> PairFault {
    let later = (certified.cert.iter().enumerate().skip(1)).find(|(_, other)| {
        CertifiedKey::new(vec![(*other).clone()], certified.key.clone())
            .keys_match()
            .is_ok()
    });
    match later {
        Some((at, _)) => PairFault::Chain(format!(
            "its certificates are in the wrong order: the key is that of certificate {}, which has to come first",
            at + 1
        )),
        None => PairFault::Key("is not the key of the certificate".into()),
    }
}

/// Each has to be vouched for by the next (RFC 8446 §4.4.2).
fn check_order(chain: &[Facts]) -> Result<(), String> {
    for (at, pair) in chain.windows(2).enumerate() {
        if pair[0].ends.1 != pair[1].ends.0 {
            return Err(format!(
                "its certificates are in the wrong order: certificate {} was issued by \"{}\", and the next is \"{}\"",
                at + 1,
                pair[0].issuer,
                pair[1].subject
            ));
        }
    }
    Ok(())
}
