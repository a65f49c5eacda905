//! Calls about decisions that were taken: one by its request's id, or the latest of a route, a pool or a reason.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use plimsoll_core::decision::Wanted;
use plimsoll_core::document::nearest;
use plimsoll_core::outcome::Reason;
use serde_json::Value;

use super::Api;
use super::pools::unknown;
use super::problem::Problem;

/// What may be asked for.
const PARAMETERS: [&str; 6] = ["route", "pool", "backend", "reason", "failed", "limit"];

/// How many are told of unless it is said.
const LIMIT: usize = 20;

/// How many are told of at the most.
pub(super) const LIMIT_MAX: usize = 200;

/// `GET /api/v1/decisions/{request_id}`.
pub(super) async fn one(State(api): State<Api>, Path(id): Path<String>) -> Result<axum::Json<Value>, Problem> {
    let taken = api.decisions.find(&id).ok_or_else(|| {
        let why = format!(
            "no decision about the request \"{id}\" is kept: those that failed of late are, a sample of the others, and \
             what a trusted sender marks with x-plimsoll-explain: 1"
        );
        Problem::new(StatusCode::NOT_FOUND, why)
    })?;
    Ok(axum::Json(api.control.decision(&taken)))
}

/// `GET /api/v1/decisions`: the newest first.
pub(super) async fn latest(
    State(api): State<Api>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<axum::Json<Value>, Problem> {
    let (wanted, most) = wanted(&api, &parameters)?;
    let found = api.decisions.latest(&wanted, most);
    let told = found.iter().map(|taken| api.control.decision_summary(taken));
    Ok(axum::Json(told.collect()))
}

fn wanted(api: &Api, parameters: &[(String, String)]) -> Result<(Wanted, usize), Problem> {
    let bad = |why: String| Problem::new(StatusCode::BAD_REQUEST, why);
    let (mut wanted, mut most) = (Wanted::default(), LIMIT);
    let snapshot = api.control.snapshot().load();
    for (at, (name, value)) in parameters.iter().enumerate() {
        if parameters[..at].iter().any(|(before, _)| before == name) {
            return Err(bad(format!("`{name}` is given twice")));
        }
        match name.as_str() {
            "route" => {
                let found = snapshot.routes.iter().find(|route| *route.name == **value);
                let names = snapshot.routes.iter().map(|route| &*route.name);
                wanted.route = Some(
                    found
                        .map(|route| route.id)
                        .ok_or_else(|| unknown("route", value, names))?,
                );
            }
            "pool" => {
                let found = snapshot.pools.iter().find(|pool| *pool.name == **value);
                let names = snapshot.pools.iter().map(|pool| &*pool.name);
                wanted.pool = Some(found.map(|pool| pool.id).ok_or_else(|| unknown("pool", value, names))?);
            }
            "backend" => wanted.backend = Some(value.clone()),
            "reason" => {
                let words = Reason::ALL.iter().map(|reason| reason.word());
                wanted.reason = Some(Reason::of_word(value).ok_or_else(|| unknown("reason", value, words))?);
            }
            "failed" if value == "true" || value == "false" => wanted.failures = value == "true",
            "failed" => return Err(bad("`failed` is true or false".into())),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                most = limit.ok_or_else(|| bad(format!("`limit` is a number from 1 to {LIMIT_MAX}")))?;
            }
            _ => {
                let hint =
                    nearest(name, PARAMETERS).map_or(String::new(), |word| format!("; did you mean \"{word}\"?"));
                return Err(bad(format!("unknown parameter \"{name}\"{hint}")));
            }
        }
    }
    Ok((wanted, most))
}
