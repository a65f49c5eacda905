//! Backends whose checks pass and whose answers are bad, and answers that are no backend's fault.

use super::*;
use crate::balance::{NAMES, Policy, PolicyConfig};
use crate::health::State;

fn world(policy: &str, seed: u64, rate: f64, broken_url: f64) -> World {
    let policy: Arc<dyn Policy> = Arc::new(PolicyConfig::named(policy).unwrap());
    World::new(Setup {
        seed,
        models: vec![Model::of(5); 3],
        rate,
        broken_url,
        ..Setup::new(policy)
    })
}

fn ejections(world: &World) -> usize {
    world.transitions.iter().filter(|to| to.to == State::Ejected).count()
}

/// Runs ten minutes with a first backend that is bad, and returns the share of the work that it was given.
fn share_of_the_bad(policy: &str, behaviour: Behaviour) -> f64 {
    let mut world = world(policy, 1, 100.0, 0.0);
    world.run(secs(5.0));
    world.behave(0, behaviour);
    let before: Vec<u64> = world.servers.iter().map(|server| server.given).collect();
    world.run(secs(600.0));
    let got: Vec<u64> = world
        .servers
        .iter()
        .zip(before)
        .map(|(server, before)| server.given - before)
        .collect();
    let total: u64 = got.iter().sum();
    let times = ejections(&world);
    println!("{policy}, {behaviour:?}: {} of {total}, ejected {times} times", got[0]);
    assert!(
        times <= 7,
        "30 + 60 + … s: {times} times in ten minutes, though its checks pass"
    );
    world.finish();
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let share = got[0] as f64 / total as f64;
    share
}

#[test]
fn a_backend_that_answers_500_to_everything_attracts_nothing() {
    for policy in NAMES {
        let share = share_of_the_bad(policy, Behaviour::ServerErrors);
        assert!(share < 0.002, "{policy}: {share}");
    }
}

#[test]
fn a_backend_that_resets_everything_attracts_nothing() {
    for policy in NAMES {
        let share = share_of_the_bad(policy, Behaviour::Resets);
        assert!(share < 0.002, "{policy}: {share}");
    }
}

#[test]
fn a_backend_that_is_cured_gets_its_share_back() {
    let mut world = world("round-robin", 1, 100.0, 0.0);
    world.behave(0, Behaviour::ServerErrors);
    world.run(secs(60.0));
    world.behave(0, Behaviour::Well);
    world.run(secs(120.0));
    assert_eq!(world.states()[0], State::Healthy);
    let before = world.servers[0].given;
    world.run(secs(30.0));
    assert!(
        (900..1_100).contains(&(world.servers[0].given - before)),
        "a third of 3,000"
    );
}

#[test]
fn a_url_that_answers_500_on_every_backend_ejects_none() {
    for policy in NAMES {
        for broken_url in [0.1, 0.5, 0.9, 1.0] {
            for (seed, rate) in [(1, 2.0), (2, 20.0), (3, 100.0)] {
                let mut world = world(policy, seed, rate, broken_url);
                world.run(secs(2_000.0 / rate));
                assert_eq!(ejections(&world), 0, "{policy}: {broken_url} of {rate}/s");
                world.finish();
            }
        }
    }
}

#[test]
fn a_url_that_answers_500_ejects_none_where_the_others_have_little_work() {
    for seed in 0..20 {
        let policy: Arc<dyn Policy> = Arc::new(PolicyConfig::named("round-robin").unwrap());
        let weighted = |weight| Model { weight, ..Model::of(5) };
        let mut world = World::new(Setup {
            seed,
            models: vec![weighted(50), weighted(1), weighted(1)],
            rate: 50.0,
            broken_url: 0.8,
            ..Setup::new(policy)
        });
        world.run(secs(120.0));
        assert_eq!(ejections(&world), 0, "seed {seed}");
    }
}
