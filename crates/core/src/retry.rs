//! Retries: what a route allows, and the budget that keeps them from multiplying an outage.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::grpc::Code;
use crate::outcome::{Failure, Reason, Retry};
use crate::time::Now;

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
    };

    /// Whether a failure of an attempt may be followed by another one.
    pub fn covers_failure(&self, failure: Failure, idempotent: bool) -> bool {
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
                Retry::IfIdempotent => idempotent,
            }
    }

    /// Whether an answer with `status` may be thrown away for another attempt.
    pub fn covers_status(&self, status: u16, idempotent: bool) -> bool {
        idempotent && ((self.on_5xx && status >= 500) || self.on_status.contains(&status))
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

/// What is granted when a backend begins to fail: the requests that are under way there are tried elsewhere without
/// charge to the [`Budget`], since a death that strikes thousands at once is what retries are for. It multiplies nothing:
/// what begins later is charged, and the next grant comes [`WINDOW_MS`] later, so that it adds no more than what a
/// backend carries at once, every ten seconds.
#[derive(Debug, Default)]
pub struct Grace {
    /// When it was granted last, in milliseconds; 0 is never.
    granted_ms: AtomicU64,
}

impl Grace {
    /// Whether a request that began on the backend at `begun`, and found it failing `now`, is tried again without charge.
    pub fn covers(&self, begun: Now, now: Now) -> bool {
        let granted = self.granted_ms.load(Relaxed);
        if granted == 0 || now.millis().saturating_sub(granted) >= WINDOW_MS {
            self.granted_ms.store(now.millis().max(1), Relaxed);
            return true;
        }
        begun.millis() <= granted
    }
}

/// Share of requests that may be retried: Finagle's and tower's 20 %.
const PERCENT: u64 = 20;
/// Retries a second that are always allowed: Finagle's and tower's 10.
const MIN_PER_SECOND: u64 = 10;
/// How long a deposit can be spent: Finagle's and tower's 10 s.
const WINDOW_MS: u64 = 10_000;
/// The cost of a retry, so that a request's deposit is a whole number.
const COST: u64 = 100;

/// A token bucket for retries: every request deposits a fifth of a retry, and ten a second come for free. What is not
/// spent leaks away over ten seconds.
#[derive(Debug)]
pub struct Budget {
    /// Tokens in the high half, the time of the last change in milliseconds in the low half.
    state: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        // A pool that was never used may retry at once.
        Budget {
            state: AtomicU64::new((MIN_PER_SECOND * COST * (WINDOW_MS / 1000)) << 32),
        }
    }
}

impl Budget {
    /// Counts a first attempt.
    pub fn deposit(&self, now: Now) {
        let (tokens, then) = self.at(now);
        self.store(tokens + PERCENT * COST / 100, then);
    }

    /// Takes one retry out, if there is one.
    pub fn withdraw(&self, now: Now) -> bool {
        let (tokens, then) = self.at(now);
        if tokens < COST {
            self.store(tokens, then);
            return false;
        }
        self.store(tokens - COST, then);
        true
    }

    /// The tokens now: the leak and the free ones applied for each whole tenth of a second that has passed.
    fn at(&self, now: Now) -> (u64, u64) {
        const STEP_MS: u64 = 100;
        let state = self.state.load(Relaxed);
        let (tokens, then) = (state >> 32, state & u64::from(u32::MAX));
        let wrapped = now.millis() & u64::from(u32::MAX);
        let passed = wrapped.wrapping_sub(then) & u64::from(u32::MAX);
        // A clock that another worker read a moment later.
        if passed > u64::from(u32::MAX / 2) || passed < STEP_MS {
            return (tokens, then);
        }
        let floor = MIN_PER_SECOND * COST * (WINDOW_MS / 1000);
        let leaked = if passed >= WINDOW_MS {
            tokens
        } else {
            tokens * passed / WINDOW_MS
        };
        let gained = MIN_PER_SECOND * COST * passed.min(WINDOW_MS) / 1000;
        ((tokens - leaked + gained).max(gained).min(floor.max(tokens)), wrapped)
    }

    fn store(&self, tokens: u64, then: u64) {
        self.state
            .store((tokens.min(u64::from(u32::MAX)) << 32) | then, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_under_way_when_a_backend_began_to_fail_is_retried_without_charge() {
        let (grace, at) = (Grace::default(), Now::from_millis);
        assert!(grace.covers(at(4_000), at(5_000)), "the first to fail");
        assert!(grace.covers(at(4_990), at(5_001)));
        assert!(!grace.covers(at(5_001), at(5_002)), "sent after it began to fail");
        assert!(!grace.covers(at(14_998), at(14_999)), "once in ten seconds");
        assert!(grace.covers(at(14_999), at(15_000)));
    }

    #[test]
    fn a_fifth_of_the_requests_and_ten_a_second_may_be_retried() {
        let budget = Budget::default();
        let mut spent = 0u32;
        // 1,000 requests a second for 20 s, each of which wants a retry.
        for tick in 0..20_000u64 {
            let now = Now::from_millis(tick);
            budget.deposit(now);
            if tick >= 10_000 && budget.withdraw(now) {
                spent += 1;
            }
            if tick < 10_000 {
                budget.withdraw(now);
            }
        }
        assert!(
            (1_900..=2_300).contains(&spent),
            "20 % and 10/s of 10,000 requests: {spent}"
        );
    }

    #[test]
    fn an_unused_budget_allows_the_free_retries_and_no_hoard() {
        let budget = Budget::default();
        let now = Now::from_millis(3_600_000);
        let spent = (0..1_000).filter(|_| budget.withdraw(now)).count();
        assert!((1..=100).contains(&spent), "ten seconds' worth at the most: {spent}");
    }

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
}
