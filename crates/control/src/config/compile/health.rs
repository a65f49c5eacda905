//! Checks.

use std::path::PathBuf;
use std::time::Duration;

use plimsoll_core::document::Located;
use plimsoll_core::pool::{BackendProtocol, ProxyVersion};

use super::super::file::{BodyPattern, Health, HealthTable, Initial, Many, Timeout, Tried};
use super::super::plan::{BodyCheck, CheckKind, CheckPlan, GrpcCheck, HttpCheck, Program};
use super::super::source::Sources;
use super::CHECK_INTERVAL;

/// The longest that a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// What a pool's backends speak, whether within TLS, and which header they want before it.
pub(super) type Spoken = (BackendProtocol, bool, Option<ProxyVersion>);

/// How a pool is checked whose `health` is `written`, and whose backends speak so; by TCP when nothing is written.
pub(super) fn check(written: Option<&Health>, spoken: Spoken, sources: &Sources) -> Option<CheckPlan> {
    match written {
        None => Some(plan(&HealthTable::default(), spoken, sources)),
        Some(Health::Check(table)) => Some(plan(table, spoken, sources)),
        Some(Health::Off) => None,
    }
}

fn plan(table: &HealthTable, (protocol, tls, send_proxy): Spoken, sources: &Sources) -> CheckPlan {
    let tls = table.tls.as_ref().map_or(tls, |own| own.value) && table.exec.is_none();
    // Without TLS nobody is asked to choose.
    let protocol = match protocol {
        BackendProtocol::Auto if !tls => BackendProtocol::H1,
        protocol => protocol,
    };
    let interval = read(&table.interval).map_or(CHECK_INTERVAL, |interval| interval.value.0);
    let or_interval = |written: &Option<Located<Timeout>>| written.as_ref().map_or(interval, |span| span.value.0);
    CheckPlan {
        kind: kind(table, protocol, sources),
        tls,
        port: table.port.and_then(|port| u16::try_from(port.0).ok()),
        interval,
        fast_interval: or_interval(&table.fast_interval),
        down_interval: or_interval(&table.down_interval),
        timeout: table
            .timeout
            .as_ref()
            .map_or(CHECK_TIMEOUT.min(interval), |timeout| timeout.value.0),
        fall: table.fall.0,
        rise: table.rise.0,
        initially_healthy: table.initial == Initial::Healthy,
        send_proxy: send_proxy.filter(|_| table.port.is_none()),
    }
}

/// A check at a port of its own may be of another server, which need not speak what the pool does.
fn kind(table: &HealthTable, protocol: BackendProtocol, sources: &Sources) -> CheckKind {
    let host = table.host.as_ref().map(|host| host.value.0.clone());
    let written = table.headers.iter().flat_map(|fields| fields.value.0.iter());
    let headers = written
        .map(|(name, value)| (name.0.clone(), value.trim().to_owned()))
        .collect();
    if let Some(path) = read(&table.http) {
        return CheckKind::Http(HttpCheck {
            protocol: match table.port {
                None => protocol,
                Some(_) => BackendProtocol::H1,
            },
            method: table.method.as_ref().map_or("GET", |method| &method.value.0).to_owned(),
            path: path.value.0.clone(),
            host,
            headers,
            expect: match &table.expect {
                None => vec![200..=299],
                Some(expect) => expect.value.iter().map(|range| range.value.0.clone()).collect(),
            },
            expect_body: table.expect_body.as_ref().map(|pattern| match &pattern.value {
                BodyPattern::Text(text) => BodyCheck::Text(text.clone()),
                BodyPattern::Regex(text) => BodyCheck::Regex(text.clone()),
            }),
        });
    }
    if let Some(service) = read(&table.grpc) {
        return CheckKind::Grpc(GrpcCheck {
            service: service.value.0.clone(),
            host,
            headers,
        });
    }
    if let Some(expect) = read(&table.expect_bytes) {
        return CheckKind::Bytes {
            send: read(&table.send).map(|send| send.value.0.clone()).unwrap_or_default(),
            expect: expect.value.0.clone(),
        };
    }
    if let Some(words) = read(&table.exec) {
        return CheckKind::Exec(exec(&words.value, sources));
    }
    CheckKind::Tcp
}

/// A program with a slash is relative to the file that names it; one without is looked for in `PATH`, as shells do.
pub(super) fn exec(words: &Many<String>, sources: &Sources) -> Program {
    let mut words = words.iter();
    let program = words.next().map_or_else(PathBuf::new, |program| {
        if program.value.contains('/') {
            sources.resolve(program.span, &program.value)
        } else {
            PathBuf::from(&program.value)
        }
    });
    Program {
        program,
        arguments: words.map(|word| word.value.clone()).collect(),
    }
}

/// The value of a key that was written and could be read.
fn read<T>(written: &Option<Tried<T>>) -> Option<&Located<T>> {
    written.as_ref().and_then(|written| written.0.as_ref())
}
