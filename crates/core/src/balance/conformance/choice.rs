//! One pick: who may be chosen, that somebody is, and that the same is chosen again.

use super::*;
use crate::decision::Verdict;

/// Small sets, one that is scanned by sample, and one with a member that outweighs all others.
fn sets() -> Vec<Members> {
    vec![
        members(&[1, 1, 1]),
        members(&[1, 2, 30, 400, 5_000]),
        members(&vec![10; 200]),
        members(
            &(0..150)
                .map(|n| if n == 70 { 10_000 } else { 1 + n % 3 })
                .collect::<Vec<_>>(),
        ),
    ]
}

fn with_bounded_load() -> Vec<PolicyConfig> {
    all().into_iter().chain(bounded(1.0)).collect()
}

#[test]
fn nobody_is_chosen_of_nobody_and_the_only_one_of_one() {
    for policy in with_bounded_load() {
        let mut nobody = Worker::new(&policy, members(&[]), 1);
        assert_eq!(nobody.pick(None, &[]), None, "{}", policy.name());
        let mut one = Worker::new(&policy, members(&[7]), 1);
        let id = one.members[0].backend.id;
        for _ in 0..20 {
            assert_eq!(one.pick(None, &[]), Some(0), "{}", policy.name());
        }
        assert_eq!(one.pick(None, &[id]), None, "{}", policy.name());
    }
}

#[test]
fn the_tried_are_never_chosen_and_somebody_is_while_one_is_left() {
    for policy in with_bounded_load() {
        for members in sets() {
            let mut worker = Worker::new(&policy, members.clone(), 2);
            let mut tried = Vec::new();
            // One request that is sent on until all were tried: its key stays.
            for left in (0..=members.len()).rev() {
                match worker.pick(Some(key(99)), &tried) {
                    Some(slot) => {
                        let id = members[slot].backend.id;
                        assert!(!tried.contains(&id), "{} chose one that was tried", policy.name());
                        tried.push(id);
                    }
                    None => assert_eq!(left, 0, "{} chose nobody and {left} are left", policy.name()),
                }
            }
            assert_eq!(tried.len(), members.len());
        }
    }
}

#[test]
fn very_large_sets_are_served_and_their_last_member_is_found() {
    let members = members(&(0..10_000).map(|n| 1 + n % 7).collect::<Vec<_>>());
    let all_but_one: Vec<BackendId> = (0..10_000).filter(|id| *id != 4_321).map(BackendId).collect();
    for policy in all() {
        let mut worker = Worker::new(&policy, members.clone(), 3);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1_000 {
            seen.insert(worker.pick(None, &[]).unwrap());
        }
        // 1,000 draws from 10,000 hit some 950 different ones; weights of 1 to 7 bring it to 930; idle scans prefer
        // the heaviest seventh: 1,429 · (1 − e^-0.7) = 719.
        assert!(seen.len() > 650, "{}: {}", policy.name(), seen.len());
        assert_eq!(worker.pick(None, &all_but_one), Some(4_321), "{}", policy.name());
    }
}

#[test]
fn one_seed_gives_one_sequence() {
    for policy in with_bounded_load() {
        for members in sets() {
            let run = || {
                let mut worker = Worker::new(&policy, members.clone(), 4);
                (0..300).map(|_| worker.pick(None, &[])).collect::<Vec<_>>()
            };
            assert_eq!(run(), run(), "{}", policy.name());
        }
    }
}

#[test]
fn a_rebuild_that_changes_nothing_moves_nothing() {
    for policy in all() {
        for members in sets() {
            let mut kept = Worker::new(&policy, members.clone(), 5);
            let mut rebuilt = Worker::new(&policy, members.clone(), 5);
            for at in 0..40 {
                if at % 8 == 0 {
                    rebuilt.picker = policy.build(&members);
                }
                assert_eq!(kept.pick(None, &[]), rebuilt.pick(None, &[]), "{}", policy.name());
            }
        }
    }
}

#[test]
fn a_record_tells_who_won_and_by_what_numbers_and_changes_nothing() {
    for policy in with_bounded_load() {
        for members in sets() {
            let mut quiet = Worker::new(&policy, members.clone(), 6);
            let mut told = Worker::new(&policy, members.clone(), 6);
            for n in 0..40 {
                let tried = [BackendId(n % 3)];
                let mut record = Decision::default();
                let slot = told.pick_telling(None, &tried, Some(&mut record)).unwrap();
                assert_eq!(quiet.pick(None, &tried), Some(slot), "{}", policy.name());
                let taken: Vec<_> = record
                    .steps
                    .iter()
                    .filter(|step| step.verdict == Verdict::Taken)
                    .collect();
                assert_eq!(taken.len(), 1, "{}: {record:?}", policy.name());
                assert_eq!(taken[0].subject, *members[slot].name);
                assert!(
                    taken[0].why.contains(|c: char| c.is_ascii_digit()),
                    "{}: {taken:?}",
                    policy.name()
                );
            }
        }
    }
}

#[test]
fn an_equal_and_idle_pool_is_not_served_from_its_top() {
    // Ties broken by position would send every worker's first requests to the first member.
    for policy in all() {
        let firsts = (0..60).map(|seed| Worker::new(&policy, members(&[1; 4]), seed).pick(None, &[]).unwrap());
        let seen: std::collections::BTreeSet<Slot> = firsts.collect();
        assert_eq!(seen.len(), 4, "{}", policy.name());
    }
}
