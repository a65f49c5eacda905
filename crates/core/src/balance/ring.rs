//! The ring: points of every member on the circle of hashes; a key belongs to the first point at or after it.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::hashed::Hashed;
use crate::members::{Members, Slot};

/// Points for each unit of weight (ketama's 160). One member's share then varies by about 1/√160 = 8 %.
pub(super) const POINTS_PER_WEIGHT: u64 = 160;

/// The most points of a ring with up to 1,638 members, whatever their weights: 4 MiB, built in some 10 ms.
const POINTS_MAX: u64 = 1 << 18;

/// The most points of any ring: 16 MiB.
const POINTS_MAX_LARGE: u64 = 1 << 20;

/// The points of one set of members.
///
/// The number of a member's points follows from its weight alone until the ring is full, and from then on from its
/// share of all weight. It is deliberately not reduced by the weights' common divisor: (1, 2, 2) without the first is
/// (2, 2), and halving their points would move half of all keys for the loss of a fifth.
pub(super) struct Ring {
    points: Box<[u64]>,
    owners: Box<[u32]>,
    /// For each range of hashes that share their highest bits, the first point at or after its start.
    starts: Box<[u32]>,
    /// How far to shift a hash to get its range.
    shift: u32,
}

impl Ring {
    pub(super) fn new(hashed: &Hashed, members: &Members) -> Self {
        let slots = hashed.in_order(members);
        let mut placed: Vec<(u64, u32)> = Vec::new();
        for (rank, slot) in slots.iter().enumerate() {
            let id = hashed.ids[*slot].to_le_bytes();
            let rank = u32::try_from(rank).expect("fewer than 2^32 members");
            let count = points_of(u64::from(members[*slot].weight), members);
            placed.extend((0..count).map(|point| (xxh3_64_with_seed(&id, point), rank)));
        }
        // By rank where two points coincide, and a rank is a matter of addresses: the order of members changes nothing.
        placed.sort_unstable();
        let (points, ranks): (Vec<u64>, Vec<u32>) = placed.into_iter().unzip();
        let owner = |rank: u32| u32::try_from(slots[rank as usize]).expect("fewer than 2^32 members");
        let (starts, shift) = index(&points);
        Ring {
            points: points.into(),
            owners: ranks.into_iter().map(owner).collect(),
            starts,
            shift,
        }
    }

    /// The owners of the points from `key` on, around the circle; nothing when there are no members.
    pub(super) fn walk(&self, key: u64) -> impl Iterator<Item = Slot> + '_ {
        let len = self.points.len();
        let mut at = self.first_at_or_after(key);
        (0..len).map(move |_| {
            if at >= len {
                at = 0;
            }
            at += 1;
            self.owners[at - 1] as Slot
        })
    }

    fn first_at_or_after(&self, key: u64) -> usize {
        let mut at = self.starts[(key >> self.shift) as usize] as usize;
        // As many ranges as points: one step on average.
        while at < self.points.len() && self.points[at] < key {
            at += 1;
        }
        at
    }
}

/// How many points a member of this weight gets: at least one.
fn points_of(weight: u64, members: &Members) -> u64 {
    let wanted = POINTS_PER_WEIGHT * members.total_weight();
    let room = (POINTS_PER_WEIGHT * members.len() as u64).clamp(POINTS_MAX, POINTS_MAX_LARGE);
    if wanted <= room {
        weight * POINTS_PER_WEIGHT
    } else {
        (weight * room / members.total_weight()).max(1)
    }
}

/// The index over sorted points: about as many ranges as there are points, at least two.
fn index(points: &[u64]) -> (Box<[u32]>, u32) {
    let bits = points.len().max(2).ilog2();
    let shift = u64::BITS - bits;
    let mut at = 0;
    let starts = (0..1u64 << bits)
        .map(|range| {
            while at < points.len() && points[at] < range << shift {
                at += 1;
            }
            u32::try_from(at).expect("at most one point for each member beyond the limit")
        })
        .collect();
    (starts, shift)
}
