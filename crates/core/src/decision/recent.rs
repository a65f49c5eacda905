//! Decisions that were taken of late: all failures and a sample of the rest, in bounded rings of each worker.
//!
//! A worker looks at two plain cells to know whether a request is to be kept, and pays for those alone that are: at most
//! [`FAILURES_A_SECOND`] and [`OTHERS_A_SECOND`]. While there is little to do every request is kept, so that whoever
//! tries something finds it; under load what is kept costs nothing to speak of.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Attempt, Step};
use crate::name::NameId;
use crate::outcome::Reason;
use crate::time::Now;

/// Failures that each worker keeps.
pub const FAILURES_MAX: usize = 512;

/// Others that each worker keeps.
pub const OTHERS_MAX: usize = 256;

/// Failures of a second that a worker keeps; what comes beyond is counted. One costs some 5 µs.
pub const FAILURES_A_SECOND: u32 = 500;

/// Others of a second that a worker keeps, with every step; one costs some 10 µs more than it would.
pub const OTHERS_A_SECOND: u32 = 20;

/// Failures of a second that a worker tells whoever gathers traces, though their traces are not told.
pub const TRACED_A_SECOND: u32 = 50;

/// Steps of one decision that are kept; thousands of routes or backends would have as many.
pub const STEPS_MAX: usize = 200;

/// The longest method, host or path that is kept, in bytes.
pub const TEXT_MAX: usize = 512;

/// A decision that was taken, and what came of it.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What was asked; unknown where a head could not be read.
    pub asked: Option<Asked>,
    /// The request's id; of a connection at layer 4, its own.
    pub id: String,
    /// Its trace, when it has one.
    pub trace: Option<u128>,
    /// When it began.
    pub at: Now,
    /// Under which generation of the configuration.
    pub generation: u64,
    /// Who asked.
    pub client: IpAddr,
    /// What was spoken, like `HTTP/1.1`.
    pub protocol: &'static str,
    /// The listener that it came in by.
    pub listener: NameId,
    /// The route that it took.
    pub route: Option<NameId>,
    /// The pool that served.
    pub pool: Option<NameId>,
    /// The pool that was asked and why it could not serve, when another took over.
    pub instead_of: Option<(NameId, Reason)>,
    /// What was tried, in order.
    pub attempts: Vec<Attempt>,
    /// What the client got; 0 at layer 4.
    pub status: u16,
    /// Why we answered ourselves, or why it broke off.
    pub reason: Option<Reason>,
    /// How long it waited in its pool's queue.
    pub queued: Option<Duration>,
    /// How long connecting took in the last attempt, when it had to be.
    pub connect: Option<Duration>,
    /// How long it took in all.
    pub took: Duration,
    /// What was considered on the way, where that was recorded.
    pub steps: Vec<Step>,
}

/// What a request asked for. Values of the query, of cookies and of credentials are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The host.
    pub host: String,
    /// The path, without its query.
    pub path: String,
}

impl Taken {
    /// Whether something went wrong.
    pub fn is_failure(&self) -> bool {
        self.reason.is_some() || self.status >= 500
    }
}

/// `text`, shortened to what is kept.
pub fn shortened(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
        // What was cut off is not to be held with it.
        text.shrink_to_fit();
    }
    text
}

/// How many a worker may still keep of this second.
#[derive(Debug, Default)]
pub struct Ration {
    second: Cell<u64>,
    failures: Cell<u32>,
    others: Cell<u32>,
    traced: Cell<u32>,
}

impl Ration {
    /// Whether a request that begins at `now` is to be kept whatever becomes of it; it is counted then.
    pub fn takes(&self, now: Now) -> bool {
        self.turn(now);
        let left = self.others.get();
        self.others.set(left.saturating_sub(1));
        left > 0
    }

    /// Whether a failure at `now` is to be kept.
    pub fn has_room_for_failure(&self, now: Now) -> bool {
        self.turn(now);
        self.failures.get() > 0
    }

    /// A failure is kept.
    pub fn count_failure(&self) {
        self.failures.set(self.failures.get().saturating_sub(1));
    }

    /// Whether a failure at `now` is to be told though its trace is not; it is counted then.
    pub fn takes_trace(&self, now: Now) -> bool {
        self.turn(now);
        let left = self.traced.get();
        self.traced.set(left.saturating_sub(1));
        left > 0
    }

    fn turn(&self, now: Now) {
        // A shift instead of a division: seconds are of 2^30 ns here. The first is number 1.
        let second = (now.nanos() >> 30) + 1;
        if second != self.second.get() {
            self.second.set(second);
            self.failures.set(FAILURES_A_SECOND);
            self.others.set(OTHERS_A_SECOND);
            self.traced.set(TRACED_A_SECOND);
        }
    }
}

/// The decisions that all workers have kept.
#[derive(Debug)]
pub struct Recent {
    rings: Vec<Mutex<Rings>>,
    /// Failures that were not kept, since there were too many.
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Rings {
    failures: VecDeque<Arc<Taken>>,
    others: VecDeque<Arc<Taken>>,
}

/// Which decisions are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Those by this route.
    pub route: Option<NameId>,
    /// Those of this pool, or that it could not serve.
    pub pool: Option<NameId>,
    /// Those with this reason.
    pub reason: Option<Reason>,
    /// Those that tried this backend.
    pub backend: Option<String>,
    /// Failures alone.
    pub failures: bool,
}

impl Wanted {
    fn is(&self, taken: &Taken) -> bool {
        let pools = [taken.pool, taken.instead_of.map(|(asked, _)| asked)];
        let tried = |name: &String| taken.attempts.iter().any(|attempt| *attempt.backend == **name);
        self.route.is_none_or(|route| taken.route == Some(route))
            && self.pool.is_none_or(|pool| pools.contains(&Some(pool)))
            && self.reason.is_none_or(|reason| taken.reason == Some(reason))
            && self.backend.as_ref().is_none_or(tried)
            && (!self.failures || taken.is_failure())
    }
}

impl Recent {
    /// Rings for so many workers.
    pub fn new(workers: usize) -> Self {
        Recent {
            rings: (0..workers).map(|_| Mutex::default()).collect(),
            dropped: AtomicU64::new(0),
        }
    }

    /// A worker keeps a decision.
    pub fn keep(&self, worker: usize, taken: Taken) {
        let is_failure = taken.is_failure();
        let taken = Arc::new(taken);
        let oldest = {
            let mut rings = self.ring(worker);
            let (ring, most) = if is_failure {
                (&mut rings.failures, FAILURES_MAX)
            } else {
                (&mut rings.others, OTHERS_MAX)
            };
            let oldest = if ring.len() == most { ring.pop_front() } else { None };
            ring.push_back(taken);
            oldest
        };
        // Its memory is given back without the lock.
        drop(oldest);
    }

    /// A failure is not kept.
    pub fn drop_failure(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    /// Failures that were not kept.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// The newest decision about the request `id`.
    pub fn find(&self, id: &str) -> Option<Arc<Taken>> {
        let found = (0..self.rings.len()).flat_map(|worker| {
            let rings = self.ring(worker);
            let of = |ring: &VecDeque<Arc<Taken>>| ring.iter().rev().find(|taken| taken.id == id).cloned();
            [of(&rings.failures), of(&rings.others)]
        });
        found.flatten().max_by_key(|taken| taken.at)
    }

    /// The newest ones that are `wanted`, `most` at the most, the newest first.
    pub fn latest(&self, wanted: &Wanted, most: usize) -> Vec<Arc<Taken>> {
        let mut found: Vec<Arc<Taken>> = Vec::new();
        for worker in 0..self.rings.len() {
            let rings = self.ring(worker);
            for ring in [&rings.failures, &rings.others] {
                let fits = ring.iter().rev().filter(|taken| wanted.is(taken));
                found.extend(fits.take(most).cloned());
            }
        }
        found.sort_by_key(|taken| std::cmp::Reverse(taken.at));
        found.truncate(most);
        found
    }

    fn ring(&self, worker: usize) -> MutexGuard<'_, Rings> {
        // A panic while keeping loses a decision, not the ring.
        self.rings[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(id: usize, reason: Option<Reason>) -> Taken {
        Taken {
            asked: None,
            id: id.to_string(),
            trace: None,
            at: Now::from_millis(id as u64),
            generation: 1,
            client: [127, 0, 0, 1].into(),
            protocol: "HTTP/1.1",
            listener: NameId(0),
            route: Some(NameId(1)),
            pool: Some(NameId(2)),
            instead_of: None,
            attempts: Vec::new(),
            status: reason.map_or(200, Reason::status),
            reason,
            queued: None,
            connect: None,
            took: Duration::ZERO,
            steps: Vec::new(),
        }
    }

    #[test]
    fn rings_are_bounded_and_what_went_well_does_not_crowd_out_a_failure() {
        let recent = Recent::new(2);
        recent.keep(0, taken(1, Some(Reason::NoRoute)));
        (2..2_000).for_each(|id| recent.keep(1, taken(id, None)));
        (2_000..3_000).for_each(|id| recent.keep(0, taken(id, None)));
        let all = recent.latest(&Wanted::default(), usize::MAX);
        assert_eq!(all.len(), 2 * OTHERS_MAX + 1);
        assert_eq!(all[0].id, "2999", "the newest comes first");
        let failed = Wanted {
            reason: Some(Reason::NoRoute),
            ..Wanted::default()
        };
        assert_eq!(recent.latest(&failed, 10)[0].id, "1");
        assert!(recent.find("1").is_some() && recent.find("2").is_none());
    }

    #[test]
    fn decisions_are_found_by_route_pool_backend_and_whether_they_failed() {
        let recent = Recent::new(1);
        recent.keep(0, taken(1, None));
        let mut other = taken(2, Some(Reason::NoHealthyBackend));
        (other.route, other.pool) = (Some(NameId(7)), Some(NameId(8)));
        other.instead_of = Some((NameId(2), Reason::NoBackend));
        recent.keep(0, other);
        let ids = |wanted: Wanted| -> Vec<String> {
            recent.latest(&wanted, 9).iter().map(|taken| taken.id.clone()).collect()
        };
        let by = Wanted::default;
        assert_eq!(
            ids(Wanted {
                route: Some(NameId(1)),
                ..by()
            }),
            ["1"]
        );
        assert_eq!(
            ids(Wanted {
                pool: Some(NameId(2)),
                ..by()
            }),
            ["2", "1"],
            "asked, or served"
        );
        assert_eq!(ids(Wanted { failures: true, ..by() }), ["2"]);
        assert_eq!(
            ids(Wanted {
                backend: Some("b".into()),
                ..by()
            }),
            [""; 0]
        );
    }

    #[test]
    fn a_second_has_its_ration() {
        let ration = Ration::default();
        let taken = |now: Now| (0..1_000).filter(|_| ration.takes(now)).count();
        assert_eq!(taken(Now::START), OTHERS_A_SECOND as usize);
        assert_eq!(taken(Now::from_millis(500)), 0);
        assert_eq!(taken(Now::from_millis(1_100)), OTHERS_A_SECOND as usize);
        let failures = (0..1_000).filter(|_| {
            let room = ration.has_room_for_failure(Now::from_millis(1_200));
            ration.count_failure();
            room
        });
        assert_eq!(failures.count(), FAILURES_A_SECOND as usize);
        assert!(ration.has_room_for_failure(Now::from_millis(2_300)));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = shortened("ä".repeat(TEXT_MAX));
        assert!(text.len() <= TEXT_MAX + 3 && text.ends_with('…'), "{}", text.len());
        assert_eq!(shortened("/a".into()), "/a");
    }

    #[test]
    fn what_is_cut_off_is_not_held() {
        let long = shortened("x".repeat(100_000));
        assert!(long.len() <= TEXT_MAX + '…'.len_utf8() && long.capacity() < 2 * TEXT_MAX);
    }
}
