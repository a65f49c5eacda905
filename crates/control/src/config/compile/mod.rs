//! Compiling: names become positions, defaults are filled in. Everything that could be wrong was checked before.

mod acme;
pub(super) mod connections;
mod health;
mod pools;
pub(super) mod routes;
pub(super) mod tls;
mod tracing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plimsoll_core::document::Located;
use plimsoll_core::hedge::After;
use plimsoll_core::snapshot::{
    AccessFormat, HttpLimits, HttpTimeouts, NodeSettings, PoolIndex, ProxyTrust, TcpService,
};

use super::file::{AccessTarget, Backend, File, Listener, LogFormat, Protocol, ProxyProtocol, Route, Timeout, Tried};
use super::plan::{
    AccessLog, AdminPlan, HttpPlan, ListenerPlan, LogPlan, Plan, PoolPlan, RoutePlan, Secrets, ServicePlan,
};
use super::source::Sources;

/// The policy of a pool that names none.
pub(super) const DEFAULT_POLICY: &str = "least-connections";

/// Between two checks, as in HAProxy.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// How long work in flight may go on.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a layer 4 connection may be silent.
const L4_IDLE: Duration = Duration::from_secs(3_600);

/// The plan of a file in which `check` found no error.
pub(super) fn compile(file: &File, sources: &Sources) -> Plan {
    let mut names: Vec<&str> = file.pools.names().collect();
    names.sort_unstable();
    let pools: BTreeMap<&str, PoolIndex> = names.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    let drain_timeout = file.server.drain_timeout.map_or(DRAIN_TIMEOUT, |pause| pause.0);
    let mut routes = routes::routes(file, sources, &pools);
    let listeners = listeners(file, sources, &pools, &mut routes);
    let mut pool_plans = pools::pools(file, sources, &pools);
    measure(&routes, &mut pool_plans);
    let token = |path: Option<&Tried<String>>| {
        let path = path.and_then(|path| path.0.as_ref())?;
        Some(sources.resolve(path.span, &path.value))
    };
    Plan {
        workers: file.server.workers.0.map(|number| number as usize),
        zone: file.server.zone.clone(),
        drain_delay: file.server.drain_delay.map_or(Duration::ZERO, |pause| pause.0),
        watch: file.server.watch,
        user: file.server.user.as_ref().map(|user| user.value.clone()),
        node: NodeSettings {
            trusted_proxies: file
                .server
                .trusted_proxies
                .iter()
                .map(|network| network.value)
                .collect(),
            vouched: vouched(&routes, &listeners),
            expose_reason: file.server.expose_reason,
            max_connections: file.server.max_connections.0,
            shed_after: file.server.shed_after.map(|late| late.0),
            drain_timeout,
            access_log: match file.log.access.value {
                AccessTarget::Off => None,
                _ => Some(access_format(file)),
            },
            access_percent: file.log.sample_percent.map_or(100.0, |part| part.0),
            tracing: file.tracing.as_ref().map(tracing::settings),
        },
        tracing: file.tracing.as_ref().map(|table| tracing::plan(table, sources)),
        error_pages: routes::error_pages(&file.error_pages, sources),
        secrets: Secrets::default(),
        admin: AdminPlan {
            bind: file.admin.bind.0.as_ref().and_then(|bind| bind.value.address()),
            socket: (file.admin.bind.0.as_ref())
                .and_then(|bind| Some(sources.resolve(bind.span, bind.value.socket()?))),
            token_file: token(file.admin.token_file.as_ref()),
            read_token_file: token(file.admin.read_token_file.as_ref()),
            metrics_bind: file.admin.metrics_bind.as_ref().map(|bind| bind.value.0),
        },
        log: LogPlan {
            level: file.log.level.word(),
            access: match &file.log.access.value {
                AccessTarget::Off => AccessLog::Off,
                AccessTarget::Stdout => AccessLog::Stdout,
                AccessTarget::File(path) => AccessLog::File(sources.resolve(file.log.access.span, path)),
                AccessTarget::Syslog(address) => AccessLog::Syslog(*address),
            },
            format: access_format(file),
        },
        listeners,
        routes,
        pools: pool_plans,
    }
}

/// Has the latencies of those pools measured whose quantiles a route's hedging asks for.
fn measure(routes: &[RoutePlan], pools: &mut [PoolPlan]) {
    let asks = |route: &&RoutePlan| {
        let after = route.hedge.map(|hedge| hedge.after);
        matches!(after, Some(After::Quantile(_)))
    };
    for route in routes.iter().filter(asks) {
        for pool in route.action.pools() {
            let mut at = Some(pool);
            while let Some(pool) = at.map(|at| &mut pools[at]).filter(|pool| !pool.settings.measured) {
                pool.settings.measured = true;
                at = pool.fallback;
            }
        }
    }
}

/// The fields that filters vouch for, wherever they are.
fn vouched(routes: &[super::plan::RoutePlan], listeners: &[ListenerPlan]) -> Vec<String> {
    let of_listeners = listeners.iter().filter_map(|listener| match &listener.service {
        ServicePlan::Http(http) => Some(&http.filters),
        ServicePlan::Tcp(_) | ServicePlan::Passthrough(_) => None,
    });
    let entries = of_listeners.chain(routes.iter().map(|route| &route.filters)).flatten();
    let names = entries.flat_map(|entry| entry.config.vouches());
    let names: BTreeSet<String> = names.map(|name| name.0.clone()).collect();
    names.into_iter().collect()
}

fn access_format(file: &File) -> AccessFormat {
    match file.log.format {
        LogFormat::Json => AccessFormat::Json,
        LogFormat::Combined => AccessFormat::Combined,
    }
}

/// The name of the route at `position`.
pub(super) fn route_name(route: &Route, position: usize) -> String {
    match &route.name {
        Some(name) => name.value.0.clone(),
        None => format!("route-{}", position + 1),
    }
}

/// The name of `backend` in its pool.
fn backend_name(backend: &Backend) -> String {
    match &backend.name {
        Some(name) => name.value.0.clone(),
        None => backend.address.value.0.to_string(),
    }
}

fn listeners(
    file: &File,
    sources: &Sources,
    pools: &BTreeMap<&str, PoolIndex>,
    routes: &mut Vec<super::plan::RoutePlan>,
) -> Vec<ListenerPlan> {
    let mut written: Vec<(&str, &Listener)> = file
        .listeners
        .read()
        .map(|(name, _, listener)| (name, listener))
        .collect();
    written.sort_unstable_by_key(|(name, _)| *name);
    let mut plans = Vec::with_capacity(written.len());
    for (name, listener) in written {
        let pool = listener
            .pool
            .as_ref()
            .and_then(|pool| pools.get(pool.value.as_str()).copied());
        let protocol = listener
            .protocol
            .0
            .as_ref()
            .map_or(Protocol::Http, |protocol| protocol.value);
        let idle = listener.timeouts.idle;
        let service = match (protocol, pool) {
            (Protocol::Http, catch_all) => ServicePlan::Http(http((file, sources), name, listener, catch_all, routes)),
            (Protocol::Tls, catch_all) => {
                ServicePlan::Passthrough(connections::passthrough(file, (name, listener), catch_all, routes))
            }
            (Protocol::Tcp, Some(pool)) => ServicePlan::Tcp(TcpService {
                pool,
                idle_timeout: idle.map_or(L4_IDLE, |timeout| timeout.0),
            }),
            // `check` refused it.
            (Protocol::Tcp, None) => continue,
        };
        plans.push(ListenerPlan {
            name: name.to_owned(),
            bind: listener.bind.iter().map(|bind| bind.value.0).collect(),
            max_connections_per_client: listener.max_connections_per_client.map(|number| number.0),
            tls: tls::plan(listener, sources),
            http3: tls::http3(listener),
            proxy_protocol: match &listener.proxy_protocol.value {
                ProxyProtocol::Off => None,
                ProxyProtocol::Everybody => Some(ProxyTrust::Everybody),
                ProxyProtocol::Trusted(table) => {
                    let networks = table.trusted.iter().map(|network| network.value);
                    Some(ProxyTrust::Networks(networks.collect()))
                }
            },
            service,
        });
    }
    plans
}

fn http(
    (file, sources): (&File, &Sources),
    name: &str,
    listener: &Listener,
    catch_all: Option<PoolIndex>,
    routes: &mut Vec<super::plan::RoutePlan>,
) -> HttpPlan {
    let mut rules: Vec<_> = routes::rules(file, name)
        .into_iter()
        .map(|(rule, route, _)| (rule, route))
        .collect();
    if let Some(pool) = catch_all {
        rules.push((routes::any_request(), routes.len()));
        routes.push(routes::catch_all(name, pool));
    }
    let defaults = HttpTimeouts::default();
    let own = &listener.timeouts;
    let or = |own: &Option<Located<Timeout>>, default: Duration| own.as_ref().map_or(default, |own| own.value.0);
    HttpPlan {
        filters: tls::filters(listener, routes::filters(file, sources, &listener.filters)),
        rules,
        health_path: listener.health_path.as_ref().map(|path| path.value.0.clone()),
        keepalive_requests: listener
            .keepalive_requests
            .map_or(u64::MAX, |number| u64::from(number.0)),
        keepalive_age: listener.keepalive_age.map(|age| age.0),
        timeouts: HttpTimeouts {
            request_header: or(&own.request_header, defaults.request_header),
            request_body: or(&own.request_body, defaults.request_body),
            idle: own.idle.map_or(defaults.idle, |idle| idle.0),
            stream_idle: or(&own.stream_idle, defaults.stream_idle),
        },
        limits: HttpLimits::default(),
        allow_encoded_slash: listener.allow_encoded_slash,
        error_pages: routes::error_pages(&listener.error_pages, sources),
    }
}
