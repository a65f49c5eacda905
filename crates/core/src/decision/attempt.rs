//! One attempt to have a request, or a connection, served by one backend.

use std::sync::Arc;
use std::time::Duration;

use crate::outcome::Reason;
use crate::pool::Lease;

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
        }
    }

    /// The same, for this cause.
    #[must_use]
    pub fn because(self, cause: Option<&'static str>) -> Self {
        Attempt { cause, ..self }
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
