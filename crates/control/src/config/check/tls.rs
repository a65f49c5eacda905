//! TLS of listeners: what does not go together, and certificates that cannot be used or will not do for long.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use plimsoll_core::document::{Faults, Located, Span};
use plimsoll_net::tls::{ClientRules, Pair, Validity, Version};

use super::super::compile::tls::{pair_files, plan};
use super::super::file::{CertificateFiles, File, Item, Listener, Protocol, Tls};
use super::super::plan::PairFiles;
use super::super::source::Sources;
use crate::certificates::{Which, read_clients, read_pair, read_staple, unfit, words};

/// How long before its end a certificate is worth a warning: renewals begin a month before.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// Adds an error for settings that do not go together.
pub(super) fn check(name: &str, item: &Item<Tls>, protocol: Option<Protocol>, faults: &mut Faults) {
    if protocol == Some(Protocol::Tls) {
        faults
            .error(
                item.span,
                format!("TLS does not end at `{name}`, which passes it through"),
            )
            .help("take `tls` out, or write protocol = \"http\" or \"tcp\"");
    }
    let Some(tls) = &item.value else { return };
    if tls.certificates.0.is_empty() && !item.has("acme") {
        faults
            .error(item.span, format!("the listener `{name}` names no certificate"))
            .help("add certificates = [{ cert = \"…\", key = \"…\" }], or acme = { domains = [\"…\"] }");
    }
    if let Some(acme) = &tls.acme {
        super::acme::check(acme, faults);
    }
    if tls.client_ca.is_none() && !item.has("client_ca") {
        let needs = "means nothing without `client_ca`, which says who vouches for clients";
        if let Some(auth) = &tls.client_auth {
            faults.error(auth.span, format!("`client_auth` {needs}"));
        }
        if let Some(crl) = tls.crl.iter().next() {
            faults.error(crl.span, format!("`crl` {needs}"));
        }
    }
    let oldest = tls.min_version.version();
    let spoken = |version: Version| oldest == Version::Tls12 || version == Version::Tls13;
    if let Some(first) = tls.suites.first()
        && !tls.suites.iter().any(|suite| spoken(suite.value.0.version()))
    {
        faults
            .error(first.span, "these suites are for TLS 1.2, which is not spoken here")
            .help("take them out, or add one of TLS 1.3, like \"TLS_AES_128_GCM_SHA256\"");
    }
    if protocol == Some(Protocol::Http) {
        let known = ["h2", "http/1.1", "http/1.0"];
        for alpn in tls.alpn.iter().flat_map(|alpn| alpn.iter()) {
            if !known.contains(&alpn.value.0.as_str()) {
                faults
                    .error(
                        alpn.span,
                        format!("an http listener does not speak \"{}\"", alpn.value.0),
                    )
                    .help("it speaks \"h2\", \"http/1.1\" and \"http/1.0\"");
            }
        }
    }
}

/// Reads what the listeners name, and tells what is wrong with it.
pub(super) fn check_files(file: &File, sources: &Sources, faults: &mut Faults) {
    for (_, _, listener) in file.listeners.read() {
        let Some(item) = &listener.tls else { continue };
        let is_file = sources.source(item.span).is_some_and(|source| source.path.is_some());
        let Some(tls) = item.value.as_ref().filter(|_| is_file) else {
            continue;
        };
        for written in tls.certificates.0.iter().filter_map(|pair| pair.value.as_ref()) {
            check_pair(written, sources, faults);
        }
        let Some(plan) = plan(listener, sources) else { continue };
        if let (Some(acme), Some(plan)) = (&tls.acme, &plan.acme) {
            super::acme::check_files(&acme.value, plan, faults);
        }
        let Some(clients) = plan.clients else { continue };
        match read_clients(&clients) {
            Ok(rules) => warn_of_trust(&rules, tls, faults),
            Err((path, why)) => {
                let mut named = tls.crl.iter().chain(&tls.client_ca);
                let named = named.find(|written| sources.resolve(written.span, &written.value) == path);
                faults.error(named.map_or(item.span, |written| written.span), why);
            }
        }
    }
}

/// Warns of routes for clients with certificates whose listeners ask for none.
pub(super) fn warn_of_routes(file: &File, faults: &mut Faults) {
    let asks = |listener: &Listener| {
        let tls = listener.tls.as_ref().and_then(|item| item.value.as_ref());
        tls.is_some_and(|tls| tls.client_ca.is_some())
    };
    for route in file.routes.0.iter().filter_map(|item| item.value.as_ref()) {
        let holds_for =
            |name: &str| route.listeners.written == 0 || route.listeners.iter().any(|named| named.value == name);
        let is_asked = file
            .listeners
            .read()
            .any(|(name, _, listener)| holds_for(name) && asks(listener));
        for rule in route.r#match.iter() {
            let client = rule
                .value
                .client_cert
                .as_ref()
                .filter(|client| client.value.present != Some(false));
            if let Some(client) = client.filter(|_| !is_asked) {
                faults
                    .warning(client.span, "no listener of this route asks clients for certificates")
                    .help(
                        "add client_ca = \"…\" to its `tls`, and client_auth = \"request\" if others are served, too",
                    );
            }
        }
    }
}

/// Warns of authorities and lists that are out of their time, or soon will be.
fn warn_of_trust(rules: &ClientRules, tls: &Tls, faults: &mut Faults) {
    let now = SystemTime::now();
    if let Some(ca) = &tls.client_ca {
        for authority in rules.authorities() {
            warn_of_authority(authority, ca.span, "clients", faults);
        }
    }
    for (written, lists) in tls.crl.iter().zip(rules.lists()) {
        for list in lists.filter(|list| !list.holds(now)) {
            faults
                .warning(
                    written.span,
                    format!("the list of what was revoked by {}", words(list, now)),
                )
                .help("clients of that authority are refused: fetch its list anew, and go on doing so");
        }
    }
}

/// Warns of an authority that is out of its time, or soon will be; `whom` it vouches for.
pub(super) fn warn_of_authority(authority: &Validity, span: Span, whom: &str, faults: &mut Faults) {
    let now = SystemTime::now();
    let told = words(authority, now);
    if !authority.holds(now) {
        faults
            .warning(span, format!("the authority {told}"))
            .help(format!("{whom} for whom it vouches are refused"));
    } else if authority.is_over(now + SOON) {
        let ends = authority
            .ends
            .map(|ends| humantime::format_rfc3339_seconds(ends).to_string());
        faults.warning(
            span,
            format!(
                "the authority \"{}\" ends {}",
                authority.subject,
                ends.unwrap_or_default()
            ),
        );
    }
}

fn check_pair(written: &CertificateFiles, sources: &Sources, faults: &mut Faults) {
    let files = pair_files(written, sources);
    warn_of_readers(&written.key, &files.key, faults);
    let span_of = |which: Which| match which {
        Which::Certificate => written.cert.span,
        Which::Key => written.key.span,
    };
    match read_pair(&files) {
        Err((which, why)) => {
            faults.error(span_of(which), why);
        }
        Ok(pair) => {
            warn_of_dates(&pair.facts, written.cert.span, faults);
            warn_of_staple(written, &files, &pair, faults);
        }
    }
}

/// Warns of an OCSP response that is not shown.
fn warn_of_staple(written: &CertificateFiles, files: &PairFiles, pair: &Pair, faults: &mut Faults) {
    let (Some(ocsp), Some(path)) = (&written.ocsp, &files.ocsp) else {
        return;
    };
    let wrong = match read_staple(path, pair) {
        Ok(staple) => unfit(&staple, path, SystemTime::now()),
        Err(wrong) => Some(wrong),
    };
    if let Some(wrong) = wrong {
        faults
            .warning(ocsp.span, wrong)
            .help("the certificate is shown without it: fetch it anew, and go on doing so");
    }
}

fn warn_of_dates(facts: &plimsoll_net::tls::Facts, span: Span, faults: &mut Faults) {
    let (now, says) = (SystemTime::now(), |time| humantime::format_rfc3339_seconds(time));
    if facts.is_expired(now) {
        faults
            .warning(span, format!("the certificate ended {}", says(facts.not_after)))
            .help("clients refuse it; it is shown for want of another, until one is there");
    } else if facts.is_expired(now + SOON) {
        faults.warning(span, format!("the certificate ends {}", says(facts.not_after)));
    } else if facts.is_early(now) {
        faults.warning(span, format!("the certificate begins {}", says(facts.not_before)));
    }
    if facts.names.is_empty() {
        faults
            .warning(span, "the certificate names no host")
            .help("clients look at its subjectAltName, and no longer at its subject");
    }
}

pub(super) fn warn_of_readers(written: &Located<String>, key: &Path, faults: &mut Faults) {
    let mode = std::fs::metadata(key).map(|found| found.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o004 != 0) {
        faults
            .warning(written.span, "everybody on this machine can read the key")
            .help("chmod 600, or 640 for the group of the service");
    }
}
