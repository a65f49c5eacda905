//! Pools: backends that can be told apart, and checks that can pass.

use std::net::SocketAddr;
use std::time::Duration;

use plimsoll_core::document::{Faults, Located};

use super::super::compile::CHECK_INTERVAL;
use super::super::file::{BackendAddress, BackendEntry, File, Health, HealthTable, Item, Name, Outlier, Pool, Tried};
use super::Seen;

/// The most backends of one pool.
const BACKENDS_MAX: usize = 10_000;

/// The shortest interval between two comparisons: in less there is nothing to compare.
const COMPARISON_MIN: Duration = Duration::from_millis(100);

/// The shortest interval between checks: shorter ones are load, and find out nothing sooner than traffic does.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

pub(super) fn check(file: &File, faults: &mut Faults) {
    for (name, item, pool) in file.pools.read() {
        check_backends(name, item, pool, faults);
        if let Outlier::Eject(table) = &pool.outlier
            && table.interval.value.0 < COMPARISON_MIN
        {
            faults
                .error(table.interval.span, "backends are compared at most every 100ms")
                .help("10s is usual");
        }
        if let Some(Located {
            value: Health::Check(health),
            span,
        }) = &pool.health
        {
            check_health(
                &Located {
                    value: health,
                    span: *span,
                },
                faults,
            );
        }
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

fn check_health(health: &Located<&HealthTable>, faults: &mut Faults) {
    let table = health.value;
    match (&table.http, &table.tcp) {
        (Some(_), Some(tcp)) if tcp.value => {
            faults
                .error(tcp.span, "a check is by `http` or by `tcp`, not both")
                .help("take `tcp` out: an http check connects too");
        }
        (None, Some(tcp)) if !tcp.value => {
            faults
                .error(tcp.span, "nothing is left to check")
                .help("write health = false to turn checks off");
        }
        (None, _) => {
            let host = table.host.as_ref().map(|host| ("host", host.span));
            let expect = table.expect.as_ref().map(|expect| ("expect", expect.span));
            for (key, span) in host.into_iter().chain(expect) {
                faults
                    .error(span, format!("`{key}` is for http checks"))
                    .help("add http = \"/healthz\", or take the key out");
            }
        }
        _ => {}
    }
    check_interval(table, faults);
}

fn check_interval(table: &HealthTable, faults: &mut Faults) {
    let written = match &table.interval {
        None => None,
        Some(Tried(Some(interval))) => Some(interval),
        // What cannot be read is longer than nothing.
        Some(Tried(None)) => return,
    };
    if let Some(interval) = written.filter(|interval| interval.value.0 < INTERVAL_MIN) {
        faults
            .error(interval.span, "checks at most every 10ms")
            .help("2s is usual");
    }
    let interval = written.map_or(CHECK_INTERVAL, |interval| interval.value.0);
    if let Some(timeout) = table.timeout.as_ref().filter(|timeout| timeout.value.0 > interval) {
        let fault = faults.error(timeout.span, "a check may take longer than the time until the next one");
        match written {
            Some(interval) => fault.also(interval.span, "the interval"),
            None => fault.help(format!("the interval is {}s unless set", CHECK_INTERVAL.as_secs())),
        };
    }
}
