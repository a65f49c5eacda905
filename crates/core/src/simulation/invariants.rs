//! What holds in every simulation, after every step and for every pick.

use super::backends::Behaviour;
use super::world::World;
use crate::health::State;
use crate::name::BackendId;

impl World {
    /// Who was just chosen may be chosen.
    pub(super) fn check_pick(&self, id: BackendId) {
        let status = self.membership.status(&*self.policy, self.now);
        let chosen = status
            .iter()
            .find(|status| status.backend.id == id)
            .expect("of the pool");
        assert!(
            !chosen.state.is_withdrawn(),
            "never draining or maintenance: {chosen:?}"
        );
        assert!(chosen.weight > 0, "never weight 0");
        let healthy = chosen.state == State::Healthy;
        let starting = chosen.state == State::Unknown;
        assert!(healthy || starting || self.pool.view().panicking, "{chosen:?}");
    }

    /// What holds after every step.
    pub(super) fn check_invariants(&mut self) {
        let view = self.pool.view();
        self.panicking += u64::from(view.panicking);
        let shares: f64 = view.tiers.iter().map(|tier| tier.share).sum();
        assert!(
            view.tiers.is_empty() || (shares - 1.0).abs() < 1e-9,
            "shares sum to 1: {shares}"
        );
        assert!(view.tiers.iter().all(|tier| !tier.members.is_empty()));
        for (server, backend) in self.servers.iter().zip(&self.backends) {
            if server.behaviour == Behaviour::Well {
                let busy = server.serving.len() + server.waiting.len();
                assert_eq!(backend.load.in_flight() as usize, busy, "leases are counted");
            }
        }
        let (mut in_rotation, mut ejected, mut healthy) = (0, 0, 0);
        for status in self.membership.status(&*self.policy, self.now) {
            if status.weight > 0 && !status.state.is_withdrawn() {
                in_rotation += 1;
                ejected += usize::from(status.state == State::Ejected);
                healthy += usize::from(status.state == State::Healthy);
            }
        }
        if let Some(outlier) = &self.membership.rules().outlier {
            assert!(
                outlier.allows(ejected, in_rotation),
                "{ejected} of {in_rotation} are ejected"
            );
        }
        assert!(ejected == 0 || healthy > 0, "the last usable one is never ejected");
    }
}
