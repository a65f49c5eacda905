//! Ten thousand backends.

use super::*;
use crate::backend::Backend;
use crate::balance::PolicyConfig;
use crate::load::Sign;
use crate::membership::{Event, Membership, Spec};
use crate::name::BackendId;
use crate::rng::Rng;
use crate::time::Now;

const BACKENDS: u32 = 10_000;

#[test]
fn ten_thousand_backends_join_fail_and_are_arranged() {
    let rules = Rules {
        zone: Some("z1".into()),
        slow_start: Some(secs(30.0)),
        ..Rules::default()
    };
    let mut membership = Membership::new(rules);
    let mut rng = Rng::seeded(1);
    let now = Now::from_millis(1);
    let spec = |id: u32| {
        let address = ([10, 0, 0, 1], u16::try_from(id).unwrap()).into();
        Spec {
            zone: Some(format!("z{}", id % 3).into()),
            ..Spec::new(Arc::new(Backend::new(BackendId(id), "p", address)), format!("b{id}"))
        }
    };
    let specs: Vec<Spec> = (0..BACKENDS).map(spec).collect();
    membership.set(specs.clone(), now);
    for id in 0..BACKENDS {
        let (backend, cause) = (BackendId(id), "".into());
        let check = Event::Check {
            backend,
            passed: true,
            cause,
        };
        assert_eq!(membership.apply(check, now, &mut rng).len(), 1);
    }
    let mut ejected = 0;
    for spec in &specs {
        for _ in 0..5 {
            spec.backend.load.record(Sign::Failure, secs(0.0), secs(0.0), now);
        }
        let backend = spec.backend.id;
        ejected += membership.apply(Event::Suspect { backend }, now, &mut rng).len();
    }
    assert_eq!(ejected, 5_000, "half of the pool");
    let policy = PolicyConfig::named("round-robin").unwrap();
    let view = membership.view(&policy, now, None);
    let members: usize = view.tiers.iter().map(|tier| tier.members.len()).sum();
    assert_eq!((members, view.panicking), (5_000, false));
    assert_eq!(membership.set(specs, now), []);
    let mut steps = 0;
    while let Some(deadline) = membership.next_deadline() {
        // As often as control rebuilds a pool.
        let at = deadline + secs(0.1);
        membership.tick(at, &mut rng);
        steps += 1;
        assert!(steps < 2_000);
    }
    let view = membership.view(&policy, now, None);
    let members: usize = view.tiers.iter().map(|tier| tier.members.len()).sum();
    assert_eq!(members, 10_000);
}
