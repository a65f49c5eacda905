//! Backoff: how long a retry waits before it begins.

use std::time::Duration;

use crate::rng::Rng;

/// How long retries wait: any time up to a limit that doubles with each retry of a request, all times alike ("full
/// jitter", Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). What failed together does not
/// come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The limit for a request's first retry.
    pub base: Duration,
    /// Where the limit stops growing.
    pub max: Duration,
    /// Whether the first retry waits, too.
    pub first: bool,
}

impl Backoff {
    /// Envoy's 25 ms, growing to ten times that.
    pub const BASE: Duration = Duration::from_millis(25);

    /// How far the limit grows when nobody says so, in bases: Envoy's.
    pub const GROWTH: u32 = 10;

    /// That of a route that says nothing. The first retry goes at once, as in HAProxy, nginx and linkerd: it goes to
    /// another backend when there is one, and that one's trouble is not known to be the same.
    pub const DEFAULT: Backoff = Backoff {
        base: Backoff::BASE,
        max: Duration::from_millis(250),
        first: false,
    };

    /// The longest that the retry `number`, counted from 1, may wait.
    pub fn limit(&self, number: u32) -> Duration {
        if number == 1 && !self.first {
            return Duration::ZERO;
        }
        let doublings = number.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.max)
    }

    /// How long the retry `number`, counted from 1, waits.
    pub fn draw(&self, number: u32, rng: &mut Rng) -> Duration {
        self.limit(number).mul_f64(rng.unit())
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn the_limit_doubles_up_to_its_end() {
        let backoff = Backoff {
            first: true,
            ..Backoff::DEFAULT
        };
        let limits: Vec<Duration> = (1..=6).map(|number| backoff.limit(number)).collect();
        assert_eq!(limits, [25, 50, 100, 200, 250, 250].map(millis));
        assert_eq!(backoff.limit(u32::MAX), millis(250));
        assert_eq!(Backoff::DEFAULT.limit(1), Duration::ZERO, "the first goes at once");
        assert_eq!(Backoff::DEFAULT.limit(2), millis(50));
    }

    #[test]
    fn every_time_up_to_the_limit_is_drawn_as_often_as_the_others() {
        let backoff = Backoff {
            base: millis(100),
            max: millis(100),
            first: true,
        };
        let mut rng = Rng::seeded(7);
        let mut tenths = [0u32; 10];
        for _ in 0..10_000 {
            let drawn = backoff.draw(1, &mut rng);
            assert!(drawn < millis(100), "{drawn:?}");
            tenths[usize::try_from(drawn.as_millis() / 10).unwrap()] += 1;
        }
        // 1,000 each; four standard deviations are 120.
        assert!(tenths.iter().all(|count| (880..=1_120).contains(count)), "{tenths:?}");
    }
}
