//! Routes: one action each, names that exist and are unique, and matches that can be.

use plimsoll_core::document::{Faults, Located};
use plimsoll_core::filter::{Redirect, is_token};
use plimsoll_core::hedge::After;

use super::super::compile::route_name;
use super::super::file::{
    ACTIONS, BACKOFF_MAX, BackoffTable, File, FilterUse, Item, Keyed, Match, Mirror, Part, Protocol, Respond, Route,
    Timeout, ValueRule,
};
use super::{Known, Seen, check_reference, connections};

pub(super) fn check(file: &File, known: &Known<'_>, faults: &mut Faults) {
    let spoken = connections::spoken(file);
    let mut names = Seen::new();
    for (position, item) in file.routes.0.iter().enumerate() {
        check_action(item, faults);
        let Some(route) = &item.value else {
            continue;
        };
        let name = route_name(route, position);
        let place = route.name.as_ref().map_or(item.span, |name| name.span);
        names.insert(
            name.clone(),
            place,
            || format!("two routes are called `{name}`"),
            faults,
        );
        for listener in route.listeners.iter() {
            check_reference("listener", listener, &known.listeners, faults);
            if spoken.get(listener.value.as_str()) == Some(&Protocol::Tcp) {
                faults
                    .error(
                        listener.span,
                        format!("`{}` speaks tcp, and routes are for http and tls", listener.value),
                    )
                    .help("name the pool in the listener itself");
            }
        }
        connections::check(item, route, &spoken, faults);
        if let Some(pool) = &route.pool {
            check_reference("pool", pool, &known.pools, faults);
        }
        if let Some(split) = &route.split {
            check_split(split, known, faults);
        }
        if let Some(mirror) = &route.mirror {
            check_mirror(route, mirror, known, faults);
        }
        for rule in route.r#match.iter() {
            check_match(rule, faults);
        }
        check_timeouts(route, faults);
        check_filters(&route.filters, known, faults);
        route
            .redirect
            .iter()
            .for_each(|redirect| check_redirect(redirect, faults));
        route.respond.iter().for_each(|respond| check_respond(respond, faults));
    }
}

fn check_action(item: &Item<Route>, faults: &mut Faults) {
    let written: Vec<&str> = ACTIONS.into_iter().filter(|key| item.has(key)).collect();
    match written.as_slice() {
        // What is no table is an error already.
        [] if item.value.is_some() => {
            faults
                .error(item.span, "the route has no action")
                .help("give it one of `pool`, `split`, `redirect` or `respond`");
        }
        [] | [_] => {}
        several => {
            faults
                .error(
                    item.span,
                    format!("a route has one action, and this one has {}", several.join(", ")),
                )
                .help("make it several routes, or take all but one out");
        }
    }
}

/// A copy is what was sent to the route's own pool.
fn check_mirror(route: &Route, mirror: &Located<Mirror>, known: &Known<'_>, faults: &mut Faults) {
    check_reference("pool", &mirror.pool, &known.pools, faults);
    let split = route
        .split
        .iter()
        .flat_map(|split| &split.value)
        .map(|part| &part.value.pool);
    let own: Vec<&Located<String>> = route.pool.iter().chain(split).collect();
    if own.is_empty() {
        faults
            .error(
                mirror.span,
                "there is nothing to mirror: the route sends no request to a pool",
            )
            .help("take the key out, or give the route a pool");
    }
    for pool in own {
        if pool.value == mirror.pool.value {
            faults
                .error(
                    mirror.pool.span,
                    format!("`{}` gets the requests themselves", pool.value),
                )
                .help("name another pool");
        }
    }
}

fn check_split(split: &Located<Vec<Located<Part>>>, known: &Known<'_>, faults: &mut Faults) {
    let mut pools = Seen::new();
    for part in &split.value {
        let pool = &part.value.pool;
        check_reference("pool", pool, &known.pools, faults);
        let twice = || format!("the pool `{}` has two parts of the split", pool.value);
        pools.insert(pool.value.clone(), pool.span, twice, faults);
    }
    if split.value.iter().all(|part| part.value.weight.0 == 0) {
        faults
            .error(split.span, "no pool of the split gets any request")
            .help("give it parts: split = [{ pool = \"blue\", weight = 95 }, { pool = \"green\", weight = 5 }]");
    }
}

fn check_match(rule: &Located<Match>, faults: &mut Faults) {
    if let (Some(regex), true) = (&rule.path_regex, rule.path.written > 0) {
        faults
            .error(regex.span, "`path` and `path_regex` exclude each other")
            .help("make `match` a list of two tables if either suffices");
    }
    if let Some(client) = &rule.client_cert {
        let parts = client.value.parts().len();
        if client.value.present == Some(false) && parts > 1 {
            faults
                .error(client.span, "a client without a certificate has no part of one")
                .help("leave `present = false` alone, or take it out");
        } else if parts == 0 {
            faults
                .error(client.span, "this asks for nothing of a certificate")
                .help("write present = true, or one of `subject`, `issuer`, `san` and `fingerprint`");
        }
    }
    check_names("header", &rule.headers, faults);
    check_names("cookie", &rule.cookies, faults);
    let mut headers = Seen::new();
    for (name, _) in &rule.headers.0 {
        let spelled = || format!("`{}` is there in another spelling", name.value);
        headers.insert(name.to_ascii_lowercase(), name.span, spelled, faults);
    }
    for (name, _) in rule.query.0.iter().filter(|(name, _)| name.is_empty()) {
        faults.error(name.span, "a query parameter has a name");
    }
}

fn check_names(kind: &str, values: &Keyed<ValueRule>, faults: &mut Faults) {
    for (name, _) in values.0.iter().filter(|(name, _)| !is_token(name)) {
        faults.error(
            name.span,
            format!("`{}` cannot be a {kind}'s name", name.escape_debug()),
        );
    }
}

fn check_timeouts(route: &Route, faults: &mut Faults) {
    if let Some(backoff) = &route.retry.backoff {
        check_backoff(backoff, faults);
    }
    if let (Some(whole), Some(hedge)) = (&route.timeout, &route.hedge)
        && let After::Fixed(after) = hedge.value.after.value.0
        && after >= whole.value.0
    {
        faults
            .error(hedge.value.after.span, "nothing is hedged: the request is over by then")
            .also(whole.span, "the whole request");
    }
    if let (Some(whole), Some(attempt)) = (&route.timeout, &route.retry.per_try_timeout)
        && attempt.value.0 > whole.value.0
    {
        faults
            .error(attempt.span, "one attempt may take longer than the whole request")
            .also(whole.span, "the whole request");
    }
}

fn check_backoff(written: &Located<BackoffTable>, faults: &mut Faults) {
    let backoff = written.value.backoff();
    let place = |key: &Option<Located<Timeout>>| key.as_ref().map_or(written.span, |key| key.span);
    if backoff.max < backoff.base {
        faults
            .error(
                place(&written.value.max),
                "the limit shrinks: `max` is less than `base`",
            )
            .help("write a `max` of several times the `base`, or leave it out for ten times");
    }
    if backoff.base.max(backoff.max) > BACKOFF_MAX {
        let span = if backoff.base > BACKOFF_MAX {
            &written.value.base
        } else {
            &written.value.max
        };
        faults
            .error(
                place(span),
                format!("no client waits so long: at most {}s", BACKOFF_MAX.as_secs()),
            )
            .help("250ms is usual");
    }
}

/// A redirect of a route takes all its requests.
fn check_redirect(redirect: &Located<Redirect>, faults: &mut Faults) {
    if redirect.value.of_all().is_none() {
        faults
            .error(
                redirect.span,
                "a route's redirect takes all requests of the route, and has no `regex`",
            )
            .help("write it as a filter: filters = [{ kind = \"redirect\", regex = \"…\", path = \"…\" }]");
    }
}

/// The chains that a list of filters names.
pub(super) fn check_filters(uses: &[Located<FilterUse>], known: &Known<'_>, faults: &mut Faults) {
    for written in uses {
        if let FilterUse::Chain(name) = &written.value {
            let name = Located {
                value: name.clone(),
                span: written.span,
            };
            check_reference("filter", &name, &known.filters, faults);
        }
    }
}

/// RFC 9110 §15.3.5, §15.3.6 and §15.4.5.
fn check_respond(respond: &Located<Respond>, faults: &mut Faults) {
    let status = respond.status.0;
    if matches!(status, 204 | 205 | 304) && respond.body.0.as_text() != Some("") {
        faults
            .error(respond.span, format!("an answer with status {status} has no body"))
            .help("take the body out, or answer with 200");
    }
}
