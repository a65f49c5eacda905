//! What an answer brings back to its client besides what its backend says, or otherwise than that says it: the cookie of
//! a sticky session, and hosts and paths as the client knows them.

use std::net::SocketAddr;
use std::time::SystemTime;

use plimsoll_core::filter::{Edited, Edits, Visitor};
use plimsoll_core::pool::Lease;
use plimsoll_core::reversal::{HostSent, Reversal, Rewritten};
use plimsoll_core::route::{Asked, Fields};
use plimsoll_core::snapshot::PoolIndex;
use plimsoll_core::sticky::{Sticky, Tie};
use plimsoll_http::h1::{RequestHead, ResponseHead};

use super::forward::Forward;
use super::route::{Arrived, Request};

/// What is kept of a request for the sake of its answer.
#[derive(Default)]
pub(crate) struct Back {
    /// Its sticky session, when the pool has those.
    pub(crate) tie: Option<Tie>,
    /// The client's connection is secret.
    pub(crate) https: bool,
    /// What is turned back, when host or path were changed on the way.
    pub(crate) reversal: Option<Reversal>,
}

impl Back {
    /// What is kept of a request that goes to the pool at `pool`, under the Host and with the path that `turned` says;
    /// `None` when that is nothing.
    pub(super) fn of(
        arrived: &Arrived<'_>,
        (head, edited): (&RequestHead<'_>, &Edited<'_>),
        (asked, visitor): (&Asked<'_>, Visitor<'_>),
        turned: (&HostSent, &Rewritten),
        pool: PoolIndex,
    ) -> Option<Box<Self>> {
        let tie = tied(arrived, (head, edited), visitor, pool);
        if tie.is_none() && turned == (&HostSent::Keep, &Rewritten::No) {
            return None;
        }
        let https = is_https(arrived, head, visitor);
        let scheme = if https { "https" } else { "http" };
        let reversal = Reversal::of(scheme, asked.authority.as_ref(), turned.0, turned.1);
        let is_needed = tie.is_some() || reversal.is_some();
        is_needed.then(|| Box::new(Back { tie, https, reversal }))
    }
}

/// What ties a request to a backend of the pool at `pool`, when that keeps sessions.
fn tied(
    arrived: &Arrived<'_>,
    (head, edited): (&RequestHead<'_>, &Edited<'_>),
    visitor: Visitor<'_>,
    pool: PoolIndex,
) -> Option<Tie> {
    let sticky = arrived.pinned.snapshot.pools[pool].sticky()?;
    // Our cookie is the client's and ours, whatever filters let through to the backend.
    let fields: &dyn Fields = if sticky.is_by_cookie() { head } else { edited };
    let mut rng = arrived.client.worker.rng.borrow_mut();
    Some(sticky.tie(fields, visitor.client, (visitor.wall)(), &mut rng))
}

/// Whether the client's connection is secret, as far as is known.
fn is_https(arrived: &Arrived<'_>, head: &RequestHead<'_>, visitor: Visitor<'_>) -> bool {
    let trusted = arrived.pinned.snapshot.node.trusts(arrived.client.peer.ip());
    let forwarded = head.first("x-forwarded-proto").filter(|_| trusted);
    forwarded
        .unwrap_or(visitor.scheme.as_bytes())
        .eq_ignore_ascii_case(b"https")
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
        let address = lease.backend().address;
        let turned = (back.reversal.as_ref()).map(|reversal| turned_back(reversal, head, address));
        let turned = turned.filter(|edits| !edits.is_empty());
        if cookie.is_none() && turned.is_none() {
            return None;
        }
        let mut edits = turned.unwrap_or_default();
        if let Some(changes) = &self.request.changes {
            edits.follow(&changes.answer);
        }
        if let Some(cookie) = cookie {
            edits.add("set-cookie", cookie.as_bytes());
        }
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

/// The fields of a head that name hosts and paths, as the client knows those.
fn turned_back(reversal: &Reversal, head: &ResponseHead<'_>, backend: SocketAddr) -> Edits {
    let mut edits = Edits::default();
    for name in ["location", "content-location", "refresh", "set-cookie"] {
        let turn = |value: &[u8]| match name {
            "set-cookie" => reversal.set_cookie(value, backend),
            "refresh" => reversal.refresh(value, backend).map(String::into_bytes),
            _ => reversal.url(value, backend).map(String::into_bytes),
        };
        let fields = head.fields.iter();
        let values: Vec<&[u8]> = fields
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
            .collect();
        if values.iter().any(|value| turn(value).is_some()) {
            edits.remove(name);
            for value in values {
                edits.add(name, turn(value).as_deref().unwrap_or(value));
            }
        }
    }
    edits
}

/// Seconds since 1970: cookies outlive the process.
pub(crate) fn wall() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}
