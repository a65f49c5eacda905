//! Routes of listeners that pass TLS through: what they can ask, and what they cannot do.

use std::collections::BTreeMap;

use plimsoll_core::document::{Faults, Located, Span};

use super::super::file::{File, Item, Match, Protocol, Route};

/// What a route of a tls listener may have. Whatever else there is needs somebody who reads what is inside.
const KEYS: [&str; 5] = ["listeners", "match", "name", "pool", "split"];

/// What is spoken on each listener.
pub(super) type Spoken<'f> = BTreeMap<&'f str, Protocol>;

pub(super) fn spoken(file: &File) -> Spoken<'_> {
    let listeners = file.listeners.read();
    listeners
        .filter_map(|(name, _, listener)| Some((name, listener.protocol.0.as_ref()?.value)))
        .collect()
}

/// Whether `route` is for tls listeners, as far as they are known.
pub(super) fn is_of_connections(route: &Route, spoken: &Spoken<'_>) -> bool {
    let mut named = route.listeners.iter();
    named.any(|name| spoken.get(name.value.as_str()) == Some(&Protocol::Tls))
}

/// Adds an error for whatever a route asks or does that its listeners cannot have.
pub(super) fn check(item: &Item<Route>, route: &Route, spoken: &Spoken<'_>, faults: &mut Faults) {
    let of = |protocol: Protocol| {
        let mut named = route.listeners.iter();
        named.find(|name| spoken.get(name.value.as_str()) == Some(&protocol))
    };
    match (of(Protocol::Tls), of(Protocol::Http)) {
        (Some(tls), Some(http)) => {
            faults
                .error(
                    http.span,
                    format!("`{}` speaks http, and `{}` passes TLS through", http.value, tls.value),
                )
                .help("make it two routes")
                .also(tls.span, "passed through");
        }
        (Some(tls), None) => check_passed(item, route, &tls.value, faults),
        (None, http) => check_of_requests(route, http, spoken, faults),
    }
}

/// A route of a tls listener.
fn check_passed(item: &Item<Route>, route: &Route, listener: &str, faults: &mut Faults) {
    for key in item.keys.iter().filter(|key| !KEYS.contains(&key.as_str())) {
        // What is not known at all is told already.
        if Route::KEYS.contains(&key.as_str()) {
            faults
                .error(
                    item.span,
                    format!("`{key}` is for http listeners, and `{listener}` passes TLS through"),
                )
                .help("take the key out: nobody here reads what is inside");
        }
    }
    for rule in route.r#match.iter() {
        for (key, span) in asked_of_requests(rule) {
            let help = match key {
                "host" => "write sni = \"…\"",
                _ => "nobody here reads what is inside: there are `sni`, `alpn` and `client`",
            };
            faults
                .error(
                    span,
                    format!("`{key}` is for http listeners, and `{listener}` passes TLS through"),
                )
                .help(help);
        }
    }
}

/// A route of http listeners: of those that it names, or all.
fn check_of_requests(route: &Route, http: Option<&Located<String>>, spoken: &Spoken<'_>, faults: &mut Faults) {
    let is_for = match http {
        Some(listener) => format!("`{}` speaks http", listener.value),
        None if route.listeners.written == 0 => "this route is for all http listeners".to_owned(),
        // Those that it names are not there, or cannot have routes, which is told.
        None => return,
    };
    let mut tls = spoken.iter().filter(|(_, protocol)| **protocol == Protocol::Tls);
    let listener = tls.next().map_or("…", |(name, _)| *name);
    for rule in route.r#match.iter() {
        for (key, span) in asked_of_connections(rule) {
            let help = match (key, http) {
                (_, None) => format!("add listeners = [\"{listener}\"]"),
                ("sni", _) => "write host = \"…\"".to_owned(),
                ("client", _) => "use the filters `allow` and `deny`".to_owned(),
                _ => "take the key out".to_owned(),
            };
            let message = format!("`{key}` is for listeners that pass TLS through, and {is_for}");
            faults.error(span, message).help(help);
        }
    }
}

/// What `rule` asks of requests, with its places.
fn asked_of_requests(rule: &Located<Match>) -> Vec<(&'static str, Span)> {
    let Match {
        host,
        path,
        path_regex,
        methods,
        headers,
        query,
        cookies,
        client_cert,
        ..
    } = &rule.value;
    let first = |name: Option<Span>, written: usize| (written > 0).then(|| name.unwrap_or(rule.span));
    let places = [
        ("host", first(host.iter().next().map(|one| one.span), host.written)),
        ("path", first(path.iter().next().map(|one| one.span), path.written)),
        ("path_regex", path_regex.as_ref().map(|one| one.span)),
        (
            "methods",
            first(methods.iter().next().map(|one| one.span), methods.written),
        ),
        ("headers", headers.0.first().map(|(name, _)| name.span)),
        ("query", query.0.first().map(|(name, _)| name.span)),
        ("cookies", cookies.0.first().map(|(name, _)| name.span)),
        ("client_cert", client_cert.as_ref().map(|written| written.span)),
    ];
    places
        .into_iter()
        .filter_map(|(key, span)| Some((key, span?)))
        .collect()
}

/// What `rule` asks of connections, with its places.
fn asked_of_connections(rule: &Located<Match>) -> Vec<(&'static str, Span)> {
    let Match { sni, alpn, client, .. } = &rule.value;
    let first = |name: Option<Span>, written: usize| (written > 0).then(|| name.unwrap_or(rule.span));
    let places = [
        ("sni", first(sni.iter().next().map(|one| one.span), sni.written)),
        ("alpn", first(alpn.iter().next().map(|one| one.span), alpn.written)),
        (
            "client",
            first(client.iter().next().map(|one| one.span), client.written),
        ),
    ];
    places
        .into_iter()
        .filter_map(|(key, span)| Some((key, span?)))
        .collect()
}
