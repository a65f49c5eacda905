//! Checks.

use std::time::Duration;

use super::super::file::{Health, HealthTable, Initial};
use super::super::plan::{CheckKind, CheckPlan};
use super::CHECK_INTERVAL;

/// The longest that a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// How a pool is checked whose `health` is `written`; by TCP when nothing is.
pub(super) fn check(written: Option<&Health>) -> Option<CheckPlan> {
    match written {
        None => Some(plan(&HealthTable::default())),
        Some(Health::Check(table)) => Some(plan(table)),
        Some(Health::Off) => None,
    }
}

fn plan(table: &HealthTable) -> CheckPlan {
    let interval = table
        .interval
        .as_ref()
        .and_then(|interval| interval.0.as_ref())
        .map_or(CHECK_INTERVAL, |interval| interval.value.0);
    let kind = match table.http.as_ref().and_then(|path| path.0.as_ref()) {
        None => CheckKind::Tcp,
        Some(path) => CheckKind::Http {
            path: path.value.0.clone(),
            host: table.host.as_ref().map(|host| host.value.0.clone()),
            expect: match &table.expect {
                None => vec![200..=299],
                Some(expect) => expect.value.iter().map(|range| range.value.0.clone()).collect(),
            },
        },
    };
    CheckPlan {
        kind,
        port: table.port.and_then(|port| u16::try_from(port.0).ok()),
        interval,
        timeout: table
            .timeout
            .as_ref()
            .map_or(CHECK_TIMEOUT.min(interval), |timeout| timeout.value.0),
        fall: table.fall.0,
        rise: table.rise.0,
        initially_healthy: table.initial == Initial::Healthy,
    }
}
