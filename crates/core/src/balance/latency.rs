//! Latency estimates as policies compare them, and where a backend starts that has none yet.

use crate::members::{Member, Members, Slot};
use crate::time::Now;

/// Members that are asked for an estimate when one has none.
const RIVALS_MAX: usize = 16;

/// What a backend without an estimate counts as. Counted as 0 it would draw all the work until its first answer, and
/// counted as slow it would get none.
pub(super) struct Newcomers {
    /// The median of the members' estimates when the picker was built.
    median_ms: Option<f32>,
}

impl Newcomers {
    pub(super) fn new(members: &Members) -> Self {
        let mut known: Vec<f32> = members
            .as_slice()
            .iter()
            .filter_map(|member| member.backend.load.latency_ms())
            .collect();
        let middle = known.len() / 2;
        let median_ms = (!known.is_empty()).then(|| *known.select_nth_unstable_by(middle, f32::total_cmp).1);
        Newcomers { median_ms }
    }

    /// The estimate of `member` in milliseconds; without one the pool's median, else `rival`'s, else the same for all.
    pub(super) fn estimate_ms(&self, member: &Member, now: Now, rival: impl FnOnce() -> Option<f32>) -> f32 {
        let own = member.backend.load.latency_ms_at(now);
        own.or(self.median_ms).or_else(rival).unwrap_or(1.0)
    }
}

/// The first estimate found among some members, starting at the worker's own place in the list.
pub(super) fn any_rival_ms(members: &Members, seq: u64, now: Now) -> Option<f32> {
    let len = members.len();
    #[expect(clippy::cast_possible_truncation, reason = "below the number of members")]
    let first = (seq % len.max(1) as u64) as Slot;
    (0..len.min(RIVALS_MAX)).find_map(|step| members[(first + step) % len].backend.load.latency_ms_at(now))
}

/// Latency × (pressure + 1) / weight: how long one more would wait, were the work in hand done one by one (Finagle's
/// peak EWMA cost, by weight).
pub(super) fn expected_wait(estimate_ms: f32, member: &Member, now: Now) -> f32 {
    estimate_ms * (member.backend.load.pressure(now) + 1.0) / weight(member)
}

/// The weight as a float.
#[expect(clippy::cast_precision_loss, reason = "weights stay far below 2^24")]
pub(super) fn weight(member: &Member) -> f32 {
    member.weight as f32
}

/// An estimate and the load behind it, in words.
pub(super) fn wait_in_words(estimate_ms: f32, member: &Member, now: Now) -> String {
    let load = &member.backend.load;
    format!(
        "{estimate_ms:.2} ms{} × ({:.1} in flight or failed of late + 1) / weight {} = {:.2}",
        if load.latency_ms().is_some() {
            ""
        } else {
            " (assumed: no answer yet)"
        },
        load.pressure(now),
        member.weight,
        expected_wait(estimate_ms, member, now),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::conformance::members;
    use super::*;
    use crate::load::Sign;

    fn answer(member: &Member, millis: u64) {
        let latency = Duration::from_millis(millis);
        member.backend.load.record(Sign::Success, latency, latency, Now::START);
    }

    #[test]
    fn a_newcomer_starts_at_the_median_then_at_a_rivals_then_level() {
        let set = members(&[1, 1, 1, 1]);
        let fresh = Newcomers::new(&set);
        let estimate = |newcomers: &Newcomers, slot: Slot| {
            newcomers.estimate_ms(&set[slot], Now::START, || any_rival_ms(&set, 5, Now::START))
        };
        assert_eq!(estimate(&fresh, 0), 1.0);
        answer(&set[2], 40);
        assert_eq!(estimate(&fresh, 0), 40.0);
        answer(&set[1], 10);
        answer(&set[3], 70);
        assert_eq!(estimate(&Newcomers::new(&set), 0), 40.0);
        assert_eq!(estimate(&fresh, 3), 70.0, "its own, when it has one");
    }
}
