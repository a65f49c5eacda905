//! The compiled form of a configuration: plain data, names resolved to positions, defaults filled in, limits checked.
//!
//! The publisher turns a [`Plan`] into a snapshot, reusing the living pools and backends by identity. A plan holds no
//! living thing, so that `check`, `explain` and `plan` can make one without serving.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use plimsoll_core::balance::PolicyConfig;
use plimsoll_core::error_page::{For, Media};
use plimsoll_core::filter::{FileName, FilterEntry, Url};
use plimsoll_core::health::{Latency, SuccessRate};
use plimsoll_core::hedge::HedgePolicy;
use plimsoll_core::maintenance::Notice;
use plimsoll_core::members::Limits;
use plimsoll_core::pool::{BackendProtocol, PoolSettings, ProxyVersion};
use plimsoll_core::priority::Priority;
use plimsoll_core::retry::RetryPolicy;
use plimsoll_core::reversal::HostSent;
use plimsoll_core::route::{ConnectionRule, Rule};
use plimsoll_core::snapshot::{
    AccessFormat, Action, Http3, HttpLimits, HttpTimeouts, Mirror, NodeSettings, PoolIndex, ProxyTrust, TcpService,
};
use plimsoll_core::sticky::Settings;
use plimsoll_net::tls::{Manners, Version};
use rustls::pki_types::ServerName;

/// Where something comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file that the process was started with, or its command line.
    File,
    /// A call to the admin API.
    Api,
}

impl Origin {
    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            Origin::File => "file",
            Origin::Api => "api",
        }
    }
}

/// A position in [`Plan::routes`].
pub type RouteIndex = usize;

/// Everything that a configuration says.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Threads that carry traffic; one a core when `None`.
    pub workers: Option<usize>,
    /// Where this node stands, for zone-aware pools.
    pub zone: Option<String>,
    /// How long it is said that the node drains before it does.
    pub drain_delay: Duration,
    /// Whether the files that this was read from are watched, and read again when they change.
    pub watch: bool,
    /// Whom the process becomes once its sockets are bound.
    pub user: Option<String>,
    /// What holds for the whole node, as the data plane sees it.
    pub node: NodeSettings,
    /// Whom traces are told; nobody when `None`.
    pub tracing: Option<TracingPlan>,
    /// Bodies for our own replies, where neither route nor listener has one.
    pub error_pages: Vec<PagePlan>,
    /// What signs sticky cookies.
    pub secrets: Secrets,
    /// The admin API.
    pub admin: AdminPlan,
    /// What is logged, and where.
    pub log: LogPlan,
    /// In the order of their names.
    pub listeners: Vec<ListenerPlan>,
    /// In the order of the file; after them the catch-all routes of listeners that name a pool.
    pub routes: Vec<RoutePlan>,
    /// In the order of their names; [`PoolIndex`] is a position here.
    pub pools: Vec<PoolPlan>,
}

/// Secrets, which are never shown: the first signs, all verify.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(pub Vec<Vec<u8>>);

impl Secrets {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} secrets", self.0.len())
    }
}

/// Whom traces are told, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct TracingPlan {
    /// The collector, which takes OTLP by POST there.
    pub url: Url,
    /// A file with those who vouch for the collector; whomever the machine trusts when `None`.
    pub authorities: Option<PathBuf>,
    /// Fields that it is sent, names in lower case.
    pub headers: Vec<(String, FieldSource)>,
    /// What this node is called in traces.
    pub service_name: String,
    /// What else is said of it.
    pub attributes: Vec<(String, String)>,
}

/// Where a field's value is. It is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub enum FieldSource {
    /// Here.
    Text(String),
    /// In a file.
    File(PathBuf),
}

impl std::fmt::Debug for FieldSource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FieldSource::Text(_) => out.write_str("a text"),
            FieldSource::File(path) => write!(out, "{}", path.display()),
        }
    }
}

/// Where the admin API is.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminPlan {
    /// The API, the dashboard and the metrics; `None` when off, or on a unix socket.
    pub bind: Option<SocketAddr>,
    /// The unix socket that they are on instead.
    pub socket: Option<PathBuf>,
    /// The file with the token that callers have to show.
    pub token_file: Option<PathBuf>,
    /// The file with the token of callers who only read.
    pub read_token_file: Option<PathBuf>,
    /// `/metrics`, `/healthz` and `/readyz` alone.
    pub metrics_bind: Option<SocketAddr>,
}

/// What is logged, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct LogPlan {
    /// The least severity that is written: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    /// Where finished requests and connections are written.
    pub access: AccessLog,
    /// How they are written.
    pub format: AccessFormat,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// To the end of this file.
    File(PathBuf),
    /// To syslog: this machine's, or the one at this address.
    Syslog(Option<SocketAddr>),
}

/// A listener.
#[derive(Clone, Debug)]
pub struct ListenerPlan {
    /// Its name.
    pub name: String,
    /// The addresses; at least one.
    pub bind: Vec<SocketAddr>,
    /// Connections that one client may have open here.
    pub max_connections_per_client: Option<u32>,
    /// TLS that ends here.
    pub tls: Option<TlsPlan>,
    /// HTTP/3, where it is spoken as well.
    pub http3: Option<Http3>,
    /// Whether connections begin with a header of the PROXY protocol, and whose is believed.
    pub proxy_protocol: Option<ProxyTrust>,
    /// What is spoken.
    pub service: ServicePlan,
}

/// TLS that ends at a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPlan {
    /// The certificates; at least one unless `acme` is there, and the first is the default.
    pub pairs: Vec<PairFiles>,
    /// The certificate that is asked for at an authority.
    pub acme: Option<AcmePlan>,
    /// Who vouches for clients; they are not asked when `None`.
    pub clients: Option<ClientsPlan>,
    /// What is spoken.
    pub manners: Manners,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
}

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The certificate and those that vouch for it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The OCSP response that is shown with it.
    pub ocsp: Option<PathBuf>,
}

/// A certificate that is asked for at an authority, by ACME. Two listeners that want the same share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AcmePlan {
    /// The names, in lower case and in order, none twice.
    pub domains: Vec<String>,
    /// Where the authority may write to.
    pub email: Option<String>,
    /// The URL of its directory.
    pub directory: String,
    /// A file with those who vouch for the directory; whomever the machine trusts when `None`.
    pub authorities: Option<PathBuf>,
    /// How it is shown that the names are ours.
    pub challenge: Challenge,
    /// The program that sets and takes away records, for [`Challenge::Dns01`].
    pub dns_hook: Option<Program>,
    /// How long that may take.
    pub dns_timeout: Duration,
    /// The directory that accounts and certificates are kept in.
    pub storage: PathBuf,
    /// The account with the authority that ours is bound to.
    pub binding: Option<BindingPlan>,
}

/// How an authority is shown that a name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Challenge {
    /// It asks at port 80 of the name (RFC 8555 §8.3).
    Http01,
    /// It asks at port 443, within TLS (RFC 8737).
    TlsAlpn01,
    /// It looks for a record of the name (RFC 8555 §8.4).
    Dns01,
}

impl Challenge {
    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Challenge::Http01 => "http-01",
            Challenge::TlsAlpn01 => "tls-alpn-01",
            Challenge::Dns01 => "dns-01",
        }
    }
}

/// An account with an authority that exists already (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BindingPlan {
    /// The number of its key.
    pub kid: String,
    /// The file with its key.
    pub key: PathBuf,
}

/// Where it stands who vouches for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientsPlan {
    /// Whether a client without a certificate is turned away.
    pub required: bool,
    /// The certificates of those who vouch.
    pub authorities: PathBuf,
    /// What they have revoked.
    pub revoked: Vec<PathBuf>,
}

/// What a listener does with a connection.
#[derive(Clone, Debug)]
pub enum ServicePlan {
    /// Requests and answers.
    Http(HttpPlan),
    /// Bytes.
    Tcp(TcpService),
    /// TLS that is not ended here.
    Passthrough(PassthroughPlan),
}

/// HTTP on a listener.
#[derive(Clone, Debug)]
pub struct HttpPlan {
    /// What is done with requests before any route is asked.
    pub filters: Vec<FilterEntry>,
    /// What matches, in the order of the file: `RouteTable::build` takes them, each with its route.
    pub rules: Vec<(Rule, RouteIndex)>,
    /// A path that we answer ourselves.
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
    pub error_pages: Vec<PagePlan>,
}

/// Pages for some of our own replies.
#[derive(Clone, Debug, PartialEq)]
pub struct PagePlan {
    /// For which.
    pub on: For,
    /// The same in several kinds, the first for whoever likes none of them better.
    pub kinds: Vec<(Media, PageSource)>,
}

/// Where a page's text is.
#[derive(Clone, Debug, PartialEq)]
pub enum PageSource {
    /// Here.
    Body(String),
    /// In a file.
    File(FileName),
}

/// TLS passed through on a listener.
#[derive(Clone, Debug)]
pub struct PassthroughPlan {
    /// What matches, in the order of the file: `ConnectionTable::build` takes them, each with its route.
    pub rules: Vec<(ConnectionRule, RouteIndex)>,
    /// From the connection's start to the end of the ClientHello.
    pub hello_timeout: Duration,
    /// How long a connection may be silent in both directions.
    pub idle_timeout: Duration,
}

/// A route.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    /// Its name, unique.
    pub name: String,
    /// Who made it.
    pub origin: Origin,
    /// What is done with a request before the action.
    pub filters: Vec<FilterEntry>,
    /// What is done.
    pub action: Action,
    /// The longest that the whole request may take until the answer has begun.
    pub timeout: Option<Duration>,
    /// What may be retried.
    pub retry: RetryPolicy,
    /// When a request is sent to a second backend though the first has not failed.
    pub hedge: Option<HedgePolicy>,
    /// Whether a connection may be upgraded to a WebSocket.
    pub upgrade_websocket: bool,
    /// Who else gets a copy of the requests.
    pub mirror: Option<Mirror>,
    /// Who is served first when there is too much work.
    pub priority: Priority,
    /// The Host that is sent upstream.
    pub host: HostSent,
    /// Whether it is closed for a time.
    pub closed: bool,
    /// What it says while it is.
    pub notice: Notice,
    /// Bodies for our own replies.
    pub error_pages: Vec<PagePlan>,
}

/// A pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolPlan {
    /// Its name, unique.
    pub name: String,
    /// How backends are chosen.
    pub policy: PolicyConfig,
    /// Timeouts and thresholds that the data plane needs.
    pub settings: PoolSettings,
    /// TLS with its backends; `None` where connections are plain.
    pub tls: Option<OriginationPlan>,
    /// In the order of the file; names and addresses are unique.
    pub backends: Vec<BackendPlan>,
    /// How backends are checked; `None` when they are not.
    pub check: Option<CheckPlan>,
    /// When backends are ejected for their answers; `None` when they are not.
    pub outlier: Option<OutlierPlan>,
    /// Percent healthy under which all members are used.
    pub panic_threshold: u8,
    /// How long a new or recovered backend takes to get its whole share.
    pub slow_start: Option<Duration>,
    /// Whether backends of the node's own zone are preferred, once there are two zones.
    pub zone_aware: bool,
    /// What ties clients to backends.
    pub sticky: Option<Settings>,
    /// The pool that takes over when none of its backends can serve.
    pub fallback: Option<PoolIndex>,
    /// How long a backend that drains keeps what it has; the node's when `None`.
    pub drain_timeout: Option<Duration>,
}

/// TLS with backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginationPlan {
    /// The file of certificates that vouch for them; the machine's own when `None`.
    pub ca: Option<PathBuf>,
    /// Who they have to be; each its own address when `None`.
    pub name: Option<ServerName<'static>>,
    /// The files of our certificate and its key, for those that ask who we are.
    pub own: Option<(PathBuf, PathBuf)>,
    /// What is offered where no HTTP is spoken.
    pub alpn: Vec<Vec<u8>>,
    /// The oldest version that is spoken.
    pub min_version: Version,
    /// Whether whoever answers is believed.
    pub believes_anyone: bool,
}

impl OriginationPlan {
    /// Who is believed to be a backend, in words.
    pub fn trust_words(&self) -> String {
        if self.believes_anyone {
            return "whoever answers is believed (DANGER: danger_accept_invalid_certs)".into();
        }
        let by = match &self.ca {
            None => "the machine's certificates".into(),
            Some(path) => path.display().to_string(),
        };
        let whom = match &self.name {
            None => "its address".into(),
            Some(name) => format!("\"{}\"", name.to_str()),
        };
        format!("its certificate has to be for {whom}, vouched for by {by}")
    }
}

/// A backend as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendPlan {
    /// Its name, unique in the pool; the address when none was given.
    pub name: String,
    /// Where to connect to.
    pub address: SocketAddr,
    /// Its share of the work; 0 takes no new work.
    pub weight: u32,
    /// Where it stands.
    pub zone: Option<String>,
    /// Lower numbers are used first.
    pub priority: u32,
    /// What it may carry.
    pub limits: Limits,
    /// Who made it.
    pub origin: Origin,
}

/// How backends are checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CheckPlan {
    /// What is asked.
    pub kind: CheckKind,
    /// The port to ask at instead of the backend's own.
    pub port: Option<u16>,
    /// Whether it is asked over TLS.
    pub tls: bool,
    /// Between the starts of two checks.
    pub interval: Duration,
    /// The same, while results speak against the state, and before the first one.
    pub fast_interval: Duration,
    /// The same, of a backend that is unhealthy.
    pub down_interval: Duration,
    /// The longest that one check may take; never more than the interval.
    pub timeout: Duration,
    /// Failures in a row that make a healthy backend unhealthy.
    pub fall: u32,
    /// Passes in a row that make an unhealthy backend healthy.
    pub rise: u32,
    /// Whether a backend is used before its first check.
    pub initially_healthy: bool,
    /// Whether its connections begin with a header of the PROXY protocol, which speaks for nobody.
    pub send_proxy: Option<ProxyVersion>,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// A request is answered as expected.
    Http(HttpCheck),
    /// A connection can be made.
    Tcp,
    /// `grpc.health.v1.Health/Check` says that a service is serving.
    Grpc(GrpcCheck),
    /// Over TCP, these bytes come.
    Bytes {
        /// What is sent first.
        send: Vec<u8>,
        /// What has to come, anywhere in the answer.
        expect: Vec<u8>,
    },
    /// A program exits with 0.
    Exec(Program),
}

/// A check by HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpCheck {
    /// What is spoken.
    pub protocol: BackendProtocol,
    /// The method.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// The Host to ask for; the backend's address when `None`.
    pub host: Option<String>,
    /// Other fields of the request, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The statuses that pass.
    pub expect: Vec<RangeInclusive<u16>>,
    /// What the body has to hold.
    pub expect_body: Option<BodyCheck>,
}

/// What a body has to hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BodyCheck {
    /// This text.
    Text(String),
    /// What this regular expression finds; it can be compiled.
    Regex(String),
}

/// A check by gRPC.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GrpcCheck {
    /// The service; the backend as a whole when empty.
    pub service: String,
    /// The authority to ask for; the backend's address when `None`.
    pub host: Option<String>,
    /// Metadata, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// A program that is run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    /// The program: a path, or a name that is looked for in `PATH`.
    pub program: PathBuf,
    /// What it is given.
    pub arguments: Vec<String>,
}

/// When backends are ejected for their answers.
#[derive(Clone, Debug, PartialEq)]
pub struct OutlierPlan {
    /// Failures in a row.
    pub consecutive_errors: u32,
    /// How long the first time; the n-th time n times as long.
    pub eject_for: Duration,
    /// The most of a pool's backends that may be ejected at once.
    pub max_ejected_percent: u8,
    /// How long answers are gathered before backends are compared.
    pub interval: Duration,
    /// Whose success rate is compared, and whose is too low.
    pub success_rate: Option<SuccessRate>,
    /// Whose latency is compared, and whose is too high.
    pub latency: Option<Latency>,
}

impl Plan {
    /// Whether there is an error page anywhere.
    pub fn has_error_pages(&self) -> bool {
        let at_listeners = self.listeners.iter().any(|listener| match &listener.service {
            ServicePlan::Http(http) => !http.error_pages.is_empty(),
            ServicePlan::Tcp(_) | ServicePlan::Passthrough(_) => false,
        });
        let on_routes = self.routes.iter().any(|route| !route.error_pages.is_empty());
        !self.error_pages.is_empty() || at_listeners || on_routes
    }

    /// The position of the pool called `name`.
    pub fn pool_index(&self, name: &str) -> Option<PoolIndex> {
        self.pools.iter().position(|pool| pool.name == name)
    }
}
