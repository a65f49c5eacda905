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
