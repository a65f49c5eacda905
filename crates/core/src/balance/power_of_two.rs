//! Power of two choices: of two drawn members, the one with less work in hand for its weight.
//!
//! Two draws suffice to keep the fullest backend log log n above the mean, where one draw leaves log n / log log n
//! (Mitzenmacher 1996), at a cost that does not grow with the pool.

use super::draw::{Draw, pressure_in_words};
use super::latency::weight;
use super::{PickCx, Picker, Policy};
use crate::decision::Verdict;
use crate::document;
use crate::members::{Members, Slot};

document! {
    /// Of two members drawn by weight, the one with fewer requests in flight for its weight.
    pub struct PowerOfTwo {}
}

impl Policy for PowerOfTwo {
    fn build(&self, members: &Members) -> Box<dyn Picker> {
        Box::new(EmptierOfTwo {
            draw: Draw::new(members),
        })
    }
}

struct EmptierOfTwo {
    draw: Draw,
}

impl Picker for EmptierOfTwo {
    fn pick(&self, members: &Members, cx: &mut PickCx<'_>) -> Option<Slot> {
        let (first, second) = self.draw.pair(members, cx)?;
        let Some(second) = second else {
            cx.note(&members[first], Verdict::Taken, || "the only one that is left".into());
            return Some(first);
        };
        let load = |slot: Slot| members[slot].backend.load.pressure(cx.now) / weight(&members[slot]);
        let loads = [load(first), load(second)];
        // On a tie the first, which was drawn by weight: an idle pool still shares by weight.
        let (taken, passed, at) = if loads[1] < loads[0] {
            (second, first, 1)
        } else {
            (first, second, 0)
        };
        for (slot, at, verdict) in [(taken, at, Verdict::Taken), (passed, 1 - at, Verdict::Passed)] {
            let words = cx.record.is_some().then(|| pressure_in_words(&members[slot], cx));
            cx.note(&members[slot], verdict, || {
                format!(
                    "one of two drawn: {} = {:.2} for each weight",
                    words.unwrap_or_default(),
                    loads[at]
                )
            });
        }
        Some(taken)
    }
}
