//! Lists of networks, written in the configuration.

use std::net::IpAddr;

use crate::document::{Decode, Faults, Json, Node, Value};
use crate::network::Network;

/// Networks: one, or a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Networks(pub(super) Vec<Network>);

impl Networks {
    /// Whether `address` is in one of them.
    pub(super) fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

impl Decode for Networks {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Value::Array(_) => Vec::decode(node, faults).map(Networks),
            _ => Network::decode(node, faults).map(|one| Networks(vec![one])),
        }
    }

    fn schema() -> Json {
        let one = Network::schema();
        serde_json::json!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}
