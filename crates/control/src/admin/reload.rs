//! Calls that load another configuration.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::Api;
use super::body::{kind_of, read_text};
use super::problem::Problem;
use crate::config::{FILE_BYTES_MAX, Format};
use crate::reload::{NotReloaded, Reloaded};

/// Media types of configurations. RFC 9512 registers YAML's; the others of it were in use before.
const FORMATS: [(&str, Format); 5] = [
    ("application/toml", Format::Toml),
    ("application/json", Format::Json),
    ("application/yaml", Format::Yaml),
    ("application/x-yaml", Format::Yaml),
    ("text/yaml", Format::Yaml),
];

/// `POST /api/v1/reload`: reads the file again.
pub(super) async fn reload(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<axum::Json<Value>, Problem> {
    let is_trial = is_trial(query.as_deref())?;
    let reloaded = if is_trial {
        api.reloader.judge().await
    } else {
        api.reloader.reload().await
    };
    // The call was right; what is wrong is the file.
    reloaded_json(reloaded, is_trial, StatusCode::UNPROCESSABLE_ENTITY)
}

/// `PUT /api/v1/config`: serves what the body says.
pub(super) async fn replace(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    fields: HeaderMap,
    body: Body,
) -> Result<axum::Json<Value>, Problem> {
    let is_trial = is_trial(query.as_deref())?;
    let kind = kind_of(&fields);
    let format = FORMATS.iter().find(|(known, _)| known.eq_ignore_ascii_case(kind));
    let Some((_, format)) = format else {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the Content-Type has to be application/toml, application/json or application/yaml",
        ));
    };
    let Some(_place) = api.reloader.take_document() else {
        return Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many configurations are being read: try again",
        ));
    };
    let text = read_text(body, usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX)).await?;
    let replaced = api.reloader.replace(*format, text, is_trial).await;
    reloaded_json(replaced, is_trial, StatusCode::BAD_REQUEST)
}

/// Whether `?dry_run=true` asks only to judge.
fn is_trial(query: Option<&str>) -> Result<bool, Problem> {
    match query.unwrap_or_default() {
        "" | "dry_run=false" => Ok(false),
        "dry_run=true" => Ok(true),
        // Whoever mistypes it must not get the real thing.
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "the query may be ?dry_run=true or ?dry_run=false, and nothing else",
        )),
    }
}

fn reloaded_json(
    reloaded: Result<Reloaded, NotReloaded>,
    is_trial: bool,
    invalid: StatusCode,
) -> Result<axum::Json<Value>, Problem> {
    match reloaded {
        Ok(reloaded) => Ok(axum::Json(json!({
            "result": "ok",
            "dry_run": is_trial,
            "generation": reloaded.generation,
            "warnings": reloaded.warnings,
            "needs_restart": reloaded.needs_restart,
        }))),
        Err(why) => Err(problem(why, invalid)),
    }
}

/// What has kept a change from being made; what is `invalid` has that status.
pub(super) fn problem(why: NotReloaded, invalid: StatusCode) -> Problem {
    let status = match why {
        NotReloaded::Invalid { told, faults } => {
            return Problem::new(invalid, told.join("; ")).with("errors", faults);
        }
        NotReloaded::Draining => StatusCode::SERVICE_UNAVAILABLE,
        NotReloaded::Nothing(_) => invalid,
        NotReloaded::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        NotReloaded::Unbound(_) | NotReloaded::NoFile | NotReloaded::Conflict(_) | NotReloaded::Full => {
            StatusCode::CONFLICT
        }
    };
    Problem::new(status, why.to_string())
}
