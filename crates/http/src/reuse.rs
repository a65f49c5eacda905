//! The reuse cache: idle connections to backends, kept by one worker for its next request.

use std::collections::HashMap;
use std::time::Duration;

use plimsoll_core::backend::Place;
use plimsoll_core::name::BackendId;
use plimsoll_core::rng::IdState;
use plimsoll_core::time::Now;
use plimsoll_net::Socket;
use plimsoll_net::tls::Terms;

/// An unsafe request is not sent on a connection that has been idle for longer: its backend may be about to close it,
/// and then nobody can tell whether the request was acted on. Servers close after 5 s (Node) and more.
pub const UNSAFE_IDLE_MAX: Duration = Duration::from_secs(1);

/// How long a connection is kept to a backend whose work is to end: its sticky sessions go on with those that they use, and
/// the others leave.
pub const LEAVING_IDLE_MAX: Duration = Duration::from_secs(1);

/// Idle connections that a worker keeps for one backend.
pub const IDLE_MAX: usize = 512;

/// Idle connections to all backends that a worker keeps in any case.
pub const ALL_IDLE_MIN: usize = 64;

/// A connection to a backend, with its place among the backend's connections.
pub struct Upstream {
    /// The socket.
    pub socket: Socket,
    /// Its place.
    pub place: Place,
    /// Under what it was made.
    pub terms: Terms,
}

struct Idle {
    upstream: Upstream,
    since: Now,
    until: Now,
}

/// One worker's idle connections, by backend; the last one in is the first one out, since it is the least likely to
/// be closed, and the others may grow old and leave.
#[derive(Default)]
pub struct ReuseCache {
    idle: HashMap<BackendId, Vec<Idle>, IdState>,
    /// Backends that another worker's request waits for a connection to, and that worker's number: the next connection
    /// that is done with is closed for its sake.
    owed: HashMap<BackendId, usize, IdState>,
    /// How many there are.
    count: usize,
}

impl ReuseCache {
    /// A connection to `backend` that was made under these terms, and is fit for a request now.
    pub fn take(&mut self, backend: BackendId, terms: Terms, now: Now, idempotent: bool) -> Option<Upstream> {
        let stack = self.idle.get_mut(&backend)?;
        while let Some(idle) = stack.pop() {
            self.count -= 1;
            if idle.until <= now || idle.upstream.terms != terms || !idle.upstream.socket.is_silent() {
                continue;
            }
            if idempotent {
                return Some(idle.upstream);
            }
            if now.since(idle.since) > UNSAFE_IDLE_MAX {
                // The older ones below are no better; they stay for requests that may be repeated.
                stack.push(idle);
                self.count += 1;
                return None;
            }
            if idle.upstream.socket.is_silent_now() {
                return Some(idle.upstream);
            }
        }
        None
    }

    /// Keeps a connection for the next request, for `keep` at the most. When it was owed to another worker it is closed
    /// instead, and its place is that worker's. Of `most` the oldest make room: each has a descriptor, and many backends
    /// would have them all.
    pub fn put(&mut self, upstream: Upstream, (now, keep): (Now, Duration), most: usize) -> Option<(usize, Place)> {
        if !self.owed.is_empty()
            && let Some(worker) = self.owed.remove(&upstream.place.backend().id)
        {
            return Some((worker, upstream.place));
        }
        if self.count >= most.max(ALL_IDLE_MIN) {
            self.shed_oldest(4);
        }
        let stack = self.idle.entry(upstream.place.backend().id).or_default();
        if stack.len() < IDLE_MAX {
            self.count += 1;
            stack.push(Idle {
                upstream,
                since: now,
                until: now + keep,
            });
        }
        None
    }

    /// Closes what is too old or was closed by the other end; a worker calls it every second or so.
    pub fn sweep(&mut self, now: Now) {
        self.owed.clear();
        self.idle.retain(|_, stack| {
            stack.retain(|idle| {
                let leaves = idle.upstream.place.backend().leaving.is_so();
                let until = if leaves {
                    idle.until.min(idle.since + LEAVING_IDLE_MAX)
                } else {
                    idle.until
                };
                until > now && idle.upstream.socket.is_silent()
            });
            !stack.is_empty()
        });
        self.count = self.idle.values().map(Vec::len).sum();
    }

    /// Closes the oldest: one of so many, and one at least; how many there were.
    pub fn shed_oldest(&mut self, of: usize) -> usize {
        let mut ages: Vec<Now> = self.idle.values().flatten().map(|idle| idle.since).collect();
        if ages.is_empty() {
            return 0;
        }
        let at = (ages.len() / of).min(ages.len() - 1);
        let (_, last, _) = ages.select_nth_unstable(at);
        let (last, before) = (*last, self.count);
        self.idle.retain(|_, stack| {
            stack.retain(|idle| idle.since > last);
            !stack.is_empty()
        });
        self.count = self.idle.values().map(Vec::len).sum();
        before - self.count
    }

    /// Closes one idle connection to `backend`, the oldest, for `worker` to have its place; or else the next that becomes
    /// idle.
    pub fn shed_or_owe(&mut self, backend: BackendId, worker: usize) -> Option<Place> {
        let place = self.shed(backend);
        if place.is_none() {
            self.owed.insert(backend, worker);
        }
        place
    }

    /// Closes one idle connection to `backend`, the oldest, for somebody else to have its place.
    pub fn shed(&mut self, backend: BackendId) -> Option<Place> {
        let stack = self.idle.get_mut(&backend)?;
        (!stack.is_empty()).then(|| {
            self.count -= 1;
            stack.remove(0).upstream.place
        })
    }
}
