//! Ring hash: keys and members on one circle; a key goes to the next member's point (Karger et al. 1997, ketama).
//!
//! A change of members moves only the keys that have to move. A member's share varies by 8 % over the root of
//! its weight, where maglev's varies by 1 %; in return nothing strays, as long as the ring is not full.

use super::bounded_load::LoadFactor;
use super::hashed::Hashed;
use super::ring::Ring;
use super::{HashKey, PickCx, Picker, Policy};
use crate::document;
use crate::members::{Members, Slot};

document! {
    /// The member whose point on the circle of hashes follows the key's: 160 points for each unit of weight.
    pub struct RingHash {
        /// What is sent alike.
        pub key: HashKey = HashKey::ClientIp,
        /// The factor over its fair share to which a member may be filled before the next on the circle is taken;
        /// 1.5 is 150 %.
        pub load_factor: Option<LoadFactor>,
    }
}

impl Policy for RingHash {
    fn build(&self, members: &Members) -> Box<dyn Picker> {
        Box::new(OnRing::new(members, self.load_factor))
    }

    fn key(&self) -> Option<&HashKey> {
        Some(&self.key)
    }
}

/// The picker of `ring-hash` and `ip-hash`.
pub(super) struct OnRing {
    hashed: Hashed,
    ring: Ring,
}

impl OnRing {
    pub(super) fn new(members: &Members, load_factor: Option<LoadFactor>) -> Self {
        let hashed = Hashed::new(members, load_factor);
        OnRing {
            ring: Ring::new(&hashed, members),
            hashed,
        }
    }
}

impl Picker for OnRing {
    fn pick(&self, members: &Members, cx: &mut PickCx<'_>) -> Option<Slot> {
        let walk = self.ring.walk(cx.key);
        self.hashed.first(members, cx, walk)
    }
}
