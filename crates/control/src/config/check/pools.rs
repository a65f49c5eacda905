//! Pools: backends that can be told apart.

use std::net::SocketAddr;
use std::time::Duration;

use plimsoll_core::document::{Faults, Located};

use super::super::compile::route_name;
use super::super::file::{
    BackendAddress, BackendEntry, File, Item, Limit, Name, Outlier, Pool, Protocol, UpstreamProtocol,
};
use super::{Seen, connections, fallbacks, health, pool_tls, sticky};

/// The most backends of one pool.
const BACKENDS_MAX: usize = 10_000;

/// The shortest interval between two comparisons: in less there is nothing to compare.
const COMPARISON_MIN: Duration = Duration::from_millis(100);

pub(super) fn check(file: &File, faults: &mut Faults) {
    for (name, item, pool) in file.pools.read() {
        check_learned(file, name, pool, faults);
        check_backends(name, item, pool, faults);
        check_introduction(pool, faults);
        if let Some(sticky) = &pool.sticky {
            sticky::check(sticky, faults);
        }
        if let Outlier::Eject(table) = &pool.outlier
            && table.interval.value.0 < COMPARISON_MIN
        {
            faults
                .error(table.interval.span, "backends are compared at most every 100ms")
                .help("10s is usual");
        }
        if let Some(health) = &pool.health {
            health::check(health, faults);
        }
        pool_tls::check(pool, faults);
    }
}

fn check_backends(name: &str, item: &Item<Pool>, pool: &Pool, faults: &mut Faults) {
    if !item.has("backends") && !item.has("discover") {
        faults
            .error(item.span, format!("the pool `{name}` has no backends"))
            .help("add backends = [\"10.0.0.1:8080\"]");
    }
    if let Some(extra) = pool.backends.items.get(BACKENDS_MAX) {
        faults.error(extra.span, format!("a pool has at most {BACKENDS_MAX} backends"));
    }
    let mut addresses = Seen::new();
    for backend in pool.backends.iter() {
        let Located {
            value: BackendAddress(address),
            span,
        } = &backend.value.0.address;
        let twice = || format!("{address} is in the pool `{name}` twice");
        addresses.insert(*address, *span, twice, faults);
    }
    check_backend_names(name, pool, &addresses, faults);
}

/// Operators call a backend by its name or by its address, and have to mean one of them.
fn check_backend_names(name: &str, pool: &Pool, addresses: &Seen<SocketAddr>, faults: &mut Faults) {
    let mut names = Seen::new();
    for Located {
        value: BackendEntry(backend),
        ..
    } in pool.backends.iter()
    {
        let Some(Located {
            value: Name(called),
            span,
        }) = &backend.name
        else {
            continue;
        };
        let twice = || format!("two backends of the pool `{name}` are called `{called}`");
        names.insert(called.clone(), *span, twice, faults);
        let other = called.parse().ok().filter(|named| *named != backend.address.value.0);
        if let Some(place) = other.and_then(|other| addresses.first(&other)) {
            faults
                .error(
                    *span,
                    format!("`{called}` is the address of another backend of the pool `{name}`"),
                )
                .help("choose another name, or leave it out")
                .also(place, "its address");
        }
    }
}

/// A connection of HTTP/2 carries the requests of many clients.
fn check_introduction(pool: &Pool, faults: &mut Faults) {
    let shared = pool.protocol != UpstreamProtocol::H1;
    if let Some(written) = pool.send_proxy_protocol.as_ref().filter(|_| shared) {
        faults
            .error(
                written.span,
                "connections of HTTP/2 are shared by clients, and this names one",
            )
            .help("take the key out, or set protocol = \"h1\"");
    }
}

/// How long a connection takes to be made says nothing about what its backend can carry.
fn check_learned(file: &File, name: &str, pool: &Pool, faults: &mut Faults) {
    let requests = &pool.limits.requests;
    if !matches!(requests.value, Limit::Learned(_)) {
        return;
    }
    let mut refuse = |by: String, named: &Located<String>| {
        faults
            .error(
                requests.span,
                format!("`{name}` has no latency to learn from: {by} relays connections to it"),
            )
            .help("write a number")
            .also(named.span, "sent here");
    };
    let spoken = connections::spoken(file);
    let leads_here = |named: &&Located<String>| fallbacks::chain(file, &named.value).any(|pool| pool == name);
    for (listener, _, written) in file.listeners.read() {
        let is_layer_4 = matches!(spoken.get(listener), Some(Protocol::Tcp | Protocol::Tls));
        if let Some(named) = written.pool.as_ref().filter(|_| is_layer_4).filter(leads_here) {
            refuse(format!("the listener `{listener}`"), named);
        }
    }
    for (position, item) in file.routes.0.iter().enumerate() {
        let Some(route) = (item.value.as_ref()).filter(|route| connections::is_of_connections(route, &spoken)) else {
            continue;
        };
        let parts = route.split.iter().flat_map(|split| &split.value);
        let mut named = route.pool.iter().chain(parts.map(|part| &part.value.pool));
        if let Some(named) = named.find(leads_here) {
            refuse(format!("the route `{}`", route_name(route, position)), named);
        }
    }
}
