//! Listeners that pass TLS through, and the rules that hold for them.

use plimsoll_core::document::Span;
use plimsoll_core::network::Network;
use plimsoll_core::route::{ConnectionRule, HostMatch};
use plimsoll_core::snapshot::{HttpTimeouts, PoolIndex};

use super::super::file::{File, Listener, Match};
use super::super::plan::{PassthroughPlan, RouteIndex, RoutePlan};
use super::{L4_IDLE, routes};

/// The listener `name`, with a route of its own when it names a pool.
pub(super) fn passthrough(
    file: &File,
    (name, listener): (&str, &Listener),
    catch_all: Option<PoolIndex>,
    routes: &mut Vec<RoutePlan>,
) -> PassthroughPlan {
    let mut rules: Vec<_> = rules(file, name)
        .into_iter()
        .map(|(rule, route, _)| (rule, route))
        .collect();
    if let Some(pool) = catch_all {
        rules.push((any_connection(), routes.len()));
        routes.push(routes::catch_all(name, pool));
    }
    let timeouts = &listener.timeouts;
    let hello_timeout = timeouts.request_header.as_ref().map(|timeout| timeout.value.0);
    PassthroughPlan {
        rules,
        hello_timeout: hello_timeout.unwrap_or(HttpTimeouts::default().request_header),
        idle_timeout: timeouts.idle.map_or(L4_IDLE, |timeout| timeout.0),
    }
}

/// The rules that hold for `listener`, in the order of the file, with the place of the match that each comes from.
pub(in super::super) fn rules(file: &File, listener: &str) -> Vec<(ConnectionRule, RouteIndex, Span)> {
    let mut rules = Vec::new();
    for (position, item) in file.routes.0.iter().enumerate() {
        let Some(route) = &item.value else {
            continue;
        };
        if !route.listeners.iter().any(|name| name.value == listener) {
            continue;
        }
        if route.r#match.written == 0 {
            rules.push((any_connection(), position, item.span));
        }
        for written in route.r#match.iter() {
            rules.extend(rules_of(&written.value).map(|rule| (rule, position, written.span)));
        }
    }
    rules
}

fn any_connection() -> ConnectionRule {
    ConnectionRule {
        sni: HostMatch::Any,
        alpn: Vec::new(),
        client: None,
    }
}

/// One rule for each name and network of a match: any of each suffices.
fn rules_of(written: &Match) -> impl Iterator<Item = ConnectionRule> {
    let names: Vec<HostMatch> = match written.sni.items.as_slice() {
        [] => vec![HostMatch::Any],
        names => names.iter().map(|name| name.value.0.clone()).collect(),
    };
    let networks: Vec<Option<Network>> = match written.client.items.as_slice() {
        [] => vec![None],
        networks => networks.iter().map(|network| Some(network.value)).collect(),
    };
    let alpn: Vec<String> = written.alpn.iter().map(|name| name.value.0.clone()).collect();
    names.into_iter().flat_map(move |sni| {
        networks
            .iter()
            .map(|client| ConnectionRule {
                sni: sni.clone(),
                alpn: alpn.clone(),
                client: *client,
            })
            .collect::<Vec<_>>()
    })
}
