//! Randomness as an argument: core draws only from a generator that the caller seeded.

use std::hash::{BuildHasher, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A small, fast generator (wyrand). It must not be used where an adversary may not guess the next number.
#[derive(Clone, Debug)]
pub struct Rng(fastrand::Rng);

impl Rng {
    /// A generator whose whole sequence follows from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Rng(fastrand::Rng::with_seed(seed))
    }

    /// A uniform number in `0..bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.u64(0..bound) }
    }

    /// A uniform index in `0..len`; 0 when the length is 0.
    pub fn index(&mut self, len: usize) -> usize {
        if len == 0 { 0 } else { self.0.usize(0..len) }
    }

    /// A uniform number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }
}

/// Hashes with XXH3 under a seed that the caller chose, for tables whose keys come from the network.
#[derive(Clone, Copy, Debug)]
pub struct SeededState(pub u64);

impl BuildHasher for SeededState {
    type Hasher = SeededHasher;

    fn build_hasher(&self) -> SeededHasher {
        SeededHasher(self.0)
    }
}

/// The hasher that [`SeededState`] builds. Each write is hashed at once, seeded by what came before: XXH3's streaming
/// form first prepares half a kilobyte of state (a route's two lookups took 130 ns with it, and take 75 without).
pub struct SeededHasher(u64);

impl Hasher for SeededHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }
}
