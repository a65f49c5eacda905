//! Temporary bans: keys whose requests fail far more often than those of others.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Entry, Table};
use crate::time::Now;

/// Parts of the sums over all keys, each with a lock of its own.
const PARTS: usize = 16;

/// When a key is banned, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// What is counted is forgotten after so long.
    pub window: Duration,
    /// The least requests of a key in a window that say anything.
    pub requests: u32,
    /// The least share of them that fails, of a hundred.
    pub percent: f64,
    /// How many times the share of all others' requests that fail it has to be.
    pub times: f64,
    /// How long it is banned.
    pub ban_for: Duration,
}

/// How keys stand.
pub struct Bans {
    records: Table<Record>,
    all: Box<[Part]>,
}

/// Aligned to cache lines, so that workers do not slow each other down.
#[derive(Default)]
#[repr(align(64))]
struct Part(Mutex<Window>);

/// What was counted of a key, or of all, in a window of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Window {
    /// When it ends, in nanoseconds.
    ends: u64,
    requests: u32,
    errors: u32,
}

/// How one key stands.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// Until when it is banned, in nanoseconds; 0 when it is not.
    banned_until: u64,
    window: Window,
}

/// How a key stands, for whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How much longer it is banned.
    pub banned_for: Option<Duration>,
    /// Its requests in this window.
    pub requests: u32,
    /// How many of them failed.
    pub errors: u32,
}

/// What came of counting a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// It bans its key.
    pub is_banned: bool,
    /// Another key was forgotten for this one, since the table was full.
    pub crowded_out: bool,
}

impl Bans {
    /// Bans of nobody among so many keys, whose hashes are made with `seed`.
    pub fn new(seed: u64, keys: usize) -> Self {
        Bans {
            records: Table::new(seed, keys),
            all: (0..PARTS).map(|_| Part::default()).collect(),
        }
    }

    /// What keys are hashed with.
    pub fn seed(&self) -> u64 {
        self.records.seed()
    }

    /// From now on it grows to so many keys.
    pub fn resize(&self, keys: usize) {
        self.records.resize(keys);
    }

    /// How `key` stands.
    pub fn standing(&self, key: u64, now: Now) -> Standing {
        let Record { banned_until, window } = self.records.look(key);
        let left = banned_until.saturating_sub(now.nanos());
        let current = window.ends > now.nanos();
        Standing {
            banned_for: (left > 0).then(|| Duration::from_nanos(left)),
            requests: if current { window.requests } else { 0 },
            errors: if current { window.errors } else { 0 },
        }
    }

    /// A request of `key` has ended.
    pub fn count(&self, key: u64, failed: bool, rules: &Rules, now: Now) -> Counted {
        self.part(key).count(failed, rules.window, now);
        let count = |record: &mut Record| {
            record.window.count(failed, rules.window, now);
            *record
        };
        let (Record { banned_until, window }, crowded_out) = self.records.change(key, now, count);
        let mut counted = Counted {
            is_banned: false,
            crowded_out,
        };
        // Requests that were under way when the ban began end in it.
        if !failed || banned_until > now.nanos() || !self.stands_out(&window, rules, now) {
            return counted;
        }
        let ban = |record: &mut Record| {
            let is_first = record.banned_until <= now.nanos();
            *record = Record {
                banned_until: (now + rules.ban_for).nanos(),
                window: Window::default(),
            };
            is_first
        };
        counted.is_banned = self.records.change(key, now, ban).0;
        counted
    }

    /// Whether the requests of `own` fail often, and far more often than all others'.
    fn stands_out(&self, own: &Window, rules: &Rules, now: Now) -> bool {
        let share = share(own.errors, own.requests);
        if own.requests < rules.requests || share * 100.0 < rules.percent {
            return false;
        }
        let (mut requests, mut errors) = (0_u32, 0_u32);
        for part in &self.all {
            let part = *part.lock();
            if part.ends > now.nanos() {
                requests = requests.saturating_add(part.requests);
                errors = errors.saturating_add(part.errors);
            }
        }
        // Windows of keys and of all do not begin together: what is left is near enough.
        let others = self::share(errors.saturating_sub(own.errors), requests.saturating_sub(own.requests));
        share >= others * rules.times
    }

    fn part(&self, key: u64) -> MutexGuard<'_, Window> {
        self.all[(key >> 32) as usize % PARTS].lock()
    }
}

impl Part {
    fn lock(&self) -> MutexGuard<'_, Window> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn count(&mut self, failed: bool, span: Duration, now: Now) {
        if self.ends <= now.nanos() {
            *self = Window {
                ends: (now + span).nanos(),
                ..Window::default()
            };
        }
        self.requests = self.requests.saturating_add(1);
        self.errors = self.errors.saturating_add(u32::from(failed));
    }
}

fn share(errors: u32, requests: u32) -> f64 {
    f64::from(errors) / f64::from(requests.max(1))
}

impl Entry for Record {
    fn is_spent(&self, now: Now) -> bool {
        self.banned_until.max(self.window.ends) <= now.nanos()
    }

    /// Bans first, and then errors: who is to be forgotten has to find others who are worse.
    fn weight(&self) -> u64 {
        u64::from(self.banned_until > 0) << 32 | u64::from(self.window.errors)
    }
}

impl fmt::Debug for Bans {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Bans").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        window: Duration::from_secs(10),
        requests: 20,
        percent: 50.0,
        times: 3.0,
        ban_for: Duration::from_secs(60),
    };

    /// Counts so many requests of `key`, the first `errors` of them failed; how many bans came of it.
    fn count(bans: &Bans, key: u64, (errors, requests): (u32, u32), now: Now) -> usize {
        (0..requests)
            .filter(|at| bans.count(key, *at < errors, &RULES, now).is_banned)
            .count()
    }

    #[test]
    fn who_fails_far_more_often_than_others_is_banned_once_and_for_a_time() {
        let bans = Bans::new(7, 1_000);
        let now = Now::from_millis(1_000);
        for key in 10..20 {
            assert_eq!(count(&bans, key << 32, (5, 100), now), 0);
        }
        assert_eq!(count(&bans, 1, (19, 19), now), 0, "too few to say");
        assert_eq!(count(&bans, 1, (30, 30), now), 1);
        assert_eq!(bans.standing(1, now).banned_for, Some(RULES.ban_for));
        assert_eq!(bans.standing(10 << 32, now).banned_for, None);
        let later = now + RULES.ban_for;
        assert_eq!(bans.standing(1, later).banned_for, None);
        assert_eq!(count(&bans, 1, (20, 20), later), 1, "and again");
    }

    #[test]
    fn nobody_is_banned_when_requests_of_all_fail() {
        let bans = Bans::new(7, 1_000);
        let now = Now::from_millis(1_000);
        for key in 0..10 {
            count(&bans, key << 32, (0, 10), now);
        }
        // A deployment breaks a path that everybody asks for.
        let banned: usize = (0..10).map(|key| count(&bans, key << 32, (40, 40), now)).sum();
        assert!(banned <= 2, "{banned}: the first fail before the others do");
        let now = now + RULES.window + Duration::from_secs(1);
        let in_turn = (0..400)
            .filter(|at| bans.count((at % 10) << 32, true, &RULES, now).is_banned)
            .count();
        assert_eq!(in_turn, 0);
    }

    #[test]
    fn counts_end_with_their_window() {
        let bans = Bans::new(7, 1_000);
        let now = Now::from_millis(1_000);
        count(&bans, 1, (19, 19), now);
        let (requests, errors) = (19, 19);
        let banned_for = None;
        assert_eq!(
            bans.standing(1, now),
            Standing {
                banned_for,
                requests,
                errors
            }
        );
        let later = now + RULES.window;
        assert_eq!(bans.standing(1, later).requests, 0);
        assert_eq!(count(&bans, 1, (1, 1), later), 0);
    }
}
