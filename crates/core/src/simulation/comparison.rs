//! Backends that are compared with each other: success rates and latencies that stand out, and pools where none does.

use super::*;
use crate::balance::{NAMES, Policy, PolicyConfig};
use crate::health::{Latency, Outlier, State, SuccessRate};

fn world(policy: &str, seed: u64, models: Vec<Model>, rate: f64) -> World {
    let policy: Arc<dyn Policy> = Arc::new(PolicyConfig::named(policy).unwrap());
    let outlier = Outlier {
        success_rate: Some(SuccessRate::default()),
        latency: Some(Latency::default()),
        ..Outlier::default()
    };
    World::new(Setup {
        seed,
        models,
        rate,
        rules: Rules {
            outlier: Some(outlier),
            ..Rules::default()
        },
        ..Setup::new(policy)
    })
}

/// Backends that were ejected, each with the word of its cause.
fn ejected(world: &World) -> Vec<(&str, &str)> {
    let ejections = world.transitions.iter().filter(|to| to.to == State::Ejected);
    ejections.map(|to| (&*to.name, to.cause.word())).collect()
}

#[test]
fn who_fails_a_fifth_of_its_requests_is_out_within_two_intervals_or_hardly_asked() {
    for policy in NAMES {
        let mut world = world(policy, 1, vec![Model::of(5); 6], 300.0);
        world.run(secs(15.0));
        world.behave(0, Behaviour::Flaky);
        let before = world.servers[0].given;
        world.run(secs(20.0));
        // Policies that count failures as work in hand give it fewer than a hundred requests an interval, of a fair 500.
        let given = world.servers[0].given - before;
        let out = ejected(&world) == [("b0", "success_rate")];
        assert!(out || given < 200, "{policy}: {:?}, {given} of 6,000", ejected(&world));
        world.finish();
    }
}

#[test]
fn who_takes_ten_times_as_long_is_out_within_two_intervals() {
    // Policies that look at load give it fewer than a hundred requests, and nothing has to be done.
    for policy in ["round-robin", "random"] {
        let mut world = world(policy, 1, vec![Model::of(5); 6], 300.0);
        world.run(secs(15.0));
        world.behave(5, Behaviour::Slow);
        world.run(secs(20.0));
        assert_eq!(ejected(&world), [("b5", "latency")], "{policy}");
        world.behave(5, Behaviour::Well);
        world.run(secs(60.0));
        assert_eq!(world.states()[5], State::Healthy, "{policy}");
        world.finish();
    }
}

#[test]
fn each_relapse_of_who_stays_slow_lasts_longer() {
    let mut world = world("round-robin", 1, vec![Model::of(5); 6], 300.0);
    world.behave(0, Behaviour::Slow);
    world.run(secs(600.0));
    let times = ejected(&world).len();
    assert!((4..=6).contains(&times), "30 + 60 + … s: {times} times in ten minutes");
    world.finish();
}

#[test]
fn nobody_is_out_where_all_are_alike_however_they_are() {
    for policy in NAMES {
        for (seed, broken_url) in [(1, 0.0), (2, 0.02), (3, 0.5)] {
            let mut world = world(policy, seed, vec![Model::of(5); 6], 300.0);
            world.broken_url = broken_url;
            world.run(secs(120.0));
            assert_eq!(ejected(&world), [], "{policy}: {broken_url}");
            world.finish();
        }
    }
}

#[test]
fn half_of_a_pool_that_is_bad_is_no_exception() {
    let mut world = world("round-robin", 1, vec![Model::of(5); 6], 300.0);
    for at in 0..3 {
        world.behave(at, Behaviour::Flaky);
    }
    world.run(secs(60.0));
    assert_eq!(ejected(&world), []);
    world.finish();
}
