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
            0.0,
            |member| expected_wait(estimate_ms(member), member, now),
            |member| wait_in_words(estimate_ms(member), member, now),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::PolicyConfig;
    use super::super::conformance::{Worker, members};
    use super::*;
    use crate::load::Sign;

    #[test]
    fn the_fastest_is_taken_until_its_queue_outweighs_its_speed() {
        let mut worker = Worker::new(
            &PolicyConfig::LeastResponseTime(LeastResponseTime {}),
            members(&[1, 1]),
            1,
        );
        for (slot, millis) in [(0, 30), (1, 10)] {
            let latency = Duration::from_millis(millis);
            worker.members[slot]
                .backend
                .load
                .record(Sign::Success, latency, latency, worker.now);
        }
        // 10 × 1, 10 × 2 against 30 × 1; at 10 × 4 the slower one would answer sooner.
        for expected in [1, 1] {
            let slot = worker.pick(None, &[]).unwrap();
            assert_eq!(slot, expected);
            assert!(worker.members[slot].backend.load.enter(u32::MAX));
        }
        assert!(worker.members[1].backend.load.enter(u32::MAX));
        assert_eq!(worker.pick(None, &[]), Some(0));
    }
}
