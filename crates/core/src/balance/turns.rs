//! Turns: members in an order in which each comes as often as its weight says, its turns spread evenly.
//!
//! Members of one weight `w` form a class; a class of `g` members is due at the times `(k + ½) / (g·w)`, and its
//! members take those times in turn. Up to any time a class has had within ½ of its exact share, so with `c` classes
//! a turn stands within `c/2` places of its ideal one, and two turns of one member are within `c` of their ideal
//! distance. nginx's smooth order is as even, but costs a look at every member for every turn; this one costs the
//! logarithm of the number of different weights.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::members::Slot;

/// Slots in smooth order, without end; nothing when there are no members.
pub(super) struct Turns {
    classes: Vec<Class>,
    /// When each class is due next, as the bits of a positive float (which order as the float does), and which it is.
    due: BinaryHeap<Reverse<(u64, usize)>>,
}

struct Class {
    /// Turns for each unit of time: `g·w`.
    pace: f64,
    members: Vec<Slot>,
    /// Who of the members is next.
    next: usize,
    served: f64,
}

impl Class {
    fn due(&self) -> u64 {
        ((self.served + 0.5) / self.pace).to_bits()
    }
}

impl Turns {
    /// The turns of members with these weights, all above 0. Where two are due at once the heavier comes first, then
    /// the earlier in the iterator.
    pub(super) fn new(weights: impl IntoIterator<Item = (Slot, u64)>) -> Self {
        let mut by_weight: BTreeMap<Reverse<u64>, Vec<Slot>> = BTreeMap::new();
        for (slot, weight) in weights {
            by_weight.entry(Reverse(weight)).or_default().push(slot);
        }
        let classes: Vec<Class> = by_weight
            .into_iter()
            .map(|(Reverse(weight), members)| Class {
                #[expect(clippy::cast_precision_loss, reason = "weights and members are far below 2^26 each")]
                pace: weight as f64 * members.len() as f64,
                members,
                next: 0,
                served: 0.0,
            })
            .collect();
        let due = classes
            .iter()
            .enumerate()
            .map(|(at, class)| Reverse((class.due(), at)))
            .collect();
        Turns { classes, due }
    }
}

impl Iterator for Turns {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        let mut first = self.due.peek_mut()?;
        let class = &mut self.classes[first.0.1];
        let slot = class.members[class.next];
        class.next = if class.next + 1 == class.members.len() {
            0
        } else {
            class.next + 1
        };
        class.served += 1.0;
        first.0.0 = class.due();
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(weights: &[u64]) -> Vec<Slot> {
        let total = usize::try_from(weights.iter().sum::<u64>()).unwrap();
        Turns::new(weights.iter().copied().enumerate()).take(total).collect()
    }

    /// The distances between one turn of `slot` and its next, around the end of the table.
    fn gaps(turns: &[Slot], slot: Slot) -> Vec<usize> {
        let at: Vec<usize> = (0..turns.len()).filter(|turn| turns[*turn] == slot).collect();
        (0..at.len())
            .map(|turn| match at.get(turn + 1) {
                Some(next) => next - at[turn],
                None => at[0] + turns.len() - at[turn],
            })
            .collect()
    }

    /// nginx's smooth order: each round every member gains its weight, the highest serves and pays the total.
    fn nginx(weights: &[u64]) -> Vec<Slot> {
        let total = weights.iter().sum::<u64>().cast_signed();
        let mut credit = vec![0i64; weights.len()];
        (0..total)
            .map(|_| {
                for (slot, weight) in weights.iter().enumerate() {
                    credit[slot] += weight.cast_signed();
                }
                let best = (0..weights.len())
                    .max_by_key(|slot| (credit[*slot], Reverse(*slot)))
                    .unwrap();
                credit[best] -= total;
                best
            })
            .collect()
    }

    #[test]
    fn the_light_come_between_the_heavy() {
        assert_eq!(turns(&[5, 1, 1]), [0, 1, 0, 0, 0, 2, 0]);
        assert_eq!(turns(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(turns(&[2, 1]), [0, 1, 0]);
        assert_eq!(Turns::new([]).next(), None);
    }

    #[test]
    fn turns_are_as_far_apart_as_the_weights_say_within_the_number_of_classes() {
        for weights in [
            vec![5, 1, 1],
            vec![7, 5, 3, 2, 2, 1],
            vec![100, 1, 1, 1],
            (1..=40).collect(),
        ] {
            let turns = turns(&weights);
            let classes = weights.iter().collect::<std::collections::BTreeSet<_>>().len();
            for (slot, weight) in weights.iter().enumerate() {
                let gaps = gaps(&turns, slot);
                assert_eq!(gaps.len() as u64, *weight);
                let ideal = turns.len() as f64 / *weight as f64;
                for gap in gaps {
                    assert!((gap as f64 - ideal).abs() <= classes as f64, "{weights:?} {slot} {gap}");
                }
            }
        }
    }

    #[test]
    fn the_longest_wait_is_no_worse_than_in_nginxs_order() {
        for weights in [
            vec![5, 1, 1],
            vec![3, 2, 1],
            vec![10, 10, 1, 1, 1],
            vec![4, 3, 2, 1, 1, 1, 1],
        ] {
            let worst = |turns: &[Slot]| {
                (0..weights.len())
                    .map(|slot| {
                        let longest = *gaps(turns, slot).iter().max().unwrap();
                        longest as f64 * weights[slot] as f64 / turns.len() as f64
                    })
                    .fold(0.0, f64::max)
            };
            let (ours, theirs) = (worst(&turns(&weights)), worst(&nginx(&weights)));
            assert!(ours <= theirs + 1e-9, "{weights:?}: {ours} against {theirs}");
        }
    }
}
