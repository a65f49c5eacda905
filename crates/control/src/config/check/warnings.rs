//! What can be used and will hurt. `check` prints it, and `check --strict` fails.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use plimsoll_core::balance::{HashKey, Policy};
use plimsoll_core::document::{Faults, Span};

use super::super::file::{File, Item, Outlier, Pool, ProxyProtocol};
use super::super::plan::{CheckKind, CheckPlan, Plan, PoolPlan, RouteIndex, RoutePlan, ServicePlan};
use crate::program;

/// Who sends to a pool.
#[derive(Clone, Copy, Default)]
struct Use {
    by_http: bool,
    by_tcp: bool,
    /// By routes of connections whose client names whom it wants.
    by_name: bool,
}

impl Use {
    fn is_none(self) -> bool {
        !self.by_http && !self.by_tcp && !self.by_name
    }

    /// By connections that nobody reads.
    fn by_layer_4(self) -> bool {
        self.by_tcp || self.by_name
    }
}

/// Adds a warning for everything in `file`, compiled to `plan`, that will hurt.
pub(in super::super) fn warn(file: &File, plan: &Plan, faults: &mut Faults) {
    let uses = uses(plan);
    let items: BTreeMap<&str, (&Item<Pool>, &Pool)> = file
        .pools
        .read()
        .map(|(name, item, pool)| (name, (item, pool)))
        .collect();
    for (pool, used) in plan.pools.iter().zip(uses) {
        if let Some((item, written)) = items.get(pool.name.as_str()) {
            warn_pool(pool, written, item.span, used, faults);
        }
    }
    warn_listeners(file, plan, faults);
    super::tracing::warn(file, faults);
    warn_introductions(file, faults);
    super::acme::warn(file, plan, faults);
    warn_routes(file, plan, faults);
    super::shadows::warn(file, plan, faults);
    super::tls::warn_of_routes(file, faults);
    super::sticky::warn(file, plan, faults);
    for network in &file.server.trusted_proxies {
        let whole = |first: IpAddr, last: IpAddr| network.contains(first) && network.contains(last);
        if whole(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into())
            || whole(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from([0xff; 16]).into())
        {
            faults
                .warning(network.span, "everybody's forwarded headers are believed")
                .help("name the networks of your own proxies alone");
        }
    }
}

fn uses(plan: &Plan) -> Vec<Use> {
    let mut uses = vec![Use::default(); plan.pools.len()];
    let mut mark = |pool: usize, mark: fn(&mut Use)| uses.get_mut(pool).into_iter().for_each(mark);
    let passed = passed_through(plan);
    for (position, route) in plan.routes.iter().enumerate() {
        let by: fn(&mut Use) = match passed.contains(&position) {
            true => |used| used.by_name = true,
            false => |used| used.by_http = true,
        };
        for pool in route.action.pools() {
            mark(pool, by);
        }
        if let Some(mirror) = route.mirror {
            mark(mirror.pool, |used| used.by_http = true);
        }
    }
    for listener in &plan.listeners {
        if let ServicePlan::Tcp(tcp) = &listener.service {
            mark(tcp.pool, |used| used.by_tcp = true);
        }
    }
    for at in 0..uses.len() {
        hand_on(plan, at, &mut uses);
    }
    uses
}

/// The routes of listeners that pass TLS through.
fn passed_through(plan: &Plan) -> BTreeSet<RouteIndex> {
    let rules = plan.listeners.iter().filter_map(|listener| match &listener.service {
        ServicePlan::Passthrough(passed) => Some(&passed.rules),
        ServicePlan::Http(_) | ServicePlan::Tcp(_) => None,
    });
    rules.flatten().map(|(_, route)| *route).collect()
}

/// Who sends to the pool at `at` sends to its fallbacks as well.
fn hand_on(plan: &Plan, at: usize, uses: &mut [Use]) {
    let used = uses[at];
    let mut next = plan.pools[at].fallback;
    // No more than there are: `check` refuses circles.
    for _ in 0..plan.pools.len() {
        let Some(fallback) = next.filter(|fallback| *fallback < uses.len()) else {
            return;
        };
        uses[fallback].by_http |= used.by_http;
        uses[fallback].by_tcp |= used.by_tcp;
        next = plan.pools[fallback].fallback;
    }
}

fn warn_pool(pool: &PoolPlan, written: &Pool, span: Span, used: Use, faults: &mut Faults) {
    let name = &pool.name;
    super::pool_tls::warn_of_alpn(written, used.by_http, faults);
    if used.is_none() {
        faults
            .warning(span, format!("nothing sends to the pool `{name}`"))
            .help("name it in a route or a listener, or take it out");
        return;
    }
    let health = written.health.as_ref().map_or(span, |health| health.span);
    match &pool.check {
        None => {
            faults
                .warning(
                    health,
                    format!("the backends of `{name}` are not checked: a dead one is found by failing requests"),
                )
                .help("add health = { http = \"/healthz\" }, or { tcp = true }");
        }
        Some(check) if matches!(check.kind, CheckKind::Tcp) && used.by_http => {
            faults
                .warning(
                    health,
                    format!("the backends of `{name}` are checked by TCP alone: an open port is no working server"),
                )
                .help("add health = { http = \"/healthz\" }");
        }
        Some(check) => warn_check(pool, check, health, used, faults),
    }
    warn_comparisons(pool, written, faults);
    if pool.policy.key() == Some(&HashKey::Sni) && (used.by_http || used.by_tcp) {
        let place = written.policy.as_ref().map_or(span, |policy| policy.span);
        faults
            .warning(
                place,
                format!("not all that is sent to `{name}` has a name that was asked for in TLS"),
            )
            .help("`sni` is for routes of tls listeners; requests have `host`");
    }
    super::pool_tls::warn(name, written, (span, used.by_name), faults);
    if pool.backends.len() == 1 && pool.fallback.is_none() {
        faults.warning(
            span,
            format!("the pool `{name}` has one backend: nothing takes over when it fails"),
        );
    }
    let first = pool.backends.first();
    let unequal = pool
        .backends
        .iter()
        .any(|backend| first.is_some_and(|first| first.limits != backend.limits));
    if pool.policy.name() == "round-robin" && unequal {
        let place = written.policy.as_ref().map_or(span, |policy| policy.span);
        faults
            .warning(
                place,
                format!("round-robin gives each backend of `{name}` its turn, and they may carry unequal loads"),
            )
            .help("use least-connections, or set weights");
    }
    if pool.backends.iter().all(|backend| backend.weight == 0) {
        faults.warning(
            span,
            format!("no backend of `{name}` takes new work: every weight is 0"),
        );
    }
}

/// A check that can hardly pass.
fn warn_check(pool: &PoolPlan, check: &CheckPlan, span: Span, used: Use, faults: &mut Faults) {
    match &check.kind {
        CheckKind::Http(_) if used.by_layer_4() && !used.by_http && check.port.is_none() => {
            let name = &pool.name;
            faults
                .warning(
                    span,
                    format!("the backends of `{name}` carry TCP and are checked by HTTP on the same port"),
                )
                .help("name the port that answers HTTP, with port = 8080, or add tcp = true instead");
        }
        CheckKind::Exec(exec) => {
            if let Some(wrong) = program::cannot_run(&exec.program) {
                faults.warning(span, format!("the program {} {wrong}", exec.program.display()));
            }
        }
        _ => {}
    }
    if check.fast_interval > check.interval {
        faults
            .warning(span, "`fast_interval` is longer than `interval`")
            .help("it is for finding out sooner");
    }
}

/// Comparisons that can never find anybody.
fn warn_comparisons(pool: &PoolPlan, written: &Pool, faults: &mut Faults) {
    let (Some(plan), Outlier::Eject(table)) = (&pool.outlier, &written.outlier) else {
        return;
    };
    let success = (plan.success_rate.as_ref()).map(|rules| (rules.min_backends, rules.deviations));
    let latency = (plan.latency.as_ref()).map(|rules| (rules.min_backends, rules.deviations));
    let spans = [
        table.success_rate.as_ref().map(|written| written.span),
        table.latency.as_ref().map(|written| written.span),
    ];
    for (rules, span) in [success, latency].into_iter().zip(spans) {
        let (Some((least, deviations)), Some(span)) = (rules, span) else {
            continue;
        };
        let backends = pool.backends.len();
        if backends < least as usize {
            faults
                .warning(
                    span,
                    format!("nobody is compared: `{}` has fewer than {least} backends", pool.name),
                )
                .help("take it out, or set min_backends");
            continue;
        }
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 backends")]
        let farthest = (backends as f64 - 1.0).sqrt();
        if deviations >= farthest {
            faults
                .warning(
                    span,
                    format!(
                        "nobody stands out: of {backends} values none lies more than {farthest:.2} deviations from \
                         their mean"
                    ),
                )
                .help("set fewer deviations");
        }
    }
}

fn warn_listeners(file: &File, plan: &Plan, faults: &mut Faults) {
    if plan.listeners.is_empty() {
        faults
            .warning(Span::default(), "there are no listeners: nothing is served")
            .help("add [listeners.web] with bind = \":8080\"");
    }
    // A listener that sends everybody to https needs no route.
    let written = file
        .listeners
        .read()
        .filter(|(_, _, listener)| !listener.redirect_to_https);
    let items: BTreeMap<&str, Span> = written.map(|(name, item, _)| (name, item.span)).collect();
    for listener in &plan.listeners {
        let does = match &listener.service {
            ServicePlan::Http(http) if http.rules.is_empty() => "answers every request with 404",
            ServicePlan::Passthrough(passed) if passed.rules.is_empty() => "closes every connection",
            _ => continue,
        };
        if let Some(span) = items.get(listener.name.as_str()) {
            faults
                .warning(*span, format!("`{}` {does}: no route holds for it", listener.name))
                .help("add a route, or name a pool in the listener");
        }
    }
}

/// A second backend that there is not.
fn warn_hedge(span: Span, route: &RoutePlan, plan: &Plan, faults: &mut Faults) {
    let pools = route.action.pools();
    if let Some(alone) = pools
        .iter()
        .map(|at| &plan.pools[*at])
        .find(|pool| pool.backends.len() == 1)
    {
        faults
            .warning(
                span,
                format!("nothing is hedged: `{}` has no second backend", alone.name),
            )
            .help("add one, or take `hedge` out");
    }
}

/// Headers of the PROXY protocol that anybody could send.
fn warn_introductions(file: &File, faults: &mut Faults) {
    for (name, _, listener) in file.listeners.read() {
        let mut binds = listener.bind.iter().map(|bind| bind.value.0.ip().to_canonical());
        let written = &listener.proxy_protocol;
        if written.value == ProxyProtocol::Everybody && !binds.all(|ip| ip.is_loopback()) {
            faults
                .warning(
                    written.span,
                    format!("whoever can connect to `{name}` may say that it is somebody else"),
                )
                .help("name the proxies in front: proxy_protocol = { trusted = [\"10.0.0.0/8\"] }");
        }
    }
}

/// Routes that no request can reach.
fn warn_routes(file: &File, plan: &Plan, faults: &mut Faults) {
    let mut reached = passed_through(plan);
    for listener in &plan.listeners {
        if let ServicePlan::Http(http) = &listener.service {
            reached.extend(http.rules.iter().map(|(_, route)| *route));
        }
    }
    for (position, item) in file.routes.0.iter().enumerate() {
        let matches = item.value.iter().flat_map(|route| route.r#match.iter());
        for method in matches.flat_map(|rule| rule.methods.iter()) {
            // RFC 9110 §9.3.6: it is for proxies that clients choose themselves.
            if method.value.0 == "CONNECT" {
                faults
                    .warning(
                        method.span,
                        "CONNECT is never served: it gets 400 before any route is asked",
                    )
                    .help("take it out");
            }
        }
        if let (Some(hedge), Some(route)) = (
            item.value.as_ref().and_then(|route| route.hedge.as_ref()),
            plan.routes.get(position),
        ) {
            warn_hedge(hedge.span, route, plan, faults);
        }
        if !reached.contains(&position)
            && let Some(route) = plan.routes.get(position)
        {
            faults.warning(item.span, format!("the route `{}` holds for no listener", route.name));
        }
    }
}
