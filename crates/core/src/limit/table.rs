//! A table from keys to small states, which all workers share and which never grows beyond its bound.
//!
//! A key is its hash, under a seed that nobody outside knows: with 64 bits, two of a million keys share a state once in
//! 37 million tables. The hash names a shard, in it a set, and in that any of 16 ways. A shard is locked for the time that
//! it takes to look through one set, which is 256 bytes for a rate limit. Shards begin without memory and double
//! whenever one of their sets is full.
//!
//! **When a full set may not grow**, the state that says the least goes: the entry decides (a bucket that is nearly full,
//! a client with the fewest errors). Whoever wants to be forgotten therefore has to fill 15 ways of his own set with
//! states that say as much as his. He cannot know which keys fall into his set, so that he has to do it to all sets: a
//! table for a million keys has two million places, and each of them costs a whole burst of requests within the time in
//! which that burst comes back. Keys that come once only ever displace each other.
//!
//! A look takes 36 ns for one key, 60 for a thousand, and 290 for a million, which no cache holds (release build, one
//! thread).

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::time::Now;

/// The most keys that a table may be asked to hold.
pub const KEYS_MAX: usize = 16 << 20;

/// States in a set. At two places for each key, one key in 2,500 finds its set full (Poisson, mean 8).
const WAYS: usize = 16;

/// Parts with a lock of their own: two workers that look at the same time meet once in 64 times.
const SHARDS: usize = 64;

/// What is kept of a key. The default is what a key has that nobody has seen.
pub trait Entry: Copy + Default {
    /// Whether it says nothing any more that the default would not say.
    fn is_spent(&self, now: Now) -> bool;

    /// How much would be lost with it.
    fn weight(&self) -> u64;
}

/// See the module.
pub struct Table<S> {
    seed: u64,
    /// Sets that a shard may have.
    sets_max: AtomicUsize,
    /// Keys that were forgotten although their state said something.
    forgotten: AtomicU64,
    shards: Box<[Shard<S>]>,
}

/// Aligned to cache lines, so that workers with different shards do not slow each other down.
#[repr(align(64))]
struct Shard<S>(Mutex<Vec<Set<S>>>);

struct Set<S> {
    keys: [u64; WAYS],
    entries: [S; WAYS],
}

impl<S: Entry> Table<S> {
    /// An empty table for so many keys, whose hashes are made with `seed`.
    pub fn new(seed: u64, keys: usize) -> Self {
        Table {
            seed,
            sets_max: AtomicUsize::new(sets_for(keys)),
            forgotten: AtomicU64::new(0),
            shards: (0..SHARDS).map(|_| Shard(Mutex::default())).collect(),
        }
    }

    /// What keys are hashed with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// From now on it grows to so many keys. What it has it keeps.
    pub fn resize(&self, keys: usize) {
        self.sets_max.store(sets_for(keys), Relaxed);
    }

    /// How many keys were forgotten that should not have been.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Relaxed)
    }

    /// Changes the state of `key`. True when another key was forgotten for it.
    pub fn change<R>(&self, key: u64, now: Now, change: impl FnOnce(&mut S) -> R) -> (R, bool) {
        let mut sets = self.shard(key);
        if sets.is_empty() {
            grow(&mut sets, now);
        }
        loop {
            let at = place(key, sets.len());
            let set = &mut sets[at];
            if let Some(way) = set.find(key) {
                return (change(&mut set.entries[way]), false);
            }
            let spent = set.entries.iter().position(|entry| entry.is_spent(now));
            if spent.is_none() && sets.len() < self.sets_max.load(Relaxed) {
                grow(&mut sets, now);
                continue;
            }
            let set = &mut sets[at];
            let way = spent.unwrap_or_else(|| set.lightest());
            if spent.is_none() {
                self.forgotten.fetch_add(1, Relaxed);
            }
            set.keys[way] = key;
            set.entries[way] = S::default();
            return (change(&mut set.entries[way]), spent.is_none());
        }
    }

    /// The state of `key`.
    pub fn look(&self, key: u64) -> S {
        let sets = self.shard(key);
        let set = sets.get(place(key, sets.len()));
        let found = set.and_then(|set| set.find(key).map(|way| set.entries[way]));
        found.unwrap_or_default()
    }

    /// The memory that its states take, in bytes.
    pub fn bytes(&self) -> usize {
        let sets = |shard: &Shard<S>| shard.0.lock().unwrap_or_else(PoisonError::into_inner).capacity();
        self.shards.iter().map(sets).sum::<usize>() * size_of::<Set<S>>()
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Vec<Set<S>>> {
        // The highest six bits; sets go by the lowest.
        let shard = &self.shards[(key >> 58) as usize % SHARDS];
        shard.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two places for each key, so that few sets are ever full; a power of two, so that growing splits each set in two.
fn sets_for(keys: usize) -> usize {
    (2 * keys.min(KEYS_MAX)).div_ceil(SHARDS * WAYS).next_power_of_two()
}

#[expect(clippy::cast_possible_truncation, reason = "only the low bits name a set")]
fn place(key: u64, sets: usize) -> usize {
    key as usize & sets.wrapping_sub(1)
}

fn grow<S: Entry>(sets: &mut Vec<Set<S>>, now: Now) {
    let wider = (2 * sets.len()).max(1);
    let old = std::mem::take(sets);
    sets.reserve_exact(wider);
    sets.resize_with(wider, Set::default);
    for set in old {
        for (key, entry) in set.keys.into_iter().zip(set.entries) {
            if entry.is_spent(now) {
                continue;
            }
            let set = &mut sets[place(key, wider)];
            if let Some(way) = set.entries.iter().position(|entry| entry.is_spent(now)) {
                set.keys[way] = key;
                set.entries[way] = entry;
            }
        }
    }
}

impl<S: Entry> Set<S> {
    fn find(&self, key: u64) -> Option<usize> {
        self.keys.iter().position(|known| *known == key)
    }

    fn lightest(&self) -> usize {
        let weights = self.entries.iter().map(Entry::weight).enumerate();
        weights.min_by_key(|(_, weight)| *weight).map_or(0, |(way, _)| way)
    }
}

impl<S: Default> Default for Set<S> {
    fn default() -> Self {
        Set {
            keys: [0; WAYS],
            entries: std::array::from_fn(|_| S::default()),
        }
    }
}

impl<S> fmt::Debug for Table<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Table").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Says something until a point in time.
    #[derive(Clone, Copy, Default)]
    struct Until(u64);

    impl Entry for Until {
        fn is_spent(&self, now: Now) -> bool {
            self.0 <= now.nanos()
        }

        fn weight(&self) -> u64 {
            self.0
        }
    }

    fn put(table: &Table<Until>, key: u64, until: u64, now: u64) -> bool {
        table.change(key, Now::from_nanos(now), |entry| entry.0 = until).1
    }

    #[test]
    fn a_million_keys_take_34_bytes_each_and_hardly_any_is_forgotten() {
        let table = Table::new(7, 1_000_000);
        let mut rng = Rng::seeded(1);
        let keys: Vec<u64> = (0..1_000_000).map(|_| rng.bits()).collect();
        for key in &keys {
            put(&table, *key, 10, 1);
        }
        assert_eq!(table.bytes(), 2 << 24);
        let lost = keys.iter().filter(|key| table.look(**key).0 == 0).count();
        assert!(lost < 1_000 && table.forgotten() as usize == lost, "{lost}");
        // The next million takes the places of those that have nothing to say any more.
        for _ in 0..500_000 {
            put(&table, rng.bits(), 20, 10);
        }
        assert_eq!((table.bytes(), table.forgotten() as usize), (2 << 24, lost));
    }

    #[test]
    fn what_says_the_most_stays_whatever_else_comes() {
        let table = Table::new(7, 1);
        let mut rng = Rng::seeded(2);
        let heavy: Vec<u64> = (0..200).map(|_| rng.bits()).collect();
        for key in &heavy {
            put(&table, *key, 1_000, 1);
        }
        let before = table.forgotten();
        for _ in 0..100_000 {
            put(&table, rng.bits(), 999, 1);
        }
        let kept = heavy.iter().filter(|key| table.look(**key).0 == 1_000).count();
        assert_eq!(kept as u64, 200 - before);
        assert!(table.forgotten() > 90_000);
    }

    #[test]
    fn it_grows_as_keys_come_and_when_it_is_allowed_to() {
        let table = Table::new(7, 1);
        assert_eq!(table.bytes(), 0);
        let mut rng = Rng::seeded(3);
        let keys: Vec<u64> = (0..4_000).map(|_| rng.bits()).collect();
        let mut crowded = 0;
        for key in &keys[..2_000] {
            crowded += u64::from(put(&table, *key, 10, 1));
        }
        assert!(crowded > 0 && crowded == table.forgotten());
        assert_eq!(table.bytes(), SHARDS * size_of::<Set<Until>>());
        table.resize(10_000);
        for key in &keys {
            put(&table, *key, 20, 1);
        }
        assert_eq!(table.forgotten(), crowded);
        assert!(keys.iter().all(|key| table.look(*key).0 == 20));
    }
}
