//! What there is to measure of TLS.

use std::time::SystemTime;

use super::exposition::{Exposition, Kind};
use super::totals::Totals;
use crate::certificates::CertificateStatus;
use crate::publish::Control;
use crate::status::Trust;

/// Handshakes.
pub(super) fn handshakes(out: &mut Exposition, totals: &Totals) {
    out.metric(
        "plimsoll_tls_handshakes_total",
        Kind::Counter,
        "Handshakes of TLS with clients that succeeded.",
    );
    for ([listener, version, resumed], count) in totals.handshakes.iter() {
        let labels = [("listener", &**listener), ("version", version), ("resumed", resumed)];
        out.sample(&labels, count);
    }
    out.metric(
        "plimsoll_tls_handshakes_failed_total",
        Kind::Counter,
        "Handshakes of TLS with clients that failed, by cause.",
    );
    for ([listener, cause], count) in totals.handshakes_failed.iter() {
        out.sample(&[("listener", listener), ("cause", cause)], count);
    }
}

/// Certificates. They are as many as the configuration names.
pub(super) fn certificates(out: &mut Exposition, control: &Control) {
    let status = control.certificates();
    out.metric(
        "plimsoll_certificate_expiry_seconds",
        Kind::Gauge,
        "When a certificate that is shown ends, in seconds since 1970.",
    );
    for status in &status {
        if let Some(facts) = &status.facts {
            let ends = facts
                .not_after
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            let path = status.path.display().to_string();
            out.sample(
                &[("listener", &status.listener), ("certificate", &path)],
                ends.as_secs(),
            );
        }
    }
    asked_for(out, &status);
    staples(out, &status);
    out.metric(
        "plimsoll_certificate_error",
        Kind::Gauge,
        "1 while a certificate's files hold what cannot be used; the one before is shown, if there was one.",
    );
    for status in &status {
        let path = status.path.display().to_string();
        let labels = [("listener", &*status.listener), ("certificate", &*path)];
        out.sample(&labels, u64::from(status.error.is_some()));
    }
}

/// What authorities say of certificates.
fn staples(out: &mut Exposition, status: &[CertificateStatus]) {
    let stapled = || {
        let stapled = status
            .iter()
            .filter_map(|status| Some((status, status.staple.as_ref()?)));
        stapled.map(|(status, staple)| (&*status.listener, status.path.display().to_string(), staple))
    };
    out.metric(
        "plimsoll_ocsp_expiry_seconds",
        Kind::Gauge,
        "When the OCSP response ends that a certificate is to be shown with, in seconds since 1970.",
    );
    for (listener, path, staple) in stapled() {
        if let Some(ends) = staple.ends {
            let ends = ends.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            out.sample(&[("listener", listener), ("certificate", &path)], ends.as_secs());
        }
    }
    out.metric(
        "plimsoll_ocsp_error",
        Kind::Gauge,
        "1 while a certificate is shown without its OCSP response, since that cannot be used.",
    );
    for (listener, path, staple) in stapled() {
        let labels = [("listener", listener), ("certificate", &*path)];
        out.sample(&labels, u64::from(staple.error.is_some()));
    }
}

/// Files that say who is believed, and what was revoked. They are as many as the configuration names.
pub(super) fn trust(out: &mut Exposition, control: &Control) {
    let files = control.trust();
    out.metric(
        "plimsoll_trust_expiry_seconds",
        Kind::Gauge,
        "When the next authority or list of a file ends that says who is believed, in seconds since 1970.",
    );
    for trust in &files {
        if let Some(ends) = trust.ends {
            let ends = ends.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            out.sample(&labels(trust), ends.as_secs());
        }
    }
    out.metric(
        "plimsoll_trust_error",
        Kind::Gauge,
        "1 while such a file cannot be read, or holds what is out of its time, so that some or all are refused.",
    );
    for trust in &files {
        out.sample(&labels(trust), u64::from(trust.is_wrong));
    }
}

fn labels(trust: &Trust) -> [(&'static str, &str); 2] {
    let (kind, name) = &trust.whose;
    [(*kind, &**name), ("file", &*trust.file)]
}

/// Certificates that are asked for at an authority.
fn asked_for(out: &mut Exposition, status: &[CertificateStatus]) {
    let asked: Vec<_> = (status.iter())
        .filter_map(|status| {
            Some((
                &*status.listener,
                status.path.display().to_string(),
                status.acme.as_ref()?,
            ))
        })
        .collect();
    out.metric(
        "plimsoll_acme_orders_total",
        Kind::Counter,
        "Tries to have a certificate issued by ACME, by how they ended.",
    );
    for (listener, path, acme) in &asked {
        for (result, count) in &acme.results {
            let labels = [("listener", *listener), ("certificate", &**path), ("result", result)];
            out.sample(&labels, *count);
        }
    }
    out.metric(
        "plimsoll_acme_failures",
        Kind::Gauge,
        "Tries in a row that have failed, since a certificate was issued last.",
    );
    for (listener, path, acme) in &asked {
        let labels = [("listener", *listener), ("certificate", &**path)];
        out.sample(&labels, u64::from(acme.failures));
    }
    out.metric(
        "plimsoll_acme_next_try_seconds",
        Kind::Gauge,
        "When a certificate is asked for again, in seconds since 1970.",
    );
    for (listener, path, acme) in &asked {
        if let Some(next) = acme.next_try {
            let next = next.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let labels = [("listener", *listener), ("certificate", &**path)];
            out.sample(&labels, next.as_secs());
        }
    }
}
