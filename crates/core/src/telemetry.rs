//! What workers count: a shard each, taken and summed by the control plane when somebody asks.
//!
//! A worker locks its own shard once a request; only a scrape, which swaps the shard for an empty one, ever contends.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::exemplar::{Exemplar, Exemplars, Witness};
use crate::name::{BackendId, NameId};
use crate::outcome::Reason;
use crate::priority::Class;
use crate::rng::IdState;

/// Upper bounds of the buckets of durations, in microseconds: 0.5 ms to 60 s, about 2.5 times apart.
pub const BUCKETS_US: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 60_000_000,
];

/// Series of one name in a shard. Requests beyond it are counted without their backend, and other things without any
/// name.
pub const SERIES_MAX: usize = 10_000;

/// Series of requests in a shard, those without a backend among them: of so few as have a listener, a route and a pool in
/// common there are seldom more. What comes beyond is counted without any name.
pub const REQUEST_SERIES_MAX: usize = 3 * SERIES_MAX;

/// A distribution of durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many fell into each bucket of [`BUCKETS_US`] (not cumulative); the last one is what is above all.
    pub buckets: [u64; BUCKETS_US.len() + 1],
    /// Their sum, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&mut self, duration: Duration) {
        let micros = micros(duration);
        self.buckets[bucket(micros)] += 1;
        self.sum_us = self.sum_us.saturating_add(micros);
    }

    /// The position of the bucket that a duration belongs to.
    pub fn bucket_of(duration: Duration) -> usize {
        bucket(micros(duration))
    }

    /// Adds another distribution.
    pub fn add(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn bucket(micros: u64) -> usize {
    let found = BUCKETS_US.iter().position(|bound| micros <= *bound);
    found.unwrap_or(BUCKETS_US.len())
}

/// The labels of `plimsoll_requests_total`. `None` is a request that got no such thing; the default is "other".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey {
    /// Which listener; `None` is "other".
    pub listener: Option<NameId>,
    /// Which route.
    pub route: Option<NameId>,
    /// Which pool.
    pub pool: Option<NameId>,
    /// Which backend.
    pub backend: Option<BackendId>,
    /// The status.
    pub code: u16,
}

/// What is counted of the requests of one [`RequestKey`].
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// How many; the histogram's count.
    pub duration: Histogram,
    /// Time that backends took to begin their answers.
    pub backend_duration: Histogram,
    /// Some that can be looked at, of each of the two.
    pub exemplars: Option<Box<[Exemplars; 2]>>,
}

/// What is counted of one listener.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListenerCounts {
    /// Connections accepted.
    pub opened: u64,
    /// Connections closed.
    pub closed: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

/// How a retry went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RetryResult {
    /// The request was answered in the end.
    Success,
    /// It was not.
    Failure,
    /// It was not tried, since the budget was spent.
    BudgetSpent,
}

/// What became of the second attempt of a request that waited for its answer for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hedged {
    /// It was answered first.
    Won,
    /// The first attempt was, and this one was cancelled.
    Lost,
    /// It failed, or was answered by a 5xx, while the first attempt went on.
    Failed,
    /// It was not made, since the route's share of hedges was spent.
    BudgetSpent,
    /// It was not made, since there was no other backend with room.
    NoBackend,
}

impl Hedged {
    /// All of them.
    pub const ALL: [Hedged; 5] = [
        Hedged::Won,
        Hedged::Lost,
        Hedged::Failed,
        Hedged::BudgetSpent,
        Hedged::NoBackend,
    ];

    /// The word for it in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Hedged::Won => "won",
            Hedged::Lost => "lost",
            Hedged::Failed => "failed",
            Hedged::BudgetSpent => "budget_spent",
            Hedged::NoBackend => "no_backend",
        }
    }
}

/// What became of a copy of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mirrored {
    /// It was sent and answered.
    Answered,
    /// It was not answered, or not wholly.
    Failed,
    /// It was not sent: as many are under way as may be.
    Dropped,
    /// It was not sent: there was more of it than is kept.
    TooLarge,
}

impl Mirrored {
    /// All of them.
    pub const ALL: [Mirrored; 4] = [
        Mirrored::Answered,
        Mirrored::Failed,
        Mirrored::Dropped,
        Mirrored::TooLarge,
    ];

    /// The word for it in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Mirrored::Answered => "answered",
            Mirrored::Failed => "failed",
            Mirrored::Dropped => "dropped",
            Mirrored::TooLarge => "too_large",
        }
    }
}

/// What became of a request or connection that found every backend of its pool full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Queued {
    /// It waited, and was served.
    Served,
    /// It waited for as long as it may.
    TimedOut,
    /// It waited, and made room for one of a higher class.
    Shed,
    /// There was no room to wait in.
    Refused,
    /// It waited, and went for another reason: its client did, or its own time was up.
    Left,
}

impl Queued {
    /// All of them.
    pub const ALL: [Queued; 5] = [
        Queued::Served,
        Queued::TimedOut,
        Queued::Shed,
        Queued::Refused,
        Queued::Left,
    ];

    /// The word in the metric.
    pub const fn word(self) -> &'static str {
        match self {
            Queued::Served => "served",
            Queued::TimedOut => "timeout",
            Queued::Shed => "shed",
            Queued::Refused => "refused",
            Queued::Left => "left",
        }
    }
}

/// A count for each of [`Reason::ALL`], in their order.
#[derive(Clone, Copy, Debug)]
pub struct ByReason([u64; Reason::ALL.len()]);

impl Default for ByReason {
    fn default() -> Self {
        ByReason([0; Reason::ALL.len()])
    }
}

impl Deref for ByReason {
    type Target = [u64; Reason::ALL.len()];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for ByReason {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// One worker's counts since they were last taken.
#[derive(Debug, Default)]
pub struct Shard {
    /// Requests.
    pub requests: HashMap<RequestKey, Requests, IdState>,
    /// Listeners.
    pub listeners: HashMap<NameId, ListenerCounts, IdState>,
    /// Connections to backends: by pool and backend, newly made and reused ones.
    pub backend_connections: HashMap<(NameId, BackendId), [u64; 2], IdState>,
    /// Retries.
    pub retries: HashMap<(NameId, RetryResult), u64, IdState>,
    /// Second attempts of hedged requests.
    pub hedged: HashMap<(NameId, Hedged), u64, IdState>,
    /// Copies of requests, by the pool that they went to.
    pub mirrored: HashMap<(NameId, Mirrored), u64, IdState>,
    /// Those that found their pool full.
    pub queued: HashMap<(NameId, Class, Queued), u64, IdState>,
    /// What went to a fallback: by the pool that was asked, the one that took over, and why.
    pub fallbacks: HashMap<(NameId, NameId, Reason), u64, IdState>,
    /// How long those that were served had waited.
    pub queue_durations: HashMap<NameId, Histogram, IdState>,
    /// Handshakes of TLS with clients that succeeded, by listener, version, and whether an earlier one was taken up.
    pub handshakes: HashMap<(NameId, &'static str, bool), u64, IdState>,
    /// Those that failed, by listener and cause.
    pub handshakes_failed: HashMap<(NameId, &'static str), u64, IdState>,
    /// Failures, by their place in [`Reason::ALL`].
    pub failures: ByReason,
    /// What filters on trial would have refused, by reason.
    pub rehearsed: ByReason,
    /// Keys of limits that were forgotten because a table was full.
    pub crowded_out: u64,
    /// Clients that were banned.
    pub bans: u64,
    /// Failures whose retry the budget refused.
    pub retry_budget_spent: u64,
}

impl Shard {
    /// Entries of its largest table: as many series at most are new in one metric.
    pub fn widest(&self) -> usize {
        let of_requests = self.requests.len().max(self.backend_connections.len());
        let of_attempts = self.retries.len().max(self.hedged.len()).max(self.mirrored.len());
        let of_pools = self
            .queued
            .len()
            .max(self.fallbacks.len())
            .max(self.queue_durations.len());
        let of_listeners = self.listeners.len().max(self.handshakes.len());
        let all = [
            of_requests,
            of_attempts,
            of_pools,
            of_listeners,
            self.handshakes_failed.len(),
        ];
        all.into_iter().max().unwrap_or_default()
    }

    /// Counts a finished request.
    pub fn request(&mut self, key: RequestKey, duration: Duration, backend_duration: Option<Duration>) {
        let series = bounded(&mut self.requests, key);
        series.duration.observe(duration);
        if let Some(duration) = backend_duration {
            series.backend_duration.observe(duration);
        }
    }

    /// Takes note that a request which was counted under `key` can be looked at.
    pub fn witness(&mut self, key: &RequestKey, durations: [Option<Duration>; 2], witness: &Witness) {
        let Some(series) = self.requests.get_mut(key) else {
            return;
        };
        let exemplars = series.exemplars.get_or_insert_default();
        for (kept, duration) in exemplars.iter_mut().zip(durations) {
            if let Some(duration) = duration {
                let witness = witness.clone();
                kept.keep(Exemplar { duration, witness });
            }
        }
    }

    /// The counts of a listener.
    pub fn listener(&mut self, listener: NameId) -> &mut ListenerCounts {
        self.listeners.entry(listener).or_default()
    }

    /// Counts a connection to a backend.
    pub fn backend_connection(&mut self, pool: NameId, backend: BackendId, reused: bool) {
        if self.backend_connections.len() < SERIES_MAX || self.backend_connections.contains_key(&(pool, backend)) {
            self.backend_connections.entry((pool, backend)).or_default()[usize::from(reused)] += 1;
        }
    }

    /// Counts a retry.
    pub fn retry(&mut self, pool: NameId, result: RetryResult) {
        *self.retries.entry((pool, result)).or_default() += 1;
        if result == RetryResult::BudgetSpent {
            self.retry_budget_spent += 1;
        }
    }

    /// Counts a second attempt.
    pub fn hedged(&mut self, pool: NameId, result: Hedged) {
        *self.hedged.entry((pool, result)).or_default() += 1;
    }

    /// Counts a copy of a request.
    pub fn mirrored(&mut self, pool: NameId, result: Mirrored) {
        *self.mirrored.entry((pool, result)).or_default() += 1;
    }

    /// Counts what went from the pool `asked` to the fallback `to`.
    pub fn fell_back(&mut self, asked: NameId, to: NameId, why: Reason) {
        *self.fallbacks.entry((asked, to, why)).or_default() += 1;
    }

    /// Counts what a filter on trial would have refused.
    pub fn rehearsed(&mut self, reason: Reason) {
        self.rehearsed[reason as usize] += 1;
    }

    /// Counts one that found its pool full, and has waited for so long.
    pub fn queued(&mut self, pool: NameId, class: Class, result: Queued, waited: Duration) {
        *self.queued.entry((pool, class, result)).or_default() += 1;
        if result == Queued::Served {
            self.queue_durations.entry(pool).or_default().observe(waited);
        }
    }

    /// Counts a handshake of TLS that succeeded.
    pub fn handshake(&mut self, listener: NameId, version: &'static str, resumed: bool) {
        *self.handshakes.entry((listener, version, resumed)).or_default() += 1;
    }

    /// Counts one that failed, with the word for its cause.
    pub fn handshake_failed(&mut self, listener: NameId, cause: &'static str) {
        self.failure(Reason::ClientTlsFailed);
        *self.handshakes_failed.entry((listener, cause)).or_default() += 1;
    }

    /// Counts a failure.
    pub fn failure(&mut self, reason: Reason) {
        self.failures[reason as usize] += 1;
    }

    /// Adds another shard's counts.
    pub fn add(&mut self, other: Shard) {
        for (key, theirs) in other.requests {
            let mine = bounded(&mut self.requests, key);
            mine.duration.add(&theirs.duration);
            mine.backend_duration.add(&theirs.backend_duration);
            if let Some(theirs) = theirs.exemplars {
                let mine = mine.exemplars.get_or_insert_default();
                mine.iter_mut().zip(*theirs).for_each(|(mine, theirs)| mine.add(theirs));
            }
        }
        for (key, theirs) in other.listeners {
            let mine = self.listeners.entry(key).or_default();
            mine.opened += theirs.opened;
            mine.closed += theirs.closed;
            mine.bytes_in += theirs.bytes_in;
            mine.bytes_out += theirs.bytes_out;
        }
        for (key, theirs) in other.backend_connections {
            let mine = self.backend_connections.entry(key).or_default();
            mine[0] += theirs[0];
            mine[1] += theirs[1];
        }
        for (key, theirs) in other.retries {
            *self.retries.entry(key).or_default() += theirs;
        }
        for (key, theirs) in other.hedged {
            *self.hedged.entry(key).or_default() += theirs;
        }
        for (key, theirs) in other.mirrored {
            *self.mirrored.entry(key).or_default() += theirs;
        }
        for (key, theirs) in other.handshakes {
            *self.handshakes.entry(key).or_default() += theirs;
        }
        for (key, theirs) in other.handshakes_failed {
            *self.handshakes_failed.entry(key).or_default() += theirs;
        }
        for (key, theirs) in other.queued {
            *self.queued.entry(key).or_default() += theirs;
        }
        for (key, theirs) in other.fallbacks {
            *self.fallbacks.entry(key).or_default() += theirs;
        }
        for (key, theirs) in other.queue_durations {
            self.queue_durations.entry(key).or_default().add(&theirs);
        }
        for (mine, theirs) in self.failures.iter_mut().zip(*other.failures) {
            *mine += theirs;
        }
        for (mine, theirs) in self.rehearsed.iter_mut().zip(*other.rehearsed) {
            *mine += theirs;
        }
        self.crowded_out += other.crowded_out;
        self.bans += other.bans;
        self.retry_budget_spent += other.retry_budget_spent;
    }
}

/// The series of `key`. When there are too many it is the one without the backend, so that what is judged by route and
/// pool stays whole, and at last the one without any name.
fn bounded(table: &mut HashMap<RequestKey, Requests, IdState>, key: RequestKey) -> &mut Requests {
    if table.len() < SERIES_MAX || table.contains_key(&key) {
        return table.entry(key).or_default();
    }
    let all_backends = RequestKey {
        backend: key.backend.map(|_| BackendId::OTHER),
        ..key
    };
    if table.len() < REQUEST_SERIES_MAX || table.contains_key(&all_backends) {
        return table.entry(all_backends).or_default();
    }
    let all = RequestKey {
        code: key.code,
        ..RequestKey::default()
    };
    table.entry(all).or_default()
}

/// The shards of all workers.
#[derive(Debug)]
pub struct Telemetry {
    shards: Vec<Mutex<Shard>>,
    /// How late each worker is, in microseconds.
    late_us: Vec<AtomicU64>,
}

impl Telemetry {
    /// Shards for so many workers.
    pub fn new(workers: usize) -> Self {
        Telemetry {
            shards: (0..workers).map(|_| Mutex::default()).collect(),
            late_us: (0..workers).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// A worker tells how late it is.
    pub fn tell_late(&self, worker: usize, late: Duration) {
        let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        self.late_us[worker].store(micros, Relaxed);
    }

    /// How late each worker was in the last tenth of a second.
    pub fn lateness(&self) -> impl Iterator<Item = Duration> {
        self.late_us
            .iter()
            .map(|late| Duration::from_micros(late.load(Relaxed)))
    }

    /// A worker's own shard.
    pub fn shard(&self, worker: usize) -> MutexGuard<'_, Shard> {
        // A panic while counting loses a count, not the counter.
        self.shards[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes everything that was counted since the last take.
    pub fn take(&self) -> Shard {
        let mut sum = Shard::default();
        for worker in 0..self.shards.len() {
            let taken = std::mem::take(&mut *self.shard(worker));
            sum.add(taken);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_sum_and_are_taken_once() {
        let telemetry = Telemetry::new(2);
        let key = RequestKey {
            listener: Some(NameId(1)),
            code: 200,
            ..RequestKey::default()
        };
        telemetry.shard(0).request(key, Duration::from_millis(3), None);
        telemetry
            .shard(1)
            .request(key, Duration::from_secs(90), Some(Duration::from_millis(1)));
        telemetry.shard(1).failure(Reason::NoRoute);
        let sum = telemetry.take();
        assert_eq!(sum.requests[&key].duration.count(), 2);
        assert_eq!(sum.requests[&key].backend_duration.count(), 1);
        assert_eq!(sum.failures[Reason::NoRoute as usize], 1);
        assert!(telemetry.take().requests.is_empty());
    }

    #[test]
    fn backends_beyond_the_limit_count_as_other_and_their_routes_stay() {
        let mut shard = Shard::default();
        let limit = u32::try_from(SERIES_MAX).unwrap();
        let key = |route, backend| RequestKey {
            listener: Some(NameId(1)),
            route: Some(NameId(route)),
            pool: Some(NameId(2)),
            backend: Some(BackendId(backend)),
            code: 200,
        };
        for backend in 0..limit + 5 {
            shard.request(key(1, backend), Duration::ZERO, None);
        }
        shard.request(key(7, 3), Duration::ZERO, None);
        assert_eq!(shard.requests.len(), SERIES_MAX + 2);
        let count = |key: RequestKey| {
            let backend = Some(BackendId::OTHER);
            shard.requests[&RequestKey { backend, ..key }].duration.count()
        };
        assert_eq!((count(key(1, 0)), count(key(7, 0))), (5, 1));
    }

    #[test]
    fn routes_beyond_the_limit_count_without_names() {
        let mut shard = Shard::default();
        let limit = u32::try_from(REQUEST_SERIES_MAX).unwrap();
        for route in 0..limit + 5 {
            let key = RequestKey {
                route: Some(NameId(route)),
                code: 200,
                ..RequestKey::default()
            };
            shard.request(key, Duration::ZERO, None);
        }
        assert_eq!(shard.requests.len(), REQUEST_SERIES_MAX + 1);
        let nameless = RequestKey {
            code: 200,
            ..RequestKey::default()
        };
        assert_eq!(shard.requests[&nameless].duration.count(), 5);
    }
}
