//! How much is under way of each key, counted over all workers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::rng::IdState;

/// Keys that are counted at once. A key is forgotten with the last of what it has under way, so that there are never
/// more than requests or connections; this is for whoever multiplies those.
pub const COUNTED_MAX: usize = 1 << 20;

/// Parts with a lock of their own.
const SHARDS: usize = 64;

/// Counts by key, which are hashes under a seed that nobody outside knows.
pub struct Counts {
    seed: u64,
    shards: Box<[Shard]>,
}

/// Aligned to cache lines, so that workers with different shards do not slow each other down.
#[repr(align(64))]
#[derive(Default)]
struct Shard(Mutex<HashMap<u64, u32, IdState>>);

/// One that is under way; counted for as long as it lives.
pub struct Held {
    counts: Arc<Counts>,
    key: u64,
}

/// Whether there is room for one more.
#[derive(Debug)]
pub enum Room {
    /// There was, and it is taken.
    Taken(Held),
    /// So many are under way already.
    Full(u32),
    /// Nobody can tell: more keys than can be counted are under way.
    Unknown,
}

impl Counts {
    /// Counts of nothing.
    pub fn new(seed: u64) -> Self {
        Counts {
            seed,
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
        }
    }

    /// What keys are hashed with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Counts one more of `key`, unless there are `limit` already.
    pub fn hold(self: &Arc<Self>, key: u64, limit: u32) -> Room {
        let mut shard = self.shard(key);
        let known = shard.len();
        match shard.entry(key) {
            Entry::Occupied(entry) if *entry.get() >= limit => return Room::Full(*entry.get()),
            Entry::Occupied(entry) => *entry.into_mut() += 1,
            Entry::Vacant(_) if limit == 0 => return Room::Full(0),
            Entry::Vacant(_) if known >= COUNTED_MAX / SHARDS => return Room::Unknown,
            Entry::Vacant(entry) => {
                entry.insert(1);
            }
        }
        Room::Taken(Held {
            counts: self.clone(),
            key,
        })
    }

    /// How much of `key` is under way.
    pub fn count(&self, key: u64) -> u32 {
        self.shard(key).get(&key).copied().unwrap_or(0)
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, HashMap<u64, u32, IdState>> {
        let shard = &self.shards[(key >> 58) as usize % SHARDS];
        shard.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.counts.shard(self.key).entry(self.key) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Counts").finish_non_exhaustive()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Held").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn what_is_held_is_counted_until_it_is_dropped() {
        let counts = Arc::new(Counts::new(7));
        let held: Vec<Room> = (0..3).map(|_| counts.hold(1, 2)).collect();
        assert!(matches!(held[..], [Room::Taken(_), Room::Taken(_), Room::Full(2)]));
        assert!(matches!(counts.hold(2, 2), Room::Taken(_)));
        assert_eq!((counts.count(1), counts.count(2)), (2, 0));
        // A limit that was lowered meanwhile holds for whoever comes next.
        assert!(matches!(counts.hold(1, 1), Room::Full(2)));
        drop(held);
        assert_eq!(counts.count(1), 0);
        assert!(counts.shards.iter().all(|shard| shard.0.lock().unwrap().is_empty()));
    }

    #[test]
    fn keys_beyond_the_bound_are_not_counted() {
        let counts = Arc::new(Counts::new(7));
        let mut rng = Rng::seeded(1);
        let held: Vec<Room> = (0..COUNTED_MAX + COUNTED_MAX / 4)
            .map(|_| counts.hold(rng.bits(), 1))
            .collect();
        let taken = held.iter().filter(|room| matches!(room, Room::Taken(_))).count();
        let unknown = held.iter().filter(|room| matches!(room, Room::Unknown)).count();
        assert!(taken <= COUNTED_MAX && unknown > 0 && taken + unknown == held.len());
    }
}
