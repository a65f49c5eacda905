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
        })
    }
}

struct Least {
    scan: Scan,
}

impl Picker for Least {
    fn pick(&self, members: &Members, cx: &mut PickCx<'_>) -> Option<Slot> {
        let now = cx.now;
        self.scan.lowest(
            members,
            cx,
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
