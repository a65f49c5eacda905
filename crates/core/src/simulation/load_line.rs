//! Load lines that are learned: where they come to, how soon, and what is answered meanwhile.
//!
//! A backend that serves so many at once, in exponential times, has its knee there: with fewer it is not busy, with more
//! they wait in it. The bounds are those of the method: a line comes to rest between the knee and the tolerance above it,
//! plus a step of growth, and swings by the noise of its windows.

use super::*;
use crate::balance::PolicyConfig;
use crate::members::Limits;

const AUTO: Limits = Limits {
    connections: 1024,
    requests: 1024,
    shared: false,
    learned: Some(1),
};

fn backend(places: usize, millis: u64) -> Model {
    Model {
        places,
        ..Model::of(millis)
    }
}

/// Backends under `load` times what they can do together.
fn overloaded(seed: u64, models: Vec<Model>, load: f64, limits: Limits) -> World {
    let policy = PolicyConfig::named("least-connections").unwrap();
    World::new(Setup {
        seed,
        rate: load * models.iter().map(Model::capacity).sum::<f64>(),
        models,
        limits,
        queue: 100,
        ..Setup::new(Arc::new(policy))
    })
}

fn line(world: &World, at: usize) -> u32 {
    AUTO.load_line(&world.backends[at])
}

/// What was seen for a while: each backend's mean line, and the answers as a share of what all can do.
struct Seen {
    lines: Vec<f64>,
    goodput: f64,
}

fn watch(world: &mut World, seconds: u32) -> Seen {
    let before = world.latencies.len();
    let looks = seconds * 10;
    let mut sums = vec![0; world.backends.len()];
    for _ in 0..looks {
        world.run(secs(0.1));
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum += line(world, at);
        }
    }
    let capacity: f64 = world.servers.iter().map(|server| server.model.capacity()).sum();
    let answered = u32::try_from(world.latencies.len() - before).unwrap();
    Seen {
        lines: sums.iter().map(|sum| f64::from(*sum) / f64::from(looks)).collect(),
        goodput: f64::from(answered) / f64::from(seconds) / capacity,
    }
}

#[track_caller]
fn assert_near(line: f64, knee: u32) {
    let knee = f64::from(knee);
    assert!(
        (0.9 * knee..=1.4 * knee + 3.0).contains(&line),
        "a line of {line:.1} where the knee is {knee}"
    );
}

#[test]
fn a_line_comes_to_the_knee_and_nothing_is_lost_by_it() {
    for (places, millis) in [(1, 20), (4, 20), (16, 10), (64, 20), (8, 200)] {
        for seed in [1, 2] {
            let mut world = overloaded(seed, vec![backend(places, millis)], 3.0, AUTO);
            world.run(secs(20.0));
            let seen = watch(&mut world, 20);
            println!(
                "{places} at once, {millis} ms, seed {seed}: line {:.1}, goodput {:.3}",
                seen.lines[0], seen.goodput
            );
            assert_near(seen.lines[0], u32::try_from(places).unwrap());
            assert!(seen.goodput > 0.9, "{:.3}", seen.goodput);
        }
    }
}

#[test]
fn backends_of_unlike_size_have_lines_of_their_own_under_every_policy() {
    for name in crate::balance::NAMES {
        let models = vec![backend(4, 20), backend(16, 20), backend(16, 5)];
        let mut world = overloaded(1, models, 3.0, AUTO);
        world.policy = Arc::new(PolicyConfig::named(name).unwrap());
        world
            .pool
            .publish(world.membership.view(&*world.policy, world.now, None));
        world.run(secs(15.0));
        let seen = watch(&mut world, 10);
        println!("{name}: lines {:.1?}, goodput {:.3}", seen.lines, seen.goodput);
        for (line, knee) in seen.lines.iter().zip([4, 16, 16]) {
            assert_near(*line, knee);
        }
        assert!(seen.goodput > 0.9, "{name}: {:.3}", seen.goodput);
    }
}

#[test]
fn a_backend_that_becomes_slower_keeps_its_line_and_one_that_becomes_smaller_does_not() {
    for seed in [1, 2] {
        let mut world = overloaded(seed, vec![backend(16, 10)], 3.0, AUTO);
        world.run(secs(15.0));
        // Five times slower, with as many at once: what it may carry is the same.
        world.servers[0].model.mean *= 5;
        world.run(secs(10.0));
        let slow = watch(&mut world, 20);
        world.servers[0].model.mean /= 5;
        world.run(secs(5.0));
        let again = watch(&mut world, 10);
        // An antagonist takes three quarters of it away.
        world.servers[0].model.places = 4;
        world.run(secs(10.0));
        let small = watch(&mut world, 10);
        world.servers[0].model.places = 16;
        world.run(secs(10.0));
        let whole = watch(&mut world, 10);
        for (what, seen, knee) in [
            ("slow", slow, 16),
            ("fast again", again, 16),
            ("small", small, 4),
            ("whole again", whole, 16),
        ] {
            println!(
                "seed {seed}, {what}: line {:.1}, goodput {:.3}",
                seen.lines[0], seen.goodput
            );
            assert_near(seen.lines[0], knee);
            assert!(seen.goodput > 0.9, "{what}: {:.3}", seen.goodput);
        }
    }
}

#[test]
fn bursts_are_served_at_once_and_leave_nothing_behind() {
    let mut world = overloaded(1, vec![backend(16, 10)], 3.0, AUTO);
    let full = world.rate;
    world.run(secs(10.0));
    for _ in 0..10 {
        world.rate = full;
        let burst = watch(&mut world, 2);
        println!("burst: line {:.1}, goodput {:.3}", burst.lines[0], burst.goodput);
        assert!(burst.goodput > 0.9, "{:.3}", burst.goodput);
        world.rate = full / 6.0;
        // The queue is worked off, and then nobody is refused any more.
        world.run(secs(1.0));
        let refused = world.refused;
        world.latencies.clear();
        world.run(secs(2.0));
        assert_eq!(world.refused, refused);
        world.latencies.sort_by(f64::total_cmp);
        let p99 = world.latencies[world.latencies.len() * 99 / 100];
        assert!(p99 < 100.0, "{p99:.0} ms");
    }
    world.finish();
}

#[test]
fn little_work_moves_no_line_and_waits_for_nothing() {
    let mut world = overloaded(1, vec![backend(64, 20)], 0.05, AUTO);
    world.run(secs(60.0));
    assert_eq!((line(&world, 0), world.refused), (16, 0));
    let longest = world.latencies.iter().copied().fold(0.0, f64::max);
    assert!(longest < 20.0 * 20.0, "no more than a long service: {longest:.0} ms");
}
