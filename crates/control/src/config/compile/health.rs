//! Checks.

use std::time::Duration;

use plimsoll_core::pool::BackendProtocol;

use super::super::file::{Health, HealthTable, Initial};
use super::super::plan::{CheckKind, CheckPlan};
use super::CHECK_INTERVAL;

/// The longest that a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// How a pool is checked whose `health` is `written`, and whose backends speak `protocol`; by TCP when nothing is.
pub(super) fn check(written: Option<&Health>, protocol: BackendProtocol) -> Option<CheckPlan> {
    match written {
        None => Some(plan(&HealthTable::default(), protocol)),
        Some(Health::Check(table)) => Some(plan(table, protocol)),
        Some(Health::Off) => None,
    }
}

/// A check at a port of its own may be of another server, which need not speak what the pool does.
fn plan(table: &HealthTable, protocol: BackendProtocol) -> CheckPlan {
    let interval = table
        .interval
        .as_ref()
        .and_then(|interval| interval.0.as_ref())
        .map_or(CHECK_INTERVAL, |interval| interval.value.0);
    let kind = match table.http.as_ref().and_then(|path| path.0.as_ref()) {
        None => CheckKind::Tcp,
        Some(path) => CheckKind::Http {
            protocol: if table.port.is_none() {
                protocol
            } else {
                BackendProtocol::H1
            },
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
