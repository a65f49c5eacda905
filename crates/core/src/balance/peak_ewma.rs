//! Peak EWMA: of two drawn members, the one with the lower latency × work in hand.
//!
//! The estimate jumps to a slow answer at once and comes down slowly (Finagle's and linkerd's peak EWMA); two draws
//! keep workers that see the same estimates from all running to the same backend.

use super::draw::Draw;
use super::latency::{Newcomers, expected_wait, wait_in_words};
use super::{PickCx, Picker, Policy};
use crate::decision::Verdict;
use crate::document;
use crate::members::{Members, Slot};

document! {
    /// Of two members drawn by weight, the one with the lower latency × (requests in flight + 1) / weight.
    pub struct PeakEwma {}
}

impl Policy for PeakEwma {
    fn build(&self, members: &Members) -> Box<dyn Picker> {
        Box::new(FasterOfTwo {
            draw: Draw::new(members),
            newcomers: Newcomers::new(members),
        })
    }
}

struct FasterOfTwo {
    draw: Draw,
    newcomers: Newcomers,
}

impl Picker for FasterOfTwo {
    fn pick(&self, members: &Members, cx: &mut PickCx<'_>) -> Option<Slot> {
        let (first, second) = self.draw.pair(members, cx)?;
        let Some(second) = second else {
            cx.note(&members[first], Verdict::Taken, || "the only one that is left".into());
            return Some(first);
        };
        let now = cx.now;
        let estimate_ms = |slot: Slot, rival: Slot| {
            let rival = || members[rival].backend.load.latency_ms_at(now);
            self.newcomers.estimate_ms(&members[slot], now, rival)
        };
        let estimates = [estimate_ms(first, second), estimate_ms(second, first)];
        let waits = [
            expected_wait(estimates[0], &members[first], now),
            expected_wait(estimates[1], &members[second], now),
        ];
        // On a tie the first: it was drawn by weight.
        let (taken, passed, at) = if waits[1] < waits[0] {
            (second, first, 1)
        } else {
            (first, second, 0)
        };
        for (slot, at, verdict) in [(taken, at, Verdict::Taken), (passed, 1 - at, Verdict::Passed)] {
            cx.note(&members[slot], verdict, || {
                format!(
                    "one of two drawn: {}",
                    wait_in_words(estimates[at], &members[slot], now)
                )
            });
        }
        Some(taken)
    }
}
