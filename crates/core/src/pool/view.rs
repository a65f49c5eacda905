//! A pool's view: who may be chosen now, in tiers, each with its picker. Immutable; one swap per change.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use super::{AcquireCx, Lease, Pool, Refusal};
use crate::balance::Picker;
use crate::members::Members;
use crate::rng::Rng;

/// Those who may be chosen now.
#[derive(Default)]
pub struct View {
    /// The tiers that get work, the preferred one first. Their shares sum to 1. A share of 0 is for what the tiers
    /// before it cannot take.
    pub tiers: Box<[Tier]>,
    /// Whether health is being ignored because too few are healthy.
    pub panicking: bool,
    /// Whether the pool has any backend that would take work if it were healthy.
    pub has_backends: bool,
}

/// Members that share one picker: a priority, or a zone within one.
pub struct Tier {
    /// The share of the pool's work that this tier gets, in `[0, 1]`.
    pub share: f64,
    /// Who is in it.
    pub members: Members,
    /// Who chooses.
    pub picker: Box<dyn Picker>,
}

impl View {
    /// A tier, drawn by share; `None` when there is none.
    pub(super) fn draw(&self, rng: &mut Rng) -> Option<usize> {
        match self.tiers.len() {
            0 => None,
            1 => Some(0),
            _ => {
                let mut point = rng.unit();
                for (at, tier) in self.tiers.iter().enumerate() {
                    point -= tier.share;
                    if point < 0.0 {
                        return Some(at);
                    }
                }
                // Rounding: the shares may sum to a little less than 1.
                self.tiers.iter().rposition(|tier| tier.share > 0.0)
            }
        }
    }
}

/// A worker's way to a pool: its cached view and its own sequence number.
pub struct ViewReader {
    pool: Arc<Pool>,
    cache: Cache<ViewSource, Arc<View>>,
    seq: u64,
}

/// Lets the cache own the pool that holds the swap.
struct ViewSource(Arc<Pool>);

impl std::ops::Deref for ViewSource {
    type Target = ArcSwap<View>;

    fn deref(&self) -> &ArcSwap<View> {
        &self.0.view
    }
}

impl ViewReader {
    pub(super) fn new(pool: Arc<Pool>, seq: u64) -> Self {
        ViewReader {
            cache: Cache::new(ViewSource(pool.clone())),
            pool,
            seq,
        }
    }

    /// The pool.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// [`Pool::acquire`] on the newest view, with the next sequence number.
    pub fn acquire(&mut self, cx: &mut AcquireCx<'_>) -> Result<Lease, Refusal> {
        let seq = self.seq;
        self.seq = self.seq.wrapping_add(1);
        self.pool.acquire(self.cache.load(), seq, cx)
    }
}
