//! Rendezvous hashing: the member with the highest score for a key (Thaler and Ravishankar 1996).
//!
//! No table, perfect evenness by weight, and a change of members moves exactly the share that has to move. A pick
//! looks at every member, some 3 ns each: beyond a hundred members maglev is cheaper.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::bounded_load::LoadFactor;
use super::hashed::Hashed;
use super::{HashKey, PickCx, Picker, Policy};
use crate::document;
use crate::members::{Member, Members, Slot};

document! {
    /// The member with the highest score for the key: no table, exact by weight; for pools up to a few hundred.
    pub struct Rendezvous {
        /// What is sent alike.
        pub key: HashKey = HashKey::ClientIp,
        /// The factor over its fair share to which a member may be filled before the next best is taken; 1.5 is 150 %.
        pub load_factor: Option<LoadFactor>,
    }
}

impl Policy for Rendezvous {
    fn build(&self, members: &Members) -> Box<dyn Picker> {
        Box::new(Highest {
            hashed: Hashed::new(members, self.load_factor),
        })
    }

    fn key(&self) -> Option<&HashKey> {
        Some(&self.key)
    }
}

struct Highest {
    hashed: Hashed,
}

impl Picker for Highest {
    fn pick(&self, members: &Members, cx: &mut PickCx<'_>) -> Option<Slot> {
        let ceiling = self.hashed.ceiling(members, cx);
        self.hashed.scan(members, cx, ceiling)
    }
}

/// The admitted slot with the highest score, `-w / ln(u)` with u uniform in (0, 1): it falls on each member in
/// proportion to its weight (Schindelhauer and Schomaker 2005, "logarithmic method"). Of equal scores the higher id.
pub(super) fn highest(ids: &[u64], members: &Members, key: u64, admits: impl Fn(&Member) -> bool) -> Option<Slot> {
    let mut best: Option<(f64, u64, Slot)> = None;
    for (slot, member) in members.as_slice().iter().enumerate() {
        let drawn = uniform(xxh3_64_with_seed(&ids[slot].to_le_bytes(), key));
        let weight = f64::from(member.weight);
        // -ln(u) ≥ 1 - u, so most members are out without a logarithm; the hair is for rounding.
        if best.is_some_and(|(score, ..)| weight * (1.0 + 1e-12) < score * (1.0 - drawn)) || !admits(member) {
            continue;
        }
        let score = -weight / drawn.ln();
        if best.is_none_or(|best| (score, ids[slot]) > (best.0, best.1)) {
            best = Some((score, ids[slot], slot));
        }
    }
    best.map(|(_, _, slot)| slot)
}

/// The upper 52 bits as a number in (0, 1), never one of its ends: with a half added they fill a float's 53 bits.
#[expect(clippy::cast_precision_loss, reason = "52 bits are exact")]
fn uniform(hash: u64) -> f64 {
    const STEP: f64 = 1.0 / (1u64 << 52) as f64;
    ((hash >> 12) as f64 + 0.5) * STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hash_gives_an_infinite_score() {
        for hash in [0, 1, u64::MAX - 1, u64::MAX] {
            let score = -1.0 / uniform(hash).ln();
            assert!(score.is_finite() && score > 0.0, "{hash}: {score}");
        }
    }
}
