//! TLS that ends at a listener: which certificate a client is shown, whom it has to show one of, and what is spoken.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite as suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, RootCertStore, ServerConfig, SignatureAlgorithm, SupportedCipherSuite, SupportedProtocolVersion,
};

use super::certificate::{Facts, Pair};
use super::handshake::Version;
use super::names::Names;

/// Suites that can be agreed on, the best first, by the name that the IANA gave them and by OpenSSL's.
const SUITES: [(&str, &str, SupportedCipherSuite); 9] = [
    ("TLS_AES_128_GCM_SHA256", "", suite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", "", suite::TLS13_AES_256_GCM_SHA384),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        "",
        suite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305",
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Ways to agree on a key, the best first. The first one holds against whoever keeps today's traffic for the quantum
/// computers of tomorrow.
const GROUPS: [&dyn SupportedKxGroup; 4] = [
    kx_group::X25519MLKEM768,
    kx_group::X25519,
    kx_group::SECP256R1,
    kx_group::SECP384R1,
];

/// The cryptography behind TLS: our suites and groups.
pub fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: SUITES.iter().map(|(_, _, suite)| *suite).collect(),
        kx_groups: GROUPS.to_vec(),
        ..rustls::crypto::aws_lc_rs::default_provider()
    }
}

/// A suite that can be agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite(usize);

impl Suite {
    /// The suite of this name, the IANA's or OpenSSL's.
    pub fn named(name: &str) -> Option<Suite> {
        let position = SUITES.iter().position(|(iana, openssl, _)| {
            iana.eq_ignore_ascii_case(name) || !openssl.is_empty() && openssl.eq_ignore_ascii_case(name)
        });
        position.map(Suite)
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        SUITES
            .iter()
            .flat_map(|(iana, openssl, _)| [*iana, *openssl])
            .filter(|name| !name.is_empty())
    }

    /// The version that it is for.
    pub fn version(self) -> Version {
        match SUITES[self.0].2 {
            SupportedCipherSuite::Tls13(_) => Version::Tls13,
            SupportedCipherSuite::Tls12(_) => Version::Tls12,
        }
    }
}

/// What a listener speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manners {
    /// The oldest version.
    pub min_version: Version,
    /// The suites, the best first; all when empty.
    pub suites: Vec<Suite>,
    /// What may be chosen by ALPN, the best first; nothing is chosen when empty.
    pub protocols: Vec<Vec<u8>>,
}

/// Who a client has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRules {
    /// Whether one that shows no certificate is turned away.
    pub required: bool,
    /// Whoever they vouch for.
    authorities: Vec<CertificateDer<'static>>,
    /// And have not revoked.
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

impl ClientRules {
    /// Reads authorities, in PEM.
    ///
    /// # Errors
    /// There are none, or one that cannot vouch for anybody.
    pub fn read(required: bool, authorities: &[u8]) -> Result<ClientRules, String> {
        let rules = ClientRules {
            required,
            authorities: super::certificate::certificates(authorities)?,
            revoked: Vec::new(),
        };
        rules.roots().map(|_| rules)
    }

    /// Reads another list of revoked certificates, in PEM or DER.
    ///
    /// # Errors
    /// It is none.
    pub fn revoke(&mut self, list: &[u8]) -> Result<(), String> {
        let mut read: Vec<_> = CertificateRevocationListDer::pem_slice_iter(list)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("is no PEM: {error}"))?;
        if read.is_empty() && list.first() == Some(&0x30) {
            read.push(list.to_vec().into());
        }
        if read.is_empty() {
            return Err("holds no list of revoked certificates (-----BEGIN X509 CRL-----)".into());
        }
        self.revoked.extend(read);
        self.verifier().map(|_| ())
    }

    /// How many there are who vouch.
    pub fn entries(&self) -> usize {
        self.authorities.len()
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        for (at, authority) in self.authorities.iter().enumerate() {
            let nobody = |why: String| format!("certificate {} vouches for nobody: {why}", at + 1);
            if !Facts::read(authority).map_err(nobody)?.is_authority {
                return Err(nobody("it is no authority (basicConstraints CA:TRUE)".into()));
            }
            roots
                .add(authority.clone())
                .map_err(|error| nobody(error.to_string()))?;
        }
        Ok(roots)
    }

    fn verifier(&self) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, String> {
        let roots = Arc::new(self.roots()?);
        let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::new(provider()));
        let builder = builder.with_crls(self.revoked.iter().cloned());
        let builder = if self.required {
            builder
        } else {
            builder.allow_unauthenticated()
        };
        builder.build().map_err(|error| error.to_string())
    }
}

/// What seals the tickets of one listener under one set of rules for clients: what was agreed on under others, with
/// somebody who might be nobody by now, is never taken up.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// Keys of its own, drawn anew every six hours and kept for another six.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn new() -> Result<Tickets, String> {
        Ticketer::new().map(Tickets).map_err(|error| error.to_string())
    }
}

/// TLS that ends at a listener.
pub struct Termination {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
    /// Whether clients are asked for certificates.
    pub asks: bool,
}

impl Termination {
    /// Shows `pairs`, of which the first is for names that no other is for.
    ///
    /// # Errors
    /// What does not go together.
    pub fn new(
        pairs: Vec<Arc<Pair>>,
        manners: &Manners,
        clients: Option<&ClientRules>,
        tickets: &Tickets,
    ) -> Result<Termination, String> {
        if pairs.is_empty() {
            return Err("there is no certificate".into());
        }
        let mut provider = provider();
        if !manners.suites.is_empty() {
            provider.cipher_suites = manners.suites.iter().map(|suite| SUITES[suite.0].2).collect();
        }
        let builder = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions(manners.min_version))
            .map_err(|error| error.to_string())?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(rules) => builder.with_client_cert_verifier(rules.verifier()?),
        };
        let shown = Arc::new(Shown::new(pairs));
        let mut config = builder.with_cert_resolver(shown.clone());
        config.alpn_protocols.clone_from(&manners.protocols);
        config.ticketer = tickets.0.clone();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // The stronger of what both know is our choice, and not the client's.
        config.ignore_client_order = true;
        Ok(Termination {
            config: Arc::new(config),
            shown,
            asks: clients.is_some(),
        })
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// The certificates that a client which asks for `name` may be shown, the default ones if there is none for it.
    pub fn certificates(&self, name: Option<&str>) -> impl Iterator<Item = &Pair> {
        self.shown.places(name).iter().map(|at| &*self.shown.pairs[*at])
    }

    /// Whether there is a certificate for `name`.
    pub fn knows(&self, name: &str) -> bool {
        !self.shown.names.find(name).is_empty()
    }

    /// Whether a connection that asked for `name` may carry requests for `host`: they would be shown the same
    /// certificates (RFC 9110 §7.4).
    pub fn covers(&self, name: &str, host: &str) -> bool {
        name.eq_ignore_ascii_case(host) || self.shown.places(Some(name)) == self.shown.places(Some(host))
    }
}

fn versions(oldest: Version) -> &'static [&'static SupportedProtocolVersion] {
    const ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match oldest {
        Version::Tls12 => &ALL,
        Version::Tls13 => &ALL[..1],
    }
}

thread_local! {
    /// The name that the handshake which this thread is in the middle of asks for: rustls tells it to whoever chooses
    /// the certificate, and to nobody else.
    static ASKED: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// The name that the last step of a handshake on this thread asked for.
pub(super) fn take_asked() -> Option<Box<str>> {
    ASKED.take()
}

/// The certificates of a listener.
#[derive(Debug)]
struct Shown {
    pairs: Vec<Arc<Pair>>,
    names: Names,
    /// For names that no certificate is for: the first one, and those for the same names with keys of another kind.
    default: Vec<usize>,
}

impl Shown {
    fn new(pairs: Vec<Arc<Pair>>) -> Self {
        let mut names = Names::default();
        for (at, pair) in pairs.iter().enumerate() {
            pair.facts.names.iter().for_each(|name| names.add(name, at));
        }
        let same = |at: &usize| pairs[*at].facts.names == pairs[0].facts.names;
        Shown {
            default: (0..pairs.len()).filter(same).collect(),
            pairs,
            names,
        }
    }

    fn places(&self, name: Option<&str>) -> &[usize] {
        match name.map(|name| self.names.find(name)) {
            Some(places) if !places.is_empty() => places,
            _ => &self.default,
        }
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        ASKED.set(name.map(|name| name.to_ascii_lowercase().into()));
        let places = self.places(name);
        let pairs = || places.iter().map(|at| &self.pairs[*at]);
        // ECDSA costs us a tenth of what RSA does.
        let cheap = pairs().find(|pair| pair.algorithm() != SignatureAlgorithm::RSA && takes(&hello, pair));
        let taken = cheap.or_else(|| pairs().find(|pair| takes(&hello, pair)));
        // A client that takes none is told so by the handshake itself.
        taken.or_else(|| pairs().next()).map(|pair| pair.certified.clone())
    }
}

/// Whether a client can check signatures of this pair's key.
fn takes(hello: &ClientHello<'_>, pair: &Pair) -> bool {
    if pair.certified.key.choose_scheme(hello.signature_schemes()).is_none() {
        return false;
    }
    // Until TLS 1.3 the suite says what signs, too.
    let is_rsa = pair.algorithm() == SignatureAlgorithm::RSA;
    hello.cipher_suites().iter().any(|offered| match *offered {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => true,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => is_rsa,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => !is_rsa,
        _ => false,
    })
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the key.
        out.debug_tuple("Pair").field(&self.facts).finish()
    }
}
