//! Smooth weighted round robin: each member in turn, as often as its weight says, its turns spread evenly.
//!
//! The order is nginx's smooth one, computed once into a table; a pick is `table[seq % n]`. Each worker counts from
//! its own random start, so nothing is shared and a rebuild loses nothing.

use super::{PickCx, Picker, Policy};
use crate::decision::Verdict;
use crate::document;
use crate::members::{Members, Slot};

/// The longest table; weights that would need a longer one are rounded to it.
const TABLE_MAX: u64 = 16_384;

document! {
    /// Each member in turn, as often as its weight says.
    pub struct RoundRobin {}
}

impl Policy for RoundRobin {
    fn build(&self, members: &Members) -> Box<dyn Picker> {
        Box::new(Turns {
            table: turns(&reduced(members)),
        })
    }
}

struct Turns {
    table: Box<[u32]>,
}

impl Picker for Turns {
    fn pick(&self, members: &Members, cx: &mut PickCx<'_>) -> Option<Slot> {
        let len = self.table.len() as u64;
        for step in 0..len {
            let turn = (cx.seq.wrapping_add(step)) % len;
            #[expect(clippy::cast_possible_truncation, reason = "below the table's length")]
            let slot = self.table[turn as usize] as Slot;
            let member = &members[slot];
            if cx.is_open(member) {
                cx.note(member, Verdict::Taken, || format!("its turn: {turn} of {len}"));
                return Some(slot);
            }
            cx.note(member, Verdict::Refused, || {
                "its turn, but it was tried or is full".into()
            });
        }
        None
    }
}

/// The weights over their greatest common divisor, scaled down when their sum passes [`TABLE_MAX`].
fn reduced(members: &Members) -> Vec<u64> {
    let weights: Vec<u64> = members
        .as_slice()
        .iter()
        .map(|member| u64::from(member.weight))
        .collect();
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let total: u64 = weights.iter().sum::<u64>() / divisor;
    let room = TABLE_MAX.max(weights.len() as u64);
    weights
        .iter()
        .map(|weight| weight / divisor)
        .map(|weight| {
            if total > room {
                (weight * room / total).max(1)
            } else {
                weight
            }
        })
        .collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// nginx's smooth order: each round every member gains its weight, the highest serves and pays the total.
fn turns(weights: &[u64]) -> Box<[u32]> {
    let total: i64 = weights.iter().sum::<u64>().cast_signed();
    if weights.iter().all(|weight| *weight == 1) {
        return (0..weights.len())
            .map(|slot| u32::try_from(slot).unwrap_or(u32::MAX))
            .collect();
    }
    let mut credit = vec![0i64; weights.len()];
    (0..total)
        .map(|_| {
            let mut best = 0;
            for (slot, weight) in weights.iter().enumerate() {
                credit[slot] += weight.cast_signed();
                if credit[slot] > credit[best] {
                    best = slot;
                }
            }
            credit[best] -= total;
            u32::try_from(best).expect("fewer than 2^32 members")
        })
        .collect()
}
