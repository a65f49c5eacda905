//! Least response time: the member that would answer soonest, by its latency estimate and the work it has in hand.
//!
//! Like nginx Plus's `least_time`, it weighs measured latency and active requests together.

use super::latency::{Newcomers, any_rival_ms, expected_wait, wait_in_words};
use super::scan::Scan;
use super::{PickCx, Picker, Policy};
use crate::document;
use crate::members::{Member, Members, Slot};

document! {
    /// The member with the lowest latency × (requests in flight + 1) / weight.
    pub struct LeastResponseTime {}
}

impl Policy for LeastResponseTime {
    fn build(&self, members: &Members) -> Box<dyn Picker> {
        Box::new(Soonest {
            scan: Scan::new(members),
            newcomers: Newcomers::new(members),
        })
    }
}

struct Soonest {
    scan: Scan,
    newcomers: Newcomers,
}

impl Picker for Soonest {
    fn pick(&self, members: &Members, cx: &mut PickCx<'_>) -> Option<Slot> {
        let (now, seq) = (cx.now, cx.seq);
        let rival = || any_rival_ms(members, seq, now);
        let estimate_ms = |member: &Member| self.newcomers.estimate_ms(member, now, rival);
        self.scan.lowest(
            members,
            cx,
            |member| expected_wait(estimate_ms(member), member, now),
            |member| wait_in_words(estimate_ms(member), member, now),
        )
    }
}
