//! Publishing: the only place that stores a snapshot or a pool's view.

mod assemble;
mod retired;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use plimsoll_core::balance::PolicyConfig;
use plimsoll_core::challenge::Proofs;
use plimsoll_core::membership::{Event, Membership, Transition};
use plimsoll_core::name::{BackendId, NameId};
use plimsoll_core::rng::Rng;
use plimsoll_core::snapshot::{Action, Snapshot};
use plimsoll_core::split::Share;
use plimsoll_core::sticky::Seal;
use plimsoll_core::time::Now;
use plimsoll_core::upcall::{Cuts, Ending};
use tokio::sync::Notify;

use crate::acme::Handshakes;
use crate::certificates::{Certificates, Terminations};
use crate::config::{Addition, Origin, Plan};
use crate::events::{Events, Kind, Known};
use crate::handed::{self, Handed, HandedBackend, HandedRoute};
use crate::kept::Kept;
use crate::living::{CUT_GRACE, Departing, End, Identities, LivingPool, end_of};
use crate::metrics::Series;
use crate::originations::{Originations, Published};
use crate::splits;
use crate::succession::Succession;

/// The time until connections are tried to be cut again that could not be.
const CUT_AGAIN: Duration = Duration::from_millis(10);

/// How the last attempt to load a configuration went.
#[derive(Clone, Debug)]
pub struct Reload {
    /// When.
    pub at: SystemTime,
    /// What was wrong; nothing when it was taken.
    pub errors: Vec<String>,
    /// Where it came from.
    pub from: Origin,
}

/// What is served, in a few words.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Where it came from.
    pub from: Origin,
    /// What it says that takes a restart, in words.
    pub needs_restart: Vec<String>,
}

/// The control plane's state, shared by its tasks and the admin API.
pub struct Control {
    state: Mutex<State>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    originations: Published,
    events: Arc<Events>,
    /// What the events know of certificates.
    known: Mutex<Known>,
    clock: Box<dyn Fn() -> Now + Send + Sync>,
    /// The wall clock at [`Now::START`].
    started: SystemTime,
    draining: AtomicBool,
    /// Where it stands among the processes that serve one after the other.
    pub(crate) succession: Succession,
    /// Whether this node was ready once: what a reload adds does not take that back.
    pub(crate) was_ready: AtomicBool,
    /// Wakes the driver when something changed that it has to look at.
    pub(crate) changed: Notify,
}

/// Why a split stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SplitFault {
    /// No such route.
    #[error("there is no such route")]
    NoRoute,
    /// It sends to one pool, or to none.
    #[error("the route has no split")]
    NoSplit,
    /// A pool that has no part of it.
    #[error("the pool `{0}` has no part of the split; its pools are {1}")]
    Stranger(String, String),
    /// A pool is named twice.
    #[error("the pool `{0}` has two parts of the split")]
    Twice(String),
    /// All weights are 0.
    #[error("no pool would get any request")]
    Nothing,
}

/// What changes, under one lock.
pub(crate) struct State {
    pub(crate) identities: Identities,
    pub(crate) pools: BTreeMap<Arc<str>, LivingPool>,
    pub(crate) filters: Kept,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) originations: Originations,
    rng: Rng,
    /// What signs sticky cookies when the configuration names no secret.
    pub(crate) own_secret: [u8; 48],
    seal: Arc<Seal>,
    events: Arc<Events>,
    pub(crate) reload: Reload,
    /// Attempts to load another configuration than the first one that were taken, and that were refused.
    pub(crate) reloads: (u64, u64),
    /// Snapshots that were served before, until no worker has them any more: they are large, and no worker is to spend its
    /// time on throwing them away.
    retired: Vec<Arc<Snapshot>>,
    /// There was a reload, and what it has replaced has not all been thrown away yet.
    reloaded: bool,
    /// Backends that have left their pools and may have something under way.
    pub(crate) departing: Vec<Departing>,
    /// The weights that operators have set, by route and pool.
    pub(crate) splits: BTreeMap<String, Vec<(String, u32)>>,
    /// Changes of backends' states, by pool, backend, what it became, and the cause's word.
    pub(crate) transitions: Transitions,
    /// What was made by the API.
    pub(crate) additions: Vec<Addition>,
    /// What is served.
    pub(crate) plan: Arc<Plan>,
    pub(crate) serving: Serving,
}

/// How often backends changed state.
pub(crate) type Transitions = Series<4, 2, u64>;

impl Control {
    /// Compiles `plan` to the first snapshot. `clock` tells the process's time, and `seed` is what all randomness of
    /// the control plane follows from.
    pub fn new(plan: &Plan, clock: impl Fn() -> Now + Send + Sync + 'static, seed: u64) -> Arc<Self> {
        Control::continuing(plan, Handed::default(), clock, seed)
    }

    /// As [`new`](Self::new), where the process before was: with what it has `handed` over.
    pub fn continuing(
        plan: &Plan,
        handed: Handed,
        clock: impl Fn() -> Now + Send + Sync + 'static,
        seed: u64,
    ) -> Arc<Self> {
        let mut state = State {
            identities: Identities::default(),
            pools: BTreeMap::new(),
            filters: Kept::default(),
            certificates: Arc::new(Certificates::after(handed.tickets)),
            originations: Originations::default(),
            rng: Rng::seeded(seed),
            own_secret: handed.own_secret.try_into().unwrap_or_else(|_| own_secret()),
            seal: Arc::new(Seal::new([])),
            events: Arc::default(),
            reload: Reload {
                at: SystemTime::now(),
                errors: Vec::new(),
                from: Origin::File,
            },
            reloads: (0, 0),
            retired: Vec::new(),
            reloaded: false,
            splits: (handed.routes.iter())
                .filter_map(|(name, route)| Some((name.clone(), route.split.clone()?)))
                .collect(),
            departing: Vec::new(),
            serving: Serving {
                from: Origin::File,
                needs_restart: Vec::new(),
            },
            transitions: Transitions::default(),
            additions: handed.additions,
            plan: Arc::new(plan.clone()),
        };
        let now = clock();
        let snapshot = state.compile(plan, 1, now);
        state.go_on(&snapshot, &handed.pools, &handed.routes, now);
        let (originations, events) = (state.originations.published().clone(), state.events.clone());
        Arc::new(Control {
            state: Mutex::new(state),
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            originations,
            events,
            known: Mutex::default(),
            started: SystemTime::now() - now.since(Now::START),
            clock: Box::new(clock),
            draining: AtomicBool::new(false),
            succession: Succession::after(handed.shifts),
            was_ready: AtomicBool::new(handed.was_ready),
            changed: Notify::new(),
        })
    }

    /// What workers read.
    pub fn snapshot(&self) -> &Arc<ArcSwap<Snapshot>> {
        &self.snapshot
    }

    /// TLS as it ends at listeners: what workers read beside the snapshot.
    pub fn terminations(&self) -> Arc<Terminations> {
        self.state().certificates.terminations().clone()
    }

    /// What answers authorities that ask for proofs of names over plain HTTP: workers read it beside the snapshot.
    pub fn proofs(&self) -> Arc<Proofs> {
        self.state().certificates.acme().answers().proofs().clone()
    }

    /// The same within TLS.
    pub fn handshakes(&self) -> Arc<Handshakes> {
        self.state().certificates.acme().answers().handshakes().clone()
    }

    /// TLS with backends, as workers use it.
    pub fn originations(&self) -> &Published {
        &self.originations
    }

    /// What has happened: other rooms tell it what does.
    pub fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// Tells what has changed about the certificates of listeners.
    pub(crate) fn tell_certificates(&self) {
        let certificates = self.certificates();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.look(&certificates, SystemTime::now(), &self.events);
    }

    /// The time.
    pub fn now(&self) -> Now {
        (self.clock)()
    }

    /// When the process started.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Whether this node is being shut down.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// The node is being shut down.
    pub fn begin_drain(&self) {
        if !self.draining.swap(true, Relaxed) {
            let details = serde_json::json!({ "node": true });
            self.events
                .tell(Kind::Drain, "this node drains: it is being shut down", details);
        }
    }

    /// Serves what `plan` says from now on, with these `additions`, in one swap; its generation. `serving` is there when it
    /// is another configuration, and not only other additions. The data plane has to be told that there is another.
    pub(crate) fn adopt(&self, plan: Plan, additions: Vec<Addition>, serving: Option<Serving>) -> u64 {
        let now = self.now();
        let mut state = self.state();
        let generation = self.snapshot.load().generation + 1;
        let snapshot = state.compile(&plan, generation, now);
        if let Some(serving) = serving {
            state.reload = Reload {
                at: SystemTime::now(),
                errors: Vec::new(),
                from: serving.from,
            };
            state.reloads.0 += 1;
            state.serving = serving;
        }
        state.plan = Arc::new(plan);
        state.additions = additions;
        let before = self.snapshot.swap(Arc::new(snapshot));
        state.retired.push(before);
        state.reloaded = true;
        drop(state);
        self.changed.notify_one();
        generation
    }

    /// A configuration was refused: what is served stays.
    pub(crate) fn refuse(&self, errors: Vec<String>, from: Origin) {
        let mut state = self.state();
        state.reloads.1 += 1;
        state.reload = Reload {
            at: SystemTime::now(),
            errors,
            from,
        };
    }

    /// Tells the pool `pool` what happened to one of its backends. The changed view is published at once, or a tenth
    /// of a second after the one before.
    pub fn tell(&self, pool: &str, event: Event) -> Vec<Transition> {
        self.tell_all(pool, [event])
    }

    /// [`tell`](Self::tell) of several events, with one change of the view for all of them.
    pub fn tell_all(&self, pool: &str, events: impl IntoIterator<Item = Event>) -> Vec<Transition> {
        let transitions = self.change(pool, |members, now, rng| {
            (events.into_iter().flat_map(|event| members.apply(event, now, rng))).collect()
        });
        self.events.tell_transitions(pool, &transitions);
        transitions
    }

    /// Does `act` to the members of `pool`, in one view of them; the backends that have changed state, which are counted
    /// and told to nobody yet.
    pub(crate) fn change(
        &self,
        pool: &str,
        act: impl FnOnce(&mut Membership, Now, &mut Rng) -> Vec<Transition>,
    ) -> Vec<Transition> {
        let now = self.now();
        let mut state = self.state();
        let State {
            pools,
            rng,
            transitions: counts,
            ..
        } = &mut *state;
        let Some(living) = pools.get_mut(pool) else {
            return Vec::new();
        };
        let transitions = act(&mut living.membership, now, rng);
        living.note(&transitions);
        publish_if_due(living, now, &self.events);
        count(counts, pool, &transitions);
        drop(state);
        self.changed.notify_one();
        transitions
    }

    /// A worker has seen a backend's failures pass their threshold.
    pub(crate) fn suspect(&self, pool: NameId, backend: BackendId) {
        let name = self.state().identities.names.name(pool).clone();
        self.tell(&name, Event::Suspect { backend });
    }

    /// Lets time pass: ejections end, slow starts go on, views that had to wait are published. When to come again.
    pub(crate) fn tick(&self) -> Option<Now> {
        let now = self.now();
        let mut next: Option<Now> = None;
        let mut reports = Vec::new();
        let mut state = self.state();
        let State {
            pools,
            rng,
            transitions: counts,
            ..
        } = &mut *state;
        for (name, living) in pools {
            let transitions = living.membership.tick(now, rng);
            living.note(&transitions);
            count(counts, name, &transitions);
            if !transitions.is_empty() {
                reports.push((name.clone(), transitions));
            }
            publish_if_due(living, now, &self.events);
            let ends = living.end_drains(now);
            let due = (living.membership.revision() != living.published).then(|| now + living.until_due(now));
            let soonest = [due, living.membership.next_deadline()].into_iter().flatten().min();
            next = [next, soonest, ends].into_iter().flatten().min();
        }
        drop(state);
        for (name, transitions) in reports {
            self.events.tell_transitions(&name, &transitions);
        }
        next
    }

    /// Has connections cut to backends that have become unhealthy, in pools that want it, and to those whose drain has come
    /// to its deadline. When to come again.
    pub(crate) fn cut(&self, cuts: &dyn Cuts) -> Option<Now> {
        let now = self.now();
        let mut state = self.state();
        let departed = end_departing(&mut state.departing, cuts, now);
        let left = state
            .pools
            .values_mut()
            .filter_map(|living| (!living.cut(cuts)).then_some(()));
        let again = (left.count() > 0).then(|| now + CUT_AGAIN);
        [again, departed].into_iter().flatten().min()
    }

    /// Balances the pool `name` by `policy` from now on: another pool over the same living backends, in one swap of the
    /// snapshot. The data plane has to be told that there is another. False when there is no such pool.
    pub fn set_policy(&self, name: &str, policy: PolicyConfig) -> bool {
        let now = self.now();
        let mut state = self.state();
        let State { pools, plan, .. } = &mut *state;
        let Some(living) = pools.get_mut(name) else {
            return false;
        };
        if let Some(index) = plan.pool_index(name) {
            Arc::make_mut(plan).pools[index].policy = policy.clone();
        }
        living.set_policy(policy, now);
        let changed = &living.pool;
        let before = self.snapshot.load();
        let pools = before.pools.iter().map(|pool| {
            let pool = if pool.id == changed.id { changed } else { pool };
            pool.clone()
        });
        // Under the state's lock, so that no other change is lost between the load and the store.
        let retired = self.snapshot.swap(Arc::new(Snapshot {
            generation: before.generation + 1,
            listeners: before.listeners.clone(),
            routes: before.routes.clone(),
            pools: pools.collect(),
            fallbacks: before.fallbacks.clone(),
            error_pages: before.error_pages.clone(),
            has_error_pages: before.has_error_pages,
            node: before.node.clone(),
        }));
        drop(before);
        state.retired.push(retired);
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Shares the requests of the route `name` out by these weights of its split's pools from now on, in one swap; a pool
    /// that is not named gets none. It holds until it is undone with [`reset_split`](Self::reset_split), through reloads
    /// too, for as long as the split has the same pools.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn set_split(&self, name: &str, weights: &[(&str, u32)]) -> Result<(), SplitFault> {
        let mut state = self.state();
        let plan = state.plan.clone();
        let parts = splits::parts(&plan, name, weights)?;
        let route = plan.routes.iter().find(|route| route.name == name);
        let Action::Split(split) = &route.ok_or(SplitFault::NoRoute)?.action else {
            return Err(SplitFault::NoSplit);
        };
        let shares = parts.iter().filter_map(|(pool, _, weight)| {
            Some(Share {
                pool: plan.pool_index(pool)?,
                weight: *weight,
            })
        });
        split.publish(shares.collect());
        let wanted = parts.into_iter().map(|(pool, _, weight)| (pool, weight));
        state.splits.insert(name.to_owned(), wanted.collect());
        Ok(())
    }

    /// Shares the requests of the route `name` out as its configuration says again.
    ///
    /// # Errors
    /// It has no split.
    pub(crate) fn reset_split(&self, name: &str) -> Result<(), SplitFault> {
        let mut state = self.state();
        let plan = state.plan.clone();
        let route = plan.routes.iter().find(|route| route.name == name);
        let Action::Split(split) = &route.ok_or(SplitFault::NoRoute)?.action else {
            return Err(SplitFault::NoSplit);
        };
        state.splits.remove(name);
        split.publish(split.configured.clone());
        Ok(())
    }

    /// The weights that an operator has set for the route `name`.
    pub(crate) fn split_of(&self, name: &str) -> Option<Vec<(String, u32)>> {
        self.state().splits.get(name).cloned()
    }

    /// Closes the route `name` for maintenance, or opens it, or leaves it to the configuration again; false when there is
    /// no such route. It holds until it is undone, through reloads too.
    pub(crate) fn set_maintenance(&self, name: &str, wanted: Option<bool>) -> bool {
        let _state = self.state();
        let snapshot = self.snapshot.load();
        let route = snapshot.routes.iter().find(|route| *route.name == *name);
        route.is_some_and(|route| {
            route.maintenance.switch.set(wanted);
            true
        })
    }

    /// What there is to check: each pool with its plan, and its backends with their names and addresses.
    pub(crate) fn targets(&self) -> Vec<crate::probe::Target> {
        let state = self.state();
        let checked = state
            .pools
            .values()
            .filter_map(|living| Some((living, living.check.clone()?)));
        checked
            .flat_map(|(living, check)| crate::probe::targets(living, &check))
            .collect()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has what is left cut of backends that have left, once they have had their time, and forgets those that have nothing. When
/// to come again.
fn end_departing(departing: &mut Vec<Departing>, cuts: &dyn Cuts, now: Now) -> Option<Now> {
    // One that has come back is none of them any more.
    departing.retain(|departing| {
        let load = &departing.backend.load;
        departing.backend.leaving.is_so() && (load.in_flight() > 0 || load.connections() > 0)
    });
    let ends = departing
        .iter()
        .map(|Departing { backend, until }| match end_of(backend, *until, now) {
            End::Later(at) => at,
            End::Nothing => now + CUT_GRACE,
            End::Now => {
                cuts.cut(backend.id, Ending::Drained);
                now + CUT_GRACE
            }
        });
    ends.min()
}

/// A secret of this process alone.
fn own_secret() -> [u8; 48] {
    let mut secret = [0; 48];
    getrandom::fill(&mut secret).expect("the kernel gives random bytes");
    secret
}

/// Publishes the pool's view if it changed, and its turn has come.
fn publish_if_due(living: &mut LivingPool, now: Now, events: &Events) {
    let revision = living.membership.revision();
    if revision == living.published || !living.until_due(now).is_zero() {
        return;
    }
    let view = living.view(now);
    if view.panicking != living.panicking {
        living.panicking = view.panicking;
        let pool = &*living.pool.name;
        tracing::warn!(
            pool,
            panicking = view.panicking,
            "panic mode changed: health is ignored while too few are healthy"
        );
        let message = if view.panicking {
            format!("{pool} panics: too few are healthy, so health is ignored")
        } else {
            format!("{pool} panics no more: enough are healthy again")
        };
        let details = serde_json::json!({ "pool": pool, "panicking": view.panicking });
        events.tell(Kind::Panic, message, details);
    }
    living.pool.publish(view);
    living.published = revision;
    living.pace(now);
}

fn count(counts: &mut Transitions, pool: &str, transitions: &[Transition]) {
    for transition in transitions {
        let (to, cause) = (transition.to.word(), transition.cause.word());
        *counts.of([pool.into(), transition.name.clone(), to.into(), cause.into()]) += 1;
    }
}

impl State {
    /// Has pools and routes go on as they stood with the process before.
    fn go_on(
        &mut self,
        snapshot: &Snapshot,
        pools: &BTreeMap<String, Vec<HandedBackend>>,
        routes: &BTreeMap<String, HandedRoute>,
        now: Now,
    ) {
        for (name, living) in &mut self.pools {
            if let Some(handed) = pools.get(&**name) {
                handed::go_on(living, handed, now);
                publish_if_due(living, now, &self.events);
            }
        }
        for route in &snapshot.routes {
            if let Some(handed) = routes.get(&*route.name) {
                route.maintenance.switch.set(handed.maintenance);
            }
        }
    }
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
