//! Which decisions are kept for whoever asks later: all failures, a sample of the rest, and what trusted senders ask
//! for.
//!
//! Most requests are none of these, and pay for the look alone. Those of the sample record every step from their begin.
//! That another one fails is known at its end, when its head is gone: what was asked is read from the head that went
//! upstream then, which is kept for a retry anyway.

use std::time::Duration;

use plimsoll_core::decision::{Asked, Decision, STEPS_MAX, Stage, Step, Taken, Verdict, shortened};
use plimsoll_core::filter::{Changes, Edited, Progress};
use plimsoll_core::outcome::Reason;
use plimsoll_core::reply::Reply;
use plimsoll_core::route;
use plimsoll_http::h1::RequestHead;

use crate::client::Client;
use crate::http::{Arrived, Request};
use crate::log::{ConnectionLog, Finished, RequestLog, unique_id};
use crate::worker::{Pinned, Worker};

/// By which a trusted sender asks for a decision to be kept, and for its id.
const WANTED: &str = "x-plimsoll-explain";

/// What it is told the id by.
const ID: &str = "x-plimsoll-decision";

/// What can be read of a request from the head that goes upstream.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Remains {
    request_id: String,
    asked: Asked,
}

impl Remains {
    /// Reads the head that we have written: nothing is malformed about it.
    pub(crate) fn of(head: &[u8]) -> Self {
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut words = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut remains = Remains {
            asked: Asked {
                method: text(method),
                path: text(target.split(|byte| *byte == b'?').next().unwrap_or_default()),
                host: String::new(),
            },
            request_id: String::new(),
        };
        for line in lines {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let value = || text(line[colon + 1..].trim_ascii());
            match &line[..colon] {
                name if name.eq_ignore_ascii_case(b"host") => remains.asked.host = value(),
                name if name.eq_ignore_ascii_case(b"x-request-id") => remains.request_id = value(),
                _ => {}
            }
        }
        remains
    }
}

fn text(bytes: &[u8]) -> String {
    shortened(String::from_utf8_lossy(bytes).into_owned())
}

/// Begins a record of what is considered, if the request is one of those that are kept.
pub(crate) fn begin(
    (client, head, trusted): (&Client, &RequestHead<'_>, bool),
    (is_new, id): (bool, &str),
    progress: &mut Progress,
    request: &mut Request,
) {
    if is_new {
        let wanted = trusted && head.first(WANTED).is_some_and(|value| value == b"1");
        if wanted {
            progress.changes.answer.set(ID, id.as_bytes());
        }
        progress.is_recorded = client.worker.ration.takes(request.started) || wanted;
    }
    if progress.is_recorded {
        request.record = Some(Box::default());
    }
}

/// A request goes on after an errand: what was recorded `before` comes first.
pub(crate) fn go_on(request: &mut Request, before: Option<Box<std::cell::RefCell<Decision>>>) {
    if let (Some(record), Some(mut before)) = (&mut request.record, before) {
        let later = std::mem::take(&mut record.get_mut().steps);
        before.get_mut().steps.extend(later);
        *record = before;
    }
}

/// The request is answered by us: what it asked for is kept while its head is there, if something is wrong.
pub(crate) fn replied(
    arrived: &Arrived<'_>,
    head: &RequestHead<'_>,
    (reply, id, changes): (&Reply, &str, &Changes),
    request: &mut Request,
) {
    let fails = reply.reason.is_some() || reply.status >= 500;
    // Whoever is late for everything has no time for this either.
    let is_late = reply.reason == Some(Reason::Overloaded);
    let client = arrived.client;
    if !fails || is_late || !client.worker.ration.has_room_for_failure(request.started) {
        return;
    }
    if request.log.is_none() {
        let from = request.client.unwrap_or_else(|| client.peer.ip());
        request.log = Some(Box::new(RequestLog::of(head, arrived.spoken, from, id)));
    }
    if reply.reason == Some(Reason::NoRoute) && request.record.is_none() {
        request.record = no_route(arrived, head, changes).map(|decision| Box::new(decision.into()));
    }
}

/// Why each route refuses the request: asking a table again changes nothing.
fn no_route(arrived: &Arrived<'_>, head: &RequestHead<'_>, changes: &Changes) -> Option<Decision> {
    let asked = head.asked(arrived.service.allow_encoded_slash).ok()?;
    let fields = Edited {
        fields: head,
        edits: &changes.request,
    };
    let head = route::RequestHead {
        fields: &fields,
        ..asked.head()
    };
    let mut decision = Decision::default();
    arrived.service.routes.find(&head, Some(&mut decision));
    Some(decision)
}

/// Whether a request that was forwarded has failed and nobody has kept what it asked for.
pub(crate) fn is_unforeseen(worker: &Worker, request: &Request, failed: bool) -> bool {
    failed && request.log.is_none() && worker.ration.has_room_for_failure(worker.now())
}

/// Keeps the decision of a request that has ended, if it is one of those that are kept.
pub(crate) fn request(client: &Client, pinned: &Pinned, request: &Request, finished: &Finished, took: Duration) {
    let failed = finished.reason.is_some() || finished.status >= 500;
    if failed || request.record.is_some() {
        keep_request(client, pinned, request, finished, took);
    }
}

#[cold]
fn keep_request(client: &Client, pinned: &Pinned, request: &Request, finished: &Finished, took: Duration) {
    let failed = finished.reason.is_some() || finished.status >= 500;
    // One of the sample was counted when it began; that it failed as well is one more to be found.
    if failed && !admit(client) && request.record.is_none() {
        return;
    }
    let mut kept = taken(client, pinned, request, finished, took);
    kept.steps = (request.record.as_ref()).map_or_else(Vec::new, |record| bounded(record.borrow().steps.clone()));
    keep(client, kept);
}

/// What is told of a request that has ended, but for the steps of its decision.
pub(crate) fn taken(client: &Client, pinned: &Pinned, request: &Request, finished: &Finished, took: Duration) -> Taken {
    let log = request.log.as_deref();
    let remains = finished.asked.as_deref();
    let asked = log.map(|log| Asked {
        method: shortened(log.method.clone()),
        host: shortened(log.host.clone()),
        path: shortened(log.path.clone()),
    });
    let id = log
        .map(|log| &log.request_id)
        .or(remains.map(|remains| &remains.request_id));
    let route = request.route.and_then(|at| pinned.snapshot.routes.get(at));
    let peer = client.peer.ip().to_canonical();
    let taken = ended(client, pinned, finished);
    Taken {
        asked: asked.or_else(|| remains.map(|remains| remains.asked.clone())),
        id: id
            .filter(|id| !id.is_empty())
            .map_or(taken.id, |id| shortened(id.clone())),
        trace: request.tracing.as_ref().map(|tracing| tracing.trace.id),
        at: request.started,
        client: log.map(|log| log.client).or(request.client).unwrap_or(peer),
        protocol: log.map_or("HTTP", |log| log.protocol),
        route: route.map(|route| route.id),
        took,
        ..taken
    }
}

/// Keeps the decision of a connection at layer 4 that has ended, if it failed or is of the sample.
pub(crate) fn connection(client: &Client, pinned: &Pinned, log: &ConnectionLog, finished: &Finished, sampled: bool) {
    if !sampled && (finished.reason.is_none() || !admit(client)) {
        return;
    }
    let route = log.route.and_then(|at| pinned.snapshot.routes.get(at));
    let asked = log.sni.as_ref().map(|sni| Asked {
        host: shortened(sni.clone()),
        ..Asked::default()
    });
    let taken = Taken {
        asked,
        at: client.born,
        protocol: log.protocol,
        route: route.map(|route| route.id),
        took: client.worker.now().since(client.born),
        ..ended(client, pinned, finished)
    };
    keep(client, taken);
}

/// Whether there is room for one more failure of this second.
fn admit(client: &Client) -> bool {
    let worker = &client.worker;
    let has_room = worker.ration.has_room_for_failure(worker.now());
    if has_room {
        worker.ration.count_failure();
    } else {
        worker.shared.wiring.decisions.drop_failure();
    }
    has_room
}

fn keep(client: &Client, taken: Taken) {
    let worker = &client.worker;
    worker.shared.wiring.decisions.keep(worker.index, taken);
}

/// What is known of whatever has ended so.
fn ended(client: &Client, pinned: &Pinned, finished: &Finished) -> Taken {
    let id = finished
        .unique_id
        .as_ref()
        .map_or_else(|| u128::from_be_bytes(client.worker.random()), |id| **id);
    Taken {
        asked: None,
        id: unique_id(id),
        trace: None,
        at: client.born,
        generation: pinned.snapshot.generation,
        client: client.peer.ip().to_canonical(),
        protocol: "TCP",
        listener: client.listener,
        route: None,
        pool: finished.pool,
        instead_of: finished
            .instead_of
            .map(|(asked, why)| (pinned.snapshot.pools[asked].id, why.reason())),
        attempts: finished.attempts.clone(),
        status: finished.status,
        reason: finished.reason,
        queued: finished.queued,
        connect: finished.connect,
        took: Duration::ZERO,
        steps: Vec::new(),
    }
}

/// As many steps as are kept, and how many there were.
fn bounded(mut steps: Vec<Step>) -> Vec<Step> {
    if steps.len() > STEPS_MAX {
        let count = steps.len() - STEPS_MAX;
        steps.truncate(STEPS_MAX);
        steps.push(Step {
            stage: Stage::Action,
            subject: "…".into(),
            verdict: Verdict::Passed,
            why: format!("{count} more steps were not kept"),
        });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_read_from_what_goes_upstream_and_no_secret_with_it() {
        let head = b"POST /orders/7?token=secret HTTP/1.1\r\nHost: shop.example\r\nauthorization: Bearer secret\r\n\
                     cookie: id=secret\r\nx-request-id: abc\r\n\r\n";
        let remains = Remains::of(head);
        assert_eq!(remains.request_id, "abc");
        let Asked { method, host, path } = &remains.asked;
        assert_eq!((&**method, &**host, &**path), ("POST", "shop.example", "/orders/7"));
        assert!(!format!("{remains:?}").contains("secret"));
        assert_eq!(Remains::of(b""), Remains::default());
    }

    #[test]
    fn thousands_of_steps_are_not_kept() {
        let step = Step {
            stage: Stage::Route,
            subject: "r".into(),
            verdict: Verdict::Refused,
            why: String::new(),
        };
        let steps = bounded(vec![step; STEPS_MAX + 9]);
        assert_eq!(steps.len(), STEPS_MAX + 1);
        assert!(steps.last().is_some_and(|last| last.why.starts_with("9 more")));
    }
}
