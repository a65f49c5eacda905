//! Health: what a backend's checks and answers say about it, as pure state machines without a clock.
//!
//! [`Check`] turns the results of active checks into healthy and unhealthy; [`Ejection`] takes a backend out for a time
//! because of how it answers real work, judged against the rest of its pool by [`stands_out`] after a row of failures, and
//! by [`unsuccessful`] and [`slow`] over an interval. How these and an operator's wishes add up to one [`State`] is decided
//! in [`membership`](crate::membership).

mod check;
mod compare;
mod evidence;
mod outlier;
mod state;

pub use check::{Check, CheckRules, Initial, Phase};
pub use compare::{Latency, SuccessRate, slow, unsuccessful};
pub use evidence::stands_out;
pub use outlier::{EJECTION_MAX, Ejected, Ejection, Offence, Outlier};
pub use state::{Cause, State};
