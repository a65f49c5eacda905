//! Splits: the requests of one route, shared out over several pools by weight (canary, blue and green).

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::rng::Rng;
use crate::snapshot::PoolIndex;

/// The most that one part of a split may weigh.
pub const WEIGHT_MAX: u32 = 1_000_000;

/// One pool's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The pool.
    pub pool: PoolIndex,
    /// Its part of the requests, relative to the others'; 0 gets none.
    pub weight: u32,
}

/// How a route's requests are shared out. The shares change in one swap, while requests go on.
#[derive(Debug)]
pub struct Split {
    /// As they are configured.
    pub configured: Vec<Share>,
    shares: ArcSwap<Vec<Share>>,
}

impl Split {
    /// A split with these shares.
    pub fn new(shares: Vec<Share>) -> Self {
        Split {
            configured: shares.clone(),
            shares: ArcSwap::from_pointee(shares),
        }
    }

    /// The shares as they are now.
    pub fn shares(&self) -> Arc<Vec<Share>> {
        self.shares.load_full()
    }

    /// Puts other shares in place. Only the control plane's publisher calls it.
    pub fn publish(&self, shares: Vec<Share>) {
        self.shares.store(Arc::new(shares));
    }

    /// The pool of one request, each as likely as its weight says; `None` when nothing weighs anything.
    pub fn draw(&self, rng: &mut Rng) -> Option<PoolIndex> {
        let shares = self.shares.load();
        let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
        if total == 0 {
            return None;
        }
        let mut at = rng.below(total);
        for share in shares.iter() {
            let weight = u64::from(share.weight);
            if at < weight {
                return Some(share.pool);
            }
            at -= weight;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(weights: &[u32]) -> Split {
        let shares = weights.iter().enumerate();
        Split::new(shares.map(|(pool, weight)| Share { pool, weight: *weight }).collect())
    }

    fn counts(split: &Split, pools: usize) -> Vec<u32> {
        let (mut rng, mut counts) = (Rng::seeded(7), vec![0; pools]);
        for _ in 0..100_000 {
            counts[split.draw(&mut rng).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn each_pool_gets_its_share_and_weight_0_nothing() {
        let split = split(&[95, 0, 5]);
        let got = counts(&split, 3);
        // Five standard deviations of the binomial distribution: sqrt(100,000 × 0.05 × 0.95) is 69.
        assert!(got[1] == 0 && got[2].abs_diff(5_000) < 345, "{got:?}");
    }

    #[test]
    fn shares_change_in_one_swap() {
        let split = split(&[1, 0]);
        assert_eq!(counts(&split, 2)[1], 0);
        split.publish(vec![Share { pool: 0, weight: 0 }, Share { pool: 1, weight: 3 }]);
        assert_eq!(counts(&split, 2)[0], 0);
    }

    #[test]
    fn nothing_is_drawn_from_nothing() {
        assert_eq!(split(&[0, 0]).draw(&mut Rng::seeded(1)), None);
        assert_eq!(split(&[]).draw(&mut Rng::seeded(1)), None);
    }
}
