//! TLS with backends: files that can be used, and keys that go together.

use plimsoll_core::document::{Faults, Span};
use plimsoll_core::filter::FileName;

use super::super::file::{File, Health, Pool, PoolTls, PoolTlsTable, UpstreamProtocol};
use super::super::source::Sources;
use crate::originations::{self, Certificates, Key};

/// What contradicts itself.
pub(super) fn check(pool: &Pool, faults: &mut Faults) {
    let table = table_of(pool);
    if let Some(table) = table {
        match (&table.cert, &table.key) {
            (Some(cert), None) => {
                let fault = faults.error(cert.span, "a certificate is shown by who has its key");
                fault.help("add key = \"…\": the file with its key");
            }
            (None, Some(key)) => {
                let fault = faults.error(key.span, "this is the key of no certificate");
                fault.help("add cert = \"…\": the file with its certificate");
            }
            _ => {}
        }
    }
    let Some(Health::Check(health)) = pool.health.as_ref().map(|health| &health.value) else {
        return;
    };
    let Some(tls) = health.tls.as_ref().filter(|tls| tls.value) else {
        return;
    };
    if health.exec.is_some() {
        faults.error(tls.span, "a program makes its own connections");
    } else if !is_on(pool) {
        faults
            .error(tls.span, "the pool has no TLS that a check could speak")
            .help("add tls = true to the pool, or a table");
    }
}

/// What will hurt, in a pool at `span` that is sent TLS that is `passed` through, or not.
pub(super) fn warn(name: &str, pool: &Pool, (span, passed): (Span, bool), faults: &mut Faults) {
    if let Some(tls) = pool.tls.as_ref().filter(|_| passed && is_on(pool)) {
        faults
            .warning(
                tls.span,
                format!("what is passed through to `{name}` is TLS already, and put into TLS once more"),
            )
            .help("take it out, unless the backends expect that");
    }
    if pool.protocol == UpstreamProtocol::Auto && !is_on(pool) {
        faults
            .warning(
                span,
                format!("the backends of `{name}` are asked nothing, so that HTTP/1.1 is spoken to them"),
            )
            .help("protocol = \"auto\" is chosen within TLS (ALPN): add tls, or write \"h1\" or \"h2\"");
    }
    let Some(table) = table_of(pool) else { return };
    let Some(danger) = table.danger_accept_invalid_certs.as_ref().filter(|danger| danger.value) else {
        return;
    };
    let fault = faults.warning(
        danger.span,
        format!("whoever answers for a backend of `{name}` is believed: others may read and change what is sent there"),
    );
    match &table.ca {
        Some(ca) => fault
            .help("take it out: `ca` says whom to believe")
            .also(ca.span, "not looked at"),
        None => fault.help("name the backend's own certificate, or who vouches for it: ca = \"backend.pem\""),
    };
}

/// Warns of protocols that are offered nowhere, since HTTP has its own.
pub(super) fn warn_of_alpn(pool: &Pool, by_http: bool, faults: &mut Faults) {
    let alpn = table_of(pool).and_then(|table| table.alpn.iter().next());
    if let Some(alpn) = alpn.filter(|_| by_http) {
        faults
            .warning(alpn.span, "requests are offered what `protocol` says, and not this")
            .help("take it out: it is for pools that tcp listeners send to");
    }
}

/// Adds an error for each file that cannot be used.
pub(super) fn check_files(file: &File, sources: &Sources, faults: &mut Faults) {
    for (_, _, pool) in file.pools.read() {
        let Some(table) = table_of(pool) else { continue };
        let is_file = |span: Span| sources.source(span).is_some_and(|source| source.path.is_some());
        let read = |named: &FileName| is_file(named.span).then(|| sources.resolve(named.span, &named.written));
        if let Some(ca) = &table.ca
            && let Some(path) = read(ca)
        {
            match originations::read::<Certificates>(&path).and_then(|text| originations::validities(&text)) {
                Ok(authorities) => (authorities.iter())
                    .for_each(|authority| super::tls::warn_of_authority(authority, ca.span, "backends", faults)),
                Err(wrong) => {
                    faults.error(ca.span, wrong.told(&ca.written));
                }
            }
        }
        check_pair(table, read, faults);
    }
}

fn check_pair(table: &PoolTlsTable, read: impl Fn(&FileName) -> Option<std::path::PathBuf>, faults: &mut Faults) {
    let (Some(cert), Some(key)) = (&table.cert, &table.key) else {
        return;
    };
    let (Some(cert_path), Some(key_path)) = (read(cert), read(key)) else {
        return;
    };
    let chain = originations::read::<Certificates>(&cert_path);
    let secret = originations::read::<Key>(&key_path);
    match (chain, secret) {
        (Ok(chain), Ok(secret)) => match originations::pair(&chain, &secret) {
            Err((of_key, wrong)) => {
                let named = if of_key { key } else { cert };
                faults.error(named.span, wrong.told(&named.written));
            }
            Ok(pair) => {
                if let Some(wrong) = originations::untimely(&pair) {
                    let fault = faults.warning(cert.span, wrong.message);
                    fault.help("it is shown all the same, until another one is there");
                }
            }
        },
        (chain, secret) => {
            for (named, wrong) in [(cert, chain.err()), (key, secret.err())] {
                if let Some(wrong) = wrong {
                    faults.error(named.span, wrong.told(&named.written));
                }
            }
        }
    }
}

fn table_of(pool: &Pool) -> Option<&PoolTlsTable> {
    match pool.tls.as_ref().map(|tls| &tls.value) {
        Some(PoolTls::On(table)) => Some(table),
        _ => None,
    }
}

fn is_on(pool: &Pool) -> bool {
    table_of(pool).is_some()
}
