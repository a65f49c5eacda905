//! Backends that flap, a zone that is lost and comes back, a pool that is lost whole, and anything at all.

use super::*;
use crate::balance::{NAMES, Policy, PolicyConfig};
use crate::health::State;
use crate::membership::{Action, Event};

fn policies() -> impl Iterator<Item = (&'static str, Arc<dyn Policy>)> {
    NAMES.iter().map(|name| {
        let policy: Arc<dyn Policy> = Arc::new(PolicyConfig::named(name).unwrap());
        (*name, policy)
    })
}

fn given(world: &World) -> Vec<u64> {
    world.servers.iter().map(|server| server.given).collect()
}

/// What each was given since `before`.
fn since(world: &World, before: &[u64]) -> Vec<u64> {
    let now = given(world);
    now.iter().zip(before).map(|(now, before)| now - before).collect()
}

fn all_healthy(world: &World) -> bool {
    world.states().iter().all(|state| *state == State::Healthy)
}

#[test]
fn flapping_backends_cost_little_and_end_well() {
    for (name, policy) in policies() {
        let mut world = World::new(Setup {
            models: vec![Model::of(20); 6],
            rate: 90.0,
            ..Setup::new(policy)
        });
        for half_second in 0..120 {
            for (at, period) in [(0, 6), (1, 14)] {
                let behaviour = if half_second / period % 2 == 1 {
                    Behaviour::Down
                } else {
                    Behaviour::Well
                };
                if world.servers[at].behaviour != behaviour {
                    world.behave(at, behaviour);
                }
            }
            world.run(secs(0.5));
        }
        let total: u64 = given(&world).iter().sum();
        assert!(world.failed * 200 < total, "{name}: {} of {total} failed", world.failed);
        assert_eq!(world.refused, 0, "{name}");
        assert_eq!(world.panicking, 0, "{name}: four of six never flapped");
        for at in [0, 1] {
            world.behave(at, Behaviour::Well);
        }
        world.run(secs(330.0));
        assert!(all_healthy(&world), "{name}: the longest ejection is over");
        world.finish();
    }
}

#[test]
fn a_lost_zone_is_replaced_by_the_others_and_gets_its_work_back() {
    for (name, policy) in policies() {
        let model = |at: usize| Model {
            zone: Some(["north", "south", "west"][at / 2].into()),
            ..Model::of(10)
        };
        let mut setup = Setup {
            models: (0..6).map(model).collect(),
            rate: 80.0,
            ..Setup::new(policy)
        };
        setup.rules.zone = Some("north".into());
        setup.rules.slow_start = Some(secs(10.0));
        let mut world = World::new(setup);
        world.run(secs(20.0));
        let first = given(&world);
        assert_eq!(first[2..], [0; 4], "{name}: the own zone suffices");
        for at in [0, 1] {
            world.behave(at, Behaviour::Down);
        }
        world.run(secs(10.0));
        let noticed = given(&world);
        let lost = world.failed;
        world.run(secs(20.0));
        let during = since(&world, &noticed);
        assert_eq!(during[..2], [0; 2], "{name}");
        let (south, west) = (during[2] + during[3], during[4] + during[5]);
        assert!(south.abs_diff(west) < (south + west) / 8, "{name}: {during:?}");
        assert_eq!((world.failed, world.panicking), (lost, 0), "{name}");
        assert!(lost < 20, "{name}: retries go to the other zones: {lost}");
        for at in [0, 1] {
            world.behave(at, Behaviour::Well);
        }
        world.run(secs(10.0));
        let back = given(&world);
        world.run(secs(20.0));
        let after = since(&world, &back);
        assert_eq!(after[2..], [0; 4], "{name}: {after:?}");
        assert!(after[0].abs_diff(after[1]) < 600, "{name}: {after:?}");
        world.finish();
    }
}

#[test]
fn a_pool_that_is_lost_whole_panics_and_recovers() {
    for (name, policy) in policies() {
        let mut world = World::new(Setup {
            models: vec![Model::of(10); 4],
            rate: 80.0,
            ..Setup::new(policy)
        });
        world.run(secs(10.0));
        assert_eq!(world.panicking, 0, "{name}");
        for at in 0..4 {
            world.behave(at, Behaviour::Down);
        }
        world.run(secs(20.0));
        assert!(world.panicking > 0, "{name}");
        assert_eq!(world.refused, 0, "{name}: in a panic all are tried");
        for at in 0..4 {
            world.behave(at, Behaviour::Well);
        }
        world.run(secs(1.0));
        let failed = world.failed;
        world.run(secs(60.0));
        assert_eq!(
            world.failed, failed,
            "{name}: in a panic they are found as soon as they are back"
        );
        assert!(all_healthy(&world), "{name}");
        world.finish();
    }
}

/// One thing that can happen to a pool, drawn at random.
fn anything(world: &mut World) {
    let at = world.rng.index(world.servers.len());
    let backend = world.id(at);
    let operate = |action| Event::Operator { backend, action };
    match world.rng.below(10) {
        0 => world.behave(at, Behaviour::Down),
        1 => world.behave(at, Behaviour::Resets),
        2 => world.behave(at, Behaviour::ServerErrors),
        3 | 4 => world.behave(at, Behaviour::Well),
        5 => world.apply(operate(Action::Drain)),
        6 => world.apply(operate(Action::Maintenance)),
        7 => world.apply(operate(Action::Ready)),
        8 => {
            let weight = [None, Some(0), Some(3)][world.rng.index(3)];
            world.apply(operate(Action::Weight(weight)));
        }
        _ => {
            let present: Vec<usize> = (0..world.servers.len()).filter(|_| world.rng.unit() < 0.7).collect();
            world.discover(&present);
        }
    }
}

#[test]
fn whatever_happens_the_invariants_hold_and_the_pool_recovers() {
    for (name, policy) in policies() {
        // Hash policies build tables for every change, which takes most of the time: one seed for those.
        let seeds = if policy.key().is_some() { 1 } else { 4 };
        for seed in 0..seeds {
            let model = |at: usize| Model {
                zone: [None, Some("n".into()), Some("s".into())][at % 3].clone(),
                priority: u32::from(at >= 6),
                weight: [1, 2, 5][at % 3],
                ..Model::of(10)
            };
            let mut setup = Setup {
                seed,
                models: (0..9).map(model).collect(),
                rate: 120.0,
                broken_url: 0.05,
                ..Setup::new(policy.clone())
            };
            setup.rules.zone = Some("n".into());
            setup.rules.slow_start = Some(secs(5.0));
            setup.rules.panic_threshold = [50, 0, 100, 30][usize::try_from(seed).unwrap()];
            let mut world = World::new(setup);
            for _ in 0..100 {
                anything(&mut world);
                world.run(secs(0.3));
            }
            world.discover(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
            for at in 0..9 {
                world.behave(at, Behaviour::Well);
                let backend = world.id(at);
                for action in [Action::Ready, Action::Weight(None)] {
                    world.apply(Event::Operator { backend, action });
                }
            }
            world.run(secs(340.0));
            assert!(all_healthy(&world), "{name}, seed {seed}: {:?}", world.states());
            world.finish();
        }
    }
}
