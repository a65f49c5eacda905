//! Shedding: a worker that is late for everything refuses a part of the requests, so that it is in time for the rest.
//!
//! How late a worker is, is how long what is ready waits until it is looked at. As in CoDel (RFC 8289) the least of an
//! interval counts: a burst makes some wait and is over, and where even the luckiest waited, work comes in faster than it
//! is done. The share that is refused rises in steps while that lasts, and halves when it is over (the additive increase
//! and multiplicative decrease of TCP, with the roles exchanged).

use std::time::Duration;

use crate::rng::Rng;
use crate::time::Now;

/// How long a worker has to be late before anything is refused (CoDel's interval).
const INTERVAL: Duration = Duration::from_millis(100);

/// By how much the refused share rises in an interval: from nothing to [`SHARE_MAX`] in a second.
const STEP: f64 = 0.09;

/// The most that is refused: what is served tells whether it is over.
const SHARE_MAX: f64 = 0.9;

/// Shares below it are none.
const SHARE_MIN: f64 = 0.02;

/// A worker's lateness, and what it makes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shedding {
    begun: Now,
    /// The least of this interval.
    least: Option<Duration>,
    /// The least of the last one.
    standing: Duration,
    share: f64,
}

impl Shedding {
    /// Something that was ready was looked at `late`; it may be `allowed`, or as late as it likes.
    pub fn observe(&mut self, late: Duration, allowed: Option<Duration>, now: Now) {
        self.least = Some(self.least.map_or(late, |least| least.min(late)));
        if now.since(self.begun) < INTERVAL {
            return;
        }
        self.begun = now;
        self.standing = self.least.take().unwrap_or_default();
        self.share = match allowed {
            Some(allowed) if self.standing > allowed => (self.share + STEP).min(SHARE_MAX),
            _ if self.share < SHARE_MIN => 0.0,
            _ => self.share / 2.0,
        };
    }

    /// How late everything was in the last interval.
    pub fn standing(&self) -> Duration {
        self.standing
    }

    /// Whether the next request is to be refused.
    pub fn refuses(&self, rng: &mut Rng) -> bool {
        self.share > 0.0 && rng.unit() < self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Option<Duration> = Some(Duration::from_millis(50));

    /// Ten looks a tenth of a second, as late as `late` says, from `from` for so many tenths.
    fn pass(shedding: &mut Shedding, from: u64, tenths: u64, late: impl Fn(u64) -> u64) -> u64 {
        for look in 0..tenths * 10 {
            let now = Now::from_millis(from + (look + 1) * 10);
            shedding.observe(Duration::from_millis(late(look)), ALLOWED, now);
        }
        from + tenths * 100
    }

    fn refused(shedding: &Shedding) -> usize {
        let mut rng = Rng::seeded(1);
        (0..1_000).filter(|_| shedding.refuses(&mut rng)).count()
    }

    #[test]
    fn bursts_are_waited_out_and_a_standing_queue_is_not() {
        let mut shedding = Shedding::default();
        let now = pass(&mut shedding, 0, 50, |look| if look % 10 == 0 { 0 } else { 500 });
        assert_eq!((refused(&shedding), shedding.standing()), (0, Duration::ZERO));
        let now = pass(&mut shedding, now, 3, |_| 60);
        assert!((150..400).contains(&refused(&shedding)), "{shedding:?}");
        let now = pass(&mut shedding, now, 100, |_| 60);
        assert_eq!(shedding.standing(), Duration::from_millis(60));
        assert!(
            (850..950).contains(&refused(&shedding)),
            "something is always served: {shedding:?}"
        );
        pass(&mut shedding, now, 10, |_| 10);
        assert_eq!(refused(&shedding), 0);
    }

    #[test]
    fn nothing_is_refused_where_nobody_asked_for_it() {
        let mut shedding = Shedding::default();
        for tenth in 1..100 {
            shedding.observe(Duration::from_secs(9), None, Now::from_millis(tenth * 100));
        }
        assert_eq!((refused(&shedding), shedding.standing()), (0, Duration::from_secs(9)));
    }
}
