//! Bounded load: how far a hash policy may fill one member before the next in line is taken.
//!
//! Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016): no member takes more than
//! ⌈factor × mean⌉, its mean being its weight's share of all that is in flight, the new one counted in.

use super::PickCx;
use super::scan::SCAN_MAX;
use crate::document::{Decode, Faults, Json, Node};
use crate::members::{Member, Members, Slot};

/// Members whose load is summed to estimate the total of a set that is larger than [`SCAN_MAX`]. With a mean of m in
/// flight the estimate is off by about 1/√(64·m): 12 % with one each, 4 % with ten.
const SAMPLE: usize = 64;

/// The factor over its fair share to which a member may be filled: 1.5 is 150 %. At least 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadFactor(f64);

impl Decode for LoadFactor {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let factor = f64::decode(node, faults)?;
        if factor < 1.0 {
            faults
                .error(
                    node.span,
                    format!("a load factor of {factor} leaves work that nobody may take"),
                )
                .help("1.0 is the fair share and the least there is; 1.25 to 2.0 are usual, 1.5 is a good start");
            return None;
        }
        Some(LoadFactor(factor))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "number", "minimum": 1.0, "examples": [1.5] })
    }
}

/// The bound for one set of members.
pub(super) struct BoundedLoad {
    factor: f64,
    total_weight: u64,
}

/// The bound at one moment.
#[derive(Clone, Copy)]
pub(super) struct Ceiling {
    /// How much may be in flight for each unit of weight.
    per_weight: f64,
}

impl BoundedLoad {
    pub(super) fn new(factor: LoadFactor, members: &Members) -> Self {
        BoundedLoad {
            factor: factor.0,
            total_weight: members.total_weight(),
        }
    }

    /// The bound as the load stands now: exact up to [`SCAN_MAX`] members, above that by a sample.
    #[expect(
        clippy::cast_precision_loss,
        reason = "weights and requests in flight stay far below 2^52"
    )]
    pub(super) fn ceiling(&self, members: &Members, cx: &mut PickCx<'_>) -> Ceiling {
        let len = members.len();
        let in_flight = if len <= SCAN_MAX {
            (0..len).map(|slot| in_flight(members, slot)).sum::<u64>() as f64
        } else {
            // Evenly spaced from a random start, so that neighbours of one kind do not all fall in or out.
            let start = cx.rng.index(len);
            let slots = (0..SAMPLE).map(|at| (start + at * len / SAMPLE) % len);
            let (load, weight) = slots.fold((0, 0), |(load, weight), slot| {
                (
                    load + in_flight(members, slot),
                    weight + u64::from(members[slot].weight),
                )
            });
            load as f64 * self.total_weight as f64 / weight as f64
        };
        Ceiling {
            per_weight: self.factor * (in_flight + 1.0) / self.total_weight as f64,
        }
    }
}

fn in_flight(members: &Members, slot: Slot) -> u64 {
    u64::from(members[slot].backend.load.in_flight())
}

impl Ceiling {
    /// The most that may be in flight to `member`.
    pub(super) fn of(self, member: &Member) -> f64 {
        // A hair is taken off before rounding up: 1.5 × 2 × ⅓ is 1, and must not become 2 by a rounding error.
        (self.per_weight * f64::from(member.weight) - 1e-9).ceil()
    }

    /// Whether `member` may take one more.
    pub(super) fn admits(self, member: &Member) -> bool {
        f64::from(member.backend.load.in_flight()) + 1.0 <= self.of(member)
    }
}
