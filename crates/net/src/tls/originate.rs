//! TLS that begins with us: what a backend is asked for, whom we believe, and what we show.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::authorities::{Authorities, Untimely, Validity, unknown};
use super::certificate::{Facts, Pair};
use super::handshake::{HandshakeFault, Version};
use super::provider;
use crate::buffer::Blocks;
use crate::socket::Socket;

/// Sessions that are kept for one backend, to be taken up by its next connections: each serves one, and servers give two
/// (nginx, OpenSSL) to four.
const SESSIONS_MAX: usize = 8;

/// Backends that sessions are kept of; beyond it those of all are forgotten, and each is greeted in full once more.
const SERVERS_MAX: usize = 20_000;

const ALPN_H1: &[u8] = b"http/1.1";
const ALPN_H2: &[u8] = b"h2";

/// What a backend is offered to choose from (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Offer {
    /// What the pool says, or nothing: these are bytes.
    Bytes,
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
    /// HTTP/2, or else HTTP/1.1.
    Either,
}

impl Offer {
    fn protocols(self, of_bytes: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Offer::Bytes => return of_bytes.to_vec(),
            Offer::H1 => &[ALPN_H1],
            Offer::H2 => &[ALPN_H2],
            Offer::Either => &[ALPN_H2, ALPN_H1],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }

    /// Whether HTTP/2 is spoken where `chosen` was; one who chooses nothing speaks HTTP/1.1, as before there was a choice.
    ///
    /// # Errors
    /// Nothing else was offered, and it was not chosen.
    pub fn is_h2(self, chosen: Option<&[u8]>) -> Result<bool, HandshakeFault> {
        match (self, chosen == Some(ALPN_H2)) {
            (Offer::H2, false) => Err(HandshakeFault::NoProtocol),
            (_, h2) => Ok(h2),
        }
    }
}

/// Whom we believe to be a backend.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Whomever these vouch for; and whoever shows one of them as its own, as long as name and dates are right.
    Authorities(Vec<CertificateDer<'static>>),
    /// Whomever any of these vouch for that can be read.
    System(Vec<CertificateDer<'static>>),
    /// Whoever answers.
    Anyone,
}

/// What a backend is asked for.
#[derive(Clone, Debug)]
pub struct Demands {
    /// Who it has to be; its address when there is none.
    pub name: Option<ServerName<'static>>,
    /// What is offered where no HTTP is spoken.
    pub alpn: Vec<Vec<u8>>,
    /// The oldest version that it may speak.
    pub min_version: Version,
    /// Whom we believe.
    pub trust: Trust,
}

/// TLS as it begins with us, for the backends of one pool.
pub struct Origination {
    config: ClientConfig,
    verifier: Arc<Verifier>,
    /// Which of those who vouch may.
    standing: Vec<bool>,
    name: Option<ServerName<'static>>,
    alpn: Vec<Vec<u8>>,
    terms: Terms,
    /// What is used for each backend, which has sessions of its own: another one could not take them up.
    servers: Mutex<HashMap<(SocketAddr, Offer), Arc<ClientConfig>>>,
}

/// Under what a connection was made: one that was made under other terms is not used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms(u64);

impl Terms {
    /// Those of a connection without TLS.
    pub const PLAIN: Terms = Terms(0);
    /// Those of no connection.
    pub const NONE: Terms = Terms(u64::MAX);

    fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Terms(NEXT.fetch_add(1, Relaxed))
    }
}

impl Origination {
    /// TLS that asks for this, and shows `own` when it is asked who we are. Those who vouch for backends do so who may
    /// `now`.
    ///
    /// # Errors
    /// There is nobody to believe, or what there is cannot be used.
    pub fn new(demands: Demands, own: Option<&Pair>, now: SystemTime) -> Result<Self, String> {
        let provider = Arc::new(provider());
        let verifier = Arc::new(Verifier::new(demands.trust, provider.clone(), now)?);
        let versions: &[_] = match demands.min_version {
            Version::Tls12 => &[&TLS12, &TLS13],
            Version::Tls13 => &[&TLS13],
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let mut config = builder.with_no_client_auth();
        if let Some(own) = own {
            config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(own.certified.clone()));
        }
        Ok(Origination {
            config,
            standing: verifier.authorities.standing(now),
            verifier,
            name: demands.name,
            alpn: demands.alpn,
            terms: Terms::fresh(),
            servers: Mutex::default(),
        })
    }

    /// Whether others may vouch for backends at `now` than when this was made: it has to be made anew.
    pub fn is_aged(&self, now: SystemTime) -> bool {
        self.verifier.authorities.standing(now) != self.standing
    }

    /// From when until when each of those who vouch for backends may.
    pub fn authorities(&self) -> impl Iterator<Item = &Validity> {
        self.verifier.authorities.validities()
    }

    /// Its terms, which are like no other's.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Who the backend at `to` has to be.
    pub fn name(&self, to: SocketAddr) -> ServerName<'static> {
        self.name
            .clone()
            .unwrap_or_else(|| ServerName::IpAddress(to.ip().to_canonical().into()))
    }

    /// What a connection to `to` is made with.
    fn config(&self, to: SocketAddr, offer: Offer) -> Arc<ClientConfig> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if servers.len() >= SERVERS_MAX && !servers.contains_key(&(to, offer)) {
            servers.clear();
        }
        let make = || Arc::new(self.config_with(offer, Resumption::in_memory_sessions(SESSIONS_MAX)));
        servers.entry((to, offer)).or_insert_with(make).clone()
    }

    /// What a connection is made with that is to find out whether one could be made: nothing of an earlier one is taken
    /// up, so that certificates are looked at each time.
    pub fn probing(&self, offer: Offer) -> Arc<ClientConfig> {
        Arc::new(self.config_with(offer, Resumption::disabled()))
    }

    fn config_with(&self, offer: Offer, resumption: Resumption) -> ClientConfig {
        let mut config = self.config.clone();
        config.alpn_protocols = offer.protocols(&self.alpn);
        config.resumption = resumption;
        config
    }
}

impl Socket {
    /// Speaks TLS from now on with the backend at `to`; whether HTTP/2 is spoken within. The caller has a timer.
    ///
    /// # Errors
    /// Why the backend and we cannot. It has been told.
    pub async fn originate(
        &mut self,
        origination: &Origination,
        (to, offer): (SocketAddr, Offer),
        blocks: &Rc<Blocks>,
    ) -> Result<bool, HandshakeFault> {
        let agreed = self
            .connect_tls(origination.config(to, offer), origination.name(to), blocks)
            .await?;
        offer.is_h2(agreed.protocol.as_deref())
    }
}

type Path = Arc<WebPkiServerVerifier>;

/// Who judges the certificates of backends.
#[derive(Debug)]
struct Verifier {
    believes_anyone: bool,
    authorities: Authorities,
    /// `None` where nobody may vouch for others now.
    path: Option<Path>,
    /// Who vouches and may not now.
    untimely: Vec<(Untimely, Path)>,
    /// Certificates that are believed as they are: who is given a backend's own certificate means that one. As the end of
    /// a path it would often be refused, since the ones that people sign themselves say that they are authorities.
    known: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(trust: Trust, provider: Arc<CryptoProvider>, now: SystemTime) -> Result<Self, String> {
        let mut verifier = Verifier {
            believes_anyone: matches!(trust, Trust::Anyone),
            authorities: Authorities::default(),
            path: None,
            untimely: Vec::new(),
            known: Vec::new(),
            provider,
        };
        match trust {
            Trust::Anyone => return Ok(verifier),
            // Those that cannot be read are not ours to judge.
            Trust::System(certificates) => certificates.into_iter().for_each(|certificate| {
                if let Ok(facts) = Facts::read(&certificate) {
                    let _ = verifier.authorities.add(certificate, &facts);
                }
            }),
            Trust::Authorities(certificates) => {
                for (at, certificate) in certificates.iter().enumerate() {
                    let wrong = |why: String| format!("certificate {} cannot be used: {why}", at + 1);
                    // A backend's own certificate vouches for itself alone, whatever it has signed.
                    let facts = Facts::read(certificate).map_err(wrong)?;
                    if facts.is_authority {
                        verifier.authorities.add(certificate.clone(), &facts).map_err(wrong)?;
                    }
                }
                verifier.known = certificates;
            }
        }
        if verifier.authorities.is_empty() && verifier.known.is_empty() {
            return Err("there is nobody to believe".into());
        }
        verifier.path = verifier.path(verifier.authorities.holding(now))?;
        for (why, roots) in verifier.authorities.untimely(now) {
            let path = verifier.path(roots)?;
            verifier.untimely.extend(path.map(|path| (why, path)));
        }
        Ok(verifier)
    }

    /// What looks for a path to one of `roots`.
    fn path(&self, roots: RootCertStore) -> Result<Option<Path>, String> {
        if roots.is_empty() {
            return Ok(None);
        }
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone());
        builder.build().map(Some).map_err(|error| error.to_string())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.believes_anyone {
            return Ok(ServerCertVerified::assertion());
        }
        if self.known.iter().any(|known| known == shown) {
            return verify_known(shown, name, now);
        }
        let ask = |path: &Path| path.verify_server_cert(shown, intermediates, name, ocsp, now);
        let judged = match &self.path {
            Some(path) => ask(path),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        judged.map_err(|error| {
            unknown(error, || {
                let vouching = self.untimely.iter().find(|(_, path)| ask(path).is_ok());
                vouching.map(|(why, _)| *why)
            })
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            shown,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            shown,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Nobody has to vouch for it, but it is for this name and this time, or it is not.
fn verify_known(shown: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<ServerCertVerified, Error> {
    verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
    let facts = Facts::read(shown).map_err(|_| CertificateError::BadEncoding)?;
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(now.as_secs());
    if facts.is_expired(now) {
        return Err(CertificateError::Expired.into());
    }
    if facts.is_early(now) {
        return Err(CertificateError::NotValidYet.into());
    }
    Ok(ServerCertVerified::assertion())
}
