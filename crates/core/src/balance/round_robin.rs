//! Smooth weighted round robin: each member in turn, as often as its weight says, its turns spread evenly.
//!
//! The order is computed once into a table; a pick is `table[seq % n]`. Each worker counts from its own random start,
//! so nothing is shared and a rebuild loses nothing.

use super::turns::Turns;
use super::{PickCx, Picker, Policy};
use crate::decision::Verdict;
use crate::document;
use crate::members::{Member, Members, Slot};

/// The longest table of a small set; weights that would need a longer one are rounded to it.
const TABLE_MAX: u64 = 16_384;

/// Turns for each member, on average, that a large set's table may have beyond [`TABLE_MAX`]: rounding then takes or
/// gives at most half a turn of about 16, 3 % of an average member's share.
const TURNS_PER_MEMBER_MAX: u64 = 16;

/// Turns that a pick skips before it takes the next open member by its slot.
const WALK_MAX: u64 = 64;

document! {
    /// Each member in turn, as often as its weight says.
    pub struct RoundRobin {}
}

impl Policy for RoundRobin {
    fn build(&self, members: &Members) -> Box<dyn Picker> {
        let weights = reduced(members);
        let total = weights.iter().sum::<u64>();
        let turns = Turns::new(weights.into_iter().enumerate());
        Box::new(Table {
            turns: turns
                .take(usize::try_from(total).unwrap_or(usize::MAX))
                .map(|slot| u32::try_from(slot).expect("fewer than 2^32 members"))
                .collect(),
        })
    }
}

struct Table {
    turns: Box<[u32]>,
}

impl Picker for Table {
    fn pick(&self, members: &Members, cx: &mut PickCx<'_>) -> Option<Slot> {
        let len = self.turns.len() as u64;
        if len == 0 {
            return None;
        }
        for step in 0..len.min(WALK_MAX) {
            let turn = cx.seq.wrapping_add(step) % len;
            #[expect(clippy::cast_possible_truncation, reason = "below the table's length")]
            let slot = self.turns[turn as usize] as Slot;
            let member = &members[slot];
            if cx.is_open(member) {
                cx.note(member, Verdict::Taken, || {
                    format!("turn {turn} of {len} is its; weight {}", member.weight)
                });
                return Some(slot);
            }
            cx.note(member, Verdict::Refused, || {
                format!("turn {turn} of {len} is its, but it was tried or is full")
            });
        }
        next_open(members, cx)
    }
}

/// The next open member by its slot, for when the turns at hand are all of members that were tried.
fn next_open(members: &Members, cx: &mut PickCx<'_>) -> Option<Slot> {
    let len = members.len();
    #[expect(clippy::cast_possible_truncation, reason = "below the number of members")]
    let first = (cx.seq % len as u64) as usize;
    let slot = (first..len).chain(0..first).find(|slot| cx.is_open(&members[*slot]))?;
    cx.note(&members[slot], Verdict::Taken, || {
        format!("the next {WALK_MAX} turns are of members that were tried; it is the next in the list")
    });
    Some(slot)
}

/// The weights over their greatest common divisor (slow start gives multiples of 10), scaled down and rounded when
/// their sum passes the table's limit. Each keeps one turn at least.
fn reduced(members: &Members) -> Vec<u64> {
    let weight = |member: &Member| u64::from(member.weight);
    let weights = members.as_slice().iter().map(weight);
    let divisor = weights.clone().fold(0, gcd).max(1);
    let total = members.total_weight() / divisor;
    let room = TABLE_MAX.max(members.len() as u64 * TURNS_PER_MEMBER_MAX);
    weights
        .map(|weight| weight / divisor)
        .map(|weight| {
            if total > room {
                ((weight * room + total / 2) / total).max(1)
            } else {
                weight
            }
        })
        .collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
