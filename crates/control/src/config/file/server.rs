//! `[server]`, `[admin]` and `[log]`.

use std::net::SocketAddr;

use plimsoll_core::document::{Decode, Faults, Json, Located, Node, expect_text, nearest};
use plimsoll_core::network::Network;
use plimsoll_core::{document, words};
use serde_json::json;

use super::address::BindAddress;
use super::route::PartPercent;
use super::values::{Pause, Positive, Timeout, Tried, Within};

/// The most worker threads. No host that we know of has more cores.
const WORKERS_MAX: u32 = 1_024;

document! {
    /// What holds for the whole node.
    pub(in super::super) struct Server {
        /// Threads that carry traffic; "auto" is one a core.
        pub(in super::super) workers: Workers = Workers(None),
        /// Where this node stands, for zone-aware pools.
        pub(in super::super) zone: Option<String>,
        /// How long readyz and health paths say that the node drains before listeners are closed at shutdown, so that
        /// whoever balances in front stops sending; at once unless set.
        pub(in super::super) drain_delay: Option<Pause>,
        /// How long work in flight may go on at shutdown, and that of backends that drain: 30s unless set.
        pub(in super::super) drain_timeout: Option<Pause>,
        /// Client connections over all listeners: 100000 unless set, and never more than the descriptor limit allows.
        pub(in super::super) max_connections: Positive = Within(100_000),
        /// How late a worker may be to look at what has come before it refuses a part of the requests with 503 overloaded:
        /// "50ms". Nothing is refused unless set.
        pub(in super::super) shed_after: Option<Timeout>,
        /// Networks whose forwarded headers are believed.
        pub(in super::super) trusted_proxies: Vec<Located<Network>>,
        /// Files with secrets that sign sticky cookies: the first signs, all verify. The same on every node.
        pub(in super::super) secret_files: Vec<Located<String>>,
        /// Whether our own replies say why in x-plimsoll-reason.
        pub(in super::super) expose_reason: bool = true,
        /// Whether this file and those that it includes are watched, and read again when they change.
        pub(in super::super) watch: bool = false,
        /// Whom the process becomes once its sockets are bound: "nobody", "web:web", or numbers. Of root's privileges it
        /// keeps those that what is configured needs.
        pub(in super::super) user: Option<Located<String>>,
    }
}

document! {
    /// The admin API: status, metrics, and changes to the running process.
    pub(in super::super) struct Admin {
        /// Where it listens; "off" for nowhere.
        pub(in super::super) bind: Tried<AdminBind> =
            Tried::absent(AdminBind::Address(SocketAddr::from(([127, 0, 0, 1], 9900)))),
        /// The file with the token that callers show. Required when bind is neither loopback nor a unix socket.
        pub(in super::super) token_file: Option<Tried<String>>,
        /// The file with the token of callers who only read.
        pub(in super::super) read_token_file: Option<Tried<String>>,
        /// Where /metrics, /healthz and /readyz alone are served.
        pub(in super::super) metrics_bind: Option<Located<BindAddress>>,
    }
}

document! {
    /// What is logged, and where.
    pub(in super::super) struct Log {
        /// The least severity that is written.
        pub(in super::super) level: Level = Level::Info,
        /// Where finished requests and connections are written: "off", "stdout", "syslog", "syslog:ADDRESS", or a file.
        pub(in super::super) access: Located<AccessTarget> = Located {
            value: AccessTarget::Off,
            span: plimsoll_core::document::Span::default(),
        },
        /// How they are written.
        pub(in super::super) format: LogFormat = LogFormat::Json,
        /// How many of a hundred are written of those that went well; all of them unless set. What failed always is.
        pub(in super::super) sample_percent: Option<PartPercent>,
    }
}

words! {
    /// How much is logged.
    pub(in super::super) enum Level {
        /// What failed.
        Error = "error",
        /// And what will hurt.
        Warn = "warn",
        /// And what changed.
        Info = "info",
        /// And how it was decided.
        Debug = "debug",
        /// And everything else, in a build for development.
        Trace = "trace",
    }
}

words! {
    /// How a line of the access log is written.
    pub(in super::super) enum LogFormat {
        /// One JSON object.
        Json = "json",
        /// Apache's combined format.
        Combined = "combined",
    }
}

/// Threads; `None` is one a core.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Workers(pub(in super::super) Option<u32>);

impl Decode for Workers {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        if node.integer().is_some() {
            return Within::<1, WORKERS_MAX>::decode(node, faults).map(|Within(number)| Workers(Some(number)));
        }
        let text = expect_text(node, "\"auto\" or a number", faults)?;
        if text != "auto" {
            faults
                .error(node.span, format!("\"{text}\" is not a number of workers"))
                .help("write \"auto\" for one a core, or a number without quotes");
            return None;
        }
        Some(Workers(None))
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "const": "auto" }, Within::<1, WORKERS_MAX>::schema()] })
    }
}

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum AdminBind {
    /// Nowhere.
    Off,
    /// On the network.
    Address(SocketAddr),
    /// On a unix socket.
    Socket(String),
}

impl AdminBind {
    /// Where on the network, if it is there.
    pub(in super::super) fn address(&self) -> Option<SocketAddr> {
        match self {
            AdminBind::Address(address) => Some(*address),
            AdminBind::Off | AdminBind::Socket(_) => None,
        }
    }

    /// On which unix socket, if it is on one.
    pub(in super::super) fn socket(&self) -> Option<&str> {
        match self {
            AdminBind::Socket(path) => Some(path),
            AdminBind::Off | AdminBind::Address(_) => None,
        }
    }
}

impl Decode for AdminBind {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "an address and a port, or \"off\"", &mut Faults::default());
        match text.map(|text| (text, text.strip_prefix("unix:"))) {
            Some(("off", _)) => Some(AdminBind::Off),
            Some((_, Some(""))) => {
                faults
                    .error(node.span, "a unix socket has a path")
                    .help("write it like \"unix:/run/plimsoll.sock\"");
                None
            }
            Some((_, Some(path))) => Some(AdminBind::Socket(path.to_owned())),
            _ => BindAddress::decode(node, faults).map(|BindAddress(address)| AdminBind::Address(address)),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["127.0.0.1:9900", "unix:/run/plimsoll.sock", "off"] })
    }
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum AccessTarget {
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// To a file.
    File(String),
    /// To syslog: this machine's, or the one at this address.
    Syslog(Option<SocketAddr>),
}

impl Decode for AccessTarget {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "\"off\", \"stdout\", \"syslog\" or a file", faults)?;
        Some(match text {
            "off" => AccessTarget::Off,
            "stdout" => AccessTarget::Stdout,
            "syslog" => AccessTarget::Syslog(None),
            _ if text.starts_with("syslog:") => {
                let Ok(address) = text["syslog:".len()..].parse() else {
                    faults
                        .error(node.span, format!("\"{text}\" names no address and port"))
                        .help("write it like \"syslog:10.0.0.9:514\", or \"syslog\" for this machine's");
                    return None;
                };
                AccessTarget::Syslog(Some(address))
            }
            // A bare word is a slip rather than a file.
            _ if !text.contains(['.', '/']) => {
                let fault = faults.error(node.span, format!("unknown word \"{text}\""));
                match nearest(text, ["off", "stdout", "syslog"]) {
                    Some(word) => fault.help(format!("did you mean \"{word}\"?")),
                    None => fault.help(format!(
                        "write \"off\", \"stdout\", \"syslog\", or a file like \"./{text}.log\""
                    )),
                };
                return None;
            }
            _ => AccessTarget::File(text.to_owned()),
        })
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["off", "stdout", "syslog", "syslog:10.0.0.9:514", "access.log"] })
    }
}
