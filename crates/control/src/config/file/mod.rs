//! What users write: a struct for each table, from which the decoder and the JSON Schema are made.
//!
//! Keys under `later` belong to the contract and are not built yet. A type of [`values`], [`address`] or [`matching`]
//! refuses at once what no later check could accept; what concerns two places is left to `check`.

mod acme;
mod address;
mod connection;
mod defaults;
mod error_pages;
mod filter;
mod health;
mod http3;
mod limits;
mod listener;
mod maintenance;
mod matching;
mod outlier;
mod pool;
mod pool_tls;
mod retry;
mod route;
mod server;
mod sticky;
mod tls;
mod tracing;
mod values;

pub(super) use acme::{Acme, ChallengeWord, DOMAINS_MAX};
pub(super) use address::BackendAddress;
pub(super) use defaults::{Defaults, inherit};
pub(super) use error_pages::{ErrorPages, Page, PageText};
pub(super) use filter::{FilterChain, FilterUse};
pub(super) use health::{BodyPattern, Health, HealthTable, Initial};
pub(super) use limits::{Limit, Priority};
pub(super) use listener::{HTTP_ONLY, Listener, ListenerTimeouts, Protocol, ProxyProtocol};
pub(super) use maintenance::Maintenance;
pub(super) use matching::{Match, ValueRule};
pub(super) use outlier::{Compared, Latency, Outlier, OutlierTable, SuccessRate};
pub(crate) use pool::WEIGHT_MAX;
pub(super) use pool::{Backend, BackendEntry, OnUnhealthy, Pool, PoolTimeouts, SendProxy, UpstreamProtocol};
pub(super) use pool_tls::{PoolTls, PoolTlsTable};
pub(super) use retry::{BACKOFF_MAX, BackoffTable, RetryBudget, RetryOn, RetryTable};
pub(crate) use route::Part;
pub(super) use route::{ACTIONS, Mirror, Respond, Route, Upgrade};
pub(super) use server::{AccessTarget, Admin, AdminBind, Log, LogFormat, Server};
pub(super) use sticky::{SameSite, Sticky};
pub(super) use tls::{CertificateFiles, ClientAuth, SuiteName, Tls};
pub(super) use tracing::{FieldText, Follows, Tracing};
pub(super) use values::{Each, Item, Keyed, Many, Name, Named, Timeout, Tried};

use plimsoll_core::document;

document! {
    /// The configuration of Plimsoll.
    pub(super) struct File {
        /// Other files whose tables and lists join this one's: paths relative to this file, `*` and `?` in the last part.
        pub(super) include: Many<String> = Many::default(),
        /// What holds for the whole node.
        pub(super) server: Server = Server::default(),
        /// The admin API.
        pub(super) admin: Admin = Admin::default(),
        /// What is logged.
        pub(super) log: Log = Log::default(),
        /// Traces of requests, which are told to a collector by OTLP.
        pub(super) tracing: Option<Tracing>,
        /// What listeners, routes and pools inherit where they say nothing.
        pub(super) defaults: Defaults = Defaults,
        /// Where connections are accepted, by name.
        pub(super) listeners: Named<Listener>,
        /// Filters under names, for several routes or listeners.
        pub(super) filters: Named<FilterChain>,
        /// What is done with requests.
        pub(super) routes: Each<Route>,
        /// Bodies for the replies that we make ourselves, by reason, status or class; routes and listeners may have their own.
        pub(super) error_pages: ErrorPages,
        /// Groups of backends, by name.
        pub(super) pools: Named<Pool>,
    } later { "cluster" }
}

/// A table whose keys may all be left out.
macro_rules! default_is_the_empty_table {
    ($($name:ty),* $(,)?) => {$(
        impl Default for $name {
            fn default() -> Self {
                use plimsoll_core::document::{Decode, Faults, Node, Span, Value};
                let empty = Node { span: Span::default(), value: Value::Table(Vec::new()) };
                <$name>::decode(&empty, &mut Faults::default()).expect("every key of it may be left out")
            }
        }
    )*};
}

default_is_the_empty_table!(
    Admin,
    HealthTable,
    Latency,
    ListenerTimeouts,
    Log,
    Maintenance,
    Match,
    OutlierTable,
    limits::LearnedTable,
    limits::PoolLimits,
    PoolTimeouts,
    PoolTlsTable,
    RetryBudget,
    RetryTable,
    Server,
    SuccessRate,
);
