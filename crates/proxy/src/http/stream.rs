//! A request that has a stream to itself, from its routing to the end of its answer.

use std::rc::Rc;

use plimsoll_core::outcome::Reason;
use plimsoll_core::reply::Reply;
use plimsoll_core::snapshot::HttpService;
use plimsoll_net::Timer;

use super::accept::Next;
use super::downstream::Stream;
use super::forward::{Forwarded, forward};
use super::respond;
use super::route::{Request, Routed};
use crate::client::Client;
use crate::log::{self, Finished};
use crate::worker::Pinned;

/// Answers `request`, which goes to a backend, if it does, with `upstream_head`.
pub(super) async fn answer(
    (client, timer, stream): (&Client, &Timer, &mut impl Stream),
    (pinned, service): (&Rc<Pinned>, &HttpService),
    mut request: Request,
    upstream_head: Vec<u8>,
) {
    if client.is_too_many(pinned.snapshot.node.max_connections) {
        request.action = Routed::Reply(Reply::reason(Reason::Overloaded));
    }
    let (reply, finished) = match std::mem::replace(&mut request.action, Routed::Done) {
        Routed::Pool(pool) => {
            let from = (client, timer, &mut *stream);
            match forward(from, (pinned, service), &request, pool, upstream_head).await {
                Forwarded::Answered(Next::Abort) => return stream.abort(),
                Forwarded::Answered(_) => {
                    client.worker.keep_changes(request.changes.take());
                    return stream.hear_out(timer).await;
                }
                Forwarded::Refused(reply, finished) => (reply, *finished),
            }
        }
        Routed::Reply(reply) => (reply, Finished::new(pinned)),
        Routed::Gone => return log::gone(client, pinned, &request),
        Routed::Errand(_) | Routed::Done => return,
    };
    respond::respond_on_stream((client, timer, &mut *stream), pinned, &request, &reply, finished).await;
    stream.hear_out(timer).await;
}
