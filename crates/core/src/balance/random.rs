//! Random: any member, each as likely as its weight says.

use super::draw::Draw;
use super::{PickCx, Picker, Policy};
use crate::decision::Verdict;
use crate::document;
use crate::members::{Members, Slot};

document! {
    /// Any member, as likely as its weight says.
    pub struct Random {}
}

impl Policy for Random {
    fn build(&self, members: &Members) -> Box<dyn Picker> {
        Box::new(Chance {
            draw: Draw::new(members),
            total_weight: members.total_weight(),
        })
    }
}

struct Chance {
    draw: Draw,
    total_weight: u64,
}

impl Picker for Chance {
    fn pick(&self, members: &Members, cx: &mut PickCx<'_>) -> Option<Slot> {
        let slot = self.draw.open(members, cx, None)?;
        let member = &members[slot];
        cx.note(member, Verdict::Taken, || {
            format!("drawn at random; weight {} of {}", member.weight, self.total_weight)
        });
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn an_exact_draw_is_made_when_the_heavy_one_was_tried() {
        let members = super::super::conformance::members(&[1_000_000, 3, 1]);
        let picker = Random {}.build(&members);
        let tried = [members[0].backend.id];
        let mut counts = [0; 3];
        let mut rng = Rng::seeded(1);
        for _ in 0..4_000 {
            let cx = &mut PickCx {
                now: crate::time::Now::START,
                rng: &mut rng,
                seq: 0,
                key: 0,
                tried: &tried,
                record: None,
            };
            counts[picker.pick(&members, cx).unwrap()] += 1;
        }
        // A standard deviation is √(4000 · ¾ · ¼) = 27.
        assert!(counts[0] == 0 && (2_890..3_110).contains(&counts[1]), "{counts:?}");
    }
}
