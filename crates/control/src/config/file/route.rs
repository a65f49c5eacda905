//! `[[routes]]`.

use plimsoll_core::document::{Decode, Faults, Json, Located, Node, Value, expect_text, nearest};
use plimsoll_core::filter::{FieldMap, Redirect};
use plimsoll_core::reversal::HostSent;
use plimsoll_core::route::host::normalise;
use plimsoll_core::split::WEIGHT_MAX;
use plimsoll_core::template::Template;
use plimsoll_core::{document, words};
use serde_json::json;

use super::error_pages::ErrorPages;
use super::filter::FilterUse;
use super::limits::Priority;
use super::maintenance::MaintenanceEntry;
use super::matching::{Match, is_hostname};
use super::retry::{HedgeTable, RetryTable};
use super::values::{Many, Name, Timeout, Within};

/// The longest body of an answer of our own. We serve no files.
const BODY_BYTES_MAX: usize = 256 << 10;

document! {
    /// What is done with the requests that match.
    pub(in super::super) struct Route {
        /// Its name; "route-3" for the third one unless set.
        pub(in super::super) name: Option<Located<Name>>,
        /// The listeners that it holds for, all of http or all of tls; all http listeners unless set.
        pub(in super::super) listeners: Many<String> = Many::default(),
        /// What requests have to be like: one table, or a list of which any suffices. Any request unless set.
        pub(in super::super) r#match: Many<Match> = Many::default(),
        /// The longest that the whole request may take until the answer has begun; without an end unless set.
        pub(in super::super) timeout: Option<Located<Timeout>>,
        /// What may be retried.
        pub(in super::super) retry: RetryTable = RetryTable::default(),
        /// When a request is sent to a second backend though the first has not failed; never unless set.
        pub(in super::super) hedge: Option<Located<HedgeTable>>,
        /// What is done with a request before the action, in this order; a name stands for the chain of that name.
        pub(in super::super) filters: Vec<Located<FilterUse>>,
        /// Send to this pool. One of pool, split, redirect and respond is needed.
        pub(in super::super) pool: Option<Located<String>>,
        /// Send each request to one of these pools, by weight.
        pub(in super::super) split: Option<Located<Vec<Located<Part>>>>,
        /// Send the client elsewhere.
        pub(in super::super) redirect: Option<Located<Redirect>>,
        /// Answer ourselves.
        pub(in super::super) respond: Option<Located<Respond>>,
        /// Who else gets a copy of the requests that go to a pool; nobody reads the answers.
        pub(in super::super) mirror: Option<Located<Mirror>>,
        /// Protocols that a connection may change to: ["websocket"] unless set.
        pub(in super::super) upgrade: Option<Upgrades>,
        /// Who is served first when every backend is full, and shed last: "high", "normal", "low", or by a header.
        pub(in super::super) priority: Option<Priority>,
        /// The Host that is sent upstream: "keep" (the client's) unless set, "backend" (its address), or a name. Redirects and
        /// cookies that come back are turned back.
        pub(in super::super) host: UpstreamHost = UpstreamHost(HostSent::Keep),
        /// Whether it is closed for a time: true, or a table with what it says.
        pub(in super::super) maintenance: Option<MaintenanceEntry>,
        /// Bodies for the replies that we make ourselves.
        pub(in super::super) error_pages: ErrorPages,
    } later { "dry_run" }
}

/// The Host that is sent upstream.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct UpstreamHost(pub(in super::super) HostSent);

impl Decode for UpstreamHost {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "\"keep\", \"backend\", or a host's name", faults)?;
        let sent = match text {
            "keep" => HostSent::Keep,
            "backend" => HostSent::Backend,
            name => {
                let lower = name.to_ascii_lowercase();
                let known = normalise(lower.as_bytes()).ok().flatten();
                if !known.is_some_and(|authority| is_hostname(&authority.host)) {
                    faults
                        .error(node.span, format!("\"{}\" cannot be a host", text.escape_debug()))
                        .help("write \"keep\", \"backend\", or a name like \"api.internal\", with a port if need be");
                    return None;
                }
                if !lower.contains('.')
                    && let Some(word) = nearest(&lower, ["keep", "backend"])
                {
                    faults
                        .warning(
                            node.span,
                            format!("\"{}\" is sent as a host's name", text.escape_debug()),
                        )
                        .help(format!("did you mean \"{word}\"?"));
                }
                HostSent::Name(lower.into())
            }
        };
        Some(UpstreamHost(sent))
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["keep", "backend", "api.internal"] })
    }
}

document! {
    /// A pool that gets copies.
    pub(in super::super) struct Mirror {
        /// The pool.
        pub(in super::super) pool: Located<String>,
        /// How many of a hundred requests it gets: 100 unless set.
        pub(in super::super) percent: PartPercent = PartPercent(100.0),
    }
}

/// A part of a hundred, which may have a fraction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct PartPercent(pub(in super::super) f64);

impl Decode for PartPercent {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let number = f64::decode(node, faults)?;
        let fits = (0.0..=100.0).contains(&number);
        if !fits {
            faults.error(node.span, format!("{number} is out of range: 0 to 100"));
        }
        fits.then_some(PartPercent(number))
    }

    fn schema() -> Json {
        json!({ "type": "number", "minimum": 0, "maximum": 100 })
    }
}

document! {
    /// A pool's part of a split.
    pub(crate) struct Part {
        /// The pool.
        pub(crate) pool: Located<String>,
        /// Its part of the requests, relative to the others': 1 unless set, 0 for none.
        pub(crate) weight: Within<0, WEIGHT_MAX> = Within(1),
    }
}

/// The keys that say what is done; a route has one of them.
pub(in super::super) const ACTIONS: [&str; 4] = ["pool", "split", "redirect", "respond"];

words! {
    /// A protocol that a connection may change to.
    pub(in super::super) enum Upgrade {
        /// RFC 6455.
        WebSocket = "websocket",
    }
}

/// A list of protocols, which may be empty.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Upgrades(pub(in super::super) Vec<Upgrade>);

impl Decode for Upgrades {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.value {
            Value::Array(_) => Vec::decode(node, faults).map(Upgrades),
            _ => Upgrade::decode(node, faults).map(|one| Upgrades(vec![one])),
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [Upgrade::schema(), { "type": "array", "items": Upgrade::schema() }] })
    }
}

document! {
    /// An answer of our own.
    pub(in super::super) struct Respond {
        /// Its status: 200 unless set.
        pub(in super::super) status: Within<200, 599> = Within(200),
        /// Its body.
        pub(in super::super) body: Body = Body(Template::default()),
        /// Its header fields.
        pub(in super::super) headers: FieldMap<Template>,
    }
}

/// A body of our own.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Body(pub(in super::super) Template);

impl Decode for Body {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "text", faults)?;
        if text.len() > BODY_BYTES_MAX {
            faults.error(
                node.span,
                format!("the body is longer than {} KiB", BODY_BYTES_MAX >> 10),
            );
            return None;
        }
        Template::decode(node, faults).map(Body)
    }

    fn schema() -> Json {
        json!({ "type": "string", "maxLength": BODY_BYTES_MAX })
    }
}
