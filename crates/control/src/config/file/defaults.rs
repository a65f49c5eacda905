//! `[defaults]`: what listeners, routes and pools inherit where they say nothing.
//!
//! What is inherited is put into each table before any is read, so that it is judged where it is used, and by the same
//! rules.

use plimsoll_core::document::{
    Decode, Entry, Faults, Json, JsonMap, Node, Value, expect_table, refuse_unknown, table_schema,
};

use super::listener::{HTTP_ONLY, Listener, ListenerTimeouts};
use super::pool::{Pool, PoolTimeouts};
use super::route::Route;

/// A kind of table that inherits.
struct Heir {
    /// Its keys, and those that are not built yet.
    keys: &'static [&'static str],
    later: &'static [&'static str],
    /// Keys that are each table's own.
    own: &'static [&'static str],
    /// The keys of its `timeouts`.
    timeouts: &'static [&'static str],
}

const LISTENER: Heir = Heir {
    keys: Listener::KEYS,
    later: Listener::LATER,
    own: &["bind", "error_pages", "filters", "pool", "protocol", "tls"],
    timeouts: ListenerTimeouts::KEYS,
};

const ROUTE: Heir = Heir {
    keys: Route::KEYS,
    later: Route::LATER,
    own: &[
        "dry_run",
        "error_pages",
        "listeners",
        "maintenance",
        "match",
        "mirror",
        "name",
        "pool",
        "redirect",
        "respond",
        "split",
    ],
    timeouts: &[],
};

const POOL: Heir = Heir {
    keys: Pool::KEYS,
    later: Pool::LATER,
    own: &["backends", "discover", "fallback", "tls"],
    timeouts: PoolTimeouts::KEYS,
};

/// What is no http, and the phases of a connection that it has.
const LAYER_4: [(&str, &[&str]); 2] = [("tcp", &["idle"]), ("tls", &["idle", "request_header"])];

/// Those of tcp where TLS ends: its handshake takes its time, too.
const TCP_IN_TLS: &[&str] = &["idle", "request_header"];

/// Tables of which a default fills in what is missing, instead of standing for the whole.
const FILLED: [&str; 6] = ["hedge", "limits", "outlier", "retry", "retry_budget", "timeouts"];

impl Heir {
    fn inherits(&self, key: &str) -> bool {
        self.keys.contains(&key) && !self.own.contains(&key)
    }

    fn words<'h>(&'h self, of: &'h [&'static str]) -> impl Iterator<Item = &'static str> + 'h {
        of.iter().copied().filter(|key| !self.own.contains(key))
    }

    /// Puts what `table` does not say itself into it.
    fn fill(&self, table: &mut Node, defaults: &[Entry]) {
        let spoken = word(table.field("protocol")).and_then(|spoken| LAYER_4.iter().find(|(word, _)| *word == spoken));
        let phases = spoken.map(|(word, phases)| match *word {
            "tcp" if table.field("tls").is_some() => TCP_IN_TLS,
            _ => *phases,
        });
        let Value::Table(entries) = &mut table.value else {
            return;
        };
        for default in defaults.iter().filter(|default| self.inherits(&default.key)) {
            if phases.is_some() && HTTP_ONLY.contains(&&*default.key) {
                continue;
            }
            let default = self.fit(default, phases);
            match entries.iter_mut().find(|entry| entry.key == default.key) {
                None => entries.push(default),
                Some(own) if FILLED.contains(&&*default.key) => add_missing(&mut own.node, default.node),
                Some(_) => {}
            }
        }
    }

    /// The part of a default that this kind of table knows: `timeouts` has keys for listeners and for pools.
    fn fit(&self, default: &Entry, phases: Option<&[&str]>) -> Entry {
        let mut default = default.clone();
        if let ("timeouts", Value::Table(parts)) = (&*default.key, &mut default.node.value) {
            let of_phase = |key: &str| phases.is_none_or(|phases| phases.contains(&key));
            parts.retain(|part| self.timeouts.contains(&&*part.key) && of_phase(&part.key));
        }
        default
    }
}

/// The text that a value is.
fn word(node: Option<&Node>) -> Option<&str> {
    match node {
        Some(Node {
            value: Value::Text(word),
            ..
        }) => Some(word),
        _ => None,
    }
}

/// Whether a route names a listener that passes TLS through: there is nothing that it could inherit.
fn is_of_connections(route: &Node, passed: &[String]) -> bool {
    let is_passed = |node: &Node| word(Some(node)).is_some_and(|name| passed.iter().any(|passed| passed == name));
    match route.field("listeners") {
        Some(Node {
            value: Value::Array(names),
            ..
        }) => names.iter().any(is_passed),
        Some(name) => is_passed(name),
        None => false,
    }
}

/// The names of the listeners that pass TLS through.
fn passed_through(root: &Node) -> Vec<String> {
    let Some(Node {
        value: Value::Table(listeners),
        ..
    }) = root.field("listeners")
    else {
        return Vec::new();
    };
    let passed = listeners
        .iter()
        .filter(|entry| word(entry.node.field("protocol")) == Some("tls"));
    passed.map(|entry| entry.key.clone()).collect()
}

fn add_missing(own: &mut Node, default: Node) {
    let (Value::Table(own), Value::Table(parts)) = (&mut own.value, default.value) else {
        return;
    };
    let missing: Vec<Entry> = parts
        .into_iter()
        .filter(|part| !own.iter().any(|entry| entry.key == part.key))
        .collect();
    own.extend(missing);
}

/// Puts the defaults of the document `root` into each listener, route and pool.
pub(in super::super) fn inherit(root: &mut Node) {
    let Some(Node {
        value: Value::Table(defaults),
        ..
    }) = root.field("defaults").cloned()
    else {
        return;
    };
    let passed = passed_through(root);
    let Value::Table(entries) = &mut root.value else {
        return;
    };
    for entry in entries {
        let heir = match entry.key.as_str() {
            "listeners" => &LISTENER,
            "routes" => &ROUTE,
            "pools" => &POOL,
            _ => continue,
        };
        match &mut entry.node.value {
            Value::Table(named) => named.iter_mut().for_each(|table| heir.fill(&mut table.node, &defaults)),
            Value::Array(listed) => {
                let of_requests = listed.iter_mut().filter(|route| !is_of_connections(route, &passed));
                of_requests.for_each(|table| heir.fill(table, &defaults));
            }
            _ => {}
        }
    }
}

/// The table itself, whose keys are known.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Defaults;

impl Decode for Defaults {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let entries = expect_table(node, "a table", faults)?;
        let heirs = [LISTENER, ROUTE, POOL];
        let known: Vec<&str> = heirs.iter().flat_map(|heir| heir.words(heir.keys)).collect();
        let later: Vec<&str> = heirs.iter().flat_map(|heir| heir.words(heir.later)).collect();
        refuse_unknown(entries, &known, &later, faults);
        if let Some(timeouts) = node.field("timeouts") {
            let parts = expect_table(timeouts, "a table", faults)?;
            let known: Vec<&str> = heirs.iter().flat_map(|heir| heir.timeouts).copied().collect();
            refuse_unknown(parts, &known, &[], faults);
        }
        Some(Defaults)
    }

    fn absent() -> Option<Self> {
        Some(Defaults)
    }

    fn schema() -> Json {
        let mut properties = JsonMap::new();
        let mut timeouts = JsonMap::new();
        for (heir, schema) in [
            (LISTENER, Listener::schema()),
            (ROUTE, Route::schema()),
            (POOL, Pool::schema()),
        ] {
            let own = schema["properties"].as_object().cloned().unwrap_or_default();
            for (key, schema) in own.into_iter().filter(|(key, _)| heir.inherits(key)) {
                if key == "timeouts" {
                    timeouts.extend(schema["properties"].as_object().cloned().unwrap_or_default());
                } else {
                    properties.insert(key, schema);
                }
            }
        }
        properties.insert("timeouts".into(), table_schema(timeouts, &[]));
        table_schema(
            properties,
            &["What listeners, routes and pools inherit where they say nothing."],
        )
    }
}
