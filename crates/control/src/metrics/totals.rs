//! What workers have counted since the start, under names instead of numbers.
//!
//! Names are looked up when counts are taken in. What was counted of a backend stays under its name when the backend
//! is gone, and adds to the same series when it comes back under another number.

use plimsoll_core::exemplar::Exemplars;
use plimsoll_core::name::{BackendId, NameId};
use plimsoll_core::outcome::Reason;
use plimsoll_core::priority::Class;
use plimsoll_core::snapshot::Snapshot;
use plimsoll_core::telemetry::{Hedged, Histogram, ListenerCounts, Mirrored, Queued, RequestKey, RetryResult, Shard};
use plimsoll_core::time::Now;

use super::living::Living;
use super::series::{Label, OTHER, Series};
use super::work::Work;

/// Where the names behind numbers are found.
pub(crate) trait Naming {
    /// The name of a listener, route or pool.
    fn name(&self, id: NameId) -> Label;
    /// The name of a backend in its pool; `None` when it left too long ago.
    fn backend_name(&self, id: BackendId) -> Option<Label>;
}

/// The sums.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// By listener, route, pool, backend and code.
    pub(super) requests: Series<5, 4, u64>,
    /// By route and pool.
    pub(super) durations: Series<2, 2, Histogram>,
    /// By pool and backend.
    pub(super) backend_durations: Series<2, 2, Histogram>,
    /// Exemplars of the two, likewise.
    pub(super) exemplars: Series<2, 2, Exemplars>,
    pub(super) backend_exemplars: Series<2, 2, Exemplars>,
    /// By listener.
    pub(super) listeners: Series<1, 1, ListenerCounts>,
    /// By pool and backend: newly made and reused ones.
    pub(super) backend_connections: Series<2, 2, [u64; 2]>,
    /// By pool and result.
    pub(super) retries: Series<2, 1, u64>,
    /// By pool and result.
    pub(super) hedged: Series<2, 1, u64>,
    /// By pool and result.
    pub(super) mirrored: Series<2, 1, u64>,
    /// Those that found their pool full, by pool, class and what became of them.
    pub(super) queued: Series<3, 1, u64>,
    /// What went to a fallback, by the pool that was asked, the one that took over, and why.
    pub(super) fallbacks: Series<3, 1, u64>,
    /// How long those that were served had waited, by pool.
    pub(super) queue_durations: Series<1, 1, Histogram>,
    /// Handshakes with clients: by listener, version and whether an earlier one was taken up.
    pub(super) handshakes: Series<3, 1, u64>,
    /// Those that failed: by listener and cause.
    pub(super) handshakes_failed: Series<2, 1, u64>,
    /// By their place in [`Reason::ALL`].
    pub(super) failures: Vec<u64>,
    /// Likewise.
    pub(super) rehearsed: Vec<u64>,
    pub(super) crowded_out: u64,
    pub(super) bans: u64,
    pub(super) retry_budget_spent: u64,
    /// What shifts and the dashboard go by.
    pub(super) work: Work,
    /// When series were last given up, and in which generation.
    pub(super) made_room: Option<(u64, Now)>,
    /// The generation whose series have begun.
    pub(super) expected: Option<u64>,
}

impl Totals {
    /// Adds what was counted.
    pub(super) fn add(&mut self, mut shard: Shard, names: &dyn Naming) {
        self.add_attempts(&mut shard, names);
        for (key, counted) in shard.requests {
            let [listener, route, pool, backend] = labels(key, names);
            self.work.add([&listener, &route, &pool], key.code, &counted);
            *self.requests.of([
                listener,
                route.clone(),
                pool.clone(),
                backend.clone(),
                key.code.to_string().into(),
            ]) += counted.duration.count();
            let (of_route, of_backend) = ([route, pool.clone()], [pool, backend]);
            self.durations.of(of_route.clone()).add(&counted.duration);
            if counted.backend_duration.count() > 0 {
                let durations = self.backend_durations.of(of_backend.clone());
                durations.add(&counted.backend_duration);
            }
            if let Some([whole, backend]) = counted.exemplars.map(|both| *both) {
                self.exemplars.of(of_route).add(whole);
                self.backend_exemplars.of(of_backend).add(backend);
            }
        }
        for (listener, theirs) in shard.listeners {
            let mine = self.listeners.of([names.name(listener)]);
            mine.opened += theirs.opened;
            mine.closed += theirs.closed;
            mine.bytes_in += theirs.bytes_in;
            mine.bytes_out += theirs.bytes_out;
        }
        for ((pool, backend), [new, reused]) in shard.backend_connections {
            let mine = self
                .backend_connections
                .of([names.name(pool), backend_label(backend, names)]);
            mine[0] += new;
            mine[1] += reused;
        }
        for ((pool, class, result), count) in shard.queued {
            *self
                .queued
                .of([names.name(pool), class.word().into(), result.word().into()]) += count;
        }
        for ((asked, to, why), count) in shard.fallbacks {
            let labels = [names.name(asked), names.name(to), why.word().into()];
            *self.fallbacks.of(labels) += count;
        }
        for (pool, waited) in shard.queue_durations {
            self.queue_durations.of([names.name(pool)]).add(&waited);
        }
        for ((listener, version, resumed), count) in shard.handshakes {
            *self
                .handshakes
                .of([names.name(listener), version.into(), resumed.to_string().into()]) += count;
        }
        for ((listener, cause), count) in shard.handshakes_failed {
            *self.handshakes_failed.of([names.name(listener), cause.into()]) += count;
        }
        self.failures.resize(Reason::ALL.len(), 0);
        for (mine, theirs) in self.failures.iter_mut().zip(*shard.failures) {
            *mine += theirs;
        }
        self.rehearsed.resize(Reason::ALL.len(), 0);
        for (mine, theirs) in self.rehearsed.iter_mut().zip(*shard.rehearsed) {
            *mine += theirs;
        }
        self.crowded_out += shard.crowded_out;
        self.bans += shard.bans;
        self.retry_budget_spent += shard.retry_budget_spent;
    }

    /// Adds what was sent more than once.
    fn add_attempts(&mut self, shard: &mut Shard, names: &dyn Naming) {
        for ((pool, result), count) in shard.retries.drain() {
            *self.retries.of([names.name(pool), retry_word(result).into()]) += count;
        }
        for ((pool, result), count) in shard.hedged.drain() {
            *self.hedged.of([names.name(pool), result.word().into()]) += count;
        }
        for ((pool, result), count) in shard.mirrored.drain() {
            *self.mirrored.of([names.name(pool), result.word().into()]) += count;
        }
    }

    /// Begins the series of what `snapshot` serves at 0, so that the first event of each is a rise that can be seen.
    pub(super) fn expect(&mut self, snapshot: &Snapshot) {
        self.expected = Some(snapshot.generation);
        for listener in &snapshot.listeners {
            self.listeners.of([listener.name.clone()]);
        }
        for route in snapshot.routes.iter().filter(|route| route.hedge.is_some()) {
            for pool in route.action.pools() {
                for result in Hedged::ALL {
                    let name = snapshot.pools[pool].name.clone();
                    self.hedged.of([name, result.word().into()]);
                }
            }
        }
        for mirror in snapshot.routes.iter().filter_map(|route| route.mirror) {
            for result in Mirrored::ALL {
                let name = snapshot.pools[mirror.pool].name.clone();
                self.mirrored.of([name, result.word().into()]);
            }
        }
        for (pool, fallback) in snapshot.pools.iter().zip(&snapshot.fallbacks) {
            for why in [Reason::NoBackend, Reason::NoHealthyBackend] {
                if let Some(to) = fallback {
                    let to = snapshot.pools[*to].name.clone();
                    self.fallbacks.of([pool.name.clone(), to, why.word().into()]);
                }
            }
        }
        for pool in &snapshot.pools {
            for result in [RetryResult::Success, RetryResult::Failure, RetryResult::BudgetSpent] {
                self.retries.of([pool.name.clone(), retry_word(result).into()]);
            }
            for result in Queued::ALL {
                let class = Class::Normal.word();
                self.queued.of([pool.name.clone(), class.into(), result.word().into()]);
            }
            self.queue_durations.of([pool.name.clone()]);
        }
    }

    /// Series of the metric that has most.
    pub(super) fn widest(&self) -> usize {
        let of_requests = self.requests.len().max(self.durations.len());
        let of_backends = self.backend_durations.len().max(self.backend_connections.len());
        let of_attempts = self.retries.len().max(self.hedged.len()).max(self.mirrored.len());
        let of_pools = self
            .queued
            .len()
            .max(self.fallbacks.len())
            .max(self.queue_durations.len());
        let of_tls = self.handshakes.len().max(self.handshakes_failed.len());
        let all = [
            of_requests,
            of_backends,
            of_attempts,
            of_pools,
            of_tls,
            self.listeners.len(),
        ];
        all.into_iter().max().unwrap_or_default()
    }

    /// Gives up the series of names that do not live.
    pub(super) fn keep(&mut self, living: &Living) {
        self.requests.retain(|[listener, route, pool, backend, _], _| {
            living.has_listener(listener) && living.has_route(route) && living.has_backend(pool, backend)
        });
        self.durations
            .retain(|[route, pool], _| living.has_route(route) && living.has_pool(pool));
        self.exemplars
            .retain(|[route, pool], _| living.has_route(route) && living.has_pool(pool));
        self.backend_durations
            .retain(|[pool, backend], _| living.has_backend(pool, backend));
        self.backend_exemplars
            .retain(|[pool, backend], _| living.has_backend(pool, backend));
        self.backend_connections
            .retain(|[pool, backend], _| living.has_backend(pool, backend));
        // A listener that is gone may have connections that are still served.
        self.listeners
            .retain(|[name], counts| living.has_listener(name) || open(counts) > 0);
        self.retries.retain(|[pool, _], _| living.has_pool(pool));
        self.hedged.retain(|[pool, _], _| living.has_pool(pool));
        self.mirrored.retain(|[pool, _], _| living.has_pool(pool));
        self.queued.retain(|[pool, ..], _| living.has_pool(pool));
        self.queue_durations.retain(|[pool], _| living.has_pool(pool));
        self.fallbacks
            .retain(|[asked, to, _], _| living.has_pool(asked) && living.has_pool(to));
        self.handshakes
            .retain(|[listener, ..], _| living.has_listener(listener));
        self.handshakes_failed
            .retain(|[listener, _], _| living.has_listener(listener));
        self.work.keep(living);
    }

    /// Client connections that are open.
    pub(super) fn connections(&self) -> u64 {
        self.listeners.values().map(open).sum()
    }
}

/// Connections of a listener that are open. Those that were opened are taken in before those that were closed, or
/// with them.
pub(super) fn open(counts: &ListenerCounts) -> u64 {
    counts.opened.saturating_sub(counts.closed)
}

/// The word for how a retry went.
fn retry_word(result: RetryResult) -> &'static str {
    match result {
        RetryResult::Success => "success",
        RetryResult::Failure => "failure",
        RetryResult::BudgetSpent => "budget_spent",
    }
}

/// A request that took no route, or went to no pool, has an empty label there, which Prometheus takes for none.
fn labels(key: RequestKey, names: &dyn Naming) -> [Label; 4] {
    let Some(listener) = key.listener else {
        // The shard ran out of room for names.
        return [OTHER; 4].map(Into::into);
    };
    let or_none = |id: Option<NameId>| id.map_or_else(|| "".into(), |id| names.name(id));
    let backend = key.backend.map_or_else(|| "".into(), |id| backend_label(id, names));
    [names.name(listener), or_none(key.route), or_none(key.pool), backend]
}

fn backend_label(id: BackendId, names: &dyn Naming) -> Label {
    names.backend_name(id).unwrap_or_else(|| OTHER.into())
}
