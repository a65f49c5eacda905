//! Which backend a client belongs to that shows no cookie of ours: bounded, sharded, shared by all workers.
//!
//! Each shard has a young and an old half. What is used is in the young one; when that is full the old one is thrown away
//! and the young one grows old: nearly the least recently used go first, and no list has to be kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::name::BackendId;
use crate::rng::IdState;
use crate::time::Now;

/// The most entries of one pool's table: some 6 MiB.
pub const ENTRIES_MAX: usize = 1 << 17;

const SHARDS: usize = 64;

/// The most in one half of a shard.
const HALF_MAX: usize = ENTRIES_MAX / SHARDS / 2;

/// Which backend each client belongs to, by a seeded hash of what tells clients apart.
#[derive(Debug)]
pub struct Table {
    seed: u64,
    shards: Box<[Mutex<Shard>]>,
    evicted: AtomicU64,
}

/// Keys are hashed with a seed already: nobody else can choose where they meet.
type Half = HashMap<u64, Entry, IdState>;

#[derive(Debug, Default)]
struct Shard {
    young: Half,
    old: Half,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    backend: BackendId,
    used: Now,
}

impl Entry {
    fn holds(&self, ttl: Duration, now: Now) -> bool {
        now.since(self.used) < ttl
    }
}

impl Table {
    /// An empty table; `seed` is what its keys are hashed with.
    pub fn new(seed: u64) -> Self {
        Table {
            seed,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            evicted: AtomicU64::new(0),
        }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// The backend of `key`.
    pub(super) fn find(&self, key: u64, ttl: Duration, now: Now) -> Option<BackendId> {
        let shard = self.shard(key);
        let entry = shard.young.get(&key).or_else(|| shard.old.get(&key))?;
        entry.holds(ttl, now).then_some(entry.backend)
    }

    /// The entry of `key` is used.
    pub(super) fn touch(&self, key: u64, now: Now) {
        let mut shard = self.shard(key);
        match shard.young.get_mut(&key) {
            Some(entry) => entry.used = now,
            None => {
                if let Some(entry) = shard.old.get(&key).copied() {
                    self.insert(&mut shard, key, entry.backend, now);
                }
            }
        }
    }

    /// `key` belongs to `backend` from now on.
    pub(super) fn put(&self, key: u64, backend: BackendId, now: Now) {
        self.insert(&mut self.shard(key), key, backend, now);
    }

    fn insert(&self, shard: &mut Shard, key: u64, backend: BackendId, now: Now) {
        shard.old.remove(&key);
        if shard.young.len() >= HALF_MAX && !shard.young.contains_key(&key) {
            self.evicted.fetch_add(shard.old.len() as u64, Relaxed);
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(key, Entry { backend, used: now });
    }

    /// How many entries name `backend`.
    pub(super) fn count(&self, backend: BackendId, ttl: Duration, now: Now) -> u64 {
        let of = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let entries = shard.young.values().chain(shard.old.values());
            entries
                .filter(|entry| entry.backend == backend && entry.holds(ttl, now))
                .count() as u64
        };
        self.shards.iter().map(of).sum()
    }

    /// Entries that were thrown away for want of room.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // The high bits: the maps look at the low ones.
        let at = (key >> 58) as usize % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(60);
    const ONE: BackendId = BackendId(1);

    fn at(seconds: u64) -> Now {
        Now::from_millis(seconds * 1_000)
    }

    #[test]
    fn an_entry_lasts_as_long_as_it_is_used() {
        let table = Table::new(1);
        table.put(7, ONE, at(0));
        table.touch(7, at(59));
        assert_eq!(table.find(7, TTL, at(118)), Some(ONE));
        assert_eq!(table.count(ONE, TTL, at(118)), 1);
        assert_eq!(table.find(7, TTL, at(119)), None, "to be looked up is not to be used");
        assert_eq!(table.count(ONE, TTL, at(119)), 0);
    }

    #[test]
    fn it_is_bounded_and_what_is_used_stays() {
        let table = Table::new(1);
        let mut rng = crate::rng::Rng::seeded(1);
        let used = rng.bits();
        table.put(used, ONE, at(0));
        for _ in 0..3 * ENTRIES_MAX {
            table.put(rng.bits(), BackendId(2), at(0));
            table.touch(used, at(0));
        }
        assert_eq!(table.find(used, TTL, at(0)), Some(ONE));
        let held = table.count(BackendId(2), TTL, at(0));
        assert!(held <= ENTRIES_MAX as u64, "{held}");
        assert_eq!(table.evicted() + held, 3 * ENTRIES_MAX as u64);
    }
}
