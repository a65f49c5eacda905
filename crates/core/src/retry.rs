//! Retries: what a route allows.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::grpc::Code;
use crate::outcome::{Failure, Reason, Retry};
use crate::route::Fields;

/// What a route says about retries.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// How many retries, beyond the first attempt.
    pub attempts: u32,
    /// A failed or refused connection.
    pub on_connect: bool,
    /// A connection that ended before the answer.
    pub on_reset: bool,
    /// A try that took too long.
    pub on_timeout: bool,
    /// Any status of 500 or above.
    pub on_5xx: bool,
    /// Single statuses.
    pub on_status: Vec<u16>,
    /// Statuses of gRPC.
    pub on_grpc: Vec<Code>,
    /// The longest that one try may take, from the request's end to the head of its answer.
    pub per_try_timeout: Option<Duration>,
    /// Which requests may be sent again though their method is not idempotent.
    pub non_idempotent: NonIdempotent,
    /// How long a retry waits.
    pub backoff: Backoff,
}

/// Which requests may be sent again though their method is not idempotent: the route's word, and nobody else's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonIdempotent {
    /// None.
    #[default]
    Never,
    /// Those with an `Idempotency-Key`, by which the backend can tell that it has seen them.
    Keyed,
    /// All.
    All,
}

/// By which a backend can tell a request that is sent again (draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Whether a request with these fields has an `Idempotency-Key`: one, and not an empty one.
pub fn is_keyed(fields: &dyn Fields) -> bool {
    let (mut count, mut filled) = (0, 0);
    fields.each(IDEMPOTENCY_KEY, &mut |value| {
        count += 1;
        filled += u32::from(!value.trim_ascii().is_empty());
        true
    });
    (count, filled) == (1, 1)
}

impl Default for RetryPolicy {
    /// One retry, for what is safe.
    fn default() -> Self {
        RetryPolicy {
            attempts: 1,
            on_connect: true,
            on_reset: true,
            on_timeout: false,
            on_5xx: false,
            on_status: Vec::new(),
            on_grpc: Vec::new(),
            per_try_timeout: None,
            non_idempotent: NonIdempotent::Never,
            backoff: Backoff::DEFAULT,
        }
    }
}

impl RetryPolicy {
    /// Nothing is sent twice.
    pub const NEVER: RetryPolicy = RetryPolicy {
        attempts: 0,
        on_connect: false,
        on_reset: false,
        on_timeout: false,
        on_5xx: false,
        on_grpc: Vec::new(),
        on_status: Vec::new(),
        per_try_timeout: None,
        non_idempotent: NonIdempotent::Never,
        backoff: Backoff::DEFAULT,
    };

    /// Whether a request may be sent again after a backend may have acted on it: by its method, or by the route's word.
    pub fn may_repeat(&self, method: &str, fields: &dyn Fields) -> bool {
        is_idempotent(method)
            || match self.non_idempotent {
                NonIdempotent::Never => false,
                NonIdempotent::Keyed => is_keyed(fields),
                NonIdempotent::All => true,
            }
    }

    /// Whether a failure of an attempt may be followed by another one, of a request that is `repeatable` or not.
    pub fn covers_failure(&self, failure: Failure, repeatable: bool) -> bool {
        let wanted = match failure.reason {
            Reason::ConnectFailed | Reason::ConnectTimeout | Reason::TlsFailed => self.on_connect,
            Reason::BackendReset | Reason::BackendProtocolError => self.on_reset,
            Reason::ResponseTimeout => self.on_timeout,
            _ => false,
        };
        wanted
            && match failure.retry {
                Retry::No => false,
                Retry::NothingSent => true,
                Retry::IfRepeatable => repeatable,
            }
    }

    /// Whether an answer with `status` may be thrown away for another attempt.
    pub fn covers_status(&self, status: u16, repeatable: bool) -> bool {
        repeatable && ((self.on_5xx && status >= 500) || self.on_status.contains(&status))
    }

    /// Whether an answer that says no more than this status of gRPC may be thrown away for another attempt. Every call is
    /// a POST: who names a status says that its calls may be repeated.
    pub fn covers_code(&self, code: Code) -> bool {
        self.on_grpc.contains(&code)
    }
}

/// RFC 9110 §9.2.2: the methods whose repetition has the effect of one.
pub fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_reached_the_backend_is_repeated_only_when_idempotent() {
        let policy = RetryPolicy::default();
        assert!(policy.covers_failure(Failure::unsent(Reason::ConnectFailed), false));
        assert!(!policy.covers_failure(Failure::sent(Reason::BackendReset), false));
        assert!(policy.covers_failure(Failure::sent(Reason::BackendReset), true));
        assert!(!policy.covers_failure(Failure::last(Reason::BackendReset), true));
        assert!(
            !policy.covers_failure(Failure::sent(Reason::ResponseTimeout), true),
            "not by default"
        );
    }

    /// Lines of `Idempotency-Key`.
    struct Keys(&'static [&'static str]);

    impl Fields for Keys {
        fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
            let lines = self.0.iter().filter(|_| name == IDEMPOTENCY_KEY);
            let _ = lines.map(|line| visit(line.as_bytes())).find(|go_on| !go_on);
        }
    }

    #[test]
    fn only_the_routes_word_makes_an_unsafe_request_repeatable() {
        let (none, one, key) = (Keys(&[]), Keys(&["\"8e03978e\""]), NonIdempotent::Keyed);
        let (empty, two) = (Keys(&[" "]), Keys(&["a", "b"]));
        for (word, method, fields, repeatable) in [
            (NonIdempotent::Never, "PUT", &none, true),
            (NonIdempotent::Never, "POST", &one, false),
            (key, "POST", &one, true),
            (key, "PATCH", &none, false),
            (key, "POST", &empty, false),
            (key, "POST", &two, false),
            (key, "DELETE", &none, true),
            (NonIdempotent::All, "POST", &none, true),
        ] {
            let policy = RetryPolicy {
                non_idempotent: word,
                ..RetryPolicy::default()
            };
            assert_eq!(
                policy.may_repeat(method, fields),
                repeatable,
                "{word:?} {method} {:?}",
                fields.0
            );
        }
    }
}
