//! `tls = { … }` of a listener.

use plimsoll_core::document::{Decode, Faults, Json, Located, Node, expect_text, nearest};
use plimsoll_core::{document, words};
use plimsoll_net::tls::{Suite, Version};
use serde_json::json;

use super::acme::Acme;
use super::values::{Each, Many};

document! {
    /// TLS that ends here.
    pub(in super::super) struct Tls {
        /// Certificates with their keys. The first is shown to clients that ask for a name that none is for, or for no
        /// name.
        pub(in super::super) certificates: Each<CertificateFiles>,
        /// Another certificate, which is asked for, and renewed, at an authority.
        pub(in super::super) acme: Option<Located<Acme>>,
        /// A file of certificates in PEM that vouch for clients. It makes clients show one, see client_auth.
        pub(in super::super) client_ca: Option<Located<String>>,
        /// Whether a client without a certificate is turned away ("require", unless set) or served ("request").
        pub(in super::super) client_auth: Option<Located<ClientAuth>>,
        /// Files of revoked certificates, in PEM or DER: one for each authority that a client's certificate may come from.
        pub(in super::super) crl: Many<String> = Many::default(),
        /// The oldest version that is spoken: "1.2" unless set.
        pub(in super::super) min_version: MinVersion = MinVersion::Tls12,
        /// The cipher suites, the best first, by their IANA or OpenSSL names; all that are safe unless set.
        pub(in super::super) suites: Vec<Located<SuiteName>>,
        /// What is offered by ALPN, the best first: "h2", "http/1.1" and "http/1.0" on http listeners unless set,
        /// nothing on others.
        pub(in super::super) alpn: Option<Many<AlpnName>>,
    }
}

document! {
    /// A certificate and its key.
    pub(in super::super) struct CertificateFiles {
        /// The certificate in PEM, and behind it those that vouch for it, each for the one before.
        pub(in super::super) cert: Located<String>,
        /// Its private key in PEM, not encrypted.
        pub(in super::super) key: Located<String>,
        /// An OCSP response in DER that is shown with it.
        pub(in super::super) ocsp: Option<Located<String>>,
    }
}

words! {
    /// Whether clients have to show a certificate.
    pub(in super::super) enum ClientAuth {
        /// A client without one is turned away.
        Require = "require",
        /// It is served.
        Request = "request",
    }
}

words! {
    /// Versions of TLS.
    pub(in super::super) enum MinVersion {
        /// RFC 5246.
        Tls12 = "1.2",
        /// RFC 8446.
        Tls13 = "1.3",
    }
}

impl MinVersion {
    pub(in super::super) fn version(self) -> Version {
        match self {
            MinVersion::Tls12 => Version::Tls12,
            MinVersion::Tls13 => Version::Tls13,
        }
    }
}

/// How long browsers ask for nothing but https: up to ten years, and 0 to take it back (RFC 6797 §6.1.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct HstsAge(pub(in super::super) u64);

/// Days of a year.
const YEAR: u64 = 365;

impl Decode for HstsAge {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a duration, like \"1y\" or \"30d\"", faults)?;
        let years = text.strip_suffix('y').and_then(|years| years.parse::<u64>().ok());
        let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
        let days = years.and_then(|years| years.checked_mul(YEAR)).or(days);
        let seconds = match days {
            Some(days) => days.checked_mul(86_400),
            None => std::time::Duration::decode(node, faults).map(|span| span.as_secs()),
        }?;
        if seconds > 10 * YEAR * 86_400 {
            faults.error(node.span, "no browser is held to anything for more than ten years");
            return None;
        }
        Some(HstsAge(seconds))
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["1y", "180d", "1h"] })
    }
}

/// A cipher suite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct SuiteName(pub(in super::super) Suite);

impl Decode for SuiteName {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a cipher suite", faults)?;
        let suite = Suite::named(text);
        if suite.is_none() {
            let fault = faults.error(
                node.span,
                format!("\"{}\" is no cipher suite that can be used", text.escape_debug()),
            );
            fault.help(match nearest(&text.to_ascii_uppercase(), Suite::names()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("there are: {}", Suite::names().collect::<Vec<_>>().join(", ")),
            });
        }
        suite.map(SuiteName)
    }

    fn schema() -> Json {
        json!({ "type": "string", "enum": Suite::names().collect::<Vec<_>>() })
    }
}

/// A protocol as ALPN names it (RFC 7301 §3.1).
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct AlpnName(pub(in super::super) String);

/// The longest name that fits on the wire.
const ALPN_MAX: usize = 255;

impl Decode for AlpnName {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a protocol, like \"h2\"", faults)?;
        let valid = (1..=ALPN_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !valid {
            faults
                .error(
                    node.span,
                    format!("\"{}\" cannot be a protocol's name", text.escape_debug()),
                )
                .help("write \"h2\", \"http/1.1\", or what your protocol is registered as");
        }
        valid.then(|| AlpnName(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[!-~]+$", "maxLength": ALPN_MAX, "examples": ["h2", "http/1.1"] })
    }
}
