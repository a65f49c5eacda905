//! Configuration: from the files that users write to a [`Plan`].
//!
//! In this order, each step with every fault that it finds: [`read`] makes one tree of the files, [`mod@file`] decodes it,
//! [`check`] judges what concerns several places, [`compile`] resolves names and fills in defaults. Nothing that a
//! configuration holds can make us panic.

mod addition;
mod check;
mod compile;
mod file;
mod plan;
mod read;
pub mod render;
mod schema;
mod source;
#[cfg(test)]
mod tests;

use std::path::Path;

use plimsoll_core::document::{Decode, Fault, Faults, Node};

pub use addition::{ADDITIONS_BYTES_MAX, ADDITIONS_MAX, Addition, Base};
pub(crate) use addition::{What, backend_schema, join_all, join_fitting, route_schema};
pub use plan::{
    AccessLog, AcmePlan, AdminPlan, BackendPlan, BindingPlan, BodyCheck, Challenge, CheckKind, CheckPlan, ClientsPlan,
    FieldSource, GrpcCheck, HttpCheck, HttpPlan, ListenerPlan, LogPlan, Origin, OriginationPlan, OutlierPlan, PagePlan,
    PageSource, PairFiles, PassthroughPlan, Plan, PoolPlan, Program, RouteIndex, RoutePlan, Secrets, ServicePlan,
    TlsPlan, TracingPlan,
};
pub use read::{Environment, Format};
pub use schema::schema;
pub use source::{FILE_BYTES_MAX, Origins, Position, Source, Sources};

use file::File;
pub(crate) use file::{Part, WEIGHT_MAX};
use read::Tree;

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub plan: Plan,
    /// What will hurt; `check --strict` fails for it.
    pub warnings: Vec<Fault>,
    /// The files that it was read from; their paths are those to watch.
    pub sources: Sources,
    /// What was read of them, before anything is inherited.
    root: Node,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} faults", faults.len())]
pub struct Refused {
    /// All that is wrong, in the order of the files.
    pub faults: Vec<Fault>,
    /// The files, as far as they could be read.
    pub sources: Sources,
}

/// Reads the configuration at `path` and the files that it includes; `environment` says what variables hold.
///
/// # Errors
/// Everything that is wrong, with its places.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Loaded, Refused> {
    let mut sources = Sources::default();
    let mut faults = Faults::default();
    let tree = read::read_file(path, environment, &mut sources, &mut faults);
    finish(tree, sources, faults, Files::Judged)
}

/// Reads one text that is no file: it includes nothing, and its variables are all unset.
///
/// # Errors
/// As [`load`].
pub fn parse_text(name: &str, format: Format, text: &str) -> Result<Loaded, Refused> {
    let mut sources = Sources::default();
    let mut faults = Faults::default();
    let file = sources.add(name.to_owned(), None, text.to_owned());
    let tree = if text.len() as u64 > FILE_BYTES_MAX {
        faults.error(Default::default(), "the text is too large");
        None
    } else {
        read::parse(format, file, &sources, &|_| None, &mut faults)
    };
    if let Some(include) = tree.as_ref().and_then(|tree| tree.field("include")) {
        faults.error(include.span, "only a file can include others");
    }
    let tree = tree.map(|root| Tree { root, complete: true });
    finish(tree, sources, faults, Files::Judged)
}

/// Reads one text that came over the network. It includes nothing, its variables are all unset, and it names no file and no
/// program: those come from the files of this machine alone.
///
/// # Errors
/// As [`load`].
pub(crate) fn parse_foreign(format: Format, text: &str) -> Result<Loaded, Refused> {
    let loaded = parse_text(addition::BODY, format, text)?;
    let mut faults = Faults::default();
    for span in loaded.sources.names_files() {
        faults
            .error(
                span,
                "files and programs are named by the configuration's own file alone, never over the network",
            )
            .help("write it into the file, and reload");
    }
    if !faults.has_errors() {
        return Ok(loaded);
    }
    faults.forget_repeated();
    Err(Refused {
        faults: in_file_order(faults),
        sources: loaded.sources,
    })
}

/// Reads one JSON text that came over the network: variables in it are refused like unset ones.
///
/// # Errors
/// As [`load`].
pub(crate) fn decode_json<T: Decode>(text: String) -> Result<T, Refused> {
    let mut sources = Sources::default();
    let mut faults = Faults::default();
    let file = sources.add(addition::BODY.into(), None, text);
    let tree = read::parse(Format::Json, file, &sources, &|_| None, &mut faults);
    match tree.and_then(|tree| T::decode(&tree, &mut faults)) {
        Some(value) if !faults.has_errors() => Ok(value),
        _ => Err(Refused {
            faults: in_file_order(faults),
            sources,
        }),
    }
}

/// What is done about the files that a configuration names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Files {
    /// It is judged whether they can be used.
    Judged,
    /// Nothing: they were judged before.
    Untouched,
}

fn finish(tree: Option<Tree>, sources: Sources, mut faults: Faults, files: Files) -> Result<Loaded, Refused> {
    let complete = tree.as_ref().is_some_and(|tree| tree.complete);
    let root = tree.as_ref().map(|tree| tree.root.clone());
    let file = tree.and_then(|mut tree| {
        file::inherit(&mut tree.root);
        let file = File::decode(&tree.root, &mut faults);
        // What is wrong with a default is wrong wherever it is inherited.
        faults.forget_repeated();
        file
    });
    let mut secrets = Secrets::default();
    if let Some(file) = &file {
        check::check(file, complete, &mut faults);
        if files == Files::Judged {
            secrets = check::check_files(file, &sources, &mut faults);
        }
    }
    match file.zip(root) {
        Some((file, root)) if !faults.has_errors() => {
            let mut plan = compile::compile(&file, &sources);
            plan.secrets = secrets;
            check::warn(&file, &plan, &mut faults);
            Ok(Loaded {
                plan,
                warnings: in_file_order(faults),
                sources,
                root,
            })
        }
        _ => Err(Refused {
            faults: in_file_order(faults),
            sources,
        }),
    }
}

fn in_file_order(faults: Faults) -> Vec<Fault> {
    let mut list = faults.list;
    list.sort_by_key(|fault| (fault.span.file, fault.span.start, fault.span.end));
    list
}
