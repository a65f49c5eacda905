//! IP hash: a client's address always goes to the same member, as long as that member is there.
//!
//! The name is nginx's, HAProxy's `balance source`; both take the hash modulo the number of servers by default, so that
//! one server more or less moves nearly every client. Here it is the ring, and moves only those that have to move.

use super::bounded_load::LoadFactor;
use super::ring_hash::OnRing;
use super::{HashKey, Picker, Policy};
use crate::document;
use crate::document::{Decode, Faults, Json, Node};
use crate::members::Members;

document! {
    /// The same member for the same client address; IPv6 by its /64.
    pub struct IpHash {
        /// What is sent alike: always `client-ip`.
        pub key: ClientIp = ClientIp,
        /// The factor over its fair share to which a member may be filled before the next on the circle is taken;
        /// 1.5 is 150 %.
        pub load_factor: Option<LoadFactor>,
    }
}

/// The one key that `ip-hash` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientIp;

static CLIENT_IP: HashKey = HashKey::ClientIp;

impl Policy for IpHash {
    fn build(&self, members: &Members) -> Box<dyn Picker> {
        Box::new(OnRing::new(members, self.load_factor))
    }

    fn key(&self) -> Option<&HashKey> {
        Some(&CLIENT_IP)
    }
}

impl Decode for ClientIp {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match HashKey::decode(node, faults)? {
            HashKey::ClientIp => Some(ClientIp),
            other => {
                let key = other.text();
                faults
                    .error(
                        node.span,
                        format!("\"ip-hash\" hashes the client's address, not \"{key}\""),
                    )
                    .help(format!(
                        "policy = {{ kind = \"ring-hash\", key = \"{key}\" }} does the same by another key"
                    ));
                None
            }
        }
    }

    fn schema() -> Json {
        serde_json::json!({ "const": "client-ip" })
    }
}
