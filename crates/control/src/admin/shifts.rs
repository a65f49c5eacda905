//! Calls about gradual shifts of splits.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use plimsoll_core::shift::{Limit, OVER_MAX};
use serde_json::Value;

use super::Api;
use super::body::read_body;
use super::change::ShiftAsked;
use super::pools::unknown;
use super::problem::Problem;
use super::routes::route_as_it_stands;
use crate::publish::SplitFault;
use crate::shifts::Wish;

/// `POST /api/v1/routes/{route}/shift`: the route as it stands then.
pub(super) async fn begin(
    State(api): State<Api>,
    Path(name): Path<String>,
    fields: HeaderMap,
    body: Body,
) -> Result<axum::Json<Value>, Problem> {
    let bad = |why: String| Problem::new(StatusCode::BAD_REQUEST, why);
    let asked: ShiftAsked = read_body(&fields, body).await?;
    if asked.to.is_empty() {
        return Err(bad("`to` is missing: [{ \"pool\": \"green\", \"weight\": 100 }]".into()));
    }
    let limits: Result<Vec<Limit>, String> = asked.abort_if.iter().map(|text| Limit::parse(&text.value)).collect();
    let over = asked.over.unwrap_or_default();
    if over > OVER_MAX {
        return Err(bad(format!("`over` is at most {} days", OVER_MAX.as_secs() / 86_400)));
    }
    let to = asked.to.iter();
    let wish = Wish {
        to: to
            .map(|part| (part.value.pool.value.clone(), part.value.weight.0))
            .collect(),
        over,
        limits: limits.map_err(bad)?,
        when_healthy: asked.when_healthy,
    };
    api.shifts.begin(&name, wish).map_err(|fault| match fault {
        SplitFault::NoRoute => no_route(&api, &name),
        fault => bad(fault.to_string()),
    })?;
    Ok(axum::Json(route_as_it_stands(&api, &name)))
}

/// `DELETE /api/v1/routes/{route}/shift`: the weights are what they were before.
pub(super) async fn cancel(State(api): State<Api>, Path(name): Path<String>) -> Result<axum::Json<Value>, Problem> {
    if api.control.plan().routes.iter().all(|route| route.name != name) {
        return Err(no_route(&api, &name));
    }
    if !api.shifts.cancel(&name) {
        let why = "no shift of this route is under way";
        return Err(Problem::new(StatusCode::CONFLICT, why));
    }
    Ok(axum::Json(route_as_it_stands(&api, &name)))
}

fn no_route(api: &Api, name: &str) -> Problem {
    let plan = api.control.plan();
    unknown("route", name, plan.routes.iter().map(|route| route.name.as_str()))
}
