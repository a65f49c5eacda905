//! How one backend stands in its pool: everything that is known of it, and the one state that it adds up to.

use std::sync::Arc;

use super::slow_start::{Ramp, STEPS};
use super::spec::{Action, Before, Condition, Operator, Rules, Spec};
use super::suspicion::{Suspicion, Tally};
use crate::health::{Cause, Check, Ejection, State};
use crate::load::Totals;
use crate::members::Member;
use crate::time::Now;

/// One backend's place in the membership.
pub(super) struct Standing {
    pub(super) spec: Spec,
    pub(super) operator: Operator,
    pub(super) check: Check,
    /// How the last failing check failed.
    pub(super) check_failure: Arc<str>,
    pub(super) ejection: Ejection,
    /// Whether it came when the pool had nobody healthy: then work cannot wait for its first check.
    pub(super) founder: bool,
    /// Only while healthy.
    ramp: Option<Ramp>,
    /// The step of the ramp that was last announced.
    ramp_step: u32,
    pub(super) state: State,
    pub(super) cause: Cause,
    pub(super) since: Now,
    /// What it had answered when the pool was last summed.
    pub(super) tally: Tally,
    pub(super) suspicion: Option<Suspicion>,
    /// What it had answered when the interval began over which backends are compared, or since when it is healthy.
    pub(super) counted: Totals,
}

impl Standing {
    /// A backend that joins at `now`, with what is remembered of its last stay.
    pub(super) fn new(
        spec: Spec,
        operator: Operator,
        ejection: Ejection,
        founder: bool,
        rules: &Rules,
        now: Now,
    ) -> Self {
        let mut standing = Standing {
            counted: spec.backend.load.sums(),
            spec,
            operator,
            check: Check::new(rules.checks.as_ref()),
            check_failure: "".into(),
            ejection,
            founder,
            ramp: None,
            ramp_step: STEPS,
            state: State::Unknown,
            cause: Cause::Unchecked,
            since: now,
            tally: Tally::default(),
            suspicion: None,
        };
        let because = match (&rules.checks, standing.check.verdict()) {
            (None, _) => Cause::NoChecks,
            (_, Some(_)) => Cause::Assumed,
            (_, None) => Cause::Unchecked,
        };
        standing.settle(because, rules, now);
        standing
    }

    /// How it stands, for the process that takes over.
    pub(super) fn handed(&self) -> Before {
        Before {
            verdict: self.check.verdict(),
            failure: self.check_failure.clone(),
            ejected: self.ejection.handed(),
            operator: self.operator,
        }
    }

    /// Goes on as it stood before. What is neither checked nor ejected any more counts for nothing.
    pub(super) fn go_on(&mut self, before: Before, rules: &Rules, now: Now) {
        if let (Some(_), Some(verdict)) = (&rules.checks, before.verdict) {
            self.check = Check::continuing(verdict);
            self.check_failure = before.failure;
        }
        if rules.outlier.is_some() {
            self.ejection = Ejection::continuing(before.ejected);
            if self.ejection.until().is_some_and(|until| until <= now) {
                self.ejection.end(self.spec.backend.load.totals(), now);
            }
        }
        self.operator = before.operator;
    }

    /// The weight that holds: the operator's, or the configured one.
    pub(super) fn weight(&self) -> u32 {
        self.operator.weight.unwrap_or(self.spec.weight)
    }

    /// Until when it keeps what it has, if it is draining.
    pub(super) fn drains_until(&self, rules: &Rules) -> Option<Now> {
        let until = self.operator.drains_until.unwrap_or(self.since + rules.drain_timeout);
        (self.state == State::Draining).then_some(until)
    }

    /// Whether it keeps its sticky sessions, as one that is `usable` now or not. Not even a panic sends a session to
    /// one that is known to be ill.
    pub(super) fn keeps_sessions(&self, usable: bool) -> bool {
        match self.state {
            State::Healthy => true,
            State::Unknown => usable,
            State::Draining => self.check.verdict() != Some(false) && self.ejection.offence().is_none(),
            State::Unhealthy | State::Ejected | State::Maintenance => false,
        }
    }

    /// Whether it would take new work if it were healthy.
    pub(super) fn in_rotation(&self) -> bool {
        !self.state.is_withdrawn() && self.weight() > 0
    }

    /// Whether how it answers may take it out: not when it is out already.
    pub(super) fn may_be_ejected(&self) -> bool {
        matches!(self.state, State::Healthy | State::Unknown)
    }

    /// Tenths of its share that it gets now.
    pub(super) fn step(&self, now: Now) -> u32 {
        self.ramp.map_or(STEPS, |ramp| ramp.step(now))
    }

    /// When its share grows again, after the step that was last announced.
    pub(super) fn next_step(&self) -> Option<Now> {
        self.ramp.and_then(|ramp| ramp.after(self.ramp_step))
    }

    /// Whether its share has grown since this was last asked.
    pub(super) fn stepped(&mut self, now: Now) -> bool {
        let step = self.step(now);
        let grown = step != self.ramp_step;
        self.ramp_step = step;
        if step == STEPS {
            self.ramp = None;
        }
        grown
    }

    /// It as a member, with `step` tenths of its weight in units of a tenth; `None` leaves the weight as it is.
    pub(super) fn member(&self, step: Option<u32>) -> Member {
        Member {
            backend: self.spec.backend.clone(),
            name: self.spec.name.clone(),
            weight: match step {
                Some(step) => self.weight().saturating_mul(step),
                None => self.weight(),
            },
            limits: self.spec.limits,
        }
    }

    /// Adds everything up again. `because` is the cause in case that it becomes healthy. Returns what the state was, when
    /// it changed.
    pub(super) fn settle(&mut self, because: Cause, rules: &Rules, now: Now) -> Option<State> {
        let (state, cause) = self.add_up(because);
        if state == self.state {
            if state != State::Healthy {
                self.cause = cause;
            }
            return None;
        }
        let from = std::mem::replace(&mut self.state, state);
        (self.cause, self.since) = (cause, now);
        self.ramp = None;
        if state == State::Healthy {
            // The failures that it had before do not count again.
            self.spec.backend.load.forgive();
            self.counted = self.spec.backend.load.sums();
        }
        // What the pool started with begins with its whole share: the others are as cold.
        if state == State::Healthy && !(self.founder && from == State::Unknown) {
            self.ramp = Ramp::new(rules.slow_start, now);
        }
        if state != State::Unknown {
            self.founder = false;
        }
        self.ramp_step = self.step(now);
        Some(from)
    }

    /// What an operator wants comes before what discovery says, that before what checks say, and that before what the
    /// answers say.
    fn add_up(&self, because: Cause) -> (State, Cause) {
        match (self.operator.withdrawn, self.spec.condition) {
            (Some(Action::Maintenance), _) => return (State::Maintenance, Cause::Operator),
            (Some(_), _) => return (State::Draining, Cause::Operator),
            (None, Condition::Terminating) => return (State::Draining, Cause::Terminating),
            (None, Condition::NotReady) => return (State::Unhealthy, Cause::NotReady),
            (None, Condition::Ready) => {}
        }
        if self.check.verdict() == Some(false) {
            return (State::Unhealthy, Cause::CheckFailed(self.check_failure.clone()));
        }
        if let Some(offence) = self.ejection.offence() {
            return (State::Ejected, Cause::Ejected(offence));
        }
        match self.check.verdict() {
            None => (State::Unknown, Cause::Unchecked),
            _ => (State::Healthy, because),
        }
    }
}
