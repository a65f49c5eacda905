//! What the hash policies share: members as hashes, the walk from a key's place, and what is done when it ends.

use super::PickCx;
use super::bounded_load::{BoundedLoad, Ceiling, LoadFactor};
use super::hash_key::hash_address;
use super::rendezvous::highest;
use crate::decision::{Stage, Verdict, note};
use crate::members::{Members, Slot};

/// Places that a walk looks at, from a key's own on, before the whole set is scanned. With half of the places closed
/// (tried, or at their bound) one walk in 2^64 gets that far.
const WALK_MAX: usize = 64;

/// One set of members, as hash policies see it.
pub(super) struct Hashed {
    /// By slot: the hash of the member's address.
    pub(super) ids: Box<[u64]>,
    /// How full a member may get.
    bound: Option<BoundedLoad>,
}

impl Hashed {
    pub(super) fn new(members: &Members, factor: Option<LoadFactor>) -> Self {
        let addresses = members.as_slice().iter().map(|member| member.backend.address);
        Hashed {
            ids: addresses.map(hash_address).collect(),
            bound: factor.map(|factor| BoundedLoad::new(factor, members)),
        }
    }

    /// The slots in an order that depends on the members' addresses alone.
    pub(super) fn in_order(&self, members: &Members) -> Vec<Slot> {
        let mut slots: Vec<Slot> = (0..self.ids.len()).collect();
        slots.sort_unstable_by_key(|slot| (self.ids[*slot], members[*slot].backend.address));
        slots
    }

    /// How full a member may be now, when there is a bound.
    pub(super) fn ceiling(&self, members: &Members, cx: &mut PickCx<'_>) -> Option<Ceiling> {
        self.bound.as_ref().map(|bound| bound.ceiling(members, cx))
    }

    /// The first open member under its bound on `walk`, which starts at the key's own place.
    pub(super) fn first(
        &self,
        members: &Members,
        cx: &mut PickCx<'_>,
        walk: impl Iterator<Item = Slot>,
    ) -> Option<Slot> {
        let ceiling = self.ceiling(members, cx);
        for (step, slot) in walk.take(WALK_MAX).enumerate() {
            if self.admits(members, cx, ceiling, slot) {
                let key = cx.key;
                cx.note(&members[slot], Verdict::Taken, || match step {
                    0 => format!("key {key:016x} is its"),
                    _ => format!("the next after {step} places for key {key:016x}"),
                });
                return Some(slot);
            }
        }
        self.scan(members, cx, ceiling)
    }

    /// Whether `slot` may be chosen, with a note when not.
    fn admits(&self, members: &Members, cx: &mut PickCx<'_>, ceiling: Option<Ceiling>, slot: Slot) -> bool {
        let member = &members[slot];
        if !cx.is_open(member) {
            cx.note(member, Verdict::Refused, || "it was tried or is full".into());
            return false;
        }
        match ceiling {
            Some(ceiling) if !ceiling.admits(member) => {
                cx.note(member, Verdict::Refused, || {
                    format!(
                        "{} in flight and one more pass its bounded load of {}",
                        member.backend.load.in_flight(),
                        ceiling.of(member)
                    )
                });
                false
            }
            _ => true,
        }
    }

    /// The best of all members by rendezvous, which every node agrees on: first of those under their bound; when all
    /// that are open have reached it (those below were tried), of the open ones, since work goes before evenness.
    pub(super) fn scan(&self, members: &Members, cx: &mut PickCx<'_>, ceiling: Option<Ceiling>) -> Option<Slot> {
        let slot = highest(&self.ids, members, cx.key, |member| {
            cx.is_open(member) && ceiling.is_none_or(|ceiling| ceiling.admits(member))
        })
        .or_else(|| highest(&self.ids, members, cx.key, |member| cx.is_open(member)));
        note(&mut cx.record, || match slot {
            Some(slot) => (
                Stage::Pick,
                members[slot].name.to_string(),
                Verdict::Taken,
                format!(
                    "the highest rendezvous score of {} members for key {:016x}",
                    members.len(),
                    cx.key
                ),
            ),
            None => (
                Stage::Pick,
                "members".into(),
                Verdict::Refused,
                "all were tried or are full".into(),
            ),
        });
        slot
    }
}
