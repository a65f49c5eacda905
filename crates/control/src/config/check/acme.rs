//! Certificates that are asked for: names that no authority would give one for, and what could not be kept.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use plimsoll_core::document::{Faults, Located, Span};
use rustix::fs::{Access, access};

use super::super::file::{Acme, ChallengeWord, DOMAINS_MAX, File, Protocol};
use super::super::plan::{AcmePlan, Plan};
use super::Seen;
use crate::acme::binding_key;
use crate::files::open;
use crate::originations::authorities;
use crate::program;

/// Adds an error for settings that do not go together.
pub(super) fn check(acme: &Located<Acme>, faults: &mut Faults) {
    let written = &acme.value;
    let mut seen = Seen::new();
    if let Some(extra) = written.domains.items.get(DOMAINS_MAX) {
        faults.error(
            extra.span,
            format!("one certificate is for {DOMAINS_MAX} names at most"),
        );
    }
    let is_dns = written.challenge == ChallengeWord::Dns01;
    for domain in written.domains.iter() {
        let (name, span) = (domain.value.0.clone(), domain.span);
        if name.starts_with("*.") && !is_dns {
            faults
                .error(
                    span,
                    format!(
                        "no authority gives a certificate for \"{name}\" by {}",
                        written.challenge.word()
                    ),
                )
                .help("add challenge = \"dns-01\" and a dns_hook: wildcards are proved by it alone");
        }
        seen.insert(name.clone(), span, || format!("\"{name}\" is asked for twice"), faults);
    }
    let hook = written.dns_hook.as_ref().map(|hook| hook.span);
    if is_dns && hook.is_none() {
        faults
            .error(acme.span, "dns-01 needs a `dns_hook`: a program that sets records")
            .help("add dns_hook = [\"./hook\"], which is called with add or remove, a name, and a text");
    }
    let timeout = written.dns_timeout.as_ref().map(|timeout| timeout.span);
    for (key, span) in [("dns_hook", hook), ("dns_timeout", timeout)] {
        if let Some(span) = span.filter(|_| !is_dns) {
            faults
                .error(span, format!("`{key}` means nothing by {}", written.challenge.word()))
                .help("add challenge = \"dns-01\", or take it out");
        }
    }
}

/// Reads what is named, and tells what is wrong with it.
pub(super) fn check_files(written: &Acme, plan: &AcmePlan, faults: &mut Faults) {
    if let (Some(ca), Some(path)) = (&written.ca, &plan.authorities) {
        let read = open(path).and_then(|(_, bytes)| authorities(&bytes));
        if let Err(wrong) = read {
            faults.error(ca.span, wrong.told(&ca.value));
        }
    }
    if let (Some(eab), Some(binding)) = (&written.eab, &plan.binding) {
        let file = &eab.hmac_file;
        if let Err(why) = binding_key(&binding.key) {
            faults.error(file.span, format!("{} {why}", file.value));
        }
        super::tls::warn_of_readers(file, &binding.key, faults);
    }
}

/// Adds a warning for what will go wrong when a certificate is asked for.
pub(super) fn warn(file: &File, plan: &Plan, faults: &mut Faults) {
    let plain = file.listeners.read().any(|(_, _, listener)| {
        let is_http = (listener.protocol.0.as_ref()).is_some_and(|protocol| protocol.value == Protocol::Http);
        is_http && listener.tls.is_none()
    });
    let mut asked: BTreeMap<&str, (&AcmePlan, Span)> = BTreeMap::new();
    for (name, _, listener) in file.listeners.read() {
        let tls = listener.tls.as_ref().and_then(|item| item.value.as_ref());
        let Some(acme) = tls.and_then(|tls| tls.acme.as_ref()) else {
            continue;
        };
        let plan = plan.listeners.iter().find(|listener| listener.name == name);
        let Some(plan) = plan.and_then(|plan| plan.tls.as_ref()?.acme.as_ref()) else {
            continue;
        };
        if acme.value.challenge == ChallengeWord::Http01 && !plain {
            faults
                .warning(
                    acme.span,
                    "nobody could answer http-01: no http listener is without TLS",
                )
                .help("add a listener that the authority reaches at port 80, or challenge = \"tls-alpn-01\"");
        }
        warn_of_names(&acme.value, faults);
        for domain in acme.value.domains.iter() {
            let before = asked.insert(&domain.value.0, (plan, domain.span));
            if let Some((_, span)) = before.filter(|(other, _)| *other != plan) {
                faults
                    .warning(
                        domain.span,
                        format!("two certificates are asked for \"{}\"", domain.value.0),
                    )
                    .help("listeners whose acme tables are the same share one certificate")
                    .also(span, "also here");
            }
        }
        if let (Some(hook), Some(program)) = (&acme.value.dns_hook, &plan.dns_hook)
            && let Some(wrong) = program::cannot_run(&program.program)
        {
            faults.warning(hook.span, format!("the program {} {wrong}", program.program.display()));
        }
        let storage = acme.value.storage.as_ref().map_or(acme.span, |storage| storage.span);
        if let Some(wrong) = unfit(&plan.storage) {
            faults.warning(storage, format!("{} {wrong}", plan.storage.display()));
        }
    }
}

/// Names that a wildcard beside them is for.
fn warn_of_names(acme: &Acme, faults: &mut Faults) {
    for domain in acme.domains.iter() {
        let Some((_, rest)) = domain.value.0.split_once('.') else {
            continue;
        };
        let wildcard = format!("*.{rest}");
        if let Some(other) = acme
            .domains
            .iter()
            .find(|other| other.value.0 == wildcard && other.span != domain.span)
        {
            faults
                .warning(domain.span, format!("\"{wildcard}\" is for \"{}\" too", domain.value.0))
                .help("some authorities refuse both in one certificate: take one out")
                .also(other.span, "here");
        }
    }
}

/// Why nothing should be kept at `storage`, as far as can be seen without trying.
fn unfit(storage: &Path) -> Option<&'static str> {
    // Relative paths of a text that came from no file are relative to nothing.
    let mut nearest = storage;
    loop {
        match std::fs::metadata(nearest) {
            Ok(found) if !found.is_dir() => return Some("cannot be made: something on the way is no directory"),
            Ok(found) => {
                if access(nearest, Access::WRITE_OK | Access::EXEC_OK).is_err() {
                    return Some("cannot be written to by whoever runs this");
                }
                let is_open = nearest == storage && found.permissions().mode() & 0o077 != 0;
                return is_open.then_some("is open to others than its owner: chmod 700");
            }
            Err(_) => nearest = nearest.parent().filter(|parent| !parent.as_os_str().is_empty())?,
        }
    }
}
