//! The call that has another process take over.

use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::Api;
use super::problem::Problem;

/// Another process serves.
#[derive(Clone, Debug)]
pub struct Upgraded {
    /// Its process id.
    pub pid: u32,
    /// Client connections that this process still has.
    pub connections: u32,
}

/// What came of it, or why nothing did.
pub type UpgradeAnswer = Result<Upgraded, String>;

/// Where it is to be told.
pub type UpgradeCall = oneshot::Sender<UpgradeAnswer>;

/// `POST /api/v1/upgrade`: answers once another process serves, or has failed to.
pub(super) async fn upgrade(State(api): State<Api>) -> Result<axum::Json<Value>, Problem> {
    let (call, answer) = oneshot::channel();
    let busy = || {
        Problem::new(
            StatusCode::CONFLICT,
            "an upgrade is under way, or this process is draining",
        )
    };
    api.upgrades.try_send(call).map_err(|_| busy())?;
    match answer.await {
        Ok(Ok(upgraded)) => Ok(axum::Json(json!({
            "pid": upgraded.pid,
            "before": { "pid": std::process::id(), "connections": upgraded.connections },
        }))),
        Ok(Err(why)) => Err(Problem::new(StatusCode::BAD_GATEWAY, why)),
        Err(_) => Err(busy()),
    }
}
