//! Who a client has to be: whom authorities vouch for, and have not revoked.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode, SliceReader, Tag, Tagged};
use x509_cert::name::Name;
use x509_cert::time::Time;

use super::authorities::{Authorities, Untimely, Validity, unknown};
use super::certificate::{Facts, printable};
use super::faults::no_pem;
use super::provider;

/// Who a client has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRules {
    /// Whether one that shows no certificate is turned away.
    pub required: bool,
    /// Whoever they vouch for.
    authorities: Authorities,
    /// And have not revoked, by the files that these were read from.
    revoked: Vec<Vec<RevocationList>>,
}

/// What an authority has revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RevocationList {
    der: CertificateRevocationListDer<'static>,
    validity: Validity,
}

impl ClientRules {
    /// Reads authorities, in PEM.
    ///
    /// # Errors
    /// There are none, or one that cannot vouch for anybody. Their dates are for the caller to judge.
    pub fn read(required: bool, authorities: &[u8]) -> Result<ClientRules, String> {
        let mut rules = ClientRules {
            required,
            authorities: Authorities::default(),
            revoked: Vec::new(),
        };
        for (at, authority) in super::certificate::certificates(authorities)?.into_iter().enumerate() {
            let nobody = |why: String| format!("certificate {} vouches for nobody: {why}", at + 1);
            let facts = Facts::read(&authority).map_err(nobody)?;
            if !facts.is_authority {
                return Err(nobody("it is no authority (basicConstraints CA:TRUE)".into()));
            }
            rules.authorities.add(authority, &facts).map_err(nobody)?;
        }
        Ok(rules)
    }

    /// Reads another file of lists of revoked certificates, in PEM or DER.
    ///
    /// # Errors
    /// There is none, or one that cannot be used. Their dates are for the caller to judge.
    pub fn revoke(&mut self, list: &[u8]) -> Result<(), String> {
        let mut read: Vec<CertificateRevocationListDer<'static>> = CertificateRevocationListDer::pem_slice_iter(list)
            .collect::<Result<_, _>>()
            .map_err(|error| no_pem(list, &error))?;
        if read.is_empty() && list.first() == Some(&0x30) {
            read.push(list.to_vec().into());
        }
        if read.is_empty() {
            return Err("holds no list of revoked certificates (-----BEGIN X509 CRL-----)".into());
        }
        let lists: Vec<_> = (read.into_iter().map(RevocationList::read)).collect::<Result<_, _>>()?;
        for list in &lists {
            path(self.authorities.all(), &[list]).map_err(|why| {
                format!(
                    "holds a list of \"{}\" that cannot be used: {why}",
                    list.validity.subject
                )
            })?;
        }
        self.revoked.push(lists);
        Ok(())
    }

    /// A digest of who is let in: rules with the same one are the same, in whatever process.
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        let mut add = |kind: &[u8], bytes: &[u8]| {
            digest.update(kind);
            digest.update(&(bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        add(b"required", &[u8::from(self.required)]);
        for authority in self.authorities.certificates() {
            add(b"authority", authority);
        }
        for list in self.revoked.iter().flatten() {
            add(b"revoked", &list.der);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.finish().as_ref());
        bytes
    }

    /// How many there are who vouch.
    pub fn entries(&self) -> usize {
        self.authorities.validities().count()
    }

    /// From when until when each of those who vouch may.
    pub fn authorities(&self) -> impl Iterator<Item = &Validity> {
        self.authorities.validities()
    }

    /// From when until when each list of revoked certificates holds, by the files that were read, in their order.
    pub fn lists(&self) -> impl Iterator<Item = impl Iterator<Item = &Validity>> {
        self.revoked.iter().map(|file| file.iter().map(|list| &list.validity))
    }

    /// Which of all this holds at `now`: when that changes, a termination has to be made anew.
    pub fn standing(&self, now: SystemTime) -> Vec<bool> {
        let lists = self.lists().flatten().map(|list| list.holds(now));
        self.authorities.standing(now).into_iter().chain(lists).collect()
    }

    /// What judges clients by what holds at `now`.
    pub(super) fn verifier(&self, now: SystemTime) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let mut lists: Vec<&RevocationList> = self.revoked.iter().flatten().collect();
        let knows_lists = !lists.is_empty();
        lists.retain(|list| now >= list.validity.begins);
        // Of several lists of one authority webpki looks at the first.
        lists.sort_by_key(|list| list.validity.is_over(now));
        let holding = self.authorities.holding(now);
        let untimely = self.authorities.untimely(now).into_iter();
        let untimely = untimely.filter(|(_, roots)| !roots.is_empty());
        Ok(Arc::new(Verifier {
            required: self.required,
            hints: self.authorities.all().subjects(),
            path: (!holding.is_empty()).then(|| path(holding, &lists)).transpose()?,
            untimely: untimely
                .map(|(why, roots)| Ok((why, path(roots, &[])?)))
                .collect::<Result<_, String>>()?,
            lists_are_early: knows_lists && lists.is_empty(),
            algorithms: provider().signature_verification_algorithms,
        }))
    }
}

type Path = Arc<dyn ClientCertVerifier>;

/// What looks for a path to one of `roots`, and along it at `lists`.
fn path(roots: RootCertStore, lists: &[&RevocationList]) -> Result<Path, String> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()))
        .with_crls(lists.iter().map(|list| list.der.clone()))
        .enforce_revocation_expiration()
        .build()
        .map_err(|error| error.to_string())
}

/// Who judges the certificates of clients.
#[derive(Debug)]
struct Verifier {
    required: bool,
    hints: Vec<DistinguishedName>,
    /// `None` where nobody may vouch now.
    path: Option<Path>,
    /// Who vouches and may not now.
    untimely: Vec<(Untimely, Path)>,
    /// Lists are to be looked at, and none has begun.
    lists_are_early: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // Version 1 has no place for what a certificate is for (RFC 5280 §4.1.2.1), and webpki has no word for it.
        if Facts::read(shown).is_ok_and(|facts| facts.is_old) {
            return Err(CertificateError::InvalidPurpose.into());
        }
        let judged = match &self.path {
            Some(path) => path.verify_client_cert(shown, intermediates, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        match judged {
            Ok(_) if self.lists_are_early => Err(CertificateError::UnknownRevocationStatus.into()),
            Ok(verified) => Ok(verified),
            Err(error) => Err(unknown(error, || {
                let vouches = |path: &Path| path.verify_client_cert(shown, intermediates, now).is_ok();
                self.untimely
                    .iter()
                    .find(|(_, path)| vouches(path))
                    .map(|(why, _)| *why)
            })),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, shown, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, shown, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl RevocationList {
    fn read(der: CertificateRevocationListDer<'static>) -> Result<Self, String> {
        let unreadable = |error: x509_cert::der::Error| format!("is no list of revoked certificates: {error}");
        let whole = AnyRef::from_der(&der).map_err(unreadable)?;
        let inner = AnyRef::from_der_partial(whole.value()).map_err(unreadable)?.0;
        let mut fields = SliceReader::new(inner.value()).map_err(unreadable)?;
        // Version 1 has no field for it (RFC 5280 §5.1.2.1).
        if AnyRef::decode(&mut fields).map_err(unreadable)?.tag() != Tag::Integer {
            return Err(
                "holds a list of version 1, which cannot be used: it has to be of version 2, and numbered".into(),
            );
        }
        AnyRef::decode(&mut fields).map_err(unreadable)?;
        let issuer = Name::decode(&mut fields).map_err(unreadable)?;
        let time = |time: Time| SystemTime::UNIX_EPOCH + time.to_unix_duration();
        let begins = Time::decode(&mut fields).map(time).map_err(unreadable)?;
        let ends = Option::<Time>::decode(&mut fields).map_err(unreadable)?.map(time);
        let subject = printable(&issuer.to_string());
        if ends.is_none() {
            return Err(format!(
                "holds a list of \"{subject}\" that does not say when the next one comes (nextUpdate): it cannot be used"
            ));
        }
        Ok(RevocationList {
            der,
            validity: Validity { subject, begins, ends },
        })
    }
}

#[cfg(test)]
#[path = "clients_tests.rs"]
mod tests;
