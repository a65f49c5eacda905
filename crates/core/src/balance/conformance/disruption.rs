//! Hash policies: what moves when members change, and that nothing else matters.

use super::*;

const KEYS: u64 = 20_000;

fn owners(policy: &PolicyConfig, members: &Members) -> Vec<BackendId> {
    let mut worker = Worker::new(policy, members.clone(), 1);
    (0..KEYS).map(|n| worker.owner(key(n))).collect()
}

/// The share of keys that moved though they need not have: from a member that stayed to one that was there before.
fn strayed(before: &[BackendId], after: &[BackendId], removed: Option<u32>, added: Option<u32>) -> f64 {
    let strayed = before
        .iter()
        .zip(after)
        .filter(|(before, after)| before != after && Some(before.0) != removed && Some(after.0) != added)
        .count();
    strayed as f64 / before.len() as f64
}

/// How much may stray when one of `n` members comes or goes.
///
/// Rings that are not full and rendezvous move nothing that need not move, by construction. Maglev does: who comes
/// later in the turns finds other places taken. The paper (NSDI 2016, §5.3) shows it to grow with the members for one
/// table and to shrink with longer tables. With 65,537 places we measure 0.3 % of all keys for one of 10 members,
/// 0.7 % for one of 100 and 1.0 % for one of 500; the bound is twice the last.
fn stray_max(policy: &PolicyConfig) -> f64 {
    if policy.name() == "maglev" { 0.02 } else { 0.0 }
}

#[test]
fn one_member_less_or_more_moves_little_besides_its_own_keys() {
    let sets = [
        vec![1; 10],
        vec![1; 100],
        vec![1, 2, 3, 4, 5, 6],
        vec![20, 20, 10],
        vec![100, 50, 100, 100],
    ];
    for policy in hashing() {
        for weights in &sets {
            let all = members(weights);
            let before = owners(&policy, &all);
            for gone in [0, weights.len() / 2, weights.len() - 1] {
                let fewer = Members::new(
                    all.as_slice()
                        .iter()
                        .enumerate()
                        .filter(|(slot, _)| *slot != gone)
                        .map(|(_, member)| member.clone()),
                );
                let after = owners(&policy, &fewer);
                let gone = u32::try_from(gone).unwrap();
                let lost = strayed(&before, &after, Some(gone), None);
                let gained = strayed(&after, &before, None, Some(gone));
                assert!(
                    lost <= stray_max(&policy),
                    "{} {weights:?} without {gone}: {lost}",
                    policy.name()
                );
                assert!(
                    gained <= stray_max(&policy),
                    "{} {weights:?} with {gone}: {gained}",
                    policy.name()
                );
            }
        }
    }
}

#[test]
fn what_moves_for_one_member_is_about_its_share() {
    for policy in hashing() {
        let before = owners(&policy, &members(&[1; 20]));
        let after = owners(&policy, &members(&[1; 21]));
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after)
            .count() as f64
            / KEYS as f64;
        // 1/21 = 4.8 %; the ring's new share has a deviation of 8 % of that, and sampling one of 3 %.
        let bound = 1.0 / 21.0 * 1.4 + stray_max(&policy);
        assert!(moved > 0.02 && moved <= bound, "{}: {moved}", policy.name());
    }
}

#[test]
fn a_full_ring_moves_at_most_twice_the_share() {
    // 200 members of weight 100 would have 3.2 million points: the rings are full, and each member's number of points
    // follows its share. Then a share s that comes makes all others give up s of their points.
    for name in ["ring-hash", "ip-hash"] {
        let policy = PolicyConfig::named(name).unwrap();
        let before = owners(&policy, &members(&[100; 200]));
        let after = owners(&policy, &members(&[100; 201]));
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after)
            .count() as f64
            / KEYS as f64;
        assert!(moved <= 2.0 / 201.0 * 1.4, "{name}: {moved}");
    }
}

#[test]
fn another_weight_moves_about_the_difference() {
    for policy in hashing() {
        let before = owners(&policy, &members(&[2, 2, 2, 2]));
        let after = owners(&policy, &members(&[2, 2, 2, 1]));
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after)
            .count() as f64
            / KEYS as f64;
        // From 1/4 to 1/7: 10.7 % have to move. Four deviations of the ring's share of 1/7: 160 points, 32 % of it.
        let bound = 0.107 + 0.32 / 7.0;
        assert!(moved <= bound, "{}: {moved}", policy.name());
    }
}

#[test]
fn the_order_of_members_does_not_matter() {
    for policy in hashing().into_iter().chain(bounded(1.5)) {
        let members: Vec<Member> = (0..60).map(|n| member(n, 1 + u32::try_from(n % 5).unwrap())).collect();
        let mut shuffled = members.clone();
        let mut rng = Rng::seeded(8);
        for at in (1..shuffled.len()).rev() {
            shuffled.swap(at, rng.index(at + 1));
        }
        let mut one = Worker::new(&policy, Members::new(members), 1);
        let mut other = Worker::new(&policy, Members::new(shuffled), 2);
        for n in 0..2_000 {
            let mut tried = Vec::new();
            for _ in 0..3 {
                let (a, b) = (one.pick(Some(key(n)), &tried), other.pick(Some(key(n)), &tried));
                let (a, b) = (one.members[a.unwrap()].backend.id, other.members[b.unwrap()].backend.id);
                assert_eq!(a, b, "{}", policy.name());
                tried.push(a);
            }
        }
    }
}

#[test]
fn the_order_does_not_matter_when_nearly_all_were_tried() {
    for policy in hashing() {
        let members: Vec<Member> = (0..400).map(|n| member(n, 1)).collect();
        let tried: Vec<BackendId> = (0..397).map(BackendId).collect();
        let mut one = Worker::new(&policy, Members::new(members.clone()), 1);
        let mut other = Worker::new(&policy, Members::new(members.into_iter().rev()), 1);
        for n in 0..50 {
            let (a, b) = (one.pick(Some(key(n)), &tried), other.pick(Some(key(n)), &tried));
            let (a, b) = (one.members[a.unwrap()].backend.id, other.members[b.unwrap()].backend.id);
            assert_eq!(a, b, "{}", policy.name());
        }
    }
}

#[test]
fn one_key_stays_with_one_member_whatever_the_load() {
    for policy in hashing() {
        let mut worker = Worker::new(&policy, members(&[1; 8]), 9);
        let owner = worker.owner(key(1));
        for _ in 0..100 {
            let slot = worker.pick(Some(key(1)), &[]).unwrap();
            assert_eq!(worker.members[slot].backend.id, owner);
            assert!(worker.members[slot].backend.load.enter(u32::MAX));
            worker.now = worker.now + Duration::from_secs(1);
        }
    }
}

#[test]
fn maglev_shares_differ_by_at_most_one_percent() {
    // NSDI 2016, §3.4: M > 100 × N ensures at most 1 % difference in the hash space assigned to backends. Keys at even
    // distances, four for each place of the table, measure the space itself.
    let policy = PolicyConfig::named("maglev").unwrap();
    for count in [3usize, 100, 655] {
        let mut worker = Worker::new(&policy, members(&vec![1; count]), 1);
        let mut space = vec![0u64; count];
        let keys = 4 * 65_537u64;
        for n in 0..keys {
            space[worker.pick(Some(u64::MAX / keys * n), &[]).unwrap()] += 1;
        }
        let mean = keys as f64 / count as f64;
        let spread = (space.iter().max().unwrap() - space.iter().min().unwrap()) as f64;
        // One place is four keys, give or take one at either end.
        assert!(spread <= mean * 0.01 + 2.0, "{count}: {spread} of {mean}");
    }
}

#[test]
fn ring_shares_deviate_as_160_points_do() {
    let policy = PolicyConfig::named("ring-hash").unwrap();
    let mut worker = Worker::new(&policy, members(&[1; 200]), 1);
    let mut space = vec![0u32; 200];
    for n in 0..400_000u64 {
        space[worker.pick(Some(u64::MAX / 400_000 * n), &[]).unwrap()] += 1;
    }
    let variance = space
        .iter()
        .map(|keys| (f64::from(*keys) / 2_000.0 - 1.0).powi(2))
        .sum::<f64>()
        / 200.0;
    // 1/√160 = 7.9 %; of 200 members its own estimate has a deviation of 5 %.
    assert!((0.063..0.095).contains(&variance.sqrt()), "{}", variance.sqrt());
}
