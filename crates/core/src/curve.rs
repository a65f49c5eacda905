//! A backend's latency by how much it had in hand: an estimate for each doubling of the requests in flight.
//!
//! A single average mixes what a backend did idle with what it did full, and lags behind its load. Prequal's replicas
//! (Wydrowski and others, NSDI 2024) answer a probe with the latency of recent requests that found about as many in flight
//! as there are now; this keeps the same in ten words.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::load::{LATENCY_DECAY, decayed, pack, unpack};
use crate::time::Now;

/// Doublings: 1, 2 to 3, 4 to 7, … and 512 or more.
const STEPS: usize = 10;

/// What one sample weighs in an estimate.
const WEIGHT: f32 = 1.0 / 8.0;

/// Age at which an estimate is replaced by a sample rather than moved towards it.
const OLD: Duration = Duration::from_secs(2);

/// Latency estimates in milliseconds, each with the time of its last sample; 0 is "none yet".
#[derive(Debug, Default)]
pub struct Curve([AtomicU64; STEPS]);

impl Curve {
    /// Records an answer to a request that made it `in_flight`.
    pub fn record(&self, in_flight: u32, latency: Duration, now: Now) {
        let word = &self.0[step(in_flight)];
        let sample = (latency.as_secs_f32() * 1e3).max(1e-3);
        let packed = word.load(Relaxed);
        let estimate = match unpack(packed, now) {
            (estimate, age) if packed != 0 && age < OLD => estimate + (sample - estimate) * WEIGHT,
            _ => sample,
        };
        word.store(pack(estimate, now), Relaxed);
    }

    /// The latency, in milliseconds, of a request that makes it `in_flight`: of the nearest number there is an estimate
    /// for, a smaller one first. It fades while no answer comes, so that who was slow is tried again.
    pub fn at(&self, in_flight: u32, now: Now) -> Option<f32> {
        let own = step(in_flight);
        let nearest = (0..STEPS).flat_map(|apart| [own.checked_sub(apart), Some(own + apart)]);
        nearest
            .flatten()
            .filter_map(|step| self.0.get(step))
            .map(|word| word.load(Relaxed))
            .find(|packed| *packed != 0)
            .map(|packed| {
                let (estimate, age) = unpack(packed, now);
                decayed(estimate, age, LATENCY_DECAY)
            })
    }
}

fn step(in_flight: u32) -> usize {
    (in_flight.max(1).ilog2() as usize).min(STEPS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_doubling_has_its_estimate_and_lends_it_to_its_neighbours() {
        let (curve, now) = (Curve::default(), Now::from_millis(1));
        assert_eq!(curve.at(5, now), None);
        curve.record(4, Duration::from_millis(40), now);
        curve.record(1, Duration::from_millis(10), now);
        for (in_flight, millis) in [(1, 10.0), (3, 10.0), (4, 40.0), (7, 40.0), (8, 40.0), (100_000, 40.0)] {
            assert_eq!(curve.at(in_flight, now), Some(millis), "{in_flight}");
        }
        curve.record(5, Duration::from_millis(80), now);
        assert_eq!(curve.at(4, now), Some(45.0));
        let later = now + Duration::from_secs(10);
        assert!((16.0..17.0).contains(&curve.at(4, later).unwrap()), "45 / e");
        curve.record(4, Duration::from_millis(20), later);
        assert_eq!(curve.at(4, later), Some(20.0), "what is old is replaced");
    }
}
