//! Active checks: asking each backend, over and over, whether it can serve.
//!
//! A new kind of check is one file and one line in the match below.

mod body;
mod bytes;
mod dial;
mod exec;
mod grpc;
mod http;
mod http2;
mod tcp;

pub(crate) use body::body_regex;

use dial::Way;

use std::future::Future;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_core::health::Phase;
use plimsoll_core::membership::Event;
use plimsoll_core::name::BackendId;
use plimsoll_core::pool::BackendProtocol;
use plimsoll_core::rng::Rng;
use tokio::time::Instant;

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
    /// Its name.
    pub(crate) name: Arc<str>,
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
    /// No TLS with it.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection ended, or what came is no answer.
    #[error("{0}")]
    Protocol(String),
    /// The answer is not among those expected.
    #[error("status {0}")]
    Status(u16),
    /// It is not what was expected; the text says what it is.
    #[error("{0}")]
    Unexpected(String),
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
    /// Asks a backend once, this way; it is dropped at its deadline.
    fn probe(&self, way: Way, deadline: Instant) -> Probing<'_>;
}

fn probe_of(target: &Target) -> Box<dyn Probe> {
    match &target.check.kind {
        CheckKind::Http(check) => match check.protocol {
            BackendProtocol::H1 => Box::new(http::Http::new(check)),
            BackendProtocol::H2 => Box::new(http2::Http2::new(check)),
            BackendProtocol::Auto => Box::new(http::Either::new(check)),
        },
        CheckKind::Tcp => Box::new(tcp::Tcp),
        CheckKind::Grpc(check) => Box::new(grpc::Grpc::new(check)),
        CheckKind::Bytes { send, expect } => Box::new(bytes::Bytes::new(send, expect)),
        CheckKind::Exec(check) => Box::new(exec::Exec::new(check, target)),
    }
}

/// What we call ourselves, unless the check says otherwise.
const AGENT: &str = concat!("plimsoll/", env!("CARGO_PKG_VERSION"), " (health check)");

/// The fields of a check, and who we are.
fn with_agent(headers: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    let named = headers.iter().any(|(name, _)| name == "user-agent");
    let agent = (!named).then_some(("user-agent", AGENT));
    agent
        .into_iter()
        .chain(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn expect_status(status: u16, expect: &[RangeInclusive<u16>]) -> Result<(), ProbeError> {
    if expect.iter().any(|range| range.contains(&status)) {
        Ok(())
    } else {
        Err(ProbeError::Status(status))
    }
}

/// The most characters of what a backend said that a cause shows.
const EXCERPT_MAX: usize = 120;

/// Text from outside on one line, without anything that a terminal would act upon.
pub(crate) fn plain(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut plain: String = text.chars().take(EXCERPT_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(EXCERPT_MAX).is_some() {
        plain.push('…');
    }
    plain
}

/// The beginning of what a backend said, in words.
fn excerpt(said: &[u8]) -> String {
    match said {
        [] => "which is empty".into(),
        _ => format!("which begins \"{}\"", plain(said)),
    }
}

/// Whether `wanted` is anywhere in `text`.
fn holds(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len().max(1)).any(|window| window == wanted)
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
                name: status.name,
                address,
                check: check.clone(),
            }
        })
        .collect()
}

/// Checks one backend until it is aborted: at once, then every interval from a random point on, so that the checks of
/// many backends do not march in step.
pub(crate) async fn watch(control: Arc<Control>, target: Target) {
    let probe = probe_of(&target);
    let mut rng = Rng::seeded(u64::from(target.backend.0) ^ control.now().nanos());
    let mut next = Instant::now();
    let mut stretch = 0.5 + rng.unit() / 2.0;
    loop {
        check_once(&control, &target, &*probe).await;
        let phase = control.phase(&target.pool, target.backend);
        // One that took longer than the interval is not made up for.
        next = (next + interval(&target.check, phase).mul_f64(stretch)).max(Instant::now());
        stretch = 1.0;
        tokio::time::sleep_until(next).await;
    }
}

async fn check_once(control: &Control, target: &Target, probe: &dyn Probe) {
    let began = Instant::now();
    let _turn = match target.check.kind {
        CheckKind::Exec(_) => exec::turn().await,
        _ => None,
    };
    let waited = began.elapsed();
    if waited > target.check.interval {
        let (pool, most) = (&*target.pool, exec::PROGRAMS_MAX);
        tracing::warn!(pool, address = %target.address, ?waited, most, "too many programs: a check had to wait for its turn");
    }
    let result = run(control, target, probe).await;
    if let Err(ProbeError::Shortage(error)) = &result {
        tracing::warn!(pool = &*target.pool, address = %target.address, error, "a check could not be made");
        return;
    }
    let cause = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
    let event = Event::Check {
        backend: target.backend,
        passed: result.is_ok(),
        cause: cause.into(),
    };
    control.tell(&target.pool, event);
}

async fn run(control: &Control, target: &Target, probe: &dyn Probe) -> Result<(), ProbeError> {
    let deadline = Instant::now() + target.check.timeout;
    let tls = control.origination(&target.pool).filter(|_| target.check.tls);
    if target.check.tls && tls.is_none() {
        return Err(ProbeError::Tls("it is not set up".into()));
    }
    let way = Way {
        to: target.address,
        tls,
        send_proxy: target.check.send_proxy,
    };
    match tokio::time::timeout_at(deadline, probe.probe(way, deadline)).await {
        Ok(result) => result,
        Err(_) => Err(ProbeError::Timeout(target.check.timeout)),
    }
}

/// The time until the next check, as HAProxy's `inter`, `fastinter` and `downinter`.
fn interval(check: &CheckPlan, phase: Phase) -> Duration {
    match phase {
        Phase::Unknown | Phase::Turning => check.fast_interval,
        Phase::Healthy => check.interval,
        Phase::Unhealthy => check.down_interval,
    }
}
