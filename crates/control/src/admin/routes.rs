//! Calls about routes.

use axum::extract::State;
use plimsoll_core::route::{Rule, ValueMatch};
use plimsoll_core::snapshot::Action;
use serde_json::{Value, json};

use super::Api;
use crate::config::{Plan, RouteIndex, RoutePlan, ServicePlan};

/// `GET /api/v1/routes`: in the order of the file.
pub(super) async fn list(State(api): State<Api>) -> axum::Json<Value> {
    axum::Json(routes_json(&api.control.plan()))
}

fn routes_json(plan: &Plan) -> Value {
    let mut listeners: Vec<Vec<&str>> = vec![Vec::new(); plan.routes.len()];
    let mut rules: Vec<Vec<Value>> = vec![Vec::new(); plan.routes.len()];
    for listener in &plan.listeners {
        let ServicePlan::Http(http) = &listener.service else {
            continue;
        };
        for (rule, route) in &http.rules {
            note(*route, &listener.name, &mut listeners);
            // A route has the same rules on each of its listeners.
            if listeners[*route].len() == 1 {
                rules[*route].push(rule_json(rule));
            }
        }
    }
    let parts = listeners.into_iter().zip(rules);
    let routes = plan.routes.iter().zip(parts);
    routes
        .map(|(route, (listeners, rules))| route_json(plan, route, &listeners, &rules))
        .collect()
}

fn note<'p>(route: RouteIndex, listener: &'p str, listeners: &mut [Vec<&'p str>]) {
    if listeners[route].last() != Some(&listener) {
        listeners[route].push(listener);
    }
}

fn route_json(plan: &Plan, route: &RoutePlan, listeners: &[&str], rules: &[Value]) -> Value {
    let (pool, redirect, respond) = match &route.action {
        Action::Pool(index) => (plan.pools.get(*index).map(|pool| &pool.name), None, None),
        Action::Redirect(redirect) => {
            let fields = json!({
                "scheme": redirect.scheme,
                "host": redirect.host,
                "port": redirect.port,
                "path": redirect.path,
                "status": redirect.status,
            });
            (None, Some(fields), None)
        }
        Action::Respond(respond) => (None, None, Some(json!({ "status": respond.status }))),
    };
    json!({
        "name": route.name,
        "listeners": listeners,
        "match": rules,
        "pool": pool,
        "redirect": redirect,
        "respond": respond,
        "timeout_ms": route.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        "retry_attempts": route.retry.attempts,
    })
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
