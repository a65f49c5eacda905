//! The record of a decision: what was considered, what refused it, what won and why.
//!
//! The functions that match a route, arrange members and pick a backend fill one when they are handed one; without
//! it they do no more than look at a `None`.

mod attempt;
mod recent;

pub use attempt::{Attempt, Sent};
pub use recent::{
    Asked, FAILURES_A_SECOND, FAILURES_MAX, OTHERS_A_SECOND, OTHERS_MAX, Ration, Recent, STEPS_MAX, TEXT_MAX,
    TRACED_A_SECOND, Taken, Wanted, shortened,
};

use serde::{Deserialize, Serialize};

/// One decision, from the listener to the backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The listener that the request came in by.
    pub listener: Option<String>,
    /// The route that won.
    pub route: Option<String>,
    /// The pool that serves: the one that the route names, or a fallback of it.
    pub pool: Option<String>,
    /// The backend that was picked.
    pub backend: Option<String>,
    /// The reason code, when there was no backend to pick or we answer ourselves.
    pub reason: Option<String>,
    /// Every step on the way, in order.
    pub steps: Vec<Step>,
}

/// One thing that was considered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which decision it belonged to.
    pub stage: Stage,
    /// What was considered: a route's, filter's, pool's or backend's name.
    pub subject: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, in words.
    pub why: String,
}

/// The decisions that are taken on the way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Which listener the request belongs to.
    Listener,
    /// How the request is read: who sends it, and its host and path in their one spelling.
    Request,
    /// Which route matches.
    Route,
    /// What the filters do.
    Filter,
    /// Which backends are members now.
    Member,
    /// Which tier (priority, zone) serves.
    Tier,
    /// Which backend is chosen.
    Pick,
    /// What is answered or sent.
    Action,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was taken.
    Taken,
    /// It could have been taken, and something else was.
    Passed,
    /// It was out of the question.
    Refused,
}

impl Decision {
    /// Adds a step.
    pub fn step(&mut self, stage: Stage, subject: impl Into<String>, verdict: Verdict, why: impl Into<String>) {
        self.steps.push(Step {
            stage,
            subject: subject.into(),
            verdict,
            why: why.into(),
        });
    }
}

/// A decision to be filled, when somebody asked for one.
pub type Record<'a> = Option<&'a mut Decision>;

/// Adds a step to a record, if there is one; the closure runs only then.
pub fn note(record: &mut Record<'_>, step: impl FnOnce() -> (Stage, String, Verdict, String)) {
    if let Some(decision) = record {
        let (stage, subject, verdict, why) = step();
        decision.step(stage, subject, verdict, why);
    }
}
