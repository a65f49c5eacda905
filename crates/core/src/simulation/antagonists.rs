//! All policies over backends of unlike speed, and over alike ones whose machines antagonists visit: the table of
//! `docs/policies/prequal.md`, and what the page says of it.

use super::*;
use crate::balance::{NAMES, PolicyConfig};

/// Mean service times of the unlike backends, in milliseconds; each serves four at once.
const UNLIKE: [u64; 8] = [10, 10, 10, 10, 20, 20, 40, 80];

/// How much slower a backend is while an antagonist is there, and how long that lasts.
const SLOWED: u32 = 5;
const VISIT: f64 = 1.0;

fn world(policy: &str, means: &[u64], load: f64) -> World {
    let models: Vec<Model> = means
        .iter()
        .map(|millis| Model {
            places: 4,
            ..Model::of(*millis)
        })
        .collect();
    World::new(Setup {
        rate: load * models.iter().map(Model::capacity).sum::<f64>(),
        models,
        ..Setup::new(Arc::new(PolicyConfig::named(policy).unwrap()))
    })
}

/// Median, p99 and p99.9 of the answers since the last look, in milliseconds.
fn tail(world: &mut World) -> [f64; 3] {
    world.latencies.sort_by(f64::total_cmp);
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in the list"
        )]
        let place = (world.latencies.len() as f64 * share) as usize;
        world.latencies[place.min(world.latencies.len() - 1)]
    };
    [at(0.5), at(0.99), at(0.999)]
}

fn unlike(policy: &str) -> [f64; 3] {
    let mut world = world(policy, &UNLIKE, 0.7);
    world.run(secs(5.0));
    world.latencies.clear();
    world.run(secs(30.0));
    tail(&mut world)
}

/// Eight alike backends, of which two at a time are slowed down.
fn antagonised(policy: &str) -> [f64; 3] {
    let mut world = world(policy, &[10; 8], 0.6);
    for visit in 0..35 {
        if visit == 5 {
            world.latencies.clear();
        }
        let visited = [visit % 8, (visit * 3 + 4) % 8];
        for (at, server) in world.servers.iter_mut().enumerate() {
            let slowed = if visited.contains(&at) { SLOWED } else { 1 };
            server.model.mean = Duration::from_millis(10) * slowed;
        }
        world.run(secs(VISIT));
    }
    tail(&mut world)
}

fn row(policy: &str) -> String {
    let cells: Vec<String> = [unlike(policy), antagonised(policy)]
        .concat()
        .iter()
        .map(|millis| format!("{millis:.0}"))
        .collect();
    format!("| {policy} | {} |", cells.join(" | "))
}

#[test]
fn the_table_of_prequals_page_is_what_the_simulation_says() {
    let page = include_str!("../../../../docs/policies/prequal.md");
    let rows: Vec<String> = std::thread::scope(|scope| {
        let rows: Vec<_> = NAMES.iter().map(|name| scope.spawn(|| row(name))).collect();
        rows.into_iter().map(|row| row.join().unwrap()).collect()
    });
    println!("{}", rows.join("\n"));
    for row in rows {
        assert!(page.contains(&row), "not in the page: {row}");
    }
}
