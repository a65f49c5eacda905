//! Checks that can pass.

use std::time::Duration;

use plimsoll_core::document::{Faults, Span};

use super::super::compile::CHECK_INTERVAL;
use super::super::file::{Health, HealthTable, Tried};

/// The shortest interval between checks: shorter ones are load, and find out nothing sooner than traffic does.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

pub(super) fn check(health: &Health, faults: &mut Faults) {
    let Health::Check(table) = health else { return };
    check_kind(table, faults);
    check_keys(table, faults);
    check_interval(table, faults);
}

/// What a check may be by, in the order of what is named to whoever names two.
const KINDS: [&str; 5] = ["http", "grpc", "send", "exec", "tcp"];

/// The kinds that are written, each with its place.
fn kinds(table: &HealthTable) -> Vec<(&'static str, Span)> {
    let [http, grpc, send, exec, tcp] = KINDS;
    let bytes = place(&table.send).or(place(&table.expect_bytes));
    let by_tcp = table.tcp.as_ref().filter(|tcp| tcp.value).map(|tcp| tcp.span);
    [
        (http, place(&table.http)),
        (grpc, place(&table.grpc)),
        (send, bytes),
        (exec, place(&table.exec)),
        (tcp, by_tcp),
    ]
    .into_iter()
    .filter_map(|(kind, span)| Some((kind, span?)))
    .collect()
}

/// Where a key's value stands; the default span when it could not be read.
fn place<T>(written: &Option<Tried<T>>) -> Option<Span> {
    let value = |tried: &Tried<T>| tried.0.as_ref().map(|value| value.span).unwrap_or_default();
    written.as_ref().map(value)
}

fn check_kind(table: &HealthTable, faults: &mut Faults) {
    let kinds = kinds(table);
    if let [(one, first), (other, second), ..] = kinds[..] {
        let (span, also) = if second == Span::default() {
            (first, second)
        } else {
            (second, first)
        };
        let fault = faults.error(span, format!("a check is by `{one}` or by `{other}`, not both"));
        match other {
            "tcp" => fault.help(format!("take `tcp` out: a check by {one} connects too")),
            _ => fault
                .help("a pool has one check: take the other out")
                .also(also, format!("by {one}")),
        };
    }
    if let (true, Some(tcp)) = (kinds.is_empty(), table.tcp.as_ref().filter(|tcp| !tcp.value)) {
        faults
            .error(tcp.span, "nothing is left to check")
            .help("write health = false to turn checks off");
    }
    if let (Some(send), None) = (&table.send, &table.expect_bytes) {
        faults
            .error(
                send.0.as_ref().map(|send| send.span).unwrap_or_default(),
                "what is sent says nothing until something is answered",
            )
            .help("add expect_bytes = \"…\"");
    }
    let words = table.exec.as_ref().and_then(|exec| exec.0.as_ref());
    if let Some(program) = words.and_then(|words| words.value.iter().next())
        && program.value.is_empty()
    {
        faults.error(program.span, "a program has a name");
    }
}

/// Keys of other kinds of checks than the one that is made.
fn check_keys(table: &HealthTable, faults: &mut Faults) {
    let kind = kinds(table).first().map_or("tcp", |(kind, _)| *kind);
    let keys = [
        ("method", &["http"][..], table.method.as_ref().map(|method| method.span)),
        ("host", &["http", "grpc"], table.host.as_ref().map(|host| host.span)),
        (
            "headers",
            &["http", "grpc"],
            table.headers.as_ref().map(|fields| fields.span),
        ),
        ("expect", &["http"], table.expect.as_ref().map(|expect| expect.span)),
        (
            "expect_body",
            &["http"],
            table.expect_body.as_ref().map(|body| body.span),
        ),
    ];
    for (key, of, written) in keys {
        let Some(span) = written.filter(|_| !of.contains(&kind)) else {
            continue;
        };
        faults
            .error(span, format!("`{key}` is for {} checks", of.join(" and ")))
            .help("add http = \"/healthz\", or take the key out");
    }
    if let (Some(body), Some(method)) = (&table.expect_body, &table.method)
        && method.value.0 == "HEAD"
    {
        faults
            .error(body.span, "an answer to HEAD has no body")
            .help("leave `method` out, or `expect_body`")
            .also(method.span, "the method");
    }
}

fn check_interval(table: &HealthTable, faults: &mut Faults) {
    let written = match &table.interval {
        None => None,
        Some(Tried(Some(interval))) => Some(interval),
        // What cannot be read is longer than nothing.
        Some(Tried(None)) => return,
    };
    for span in [written, table.fast_interval.as_ref(), table.down_interval.as_ref()] {
        let Some(interval) = span.filter(|interval| interval.value.0 < INTERVAL_MIN) else {
            continue;
        };
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
