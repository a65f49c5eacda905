//! Calls about routes.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use plimsoll_core::document::Located;
use plimsoll_core::maintenance::Maintenance;
use plimsoll_core::reversal::HostSent;
use plimsoll_core::route::{ConnectionRule, Rule, ValueMatch};
use plimsoll_core::snapshot::Action;
use plimsoll_core::split::Share;
use serde_json::{Value, json};

use super::Api;
use super::body::read_body;
use super::change::{Closed, Parts, RouteChange};
use super::pools::unknown;
use super::problem::Problem;
use crate::config::{Part, Plan, RouteIndex, RoutePlan, ServicePlan};
use crate::events::Kind;
use crate::publish::SplitFault;

/// `GET /api/v1/routes`: in the order of the file.
pub(super) async fn list(State(api): State<Api>) -> axum::Json<Value> {
    axum::Json(routes_json(&api))
}

/// The route `name`; null when it is gone.
pub(super) fn route_as_it_stands(api: &Api, name: &str) -> Value {
    let routes = routes_json(api);
    let found = routes
        .as_array()
        .into_iter()
        .flatten()
        .find(|route| route["name"] == name);
    found.cloned().unwrap_or_default()
}

/// `PATCH /api/v1/routes/{route}`: the route as it stands then.
pub(super) async fn change(
    State(api): State<Api>,
    Path(name): Path<String>,
    fields: HeaderMap,
    body: Body,
) -> Result<axum::Json<Value>, Problem> {
    let bad = |why: String| Problem::new(StatusCode::BAD_REQUEST, why);
    let RouteChange { split, maintenance } = read_body(&fields, body).await?;
    if split.is_none() && maintenance.is_none() {
        return Err(bad("nothing to change: name `split` or `maintenance`".into()));
    }
    let no_route = || {
        let plan = api.control.plan();
        unknown("route", &name, plan.routes.iter().map(|route| route.name.as_str()))
    };
    if let Some(Parts(None)) = &split {
        api.control.reset_split(&name).map_err(|fault| match fault {
            SplitFault::NoRoute => no_route(),
            fault => bad(fault.to_string()),
        })?;
        tracing::info!(route = name, "an operator left a split to its configuration again");
    }
    if let Some(Parts(Some(parts))) = split {
        let weight = |part: &'_ Located<Part>| (part.value.pool.value.clone(), part.value.weight.0);
        let weights: Vec<(String, u32)> = parts.iter().map(weight).collect();
        let named: Vec<(&str, u32)> = weights.iter().map(|(pool, weight)| (pool.as_str(), *weight)).collect();
        api.control.set_split(&name, &named).map_err(|fault| match fault {
            SplitFault::NoRoute => no_route(),
            fault => bad(fault.to_string()),
        })?;
        tracing::info!(route = name, weights = ?weights, "an operator changed a split");
        let told: Vec<String> = weights
            .iter()
            .map(|(pool, weight)| format!("{pool} {weight}"))
            .collect();
        let message = format!("an operator split the route {name}: {}", told.join(", "));
        let split: Vec<Value> = (weights.iter())
            .map(|(pool, weight)| json!({ "pool": pool, "weight": weight }))
            .collect();
        let details = json!({ "route": name, "split": split });
        api.control.events().tell(Kind::Operator, message, details);
    }
    if let Some(Closed(wanted)) = maintenance {
        if !api.control.set_maintenance(&name, wanted) {
            return Err(no_route());
        }
        let wanted = wanted.map_or("as configured", |closed| if closed { "closed" } else { "open" });
        tracing::info!(route = name, wanted, "an operator changed a route's maintenance");
        let message = format!("an operator set the route {name}: {wanted}");
        let details = json!({ "route": name, "maintenance": wanted });
        api.control.events().tell(Kind::Operator, message, details);
    }
    Ok(axum::Json(route_as_it_stands(&api, &name)))
}

fn routes_json(api: &Api) -> Value {
    let control = &api.control;
    let plan = &*control.plan();
    let snapshot = control.snapshot().load();
    let mut listeners: Vec<Vec<&str>> = vec![Vec::new(); plan.routes.len()];
    let mut rules: Vec<Vec<Value>> = vec![Vec::new(); plan.routes.len()];
    for listener in &plan.listeners {
        let matches: Vec<(RouteIndex, Value)> = match &listener.service {
            ServicePlan::Http(http) => http.rules.iter().map(|(rule, at)| (*at, rule_json(rule))).collect(),
            ServicePlan::Passthrough(passed) => {
                let rules = passed.rules.iter();
                rules.map(|(rule, at)| (*at, connection_rule_json(rule))).collect()
            }
            ServicePlan::Tcp(_) => continue,
        };
        for (route, rule) in matches {
            note(route, &listener.name, &mut listeners);
            // A route has the same rules on each of its listeners.
            if listeners[route].len() == 1 {
                rules[route].push(rule);
            }
        }
    }
    let parts = listeners.into_iter().zip(rules);
    let routes = plan.routes.iter().zip(parts);
    let json = |(route, (listeners, rules)): (&RoutePlan, (Vec<&str>, Vec<Value>))| {
        let mut json = route_json(plan, route, &listeners, &rules);
        let living = snapshot.routes.iter().find(|living| *living.name == *route.name);
        let maintenance = living.map(|living| &living.maintenance);
        json["maintenance"] = maintenance.is_some_and(Maintenance::is_closed).into();
        let wanted = maintenance.and_then(|maintenance| maintenance.switch.wanted());
        let weights = control.split_of(&route.name).map(|parts| {
            let part = |(pool, weight): &(String, u32)| json!({ "pool": pool, "weight": weight });
            parts.iter().map(part).collect::<Vec<_>>()
        });
        json["operator"] = json!({ "maintenance": wanted, "split": weights });
        json["shift"] = api.shifts.status(&route.name).unwrap_or_default();
        json
    };
    routes.map(json).collect()
}

fn note<'p>(route: RouteIndex, listener: &'p str, listeners: &mut [Vec<&'p str>]) {
    if listeners[route].last() != Some(&listener) {
        listeners[route].push(listener);
    }
}

fn route_json(plan: &Plan, route: &RoutePlan, listeners: &[&str], rules: &[Value]) -> Value {
    let name_of = |pool: usize| plan.pools.get(pool).map(|pool| &pool.name);
    let (mut pool, mut split, mut redirect, mut respond) = (None, None, None, None);
    match &route.action {
        Action::Pool(index) => pool = name_of(*index),
        Action::Split(shares) => {
            let part = |share: &Share| json!({ "pool": name_of(share.pool), "weight": share.weight });
            split = Some(shares.shares().iter().map(part).collect::<Vec<_>>());
        }
        Action::Redirect(to) => {
            redirect = Some(json!({
                "scheme": to.scheme,
                "host": to.host,
                "port": to.port,
                "path": to.path.as_ref().map(ToString::to_string),
                "status": to.status,
            }));
        }
        Action::Respond(answer) => respond = Some(json!({ "status": answer.status })),
    }
    json!({
        "name": route.name,
        "origin": route.origin.word(),
        "listeners": listeners,
        "match": rules,
        "filters": route.filters.iter().map(|filter| filter.config.kind()).collect::<Vec<_>>(),
        "pool": pool,
        "split": split,
        "mirror": route.mirror.map(|mirror| json!({ "pool": name_of(mirror.pool), "percent": mirror.percent })),
        "host": host_word(&route.host),
        "redirect": redirect,
        "respond": respond,
        "timeout_ms": route.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        "retry_attempts": route.retry.attempts,
    })
}

fn connection_rule_json(rule: &ConnectionRule) -> Value {
    json!({
        "sni": rule.sni.to_string(),
        "alpn": rule.alpn,
        "client": rule.client.map(|network| network.to_string()),
    })
}

fn host_word(host: &HostSent) -> &str {
    match host {
        HostSent::Keep => "keep",
        HostSent::Backend => "backend",
        HostSent::Name(name) => name,
    }
}

/// Values of headers, query parameters and cookies may be secrets: their names are told alone.
fn rule_json(rule: &Rule) -> Value {
    let names =
        |values: &[(String, ValueMatch)]| -> Vec<String> { values.iter().map(|(name, _)| name.clone()).collect() };
    json!({
        "host": rule.host.to_string(),
        "path": rule.path.to_string(),
        "methods": rule.methods,
        "headers": names(&rule.headers),
        "query": names(&rule.query),
        "cookies": names(&rule.cookies),
    })
}
