//! TLS of listeners.

use std::time::Duration;

use plimsoll_core::document::{Decode, Entry, Faults, Node, Span, Value};
use plimsoll_core::filter::FilterEntry;
use plimsoll_core::snapshot::Http3;
use plimsoll_net::tls::Manners;

use super::super::file::{CertificateFiles, ClientAuth, Listener, Protocol};
use super::super::plan::{ClientsPlan, PairFiles, TlsPlan};
use super::super::source::Sources;

/// How long a handshake may take where no request's head may take as long.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// What is offered by ALPN where HTTP is spoken; clients of HTTP/1.0 that know ALPN name that, as curl does.
const HTTP: [&str; 3] = ["h2", "http/1.1", "http/1.0"];

/// What is offered by ALPN over QUIC (RFC 9114 §3.1).
const HTTP3: &str = "h3";

/// HTTP/3 at a listener, where it is spoken.
pub(super) fn http3(listener: &Listener) -> Option<Http3> {
    let told = listener.http3.value.told()?;
    Some(Http3 {
        port: told.port.and_then(|port| u16::try_from(port.0).ok()),
        max_age: told.max_age.0,
    })
}

/// The plan of a listener's TLS, as far as it could be read.
pub(in super::super) fn plan(listener: &Listener, sources: &Sources) -> Option<TlsPlan> {
    let tls = listener.tls.as_ref()?.value.as_ref()?;
    let is_http = (listener.protocol.0.as_ref()).is_some_and(|protocol| protocol.value == Protocol::Http);
    let written = tls.certificates.0.iter().filter_map(|pair| pair.value.as_ref());
    let protocols: Vec<Vec<u8>> = match &tls.alpn {
        Some(alpn) => alpn.iter().map(|name| name.value.0.clone().into_bytes()).collect(),
        None if is_http => HTTP.iter().map(|name| name.as_bytes().to_vec()).collect(),
        None => Vec::new(),
    };
    let request_header = listener.timeouts.request_header.as_ref().map(|timeout| timeout.value.0);
    Some(TlsPlan {
        pairs: written.map(|written| pair_files(written, sources)).collect(),
        acme: (tls.acme.as_ref()).map(|acme| super::acme::plan(&acme.value, sources)),
        clients: tls.client_ca.as_ref().map(|ca| ClientsPlan {
            required: !matches!(&tls.client_auth, Some(auth) if auth.value == ClientAuth::Request),
            authorities: sources.resolve(ca.span, &ca.value),
            revoked: tls
                .crl
                .iter()
                .map(|crl| sources.resolve(crl.span, &crl.value))
                .collect(),
        }),
        manners: Manners {
            min_version: tls.min_version.version(),
            suites: tls.suites.iter().map(|suite| suite.value.0).collect(),
            protocols,
            quic: http3(listener).map(|_| HTTP3.as_bytes().to_vec()).into_iter().collect(),
        },
        handshake_timeout: request_header.unwrap_or(HANDSHAKE),
    })
}

/// Where a pair's files are.
pub(in super::super) fn pair_files(written: &CertificateFiles, sources: &Sources) -> PairFiles {
    PairFiles {
        certificate: sources.resolve(written.cert.span, &written.cert.value),
        key: sources.resolve(written.key.span, &written.key.value),
        ocsp: (written.ocsp.as_ref()).map(|ocsp| sources.resolve(ocsp.span, &ocsp.value)),
    }
}

/// The filters of an http listener: `own`, and before them those that its short options for https stand for.
pub(super) fn filters(listener: &Listener, own: Vec<FilterEntry>) -> Vec<FilterEntry> {
    let text = |text: String| node(Value::Text(text));
    let mut filters = Vec::new();
    if listener.redirect_to_https {
        let status = node(Value::Integer(REDIRECT.into()));
        let keys = [
            ("kind", text("redirect".into())),
            ("scheme", text("https".into())),
            ("status", status),
        ];
        filters.extend(filter(keys));
    }
    if let Some(age) = &listener.hsts {
        let set = table([("strict-transport-security", text(format!("max-age={}", age.value.0)))]);
        let keys = [("kind", text("headers".into())), ("response", table([("set", set)]))];
        filters.extend(filter(keys));
    }
    filters.extend(own);
    filters
}

/// The client asks again with the same method (RFC 9110 §15.4.9).
const REDIRECT: u16 = 308;

fn filter<const N: usize>(keys: [(&str, Node); N]) -> Option<FilterEntry> {
    FilterEntry::decode(&table(keys), &mut Faults::default())
}

fn table<const N: usize>(keys: [(&str, Node); N]) -> Node {
    let entries = keys.into_iter().map(|(key, node)| Entry {
        key: key.to_owned(),
        key_span: Span::default(),
        node,
    });
    node(Value::Table(entries.collect()))
}

fn node(value: Value) -> Node {
    Node {
        span: Span::default(),
        value,
    }
}
