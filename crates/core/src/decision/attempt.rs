//! One attempt to have a request, or a connection, served by one backend.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::outcome::Reason;
use crate::pool::Lease;
use crate::time::Now;

/// What an attempt ends with when another one was answered first.
const OVERTAKEN: &str = "overtaken";

/// One attempt on one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The backend's name in its pool.
    pub backend: Arc<str>,
    /// The status, 0 of a connection that was made; or the word for what it failed of.
    pub result: Result<u16, &'static str>,
    /// What was wrong with TLS.
    pub cause: Option<&'static str>,
    /// How long until then.
    pub took: Duration,
    /// The second one of a hedged request.
    pub is_hedge: bool,
    /// What its trace tells besides, when the request has one.
    pub sent: Option<Sent>,
}

/// How an attempt was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The span that it is called in the request's trace.
    pub span: u64,
    /// When it began.
    pub begun: Now,
    /// How long it took to connect, when it had to.
    pub connect: Option<Duration>,
    /// Where to.
    pub to: SocketAddr,
}

impl Attempt {
    /// One that was answered with this status.
    pub fn answered(lease: &Lease, status: u16, took: Duration) -> Self {
        Attempt::new(lease.name(), Ok(status), took)
    }

    /// One that failed.
    pub fn failed(lease: &Lease, reason: Reason, took: Duration) -> Self {
        Attempt::new(lease.name(), Err(reason.word()), took)
    }

    /// One on the backend of this name, which was cancelled since another one was answered first.
    pub fn overtaken(backend: &Arc<str>, took: Duration) -> Self {
        Attempt::new(backend, Err(OVERTAKEN), took)
    }

    fn new(backend: &Arc<str>, result: Result<u16, &'static str>, took: Duration) -> Self {
        Attempt {
            backend: backend.clone(),
            result,
            cause: None,
            took,
            is_hedge: false,
            sent: None,
        }
    }

    /// The same, for this cause.
    #[must_use]
    pub fn because(self, cause: Option<&'static str>) -> Self {
        Attempt { cause, ..self }
    }

    /// The same, sent so.
    #[must_use]
    pub fn sent(self, sent: Option<Sent>) -> Self {
        Attempt { sent, ..self }
    }

    /// Whether it was cancelled since another one was answered first.
    pub fn is_overtaken(&self) -> bool {
        self.result == Err(OVERTAKEN)
    }

    /// The same as the second one of a hedged request.
    #[must_use]
    pub fn second(self) -> Self {
        Attempt { is_hedge: true, ..self }
    }

    /// Whether it is one to be told of, whatever the request came to: it failed, or the backend said that it has.
    pub fn went_wrong(&self) -> bool {
        self.result.is_err() || self.result.is_ok_and(|status| status >= 500)
    }
}
