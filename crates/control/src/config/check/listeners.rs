//! Listeners and the admin API: settings of another protocol, an open door without a lock.

use plimsoll_core::document::{Faults, Located, Span};
use plimsoll_core::route::path::{PathFault, canonical};
use plimsoll_net::tls::Version;

use super::super::file::{File, HTTP_ONLY, Item, Listener, Protocol, ProxyProtocol, SuiteName, Tried};
use super::routes::check_filters;
use super::{Known, check_reference, tls};

pub(super) fn check(file: &File, known: &Known<'_>, faults: &mut Faults) {
    check_admin(file, known, faults);
    for (name, item, listener) in file.listeners.read() {
        if let Some(pool) = &listener.pool {
            check_reference("pool", pool, &known.pools, faults);
        }
        check_filters(&listener.filters, known, faults);
        let protocol = listener.protocol.0.as_ref().map(|protocol| protocol.value);
        if let Some(item) = &listener.tls {
            tls::check(name, item, protocol, faults);
        }
        check_https(name, item, listener, faults);
        check_http3(item, listener, faults);
        match protocol {
            Some(Protocol::Tcp) => check_tcp(name, item, listener, faults),
            Some(Protocol::Tls) => check_layer_4((name, "tls"), item, listener, faults),
            Some(Protocol::Http) => check_http(listener, faults),
            None => {}
        }
    }
}

/// HTTP/3 has no other security than TLS 1.3 (RFC 9001), and nobody in front who could introduce its clients.
fn check_http3(item: &Item<Listener>, listener: &Listener, faults: &mut Faults) {
    let Some(span) = listener.http3.value.told().map(|_| listener.http3.span) else {
        return;
    };
    if !item.has("tls") {
        faults
            .error(span, "there is no HTTP/3 without TLS")
            .help("add tls = { certificates = [{ cert = \"…\", key = \"…\" }] }");
    }
    let suites = listener.tls.as_ref().and_then(|tls| Some(&tls.value.as_ref()?.suites));
    let is_of_1_3 = |suite: &Located<SuiteName>| suite.value.0.version() == Version::Tls13;
    if suites.is_some_and(|suites| !suites.is_empty() && !suites.iter().any(is_of_1_3)) {
        faults
            .error(
                span,
                "HTTP/3 is spoken over TLS 1.3 alone, and none of the `suites` is of that version",
            )
            .help("add \"TLS_AES_128_GCM_SHA256\" to `suites`");
    }
    if listener.proxy_protocol.value != ProxyProtocol::Off {
        faults
            .error(
                span,
                "connections of HTTP/3 begin with no header of the PROXY protocol, which `proxy_protocol` requires",
            )
            .help("take one of the two keys out");
    }
}

/// Each of the two is for one side alone.
fn check_https(name: &str, item: &Item<Listener>, listener: &Listener, faults: &mut Faults) {
    if listener.redirect_to_https && item.has("tls") {
        faults
            .error(
                item.span,
                format!("`redirect_to_https` means nothing where TLS ends, as it does at `{name}`"),
            )
            .help("write it on the listener that speaks plain http");
    }
    if let Some(hsts) = listener.hsts.as_ref().filter(|_| !item.has("tls")) {
        faults
            .error(
                hsts.span,
                "browsers take no notice of `hsts` without TLS (RFC 6797 §8.1)",
            )
            .help("write it on the listener that has `tls`");
    }
}

fn check_http(listener: &Listener, faults: &mut Faults) {
    let Some(path) = &listener.health_path else {
        return;
    };
    let written = path.value.0.as_str();
    match canonical(written.as_bytes(), listener.allow_encoded_slash) {
        Ok(canonical) if canonical == written => {}
        Ok(canonical) => {
            faults
                .error(
                    path.span,
                    format!("the path \"{written}\" is not canonical, so that no request would match"),
                )
                .help(format!("write \"{canonical}\""));
        }
        Err(PathFault::QuestionMark) => {
            faults.error(path.span, "a health path has no query");
        }
        Err(fault) => {
            faults
                .error(path.span, format!("\"{written}\" is not a path: {fault}"))
                .help("such a request gets 400");
        }
    }
}

fn check_tcp(name: &str, item: &Item<Listener>, listener: &Listener, faults: &mut Faults) {
    if !item.has("pool") {
        faults
            .error(item.span, format!("the tcp listener `{name}` names no pool"))
            .help("add pool = \"…\": routes are for http and tls listeners");
    }
    check_layer_4((name, "tcp"), item, listener, faults);
    if let Some(timeout) = listener
        .timeouts
        .request_header
        .as_ref()
        .filter(|_| listener.tls.is_none())
    {
        refuse_timeout("request_header", timeout.span, (name, "tcp"), faults);
    }
}

/// What needs somebody who reads requests.
fn check_layer_4((name, word): (&str, &str), item: &Item<Listener>, listener: &Listener, faults: &mut Faults) {
    for key in HTTP_ONLY.iter().filter(|key| item.has(key)) {
        faults
            .error(
                item.span,
                format!("`{key}` is for http listeners, and `{name}` speaks {word}"),
            )
            .help("take the key out");
    }
    let timeouts = &listener.timeouts;
    for (key, value) in [
        ("request_body", &timeouts.request_body),
        ("stream_idle", &timeouts.stream_idle),
    ] {
        if let Some(value) = value {
            refuse_timeout(key, value.span, (name, word), faults);
        }
    }
}

fn refuse_timeout(key: &str, span: Span, (name, word): (&str, &str), faults: &mut Faults) {
    let theirs = match word {
        "tls" => "the timeouts of tls listeners are `request_header` and `idle`",
        _ => "the timeout of tcp listeners is `idle`, and of those with `tls` also `request_header`, for the handshake",
    };
    faults
        .error(
            span,
            format!("`{key}` is for http listeners, and `{name}` speaks {word}"),
        )
        .help(theirs);
}

fn check_admin(file: &File, known: &Known<'_>, faults: &mut Faults) {
    let Some(bind) = &file.admin.bind.0 else {
        return;
    };
    if let (Some(Tried(Some(path))), None) = (&file.admin.read_token_file, &file.admin.token_file)
        && known.complete
    {
        faults
            .error(
                path.span,
                "`read_token_file` is for callers who only read, and anybody may change everything",
            )
            .help("add token_file = \"…\", for those who may");
    }
    let Some(address) = bind.value.address() else {
        return;
    };
    if !address.ip().to_canonical().is_loopback() && file.admin.token_file.is_none() && known.complete {
        faults
            .error(
                bind.span,
                format!("the admin API on {address} can be reached from other hosts, and has no token"),
            )
            .help("add token_file = \"…\", or bind it to 127.0.0.1");
    }
}
