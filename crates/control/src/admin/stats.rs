//! `GET /api/v1/stats`: what the dashboard and `plimsoll top` draw.

use axum::extract::{Query, State};
use axum::http::{Extensions, StatusCode};
use serde_json::{Value, json};

use super::Api;
use super::guard::MayWrite;
use super::pools::unknown;
use super::problem::Problem;
use crate::metrics::{Page, Sort};

/// Backends of a page unless it is said, and at the most.
const LIMIT: usize = 50;
pub(super) const LIMIT_MAX: usize = 500;

/// The words for an order.
pub(super) const SORTS: [(&str, Sort); 6] = [
    ("order", Sort::Order),
    ("state", Sort::State),
    ("load", Sort::Load),
    ("requests", Sort::Requests),
    ("errors", Sort::Errors),
    ("latency", Sort::Latency),
];

/// Sums, and the backends of one pool when `pool` names it.
pub(super) async fn stats(
    State(api): State<Api>,
    Query(parameters): Query<Vec<(String, String)>>,
    extensions: Extensions,
) -> Result<axum::Json<Value>, Problem> {
    let page = page(&parameters)?;
    let mut stats = api.metrics.stats(page.as_ref()).ok_or_else(|| {
        let names = api.control.pool_names();
        let pool = page.map(|page| page.pool).unwrap_or_default();
        unknown("pool", &pool, names.iter().map(|name| &**name))
    })?;
    stats["status"] = super::node::status_json(&api);
    stats["may_write"] = json!(extensions.get::<MayWrite>().is_none_or(|may| may.0));
    Ok(axum::Json(stats))
}

fn page(parameters: &[(String, String)]) -> Result<Option<Page>, Problem> {
    let bad = |why: String| Problem::new(StatusCode::BAD_REQUEST, why);
    let mut page = Page {
        pool: String::new(),
        filter: String::new(),
        sort: Sort::Order,
        offset: 0,
        limit: LIMIT,
    };
    for (at, (name, value)) in parameters.iter().enumerate() {
        if parameters[..at].iter().any(|(before, _)| before == name) {
            return Err(bad(format!("`{name}` is given twice")));
        }
        match name.as_str() {
            "pool" => page.pool.clone_from(value),
            "filter" => page.filter.clone_from(value),
            "sort" => {
                let found = SORTS.iter().find(|(word, _)| word == value);
                let words = SORTS.map(|(word, _)| word).join(", ");
                page.sort = found
                    .map(|(_, sort)| *sort)
                    .ok_or_else(|| bad(format!("`sort` is one of {words}")))?;
            }
            "offset" => page.offset = value.parse().map_err(|_| bad("`offset` is a number".into()))?,
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                page.limit = limit.ok_or_else(|| bad(format!("`limit` is a number from 1 to {LIMIT_MAX}")))?;
            }
            _ => return Err(bad(format!("unknown parameter \"{name}\""))),
        }
    }
    match (page.pool.is_empty(), parameters.is_empty()) {
        (true, true) => Ok(None),
        (true, false) => Err(bad("`pool` is missing: what else is said is about its backends".into())),
        (false, _) => Ok(Some(page)),
    }
}
