//! TLS that ends at a listener: which certificate a client is shown, whom it has to show one of, and what is spoken.

use std::sync::Arc;
use std::time::SystemTime;

use quinn::crypto::rustls::QuicServerConfig;
use rustls::crypto::aws_lc_rs::{cipher_suite as suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ServerConfig, SignatureAlgorithm, SupportedCipherSuite, SupportedProtocolVersion};

use super::asked::Asked;
use super::certificate::Pair;
use super::clients::ClientRules;
use super::handshake::Version;
use super::names::Names;
use super::tickets::Tickets;

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
    /// What may be chosen over QUIC; it is not spoken when empty.
    pub quic: Vec<Vec<u8>>,
}

/// TLS that ends at a listener.
pub struct Termination {
    config: Arc<ServerConfig>,
    quic: Option<Arc<QuicServerConfig>>,
    shown: Arc<Shown>,
    /// Whether clients are asked for certificates.
    pub asks: bool,
}

impl Termination {
    /// Shows `pairs`, of which the first is for names that no other is for. Who may vouch for clients `now` does.
    ///
    /// # Errors
    /// What does not go together.
    pub fn new(
        pairs: Vec<Arc<Pair>>,
        manners: &Manners,
        clients: Option<&ClientRules>,
        tickets: &Tickets,
        now: SystemTime,
    ) -> Result<Termination, String> {
        if pairs.is_empty() {
            return Err("there is no certificate".into());
        }
        let suites = match &manners.suites[..] {
            [] => SUITES.iter().map(|(_, _, suite)| suite.suite()).collect(),
            chosen => chosen.iter().map(|suite| SUITES[suite.0].2.suite()).collect(),
        };
        let shown = Arc::new(Shown::new(pairs, suites));
        let with = (manners, clients, tickets, now);
        let config = server_config(versions(manners.min_version), &manners.protocols, shown.clone(), with)?;
        let quic = match &manners.quic[..] {
            [] => None,
            // RFC 9001 §4.2: no other version.
            protocols => {
                let shown = Arc::new(ShownOverQuic(shown.clone()));
                Some(server_config(versions(Version::Tls13), protocols, shown, with)?)
            }
        };
        Ok(Termination {
            config: Arc::new(config),
            quic: quic.map(quic_config).transpose()?,
            shown,
            asks: clients.is_some(),
        })
    }

    /// TLS within QUIC, where that is spoken.
    pub(crate) fn quic(&self) -> Option<Arc<QuicServerConfig>> {
        self.quic.clone()
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// The certificates that a client which asks for `name` may be shown at `now`, the default ones if there is none for
    /// it.
    pub fn certificates(&self, name: Option<&str>, now: SystemTime) -> impl Iterator<Item = &Pair> {
        let groups = self.shown.groups(name, now).into_iter();
        let first = groups.filter(|group| !group.is_empty()).take(1).flatten();
        first.map(|at| &*self.shown.pairs[at])
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

/// TLS of these versions, and of what `protocols` may be chosen.
fn server_config(
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[Vec<u8>],
    shown: Arc<dyn ResolvesServerCert>,
    (manners, clients, tickets, now): (&Manners, Option<&ClientRules>, &Tickets, SystemTime),
) -> Result<ServerConfig, String> {
    let mut provider = provider();
    if !manners.suites.is_empty() {
        provider.cipher_suites = manners.suites.iter().map(|suite| SUITES[suite.0].2).collect();
    }
    let builder = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(rules) => builder.with_client_cert_verifier(rules.verifier(now)?),
    };
    let mut config = builder.with_cert_resolver(shown);
    config.alpn_protocols = protocols.to_vec();
    config.ticketer = tickets.producer();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // The stronger of what both know is our choice, and not the client's.
    config.ignore_client_order = true;
    Ok(config)
}

/// The same within QUIC, whose first packets are always sealed with one suite, whatever is agreed on (RFC 9001 §5.2).
fn quic_config(config: ServerConfig) -> Result<Arc<QuicServerConfig>, String> {
    let initial = match suite::TLS13_AES_128_GCM_SHA256 {
        SupportedCipherSuite::Tls13(suite) => suite.quic_suite(),
        SupportedCipherSuite::Tls12(_) => None,
    };
    let initial = initial.ok_or("the suite of QUIC's first packets is not there")?;
    let config = QuicServerConfig::with_initial(Arc::new(config), initial);
    config.map(Arc::new).map_err(|error| error.to_string())
}

/// TLS within QUIC that shows no certificate: enough to read a client's first packet.
pub(crate) fn nobody() -> Result<Arc<QuicServerConfig>, String> {
    #[derive(Debug)]
    struct Nobody;
    impl ResolvesServerCert for Nobody {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            None
        }
    }
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(versions(Version::Tls13))
        .map_err(|error| error.to_string())?;
    quic_config(builder.with_no_client_auth().with_cert_resolver(Arc::new(Nobody)))
}

fn versions(oldest: Version) -> &'static [&'static SupportedProtocolVersion] {
    const ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match oldest {
        Version::Tls12 => &ALL,
        Version::Tls13 => &ALL[..1],
    }
}

/// The certificates of a listener.
#[derive(Debug)]
struct Shown {
    pairs: Vec<Arc<Pair>>,
    names: Names,
    /// What can be agreed on.
    suites: Vec<CipherSuite>,
    /// For names that no certificate is for: the first one, and those for the same names with keys of another kind.
    default: Vec<usize>,
}

impl Shown {
    fn new(pairs: Vec<Arc<Pair>>, suites: Vec<CipherSuite>) -> Self {
        let mut names = Names::default();
        for (at, pair) in pairs.iter().enumerate() {
            pair.facts.names.iter().for_each(|name| names.add(name, at));
        }
        let same = |at: &usize| pairs[*at].facts.names == pairs[0].facts.names;
        Shown {
            default: (0..pairs.len()).filter(same).collect(),
            pairs,
            names,
            suites,
        }
    }

    /// Those among which a client's abilities choose at `now`, the first groups first: one that is over is shown when
    /// there is no other for the name, not even with a wildcard.
    fn groups(&self, name: Option<&str>, now: SystemTime) -> [Vec<usize>; 3] {
        let valid = |at: &usize| self.pairs[*at].facts.validity().holds(now);
        let timely = |places: &[usize]| places.iter().copied().filter(valid).collect::<Vec<_>>();
        let wildcard = name.map_or(&[][..], |name| self.names.both(name)[1]);
        [timely(self.places(name)), timely(wildcard), self.places(name).to_vec()]
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
        Asked {
            name: name.map(|name| name.to_ascii_lowercase().into()),
            shares_suite: self.suites.iter().any(|suite| hello.cipher_suites().contains(suite)),
        }
        .note();
        self.choose(&hello)
    }
}

/// The same within QUIC, whose codec tells the name itself.
#[derive(Debug)]
struct ShownOverQuic(Arc<Shown>);

impl ResolvesServerCert for ShownOverQuic {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.choose(&hello)
    }
}

impl Shown {
    fn choose(&self, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        let taken = self.groups(name, SystemTime::now()).into_iter().find_map(|group| {
            let pairs = || {
                group
                    .iter()
                    .map(|at| &self.pairs[*at])
                    .filter(|pair| takes(hello, pair))
            };
            // ECDSA costs us a tenth of what RSA does.
            let cheap = pairs().find(|pair| pair.algorithm() != SignatureAlgorithm::RSA);
            cheap.or_else(|| pairs().next())
        });
        // A client that takes none is told so by the handshake itself.
        let taken = taken.or_else(|| self.places(name).first().map(|at| &self.pairs[*at]));
        taken.map(|pair| pair.certified.clone())
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
