//! Filters' errands: what they cannot do themselves, done between two looks at a request.

use plimsoll_core::filter::{Done, Errand, Progress};
use plimsoll_net::Timer;

use super::route::{Arrived, Request, Routed, read};

/// Takes the request whose head fills `bytes` through filters and route, with all errands done that it needs.
pub(super) async fn through(arrived: &Arrived<'_>, timer: &Timer, bytes: &[u8], out: &mut Vec<u8>) -> Request {
    let worker = &arrived.client.worker;
    let mut progress = Progress::new(worker.changes.take());
    let mut request = read(arrived, bytes, (&mut progress, None), out);
    while let Routed::Errand(errand) = request.action {
        let started = request.started;
        let done = Box::pin(run(errand, timer)).await;
        request = read(arrived, bytes, (&mut progress, Some(done)), out);
        request.started = started;
    }
    let mut changes = progress.changes;
    if changes.outlast_head() {
        request.changes = Some(Box::new(changes));
    } else {
        changes.clear();
        worker.changes.set(changes);
    }
    request
}

async fn run(errand: Errand, timer: &Timer) -> Done {
    match errand {
        Errand::Wait(span) => {
            timer.sleep(timer.after(span)).await;
            Done::Waited
        }
    }
}
