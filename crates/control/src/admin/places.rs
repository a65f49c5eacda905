//! Places for callers, of which there are so many. Whoever has not asked anything yet makes room for the next, the oldest
//! first: else a few hundred slow connections would keep an orchestrator from hearing that the process is well.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The places at one address.
pub(super) struct Places {
    free: Arc<Semaphore>,
    most: u32,
    waiting: Mutex<Waiting>,
}

/// Those who wait for a request, the first to wait first.
#[derive(Default)]
struct Waiting {
    since: BTreeMap<u64, Arc<Notify>>,
    begun: u64,
}

/// A caller's place, for as long as its connection lives.
pub(super) struct Place {
    places: Arc<Places>,
    leave: Arc<Notify>,
    stand: Mutex<Stand>,
    _permit: OwnedSemaphorePermit,
}

/// What the caller is about.
#[derive(Default)]
struct Stand {
    /// Requests that are being answered.
    answering: usize,
    /// Its number among those who wait.
    waits: Option<u64>,
}

impl Places {
    /// So many.
    pub(super) fn new(most: u32) -> Arc<Self> {
        Arc::new(Places {
            free: Arc::new(Semaphore::new(most as usize)),
            most,
            waiting: Mutex::default(),
        })
    }

    /// A place for one more, and whether somebody had to leave for it. `None` when all are being answered.
    pub(super) async fn take(self: &Arc<Self>) -> Option<(Place, bool)> {
        let (permit, made_room) = match self.free.clone().try_acquire_owned() {
            Ok(permit) => (permit, false),
            Err(_) => {
                let (_, oldest) = self.lock().since.pop_first()?;
                oldest.notify_one();
                // Its task has nothing to do but to leave.
                (self.free.clone().acquire_owned().await.ok()?, true)
            }
        };
        let place = Place {
            places: self.clone(),
            leave: Arc::default(),
            stand: Mutex::default(),
            _permit: permit,
        };
        place.wait(&mut place.lock());
        Some((place, made_room))
    }

    /// Comes back when everybody has left.
    pub(super) async fn empty(&self) {
        let _ = self.free.acquire_many(self.most).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Comes back when the caller has to leave for another.
    pub(super) async fn left(&self) {
        self.leave.notified().await;
    }

    /// A request has come; it is being answered until what is returned is dropped.
    pub(super) fn answer(self: &Arc<Self>) -> Answering {
        let mut stand = self.lock();
        stand.answering += 1;
        if let Some(number) = stand.waits.take() {
            self.places.lock().since.remove(&number);
        }
        Answering(self.clone())
    }

    fn wait(&self, stand: &mut Stand) {
        let mut waiting = self.places.lock();
        waiting.begun += 1;
        let number = waiting.begun;
        waiting.since.insert(number, self.leave.clone());
        stand.waits = Some(number);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stand> {
        self.stand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let waits = self.lock().waits.take();
        if let Some(number) = waits {
            self.places.lock().since.remove(&number);
        }
    }
}

/// A request that is being answered.
pub(super) struct Answering(Arc<Place>);

impl Drop for Answering {
    fn drop(&mut self) {
        let mut stand = self.0.lock();
        stand.answering -= 1;
        if stand.answering == 0 {
            self.0.wait(&mut stand);
        }
    }
}

impl Answering {
    /// The body of the answer: what it answers is under way until it has been written.
    pub(super) fn by(self, body: axum::body::Body) -> Answer {
        Answer { body, _answering: self }
    }
}

/// The body of an answer.
pub(super) struct Answer {
    body: axum::body::Body,
    _answering: Answering,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
