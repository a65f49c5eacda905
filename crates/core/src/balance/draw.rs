//! Weighted draws: one member at random, each as likely as its weight says, in constant time.

use super::PickCx;
use crate::members::{Member, Members, Slot};
use crate::rng::Rng;

/// Draws that may hit a member that was tried before an exact draw among the rest is made. With half of the weight
/// tried, one pick in 2^16 gets that far.
const DRAWS_MAX: usize = 16;

/// Draws from one set of members.
pub(super) enum Draw {
    /// All weigh the same.
    Even,
    /// Walker's alias method (1974), built as Vose (1991) does, in whole numbers and therefore exact.
    Alias { columns: Box<[Column]>, total_weight: u64 },
}

/// One of `n` equally likely columns, each as high as the sum of all weights.
pub(super) struct Column {
    /// How much of the column is its own member's; the rest is `other`'s.
    own: u64,
    other: u32,
}

impl Draw {
    pub(super) fn new(members: &Members) -> Self {
        let all = members.as_slice();
        if all.windows(2).all(|pair| pair[0].weight == pair[1].weight) {
            return Draw::Even;
        }
        let total_weight = members.total_weight();
        // Each member brings n times its weight, so that the mean is one column's height. Below 2^64: both are u32.
        let mut own: Vec<u64> = all
            .iter()
            .map(|member| u64::from(member.weight) * all.len() as u64)
            .collect();
        let mut other: Vec<u32> = vec![0; all.len()];
        let (mut low, mut high): (Vec<Slot>, Vec<Slot>) = (0..all.len()).partition(|slot| own[*slot] < total_weight);
        while let (Some(short), Some(tall)) = (low.pop(), high.last().copied()) {
            other[short] = u32::try_from(tall).expect("fewer than 2^32 members");
            own[tall] -= total_weight - own[short];
            if own[tall] < total_weight {
                high.pop();
                low.push(tall);
            }
        }
        let columns = own.into_iter().zip(other);
        Draw::Alias {
            columns: columns.map(|(own, other)| Column { own, other }).collect(),
            total_weight,
        }
    }

    /// Any member. There must be one.
    pub(super) fn any(&self, members: &Members, rng: &mut Rng) -> Slot {
        let slot = rng.index(members.len());
        match self {
            Draw::Even => slot,
            Draw::Alias { columns, total_weight } => {
                let column = &columns[slot];
                if rng.below(*total_weight) < column.own {
                    slot
                } else {
                    column.other as Slot
                }
            }
        }
    }

    /// An open member other than `but`; `None` when there is none.
    pub(super) fn open(&self, members: &Members, cx: &mut PickCx<'_>, but: Option<Slot>) -> Option<Slot> {
        if members.len() <= usize::from(but.is_some()) {
            return None;
        }
        for _ in 0..DRAWS_MAX {
            let slot = self.any(members, cx.rng);
            if but != Some(slot) && cx.is_open(&members[slot]) {
                return Some(slot);
            }
        }
        exact(members, cx, but)
    }

    /// Two open members, drawn one after the other without putting the first back; the second is `None` when only
    /// one is open.
    pub(super) fn pair(&self, members: &Members, cx: &mut PickCx<'_>) -> Option<(Slot, Option<Slot>)> {
        let first = self.open(members, cx, None)?;
        Some((first, self.open(members, cx, Some(first))))
    }
}

/// A weighted draw among the open ones in one pass (a reservoir of one; Chao 1982).
fn exact(members: &Members, cx: &mut PickCx<'_>, but: Option<Slot>) -> Option<Slot> {
    let mut chosen = None;
    let mut seen = 0u64;
    for (slot, member) in members.as_slice().iter().enumerate() {
        if but == Some(slot) || !cx.is_open(member) {
            continue;
        }
        let weight = u64::from(member.weight);
        seen += weight;
        if cx.rng.below(seen) < weight {
            chosen = Some(slot);
        }
    }
    chosen
}

/// What the members' pressure is over their weight, in words.
pub(super) fn pressure_in_words(member: &Member, cx: &PickCx<'_>) -> String {
    let load = &member.backend.load;
    format!(
        "{} in flight, {:.1} for recent failures, weight {}",
        load.in_flight(),
        load.debt(cx.now),
        member.weight
    )
}

#[cfg(test)]
mod tests {
    use super::super::conformance::members;
    use super::*;

    #[test]
    fn the_columns_hold_each_weight_exactly() {
        let weights = [7, 1, 10_000, 3, 3, 999];
        let Draw::Alias { columns, total_weight } = Draw::new(&members(&weights)) else {
            panic!("unlike weights need columns");
        };
        let mut held = vec![0; weights.len()];
        for (slot, column) in columns.iter().enumerate() {
            held[slot] += column.own;
            held[column.other as usize] += total_weight - column.own;
        }
        let expected: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) * 6).collect();
        assert_eq!(held, expected);
    }
}
