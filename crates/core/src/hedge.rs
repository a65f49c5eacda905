//! Hedging: a request that waits for its answer for longer than most do is sent to a second backend, and the answer that
//! begins first is the one that counts (Dean and Barroso, "The Tail at Scale", CACM 2013).

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::pool::Pool;
use crate::time::Now;

/// The shortest that is waited: in less than that no backend was given a chance.
pub const AFTER_MIN: Duration = Duration::from_millis(1);

/// What a route says about hedging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgePolicy {
    /// How long the first backend is waited for.
    pub after: After,
    /// The most requests of a hundred that are sent twice.
    pub max_percent: u32,
}

/// How long the first backend is waited for, from the end of the request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// So long.
    Fixed(Duration),
    /// As long as this percentage of the pool's answers took of late, at the most, to begin.
    Quantile(u32),
}

impl After {
    /// How long that is for a request to `pool`; `None` when too little is known of the pool.
    pub fn of(self, pool: &Pool, now: Now) -> Option<Duration> {
        match self {
            After::Fixed(span) => Some(span),
            After::Quantile(percent) => {
                let told = pool.latencies()?.quantile(percent, now)?;
                Some(told.max(AFTER_MIN))
            }
        }
    }
}

impl fmt::Display for After {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            After::Fixed(span) => write!(out, "{span:?}"),
            After::Quantile(percent) => write!(out, "p{percent}"),
        }
    }
}

/// What a hedge costs, in what requests earn: a request earns its policy's percentage.
const COST: u32 = 100;

/// The most hedges that are saved up: a pool that has been quiet does not make up for it when it is slow as a whole.
pub const SAVED_MAX: u32 = 10;

/// A route's hedging, with what its requests have earned.
#[derive(Debug)]
pub struct Hedge {
    /// What the route says.
    pub policy: HedgePolicy,
    earned: AtomicU32,
}

impl Hedge {
    /// A route's hedging, of which nothing was earned yet.
    pub fn new(policy: HedgePolicy) -> Self {
        Hedge {
            policy,
            earned: AtomicU32::new(0),
        }
    }

    /// Counts a request that may be hedged.
    pub fn earn(&self) {
        let more = |earned: u32| (earned < SAVED_MAX * COST).then(|| earned + self.policy.max_percent);
        let _ = self.earned.fetch_update(Relaxed, Relaxed, more);
    }

    /// Takes a hedge out, if there is one. Unlike a retry's, this budget is exact: there are never more hedges than the
    /// percentage of the requests that were counted.
    pub fn spend(&self) -> bool {
        let less = |earned: u32| earned.checked_sub(COST);
        self.earned.fetch_update(Relaxed, Relaxed, less).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hedge(max_percent: u32) -> Hedge {
        Hedge::new(HedgePolicy {
            after: After::Quantile(95),
            max_percent,
        })
    }

    #[test]
    fn no_more_than_the_percentage_is_ever_hedged() {
        for percent in [1, 5, 33, 100] {
            let (hedge, mut spent) = (hedge(percent), 0);
            for request in 1..=1_000 {
                hedge.earn();
                spent += u32::from(hedge.spend());
                assert!(spent * 100 <= request * percent, "{spent} of {request} at {percent} %");
            }
            assert_eq!(spent, 10 * percent);
        }
    }

    #[test]
    fn few_are_saved_up() {
        let hedge = hedge(5);
        (0..100_000).for_each(|_| hedge.earn());
        assert_eq!((0..100).filter(|_| hedge.spend()).count(), 10);
    }
}
