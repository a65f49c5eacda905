//! `maintenance` of a route.

use std::time::Duration;

use plimsoll_core::document;
use plimsoll_core::document::{Decode, Faults, Json, Node, Value};
use plimsoll_core::filter::FieldMap;
use plimsoll_core::maintenance::RETRY_AFTER;
use plimsoll_core::network::Network;
use plimsoll_core::template::Template;
use serde_json::json;

use super::route::Body;
use super::values::{Many, Pause, Within};

document! {
    /// A route that is closed, and what it says then.
    pub(in super::super) struct Maintenance {
        /// Whether it is closed: true unless set. With false an operator may close it, and this is what it says then.
        pub(in super::super) enabled: bool = true,
        /// The status: 503 unless set.
        pub(in super::super) status: Within<400, 599> = Within(503),
        /// The body; an error page, or our own words, unless set.
        pub(in super::super) body: Body = Body(Template::default()),
        /// Header fields.
        pub(in super::super) headers: FieldMap<Template>,
        /// When clients are told to come back: 60s unless set, 0s for not at all.
        pub(in super::super) retry_after: Pause = Pause(RETRY_AFTER),
        /// Clients that come in all the same.
        pub(in super::super) allow: Many<Network> = Many::default(),
    }
}

/// The table, or true or false.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct MaintenanceEntry(pub(in super::super) Maintenance);

impl Decode for MaintenanceEntry {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Value::Table(_) => Maintenance::decode(node, faults).map(MaintenanceEntry),
            Value::Bool(_) | Value::Variable(_) => {
                let enabled = bool::decode(node, faults)?;
                let notice = Maintenance::default();
                Some(MaintenanceEntry(Maintenance { enabled, ..notice }))
            }
            _ => {
                faults.expected(node, "true, false, or a table");
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "boolean" }, Maintenance::schema()] })
    }
}

/// A duration that is none is nothing to tell.
impl Maintenance {
    pub(in super::super) fn retry_after(&self) -> Option<Duration> {
        Some(self.retry_after.0).filter(|span| !span.is_zero())
    }
}
