//! Fallbacks: the pool that takes over where none of another's backends can serve.

use arc_swap::Guard;
use std::sync::Arc;

use crate::decision::{Record, Stage, Verdict, note};
use crate::pool::{Pool, Refusal, View};
use crate::snapshot::{PoolIndex, Snapshot};

/// The most fallbacks that stand behind one pool, one behind the other.
pub const FALLBACKS_MAX: usize = 8;

/// Which pool serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The pool.
    pub pool: PoolIndex,
    /// The pool that was asked and why it cannot serve, when another takes over.
    pub instead_of: Option<(PoolIndex, Refusal)>,
}

impl Serving {
    /// The pool that was asked.
    pub const fn itself(pool: PoolIndex) -> Self {
        Serving { pool, instead_of: None }
    }
}

impl View {
    /// Why the pool cannot serve: nobody who may be chosen is well, as far as is known. That those who are ill would be
    /// tried all the same, in a panic, does not count.
    pub fn outage(&self) -> Option<Refusal> {
        if self.has_well && !self.tiers.is_empty() {
            None
        } else if self.has_backends {
            Some(Refusal::NoHealthyBackend)
        } else {
            Some(Refusal::NoBackend)
        }
    }
}

impl Snapshot {
    /// Which pool serves in place of the one at `asked`: that, as long as it has a backend that is well, or one that
    /// `keeps` the client's session, else the first of its fallbacks that has. When there is none such, the first of
    /// them that would try the ill ones in a panic; a fallback comes before that, since its backends are well.
    pub fn serving(
        &self,
        asked: PoolIndex,
        mut keeps: impl FnMut(&Pool, &View) -> bool,
        mut record: Record<'_>,
    ) -> Serving {
        if self.fallbacks[asked].is_none() {
            return Serving::itself(asked);
        }
        let over = |pool: PoolIndex, why: Option<Refusal>| Serving {
            pool,
            instead_of: why.filter(|_| pool != asked).map(|why| (asked, why)),
        };
        let (mut first, mut panicking) = (None, None);
        let mut next = Some(asked);
        for _ in 0..=FALLBACKS_MAX {
            let Some(at) = next else { break };
            let pool = &self.pools[at];
            let view: Guard<Arc<View>> = pool.glance();
            let Some(outage) = view.outage().filter(|_| !keeps(pool, &view)) else {
                return over(at, first);
            };
            first.get_or_insert(outage);
            if !view.tiers.is_empty() {
                panicking.get_or_insert(at);
            }
            next = self.fallbacks[at];
            note(&mut record, || self.went_over(at, next, outage));
        }
        let last = panicking.unwrap_or(asked);
        if let Some(decision) = record {
            let why = "no fallback has a backend that is well either";
            decision.step(Stage::Pick, &*self.pools[last].name, Verdict::Taken, why);
        }
        over(last, first)
    }

    fn went_over(&self, at: PoolIndex, next: Option<PoolIndex>, outage: Refusal) -> (Stage, String, Verdict, String) {
        let cannot = outage.reason().says();
        let why = match next {
            Some(next) => format!("{cannot} Its fallback `{}` is asked", self.pools[next].name),
            None => format!("{cannot} It has no fallback"),
        };
        (Stage::Pick, self.pools[at].name.to_string(), Verdict::Refused, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::balance::PolicyConfig;
    use crate::decision::Decision;
    use crate::members::{Limits, Member, Members};
    use crate::name::{BackendId, NameId};
    use crate::pool::{BackendProtocol, PoolSettings, QueueSettings};
    use crate::snapshot::NodeSettings;
    use std::time::Duration;

    /// How a pool stands: well, in a panic, ill, or without a backend that takes work.
    #[derive(Clone, Copy)]
    enum Stands {
        Well,
        Panicking,
        Ill,
        Empty,
    }
    use Stands::{Empty, Ill, Panicking, Well};

    fn view(stands: Stands) -> View {
        let policy = PolicyConfig::named("random").unwrap();
        let member = Member {
            backend: Arc::new(Backend::new(BackendId(0), "p", "127.0.0.1:1".parse().unwrap())),
            name: "b".into(),
            weight: 1,
            limits: Limits::default(),
        };
        match stands {
            Well => View::single(Members::new([member]), &policy),
            Panicking => View {
                panicking: true,
                has_well: false,
                ..View::single(Members::new([member]), &policy)
            },
            Ill => View {
                has_backends: true,
                ..View::default()
            },
            Empty => View::default(),
        }
    }

    /// Pools each of which is the fallback of the one before.
    fn chain(stand: &[Stands]) -> Snapshot {
        let settings = PoolSettings {
            protocol: BackendProtocol::H1,
            send_proxy: None,
            tls: false,
            connect_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            response_header_timeout: Duration::ZERO,
            consecutive_errors: 0,
            compares_latency: false,
            closes_unhealthy: false,
            measured: false,
            retry_budget: crate::budget::BudgetRules::default(),
            queue: QueueSettings::default(),
            orca: false,
        };
        let pool = |(at, stands): (usize, &Stands)| {
            let policy = PolicyConfig::named("random").unwrap();
            let id = NameId(u32::try_from(at).unwrap());
            Arc::new(Pool::new(id, format!("p{at}"), policy, settings.clone(), view(*stands)))
        };
        Snapshot {
            generation: 1,
            listeners: Vec::new(),
            routes: Vec::new(),
            pools: stand.iter().enumerate().map(pool).collect(),
            fallbacks: (1..=stand.len())
                .map(|next| (next < stand.len()).then_some(next))
                .collect(),
            error_pages: crate::error_page::ErrorPages::default(),
            has_error_pages: false,
            node: NodeSettings {
                trusted_proxies: Vec::new(),
                vouched: Vec::new(),
                expose_reason: true,
                max_connections: 1,
                shed_after: None,
                drain_timeout: Duration::ZERO,
                access_log: None,
                access_percent: 100.0,
                tracing: None,
            },
        }
    }

    #[test]
    fn the_first_pool_that_can_serve_takes_over_and_panic_comes_last() {
        for (stand, pool, why) in [
            (&[Well, Well][..], 0, None),
            (&[Ill, Well], 1, Some(Refusal::NoHealthyBackend)),
            (&[Empty, Well], 1, Some(Refusal::NoBackend)),
            (&[Panicking, Well], 1, Some(Refusal::NoHealthyBackend)),
            (&[Empty, Ill, Well], 2, Some(Refusal::NoBackend)),
            (&[Panicking, Panicking], 0, None),
            (&[Ill, Panicking], 1, Some(Refusal::NoHealthyBackend)),
            (&[Empty, Ill], 0, None),
            (&[Ill], 0, None),
        ] {
            let serving = chain(stand).serving(0, |_, _| false, None);
            let instead_of = why.map(|why| (0, why));
            assert_eq!(serving, Serving { pool, instead_of });
        }
    }

    #[test]
    fn a_session_stays_with_whoever_keeps_it() {
        let serving = chain(&[Empty, Well]).serving(0, |pool, _| &*pool.name == "p0", None);
        assert_eq!(serving, Serving::itself(0));
    }

    #[test]
    fn each_step_is_told() {
        let mut decision = Decision::default();
        let told = |decision: &Decision| -> Vec<String> {
            let steps = decision.steps.iter();
            steps.map(|step| format!("{}: {}", step.subject, step.why)).collect()
        };
        chain(&[Empty, Ill, Well]).serving(0, |_, _| false, Some(&mut decision));
        assert_eq!(
            told(&decision),
            [
                "p0: The pool has no backend that takes work. Its fallback `p1` is asked",
                "p1: No backend of the pool is healthy. Its fallback `p2` is asked"
            ]
        );
        let mut decision = Decision::default();
        chain(&[Panicking, Ill]).serving(0, |_, _| false, Some(&mut decision));
        let told = told(&decision);
        assert_eq!(told[1], "p1: No backend of the pool is healthy. It has no fallback");
        assert_eq!(told[2], "p0: no fallback has a backend that is well either");
    }

    #[test]
    fn a_circle_that_no_check_has_seen_ends() {
        let mut snapshot = chain(&[Ill, Ill]);
        snapshot.fallbacks[1] = Some(0);
        assert_eq!(snapshot.serving(0, |_, _| false, None), Serving::itself(0));
    }
}
