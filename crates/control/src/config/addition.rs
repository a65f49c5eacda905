//! Additions: backends and routes that were made by the admin API, beside what the configuration says.
//!
//! Each is one entry of a list of the file, kept as it was written, and joins the file's tree before that is judged: the
//! same checks and the same words apply. One that does not fit what the file says is set aside alone, and comes back once
//! it fits.

use std::collections::BTreeMap;

use plimsoll_core::document::{Decode, Entry, Fault, Faults, Json, Node, Severity, Span, Value};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::file::{BackendEntry, Route};
use super::plan::Secrets;
use super::read::{self, Format, Tree};
use super::source::{Origins, Sources};
use super::{Files, Loaded, Refused, decode_json, finish, in_file_order};

/// The most additions of a process.
pub const ADDITIONS_MAX: usize = 4_096;

/// The most bytes of all of them: they go through the handover, which has a limit of its own.
pub const ADDITIONS_BYTES_MAX: usize = 4 << 20;

/// What a text is called that came over the network.
pub(super) const BODY: &str = "the body";

/// A backend or a route that was made by the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addition {
    /// What it is.
    pub(crate) what: What,
    /// As it was written: JSON, as one entry of the list in the file.
    pub(crate) text: String,
    /// Whether it drains, to be removed then.
    #[serde(default)]
    pub(crate) leaving: bool,
    /// Why it is set aside, if it is.
    #[serde(default)]
    pub(crate) set_aside: Option<String>,
}

/// What an addition is, and what it is told by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// A backend: its pool, and its address there.
    Backend {
        /// The pool's name.
        pool: String,
        /// The address and port.
        address: std::net::SocketAddr,
    },
    /// The route of this name.
    Route {
        /// The route's name.
        name: String,
    },
}

impl std::fmt::Display for What {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Backend { pool, address } => write!(out, "the backend {pool}/{address}"),
            What::Route { name } => write!(out, "the route {name}"),
        }
    }
}

impl Addition {
    /// A backend of `pool`, as `text` says.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(crate) fn backend(pool: &str, text: String) -> Result<Self, Refused> {
        let BackendEntry(backend) = decode_json(text.clone())?;
        let (pool, address) = (pool.to_owned(), backend.address.value.0);
        Ok(Addition::new(What::Backend { pool, address }, text))
    }

    /// A route, as `text` says.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(crate) fn route(text: String) -> Result<Self, Refused> {
        let route: Route = decode_json(text.clone())?;
        match route.name {
            Some(name) => Ok(Addition::new(What::Route { name: name.value.0 }, text)),
            None => Err(unnamed(text)),
        }
    }

    fn new(what: What, text: String) -> Self {
        Addition {
            what,
            text,
            leaving: false,
            set_aside: None,
        }
    }
}

/// The JSON Schema of a backend's text.
pub(crate) fn backend_schema() -> Json {
    BackendEntry::schema()
}

/// The JSON Schema of a route's text.
pub(crate) fn route_schema() -> Json {
    let mut schema = Route::schema();
    schema["required"] = json!(["name"]);
    schema
}

/// By its place in the file a route is called when it has no name, and here is no file.
fn unnamed(text: String) -> Refused {
    let mut sources = Sources::default();
    let mut faults = Faults::default();
    let file = sources.add(BODY.into(), None, text);
    let start = Span { file, start: 0, end: 1 };
    faults
        .error(start, "a route that is made by the API needs a name")
        .help("add \"name\": \"…\"");
    Refused {
        faults: faults.list,
        sources,
    }
}

/// What a configuration was read from, to which additions may join.
#[derive(Clone, Debug)]
pub struct Base {
    root: Node,
    sources: Sources,
}

impl Base {
    /// Where it comes from.
    pub fn origins(&self) -> Origins {
        self.sources.origins()
    }
}

impl Loaded {
    /// What it was read from.
    pub fn base(&self) -> Base {
        Base {
            root: self.root.clone(),
            sources: self.sources.clone(),
        }
    }

    /// The same with `additions`, as far as they fit; of those that do not, it is noted why.
    pub fn with(mut self, additions: &mut [Addition]) -> Self {
        if !additions.is_empty() {
            let secrets = self.plan.secrets.clone();
            if let Ok(joined) = join_fitting(&self.base(), additions, &secrets) {
                self.plan = joined.plan;
            }
        }
        self
    }
}

/// The configuration of `base` with all `additions` but those that are set aside. No file is looked at: additions name
/// none.
///
/// # Errors
/// What does not fit.
pub(crate) fn join_all(base: &Base, additions: &[Addition], secrets: Secrets) -> Result<Loaded, Refused> {
    let joined: Vec<&Addition> = additions
        .iter()
        .filter(|addition| addition.set_aside.is_none())
        .collect();
    join(base, &joined, secrets)
}

/// The configuration of `base` with those of `additions` that fit it; of the others it is noted why.
///
/// # Errors
/// The base does not stand by itself.
pub(crate) fn join_fitting(base: &Base, additions: &mut [Addition], secrets: &Secrets) -> Result<Loaded, Refused> {
    additions.iter_mut().for_each(|addition| addition.set_aside = None);
    loop {
        let places: Vec<usize> = (0..additions.len())
            .filter(|at| additions[*at].set_aside.is_none())
            .collect();
        let joined: Vec<&Addition> = places.iter().map(|at| &additions[*at]).collect();
        let refused = match join(base, &joined, secrets.clone()) {
            Ok(loaded) => return Ok(loaded),
            Err(refused) if places.is_empty() => return Err(refused),
            Err(refused) => refused,
        };
        let mut faulty = at_fault(&refused);
        if faulty.is_empty() {
            // What is wrong shows elsewhere: the newest goes first.
            let why = refused.faults.first().map_or_else(String::new, told);
            faulty.insert(places.len() - 1, why);
        }
        for (place, why) in faulty {
            additions[places[place]].set_aside = Some(why);
        }
    }
}

/// The additions that faults point at, by their places among those that were joined, with the first fault of each.
fn at_fault(refused: &Refused) -> BTreeMap<usize, String> {
    let mut faulty = BTreeMap::new();
    let errors = refused.faults.iter().filter(|fault| fault.severity == Severity::Error);
    for fault in errors {
        let also = fault.also.as_ref().map(|(span, _)| *span);
        let places = [Some(fault.span), also].into_iter().flatten();
        if let Some(place) = places.filter_map(|span| refused.sources.addition(span)).next() {
            faulty.entry(place).or_insert_with(|| told(fault));
        }
    }
    faulty
}

fn told(fault: &Fault) -> String {
    match &fault.help {
        Some(help) => format!("{} ({help})", fault.message),
        None => fault.message.clone(),
    }
}

fn join(base: &Base, additions: &[&Addition], secrets: Secrets) -> Result<Loaded, Refused> {
    let Base { mut root, mut sources } = base.clone();
    let mut faults = Faults::default();
    sources.begin_additions();
    for addition in additions {
        let file = sources.add(BODY.into(), None, addition.text.clone());
        if let Some(node) = read::parse(Format::Json, file, &sources, &|_| None, &mut faults) {
            add(&mut root, &addition.what, node, &mut faults);
        }
    }
    let tree = Tree { root, complete: true };
    let mut loaded = finish(Some(tree), sources, faults, Files::Untouched)?;
    let mut faults = Faults::default();
    for span in loaded.sources.names_files() {
        if loaded.sources.addition(span).is_some() {
            faults
                .error(
                    span,
                    "files and programs are named by the configuration's own file alone, never over the network",
                )
                .help("write it into the file, and reload");
        }
    }
    if faults.has_errors() {
        faults.forget_repeated();
        return Err(Refused {
            faults: in_file_order(faults),
            sources: loaded.sources,
        });
    }
    loaded.plan.secrets = secrets;
    Ok(loaded)
}

/// Puts `node` where it would stand in the file.
fn add(root: &mut Node, what: &What, node: Node, faults: &mut Faults) {
    let span = node.span;
    let list = match what {
        What::Route { .. } => list_under(root, "routes", span),
        What::Backend { pool, .. } => {
            let pools = root.field_mut("pools");
            let Some(pool) = pools.and_then(|pools| pools.field_mut(pool)) else {
                faults.error(span, format!("there is no pool \"{pool}\""));
                return;
            };
            list_under(pool, "backends", span)
        }
    };
    match list {
        Some(list) => list.push(node),
        None => {
            faults.error(span, "there is nothing that it could be added to");
        }
    }
}

/// The list under `key` of `table`, which is made when there is none.
fn list_under<'n>(table: &'n mut Node, key: &str, span: Span) -> Option<&'n mut Vec<Node>> {
    if table.field(key).is_none()
        && let Value::Table(entries) = &mut table.value
    {
        entries.push(Entry {
            key: key.to_owned(),
            key_span: span,
            node: Node {
                span,
                value: Value::Array(Vec::new()),
            },
        });
    }
    let node = table.field_mut(key)?;
    // One that stands alone is a list of one, where the file allows that.
    if !matches!(node.value, Value::Array(_)) {
        let one = node.clone();
        node.value = Value::Array(vec![one]);
    }
    match &mut node.value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}
