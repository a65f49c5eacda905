//! The process's clock, as core's points in time.

use std::time::Instant;

use plimsoll_core::time::Now;

/// Turns the monotonic clock into [`Now`]; one origin for the whole process.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Clock(Instant::now())
    }

    /// The time.
    pub fn now(&self) -> Now {
        Now::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
