//! What a filter sees.

use std::net::{IpAddr, SocketAddr};

use super::{Changes, Edited};
use crate::rng::Rng;
use crate::route::Asked;
use crate::secured::Secured;
use crate::template::Values;
use crate::time::Now;

/// A request's head, with what filters have made of it.
pub struct RequestView<'v> {
    /// What the client asks for, as it came.
    pub asked: &'v Asked<'v>,
    /// What has been changed, and may be changed further.
    pub changes: &'v mut Changes,
    /// What the route's match took of the path: its prefix, or the whole path; empty before there is a route.
    pub prefix: &'v str,
}

impl RequestView<'_> {
    /// The path as it stands now.
    pub fn path(&self) -> &str {
        self.changes.path.as_deref().unwrap_or(&self.asked.path)
    }

    /// The fields as they stand now.
    pub fn fields(&self) -> Edited<'_> {
        Edited {
            fields: self.asked.fields,
            edits: &self.changes.request,
        }
    }
}

/// What a filter may depend on besides the head.
pub struct FilterCx<'c> {
    /// The time.
    pub now: Now,
    /// Randomness.
    pub rng: &'c mut Rng,
    /// The client.
    pub client: IpAddr,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// The request's id.
    pub request_id: &'c str,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// What is known of the client's TLS, when it speaks it with us.
    pub tls: Option<&'c Secured>,
    /// The route's name; empty before there is one.
    pub route: &'c str,
    /// The pool's name; empty when there is none.
    pub pool: &'c str,
    /// The filter is on trial: what it would refuse goes on.
    pub dry_run: bool,
    /// Somebody asks what would be done: nothing is counted.
    pub is_question: bool,
    /// Where what is done is said, if it is recorded.
    pub said: Option<&'c mut String>,
}

impl FilterCx<'_> {
    /// What placeholders stand for.
    pub fn values<'v>(&'v self, head: &'v RequestView<'_>, fields: &'v Edited<'_>) -> Values<'v> {
        Values {
            asked: head.asked,
            fields,
            client: self.client,
            peer: self.peer,
            request_id: self.request_id,
            scheme: self.scheme,
            tls: self.tls,
            route: self.route,
            pool: self.pool,
        }
    }

    /// Says what is done, where that is recorded.
    pub fn say(&mut self, words: impl FnOnce() -> String) {
        if let Some(said) = &mut self.said {
            if !said.is_empty() {
                said.push_str("; ");
            }
            said.push_str(&words());
        }
    }
}
