//! Filters' errands: what they cannot do themselves, done between two looks at a request.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use plimsoll_core::filter::{Ask, Done, Errand, Progress};
use plimsoll_http::h1::{AskOut, FieldRoom, RequestOut, parse_request, write_ask_head};
use plimsoll_net::Timer;

use super::route::{Arrived, Request, Routed, read};
use crate::decisions;
use crate::signatures;

/// How it is seen that the client has gone: ready once it has.
pub(super) type Gone<'g> = dyn FnMut(&mut Context<'_>) -> Poll<()> + 'g;

/// Takes the request whose head fills `bytes` through filters and route, with all errands done that it needs; none is
/// gone on with for a client that has `gone`.
pub(super) async fn through(
    arrived: &Arrived<'_>,
    timer: &Timer,
    bytes: &[u8],
    out: &mut Vec<u8>,
    gone: &mut Gone<'_>,
) -> Request {
    let worker = &arrived.client.worker;
    let mut progress = Progress::new(worker.take_changes());
    let mut request = read(arrived, bytes, (&mut progress, None), out);
    while let Routed::Errand(errand) = request.action {
        let (started, record) = (request.started, request.record.take());
        let errand = run((arrived, bytes, &progress), errand, timer);
        let Some(done) = Box::pin(unless_gone(errand, gone)).await else {
            request.action = Routed::Gone;
            break;
        };
        request = read(arrived, bytes, (&mut progress, Some(done)), out);
        request.started = started;
        decisions::go_on(&mut request, record);
    }
    if progress.changes.outlast_head() {
        request.changes = Some(progress.changes);
    } else {
        worker.keep_changes(Some(progress.changes));
    }
    request
}

/// How the errand went; `None` when the client went away meanwhile.
async fn unless_gone(errand: impl Future<Output = Done>, gone: &mut Gone<'_>) -> Option<Done> {
    let mut errand = pin!(errand);
    poll_fn(|cx| match errand.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => gone(cx).map(|()| None),
    })
    .await
}

async fn run((arrived, bytes, progress): (&Arrived<'_>, &[u8], &Progress), errand: Errand, timer: &Timer) -> Done {
    let worker = &arrived.client.worker;
    match errand {
        Errand::Wait(span) => {
            timer.sleep(timer.after(span)).await;
            Done::Waited
        }
        Errand::Password(password) => {
            let passwords = &worker.shared.passwords;
            let verified = passwords.verify(password, &worker.remembered, || worker.now());
            Done::Password(verified.await)
        }
        Errand::Signature(signature) => Done::Signature {
            right: signatures::is_right(&signature),
            at: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs(),
        },
        Errand::Ask(ask) => {
            let mut question = worker.blocks.take_scratch();
            let answered = if write_question(arrived, bytes, progress, &ask, &mut question) {
                let with = (timer, &worker.blocks);
                worker.services.ask(&ask, &question, with, || worker.now()).await
            } else {
                None
            };
            worker.blocks.give_scratch(question);
            Done::Asked(answered)
        }
    }
}

/// Writes a question about the request whose head fills `bytes`; false when that is no head.
fn write_question(arrived: &Arrived<'_>, bytes: &[u8], progress: &Progress, ask: &Ask, out: &mut Vec<u8>) -> bool {
    let Arrived { client, pinned, .. } = *arrived;
    let mut room = FieldRoom::new();
    let Ok(head) = parse_request(bytes, &mut room, arrived.service.limits.fields) else {
        return false;
    };
    let from = RequestOut {
        path: "",
        query: None,
        upgrade: false,
        trusted: pinned.snapshot.node.trusts(client.peer.ip()),
        peer: client.peer.ip().to_canonical(),
        proto: client.scheme(),
        request_id: progress.id.as_ref().map_or(&[], |id| id),
        host: None,
        default_host: "",
        edits: &progress.changes.request,
        trace: None,
    };
    write_ask_head(out, &head, &AskOut { ask, from });
    true
}
