//! Calls about pools and their backends.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use plimsoll_core::backend::Backend;
use plimsoll_core::document::nearest;
use plimsoll_core::membership::{Action, Event, MemberStatus, Operator};
use plimsoll_core::pool::BackendProtocol;
use serde_json::{Value, json};

use super::Api;
use super::body::read_body;
use super::change::Change;
use super::node::rfc3339;
use super::problem::Problem;
use crate::config::Origin;
use crate::events::Kind;
use crate::living::PoolStatus;
use crate::originations::TlsStatus;
use crate::publish::Control;

/// `GET /api/v1/pools`.
pub(super) async fn list(State(api): State<Api>) -> axum::Json<Value> {
    let pools = api.control.pools();
    axum::Json(pools.iter().map(|pool| pool_json(&api.control, pool)).collect())
}

/// `GET /api/v1/pools/{pool}`.
pub(super) async fn one(State(api): State<Api>, Path(name): Path<String>) -> Result<axum::Json<Value>, Problem> {
    let pool = find_pool(&api.control, &name)?;
    Ok(axum::Json(pool_json(&api.control, &pool)))
}

/// `PATCH /api/v1/pools/{pool}/backends/{address}`: the backend as it stands then.
pub(super) async fn change(
    State(api): State<Api>,
    Path((pool, backend)): Path<(String, String)>,
    fields: HeaderMap,
    body: Body,
) -> Result<axum::Json<Value>, Problem> {
    let change: Change = read_body(&fields, body).await?;
    let actions = change
        .actions(api.control.now())
        .map_err(|why| Problem::new(StatusCode::BAD_REQUEST, why))?;
    let control = &api.control;
    let found = find_backend(&find_pool(control, &pool)?, &backend)?;
    let id = found.backend.id;
    let events = actions.iter().map(|action| Event::Operator {
        backend: id,
        action: *action,
    });
    control.tell_all(&pool, events);
    for action in &actions {
        let (backend, change) = (&*found.name, said(*action));
        tracing::info!(pool, backend, %change, "an operator changed a backend");
        let details = json!({ "pool": pool, "backend": backend, "change": change });
        let message = format!("an operator set {pool}/{backend} to {change}");
        control.events().tell(Kind::Operator, message, details);
    }
    let after = find_pool(control, &pool)?;
    let found = find_backend(&after, &backend)?;
    Ok(axum::Json(backend_json(control, &after, &found)))
}

/// `PATCH /api/v1/pools/{pool}`: the same change of all its backends at once; the pool as it stands then.
pub(super) async fn change_all(
    State(api): State<Api>,
    Path(pool): Path<String>,
    fields: HeaderMap,
    body: Body,
) -> Result<axum::Json<Value>, Problem> {
    let change: Change = read_body(&fields, body).await?;
    let control = &api.control;
    let actions = change
        .actions(control.now())
        .map_err(|why| Problem::new(StatusCode::BAD_REQUEST, why))?;
    let found = find_pool(control, &pool)?;
    let ids: Vec<_> = found.backends.iter().map(|backend| backend.backend.id).collect();
    // Ten thousand lines and events would bury what else happens: it is told once, below.
    control.change(&pool, |members, now, _| members.operate(&ids, &actions, now));
    let said: Vec<String> = actions.iter().map(|action| said(*action)).collect();
    let (change, backends) = (said.join(" and "), ids.len());
    tracing::info!(pool, backends, change, "an operator changed all backends of a pool");
    let details = json!({ "pool": pool, "backends": backends, "change": change });
    let message = format!("an operator set all backends of {pool} to {change}");
    control.events().tell(Kind::Operator, message, details);
    Ok(axum::Json(pool_json(control, &find_pool(control, &pool)?)))
}

pub(super) fn find_pool(control: &Control, name: &str) -> Result<PoolStatus, Problem> {
    control.pool(name).ok_or_else(|| {
        let names = control.pool_names();
        unknown("pool", name, names.iter().map(|name| &**name))
    })
}

/// The backend with this name, or this address and port.
pub(super) fn find_backend(pool: &PoolStatus, key: &str) -> Result<MemberStatus, Problem> {
    let found = pool.backends.iter().find(|backend| *backend.name == *key).or_else(|| {
        let is = |backend: &&MemberStatus| backend.backend.address.to_string() == key;
        pool.backends.iter().find(is)
    });
    found
        .cloned()
        .ok_or_else(|| unknown("backend", key, pool.backends.iter().map(|backend| &*backend.name)))
}

pub(super) fn unknown<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> Problem {
    let hint = nearest(name, known).map_or(String::new(), |word| format!("; did you mean \"{word}\"?"));
    Problem::new(StatusCode::NOT_FOUND, format!("there is no {what} \"{name}\"{hint}"))
}

fn said(action: Action) -> String {
    match action {
        Action::Drain | Action::DrainUntil(_) => "drain".into(),
        Action::Maintenance => "maintenance".into(),
        Action::Ready => "ready".into(),
        Action::Weight(Some(weight)) => format!("weight {weight}"),
        Action::Weight(None) => "the configured weight".into(),
    }
}

fn pool_json(control: &Control, pool: &PoolStatus) -> Value {
    let backends = pool.backends.iter().map(|backend| backend_json(control, pool, backend));
    json!({
        "name": &*pool.name,
        "policy": pool.policy,
        "panicking": pool.panicking,
        "fallback": fallback_of(control, pool),
        "queue": { "waiting": pool.waiting, "limit": pool.queue },
        "tls": pool.tls.as_ref().map(tls_json),
        "backends": backends.collect::<Vec<_>>(),
    })
}

/// The pool that takes over from this one.
fn fallback_of(control: &Control, pool: &PoolStatus) -> Option<String> {
    let plan = control.plan();
    let own = &plan.pools[plan.pool_index(&pool.name)?];
    own.fallback.map(|fallback| plan.pools[fallback].name.clone())
}

/// TLS with a pool's backends. The secrets of its files are not shown, nor are their paths.
fn tls_json(tls: &TlsStatus) -> Value {
    let plan = &tls.plan;
    json!({
        "server_name": plan.name.as_ref().map(|name| name.to_str()),
        "min_version": plan.min_version.word(),
        "mutual": plan.own.is_some(),
        "danger_accept_invalid_certs": plan.believes_anyone,
        "error": tls.error,
    })
}

/// What is spoken to a backend, as far as that is known.
fn spoken(pool: &PoolStatus, backend: &Backend) -> Option<&'static str> {
    match pool.protocol {
        BackendProtocol::H1 => Some("h1"),
        BackendProtocol::H2 => Some("h2"),
        BackendProtocol::Auto if backend.spoken.is_h2() => Some("h2"),
        BackendProtocol::Auto => backend.spoken.is_h1().then_some("h1"),
    }
}

/// A backend, as the API has it.
pub(crate) fn backend_json(control: &Control, pool: &PoolStatus, status: &MemberStatus) -> Value {
    let load = &status.backend.load;
    let (requests, errors) = load.totals();
    // Three places: microseconds.
    let latency = load.latency_ms().map(|millis| (f64::from(millis) * 1e3).round() / 1e3);
    let utilisation = status.backend.report.utilisation(control.now());
    let utilisation = utilisation.map(|share| (f64::from(share) * 1e3).round() / 1e3);
    let drains = status.drains_until.map(|until| rfc3339(control.wall_time(until)));
    let drain_left = status.drains_until.map(|until| until.since(control.now()));
    let sticky = pool.sticky.as_ref();
    let sessions = sticky.map_or(0, |sticky| sticky.count(&status.backend, control.now()));
    let address = status.backend.address;
    let before = control.before().map_or(0, |left| left.at(&pool.name, address));
    let made = pool.made.contains(&status.backend.address);
    let origin = if made { Origin::Api } else { Origin::File };
    let until = status.ejected_until.map(|until| rfc3339(control.wall_time(until)));
    json!({
        "name": &*status.name,
        "address": address.to_string(),
        "weight": status.weight,
        "effective_weight": status.effective_weight,
        "zone": status.zone.as_deref(),
        "priority": status.priority,
        "origin": origin.word(),
        "protocol": spoken(pool, &status.backend),
        "state": status.state.word(),
        "cause": status.cause.to_string(),
        "since": rfc3339(control.wall_time(status.since)),
        "ejected_until": until,
        "in_flight": load.in_flight(),
        "in_flight_before": before,
        "load_line": status.load_line,
        "utilization": utilisation,
        "connections": load.connections(),
        "requests": requests,
        "errors": errors,
        "latency_ms": latency,
        "sticky_sessions": sessions,
        "drains_until": drains,
        "drain_left_ms": drain_left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        "cut": status.backend.leaving.cut(),
        "operator": operator_json(status.operator),
    })
}

/// What operators have set, null for what they have not.
pub(super) fn operator_json(operator: Operator) -> Value {
    let state = match operator.withdrawn {
        None => Value::Null,
        Some(Action::Maintenance) => "maintenance".into(),
        Some(_) => "drain".into(),
    };
    json!({ "state": state, "weight": operator.weight })
}
