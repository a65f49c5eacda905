//! The budget that keeps retries from multiplying an outage.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::time::Now;

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

/// How long a deposit can be spent: Finagle's and tower's 10 s.
const WINDOW_MS: u64 = 10_000;
/// The cost of a retry, so that a request's deposit is a whole number.
const COST: u64 = 100;

/// How much may be spent on retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetRules {
    /// Retries for a hundred requests.
    pub percent: u32,
    /// Retries a second that come for free.
    pub per_second: u32,
}

impl Default for BudgetRules {
    /// Finagle's and tower's: 20 %, and 10 a second.
    fn default() -> Self {
        BudgetRules {
            percent: 20,
            per_second: 10,
        }
    }
}

impl BudgetRules {
    /// What comes for free in `millis`.
    fn free(self, millis: u64) -> u64 {
        u64::from(self.per_second) * COST * millis / 1_000
    }
}

/// A token bucket for retries: every request deposits a part of a retry, and some come for free. What is not spent leaks
/// away over ten seconds. The rules are given with each use, so that a reload may change them and not refill it.
#[derive(Debug)]
pub struct Budget {
    /// Tokens in the high half, the time of the last change in milliseconds in the low half.
    state: AtomicU64,
}

impl Budget {
    /// What a pool begins with that was never used: it may retry at once.
    pub fn new(rules: BudgetRules) -> Self {
        Budget {
            state: AtomicU64::new(rules.free(WINDOW_MS).min(u64::from(u32::MAX)) << 32),
        }
    }

    /// Counts a first attempt.
    pub fn deposit(&self, rules: BudgetRules, now: Now) {
        let (tokens, then) = self.at(rules, now);
        self.store(tokens + u64::from(rules.percent) * COST / 100, then);
    }

    /// Takes one retry out, if there is one.
    pub fn withdraw(&self, rules: BudgetRules, now: Now) -> bool {
        let (tokens, then) = self.at(rules, now);
        if tokens < COST {
            self.store(tokens, then);
            return false;
        }
        self.store(tokens - COST, then);
        true
    }

    /// Puts a retry back that was taken out and not made.
    pub fn give_back(&self, rules: BudgetRules, now: Now) {
        let (tokens, then) = self.at(rules, now);
        self.store(tokens + COST, then);
    }

    /// The tokens now: the leak and the free ones applied for each whole tenth of a second that has passed.
    fn at(&self, rules: BudgetRules, now: Now) -> (u64, u64) {
        const STEP_MS: u64 = 100;
        let state = self.state.load(Relaxed);
        let (tokens, then) = (state >> 32, state & u64::from(u32::MAX));
        let wrapped = now.millis() & u64::from(u32::MAX);
        let passed = wrapped.wrapping_sub(then) & u64::from(u32::MAX);
        // A clock that another worker read a moment later.
        if passed > u64::from(u32::MAX / 2) || passed < STEP_MS {
            return (tokens, then);
        }
        let floor = rules.free(WINDOW_MS);
        let leaked = if passed >= WINDOW_MS {
            tokens
        } else {
            tokens * passed / WINDOW_MS
        };
        let gained = rules.free(passed.min(WINDOW_MS));
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
        let (rules, budget) = (BudgetRules::default(), Budget::new(BudgetRules::default()));
        let mut spent = 0u32;
        // 1,000 requests a second for 20 s, each of which wants a retry.
        for tick in 0..20_000u64 {
            let now = Now::from_millis(tick);
            budget.deposit(rules, now);
            if tick >= 10_000 && budget.withdraw(rules, now) {
                spent += 1;
            }
            if tick < 10_000 {
                budget.withdraw(rules, now);
            }
        }
        assert!(
            (1_900..=2_300).contains(&spent),
            "20 % and 10/s of 10,000 requests: {spent}"
        );
    }

    #[test]
    fn an_unused_budget_allows_the_free_retries_and_no_hoard() {
        let (rules, budget) = (BudgetRules::default(), Budget::new(BudgetRules::default()));
        let now = Now::from_millis(3_600_000);
        let spent = (0..1_000).filter(|_| budget.withdraw(rules, now)).count();
        assert!((1..=100).contains(&spent), "ten seconds' worth at the most: {spent}");
    }

    #[test]
    fn without_free_ones_no_more_than_the_share_is_ever_retried() {
        let rules = BudgetRules {
            percent: 20,
            per_second: 0,
        };
        let budget = Budget::new(rules);
        assert!(
            !budget.withdraw(rules, Now::from_millis(60_000)),
            "nothing was deposited"
        );
        let mut spent = 0u32;
        for request in 1..=50_000u32 {
            // From ten thousand a second to ten.
            let now = Now::from_millis(60_000 + u64::from(request / 10 + request / 100 * request / 1_000));
            budget.deposit(rules, now);
            spent += u32::from(budget.withdraw(rules, now));
            assert!(spent * 5 <= request, "{spent} retries of {request} requests");
        }
        assert!(spent > 5_000, "{spent}");
    }

    #[test]
    fn what_is_given_back_can_be_spent_again() {
        let rules = BudgetRules {
            percent: 100,
            per_second: 0,
        };
        let (budget, now) = (Budget::new(rules), Now::from_millis(60_000));
        budget.deposit(rules, now);
        assert!(budget.withdraw(rules, now) && !budget.withdraw(rules, now));
        budget.give_back(rules, now);
        assert!(budget.withdraw(rules, now) && !budget.withdraw(rules, now));
    }
}
