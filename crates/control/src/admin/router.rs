//! Which call goes where.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post, put};

use super::guard::{self, Guard};
use super::problem::Problem;
use super::server::{FIELDS_MAX, HEAD_BYTES_MAX};
use super::{
    Api, additions, dashboard, decisions, events, explain, node, openapi, pools, reload, routes, shifts, stats, upgrade,
};

/// The longest that an answer may take, the reading of the request's body included.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The same for a call that loads a configuration, of which there may be ten thousand routes.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// The calls that load one.
const LOADS: [&str; 2] = ["/api/v1/reload", "/api/v1/config"];

/// What makes and removes a part of one: a POST or a DELETE of what is below these.
const PARTS: [&str; 2] = ["/api/v1/pools/", "/api/v1/routes"];

/// The call that waits for another process, which may take as long as it is given to start and get ready.
const UPGRADE: &str = "/api/v1/upgrade";

/// The longest that its answer may take.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a change waits for an upgrade to be over: less than callers wait for an answer.
const UNCHANGED_MAX: Duration = Duration::from_secs(3);

/// One backend of a pool.
const BACKEND: &str = "/api/v1/pools/{pool}/backends/{address}";

/// Everything.
pub(super) fn whole(api: Api, who: Guard) -> Router {
    let who = Arc::new(who);
    let page = dashboard::router().layer(from_fn_with_state(who.clone(), guard::only_host));
    let guarded = Router::new()
        .route("/metrics", get(node::metrics))
        .route("/api/v1/status", get(node::status))
        .route("/api/v1/stats", get(stats::stats))
        .route("/api/v1/pools", get(pools::list))
        .route("/api/v1/pools/{pool}", get(pools::one).patch(pools::change_all))
        .route("/api/v1/pools/{pool}/backends", post(additions::add_backend))
        .route(BACKEND, patch(pools::change).delete(additions::remove_backend))
        .route("/api/v1/routes", get(routes::list).post(additions::add_route))
        .route(
            "/api/v1/routes/{route}",
            patch(routes::change).delete(additions::remove_route),
        )
        .route(
            "/api/v1/routes/{route}/shift",
            post(shifts::begin).delete(shifts::cancel),
        )
        .route(UPGRADE, post(upgrade::upgrade))
        .route(LOADS[0], post(reload::reload))
        .route(LOADS[1], put(reload::replace))
        .route("/api/v1/explain", get(explain::explain))
        .route("/api/v1/decisions", get(decisions::latest))
        .route("/api/v1/decisions/{request_id}", get(decisions::one))
        .route("/api/v1/events", get(events::follow))
        .route("/api/v1/openapi.json", get(openapi::document))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(api.clone(), unchanged))
        .layer(from_fn_with_state(who, guard::guard));
    finish(guarded.merge(page).merge(open()), api)
}

/// What scrapers and probes need, alone: nobody has to show a token for it.
pub(super) fn scraped(api: Api) -> Router {
    let router = open()
        .route("/metrics", get(node::metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method);
    finish(router, api)
}

/// What needs no token and no checks, since it tells next to nothing.
fn open() -> Router<Api> {
    Router::new()
        .route("/healthz", get(node::healthz))
        .route("/readyz", get(node::readyz))
        .method_not_allowed_fallback(wrong_method)
}

fn finish(router: Router<Api>, api: Api) -> Router {
    router.layer(from_fn(bounded)).with_state(api)
}

/// Has what operators change wait while another process takes over: what is changed is handed over, or is for the other.
async fn unchanged(State(api): State<Api>, request: Request, next: Next) -> Response {
    if request.method().is_safe() || request.uri().path() == UPGRADE {
        return next.run(request).await;
    }
    match tokio::time::timeout(UNCHANGED_MAX, api.control.still_ours()).await {
        Ok(Some(_unchanged)) => next.run(request).await,
        Ok(None) => Problem::upgrading("another process has taken over").into_response(),
        Err(_) => Problem::upgrading("another process is taking over").into_response(),
    }
}

/// Bounds the time of a call, and keeps its answer out of caches and guesses.
async fn bounded(request: Request, next: Next) -> Response {
    let patience = match request.uri().path() {
        UPGRADE => UPGRADE_TIMEOUT,
        path if LOADS.contains(&path) => LOAD_TIMEOUT,
        path if makes_or_removes(request.method(), path) => LOAD_TIMEOUT,
        _ => CALL_TIMEOUT,
    };
    let mut answer = match check_head(&request) {
        Err(problem) => problem.into_response(),
        Ok(()) => match tokio::time::timeout(patience, next.run(request)).await {
            Ok(answer) => answer,
            Err(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time").into_response(),
        },
    };
    if answer.status().is_client_error() && !Problem::is_problem(&answer) {
        // What the framework refuses by itself: escapes that are no text, in the path or in the query.
        let problem = Problem::new(answer.status(), "the path or the query cannot be read");
        answer = problem.into_response();
    }
    let fields = answer.headers_mut();
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn makes_or_removes(method: &Method, path: &str) -> bool {
    [Method::POST, Method::DELETE].contains(method) && PARTS.iter().any(|part| path.starts_with(part))
}

/// Refuses a head that is too large, as it would be written without spare white space.
fn check_head(request: &Request) -> Result<(), Problem> {
    let (fields, target) = (request.headers(), request.uri().to_string());
    let line = request.method().as_str().len() + target.len() + "  HTTP/1.1\r\n".len();
    let bytes = fields
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    let bytes = line + bytes.sum::<usize>() + "\r\n".len();
    let too_large = |what: String| Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, what);
    if bytes > HEAD_BYTES_MAX {
        let most = HEAD_BYTES_MAX >> 10;
        return Err(too_large(format!("the head has {bytes} bytes: {most} KiB at the most")));
    }
    let count = fields.len();
    if count > FIELDS_MAX {
        return Err(too_large(format!(
            "the head has {count} fields: {FIELDS_MAX} at the most"
        )));
    }
    Ok(())
}

async fn unknown(uri: Uri) -> Problem {
    let path = uri.path();
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("there is nothing at {path}; /api/v1/openapi.json tells what there is"),
    )
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let path = uri.path();
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{path} knows no {method}; the Allow field tells what it knows"),
    )
}
