//! Work is shared as the weights say, with requests held and released as in a busy pool.

use super::*;

/// How far a member's share may be from its weight's, relative to that, besides what sampling explains.
///
/// * A ring of 160 points a weight has shares with a relative deviation of 1/√(160·w); four of these are passed once
///   in 16,000 members.
/// * Other hash policies are off by a place of a table: 1 %.
/// * Policies that compare (pressure + 1) / weight keep (in flight + 1) / weight level instead of in flight / weight.
///   With C held, n members and a total weight W, a share is then off by n/C − W/(C·w). Two draws leave a member one
///   or two requests from level, of 64 for each weight that are held: 2 to 4 %.
fn tolerance(policy: &PolicyConfig, members: &Members, slot: Slot, depth: usize) -> f64 {
    let weight = f64::from(members[slot].weight);
    match policy.name() {
        "ring-hash" | "ip-hash" => 4.0 / (160.0 * weight).sqrt(),
        _ if policy.key().is_some() => 0.01,
        _ => {
            let held = depth as f64;
            let one_more = members.len() as f64 / held - members.total_weight() as f64 / (held * weight);
            one_more.abs() + 0.04
        }
    }
}

/// Four standard deviations of a share `p` that is estimated from `picks` draws, relative to `p`.
fn noise(p: f64, picks: usize) -> f64 {
    4.0 * ((1.0 - p) / (p * picks as f64)).sqrt()
}

#[test]
fn shares_follow_the_weights() {
    let sets: [&[u32]; 7] = [
        &[1],
        &[1, 1],
        &[1, 2, 3],
        &[5, 1, 1],
        &[100, 100, 100, 200],
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        &[10_000, 9_000, 1_000],
    ];
    for policy in all() {
        for weights in sets {
            let members = members(weights);
            let smallest = *weights.iter().min().unwrap();
            // 64 held for each weight of the smallest.
            let depth = 64 * weights.iter().map(|weight| (weight / smallest) as usize).sum::<usize>();
            let picks = 8 * depth + 20_000;
            let mut pool = Loop::new(Worker::new(&policy, members.clone(), 7), depth);
            pool.run(2 * depth);
            let counts = pool.run(picks);
            for (slot, count) in counts.iter().enumerate() {
                let share = f64::from(members[slot].weight) / members.total_weight() as f64;
                let deviation = (*count as f64 / picks as f64 / share - 1.0).abs();
                let bound = tolerance(&policy, &members, slot, depth) + noise(share, picks);
                assert!(
                    deviation <= bound,
                    "{} {weights:?} slot {slot}: {deviation} > {bound}",
                    policy.name()
                );
            }
        }
    }
}

#[test]
fn shares_follow_the_weights_in_a_large_set() {
    // 2,000 members in four classes of weights; above 128 the scans draw samples. Of a class, not of each member:
    // 500 members each, so that the ring's own deviation averages out.
    let weights: Vec<u32> = (0..2_000).map(|n| 1 + n % 4).collect();
    let total = 5_000;
    let depth = 8 * total;
    for policy in all() {
        let members = members(&weights);
        let mut pool = Loop::new(Worker::new(&policy, members.clone(), 11), depth);
        // A key decides alone, whatever is in flight; there is nothing to fill first.
        if policy.key().is_none() {
            pool.run(2 * depth);
        }
        let picks = depth;
        let counts = pool.run(picks);
        for class in 0..4 {
            let of_class = counts.iter().skip(class).step_by(4).sum::<usize>();
            let share = 500.0 * (class + 1) as f64 / total as f64;
            let deviation = (of_class as f64 / picks as f64 / share - 1.0).abs();
            let bound = (tolerance(&policy, &members, class, depth)).min(0.15) + noise(share, picks);
            assert!(
                deviation <= bound,
                "{} class {class}: {deviation} > {bound}",
                policy.name()
            );
        }
    }
}

#[test]
fn nothing_goes_to_weight_0() {
    for policy in all() {
        let mut worker = Worker::new(&policy, members(&[0, 3, 0, 1, 0]), 3);
        for _ in 0..500 {
            let slot = worker.pick(None, &[]).unwrap();
            assert!([1, 3].contains(&worker.members[slot].backend.id.0), "{}", policy.name());
        }
        let mut nobody = Worker::new(&policy, members(&[0, 0]), 3);
        assert_eq!(nobody.pick(None, &[]), None, "{}", policy.name());
    }
}

#[test]
fn every_member_of_a_small_pool_gets_work_within_a_few_requests_for_each() {
    // Round robin needs n; a coupon collector n·ln n = 60 on average for 20, and 400 with a risk of 20·e^-20.
    for policy in all() {
        let mut pool = Loop::new(Worker::new(&policy, members(&[1; 20]), 5), 40);
        assert!(pool.run(400).iter().all(|count| *count > 0), "{}", policy.name());
    }
}

#[test]
fn the_slow_get_less_under_policies_that_see_load() {
    for name in ["least-connections", "least-response-time", "power-of-two", "peak-ewma"] {
        let policy = PolicyConfig::named(name).unwrap();
        let mut worker = Worker::new(&policy, members(&[1, 1, 1, 1]), 13);
        let mut counts = [0; 4];
        // Member 0 answers after 200 steps, the others after 20; two begin in each step's time.
        let mut ends: Vec<(u64, Slot, u64)> = Vec::new();
        for step in 0..4_000u64 {
            worker.now = Now::from_millis(step);
            let (done, open) = ends.into_iter().partition::<Vec<_>, _>(|(end, ..)| *end <= step);
            for (_, slot, took) in done {
                let load = &worker.members[slot].backend.load;
                load.leave();
                load.record(Sign::Success, Duration::from_millis(took), SERVICE, worker.now);
            }
            ends = open;
            for _ in 0..2 {
                let slot = worker.pick(None, &[]).unwrap();
                assert!(worker.members[slot].backend.load.enter(u32::MAX));
                counts[slot] += 1;
                let took = if slot == 0 { 200 } else { 20 };
                ends.push((step + took, slot, took));
            }
        }
        // By load alone, a tenth of the others' rate keeps it level: 1/31 of all; a quarter would be its fair share.
        assert!(counts[0] < 8_000 / 12, "{name}: {counts:?}");
        assert!(counts[1..].iter().all(|count| *count > 8_000 / 5), "{name}: {counts:?}");
    }
}

#[test]
fn a_backend_that_fails_fast_attracts_nothing() {
    for name in ["least-connections", "least-response-time", "power-of-two", "peak-ewma"] {
        let policy = PolicyConfig::named(name).unwrap();
        let mut pool = Loop::new(Worker::new(&policy, members(&[1, 1, 1]), 17), 12);
        pool.run(200);
        let broken = pool.worker.members[0].backend.clone();
        for _ in 0..20 {
            broken
                .load
                .record(Sign::Failure, Duration::from_micros(50), SERVICE, pool.worker.now);
        }
        let counts = pool.run(60);
        assert!(
            counts[0] <= 10,
            "{name}: half of its fair share of 20 at most, {counts:?}"
        );
    }
}
