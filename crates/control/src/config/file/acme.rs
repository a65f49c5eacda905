//! `tls = { acme = { … } }` of a listener.

use plimsoll_core::document::{Decode, Faults, Json, Located, Node, expect_text};
use plimsoll_core::filter::Url;
use plimsoll_core::{document, words};
use serde_json::json;

use super::matching::is_hostname;
use super::values::{Many, Timeout};

/// The most names that one certificate is asked for; public authorities take no more.
pub(in super::super) const DOMAINS_MAX: usize = 100;

document! {
    /// A certificate that is asked for, and renewed, at an authority that speaks ACME. Whoever writes this agrees to the
    /// terms of service of that authority.
    pub(in super::super) struct Acme {
        /// The names that one certificate is asked for, like "shop.example.com"; "*.example.com" by dns-01 alone.
        pub(in super::super) domains: Many<Domain>,
        /// Where the authority may write to, about certificates that end and about the account.
        pub(in super::super) email: Option<Located<Email>>,
        /// Where the authority's ACME begins; Let's Encrypt's unless set.
        pub(in super::super) directory: Option<Located<DirectoryUrl>>,
        /// A file of certificates in PEM that vouch for the directory itself; the machine's own unless set.
        pub(in super::super) ca: Option<Located<String>>,
        /// How the authority is shown that the names are ours.
        pub(in super::super) challenge: ChallengeWord = ChallengeWord::Http01,
        /// Of dns-01: a program, with its arguments, that sets and takes away a record; "add" or "remove", the record's
        /// name, and its text are added to the arguments.
        pub(in super::super) dns_hook: Option<Located<Many<String>>>,
        /// Of dns-01: how long that program may take: 2m unless set.
        pub(in super::super) dns_timeout: Option<Located<Timeout>>,
        /// A directory for the account and the certificates: acme/ beside this file unless set.
        pub(in super::super) storage: Option<Located<String>>,
        /// An account that the authority knows already, which the new one is bound to.
        pub(in super::super) eab: Option<Binding>,
    }
}

document! {
    /// An account of an authority that gives certificates to its customers alone.
    pub(in super::super) struct Binding {
        /// The number of the key, as the authority has given it.
        pub(in super::super) kid: Located<String>,
        /// A file with the key, in base64 as the authority has given it.
        pub(in super::super) hmac_file: Located<String>,
    }
}

words! {
    /// How an authority is shown that a name is ours.
    pub(in super::super) enum ChallengeWord {
        /// It asks at port 80 of the name.
        Http01 = "http-01",
        /// It asks at port 443, within TLS.
        TlsAlpn01 = "tls-alpn-01",
        /// It looks for a record of the name.
        Dns01 = "dns-01",
    }
}

/// A name that a certificate is asked for, in lower case.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Domain(pub(in super::super) String);

impl Decode for Domain {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a name, like \"shop.example.com\"", faults)?;
        let lower = text.to_ascii_lowercase();
        let bare = lower.strip_prefix("*.").unwrap_or(&lower);
        // RFC 8738 has addresses; few authorities do.
        let is_address = bare.starts_with('[') || bare.parse::<std::net::IpAddr>().is_ok();
        if is_address || !is_hostname(bare) || bare.contains('_') {
            let fault = faults.error(
                node.span,
                format!("no certificate can be asked for \"{}\"", text.escape_debug()),
            );
            fault.help(if is_address {
                "write a name: certificates for addresses are not asked for"
            } else if !text.is_ascii() {
                "write it as DNS has it, like \"xn--mller-kva.example\""
            } else {
                "write a host name, like \"shop.example.com\" or \"*.example.com\""
            });
            return None;
        }
        Some(Domain(lower))
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["shop.example.com", "*.example.com"] })
    }
}

/// An address of electronic mail.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Email(pub(in super::super) String);

impl Decode for Email {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "an address, like \"ops@example.com\"", faults)?;
        let parts = text.rsplit_once('@');
        // RFC 8555 §7.3: one address, and nothing of the header fields that mailto: may have.
        let plain = |c: char| c.is_ascii_graphic() && !"@,?\"<>:".contains(c);
        let valid = parts.is_some_and(|(who, host)| {
            !who.is_empty() && who.chars().all(plain) && is_hostname(&host.to_ascii_lowercase())
        });
        if !valid {
            let says = format!("\"{}\" is no address to write to", text.escape_debug());
            faults
                .error(node.span, says)
                .help("write one address, like \"ops@example.com\"");
        }
        valid.then(|| Email(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["ops@example.com"] })
    }
}

/// Where an authority's ACME begins.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct DirectoryUrl(pub(in super::super) String);

impl Decode for DirectoryUrl {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a URL, like \"https://acme.example.com/directory\"", faults)?;
        // RFC 8555 §6.1: https, and nothing else.
        let valid = Url::parse(text).is_some_and(|url| url.secure && url.host_and_port().is_some());
        if !valid {
            faults
                .error(node.span, format!("\"{}\" is no URL of https", text.escape_debug()))
                .help("write it as the authority has it, like \"https://acme.example.com/directory\"");
        }
        valid.then(|| DirectoryUrl(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^https://", "examples": ["https://acme-v02.api.letsencrypt.org/directory"] })
    }
}
