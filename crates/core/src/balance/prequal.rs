//! Prequal: of those that have little in hand the fastest, and when all have much, the one with the least.
//!
//! "Load is not what you should balance: Introducing Prequal" (Wydrowski, Kleinberg, Rumble, Archer; NSDI 2024). Its rule
//! is lexicographic: a member is hot when its requests in flight exceed a high quantile of all members', and cold
//! otherwise; the cold one with the lowest latency is taken, and without any cold one the least loaded.
//!
//! The paper's clients are many and see little each, so that they probe: each learns a few replicas' requests in flight and
//! latency, and keeps the answers for a moment. A proxy sees all of its own traffic and needs no probe: in-flight counts
//! are exact and at hand, and latencies come with the answers, kept by the load that each request met ([`Curve`]). What
//! probes would tell beyond that, other nodes' work and the machine's own, backends may report (ORCA).
//!
//! [`Curve`]: crate::curve::Curve

use super::draw::Draw;
use super::latency::weight;
use super::scan::{SCAN_MAX, Scan};
use super::{PickCx, Picker, Policy};
use crate::document;
use crate::document::{Decode, Faults, Json, Node};
use crate::members::{Member, Members, Slot};
use crate::time::Now;

document! {
    /// The fastest of those whose requests in flight are not above a high quantile of all members'; the least loaded when
    /// there is none.
    pub struct Prequal {
        /// The quantile of requests in flight above which a member is hot: 0.84 unless set.
        pub hot_quantile: Quantile = Quantile(0.84),
    }
}

/// A share between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile(f64);

impl Decode for Quantile {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let share = f64::decode(node, faults)?;
        if !(0.0..=1.0).contains(&share) {
            faults
                .error(node.span, format!("{share} is no quantile: 0 to 1"))
                .help("0.84 is the paper's; less balances load, more balances latency");
            return None;
        }
        Some(Quantile(share))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "number", "minimum": 0.0, "maximum": 1.0 })
    }
}

impl Policy for Prequal {
    fn build(&self, members: &Members) -> Box<dyn Picker> {
        Box::new(HotOrCold {
            quantile: self.hot_quantile.0,
            scan: Scan::new(members),
            sample: (members.len() > SAMPLE).then(|| Draw::new(members)),
        })
    }
}

/// Members whose load the quantile is taken of: all, or this many drawn ones. The paper's pool of probes holds as many.
const SAMPLE: usize = 16;

/// What a hot member costs more than any cold one.
const HOT: f32 = 10_000.0;

/// A tenth more or less is the same latency: then the one with less in hand is taken.
const SAME: f32 = 1.1;

/// The utilisation that a backend reports above which it is hot, whatever is in flight from here.
const UTILISATION_MAX: f32 = 0.9;

struct HotOrCold {
    quantile: f64,
    scan: Scan,
    sample: Option<Draw>,
}

impl Picker for HotOrCold {
    fn pick(&self, members: &Members, cx: &mut PickCx<'_>) -> Option<Slot> {
        let now = cx.now;
        let threshold = self.threshold(members, cx);
        let look = |member: &Member| Look {
            load: load(member, now),
            next: (load(member, now) * weight(member) + 1.0) / weight(member),
            millis: member.backend.curve.at(member.backend.load.in_flight() + 1, now),
            utilisation: member.backend.report.utilisation(now),
        };
        self.scan.lowest(
            members,
            cx,
            f32::NEG_INFINITY,
            |member| look(member).cost(threshold),
            |member| look(member).in_words(threshold),
        )
    }
}

impl HotOrCold {
    /// The quantile of the members' load; with few members rounded down, so that one of two or three can be hot.
    fn threshold(&self, members: &Members, cx: &mut PickCx<'_>) -> f32 {
        let mut loads = [0.0; SAMPLE];
        let count = members.len().min(SAMPLE);
        for (at, place) in loads[..count].iter_mut().enumerate() {
            let slot = self.sample.as_ref().map_or(at, |draw| draw.any(members, cx.rng));
            *place = load(&members[slot], cx.now);
        }
        loads[..count].sort_unstable_by(f32::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place among sixteen"
        )]
        let place = (self.quantile * count.saturating_sub(1) as f64) as usize;
        loads[..count].get(place).copied().unwrap_or_default()
    }
}

/// Requests in flight, and failures of late, for each weight.
fn load(member: &Member, now: Now) -> f32 {
    member.backend.load.pressure(now) / weight(member)
}

/// What is seen of a member.
struct Look {
    load: f32,
    /// The load with one more.
    next: f32,
    /// What one more would take, as far as any has been answered.
    millis: Option<f32>,
    utilisation: Option<f32>,
}

impl Look {
    fn is_hot(&self, threshold: f32) -> bool {
        self.load > threshold || self.utilisation.is_some_and(|share| share > UTILISATION_MAX)
    }

    /// Lexicographic in one number: cold before hot; among the cold the latency, in steps of [`SAME`], before the load.
    fn cost(&self, threshold: f32) -> f32 {
        if self.is_hot(threshold) {
            return HOT + self.load;
        }
        // Who has not answered yet comes first. That cannot be much: it is hot before it has more than the others.
        let steps = self.millis.map_or(-HOT, |millis| (millis.ln() / SAME.ln()).round());
        steps + self.next / (self.next + 1.0)
    }

    fn in_words(&self, threshold: f32) -> String {
        let Look { load, millis, .. } = self;
        let reported = self.utilisation.map_or(String::new(), |share| {
            format!(", utilisation {:.0} % as it reports", share * 100.0)
        });
        if self.is_hot(threshold) {
            format!("hot: {load:.1} in hand for each weight, {threshold:.1} is much{reported}")
        } else {
            let expected = millis.map_or("no answer yet".into(), |millis| {
                format!("{millis:.2} ms expected with one more")
            });
            format!("cold: {expected}, {load:.1} in hand for each weight{reported}")
        }
    }
}

const _: () = assert!(SAMPLE <= SCAN_MAX);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::PolicyConfig;
    use super::super::conformance::{Worker, members};
    use super::*;

    fn worker(weights: &[u32]) -> Worker {
        Worker::new(&PolicyConfig::named("prequal").unwrap(), members(weights), 1)
    }

    fn answer(worker: &Worker, slot: Slot, in_flight: u32, millis: u64) {
        let curve = &worker.members[slot].backend.curve;
        curve.record(in_flight, Duration::from_millis(millis), worker.now);
    }

    #[test]
    fn the_fastest_is_taken_until_it_is_hot() {
        let mut worker = worker(&[1, 1, 1, 1]);
        for (slot, millis) in [(0, 50), (1, 10), (2, 50), (3, 30)] {
            answer(&worker, slot, 1, millis);
        }
        // One of four may have more in hand than the rest.
        let mut taken = Vec::new();
        for _ in 0..4 {
            let slot = worker.pick(None, &[]).unwrap();
            assert!(worker.members[slot].backend.load.enter(u32::MAX));
            taken.push(slot);
        }
        assert_eq!(taken, [1, 3, 1, 3]);
        answer(&worker, 1, 2, 200);
        answer(&worker, 3, 2, 200);
        assert!([0, 2].contains(&worker.pick(None, &[]).unwrap()), "with more in hand they are slow");
    }

    #[test]
    fn a_backend_that_reports_to_be_full_is_hot() {
        let mut worker = worker(&[1, 1]);
        answer(&worker, 0, 1, 10);
        answer(&worker, 1, 1, 90);
        assert_eq!(worker.pick(None, &[]), Some(0));
        let report = &worker.members[0].backend.report;
        assert!(report.take(crate::orca::FIELDS[0], b"TEXT cpu_utilization=0.95", worker.now));
        assert_eq!(worker.pick(None, &[]), Some(1));
    }

    #[test]
    fn who_has_not_answered_yet_is_tried() {
        let mut worker = worker(&[1, 1]);
        answer(&worker, 0, 1, 1);
        assert_eq!(worker.pick(None, &[]), Some(1));
        assert!(worker.members[1].backend.load.enter(u32::MAX));
        assert_eq!(worker.pick(None, &[]), Some(0), "and has no more than the others before it does");
    }

    #[test]
    fn alike_latencies_go_by_what_is_in_hand() {
        let mut worker = worker(&[1, 3]);
        answer(&worker, 0, 1, 100);
        answer(&worker, 1, 1, 103);
        for (slot, count) in [(0, 1), (1, 2)] {
            (0..count).for_each(|_| assert!(worker.members[slot].backend.load.enter(u32::MAX)));
        }
        assert_eq!(worker.pick(None, &[]), Some(1), "2 of weight 3 are less than 1 of weight 1");
    }
}
