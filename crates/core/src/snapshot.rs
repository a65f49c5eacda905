//! The snapshot: everything a worker needs to decide, immutable, of one generation.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::error_page::ErrorPages;
use crate::filter::Chain;
use crate::hedge::Hedge;
use crate::maintenance::Maintenance;
use crate::name::NameId;
use crate::network::Network;
use crate::pool::Pool;
use crate::priority::Priority;
use crate::reply::{Redirect, Respond};
use crate::retry::RetryPolicy;
use crate::reversal::HostSent;
use crate::rng::Rng;
use crate::route::{Asked, ConnectionTable, Fields, RouteTable};
use crate::split::Split;
use crate::trace::TraceSettings;

/// One generation of the configuration, compiled: names are numbers, defaults are filled in, limits are checked.
pub struct Snapshot {
    /// One more for each that was published.
    pub generation: u64,
    /// Where we accept, and what is spoken there.
    pub listeners: Vec<Arc<Listener>>,
    /// All routes of all listeners.
    pub routes: Vec<Arc<Route>>,
    /// All pools; actions name them by position.
    pub pools: Vec<Arc<Pool>>,
    /// By pool: the one that takes over when none of its backends can serve.
    pub fallbacks: Vec<Option<PoolIndex>>,
    /// Bodies for our own replies, where neither route nor listener has one.
    pub error_pages: ErrorPages,
    /// Whether there is an error page anywhere.
    pub has_error_pages: bool,
    /// What holds for the whole node.
    pub node: NodeSettings,
}

/// A position in [`Snapshot::pools`].
pub type PoolIndex = usize;

/// What holds for the whole node.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// Peers whose forwarded headers are believed.
    pub trusted_proxies: Vec<Network>,
    /// Fields of requests that filters vouch for: nobody else may set them.
    pub vouched: Vec<String>,
    /// Whether our own replies say why in `x-plimsoll-reason`.
    pub expose_reason: bool,
    /// Client connections over all listeners and workers.
    pub max_connections: u32,
    /// How late workers may be before they refuse a part of the requests; as late as they like unless set.
    pub shed_after: Option<Duration>,
    /// How long work in flight may go on at shutdown.
    pub drain_timeout: Duration,
    /// Whether finished requests and connections are written to the access log.
    pub access_log: Option<AccessFormat>,
    /// How many of a hundred are written of those that went well.
    pub access_percent: f64,
    /// How requests are traced, when they are.
    pub tracing: Option<TraceSettings>,
}

/// How a line of the access log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// One JSON object.
    Json,
    /// Apache's combined format.
    Combined,
}

impl NodeSettings {
    /// Whether `peer` is a proxy whose forwarded headers are believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(peer))
    }

    /// The client's address: `peer`, or, when that is a trusted proxy, the right-most entry of `x-forwarded-for` that
    /// is not one of them.
    pub fn client_address(&self, peer: IpAddr, fields: &dyn Fields) -> IpAddr {
        let mut address = peer.to_canonical();
        if !self.trusts(peer) {
            return address;
        }
        let mut entries: Vec<Option<IpAddr>> = Vec::new();
        fields.each("x-forwarded-for", &mut |value| {
            let members = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            entries.extend(members.filter(|member| !member.is_empty()).map(forwarded_address));
            true
        });
        // What stands to the left of an entry that nobody can read was written by nobody that we trust.
        for entry in entries.iter().rev().map_while(|entry| *entry) {
            address = entry.to_canonical();
            if !self.trusts(address) {
                break;
            }
        }
        address
    }
}

/// An entry of `x-forwarded-for`; some proxies (Azure's, IIS) write the port, and IPv6 in brackets.
fn forwarded_address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(with_port).or_else(in_brackets)
}

/// Addresses that we accept on, and the protocol spoken there.
pub struct Listener {
    /// Its number.
    pub id: NameId,
    /// Its name.
    pub name: Arc<str>,
    /// The addresses.
    pub bind: Vec<SocketAddr>,
    /// Connections that one client may have open here; trusted proxies, who speak for many, as many as they like.
    pub max_connections_per_client: Option<u32>,
    /// Set where TLS ends.
    pub tls: Option<TlsTerms>,
    /// Set where HTTP/3 is spoken as well, at the same addresses over UDP.
    pub http3: Option<Http3>,
    /// Whether connections begin with a header of the PROXY protocol, and whose is believed.
    pub proxy_protocol: Option<ProxyTrust>,
    /// What is spoken, within TLS where that ends here.
    pub service: Service,
}

/// Whose headers of the PROXY protocol are believed; those of others are read, and mean nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyTrust {
    /// Whoever can connect.
    Everybody,
    /// Peers in these networks.
    Networks(Vec<Network>),
}

impl ProxyTrust {
    /// Whether the header of `peer` is believed.
    pub fn believes(&self, peer: IpAddr) -> bool {
        match self {
            ProxyTrust::Everybody => true,
            ProxyTrust::Networks(networks) => networks.iter().any(|network| network.contains(peer)),
        }
    }
}

/// TLS on a listener, as far as it is configured once and for all: certificates come and go beside the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsTerms {
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
}

/// HTTP/3 on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http3 {
    /// The port that clients are told of, where something in front has another one than we.
    pub port: Option<u16>,
    /// How long they may remember it.
    pub max_age: Duration,
}

/// What a listener does with a connection.
pub enum Service {
    /// Requests and answers.
    Http(HttpService),
    /// Bytes.
    Tcp(TcpService),
    /// TLS that is not ended here: bytes, which go where their ClientHello says.
    Passthrough(PassthroughService),
}

/// HTTP on a listener.
pub struct HttpService {
    /// What is done with requests before any route is asked.
    pub filters: Arc<Chain>,
    /// Which route a request takes.
    pub routes: RouteTable,
    /// A path that we answer ourselves: 200 while serving, 503 while draining.
    pub health_path: Option<String>,
    /// Requests after which a connection is closed.
    pub keepalive_requests: u64,
    /// Age after which a connection is closed.
    pub keepalive_age: Option<Duration>,
    /// How long each phase may take.
    pub timeouts: HttpTimeouts,
    /// How large each part may be.
    pub limits: HttpLimits,
    /// Whether `%2F` and `%5C` may stand in a path.
    pub allow_encoded_slash: bool,
    /// Bodies for our own replies, where the route has none.
    pub error_pages: ErrorPages,
}

impl HttpService {
    /// Whether a request is for the health path.
    pub fn is_health(&self, asked: &Asked<'_>) -> bool {
        self.health_path.as_deref().is_some_and(|health| health == asked.path)
    }
}

/// How long each phase of a client's connection may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// From a request's first byte (or the connection's start) to the end of its head.
    pub request_header: Duration,
    /// Between two parts of a request's body.
    pub request_body: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Between two parts of an answer, and on an upgraded connection.
    pub stream_idle: Duration,
}

impl Default for HttpTimeouts {
    fn default() -> Self {
        HttpTimeouts {
            request_header: Duration::from_secs(10),
            request_body: Duration::from_secs(60),
            idle: Duration::from_secs(75),
            stream_idle: Duration::from_secs(300),
        }
    }
}

/// How large each part of a message's head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// The whole head, in bytes.
    pub head_bytes: usize,
    /// How many fields.
    pub fields: usize,
    /// The request line, in bytes.
    pub request_line: usize,
}

impl Default for HttpLimits {
    /// 64 KiB, 128 fields, 16 KiB; between nginx (4 × 8 KiB) and Envoy (60 KiB, 100 fields).
    fn default() -> Self {
        HttpLimits {
            head_bytes: 64 << 10,
            fields: 128,
            request_line: 16 << 10,
        }
    }
}

/// TCP on a listener.
#[derive(Clone, Debug)]
pub struct TcpService {
    /// Where connections go.
    pub pool: PoolIndex,
    /// How long a connection may be silent in both directions.
    pub idle_timeout: Duration,
}

/// TLS passed through on a listener.
pub struct PassthroughService {
    /// Which route a connection takes.
    pub routes: ConnectionTable,
    /// From the connection's start to the end of the ClientHello.
    pub hello_timeout: Duration,
    /// How long a connection may be silent in both directions.
    pub idle_timeout: Duration,
}

/// What is done with the requests, or connections, that match.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its number.
    pub id: NameId,
    /// Its position in [`Snapshot::routes`].
    pub index: usize,
    /// Its name.
    pub name: Arc<str>,
    /// What is done with a request before the action.
    pub filters: Arc<Chain>,
    /// What is done.
    pub action: Action,
    /// The longest that the whole request may take until the answer has begun.
    pub timeout: Option<Duration>,
    /// What may be retried.
    pub retry: RetryPolicy,
    /// When a request is sent to a second backend though the first has not failed.
    pub hedge: Option<Arc<Hedge>>,
    /// Whether a connection may be upgraded to a WebSocket.
    pub upgrade_websocket: bool,
    /// Who else gets a copy.
    pub mirror: Option<Mirror>,
    /// Who is served first when there is too much work.
    pub priority: Priority,
    /// The Host that is sent upstream.
    pub host: HostSent,
    /// Whether it is closed for a time, and what it says then.
    pub maintenance: Maintenance,
    /// Bodies for our own replies.
    pub error_pages: ErrorPages,
}

/// A pool that gets copies of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirror {
    /// The pool.
    pub pool: PoolIndex,
    /// How many of a hundred requests it gets.
    pub percent: f64,
}

impl Mirror {
    /// Whether it gets the next request.
    pub fn takes(&self, rng: &mut Rng) -> bool {
        self.percent >= 100.0 || rng.unit() * 100.0 < self.percent
    }
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send to a backend of this pool.
    Pool(PoolIndex),
    /// Send to a backend of one of several pools.
    Split(Arc<Split>),
    /// Send the client elsewhere.
    Redirect(Redirect),
    /// Answer ourselves.
    Respond(Respond),
}

impl Action {
    /// The pools that get its requests.
    pub fn pools(&self) -> Vec<PoolIndex> {
        match self {
            Action::Pool(pool) => vec![*pool],
            Action::Split(split) => split.shares().iter().map(|share| share.pool).collect(),
            Action::Redirect(_) | Action::Respond(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;

    struct Forwarded(&'static [&'static str]);

    impl Fields for Forwarded {
        fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
            let lines = self.0.iter().filter(|_| name == "x-forwarded-for");
            let _ = lines.map(|line| visit(line.as_bytes())).find(|go_on| !go_on);
        }
    }

    #[test]
    fn the_client_is_the_last_one_that_no_trusted_proxy_vouches_for() {
        let node = NodeSettings {
            trusted_proxies: vec![Network::parse("10.0.0.0/8").unwrap()],
            vouched: Vec::new(),
            expose_reason: true,
            max_connections: 1,
            shed_after: None,
            drain_timeout: Duration::ZERO,
            access_log: None,
            access_percent: 100.0,
            tracing: None,
        };
        for (peer, lines, client) in [
            ("192.0.2.1", &["198.51.100.1"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, 192.0.2.7", "10.0.0.2,"], "192.0.2.7"),
            ("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["10.0.0.3", "10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["192.0.2.7:5678, 10.0.0.2"], "192.0.2.7"),
            ("10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
        ] {
            let found = node.client_address(peer.parse().unwrap(), &Forwarded(lines));
            assert_eq!(found.to_string(), client, "{peer} {lines:?}");
        }
    }
}
