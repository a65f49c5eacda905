//! `concurrency-limit`: so many requests under way at once for each key, and those beyond get 429.

use std::sync::Arc;

use super::key::Key;
use super::{Filter, FilterCx, FilterKind, Flow, Keep, RequestView};
use crate::document;
use crate::document::{Decode, Faults, Json, Node};
use crate::limit::{Counts, Room};
use crate::outcome::Reason;
use crate::reply::Reply;

document! {
    /// So many requests under way at once for each key; those beyond get 429 with the reason concurrency_limited. A
    /// request is under way from here until its answer has ended; a WebSocket, until it is closed.
    pub struct ConcurrencyLimit {
        /// What is counted by: "client-ip" (IPv6 by its /64), "header:NAME", "cookie:NAME", "query:NAME", "path",
        /// "host", a list of these that count together, or "all" for all requests together. "client-ip" unless set.
        key: Key = Key::client(),
        /// How many.
        limit: Limit,
    }
}

/// Requests that may be under way.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Limit(u32);

/// The limit as it serves.
struct Limiter {
    config: ConcurrencyLimit,
    counts: Arc<Counts>,
}

impl FilterKind for ConcurrencyLimit {
    fn build(&self, keep: &mut dyn Keep) -> Box<dyn Filter> {
        let seed = keep.seed();
        let kept = keep.state(&mut || Arc::new(Counts::new(seed)));
        Box::new(Limiter {
            config: self.clone(),
            counts: kept.downcast().unwrap_or_else(|_| Arc::new(Counts::new(seed))),
        })
    }
}

impl Filter for Limiter {
    fn request(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let ConcurrencyLimit {
            key,
            limit: Limit(limit),
        } = &self.config;
        let Some(hash) = key.hash(self.counts.seed(), head, cx) else {
            cx.say(|| format!("the request has no {key}, and is not limited"));
            return Flow::Next;
        };
        if cx.is_question {
            let under_way = self.counts.count(hash);
            cx.say(|| format!("{under_way} of {limit} under way for this {key}"));
            return if under_way < *limit { Flow::Next } else { refusal() };
        }
        match self.counts.hold(hash, *limit) {
            Room::Taken(held) => head.changes.held.push(held),
            Room::Full(_) => return refusal(),
            Room::Unknown => head.changes.crowded_out += 1,
        }
        Flow::Next
    }
}

fn refusal() -> Flow {
    Flow::Reply(Reply::reason(Reason::ConcurrencyLimited))
}

impl Decode for Limit {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let limit = u32::decode(node, faults)?;
        if limit == 0 {
            faults
                .error(node.span, "a limit of 0 lets nothing pass")
                .help("to refuse everybody, use `deny`");
        }
        (limit > 0).then_some(Limit(limit))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{KeepOne, Request, build};
    use super::*;

    #[test]
    fn requests_count_while_they_live_and_by_their_key() {
        let settings = json!({ "key": "header:x-tenant", "limit": 2 });
        let mut keep = KeepOne::default();
        let filter = build::<ConcurrencyLimit>(&settings, &mut keep);
        let of = |tenant| Request::get().with("x-tenant", tenant);
        let first = of("a").ask(&*filter);
        let second = of("a").ask(&*filter);
        let said = of("a").question(&*filter);
        assert_eq!(
            (said.status(), &*said.said),
            (429, "2 of 2 under way for this header:x-tenant")
        );
        assert_eq!(of("a").ask(&*filter).status(), 429);
        assert_eq!(
            (of("b").ask(&*filter).status(), Request::get().ask(&*filter).status()),
            (0, 0)
        );
        // The next generation of the filter counts on.
        let filter = build::<ConcurrencyLimit>(&settings, &mut keep);
        assert_eq!(of("a").ask(&*filter).status(), 429);
        drop(first);
        assert_eq!(of("a").ask(&*filter).status(), 0);
        assert_eq!(
            of("a").question(&*filter).said,
            "1 of 2 under way for this header:x-tenant"
        );
        drop(second);
    }
}
