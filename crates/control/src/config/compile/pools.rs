//! Pools and their backends.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_core::balance::PolicyConfig;
use plimsoll_core::budget::BudgetRules;
use plimsoll_core::document::Located;
use plimsoll_core::filter::FileName;
use plimsoll_core::members::Limits;
use plimsoll_core::pool::{BackendProtocol, PoolSettings, ProxyVersion, QueueSettings};
use plimsoll_core::snapshot::PoolIndex;
use plimsoll_core::sticky::{By, Cookie, Settings};

use super::super::file::{
    Backend, Compared, File, Latency, Limit, OnUnhealthy, Outlier, Pool, PoolTls, SameSite, SendProxy, Sticky,
    SuccessRate, UpstreamProtocol,
};
use super::super::plan::{BackendPlan, OriginationPlan, OutlierPlan, PoolPlan};
use super::super::source::Sources;
use super::{DEFAULT_POLICY, backend_name, health};

/// Time to make a connection, as in Caddy.
const CONNECT: Duration = Duration::from_secs(3);

/// Under the 60 s that most servers keep a connection, so that the backend never closes first.
const IDLE: Duration = Duration::from_secs(55);

/// Time from the request's end to the head of the answer.
const RESPONSE_HEADER: Duration = Duration::from_secs(60);

/// All pools, by name.
pub(super) fn pools(file: &File, sources: &Sources, known: &BTreeMap<&str, PoolIndex>) -> Vec<PoolPlan> {
    let mut plans: Vec<PoolPlan> = file
        .pools
        .read()
        .map(|(name, _, pool)| plan(name, pool, sources, known))
        .collect();
    plans.sort_by(|one, other| one.name.cmp(&other.name));
    plans
}

fn plan(name: &str, pool: &Pool, sources: &Sources, known: &BTreeMap<&str, PoolIndex>) -> PoolPlan {
    let timeouts = &pool.timeouts;
    let outlier = outlier(&pool.outlier);
    let tls = tls(pool, sources);
    let protocol = match pool.protocol {
        UpstreamProtocol::H2 => BackendProtocol::H2,
        UpstreamProtocol::Auto if tls.is_some() => BackendProtocol::Auto,
        UpstreamProtocol::H1 | UpstreamProtocol::Auto => BackendProtocol::H1,
    };
    PoolPlan {
        name: name.to_owned(),
        policy: match &pool.policy {
            Some(policy) => policy.value.clone(),
            None => PolicyConfig::named(DEFAULT_POLICY).expect("the default policy is one of the list"),
        },
        settings: PoolSettings {
            protocol,
            tls: tls.is_some(),
            connect_timeout: timeouts.connect.map_or(CONNECT, |timeout| timeout.0),
            idle_timeout: timeouts.idle.map_or(IDLE, |timeout| timeout.0),
            response_header_timeout: timeouts.response_header.map_or(RESPONSE_HEADER, |timeout| timeout.0),
            // Never told when nothing is ejected for it.
            consecutive_errors: outlier.as_ref().map_or(u32::MAX, |outlier| outlier.consecutive_errors),
            compares_latency: outlier.as_ref().is_some_and(|outlier| outlier.latency.is_some()),
            closes_unhealthy: pool.on_unhealthy == OnUnhealthy::Close,
            orca: pool.orca,
            retry_budget: BudgetRules {
                percent: pool.retry_budget.percent.0,
                per_second: pool.retry_budget.per_second.0,
            },
            // The routes know.
            measured: false,
            send_proxy: send_proxy(pool),
            queue: QueueSettings {
                most: pool.limits.queue.0,
                timeout: pool.limits.queue_timeout.0,
            },
        },
        backends: pool
            .backends
            .iter()
            .map(|backend| backend_plan(&backend.value.0, pool, sources))
            .collect(),
        check: health::check(
            pool.health.as_ref().map(|health| &health.value),
            (protocol, tls.is_some(), send_proxy(pool)),
            sources,
        ),
        tls,
        outlier,
        panic_threshold: percent(pool.panic_threshold.0),
        slow_start: pool
            .slow_start
            .map(|window| window.0)
            .filter(|window| !window.is_zero()),
        zone_aware: pool.zone_aware,
        sticky: pool.sticky.as_ref().and_then(|sticky| settings(&sticky.value)),
        drain_timeout: pool.drain_timeout.map(|pause| pause.0),
        fallback: (pool.fallback.as_ref()).and_then(|fallback| known.get(fallback.value.as_str()).copied()),
    }
}

fn tls(pool: &Pool, sources: &Sources) -> Option<OriginationPlan> {
    let table = match &pool.tls.as_ref()?.value {
        PoolTls::Off => return None,
        PoolTls::On(table) => table,
    };
    let path = |file: &FileName| sources.resolve(file.span, &file.written);
    Some(OriginationPlan {
        ca: table.ca.as_ref().map(path),
        name: table.server_name.as_ref().map(|name| name.value.0.clone()),
        own: table
            .cert
            .as_ref()
            .zip(table.key.as_ref())
            .map(|(cert, key)| (path(cert), path(key))),
        alpn: table
            .alpn
            .iter()
            .map(|name| name.value.0.clone().into_bytes())
            .collect(),
        min_version: table.min_version.version(),
        believes_anyone: table.believes_anyone(),
    })
}

fn send_proxy(pool: &Pool) -> Option<ProxyVersion> {
    let written = pool.send_proxy_protocol.as_ref()?;
    Some(match written.value {
        SendProxy::V1 => ProxyVersion::V1,
        SendProxy::V2 => ProxyVersion::V2,
    })
}

/// What ties clients to backends.
fn settings(sticky: &Sticky) -> Option<Settings> {
    let cookie = |name: &str| Cookie {
        name: name.to_owned(),
        domain: sticky.domain.as_ref().map(|domain| domain.value.0.clone()),
        path: sticky.path.as_ref().map_or("/".into(), |path| path.value.0.clone()),
        secure: sticky.secure.as_ref().map(|secure| secure.value),
        same_site: sticky
            .same_site
            .as_ref()
            .map_or(SameSite::Lax, |own| own.value)
            .attribute(),
    };
    let by = match (&sticky.cookie, &sticky.app_cookie, &sticky.header, &sticky.client_ip) {
        (Some(name), ..) => By::Cookie(cookie(&name.value.0)),
        (_, Some(name), ..) => By::AppCookie(name.value.0.clone()),
        (_, _, Some(name), _) => By::Header(name.value.0.clone()),
        (_, _, _, Some(_)) => By::ClientIp,
        // `check` refused it.
        (None, None, None, None) => return None,
    };
    let ttl = sticky.ttl.as_ref().map(|ttl| ttl.value.0);
    Some(Settings { by, ttl })
}

fn backend_plan(backend: &Backend, pool: &Pool, sources: &Sources) -> BackendPlan {
    BackendPlan {
        name: backend_name(backend),
        address: backend.address.value.0,
        weight: backend.weight.0,
        zone: backend.zone.clone(),
        priority: backend.priority.0,
        limits: limits(backend, pool),
        origin: sources.origin(backend.address.span),
    }
}

/// A backend's own limit is the most that may be learned for it.
fn limits(backend: &Backend, pool: &Pool) -> Limits {
    let (requests, learned) = match &pool.limits.requests.value {
        Limit::Fixed(limit) => (limit.0, None),
        Limit::Learned(table) => (table.max.0, Some(table.min.0)),
    };
    Limits {
        connections: backend.max_connections.unwrap_or(pool.limits.connections).0,
        requests: backend.max_requests.map_or(requests, |limit| limit.0),
        shared: pool.protocol == UpstreamProtocol::H2,
        learned,
    }
}

fn outlier(written: &Outlier) -> Option<OutlierPlan> {
    match written {
        Outlier::Off => None,
        Outlier::Eject(table) => Some(OutlierPlan {
            consecutive_errors: table.consecutive_errors.0,
            eject_for: table.eject_for.0,
            max_ejected_percent: percent(table.max_ejected_percent.0),
            interval: table.interval.value.0,
            success_rate: compared(&table.success_rate).map(SuccessRate::rules),
            latency: compared(&table.latency).map(Latency::rules),
        }),
    }
}

fn compared<T>(written: &Option<Located<Compared<T>>>) -> Option<&T> {
    written.as_ref().and_then(|written| written.value.0.as_ref())
}

fn percent(value: u32) -> u8 {
    u8::try_from(value).unwrap_or(100)
}
