//! Checks that can pass.

use std::time::Duration;

use plimsoll_core::document::Faults;

use super::super::compile::CHECK_INTERVAL;
use super::super::file::{Health, HealthTable, Tried};

/// The shortest interval between checks: shorter ones are load, and find out nothing sooner than traffic does.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

pub(super) fn check(health: &Health, faults: &mut Faults) {
    let Health::Check(table) = health else { return };
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
