//! Filters: what may change a request's head, answer it, or say what its answer shall carry, before it goes on.
//!
//! A filter is a pure function. What takes time (a delay, a password's hash, a question to somebody else) it asks for
//! as an [`Errand`]; whoever runs the filters does it and comes back with the result.
//!
//! A new filter is a file here and a line in the list below: the list makes the module, the configuration and the match
//! that builds it.

mod authorization;
mod chain;
mod changes;
mod edits;
mod errand;
mod expression;
#[cfg(test)]
mod fixtures;
mod held;
mod key;
mod networks;
mod passage;
#[macro_use]
mod registry;
mod url;
mod view;

pub use ban::Watched;
pub use chain::{Chain, Ran};
pub use changes::Changes;
pub use compress::{Coding, Compression, Verdict};
pub use edits::{Chosen, Edited, Edits, FRAMING, FieldMap, FieldName, is_token};
pub use errand::{Algorithm, Answered, Ask, Done, Errand, Password, Secret, Signature};
pub use held::{Contents, FILE_BYTES_MAX, FileName, FileUse, Held, Slot, Wrong};
pub use jwt::Key;
pub use passage::{Decided, Progress, Visitor};
pub use redirect::Redirect;
pub use registry::FilterEntry;
pub use url::Url;
pub use view::{FilterCx, RequestView};

use std::any::Any;
use std::sync::Arc;

use crate::reply::Reply;

filters! {
    "headers" => headers::Headers,
    "rewrite" => rewrite::Rewrite,
    "redirect" => redirect::Redirect,
    "allow" => allow::Allow,
    "deny" => deny::Deny,
    "ban" => ban::Ban,
    "body-limit" => body_limit::BodyLimit,
    "concurrency-limit" => concurrency_limit::ConcurrencyLimit,
    "cors" => cors::Cors,
    "fault" => fault::Fault,
    "rate-limit" => rate_limit::RateLimit,
    "map" => map::Map,
    "basic-auth" => basic_auth::BasicAuth,
    "jwt" => jwt::Jwt,
    "forward-auth" => forward_auth::ForwardAuth,
    "compress" => compress::Compress,
}

/// What changes a request's head, or answers it.
pub trait Filter: Send + Sync {
    /// What becomes of the request.
    fn request(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow;

    /// What becomes of it once the errand that [`request`](Self::request) asked for has been done.
    fn resume(&self, _done: Done, _head: &mut RequestView<'_>, _cx: &mut FilterCx<'_>) -> Flow {
        Flow::Next
    }
}

/// A filter as configured.
pub trait FilterKind {
    /// Builds it. What it counts by comes from `keep`, and so lives through reloads.
    fn build(&self, keep: &mut dyn Keep) -> Box<dyn Filter>;

    /// The files that it names.
    fn files(&mut self) -> Vec<FileUse<'_>> {
        Vec::new()
    }

    /// The fields of requests that it vouches for: no untrusted client may set them, on any route.
    fn vouches(&self) -> Vec<&FieldName> {
        Vec::new()
    }
}

/// What lives longer than one generation of the configuration.
pub trait Keep {
    /// What keys are hashed with that clients choose: a number that none of them can know.
    fn seed(&self) -> u64;

    /// The state of the filter that is being built: what was kept of it, or else what `make` makes.
    fn state(&mut self, make: &mut dyn FnMut() -> Arc<dyn Any + Send + Sync>) -> Arc<dyn Any + Send + Sync>;

    /// Where the contents of `file` are: a slot of the kind of `fresh`, which is taken when there is none yet.
    fn file(&mut self, file: &FileName, fresh: Arc<dyn Slot>) -> Arc<dyn Slot>;
}

/// What a filter makes of a request.
#[derive(Debug)]
pub enum Flow {
    /// It goes on.
    Next,
    /// It is answered.
    Reply(Reply),
    /// It goes on, or not, once this has been done.
    Errand(Errand),
}
