//! `filters = […]`, and `[filters.NAME]`.

use plimsoll_core::document;
use plimsoll_core::document::{Decode, Faults, Json, Node, Value};
use plimsoll_core::filter::FilterEntry;
use serde_json::json;

use super::values::Many;

/// What stands in a list of filters: a filter, or the name of a chain.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum FilterUse {
    /// A filter.
    One(Box<FilterEntry>),
    /// All filters of this chain.
    Chain(String),
}

impl Decode for FilterUse {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Value::Text(name) | Value::Variable(name) => Some(FilterUse::Chain(name.clone())),
            _ => FilterEntry::decode(node, faults).map(|entry| FilterUse::One(Box::new(entry))),
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "string" }, FilterEntry::schema()] })
    }
}

document! {
    /// Filters under one name, for several routes or listeners.
    pub(in super::super) struct FilterChain {
        /// The filters, in the order in which they are asked.
        pub(in super::super) chain: Many<FilterEntry>,
    }
}
