//! What is remembered of backends that have left, in case that discovery names them again.

use std::collections::HashMap;

use super::spec::Operator;
use crate::health::Ejection;
use crate::name::BackendId;

/// The most backends that are remembered. When it is reached, those that no operator touched are forgotten, and then no
/// more are taken in; [`Membership::forgotten`](super::Membership::forgotten) counts them.
pub const MEMORY_MAX: usize = 10_000;

/// What an operator set survives until it is undone, and an ejection is not shaken off by a name that flaps in DNS. A
/// check's verdict is not kept: nobody has checked in the meantime.
#[derive(Default)]
pub(super) struct Memory {
    left: HashMap<BackendId, (Operator, Ejection)>,
    pub(super) forgotten: u64,
}

impl Memory {
    /// Remembers what is worth it.
    pub(super) fn keep(&mut self, backend: BackendId, operator: Operator, ejection: Ejection) {
        if !operator.is_set() && ejection == Ejection::default() {
            return;
        }
        if self.left.len() >= MEMORY_MAX {
            let before = self.left.len();
            self.left.retain(|_, (operator, _)| operator.is_set());
            self.forgotten += (before - self.left.len()) as u64;
        }
        if self.left.len() >= MEMORY_MAX {
            self.forgotten += 1;
            return;
        }
        self.left.insert(backend, (operator, ejection));
    }

    /// What is remembered of a backend that comes back, which is then no longer kept here.
    pub(super) fn recall(&mut self, backend: BackendId) -> (Operator, Ejection) {
        self.left.remove(&backend).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_set_is_forgotten_last() {
        let mut memory = Memory::default();
        let drained = Operator {
            weight: Some(0),
            ..Operator::default()
        };
        let ejected = {
            let mut ejection = Ejection::default();
            let rules = crate::health::Outlier::default();
            let mut rng = crate::rng::Rng::seeded(1);
            let offence = crate::health::Offence::Failures(5);
            ejection.begin(offence, (5, 5), &rules, crate::time::Now::START, &mut rng);
            ejection
        };
        memory.keep(BackendId(0), Operator::default(), Ejection::default());
        assert_eq!(memory.left.len(), 0, "nothing to remember");
        memory.keep(BackendId(1), drained, Ejection::default());
        let last = u32::try_from(MEMORY_MAX).expect("small");
        for id in 2..=last + 1 {
            memory.keep(BackendId(id), Operator::default(), ejected);
        }
        assert_eq!(memory.forgotten, u64::from(last) - 1);
        assert_eq!(memory.recall(BackendId(1)).0, drained);
        assert!(memory.recall(BackendId(last + 1)).1.until().is_some());
        assert_eq!(memory.recall(BackendId(2)).1, Ejection::default());
    }
}
