//! `[listeners.NAME]`.

use plimsoll_core::document::{Decode, Faults, Json, Located, Node, Value};
use plimsoll_core::network::Network;
use plimsoll_core::{document, words};

use super::address::BindAddress;
use super::error_pages::ErrorPages;
use super::filter::FilterUse;
use super::http3::Http3;
use super::matching::AbsolutePath;
use super::tls::{HstsAge, Tls};
use super::values::{Item, Many, Positive, Timeout, Tried};

document! {
    /// Where connections are accepted, and what is spoken there.
    pub(in super::super) struct Listener {
        /// One address or a list; ":8080" is every IPv4 address of this host.
        pub(in super::super) bind: Many<BindAddress>,
        /// What is spoken: "http" unless set.
        pub(in super::super) protocol: Tried<Protocol> = Tried::absent(Protocol::Http),
        /// Of tcp: where connections go. Of http and tls: where requests or connections go that match no route.
        pub(in super::super) pool: Option<Located<String>>,
        /// Of http: a path that we answer ourselves, 200 while serving and 503 while draining.
        pub(in super::super) health_path: Option<Located<AbsolutePath>>,
        /// Of http: requests after which a connection is closed; never unless set.
        pub(in super::super) keepalive_requests: Option<Positive>,
        /// Of http: age after which a connection is closed; never unless set.
        pub(in super::super) keepalive_age: Option<Timeout>,
        /// Connections that one client may have open here, IPv6 by its /64; as many as it likes unless set. Trusted
        /// proxies, who speak for many, are not counted.
        pub(in super::super) max_connections_per_client: Option<Positive>,
        /// Whether connections begin with a header of the PROXY protocol, of either version, which names the client: true, or
        /// whose headers are believed. It is required then. false unless set.
        pub(in super::super) proxy_protocol: Located<ProxyProtocol>,
        /// Of http: filters before any route is asked; a name stands for the chain of that name.
        pub(in super::super) filters: Vec<Located<FilterUse>>,
        /// How long each phase may take.
        pub(in super::super) timeouts: ListenerTimeouts = ListenerTimeouts::default(),
        /// Of http: whether %2F and %5C may stand in a path.
        pub(in super::super) allow_encoded_slash: bool = false,
        /// Of http: bodies for the replies that we make ourselves, where the route has none.
        pub(in super::super) error_pages: ErrorPages,
        /// Set where TLS ends.
        pub(in super::super) tls: Option<Item<Tls>>,
        /// Of http without tls: whether every request is sent to the same URL with https, but for the health path.
        pub(in super::super) redirect_to_https: bool = false,
        /// Of http with tls: how long browsers shall ask for nothing but https (RFC 6797); answers do not say so unless set.
        pub(in super::super) hsts: Option<Located<HstsAge>>,
        /// Of http with tls: whether HTTP/3 is spoken as well, at the same addresses over UDP: true, or what answers over TCP
        /// tell clients of it. false unless set.
        pub(in super::super) http3: Located<Http3>,
    }
}

/// Whether connections begin with a header of the PROXY protocol.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum ProxyProtocol {
    /// They do not.
    Off,
    /// They do, and everybody's is believed.
    Everybody,
    /// They do, and those of some are believed.
    Trusted(Trusted),
}

document! {
    /// Whose headers are believed.
    pub(in super::super) struct Trusted {
        /// Networks of the proxies in front.
        pub(in super::super) trusted: Many<Network>,
    }
}

impl Decode for ProxyProtocol {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.value {
            Value::Bool(false) => Some(ProxyProtocol::Off),
            Value::Bool(true) => Some(ProxyProtocol::Everybody),
            Value::Table(_) => Trusted::decode(node, faults).map(ProxyProtocol::Trusted),
            _ => {
                faults.expected(node, "true, false, or { trusted = [\"10.0.0.0/8\"] }");
                None
            }
        }
    }

    fn absent() -> Option<Self> {
        Some(ProxyProtocol::Off)
    }

    fn schema() -> Json {
        serde_json::json!({ "anyOf": [{ "type": "boolean" }, Trusted::schema()] })
    }
}

/// The keys that mean something on http listeners only.
pub(in super::super) const HTTP_ONLY: [&str; 9] = [
    "http3",
    "redirect_to_https",
    "hsts",
    "filters",
    "health_path",
    "keepalive_requests",
    "keepalive_age",
    "allow_encoded_slash",
    "error_pages",
];

document! {
    /// How long each phase of a client's connection may take.
    pub(in super::super) struct ListenerTimeouts {
        /// Of http: from a request's first byte to the end of its head; of tls: from the connection's start to the end of
        /// its ClientHello; with `tls`, also of tcp: the whole handshake. 10s unless set.
        pub(in super::super) request_header: Option<Located<Timeout>>,
        /// Of http: between two parts of a request's body, 60s unless set.
        pub(in super::super) request_body: Option<Located<Timeout>>,
        /// Of http: between two requests, 75s unless set. Of tcp and tls: without a byte either way, 1h
        /// unless set.
        pub(in super::super) idle: Option<Timeout>,
        /// Of http: between two parts of an answer, and on an upgraded connection, 5m unless set.
        pub(in super::super) stream_idle: Option<Located<Timeout>>,
    }
}

words! {
    /// What is spoken on a listener.
    pub(in super::super) enum Protocol {
        /// Requests and answers.
        Http = "http",
        /// Bytes.
        Tcp = "tcp",
        /// TLS that is not ended here, but passed through to where its ClientHello says.
        Tls = "tls",
    } later { "udp" }
}
