//! Active checks: asking each backend, over and over, whether it can serve.
//!
//! A new kind of check is one file and one line in the match below.

mod http;
mod http2;
mod tcp;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_core::membership::Event;
use plimsoll_core::name::BackendId;
use plimsoll_core::pool::BackendProtocol;
use plimsoll_core::rng::Rng;

use crate::config::{CheckKind, CheckPlan};
use crate::living::LivingPool;
use crate::publish::Control;

/// A backend and how it is checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// The pool.
    pub(crate) pool: Arc<str>,
    /// The backend.
    pub(crate) backend: BackendId,
    /// Where to ask.
    pub(crate) address: SocketAddr,
    /// How.
    pub(crate) check: CheckPlan,
}

/// Why a check did not pass, in words for the state's cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProbeError {
    /// No connection.
    #[error("connection failed: {0}")]
    Connect(String),
    /// This process or machine has run out of something: nothing was learnt about the backend.
    #[error("not checked: {0}")]
    Shortage(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection ended, or what came is no answer.
    #[error("{0}")]
    Protocol(String),
    /// The answer is not among those expected.
    #[error("status {0}")]
    Status(u16),
}

impl From<std::io::Error> for ProbeError {
    /// Of a connection that was not made.
    fn from(error: std::io::Error) -> Self {
        if plimsoll_net::is_shortage(&error) {
            ProbeError::Shortage(error.to_string())
        } else {
            ProbeError::Connect(error.to_string())
        }
    }
}

/// What a probe's run comes to.
pub(crate) type Probing<'p> = Pin<Box<dyn Future<Output = Result<(), ProbeError>> + Send + 'p>>;

/// One kind of check.
pub(crate) trait Probe: Send + Sync {
    /// Asks the backend at `to` once; it is dropped at its deadline.
    fn probe(&self, to: SocketAddr) -> Probing<'_>;
}

fn probe_of(kind: &CheckKind) -> Box<dyn Probe> {
    match kind {
        CheckKind::Http {
            protocol,
            path,
            host,
            expect,
        } => match protocol {
            BackendProtocol::H1 => Box::new(http::Http::new(path, host.as_deref(), expect)),
            BackendProtocol::H2 => Box::new(http2::Http2::new(path, host.as_deref(), expect)),
        },
        CheckKind::Tcp => Box::new(tcp::Tcp),
    }
}

/// The backends of a pool that are to be checked.
pub(crate) fn targets(living: &LivingPool, check: &CheckPlan) -> Vec<Target> {
    let now = plimsoll_core::time::Now::START;
    let backends = living.membership.status(&living.pool.policy, now);
    backends
        .into_iter()
        .map(|status| {
            let mut address = status.backend.address;
            address.set_port(check.port.unwrap_or(address.port()));
            Target {
                pool: living.pool.name.clone(),
                backend: status.backend.id,
                address,
                check: check.clone(),
            }
        })
        .collect()
}

/// Checks one backend until it is aborted: at once, then every interval from a random point on, so that the checks of
/// many backends do not march in step.
pub(crate) async fn watch(control: Arc<Control>, target: Target) {
    let probe = probe_of(&target.check.kind);
    let mut rng = Rng::seeded(u64::from(target.backend.0) ^ control.now().nanos());
    let mut next = Instant::now();
    let mut wait = target.check.interval.mul_f64(0.5 + rng.unit() / 2.0);
    loop {
        let result = match tokio::time::timeout(target.check.timeout, probe.probe(target.address)).await {
            Ok(result) => result,
            Err(_) => Err(ProbeError::Timeout(target.check.timeout)),
        };
        if let Err(ProbeError::Shortage(error)) = &result {
            tracing::warn!(pool = &*target.pool, address = %target.address, error, "a check could not be made");
        } else {
            let cause = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
            let event = Event::Check {
                backend: target.backend,
                passed: result.is_ok(),
                cause: cause.into(),
            };
            control.tell(&target.pool, event);
        }
        next += wait;
        wait = target.check.interval;
        tokio::time::sleep_until(next.into()).await;
    }
}
