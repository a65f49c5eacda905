//! `[pools.NAME]`.

use plimsoll_core::balance::PolicyConfig;
use plimsoll_core::document::{Decode, Entry, Faults, Json, Located, Node, Value};
use plimsoll_core::{document, words};
use serde_json::json;

use super::address::BackendAddress;
use super::health::Health;
use super::limits::PoolLimits;
use super::outlier::{Outlier, OutlierTable};
use super::pool_tls::PoolTls;
use super::retry::RetryBudget;
use super::sticky::Sticky;
use super::values::{Many, Name, Pause, Percent, Positive, Timeout, Within};

/// The largest weight. Shares finer than a thousandth cannot be told from chance.
pub(crate) const WEIGHT_MAX: u32 = 1_000;

/// The largest priority: a hundred stages of falling back are more than anybody has.
const PRIORITY_MAX: u32 = 100;

document! {
    /// A named group of backends.
    pub(in super::super) struct Pool {
        /// How a backend is chosen: least-connections unless set.
        pub(in super::super) policy: Option<Located<PolicyConfig>>,
        /// Addresses, or tables with an address.
        pub(in super::super) backends: Many<BackendEntry> = Many::default(),
        /// What is spoken to the backends.
        pub(in super::super) protocol: UpstreamProtocol = UpstreamProtocol::H1,
        /// Whether it is spoken within TLS: true, or how. Who the backends are is verified.
        pub(in super::super) tls: Option<Located<PoolTls>>,
        /// How backends are checked: a TCP connection every 2s unless set; false for not at all.
        pub(in super::super) health: Option<Located<Health>>,
        /// What becomes of the connections to a backend that becomes unhealthy.
        pub(in super::super) on_unhealthy: OnUnhealthy = OnUnhealthy::Keep,
        /// When backends are ejected for their answers; false for never.
        pub(in super::super) outlier: Outlier = Outlier::Eject(OutlierTable::default()),
        /// Percent healthy under which all backends are used.
        pub(in super::super) panic_threshold: Percent = Within(50),
        /// How long a new or recovered backend takes to get its whole share; at once unless set.
        pub(in super::super) slow_start: Option<Pause>,
        /// Whether what backends report of their own load is believed.
        pub(in super::super) orca: bool = false,
        /// What ties a client to the backend that served it before.
        pub(in super::super) sticky: Option<Located<Sticky>>,
        /// How much may be spent on retries: 20 for a hundred requests, and 10 a second, unless set.
        pub(in super::super) retry_budget: RetryBudget = RetryBudget::default(),
        /// How much each backend may carry.
        pub(in super::super) limits: PoolLimits = PoolLimits::default(),
        /// How long each phase may take.
        pub(in super::super) timeouts: PoolTimeouts = PoolTimeouts::default(),
        /// Whether connections to the backends begin with a header of the PROXY protocol, which names the client: "v1" or
        /// "v2"; they do not unless set.
        pub(in super::super) send_proxy_protocol: Option<Located<SendProxy>>,
        /// Whether backends of the node's own zone are preferred, once there are two zones.
        pub(in super::super) zone_aware: bool = true,
        /// The pool that takes over while none of the backends here can serve.
        pub(in super::super) fallback: Option<Located<String>>,
        /// How long a backend that drains, or has left, keeps what it has under way: the server's drain_timeout unless set.
        pub(in super::super) drain_timeout: Option<Pause>,
    } later { "discover", "mode", "quarantine", "source" }
}

words! {
    /// What becomes of the connections to a backend that becomes unhealthy.
    pub(in super::super) enum OnUnhealthy {
        /// They go on for as long as they last.
        Keep = "keep",
        /// They are cut.
        Close = "close",
    }
}

words! {
    /// A version of the PROXY protocol.
    pub(in super::super) enum SendProxy {
        /// A line of text.
        V1 = "v1",
        /// Binary, with the name that a TLS client asks for, and an id.
        V2 = "v2",
    }
}

words! {
    /// What is spoken to backends.
    pub(in super::super) enum UpstreamProtocol {
        /// HTTP/1.1.
        H1 = "h1",
        /// HTTP/2: within TLS by ALPN, without it by prior knowledge.
        H2 = "h2",
        /// What each backend chooses of the two within TLS (ALPN); HTTP/1.1 without it.
        Auto = "auto",
    }
}

document! {
    /// A backend.
    pub(in super::super) struct Backend {
        /// Its name, unique in the pool; the address unless set.
        pub(in super::super) name: Option<Located<Name>>,
        /// Its address and port.
        pub(in super::super) address: Located<BackendAddress>,
        /// Its share of the work, 1 unless set; 0 takes no new work.
        pub(in super::super) weight: Within<0, WEIGHT_MAX> = Within(1),
        /// Where it stands.
        pub(in super::super) zone: Option<String>,
        /// Lower numbers are used first, 0 unless set.
        pub(in super::super) priority: Within<0, PRIORITY_MAX> = Within(0),
        /// Its own limit of connections.
        pub(in super::super) max_connections: Option<Positive>,
        /// Its own limit of requests in flight.
        pub(in super::super) max_requests: Option<Positive>,
    } later { "labels", "tls" }
}

/// A backend: its address alone, or a table.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct BackendEntry(pub(in super::super) Backend);

impl Decode for BackendEntry {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Value::Table(_) => Backend::decode(node, faults),
            Value::Text(_) | Value::Variable(_) => {
                let address = Entry {
                    key: "address".into(),
                    key_span: node.span,
                    node: node.clone(),
                };
                let table = Node {
                    span: node.span,
                    value: Value::Table(vec![address]),
                };
                Backend::decode(&table, faults)
            }
            _ => {
                faults.expected(node, "an address, like \"10.0.0.1:8080\", or a table with one");
                None
            }
        }
        .map(BackendEntry)
    }

    fn schema() -> Json {
        json!({ "anyOf": [BackendAddress::schema(), Backend::schema()] })
    }
}

document! {
    /// How long each phase of a request to a backend may take.
    pub(in super::super) struct PoolTimeouts {
        /// To make a connection: 3s unless set.
        pub(in super::super) connect: Option<Timeout>,
        /// How long an unused connection is kept for the next request: 55s unless set.
        pub(in super::super) idle: Option<Timeout>,
        /// From the request's end to the head of the answer: 60s unless set.
        pub(in super::super) response_header: Option<Timeout>,
    }
}
