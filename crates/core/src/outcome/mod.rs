//! How a request or connection ended: whose side it was, what kind of failure, and whether a retry is allowed.
//!
//! One table ([`Reason`]) turns every outcome into a reply and a stable reason code.

mod reason;

pub use reason::Reason;

use crate::load::Sign;

/// Whose doing a failure was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client's: a bad request, or it went away.
    Client,
    /// The backend's.
    Backend,
    /// Our own: a limit, a rule, a bug.
    Ours,
}

/// Whether the same request may be sent again, to another backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Never.
    No,
    /// Always: the backend cannot have seen any of it.
    NothingSent,
    /// Only when the method is idempotent, or the route says so: the backend may have acted on it.
    IfRepeatable,
}

/// How an attempt to be served by a backend failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// The reason, which names side and status.
    pub reason: Reason,
    /// Whether a retry is allowed.
    pub retry: Retry,
}

impl Failure {
    /// A failure after which a retry is never allowed.
    pub const fn last(reason: Reason) -> Self {
        Failure {
            reason,
            retry: Retry::No,
        }
    }

    /// A failure before anything reached the backend.
    pub const fn unsent(reason: Reason) -> Self {
        Failure {
            reason,
            retry: Retry::NothingSent,
        }
    }

    /// Whether the connection failed or was never made, as all of a backend's do when it dies.
    pub const fn is_of_the_connection(self) -> bool {
        matches!(
            self.reason,
            Reason::ConnectFailed | Reason::ConnectTimeout | Reason::TlsFailed | Reason::BackendReset
        )
    }

    /// A failure after something may have reached the backend.
    pub const fn sent(reason: Reason) -> Self {
        Failure {
            reason,
            retry: Retry::IfRepeatable,
        }
    }
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered with this status (0 for a layer 4 connection that ended well).
    Answered(u16),
    /// It did not answer as a working backend does.
    Failed(Failure),
    /// The client went away, or we gave up for a reason that says nothing about the backend.
    Cancelled,
}

impl Outcome {
    /// What the outcome says about the backend; `None` when it says nothing.
    pub fn sign(self) -> Option<Sign> {
        match self {
            Outcome::Answered(status) if status >= 500 => Some(Sign::ServerError),
            Outcome::Answered(_) => Some(Sign::Success),
            Outcome::Failed(failure) if failure.reason.side() == Side::Backend => Some(Sign::Failure),
            Outcome::Failed(_) | Outcome::Cancelled => None,
        }
    }
}
