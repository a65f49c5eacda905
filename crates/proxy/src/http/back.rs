//! What an answer brings back to its client besides what its backend says: the cookie of a sticky session.

use std::time::SystemTime;

use plimsoll_core::filter::Edits;
use plimsoll_core::pool::Lease;
use plimsoll_core::sticky::{Sticky, Tie};
use plimsoll_http::h1::ResponseHead;

use super::forward::Forward;
use super::route::Request;

/// What is kept of a request for the sake of its answer.
#[derive(Default)]
pub(crate) struct Back {
    /// Its sticky session, when the pool has those.
    pub(crate) tie: Option<Tie>,
    /// The client's connection is secret.
    pub(crate) https: bool,
}

impl Request {
    /// What it says of its sticky session.
    pub(super) fn tie(&self) -> Option<&Tie> {
        self.back.as_ref()?.tie.as_ref()
    }
}

impl Forward<'_> {
    /// What becomes of the fields of the answer with this head, of `lease`'s backend; `None` when it is what filters
    /// want of them.
    pub(super) fn bring_back(&self, head: &ResponseHead<'_>, lease: &Lease) -> Option<Edits> {
        let back = self.request.back.as_deref()?;
        let cookie = match (self.pool.sticky(), &back.tie) {
            (Some(sticky), Some(tie)) => self.tie_up(sticky, tie, head, (lease, back.https)),
            _ => None,
        };
        let cookie = cookie?;
        let mut edits = self
            .request
            .changes
            .as_ref()
            .map_or_else(Edits::default, |changes| changes.answer.clone());
        edits.add("set-cookie", cookie.as_bytes());
        Some(edits)
    }

    /// The cookie that the client gets; an application's own is learnt.
    fn tie_up(
        &self,
        sticky: &Sticky,
        tie: &Tie,
        head: &ResponseHead<'_>,
        (lease, https): (&Lease, bool),
    ) -> Option<String> {
        if sticky.is_by_cookie() {
            return sticky.set_cookie(tie, lease, https, wall());
        }
        for field in head
            .fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case("set-cookie"))
        {
            sticky.learn_from(field.value, lease.backend().id, self.worker.now());
        }
        None
    }
}

/// Seconds since 1970: cookies outlive the process.
pub(crate) fn wall() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}
