//! Where a connection goes that nobody ends here: the same for whoever serves it and whoever explains it.

use super::ConnectionHead;
use crate::decision::{Decision, Stage, Verdict};
use crate::outcome::Reason;
use crate::rng::Rng;
use crate::snapshot::{Action, PassthroughService, PoolIndex, Snapshot};
use crate::split::Split;
use crate::time::Now;

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The position of its route in [`Snapshot::routes`].
    pub route: Option<usize>,
    /// The pool, or why there is none.
    pub pool: Result<PoolIndex, Reason>,
}

impl Snapshot {
    /// Where a connection to `service` goes.
    pub fn destination(
        &self,
        service: &PassthroughService,
        head: &ConnectionHead<'_>,
        (now, rng): (Now, &mut Rng),
        mut record: Option<&mut Decision>,
    ) -> Destination {
        let Some(route) = service.routes.find(head, record.as_deref_mut()) else {
            return Destination {
                route: None,
                pool: Err(Reason::NoRoute),
            };
        };
        let pool = match &route.action {
            Action::Pool(pool) => Some(*pool),
            Action::Split(split) => self.belongs(split, head, now, record).or_else(|| split.draw(rng)),
            // Nobody can be answered whose words nobody can read; `check` refuses such routes.
            Action::Redirect(_) | Action::Respond(_) => None,
        };
        Destination {
            route: Some(route.index),
            pool: pool.ok_or(Reason::NoBackend),
        }
    }

    /// The pool of `split` that the client's sticky session is with; one that gets nothing any more keeps none.
    fn belongs(
        &self,
        split: &Split,
        head: &ConnectionHead<'_>,
        now: Now,
        record: Option<&mut Decision>,
    ) -> Option<PoolIndex> {
        let shares = split.shares();
        let drawn = shares.iter().filter(|share| share.weight > 0);
        let mut sticky = drawn.filter_map(|share| Some((share.pool, self.pools[share.pool].sticky()?)));
        let (pool, _) = sticky.find(|(_, sticky)| sticky.knows(&sticky.tie_of_connection(head.client), now))?;
        if let Some(decision) = record {
            let why = "its sticky session is with this pool: nothing is drawn";
            decision.step(Stage::Pick, &*self.pools[pool].name, Verdict::Taken, why);
        }
        Some(pool)
    }
}
