//! What a scraper reads has to be what the format says, whatever happened before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use plimsoll_core::membership::{Action, Event};
use plimsoll_core::outcome::Reason;
use plimsoll_core::telemetry::{RequestKey, RetryResult, Telemetry};
use plimsoll_core::time::Now;

use super::{Format, Metrics};
use crate::config::{Format as Written, Plan, parse_text};
use crate::publish::Control;

const CONFIG: &str = r#"
    listeners.web.bind = ["127.0.0.1:0"]
    [[routes]]
    name = "all"
    match = { path = "/*" }
    pool = "api"
    [pools.api]
    backends = [{ name = "one", address = "127.0.0.1:1" }, { name = "two", address = "127.0.0.1:2" }]
"#;

fn plan() -> Plan {
    parse_text("test", Written::Toml, CONFIG)
        .expect("a valid configuration")
        .plan
}

pub(super) fn metrics() -> (Metrics, Arc<Control>, Arc<Telemetry>) {
    let control = Control::new(&plan(), || Now::from_millis(5), 1);
    let telemetry = Arc::new(Telemetry::new(2));
    let metrics = Metrics::new(
        control.clone(),
        telemetry.clone(),
        Arc::new(AtomicU64::new(3)),
        (
            Arc::new(plimsoll_core::decision::Recent::new(2)),
            Arc::new(plimsoll_core::trace::Traces::new(2)),
        ),
    );
    (metrics, control, telemetry)
}

/// Counts one of everything, as workers would.
pub(super) fn work(control: &Control, telemetry: &Telemetry) {
    let snapshot = control.snapshot().load();
    let (listener, pool) = (&snapshot.listeners[0], &snapshot.pools[0]);
    let status = control.pool("api").expect("the pool");
    let backend = status.backends[0].backend.id;
    let key = RequestKey {
        listener: Some(listener.id),
        route: Some(snapshot.routes[0].id),
        pool: Some(pool.id),
        backend: Some(backend),
        code: 200,
    };
    let mut shard = telemetry.shard(1);
    shard.request(key, Duration::from_millis(3), Some(Duration::from_millis(2)));
    shard.request(key, Duration::from_secs(90), None);
    let lost = RequestKey {
        route: None,
        pool: None,
        backend: None,
        code: 404,
        ..key
    };
    shard.request(lost, Duration::ZERO, None);
    shard.request(
        RequestKey {
            code: 200,
            ..RequestKey::default()
        },
        Duration::ZERO,
        None,
    );
    shard.failure(Reason::NoRoute);
    shard.retry(pool.id, RetryResult::BudgetSpent);
    shard.backend_connection(pool.id, backend, true);
    let counts = shard.listener(listener.id);
    (counts.opened, counts.closed, counts.bytes_in) = (5, 2, 700);
}

/// A scrape: each series' value by its whole text.
type Scrape = BTreeMap<String, f64>;

/// Reads a scrape as strictly as `promtool check metrics` does, and panics where it would complain.
fn read(text: &str) -> Scrape {
    let (mut kinds, mut helped) = (BTreeMap::new(), BTreeSet::new());
    let mut scrape = Scrape::new();
    let mut current = String::new();
    assert!(text.ends_with('\n'));
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(helped.insert(name.to_owned()), "{name} is helped twice");
            assert!(!help.is_empty() && !help.contains('"'), "{line}");
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(name, current, "TYPE follows HELP");
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let name = series.split('{').next().expect("a name");
            let suffix = name
                .strip_prefix(current.as_str())
                .expect("samples follow their metric");
            let kind = kinds[&current].as_str();
            let fits = match kind {
                "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
                "counter" => name.ends_with("_total"),
                _ => suffix.is_empty(),
            };
            assert!(fits, "{name} is no {kind}");
            check_labels(&series[name.len()..]);
            let value: f64 = value.parse().expect("a number");
            assert!(value >= 0.0, "{line}");
            assert!(scrape.insert(series.to_owned(), value).is_none(), "{series} twice");
        }
    }
    check_histograms(&scrape, &kinds);
    scrape
}

fn check_labels(labels: &str) {
    if labels.is_empty() {
        return;
    }
    let inner = labels.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
    let mut seen = BTreeSet::new();
    for pair in inner.expect("braces").split(',') {
        let (name, value) = pair.split_once('=').expect("a pair");
        assert!(
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{labels}"
        );
        assert!(seen.insert(name), "{name} twice in {labels}");
        assert!(
            value.len() >= 2 && value.starts_with('"') && value.ends_with('"'),
            "{labels}"
        );
    }
}

fn check_histograms(scrape: &Scrape, kinds: &BTreeMap<String, String>) {
    for name in kinds
        .iter()
        .filter(|(_, kind)| *kind == "histogram")
        .map(|(name, _)| name)
    {
        let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (series, value) in scrape {
            if let Some(labels) = series.strip_prefix(&format!("{name}_bucket{{")) {
                let (labels, bound) = labels.rsplit_once(",le=\"").expect("le comes last");
                let bound = bound.trim_end_matches("\"}").replace("+Inf", "inf");
                let bound = bound.parse().expect("a bound");
                buckets.entry(labels.to_owned()).or_default().push((bound, *value));
            }
        }
        for (labels, mut counts) in buckets {
            counts.sort_by(|left, right| left.0.total_cmp(&right.0));
            assert!(
                counts.is_sorted_by_key(|(_, count)| *count),
                "{name} {labels}: {counts:?}"
            );
            let (bound, count) = counts.last().expect("a bucket");
            assert!(bound.is_infinite());
            assert_eq!(scrape[&format!("{name}_count{{{labels}}}")], *count);
            assert!(scrape.contains_key(&format!("{name}_sum{{{labels}}}")));
        }
    }
}

#[test]
fn both_formats_hold_what_was_counted() {
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let (metrics, control, telemetry) = metrics();
        work(&control, &telemetry);
        let scrape = read(&metrics.text(format));
        for (series, value) in [
            (
                r#"plimsoll_requests_total{listener="web",route="all",pool="api",backend="one",code="200"}"#,
                2.0,
            ),
            (
                r#"plimsoll_requests_total{listener="web",route="",pool="",backend="",code="404"}"#,
                1.0,
            ),
            (
                r#"plimsoll_requests_total{listener="other",route="other",pool="other",backend="other",code="200"}"#,
                1.0,
            ),
            (
                r#"plimsoll_request_duration_seconds_bucket{route="all",pool="api",le="0.0025"}"#,
                0.0,
            ),
            (
                r#"plimsoll_request_duration_seconds_bucket{route="all",pool="api",le="0.005"}"#,
                1.0,
            ),
            (
                r#"plimsoll_request_duration_seconds_bucket{route="all",pool="api",le="60.0"}"#,
                1.0,
            ),
            (
                r#"plimsoll_request_duration_seconds_sum{route="all",pool="api"}"#,
                90.003,
            ),
            (
                r#"plimsoll_backend_duration_seconds_count{pool="api",backend="one"}"#,
                1.0,
            ),
            (r#"plimsoll_in_flight{pool="api",backend="two"}"#, 0.0),
            (r#"plimsoll_connections{listener="web"}"#, 3.0),
            (r#"plimsoll_connections_total{listener="web"}"#, 5.0),
            (r#"plimsoll_bytes_total{listener="web",direction="in"}"#, 700.0),
            (
                r#"plimsoll_backend_connections_total{pool="api",backend="one",reused="true"}"#,
                1.0,
            ),
            (
                r#"plimsoll_backend_state{pool="api",backend="one",state="unknown"}"#,
                1.0,
            ),
            (r#"plimsoll_retries_total{pool="api",result="success"}"#, 0.0),
            (r#"plimsoll_failures_total{reason="no_route"}"#, 1.0),
            (r#"plimsoll_failures_total{reason="internal"}"#, 0.0),
            (r#"plimsoll_failures_total{reason="retry_budget_spent"}"#, 1.0),
            ("plimsoll_generation", 1.0),
            (r#"plimsoll_reloads_total{result="error"}"#, 0.0),
            ("plimsoll_access_log_dropped_total", 3.0),
        ] {
            assert_eq!(scrape.get(series), Some(&value), "{series}");
        }
    }
}

#[test]
fn totals_only_grow_from_scrape_to_scrape() {
    let (metrics, control, telemetry) = metrics();
    let counters = |scrape: Scrape| -> Scrape {
        scrape
            .into_iter()
            .filter(|(name, _)| name.contains("_total") || name.contains("_bucket"))
            .collect()
    };
    let mut before = Scrape::new();
    for _ in 0..3 {
        work(&control, &telemetry);
        let after = counters(read(&metrics.text(Format::Prometheus)));
        for (series, value) in &before {
            assert!(after[series] >= *value, "{series}");
        }
        before = after;
    }
    let requests = r#"plimsoll_requests_total{listener="web",route="all",pool="api",backend="one",code="200"}"#;
    assert_eq!(before[requests], 6.0);
}

#[test]
fn changes_of_state_are_counted_with_the_word_of_their_cause() {
    let (metrics, control, _) = metrics();
    let backend = control.pool("api").expect("the pool").backends[0].backend.id;
    let failed = |how: &str| Event::Check {
        backend,
        passed: false,
        cause: how.into(),
    };
    control.tell("api", failed("status 500"));
    for action in [Action::Maintenance, Action::Ready, Action::Maintenance] {
        control.tell("api", Event::Operator { backend, action });
    }
    let scrape = read(&metrics.text(Format::Prometheus));
    for (to, cause, count) in [("unhealthy", "check_failed", 2.0), ("maintenance", "operator", 2.0)] {
        let series =
            format!(r#"plimsoll_health_transitions_total{{pool="api",backend="one",to="{to}",cause="{cause}"}}"#);
        assert_eq!(scrape.get(&series), Some(&count), "{series}");
    }
    let state = r#"plimsoll_backend_state{pool="api",backend="one",state="maintenance"}"#;
    assert_eq!(scrape[state], 1.0);
}

#[test]
fn a_backend_that_left_keeps_its_name_and_its_number() {
    use std::net::SocketAddr;

    use crate::living::Identities;
    use crate::metrics::Naming as _;

    let mut identities = Identities::default();
    let address: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let pool = "api".into();
    let first = identities.backend(&pool, address).id;
    identities.call(first, &"one".into());
    identities.forget_unused();
    assert_eq!(identities.backend_name(first).as_deref(), Some("one"));
    assert_eq!(
        identities.backend(&pool, address).id,
        first,
        "what operators have set is kept by it"
    );
    let other: SocketAddr = "127.0.0.1:2".parse().expect("an address");
    assert_ne!(identities.backend(&pool, other).id, first);
}
