//! Scans: the member that costs least, of all in a small set, of 16 drawn ones in a large one.

use super::PickCx;
use super::draw::Draw;
use crate::decision::{Stage, Verdict, note};
use crate::members::{Member, Members, Slot};

/// The most members that a pick looks at one by one: two cache lines each, a microsecond or so in all.
pub(super) const SCAN_MAX: usize = 128;

/// How many are drawn from a larger set. The best of d random ones leaves the fullest backend
/// log log n / log d above the mean (Azar, Broder, Karlin, Upfal 1994): under 1 for 10,000 members and 16 draws.
pub(super) const SAMPLE: usize = 16;

/// How one set of members is scanned.
pub(super) enum Scan {
    /// All of them.
    Full,
    /// Weighted draws: by slot alone, one heavy member among thousands would hardly ever be looked at.
    Sample(Draw),
}

impl Scan {
    pub(super) fn new(members: &Members) -> Self {
        if members.len() <= SCAN_MAX {
            Scan::Full
        } else {
            Scan::Sample(Draw::new(members))
        }
    }

    /// The open member with the lowest cost, ties broken at random. No cost is below `floor`. `tell` says in words what
    /// a cost was made of.
    pub(super) fn lowest(
        &self,
        members: &Members,
        cx: &mut PickCx<'_>,
        floor: f32,
        cost: impl Fn(&Member) -> f32,
        tell: impl Fn(&Member) -> String,
    ) -> Option<Slot> {
        match self {
            Scan::Full => {
                let best = lowest_of(0..members.len(), members, cx, &cost);
                tell_all(0..members.len(), best, members, cx, &tell);
                best
            }
            Scan::Sample(draw) => {
                let mut drawn = [0; SAMPLE];
                let (best, looked_at) = lowest_drawn(&mut drawn, draw, members, cx, floor, &cost);
                note(&mut cx.record, || {
                    let why = format!("the best of {looked_at} drawn at random of {} members", members.len());
                    (Stage::Pick, "sample".into(), Verdict::Passed, why)
                });
                tell_all(drawn[..looked_at].iter().copied(), best, members, cx, &tell);
                if best.is_some() {
                    return best;
                }
                // All sixteen were tried: the rest may be few, so look at everybody.
                let best = lowest_of(0..members.len(), members, cx, &cost);
                tell_all(best.into_iter(), best, members, cx, &tell);
                best
            }
        }
    }
}

/// Draws members into `drawn` until one costs no more than `floor`, and no other can be better; the first of the lowest
/// and how many were drawn. Each draw is random, so the first of equals is as good a tie-break as any. A member of a
/// large set is in no cache: drawing fewer of them is what a pick from an idle pool saves.
fn lowest_drawn(
    drawn: &mut [Slot; SAMPLE],
    draw: &Draw,
    members: &Members,
    cx: &mut PickCx<'_>,
    floor: f32,
    cost: &impl Fn(&Member) -> f32,
) -> (Option<Slot>, usize) {
    let mut best = None;
    let mut lowest = f32::INFINITY;
    for (at, place) in drawn.iter_mut().enumerate() {
        let slot = draw.any(members, cx.rng);
        *place = slot;
        let member = &members[slot];
        if !cx.is_open(member) {
            continue;
        }
        let cost = cost(member);
        if cost < lowest || best.is_none() {
            (best, lowest) = (Some(slot), cost);
        }
        if cost <= floor {
            return (best, at + 1);
        }
    }
    (best, SAMPLE)
}

fn lowest_of(
    slots: impl Iterator<Item = Slot>,
    members: &Members,
    cx: &mut PickCx<'_>,
    cost: &impl Fn(&Member) -> f32,
) -> Option<Slot> {
    let mut best = None;
    let mut lowest = f32::INFINITY;
    let mut ties = 1;
    for slot in slots {
        let member = &members[slot];
        if !cx.is_open(member) {
            continue;
        }
        let cost = cost(member);
        if cost < lowest || best.is_none() {
            (best, lowest, ties) = (Some(slot), cost, 1);
        } else if cost == lowest {
            // The k-th of equals replaces the one before with probability 1/k: each is as likely in the end.
            ties += 1;
            if cx.rng.below(ties) == 0 {
                best = Some(slot);
            }
        }
    }
    best
}

/// Fills the record with what was compared, if there is one: a second pass, so that the first stays short.
#[cold]
fn tell_each(
    slots: impl Iterator<Item = Slot>,
    best: Option<Slot>,
    members: &Members,
    cx: &mut PickCx<'_>,
    tell: &impl Fn(&Member) -> String,
) {
    let mut told_best = false;
    for slot in slots {
        let member = &members[slot];
        if !cx.is_open(member) {
            cx.note(member, Verdict::Refused, || "it was tried or is full".into());
        } else if best != Some(slot) {
            cx.note(member, Verdict::Passed, || tell(member));
        } else if !told_best {
            told_best = true;
            cx.note(member, Verdict::Taken, || format!("the lowest: {}", tell(member)));
        }
    }
}

#[inline]
fn tell_all(
    slots: impl Iterator<Item = Slot>,
    best: Option<Slot>,
    members: &Members,
    cx: &mut PickCx<'_>,
    tell: &impl Fn(&Member) -> String,
) {
    if cx.record.is_some() {
        tell_each(slots, best, members, cx, tell);
    }
}
