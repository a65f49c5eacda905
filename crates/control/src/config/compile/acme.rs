//! Certificates that are asked for at an authority.

use std::time::Duration;

use super::super::file::{Acme, ChallengeWord};
use super::super::plan::{AcmePlan, BindingPlan, Challenge};
use super::super::source::Sources;
use super::health::exec;

/// Where certificates are asked for when nothing else is said.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Where they are kept then.
const STORAGE: &str = "acme/";

/// How long the program of dns-01 may take then. Records of some hosters take a minute to be seen.
const DNS_TIMEOUT: Duration = Duration::from_secs(120);

/// The plan of `written`, as far as it could be read.
pub(super) fn plan(written: &Acme, sources: &Sources) -> AcmePlan {
    let mut domains: Vec<String> = written.domains.iter().map(|domain| domain.value.0.clone()).collect();
    // The order that names are written in is no difference between two certificates.
    domains.sort();
    domains.dedup();
    let directory = written.directory.as_ref();
    let first = written.domains.iter().next().map(|domain| domain.span);
    AcmePlan {
        domains,
        email: written.email.as_ref().map(|email| email.value.0.clone()),
        directory: directory.map_or_else(|| LETS_ENCRYPT.to_owned(), |url| url.value.0.clone()),
        authorities: (written.ca.as_ref()).map(|ca| sources.resolve(ca.span, &ca.value)),
        challenge: match written.challenge {
            ChallengeWord::Http01 => Challenge::Http01,
            ChallengeWord::TlsAlpn01 => Challenge::TlsAlpn01,
            ChallengeWord::Dns01 => Challenge::Dns01,
        },
        dns_hook: (written.dns_hook.as_ref()).map(|words| exec(&words.value, sources)),
        dns_timeout: (written.dns_timeout.as_ref()).map_or(DNS_TIMEOUT, |timeout| timeout.value.0),
        storage: match &written.storage {
            Some(storage) => sources.resolve(storage.span, &storage.value),
            None => sources.resolve(first.unwrap_or_default(), STORAGE),
        },
        binding: written.eab.as_ref().map(|eab| BindingPlan {
            kid: eab.kid.value.clone(),
            key: sources.resolve(eab.hmac_file.span, &eab.hmac_file.value),
        }),
    }
}
