//! Who gets how much: panic, slow start, priorities, zones, and what the record says of them.

use super::*;

#[test]
fn panic_uses_all_under_the_threshold_and_says_so() {
    let mut pool = Pool::healthy(Rules::default(), specs("abcd"));
    pool.check("aaabbb", false);
    assert_eq!(pool.tiers(), "100:cd");
    pool.check("ccc", false);
    assert_eq!(pool.tiers(), "100:abcd");
    assert!(pool.view().panicking);
    let off = Rules {
        panic_threshold: 0,
        ..Rules::default()
    };
    pool.membership.set_rules(off, pool.now);
    assert_eq!(pool.tiers(), "100:d");
    pool.check("ddd", false);
    assert_eq!(pool.tiers(), "");
}

#[test]
fn new_and_recovered_backends_ramp_up_in_ten_steps() {
    let rules = Rules {
        slow_start: Some(Duration::from_secs(30)),
        ..Rules::default()
    };
    let mut pool = Pool::healthy(rules, specs("ab"));
    let weights = |pool: &Pool| -> Vec<u32> {
        let view = pool.view();
        view.tiers[0]
            .members
            .as_slice()
            .iter()
            .map(|member| member.weight)
            .collect()
    };
    assert_eq!(weights(&pool), [1, 1], "the pool's first members are all as cold");
    pool.membership.set(specs("abc"), pool.now);
    pool.check("c", true);
    assert_eq!(weights(&pool), [10, 10, 1]);
    let mut seen = vec![pool.status('c').effective_weight];
    let began = pool.now;
    while let Some(next) = pool.membership.next_deadline() {
        let revision = pool.membership.revision();
        pool.now = next;
        pool.membership.tick(next, &mut pool.rng);
        assert_eq!(pool.membership.revision(), revision + 1);
        seen.push(pool.status('c').effective_weight);
    }
    assert_eq!(seen, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]);
    assert!(pool.now.since(began) <= Duration::from_secs(30));
    assert_eq!(weights(&pool), [1, 1, 1]);
    pool.check("aaa", false);
    pool.check("aa", true);
    assert_eq!(weights(&pool), [1, 10, 10]);
    pool.offend('b', Sign::Failure);
    assert_eq!(weights(&pool), [1, 10]);
}

#[test]
fn policies_with_a_key_ignore_slow_start() {
    use crate::balance::{HashKey, Picker, Policy};
    struct Hashing(PolicyConfig);
    impl Policy for Hashing {
        fn build(&self, members: &crate::members::Members) -> Box<dyn Picker> {
            self.0.build(members)
        }
        fn key(&self) -> Option<&HashKey> {
            Some(&HashKey::ClientIp)
        }
    }
    let rules = Rules {
        slow_start: Some(Duration::from_secs(30)),
        ..Rules::default()
    };
    let mut pool = Pool::healthy(rules, specs("ab"));
    pool.membership.set(specs("abc"), pool.now);
    pool.check("c", true);
    let hashing = Hashing(round_robin());
    let view = pool.membership.view(&hashing, pool.now, None);
    assert!(view.tiers[0].members.as_slice().iter().all(|member| member.weight == 1));
    let status = pool.membership.status(&hashing, pool.now);
    assert!(status.iter().all(|status| (status.effective_weight - 1.0).abs() < 1e-9));
}

#[test]
fn lower_priorities_take_what_the_higher_cannot() {
    let mut all = specs("abcdxyz");
    for spec in &mut all[4..] {
        spec.priority = 1;
    }
    let mut pool = Pool::healthy(Rules::default(), all);
    assert_eq!(pool.tiers(), "100:abcd 0:xyz", "the others are there for retries");
    pool.check("aaa", false);
    assert_eq!(pool.tiers(), "100:bcd 0:xyz", "three quarters times 1.4 suffice");
    pool.check("bbb", false);
    assert_eq!(pool.tiers(), "70:cd 30:xyz");
    pool.check("cccddd", false);
    assert_eq!(pool.tiers(), "100:xyz");
    assert!(!pool.view().panicking);
    pool.check("xxxyyyzzz", false);
    assert_eq!(pool.tiers(), "57:abcd 43:xyz");
    assert!(pool.view().panicking);
}

#[test]
fn the_own_zone_serves_while_it_can_and_spills_over_in_proportion() {
    let mut all = specs("abcdef");
    for (spec, zone) in all.iter_mut().zip(["n", "n", "s", "s", "w", "w"]) {
        spec.zone = Some(zone.into());
    }
    let rules = Rules {
        zone: Some("n".into()),
        ..Rules::default()
    };
    let mut pool = Pool::healthy(rules.clone(), all);
    assert_eq!(pool.tiers(), "100:ab 0:cdef", "the others are there for retries");
    pool.check("aaa", false);
    assert_eq!(
        pool.tiers(),
        "60:b 20:cd 20:ef",
        "a fifth of the capacity under a third of the traffic"
    );
    pool.check("bbb", false);
    assert_eq!(pool.tiers(), "50:cd 50:ef");
    pool.check("cccddd", false);
    assert_eq!(pool.tiers(), "100:abcdef", "in a panic zones mean nothing");
    pool.check("ccdd", true);
    pool.membership.set_rules(
        Rules {
            zone_aware: false,
            ..rules.clone()
        },
        pool.now,
    );
    assert_eq!(pool.tiers(), "100:cdef");
    pool.membership.set_rules(
        Rules {
            zone: Some("elsewhere".into()),
            ..rules
        },
        pool.now,
    );
    assert_eq!(pool.tiers(), "100:cdef");
}

#[test]
fn the_record_tells_why_each_member_is_in_or_out() {
    let mut all = specs("abcdx");
    all[4].priority = 1;
    let mut pool = Pool::healthy(Rules::default(), all);
    pool.check("aaa", false);
    pool.operate('b', Action::Weight(Some(0)));
    pool.offend('c', Sign::Failure);
    let mut decision = Decision::default();
    let view = pool.membership.view(&round_robin(), pool.now, Some(&mut decision));
    assert_eq!(spell(&view), spell(&pool.view()), "asking changes nothing");
    let told: Vec<String> = decision
        .steps
        .iter()
        .map(|step| format!("{:?} {}: {}", step.verdict, step.subject, step.why))
        .collect();
    let expected = [
        "Refused a: unhealthy: checks fail: connection refused; weight 1, priority 0",
        "Refused b: healthy: checks pass; weight 0 takes no new work; weight 0 (set by an operator, configured 1), priority 0",
        "Refused c: ejected: 5 failures in a row; ",
        "Taken d: healthy: checks pass; weight 1, priority 0",
        "Taken x: healthy: checks pass; weight 1, priority 1",
        "Taken priority 0: 1 of 3 healthy; gets 46.7 % of the work",
        "Taken priority 1: 1 of 1 healthy; gets 53.3 % of the work",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}");
    }
}
