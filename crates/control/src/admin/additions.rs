//! Calls that make backends and routes, and remove what was made so.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use plimsoll_core::document::{Decode, Faults, Node, Span, Value as Written};
use plimsoll_core::membership::{Action, Event};
use serde_json::json;

use super::Api;
use super::body::read_json;
use super::pools::{backend_json, find_backend, find_pool, unknown};
use super::problem::Problem;
use super::reload::problem;
use super::routes::route_as_it_stands;
use crate::config::{Addition, Origin, What};
use crate::events::Kind;

/// `POST /api/v1/pools/{pool}/backends`: the backend as it stands then.
pub(super) async fn add_backend(
    State(api): State<Api>,
    Path(pool): Path<String>,
    RawQuery(query): RawQuery,
    fields: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    no_query(query.as_deref())?;
    find_pool(&api.control, &pool)?;
    let text = read_json(&fields, body).await?;
    let addition = Addition::backend(&pool, text).map_err(|refused| Problem::refused(&refused))?;
    let What::Backend { address, .. } = addition.what else {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "a backend is wanted"));
    };
    made(&api, addition).await?;
    let status = find_pool(&api.control, &pool)?;
    let backend = find_backend(&status, &address.to_string())?;
    let place = format!("/api/v1/pools/{}/backends/{address}", escaped(&pool));
    Ok(created(&place, &backend_json(&api.control, &status, &backend)))
}

/// `DELETE /api/v1/pools/{pool}/backends/{address}`: the backend as it drains, and is removed then.
pub(super) async fn remove_backend(
    State(api): State<Api>,
    Path((pool, key)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let control = &api.control;
    let timeout = timeout(query.as_deref())?;
    let status = control.pool(&pool);
    let served = status.as_ref().map(|status| find_backend(status, &key));
    let Some(Ok(backend)) = served else {
        // One that is set aside has nothing to drain.
        let aside = control.additions().into_iter().map(|addition| addition.what);
        let is_it = |what: &What| matches!(what, What::Backend { pool: of, address } if *of == pool && address.to_string() == key);
        return match aside.into_iter().find(is_it) {
            Some(what) => removed(&api, what).await,
            None => Err(find_pool(control, &pool)
                .and_then(|status| find_backend(&status, &key))
                .err()
                .unwrap_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no such backend"))),
        };
    };
    let address = backend.backend.address;
    if !status.is_some_and(|status| status.made.contains(&address)) {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!(
                "{pool}/{key} is in the configuration's file: take it out there and reload, or PATCH it with \
                 {{\"state\": \"drain\"}} or {{\"state\": \"maintenance\"}}"
            ),
        ));
    }
    let now = control.now();
    let action = timeout.map_or(Action::Drain, |timeout| Action::DrainUntil(now + timeout));
    let event = Event::Operator {
        backend: backend.backend.id,
        action,
    };
    control.tell(&pool, event);
    let name = &*backend.name;
    tracing::info!(pool, backend = name, "an operator removes a backend: it drains first");
    let details = json!({ "pool": pool, "backend": name, "change": "removal" });
    let message = format!("an operator removes {pool}/{name}: it drains first");
    control.events().tell(Kind::Operator, message, details);
    let what = What::Backend {
        pool: pool.clone(),
        address,
    };
    let removal = api.reloader.remove_drained(what).await;
    removal.map_err(|why| problem(why, StatusCode::BAD_REQUEST))?;
    // With nothing to wait for it may be gone by now.
    let (status, found) = (find_pool(control, &pool)?, address.to_string());
    let stands = find_backend(&status, &found).unwrap_or(backend);
    let body = axum::Json(backend_json(control, &status, &stands));
    Ok((StatusCode::ACCEPTED, body).into_response())
}

/// `POST /api/v1/routes`: the route as it stands then.
pub(super) async fn add_route(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    fields: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    no_query(query.as_deref())?;
    let text = read_json(&fields, body).await?;
    let addition = Addition::route(text).map_err(|refused| Problem::refused(&refused))?;
    let What::Route { name } = addition.what.clone() else {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "a route is wanted"));
    };
    made(&api, addition).await?;
    let place = format!("/api/v1/routes/{}", escaped(&name));
    Ok(created(&place, &route_as_it_stands(&api, &name)))
}

/// `DELETE /api/v1/routes/{route}`: requests that it has taken come to their end.
pub(super) async fn remove_route(
    State(api): State<Api>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    no_query(query.as_deref())?;
    let what = What::Route { name: name.clone() };
    let is_made = api.control.additions().iter().any(|addition| addition.what == what);
    if is_made {
        return removed(&api, what).await;
    }
    let plan = api.control.plan();
    let found = plan.routes.iter().find(|route| route.name == name);
    match found.map(|route| route.origin) {
        Some(Origin::File) => Err(Problem::new(
            StatusCode::CONFLICT,
            format!(
                "{name} is in the configuration's file: take it out there and reload, or PATCH it with \
                 {{\"maintenance\": true}}"
            ),
        )),
        _ => Err(unknown(
            "route",
            &name,
            plan.routes.iter().map(|route| route.name.as_str()),
        )),
    }
}

async fn made(api: &Api, addition: Addition) -> Result<(), Problem> {
    let what = addition.what.clone();
    let added = api.reloader.add(addition).await;
    added.map_err(|why| problem(why, StatusCode::BAD_REQUEST))?;
    tracing::info!("an operator added {what}");
    tell(api, &what, "added");
    Ok(())
}

async fn removed(api: &Api, what: What) -> Result<Response, Problem> {
    let removal = api.reloader.remove(what.clone()).await;
    removal.map_err(|why| problem(why, StatusCode::BAD_REQUEST))?;
    tracing::info!("an operator removed {what}");
    tell(api, &what, "removed");
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn tell(api: &Api, what: &What, change: &str) {
    let details = match what {
        What::Backend { pool, address } => json!({ "pool": pool, "backend": address, "change": change }),
        What::Route { name } => json!({ "route": name, "change": change }),
    };
    let message = format!("an operator {change} {what}");
    api.control.events().tell(Kind::Operator, message, details);
}

fn created(place: &str, body: &serde_json::Value) -> Response {
    let mut answer = (StatusCode::CREATED, axum::Json(body)).into_response();
    if let Ok(place) = HeaderValue::from_str(place) {
        answer.headers_mut().insert(header::LOCATION, place);
    }
    answer
}

/// Whoever mistypes a key must not get the change without what it was for.
fn no_query(query: Option<&str>) -> Result<(), Problem> {
    match query {
        None | Some("") => Ok(()),
        Some(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "this call takes no query")),
    }
}

/// What `?timeout=` says, as everywhere: "60s".
fn timeout(query: Option<&str>) -> Result<Option<Duration>, Problem> {
    let bad = |why: String| Problem::new(StatusCode::BAD_REQUEST, why);
    let written = match query {
        None | Some("") => return Ok(None),
        Some(query) => query.strip_prefix("timeout="),
    };
    let Some(written) = written else {
        return Err(bad("the query may be ?timeout=60s, and nothing else".into()));
    };
    let mut faults = Faults::default();
    let node = Node {
        span: Span::default(),
        value: Written::Text(written.to_owned()),
    };
    match Duration::decode(&node, &mut faults) {
        Some(timeout) if !faults.has_errors() => Ok(Some(timeout)),
        _ => {
            let told = faults.list.into_iter().map(|fault| fault.message);
            Err(bad(format!("timeout: {}", told.collect::<Vec<_>>().join("; "))))
        }
    }
}

/// A name as it stands in a path (RFC 3986 §2.3).
fn escaped(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}
