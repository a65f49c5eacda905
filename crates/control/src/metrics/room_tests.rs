//! What is judged has room, and what lives gets room, however many names there have been.

use std::fmt::Write as _;
use std::time::Duration;

use plimsoll_core::snapshot::Snapshot;
use plimsoll_core::telemetry::{RequestKey, SERIES_MAX};

use super::tests::metrics;
use super::*;
use crate::config::Origin;
use crate::config::{Format as Written, Plan, parse_text};
use crate::publish::Serving;

/// Routes of one configuration.
const ROUTES: usize = 4_000;

/// Another configuration, whose routes are called by `generation`.
fn plan(generation: usize) -> Plan {
    let mut text = String::from(
        r#"
        listeners.web.bind = ["127.0.0.1:0"]
        [pools.api]
        backends = [{ name = "one", address = "127.0.0.1:1" }, { name = "two", address = "127.0.0.1:2" }]
        "#,
    );
    for route in 0..ROUTES {
        let name = format!("g{generation}-{route}");
        writeln!(
            text,
            "[[routes]]\nname = \"{name}\"\nmatch = {{ path = \"/{name}\" }}\npool = \"api\""
        )
        .expect("text");
    }
    let parsed = parse_text("test", Written::Toml, &text);
    parsed.expect("a valid configuration").plan
}

/// Counts a request of every route that is answered with `code`.
fn work(control: &Control, telemetry: &Telemetry, code: u16) {
    let snapshot = control.snapshot().load();
    for route in 0..snapshot.routes.len() {
        count(&snapshot, control, telemetry, route, code);
    }
}

fn count(snapshot: &Snapshot, control: &Control, telemetry: &Telemetry, route: usize, code: u16) {
    let key = RequestKey {
        listener: Some(snapshot.listeners[0].id),
        route: Some(snapshot.routes[route].id),
        pool: Some(snapshot.pools[0].id),
        backend: Some(control.pool("api").expect("the pool").backends[0].backend.id),
        code,
    };
    telemetry.shard(0).request(key, Duration::from_millis(3), None);
}

fn adopt(control: &Control, generation: usize) {
    let serving = Serving {
        from: Origin::File,
        ..control.serving()
    };
    control.adopt(plan(generation), Vec::new(), Some(serving));
}

/// Series of requests whose route's name begins so.
fn series_of(metrics: &Metrics, prefix: &str) -> usize {
    let text = metrics.text(Format::Prometheus);
    let prefix = format!("plimsoll_requests_total{{listener=\"web\",route=\"{prefix}");
    text.lines().filter(|line| line.starts_with(&prefix)).count()
}

#[test]
fn names_that_are_gone_are_told_while_there_is_room_and_then_make_room() {
    let (metrics, control, telemetry) = metrics();
    for generation in 0..2 {
        adopt(&control, generation);
        work(&control, &telemetry, 200);
        assert_eq!(series_of(&metrics, &format!("g{generation}-")), ROUTES);
    }
    assert_eq!(series_of(&metrics, "g0-"), ROUTES, "a scraper hears the last of them");
    for generation in 2..5 {
        adopt(&control, generation);
        work(&control, &telemetry, 200);
        assert_eq!(series_of(&metrics, &format!("g{generation}-")), ROUTES);
        work(&control, &telemetry, 200);
        let living = format!(r#"route="g{generation}-7",pool="api",backend="one",code="200"}} 2"#);
        assert!(metrics.text(Format::Prometheus).contains(&living), "what lives goes on");
    }
    assert_eq!(series_of(&metrics, "other"), 0);
    assert!(metrics.collect().widest() <= SERIES_MAX);
}

#[test]
fn a_route_is_judged_though_there_is_no_room_for_its_series() {
    let (metrics, control, telemetry) = metrics();
    adopt(&control, 0);
    // All of these live: nothing can be given up.
    for code in [200, 201, 404] {
        work(&control, &telemetry, code);
        drop(metrics.collect());
    }
    let before = metrics.worked("g0-7", &["api"]);
    let snapshot = control.snapshot().load_full();
    for _ in 0..10 {
        count(&snapshot, &control, &telemetry, 7, 502);
    }
    let text = metrics.text(Format::Prometheus);
    assert!(
        !text.contains(r#"route="g0-7",pool="api",backend="one",code="502""#),
        "no room for it"
    );
    let after = metrics.worked("g0-7", &["api"]);
    assert_eq!(after.errors - before.errors, 10);
    assert_eq!(after.durations.count() - before.durations.count(), 10);
    let stats = metrics.stats(None).expect("everything");
    let route = stats["routes"].as_array().expect("routes").iter();
    let route = route.clone().find(|route| route["name"] == "g0-7").expect("the route");
    assert_eq!((&route["requests"], &route["errors"]), (&13.into(), &10.into()));
}

#[test]
fn a_route_is_judged_though_its_worker_has_no_room_for_its_backends() {
    let (metrics, control, telemetry) = metrics();
    adopt(&control, 0);
    let snapshot = control.snapshot().load_full();
    // More than there is room for between two looks.
    for code in [200, 201, 404] {
        work(&control, &telemetry, code);
    }
    for _ in 0..5 {
        count(&snapshot, &control, &telemetry, 3, 503);
    }
    let counted = metrics.worked("g0-3", &["api"]);
    assert_eq!((counted.errors, counted.durations.count()), (5, 8));
}
