//! Membership: who of a pool may be chosen now.
//!
//! [`Membership`] takes in whole sets of backends, check results, suspicions and operators' wishes, and computes a
//! [`View`](crate::pool::View) from them: health decides membership here, and the policy chooses among the members
//! later. It is pure; the control plane owns one for each pool, drives it and publishes its views.
//!
//! The order is: state of each backend ([`State`]) → who of each priority is used (healthy, or all in a panic) → how
//! work is shared among priorities → how each priority's share is split among zones → effective weights in each tier.

mod arrange;
mod comparison;
mod ejections;
mod levels;
mod memory;
mod notes;
mod slow_start;
mod spec;
mod standing;
mod suspicion;
#[cfg(test)]
mod tests;
mod zones;

pub use levels::OVERPROVISIONING;
pub use memory::MEMORY_MAX;
pub use spec::{Action, Before, Condition, Event, MemberStatus, Operator, Rules, Spec, Transition};

use std::collections::HashMap;
use std::sync::Arc;

use self::memory::Memory;
use self::standing::Standing;
use self::suspicion::Sum;
use crate::backend::Backend;
use crate::health::{Cause, Check, Phase, State};
use crate::name::BackendId;
use crate::rng::Rng;
use crate::sticky::Tags;
use crate::time::Now;

/// The backends of one pool and how each stands.
pub struct Membership {
    rules: Rules,
    standings: Vec<Standing>,
    places: HashMap<BackendId, usize>,
    memory: Memory,
    /// What cookies call the backends.
    tags: Arc<Tags>,
    revision: u64,
    /// What all have answered, when it was last asked.
    sum: Option<Sum>,
    /// When the backends are compared next, where they are.
    compare_at: Option<Now>,
}

impl Membership {
    /// A pool without backends.
    pub fn new(rules: Rules) -> Self {
        Membership {
            rules,
            standings: Vec::new(),
            places: HashMap::new(),
            memory: Memory::default(),
            tags: Arc::default(),
            revision: 0,
            sum: None,
            compare_at: None,
        }
    }

    /// The rules that hold.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// One more for every change that a view shows; while it stays the same, no view has to be computed.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Where the checks of a backend stand; unknown, when there is no such backend.
    pub fn phase(&self, backend: BackendId) -> Phase {
        let at = self.places.get(&backend);
        at.map_or(Phase::Unknown, |at| self.standings[*at].check.phase())
    }

    /// How each backend stands, for the process that takes over.
    pub fn handed(&self) -> impl Iterator<Item = (&Arc<Backend>, Before)> {
        self.standings
            .iter()
            .map(|standing| (&standing.spec.backend, standing.handed()))
    }

    /// The backends, with how each stands, and until when it keeps what it has, if it is draining.
    pub fn backends(&self) -> impl Iterator<Item = (&Arc<Backend>, State, Option<Now>)> {
        self.standings.iter().map(|standing| {
            (
                &standing.spec.backend,
                standing.state,
                standing.drains_until(&self.rules),
            )
        })
    }

    /// How many backends with an operator's setting or an ejection had left and were forgotten, since [`MEMORY_MAX`] was
    /// reached.
    pub fn forgotten(&self) -> u64 {
        self.memory.forgotten
    }

    /// Other rules, after a reload. States are kept: checks that are new judge backends that count as healthy.
    pub fn set_rules(&mut self, rules: Rules, now: Now) -> Vec<Transition> {
        if rules == self.rules {
            return Vec::new();
        }
        self.rules = rules;
        self.revision += 1;
        self.begin_comparison(now);
        let mut transitions = Vec::new();
        for at in 0..self.standings.len() {
            let standing = &mut self.standings[at];
            if self.rules.checks.is_none() {
                standing.check = Check::new(None);
            }
            if self.rules.outlier.is_none() {
                standing.ejection.end(standing.spec.backend.load.totals(), now);
            }
            self.settle(at, Cause::NoChecks, now, &mut transitions);
        }
        self.tag();
        self.readmit(now, &mut transitions);
        transitions
    }

    /// The whole set of backends. What is there already, by identity, keeps its state; what is new joins, unchecked;
    /// what is missing leaves. Of two with one identity the first counts.
    pub fn set(&mut self, specs: Vec<Spec>, now: Now) -> Vec<Transition> {
        let mut before: HashMap<BackendId, (usize, Standing)> = std::mem::take(&mut self.standings)
            .into_iter()
            .enumerate()
            .map(|(at, standing)| (standing.spec.backend.id, (at, standing)))
            .collect();
        // Work cannot wait for the first check of newcomers when nobody who stays can take it.
        let serves = |standing: &Standing| standing.in_rotation() && standing.state == State::Healthy;
        let founding = !specs
            .iter()
            .filter_map(|spec| before.get(&spec.backend.id))
            .any(|(_, standing)| serves(standing));
        let mut transitions = Vec::new();
        let (mut joined, mut changed) = (false, false);
        self.places.clear();
        for spec in specs {
            let (id, at) = (spec.backend.id, self.standings.len());
            if self.places.contains_key(&id) {
                continue;
            }
            self.places.insert(id, at);
            if let Some((was_at, mut standing)) = before.remove(&id) {
                changed |= was_at != at || !standing.spec.is_same(&spec);
                standing.spec = spec;
                self.standings.push(standing);
                self.settle(at, Cause::Ready, now, &mut transitions);
            } else {
                joined = true;
                let (operator, mut ejection) = self.memory.recall(id);
                if self.rules.outlier.is_none() || ejection.until().is_some_and(|until| until <= now) {
                    ejection.end(spec.backend.load.totals(), now);
                }
                let standing = Standing::new(spec, operator, ejection, founding, &self.rules, now);
                self.standings.push(standing);
            }
        }
        if joined || !before.is_empty() {
            changed = true;
            self.drop_suspicions();
            self.tag();
        }
        self.revision += u64::from(changed);
        for (id, (_, standing)) in before {
            self.memory.keep(id, standing.operator, standing.ejection);
        }
        if self.compare_at.is_none() {
            self.begin_comparison(now);
        }
        self.readmit(now, &mut transitions);
        transitions
    }

    /// Nothing is remembered any more of a backend that has left for good.
    pub fn forget(&mut self, backend: BackendId) {
        self.memory.recall(backend);
    }

    /// Goes on where the process before was: `before` tells how each backend stood with it.
    pub fn go_on(&mut self, before: impl Fn(&Backend) -> Option<Before>, now: Now) -> Vec<Transition> {
        let mut transitions = Vec::new();
        for at in 0..self.standings.len() {
            let standing = &mut self.standings[at];
            let Some(before) = before(&standing.spec.backend) else {
                continue;
            };
            standing.go_on(before, &self.rules, now);
            self.revision += 1;
            self.settle(at, Cause::CheckPassed, now, &mut transitions);
        }
        // Once all are known: nobody is readmitted for the sake of others that have only not been reached yet.
        self.readmit(now, &mut transitions);
        transitions
    }

    /// Computes what cookies call the backends: each name is a signature, so that it is done when they change.
    fn tag(&mut self) {
        let backends = self.standings.iter().map(|standing| &*standing.spec.backend);
        let seal = self.rules.sticky.as_ref();
        self.tags = seal.map_or_else(Arc::default, |seal| Arc::new(seal.tags(backends)));
    }

    /// Takes in something that happened. Costs nothing to speak of unless a state changes, and then time in proportion
    /// to the pool. `rng` is for the jitter of ejections.
    pub fn apply(&mut self, event: Event, now: Now, rng: &mut Rng) -> Vec<Transition> {
        let mut transitions = Vec::new();
        match event {
            Event::Check { backend, passed, cause } => {
                if let Some(at) = self.places.get(&backend).copied() {
                    self.checked(at, passed, &cause, now, &mut transitions);
                }
            }
            Event::Suspect { backend } => {
                if let Some(at) = self.places.get(&backend).copied() {
                    self.suspected(at, now, rng, &mut transitions);
                }
            }
            Event::Operator { backend, action } => {
                transitions = self.operate(&[backend], &[action], now);
            }
        }
        // One healthy backend more never asks for another.
        if transitions.iter().any(|transition| transition.to != State::Healthy) {
            self.readmit(now, &mut transitions);
        }
        transitions
    }

    /// Takes in what an operator wants of these backends. However many they are, the others are looked at once.
    pub fn operate(&mut self, backends: &[BackendId], actions: &[Action], now: Now) -> Vec<Transition> {
        let mut transitions = Vec::new();
        for backend in backends {
            if let Some(at) = self.places.get(backend).copied() {
                for action in actions {
                    self.standings[at].operator.apply(*action);
                }
                self.revision += 1;
                self.settle(at, Cause::Operator, now, &mut transitions);
            }
        }
        self.readmit(now, &mut transitions);
        transitions
    }

    /// Lets time pass: ends ejections whose time is over, counts the steps of slow starts, and compares the backends with
    /// each other. `rng` is for the jitter of ejections.
    pub fn tick(&mut self, now: Now, rng: &mut Rng) -> Vec<Transition> {
        let mut transitions = Vec::new();
        for at in 0..self.standings.len() {
            let standing = &mut self.standings[at];
            if standing.ejection.until().is_some_and(|until| until <= now) {
                standing.ejection.end(standing.spec.backend.load.totals(), now);
                self.settle(at, Cause::EjectionOver, now, &mut transitions);
            }
            // Every step is another weight.
            self.revision += u64::from(self.standings[at].stepped(now));
        }
        self.compare(now, rng, &mut transitions);
        if !transitions.is_empty() {
            self.readmit(now, &mut transitions);
        }
        transitions
    }

    /// When [`tick`](Self::tick) has to be called next, at the latest; `None` while nothing waits for time to pass.
    pub fn next_deadline(&self) -> Option<Now> {
        let of = |standing: &Standing| standing.ejection.until().into_iter().chain(standing.next_step()).min();
        self.standings.iter().filter_map(of).chain(self.compare_at).min()
    }

    fn checked(&mut self, at: usize, passed: bool, cause: &Arc<str>, now: Now, out: &mut Vec<Transition>) {
        let Some(rules) = self.rules.checks else { return };
        let standing = &mut self.standings[at];
        if !passed && standing.check_failure != *cause {
            standing.check_failure = cause.clone();
        }
        let turned = standing.check.observe(passed, &rules);
        let well = standing.ejection.observe_check(passed, &rules);
        if well {
            standing.ejection.end(standing.spec.backend.load.totals(), now);
        }
        if passed && standing.cause == Cause::Assumed {
            standing.cause = Cause::CheckPassed;
        }
        if turned || well || !passed {
            self.settle(at, Cause::CheckPassed, now, out);
        }
    }

    fn settle(&mut self, at: usize, because: Cause, now: Now, out: &mut Vec<Transition>) {
        let standing = &mut self.standings[at];
        let Some(from) = standing.settle(because, &self.rules, now) else {
            return;
        };
        self.revision += 1;
        out.push(Transition {
            backend: standing.spec.backend.id,
            name: standing.spec.name.clone(),
            from,
            to: standing.state,
            cause: standing.cause.clone(),
            at: now,
        });
    }
}
