//! Rendezvous hashing: the member with the highest score for a key (Thaler and Ravishankar 1996).
//!
//! No table, perfect evenness by weight, and a change of members moves exactly the share that has to move. A pick
//! looks at every member, about 5 ns each (15 with unlike weights): beyond a few hundred members maglev is cheaper.

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

/// The admitted slot with the highest score; of equal scores (one in 2^53) the one with the higher id.
pub(super) fn highest(ids: &[u64], members: &Members, key: u64, admits: impl Fn(&Member) -> bool) -> Option<Slot> {
    let mut best: Option<(f64, u64, Slot)> = None;
    // The draw and weight of the best: where weights are equal, comparing draws spares the logarithm.
    let (mut best_draw, mut best_weight) = (0, 0);
    for (slot, member) in members.as_slice().iter().enumerate() {
        let draw = xxh3_64_with_seed(&ids[slot].to_le_bytes(), key) >> 11;
        // Of equal weight and drawn lower: it cannot win, whoever it is.
        if best.is_some() && member.weight == best_weight && draw < best_draw {
            continue;
        }
        if !admits(member) {
            continue;
        }
        let scored = (score(draw, member.weight), ids[slot], slot);
        if best.is_none_or(|best| (scored.0, scored.1) > (best.0, best.1)) {
            best = Some(scored);
            (best_draw, best_weight) = (draw, member.weight);
        }
    }
    best.map(|(_, _, slot)| slot)
}

/// `-w / ln(h)` with h uniform in (0, 1): the highest of these falls on each member in proportion to its weight
/// (Schindelhauer and Schomaker 2005, "logarithmic method").
fn score(draw: u64, weight: u32) -> f64 {
    /// 2^-53, the step of the 53 bits that a float holds.
    const STEP: f64 = 1.0 / (1u64 << 53) as f64;
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let uniform = (draw as f64 + 0.5) * STEP;
    -f64::from(weight) / uniform.ln()
}
