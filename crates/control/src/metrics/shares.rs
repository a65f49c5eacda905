//! How the work of pools was shared out of late: what each backend has got since a while ago, and why that is uneven.

use std::collections::HashMap;
use std::time::Duration;

use plimsoll_core::name::BackendId;
use plimsoll_core::time::Now;
use plimsoll_core::uneven::{Finding, Part, Pool, uneven};

use crate::living::PoolStatus;
use crate::publish::Control;

/// What is looked at is as old as this, and at most twice as old.
const WINDOW: Duration = Duration::from_secs(30);

/// What backends had got at two moments before now.
#[derive(Debug, Default)]
pub(super) struct Shares {
    before: Look,
    latest: Look,
}

#[derive(Debug, Default)]
struct Look {
    at: Option<Now>,
    requests: HashMap<BackendId, u64>,
}

impl Shares {
    /// Looks again when it is time to.
    pub(super) fn look(&mut self, pools: &[PoolStatus], now: Now) {
        let due = self.latest.at.is_none_or(|at| now.since(at) >= WINDOW);
        if !due {
            return;
        }
        // Nobody may have looked for long: then the latest is the one before.
        let all = pools.iter().flat_map(|pool| &pool.backends);
        let requests = all
            .map(|backend| (backend.backend.id, backend.backend.load.totals().0))
            .collect();
        let latest = Look {
            at: Some(now),
            requests,
        };
        self.before = std::mem::replace(&mut self.latest, latest);
    }

    /// What a backend has got since the moment before, or since it is there.
    pub(super) fn since(&self, backend: BackendId, total: u64) -> u64 {
        total.saturating_sub(self.before.requests.get(&backend).copied().unwrap_or(0))
    }

    /// Why the work of `pool` is shared out unevenly.
    pub(super) fn findings(&self, control: &Control, pool: &PoolStatus) -> Vec<Finding> {
        let plan = control.plan();
        let plan_of_pool = plan.pools.iter().find(|plan| plan.name == *pool.name);
        let causes: Vec<String> = pool.backends.iter().map(|backend| backend.cause.to_string()).collect();
        let now = control.now();
        let parts: Vec<Part<'_>> = pool
            .backends
            .iter()
            .zip(&causes)
            .map(|(backend, cause)| {
                let load = &backend.backend.load;
                let sticky = pool.sticky.as_ref();
                Part {
                    name: &backend.name,
                    requests: self.since(backend.backend.id, load.totals().0),
                    weight: backend.weight,
                    effective_weight: backend.effective_weight,
                    state: backend.state,
                    cause,
                    priority: backend.priority,
                    zone: backend.zone.as_deref(),
                    in_flight: load.in_flight(),
                    load_line: backend.load_line,
                    latency_ms: load.latency_ms().map(f64::from),
                    sticky_sessions: sticky.map_or(0, |sticky| sticky.count(&backend.backend, now)),
                }
            })
            .collect();
        let key = pool.key.as_deref();
        let zone_aware = plan_of_pool.is_some_and(|plan| plan.zone_aware);
        let pool = Pool {
            policy: pool.policy,
            key,
            zone: plan.zone.as_deref().filter(|_| zone_aware),
        };
        uneven(pool, &parts)
    }
}
