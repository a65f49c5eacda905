//! A pool's view: who may be chosen now, in tiers, each with its picker. Immutable; one swap per change.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use super::{AcquireCx, Keepers, Lease, Pool, Refusal};
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
    /// Whether any of those who may be chosen is well, as far as is known.
    pub has_well: bool,
    /// Who keeps sticky sessions.
    pub keepers: Keepers,
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

    /// The newest view.
    pub fn view(&mut self) -> &View {
        self.cache.load()
    }

    /// The pool.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// [`Pool::acquire`] on the newest view, with the next sequence number.
    pub fn acquire(&mut self, cx: &mut AcquireCx<'_>) -> Result<Lease, Refusal> {
        // A retry goes on from the turn that its request had. With a turn of its own, two backends of which one is
        // dead would fall into step: every request would try the dead one first.
        if cx.tried.is_empty() {
            self.seq = self.seq.wrapping_add(1);
        }
        let seq = self.seq;
        self.pool.acquire(self.cache.load(), seq, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::Backend;
    use crate::balance::{Policy, PolicyConfig};
    use crate::budget::BudgetRules;
    use crate::members::{Limits, Member};
    use crate::name::{BackendId, NameId};
    use crate::pool::{BackendProtocol, PoolSettings, QueueSettings};
    use crate::time::Now;

    fn settings() -> PoolSettings {
        PoolSettings {
            protocol: BackendProtocol::H1,
            tls: false,
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            response_header_timeout: Duration::from_secs(1),
            consecutive_errors: 0,
            compares_latency: false,
            closes_unhealthy: false,
            queue: QueueSettings::default(),
            orca: false,
            measured: false,
            retry_budget: BudgetRules::default(),
            send_proxy: None,
        }
    }

    #[test]
    fn retries_and_turns_do_not_fall_into_step() {
        let policy = PolicyConfig::named("round-robin").unwrap();
        let members = Members::new((0..2).map(|id| Member {
            backend: Arc::new(Backend::new(BackendId(id), "p", "127.0.0.1:1".parse().unwrap())),
            name: id.to_string().into(),
            weight: 1,
            limits: Limits::default(),
        }));
        let view = View::single(members, &policy as &dyn Policy);
        let pool = Arc::new(Pool::new(NameId(0), "p", policy, settings(), view));
        let mut rng = Rng::seeded(1);
        let mut reader = pool.reader(&mut rng);
        let mut acquire = |tried: &[BackendId]| {
            let now = Now::START;
            let cx = &mut AcquireCx {
                now,
                rng: &mut rng,
                key: 0,
                tried,
                tie: None,
                is_question: false,
                record: None,
            };
            reader.acquire(cx).map(|lease| lease.backend().id).unwrap()
        };
        let dead = BackendId(0);
        let dead_first = (0..100)
            .filter(|_| acquire(&[]) == dead && acquire(&[dead]) != dead)
            .count();
        assert_eq!(dead_first, 50, "every second request has the dead one's turn");
    }
}
