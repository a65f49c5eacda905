//! Sticky sessions: one thing that ties, attributes that cookies can have, and what will not hold as long as it looks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plimsoll_core::document::{Faults, Located, Span};
use plimsoll_core::snapshot::{Action, PoolIndex};
use plimsoll_core::sticky::By;

use super::super::file::{File, SameSite, Sticky};
use super::super::plan::{PassthroughPlan, Plan, PoolPlan, ServicePlan};

/// Cookies count their time in seconds.
const TTL_MIN: Duration = Duration::from_secs(1);

/// Adds an error for what cannot be.
pub(super) fn check(sticky: &Located<Sticky>, faults: &mut Faults) {
    let Sticky {
        cookie,
        app_cookie,
        header,
        client_ip,
        ..
    } = &sticky.value;
    let is_off = client_ip.as_ref().filter(|on| !on.value);
    if let Some(off) = is_off {
        faults
            .error(off.span, "nothing is left to tell clients apart")
            .help("take `sticky` out to have none");
        return;
    }
    let ways = [
        ("cookie", cookie.is_some()),
        ("app_cookie", app_cookie.is_some()),
        ("header", header.is_some()),
        ("client_ip", client_ip.is_some()),
    ];
    let written: Vec<&str> = ways.iter().filter(|(_, is)| *is).map(|(way, _)| *way).collect();
    if written.len() != 1 {
        let message = match written.as_slice() {
            [] => "nothing says what ties a client to its backend".to_owned(),
            several => format!("a client is tied by one thing, and this names {}", several.join(", ")),
        };
        let help = "write { cookie = \"plimsoll\" }, { app_cookie = \"JSESSIONID\" }, { header = \"x-session\" } or { client_ip = true }";
        faults.error(sticky.span, message).help(help);
        return;
    }
    check_attributes(&sticky.value, faults);
    if let Some(ttl) = sticky.value.ttl.as_ref().filter(|ttl| ttl.value.0 < TTL_MIN) {
        faults.error(ttl.span, "a sticky session lasts a second at least");
    }
}

fn check_attributes(sticky: &Sticky, faults: &mut Faults) {
    let place = |is: Option<Span>, key: &'static str| is.map(|span| (key, span));
    let attributes = [
        place(sticky.domain.as_ref().map(|own| own.span), "domain"),
        place(sticky.path.as_ref().map(|own| own.span), "path"),
        place(sticky.secure.as_ref().map(|own| own.span), "secure"),
        place(sticky.same_site.as_ref().map(|own| own.span), "same_site"),
    ];
    if sticky.cookie.is_none() {
        for (key, span) in attributes.into_iter().flatten() {
            faults
                .error(span, format!("`{key}` is for a cookie of ours"))
                .help("add cookie = \"plimsoll\", or take the key out");
        }
    }
    if let Some(path) = sticky.path.as_ref().filter(|path| path.value.0.contains(';')) {
        faults.error(path.span, "the path of a cookie holds no semicolon");
    }
    let open = sticky
        .same_site
        .as_ref()
        .filter(|same_site| same_site.value == SameSite::None);
    if let Some(open) = open.filter(|_| !sticky.secure.as_ref().is_some_and(|secure| secure.value)) {
        faults
            .error(
                open.span,
                "browsers refuse a cookie with SameSite=None that is not Secure",
            )
            .help("add secure = true");
    }
}

/// Adds a warning for what will not hold as long as it looks.
pub(super) fn warn(file: &File, plan: &Plan, faults: &mut Faults) {
    let places: BTreeMap<&str, &Located<Sticky>> = (file.pools.read())
        .filter_map(|(name, _, pool)| Some((name, pool.sticky.as_ref()?)))
        .collect();
    let mut names: BTreeMap<&str, (&str, Span)> = BTreeMap::new();
    // Within a split a session stays with its pool, and one cookie tells which that is.
    let splits: Vec<Vec<&str>> = (plan.routes.iter())
        .filter_map(|route| match &route.action {
            Action::Split(split) => Some(split.shares()),
            _ => None,
        })
        .map(|shares| shares.iter().map(|share| &*plan.pools[share.pool].name).collect())
        .collect();
    let sticky_pools = plan
        .pools
        .iter()
        .filter_map(|pool| Some((pool, *places.get(&*pool.name)?)));
    for (pool, place) in sticky_pools {
        let name = &pool.name;
        let Some(By::Cookie(cookie)) = pool.sticky.as_ref().map(|sticky| &sticky.by) else {
            continue;
        };
        if file.server.secret_files.is_empty() {
            faults
                .warning(
                    place.span,
                    format!("a restart forgets the sticky sessions of `{name}`, and other nodes never know them"),
                )
                .help("add [server] secret_files = [\"cookie.key\"]; openssl rand -base64 48 > cookie.key makes one");
        }
        let together = |other: &str| {
            splits
                .iter()
                .any(|pools| pools.contains(&other) && pools.contains(&&**name))
        };
        if let Some((other, first)) = names.get(&*cookie.name).filter(|(other, _)| !together(other)) {
            faults
                .warning(
                    place.span,
                    format!("the pools `{other}` and `{name}` have one cookie: each ends the other's sticky sessions"),
                )
                .help("give each its own name")
                .also(*first, "the other one");
        } else {
            names.entry(&cookie.name).or_insert((name, place.span));
        }
    }
    warn_uses(plan, &places, faults);
}

/// Pools that are used where their sticky sessions mean nothing.
fn warn_uses(plan: &Plan, places: &BTreeMap<&str, &Located<Sticky>>, faults: &mut Faults) {
    let place = |pool: &PoolPlan| places.get(&*pool.name).copied();
    for listener in &plan.listeners {
        let (what, pools) = match &listener.service {
            ServicePlan::Http(_) => continue,
            ServicePlan::Tcp(service) => ("TCP", BTreeSet::from([service.pool])),
            ServicePlan::Passthrough(passed) => ("TLS", pools_of(plan, passed)),
        };
        for pool in pools.into_iter().map(|pool| &plan.pools[pool]) {
            let by = pool.sticky.as_ref().map(|sticky| &sticky.by);
            if let (Some(by), Some(place)) = (by.filter(|by| **by != By::ClientIp), place(pool)) {
                let message = format!(
                    "a {what} connection of `{}` has nothing like {}",
                    listener.name,
                    by.text()
                );
                faults
                    .warning(place.span, message)
                    .help("at layer 4 there is { client_ip = true }");
            }
        }
    }
}

/// The pools that connections of a listener go to.
fn pools_of(plan: &Plan, passed: &PassthroughPlan) -> BTreeSet<PoolIndex> {
    let routes = passed.rules.iter().map(|(_, route)| &plan.routes[*route]);
    let pools = routes.flat_map(|route| match &route.action {
        Action::Pool(pool) => vec![*pool],
        Action::Split(split) => split.shares().iter().map(|share| share.pool).collect(),
        Action::Redirect(_) | Action::Respond(_) => Vec::new(),
    });
    pools.collect()
}
