//! Slow start: a backend that is new or back gets its share in ten steps, so that its caches and its code warm up.

use std::time::Duration;

use crate::time::Now;

/// The share grows in this many steps, from a tenth. Each step rebuilds the pool's pickers, so they are few. It is also
/// the unit of effective weights while anybody in a tier ramps: weight 1 becomes 10, and a tenth of it 1.
pub(super) const STEPS: u32 = 10;

/// The rise of one backend's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ramp {
    from: Now,
    /// Between two steps: a ninth of the whole, so that the tenth step comes at its end.
    pace: Duration,
}

impl Ramp {
    /// A rise that begins at `from`; none when it would take no time.
    pub(super) fn new(slow_start: Option<Duration>, from: Now) -> Option<Self> {
        let pace = slow_start? / (STEPS - 1);
        (!pace.is_zero()).then_some(Ramp { from, pace })
    }

    /// Tenths of its share that the backend gets, 1 to [`STEPS`].
    pub(super) fn step(self, now: Now) -> u32 {
        let steps = now.since(self.from).as_nanos() / self.pace.as_nanos();
        u32::try_from(steps).map_or(STEPS, |steps| steps.saturating_add(1).min(STEPS))
    }

    /// When the step after `step` comes; `None` after the last.
    pub(super) fn after(self, step: u32) -> Option<Now> {
        (step < STEPS).then(|| self.from + self.pace * step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_steps_from_a_tenth_to_the_whole() {
        let from = Now::from_millis(5_000);
        let ramp = Ramp::new(Some(Duration::from_secs(30)), from).expect("takes time");
        let mut now = from;
        let mut steps = vec![ramp.step(now)];
        while let Some(next) = ramp.after(ramp.step(now)) {
            assert!(next > now);
            now = next;
            steps.push(ramp.step(now));
        }
        assert_eq!(steps, (1..=10).collect::<Vec<_>>());
        let took = now.since(from);
        assert!(
            took <= Duration::from_secs(30) && took > Duration::from_millis(29_999),
            "{took:?}"
        );
        assert_eq!(ramp.step(from + Duration::from_secs(86_400)), 10);
    }

    #[test]
    fn no_time_is_no_slow_start() {
        assert_eq!(Ramp::new(None, Now::START), None);
        assert_eq!(Ramp::new(Some(Duration::ZERO), Now::START), None);
    }
}
