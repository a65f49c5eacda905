//! Mirroring: a copy of a request goes to another pool, and nobody reads the answer.
//!
//! The copy is what was kept of the request for a retry, and goes out once the request itself is done with: it takes no
//! byte of memory while that is under way, and nothing that its backend does can be felt by the client.

use std::cell::Cell;
use std::rc::Rc;

use plimsoll_core::name::NameId;
use plimsoll_core::retry::RetryPolicy;
use plimsoll_core::snapshot::{Mirror, Service};
use plimsoll_core::telemetry::Mirrored;

use super::answer::{Ended, Goes};
use super::downstream::Nobody;
use super::fault::Limits;
use super::forward::{Forward, exchange};
use super::route::Request;
use super::upload::Upload;
use crate::worker::{Pinned, Worker};

/// Copies that a worker has under way. Each holds at the most what is kept for a retry, and a buffer of 16 KiB; where
/// mirrors do not keep up, further requests go without.
const MIRRORED_MAX: usize = 128;

/// Copies are not sent twice.
static NEVER: RetryPolicy = RetryPolicy::NEVER;

/// A copy under way, counted while it lives.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(count: &Rc<Cell<usize>>) -> Option<Self> {
        (count.get() < MIRRORED_MAX).then(|| {
            count.set(count.get() + 1);
            Place(count.clone())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Sends what was kept of a request that came in at `listener` to a mirror.
pub(super) fn send(
    worker: &Rc<Worker>,
    pinned: &Rc<Pinned>,
    (listener, request): (NameId, &Request),
    mirror: &Mirror,
    upload: Upload,
) {
    let pool = pinned.snapshot.pools[mirror.pool].id;
    let count = |result| worker.shard().mirrored(pool, result);
    let Some(place) = Place::take(&worker.mirrored) else {
        worker.blocks.give_scratch(upload.into_scratch());
        return count(Mirrored::Dropped);
    };
    let Some(upload) = upload.again() else {
        return count(Mirrored::TooLarge);
    };
    let (worker, pinned, at) = (worker.clone(), pinned.clone(), mirror.pool);
    let request = request.copy(worker.now());
    tokio::task::spawn_local(Box::pin(async move {
        let Some(Service::Http(service)) = pinned.listener(listener).map(|listener| &listener.service) else {
            return;
        };
        let timer = worker.timers.timer();
        let mut nobody = Nobody;
        let limits = Limits::of(service, &pinned.snapshot.pools[at]);
        let mut exchange = exchange((&worker, &timer, &mut nobody), limits, upload);
        let mut forward = Forward::new(&worker, &pinned, &request, (at, &NEVER), None);
        let ended = forward.run(&mut exchange, Goes::nowhere()).await;
        let cut = forward.finished.reason.is_some();
        let result = match ended {
            Ended::Answered(_) if !cut => Mirrored::Answered,
            Ended::Answered(_) | Ended::Refused(_) => Mirrored::Failed,
        };
        worker.shard().mirrored(pool, result);
        if let Some(backend) = forward.finished.backend {
            worker.lines.call(backend);
        }
        drop(place);
    }));
}
