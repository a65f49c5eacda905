//! What an operator may want of a backend: the body of a PATCH.

use std::time::Duration;

use plimsoll_core::document::{Decode, Faults, Json, Located, Node, Value};
use plimsoll_core::membership::Action;
use plimsoll_core::time::Now;
use plimsoll_core::{document, words};
use serde_json::json;

use crate::config::{Part, WEIGHT_MAX};

document! {
    /// What an operator wants of a backend. It holds until it is undone.
    pub(super) struct Change {
        /// Its share of the work instead of the configured one; null undoes that.
        pub(super) weight: Option<Weight>,
        /// Whether it takes work: drain takes no new work, maintenance none at all, ready undoes both.
        pub(super) state: Option<Wanted>,
        /// How long a draining backend keeps the work that it has.
        pub(super) timeout: Option<Duration>,
    }
}

document! {
    /// What an operator wants of a route.
    pub(super) struct RouteChange {
        /// The parts of its split, all in one swap; a pool that is left out gets none. Null undoes that.
        pub(super) split: Option<Parts>,
        /// Whether it is closed for maintenance; null leaves that to its configuration.
        pub(super) maintenance: Option<Closed>,
    }
}

document! {
    /// A gradual shift of a route's split.
    pub(super) struct ShiftAsked {
        /// The weights in the end; a pool that is left out gets nothing.
        pub(super) to: Vec<Located<Part>>,
        /// How long it may take to get there; at once unless set.
        pub(super) over: Option<Duration>,
        /// What takes it back: "error_rate > 1%", "p99 > 250ms", of the pools that grow, in the last 30 seconds.
        pub(super) abort_if: Vec<Located<String>>,
        /// Whether it begins only once every backend of the pools that grow is healthy.
        pub(super) when_healthy: bool = false,
    }
}

words! {
    /// Whether a backend shall take work.
    pub(super) enum Wanted {
        /// No new work.
        Drain = "drain",
        /// No work at all.
        Maintenance = "maintenance",
        /// As its health has it.
        Ready = "ready",
    }
}

/// Whether a route is closed; `None` is as configured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Closed(pub(super) Option<bool>);

impl Decode for Closed {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.value {
            Value::Null => Some(Closed(None)),
            Value::Bool(closed) => Some(Closed(Some(closed))),
            _ => {
                faults.expected(node, "true, false, or null for what the configuration says");
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": ["boolean", "null"] })
    }
}

/// The parts of a split; `None` is as configured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parts(pub(super) Option<Vec<Located<Part>>>);

impl Decode for Parts {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.value {
            Value::Null => Some(Parts(None)),
            _ => Vec::decode(node, faults).map(|parts| Parts(Some(parts))),
        }
    }

    fn schema() -> Json {
        let mut parts = Vec::<Located<Part>>::schema();
        parts["minItems"] = 1.into();
        json!({ "anyOf": [parts, { "type": "null" }] })
    }
}

/// A weight; `None` is the configured one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weight(Option<u32>);

impl Decode for Weight {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        if node.value == Value::Null {
            return Some(Weight(None));
        }
        // JSON has one kind of number: 2.0 is 2.
        let whole = match node.value {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it has no fraction, and saturates out of range"
            )]
            Value::Float(number) if number.fract() == 0.0 => Some(number as i64),
            _ => node.integer(),
        };
        let Some(number) = whole else {
            faults.expected(node, "a whole number, or null for the configured weight");
            return None;
        };
        let weight = u32::try_from(number).ok().filter(|weight| *weight <= WEIGHT_MAX);
        if weight.is_none() {
            faults.error(node.span, format!("{number} is out of range: 0 to {WEIGHT_MAX}"));
        }
        weight.map(|weight| Weight(Some(weight)))
    }

    fn schema() -> Json {
        json!({ "type": ["integer", "null"], "minimum": 0, "maximum": WEIGHT_MAX })
    }
}

impl Change {
    /// What is to be done, in order.
    ///
    /// # Errors
    /// What makes no sense about it.
    pub(super) fn actions(&self, now: Now) -> Result<Vec<Action>, &'static str> {
        if self.timeout.is_some() && self.state != Some(Wanted::Drain) {
            return Err("`timeout` belongs to a drain: { \"state\": \"drain\", \"timeout\": \"60s\" }");
        }
        let state = self.state.map(|state| match state {
            Wanted::Drain => self
                .timeout
                .map_or(Action::Drain, |timeout| Action::DrainUntil(now + timeout)),
            Wanted::Maintenance => Action::Maintenance,
            Wanted::Ready => Action::Ready,
        });
        let weight = self.weight.map(|Weight(weight)| Action::Weight(weight));
        let actions: Vec<Action> = weight.into_iter().chain(state).collect();
        if actions.is_empty() {
            return Err("nothing to change: name `weight` or `state`");
        }
        Ok(actions)
    }
}
