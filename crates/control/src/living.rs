//! The living pools: what survives a reload, by identity.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_core::backend::Backend;
use plimsoll_core::balance::PolicyConfig;
use plimsoll_core::health::{CheckRules, Initial, Outlier, State};
use plimsoll_core::membership::{Condition, MemberStatus, Membership, Rules, Spec, Transition};
use plimsoll_core::name::{BackendId, NameId, Names};
use plimsoll_core::pool::{BackendProtocol, Pool, View};
use plimsoll_core::sticky::{Seal, Sticky};
use plimsoll_core::time::Now;
use plimsoll_core::upcall::{Cuts, Ending};

use crate::config::{BackendPlan, CheckPlan, Origin, PoolPlan};
use crate::metrics::Naming;
use crate::originations::TlsStatus;

/// What a backend is told by: its pool, and its address there.
type Identity = (NameId, SocketAddr);

/// Identities given out so far; they are never given out twice.
#[derive(Default)]
pub(crate) struct Identities {
    pub(crate) names: Names,
    backends: BTreeMap<Identity, Arc<Backend>>,
    /// The names of backends, those that have left among them: workers may have counted for them just before.
    backend_names: HashMap<BackendId, Arc<str>>,
    /// Those that have left, the first to leave first, and their numbers, should they come back: what operators have set
    /// is kept by these.
    departed: VecDeque<(Identity, BackendId)>,
    left: HashMap<Identity, BackendId>,
    next: u32,
}

/// Backends that have left whose names and numbers are kept. What is counted later for others is counted as "other".
const DEPARTED_MAX: usize = 10_000;

impl Identities {
    /// The living backend at (pool, address, port): the same one for as long as anybody holds it.
    pub(crate) fn backend(&mut self, pool: &Arc<str>, address: SocketAddr) -> Arc<Backend> {
        let key = (self.names.intern(pool), address);
        let (next, left) = (&mut self.next, &mut self.left);
        let backend = self.backends.entry(key).or_insert_with(|| {
            let id = left.remove(&key).unwrap_or_else(|| {
                *next += 1;
                BackendId(*next)
            });
            Arc::new(Backend::new(id, pool.clone(), address))
        });
        backend.clone()
    }

    /// From now on the backend is called `name`.
    pub(crate) fn call(&mut self, backend: BackendId, name: &Arc<str>) {
        self.backend_names.insert(backend, name.clone());
    }

    /// Forgets the backends that nobody holds any more.
    pub(crate) fn forget_unused(&mut self) {
        let (departed, left) = (&mut self.departed, &mut self.left);
        self.backends.retain(|identity, backend| {
            let held = Arc::strong_count(backend) > 1;
            if !held {
                departed.push_back((*identity, backend.id));
                left.insert(*identity, backend.id);
            }
            held
        });
        while self.departed.len() > DEPARTED_MAX {
            // One that has come back since is no longer among those that have left.
            if let Some((identity, id)) = self.departed.pop_front()
                && self.left.remove(&identity).is_some()
            {
                self.backend_names.remove(&id);
            }
        }
    }
}

impl Naming for Identities {
    fn name(&self, id: NameId) -> Arc<str> {
        self.names.name(id).clone()
    }

    fn backend_name(&self, id: BackendId) -> Option<Arc<str>> {
        self.backend_names.get(&id).cloned()
    }
}

/// What holds for all pools of a node.
pub(crate) struct Node {
    /// Where it stands.
    pub(crate) zone: Option<Arc<str>>,
    /// How long a draining backend keeps what it has.
    pub(crate) drain_timeout: Duration,
    /// Who signs sticky cookies.
    pub(crate) seal: Arc<Seal>,
    /// What tables of clients are hashed with.
    pub(crate) seed: u64,
}

/// Views of one pool are published this far apart on average: ten a second.
const VIEW_INTERVAL: Duration = Duration::from_millis(100);

/// How far they may run ahead of that: four at once. What happens to a pool seldom happens to one backend alone, and the
/// second one's death should not wait for the sake of the first one's.
const VIEW_BURST: Duration = Duration::from_millis(300);

/// A pool that lives: its data plane side, its membership, and how it is checked.
pub struct LivingPool {
    /// What workers see.
    pub pool: Arc<Pool>,
    /// Who is in it and how they stand.
    pub membership: Membership,
    /// How its backends are checked.
    pub check: Option<CheckPlan>,
    /// The membership's revision that the published view shows.
    pub(crate) published: u64,
    /// Until when the views that were published would have lasted, had they come evenly.
    paced_until: Now,
    /// Whether the view that is out was made in a panic.
    pub(crate) panicking: bool,
    /// Since when it has been there.
    pub(crate) since: Now,
    /// The addresses of backends that were made by the API.
    made: Arc<BTreeSet<SocketAddr>>,
    /// Backends whose connections are to be cut, once the view without them is out.
    to_cut: Vec<(BackendId, Ending)>,
}

/// A backend that has left its pool, and until when it keeps what it has under way.
pub(crate) struct Departing {
    pub(crate) backend: Arc<Backend>,
    pub(crate) until: Now,
}

/// How long what began just before a drain's deadline may take to end: a sticky session's requests go to its backend until
/// then, and the last of them are no less welcome than the first.
pub(crate) const CUT_GRACE: Duration = Duration::from_secs(1);

/// How a pool and its backends stand.
#[derive(Clone, Debug)]
pub struct PoolStatus {
    /// The pool.
    pub name: Arc<str>,
    /// Its number.
    pub id: NameId,
    /// Its policy's name.
    pub policy: &'static str,
    /// What its policy hashes, if it does.
    pub key: Option<String>,
    /// Whether health is being ignored because too few are healthy.
    pub panicking: bool,
    /// How many requests or connections wait for a place on one of its backends.
    pub waiting: u32,
    /// How many may.
    pub queue: u32,
    /// Its sticky sessions.
    pub sticky: Option<Arc<Sticky>>,
    /// What is spoken to its backends.
    pub protocol: BackendProtocol,
    /// TLS with them; `None` where connections are plain.
    pub tls: Option<TlsStatus>,
    /// The addresses of those that were made by the API.
    pub made: Arc<BTreeSet<SocketAddr>>,
    /// Its backends.
    pub backends: Vec<MemberStatus>,
}

impl LivingPool {
    /// A pool as `plan` has it, over living backends; `before` is what it was until now.
    pub(crate) fn build(
        plan: &PoolPlan,
        node: &Node,
        before: Option<LivingPool>,
        identities: &mut Identities,
        now: Now,
    ) -> (LivingPool, Vec<Transition>) {
        let rules = rules(plan, node);
        let name: Arc<str> = plan.name.as_str().into();
        let of = (&name, plan.settings.protocol);
        let specs = plan.backends.iter().map(|backend| spec(of, backend, identities));
        let specs = specs.collect();
        let mut transitions = Vec::new();
        let (mut membership, kept, published, mut to_cut) = match before {
            Some(before) => {
                let mut membership = before.membership;
                transitions.extend(membership.set_rules(rules, now));
                let kept = Some((before.pool, before.since, before.paced_until, before.panicking));
                (membership, kept, Some(before.published), before.to_cut)
            }
            None => (Membership::new(rules), None, None, Vec::new()),
        };
        transitions.extend(membership.set(specs, now));
        let (kept, since, paced_until, was_panicking) = match kept {
            Some((pool, since, paced, panicking)) => (Some(pool), since, paced, panicking),
            None => (None, now, now, false),
        };
        let sticky = sticky(plan, node, kept.as_deref());
        let (pool, panicking) = match kept {
            // Nothing that its view shows has changed either.
            Some(pool) if is_same(&pool, plan, sticky.as_deref()) && published == Some(membership.revision()) => {
                (pool, was_panicking)
            }
            // Another view is another pool: those who serve the generation before see nothing of it, and those who serve
            // the next one see it with all the rest, in one swap.
            kept => {
                let view = membership.view(&plan.policy, now, None);
                let panicking = view.panicking;
                let id = identities.names.intern(&name);
                let pool = Pool::new(id, name, plan.policy.clone(), plan.settings.clone(), view);
                let pool = pool.sticking(sticky);
                let pool = match kept {
                    Some(before) => pool.continuing(&before),
                    None => pool,
                };
                (Arc::new(pool), panicking)
            }
        };
        let published = membership.revision();
        let check = plan.check.clone();
        to_cut.extend(unhealthy(&pool, &transitions));
        for (backend, state, _) in membership.backends() {
            backend.leaving.set(state.is_withdrawn());
        }
        (
            LivingPool {
                pool,
                membership,
                check,
                published,
                paced_until,
                panicking,
                since,
                made: Arc::new(made(plan)),
                to_cut,
            },
            transitions,
        )
    }

    /// How it stands.
    pub(crate) fn status(&self, tls: Option<TlsStatus>, now: Now) -> PoolStatus {
        PoolStatus {
            name: self.pool.name.clone(),
            id: self.pool.id,
            policy: self.pool.policy.name(),
            key: self.pool.key().map(|key| key.text()),
            panicking: self.panicking,
            waiting: self.pool.queue().waiting(),
            queue: self.pool.settings.queue.most,
            sticky: self.pool.sticky().cloned(),
            protocol: self.pool.settings.protocol,
            tls,
            made: self.made.clone(),
            backends: self.membership.status(&self.pool.policy, now),
        }
    }

    /// Takes note of whose connections are to be cut, and whose are kept for nobody any more.
    pub(crate) fn note(&mut self, transitions: &[Transition]) {
        self.to_cut.extend(unhealthy(&self.pool, transitions));
        if transitions
            .iter()
            .any(|transition| transition.from.is_withdrawn() != transition.to.is_withdrawn())
        {
            for (backend, state, _) in self.membership.backends() {
                backend.leaving.set(state.is_withdrawn());
            }
        }
    }

    /// Has what is left of drains cut whose deadline has come. When to come again.
    pub(crate) fn end_drains(&mut self, now: Now) -> Option<Now> {
        let draining = self
            .membership
            .backends()
            .filter_map(|(backend, _, until)| Some((backend, until?)));
        let (mut next, mut over) = (None, Vec::new());
        for (backend, until) in draining {
            match end_of(backend, until, now) {
                End::Later(at) => next = [next, Some(at)].into_iter().flatten().min(),
                End::Now => over.push(backend.id),
                End::Nothing => {}
            }
        }
        for backend in over {
            next = [next, Some(now + CUT_GRACE)].into_iter().flatten().min();
            if !self.to_cut.contains(&(backend, Ending::Drained)) {
                self.to_cut.push((backend, Ending::Drained));
            }
        }
        next
    }

    /// The backends that it has, to be told from those that it has later.
    pub(crate) fn backends(&self) -> Vec<Arc<Backend>> {
        self.membership
            .backends()
            .map(|(backend, ..)| backend.clone())
            .collect()
    }

    /// How long what leaves it may take.
    pub(crate) fn drain_timeout(&self) -> Duration {
        self.membership.rules().drain_timeout
    }

    /// Has the connections cut that are to be, unless the view without their backends is not out yet. False when workers
    /// were too busy to be told.
    pub(crate) fn cut(&mut self, cuts: &dyn Cuts) -> bool {
        if self.membership.revision() == self.published {
            self.to_cut.retain(|(backend, why)| !cuts.cut(*backend, *why));
        }
        self.to_cut.is_empty()
    }

    /// How long the next view has to wait for its turn.
    pub(crate) fn until_due(&self, now: Now) -> Duration {
        self.paced_until.since(now).saturating_sub(VIEW_BURST)
    }

    /// A view has been published.
    pub(crate) fn pace(&mut self, now: Now) {
        self.paced_until = self.paced_until.max(now) + VIEW_INTERVAL;
    }

    /// Another policy over the same backends. Workers see it once a snapshot holds the new pool.
    pub(crate) fn set_policy(&mut self, policy: PolicyConfig, now: Now) {
        let was = &self.pool;
        let view = self.membership.view(&policy, now, None);
        self.panicking = view.panicking;
        self.published = self.membership.revision();
        let pool = Pool::new(was.id, was.name.clone(), policy, was.settings.clone(), view);
        self.pool = Arc::new(pool.sticking(was.sticky().cloned()).continuing(was));
    }

    /// The view that its membership asks for now.
    pub(crate) fn view(&self, now: Now) -> View {
        self.membership.view(&self.pool.policy, now, None)
    }
}

/// The addresses of those backends of `plan` that were made by the API.
fn made(plan: &PoolPlan) -> BTreeSet<SocketAddr> {
    let made = plan.backends.iter().filter(|backend| backend.origin == Origin::Api);
    made.map(|backend| backend.address).collect()
}

/// Whether `pool` is what `plan` wants, and ties clients to backends as `sticky` does.
fn is_same(pool: &Pool, plan: &PoolPlan, sticky: Option<&Sticky>) -> bool {
    let ties_alike = match (pool.sticky(), sticky) {
        (Some(was), Some(sticky)) => was.is_same(sticky),
        (was, sticky) => was.is_none() && sticky.is_none(),
    };
    pool.policy == plan.policy && pool.settings == plan.settings && ties_alike
}

/// What is to be done about the work of a draining backend.
pub(crate) enum End {
    /// Nothing before then.
    Later(Now),
    /// It is cut.
    Now,
    /// Nothing: there is none.
    Nothing,
}

/// What is to be done at `now` about the work of `backend`, which drains until `until`.
pub(crate) fn end_of(backend: &Backend, until: Now, now: Now) -> End {
    let cut_at = until + CUT_GRACE;
    if now < cut_at {
        End::Later(cut_at)
    } else if backend.load.in_flight() > 0 {
        let (pool, address, left) = (&*backend.pool, backend.address, backend.load.in_flight());
        tracing::info!(pool, backend = %address, left, "a drain is over: what is left is cut");
        End::Now
    } else {
        End::Nothing
    }
}

/// The backends that have become unhealthy, where that ends their connections.
fn unhealthy(pool: &Pool, transitions: &[Transition]) -> impl Iterator<Item = (BackendId, Ending)> {
    let wanted = if pool.settings.closes_unhealthy {
        transitions
    } else {
        &[]
    };
    let unhealthy = wanted.iter().filter(|transition| transition.to == State::Unhealthy);
    unhealthy.map(|transition| (transition.backend, Ending::Unhealthy))
}

fn spec((pool, protocol): (&Arc<str>, BackendProtocol), plan: &BackendPlan, identities: &mut Identities) -> Spec {
    let backend = identities.backend(pool, plan.address);
    if protocol != BackendProtocol::Auto {
        backend.spoken.forget();
    }
    let name: Arc<str> = plan.name.as_str().into();
    identities.call(backend.id, &name);
    Spec {
        backend,
        name,
        weight: plan.weight,
        zone: plan.zone.as_deref().map(Into::into),
        priority: plan.priority,
        limits: plan.limits,
        condition: Condition::Ready,
    }
}

/// The sticky sessions that `plan` has, with what is known of those of `before`.
fn sticky(plan: &PoolPlan, node: &Node, before: Option<&Pool>) -> Option<Arc<Sticky>> {
    let settings = plan.sticky.clone()?;
    let before = before.and_then(Pool::sticky).map(|sticky| &**sticky);
    let (seal, name) = (node.seal.clone(), plan.name.as_str().into());
    Some(Arc::new(Sticky::new(name, settings, seal, node.seed, before)))
}

fn rules(plan: &PoolPlan, node: &Node) -> Rules {
    Rules {
        checks: plan.check.as_ref().map(|check| CheckRules {
            fall: check.fall,
            rise: check.rise,
            initial: if check.initially_healthy {
                Initial::Healthy
            } else {
                Initial::Unhealthy
            },
        }),
        outlier: plan.outlier.as_ref().map(|outlier| Outlier {
            consecutive_errors: outlier.consecutive_errors,
            eject_for: outlier.eject_for,
            max_ejected_percent: outlier.max_ejected_percent,
            interval: outlier.interval,
            success_rate: outlier.success_rate.clone(),
            latency: outlier.latency.clone(),
        }),
        panic_threshold: plan.panic_threshold,
        slow_start: plan.slow_start,
        zone_aware: plan.zone_aware,
        zone: node.zone.clone(),
        drain_timeout: plan.drain_timeout.unwrap_or(node.drain_timeout),
        sticky: plan.sticky.is_some().then(|| node.seal.clone()),
    }
}
