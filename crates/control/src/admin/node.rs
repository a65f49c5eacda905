//! Calls about the node: is it alive, is it ready, what does it count, how does it stand.

use std::time::SystemTime;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::Api;
use super::differs::differs_json;
use super::problem::Problem;
use crate::acme::AcmeStatus;
use crate::certificates::CertificateStatus;
use crate::files::FileStatus;
use crate::metrics::Format;
use crate::status::Readiness;

const PLAIN: &str = "text/plain; charset=utf-8";

/// `GET /healthz`: 200 for as long as the process runs.
pub(super) async fn healthz() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, PLAIN)], "ok\n")
}

/// `GET /readyz`: 200 while this node takes work.
pub(super) async fn readyz(State(api): State<Api>) -> Result<impl IntoResponse, Problem> {
    let why = match api.control.readiness() {
        Readiness::Ready => return Ok(([(header::CONTENT_TYPE, PLAIN)], "ready\n")),
        Readiness::Draining => "this node is being shut down".to_owned(),
        Readiness::Unchecked(pools) => format!("the first health checks have not finished: {}", pools.join(", ")),
    };
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why))
}

/// `GET /metrics`.
pub(super) async fn metrics(State(api): State<Api>, fields: HeaderMap) -> impl IntoResponse {
    let accept = fields.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    (
        [(header::CONTENT_TYPE, format.content_type())],
        api.metrics.text(format),
    )
}

/// `GET /api/v1/status`.
pub(super) async fn status(State(api): State<Api>) -> axum::Json<Value> {
    axum::Json(status_json(&api))
}

pub(super) fn status_json(api: &Api) -> Value {
    let control = &api.control;
    let (reload, serving) = (control.last_reload(), control.serving());
    let uptime = SystemTime::now().duration_since(control.started()).unwrap_or_default();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "generation": control.snapshot().load().generation,
        "uptime_s": uptime.as_secs(),
        "started_at": rfc3339(control.started()),
        "pid": std::process::id(),
        "workers": api.workers,
        "connections": api.metrics.connections(),
        "ready": control.is_ready(),
        "draining": control.is_draining(),
        "before": control.before().map(|left| json!({ "pid": left.pid, "connections": left.connections })),
        "last_reload": {
            "at": rfc3339(reload.at),
            "result": if reload.errors.is_empty() { "ok" } else { "error" },
            "errors": reload.errors,
            "from": reload.from.word(),
        },
        "configuration": {
            "from": serving.from.word(),
            "watched": control.plan().watch,
            "needs_restart": serving.needs_restart,
        },
        "differs": differs_json(api),
        "files": control.files().iter().map(file).collect::<Vec<_>>(),
        "certificates": control.certificates().iter().map(certificate).collect::<Vec<_>>(),
    })
}

fn certificate(status: &CertificateStatus) -> Value {
    let facts = status.facts.as_ref();
    json!({
        "listener": &*status.listener,
        "path": status.path.display().to_string(),
        "names": facts.map(|facts| &facts.names),
        "subject": facts.map(|facts| &facts.subject),
        "issuer": facts.map(|facts| &facts.issuer),
        "not_before": facts.map(|facts| rfc3339(facts.not_before)),
        "not_after": facts.map(|facts| rfc3339(facts.not_after)),
        "fingerprint": facts.map(|facts| &facts.fingerprint),
        "key": status.key,
        "loaded_at": status.loaded_at.map(rfc3339),
        "error": status.error,
        "ocsp": status.staple.as_ref().map(|staple| json!({
            "path": staple.path.display().to_string(),
            "next_update": staple.ends.map(rfc3339),
            "error": staple.error,
        })),
        "acme": status.acme.as_ref().map(acme),
    })
}

fn acme(status: &AcmeStatus) -> Value {
    json!({
        "state": status.state,
        "domains": status.domains,
        "directory": status.directory,
        "challenge": status.challenge,
        "next_try": status.next_try.map(rfc3339),
        "failures": status.failures,
        "error": status.error,
    })
}

fn file(status: &FileStatus) -> Value {
    json!({
        "path": status.path.display().to_string(),
        "loaded_at": status.loaded_at.map(rfc3339),
        "entries": status.entries,
        "error": status.error,
    })
}

/// A time as the API writes it.
pub(super) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
