//! Least connections: the member with the least work in hand for its weight.
//!
//! The default: a backend that becomes slow holds its requests longer, and gets fewer for it, without any measuring.

use super::latency::weight;
use super::scan::Scan;
use super::{PickCx, Picker, Policy};
use crate::document;
use crate::members::{Member, Members, Slot};
use crate::time::Now;

document! {
    /// The member with the fewest requests in flight for its weight.
    pub struct LeastConnections {}
}

impl Policy for LeastConnections {
    fn build(&self, members: &Members) -> Box<dyn Picker> {
        Box::new(Least {
            scan: Scan::new(members),
            floor: 1.0 / members.as_slice().iter().map(weight).fold(1.0, f32::max),
        })
    }
}

struct Least {
    scan: Scan,
    /// What the heaviest member costs while it carries nothing.
    floor: f32,
}

impl Picker for Least {
    fn pick(&self, members: &Members, cx: &mut PickCx<'_>) -> Option<Slot> {
        let now = cx.now;
        self.scan.lowest(
            members,
            cx,
            self.floor,
            |member| cost(member, now),
            |member| {
                let load = &member.backend.load;
                format!(
                    "({} in flight + {:.1} for recent failures + 1) / weight {} = {:.2}",
                    load.in_flight(),
                    load.debt(now),
                    member.weight,
                    cost(member, now)
                )
            },
        )
    }
}

/// The inverse of weight / (active + 1) (HAProxy's leastconn, Envoy's least request): what its load per weight would
/// be with one more. Correctly rounded, so that equal loads tie.
fn cost(member: &Member, now: Now) -> f32 {
    (member.backend.load.pressure(now) + 1.0) / weight(member)
}

#[cfg(test)]
mod tests {
    use super::super::PolicyConfig;
    use super::super::conformance::{Worker, members};
    use super::*;
    use crate::decision::Decision;

    /// What the record says of the sample that a pick among `weights` took, where all but one carry `busy` requests.
    fn sample(weights: &[u32], busy: u32) -> String {
        let mut worker = Worker::new(
            &PolicyConfig::LeastConnections(LeastConnections {}),
            members(weights),
            7,
        );
        for member in worker.members.as_slice() {
            for _ in 0..busy {
                assert!(member.backend.load.enter(u32::MAX));
            }
        }
        let mut told = Decision::default();
        assert!(worker.pick_telling(None, &[], Some(&mut told)).is_some());
        told.steps.iter().find(|step| step.subject == "sample").unwrap().why.clone()
    }

    #[test]
    fn an_idle_member_of_a_large_set_ends_the_draws() {
        assert_eq!(sample(&[3; 1000], 0), "the best of 1 drawn at random of 1000 members");
        assert_eq!(sample(&[3; 1000], 1), "the best of 16 drawn at random of 1000 members");
        // An idle one of weight 1 may still be beaten by one of weight 3.
        let mut weights = [1; 1000];
        weights[500] = 3;
        assert_eq!(sample(&weights, 0), "the best of 16 drawn at random of 1000 members");
    }
}
