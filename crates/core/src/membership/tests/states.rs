//! Joining, leaving, checks, operators, discovery and reloads.

use super::*;

#[test]
fn a_new_pool_serves_with_what_it_was_given_until_checks_have_decided() {
    let mut pool = Pool::new(Rules::default(), specs("abcd"));
    assert_eq!(pool.tiers(), "100:abcd");
    assert!(!pool.view().panicking);
    assert_eq!(words(&pool.check("a", true)), [("healthy", "check_passed")]);
    assert_eq!(words(&pool.check("b", false)), [("unhealthy", "check_failed")]);
    assert_eq!(
        pool.tiers(),
        "100:acd",
        "a quarter is healthy, and the unchecked may be"
    );
    pool.check("c", true);
    assert_eq!(pool.tiers(), "100:ac", "half is healthy, which suffices");
}

#[test]
fn a_backend_that_joins_a_serving_pool_waits_for_its_first_check() {
    let mut pool = Pool::healthy(Rules::default(), specs("ab"));
    pool.membership.set(specs("abcdefgh"), pool.now);
    assert_eq!(pool.tiers(), "100:ab");
    assert_eq!(pool.state('c'), State::Unknown);
    pool.check("c", true);
    pool.check("d", false);
    assert_eq!(pool.tiers(), "100:abc");
    pool.check("d", true);
    assert_eq!(pool.tiers(), "100:abc", "the first check failed, so rise counts");
    pool.check("d", true);
    assert_eq!(pool.tiers(), "100:abcd");
}

#[test]
fn a_pool_that_is_replaced_whole_serves_at_once() {
    let mut pool = Pool::healthy(Rules::default(), specs("ab"));
    pool.membership.set(specs("cd"), pool.now);
    assert_eq!(pool.tiers(), "100:cd");
}

#[test]
fn initial_decides_what_is_used_before_the_first_check() {
    let checks = Some(CheckRules {
        initial: Initial::Healthy,
        ..CheckRules::default()
    });
    let mut pool = Pool::new(
        Rules {
            checks,
            ..Rules::default()
        },
        specs("ab"),
    );
    assert_eq!(pool.status('a').cause.word(), "assumed");
    pool.check("a", true);
    assert_eq!(pool.status('a').cause.word(), "check_passed");
    pool.check("bb", false);
    assert_eq!(pool.state('b'), State::Healthy);
    pool.check("b", false);
    assert_eq!(pool.state('b'), State::Unhealthy);
    let unchecked = Pool::new(
        Rules {
            checks: None,
            ..Rules::default()
        },
        specs("ab"),
    );
    assert_eq!(
        (unchecked.state('a'), unchecked.status('a').cause.word()),
        (State::Healthy, "no_checks")
    );
    let strict = Pool::new(
        Rules {
            panic_threshold: 0,
            ..Rules::default()
        },
        specs("ab"),
    );
    assert_eq!(
        strict.tiers(),
        "",
        "without panic nobody is used before a check has passed"
    );
    assert!(strict.view().has_backends);
}

#[test]
fn state_survives_a_new_set_and_goes_with_identity() {
    let mut pool = Pool::healthy(Rules::default(), specs("abc"));
    pool.check("bbb", false);
    pool.operate('c', Action::Drain);
    let mut next = specs("dcba");
    next[2].weight = 7;
    let revision = pool.membership.revision();
    assert_eq!(pool.membership.set(next, pool.now), []);
    assert!(pool.membership.revision() > revision);
    assert_eq!((pool.state('b'), pool.status('b').weight), (State::Unhealthy, 7));
    assert_eq!(pool.state('c'), State::Draining);
    pool.membership.set(specs("ab"), pool.now);
    assert_eq!(pool.membership.status(&round_robin(), pool.now).len(), 2);
    pool.membership.set(specs("abcd"), pool.now);
    assert_eq!(
        pool.state('c'),
        State::Draining,
        "an operator's wish survives rediscovery"
    );
    assert_eq!(pool.state('d'), State::Unknown);
    pool.membership.set([specs("ab"), specs("a")].concat(), pool.now);
    assert_eq!(
        pool.membership.status(&round_robin(), pool.now).len(),
        2,
        "one identity, one place"
    );
    assert_eq!(pool.check("z", false), [], "nobody we know");
}

#[test]
fn operators_and_discovery_withdraw_backends_and_panic_brings_none_back() {
    let mut pool = Pool::healthy(Rules::default(), specs("abcdef"));
    assert_eq!(words(&pool.operate('a', Action::Drain)), [("draining", "operator")]);
    assert_eq!(
        words(&pool.operate('b', Action::Maintenance)),
        [("maintenance", "operator")]
    );
    assert_eq!(pool.operate('c', Action::Weight(Some(0))), []);
    let mut next = specs("abcdef");
    next[3].condition = Condition::Terminating;
    next[4].condition = Condition::NotReady;
    let transitions = pool.membership.set(next, pool.now);
    assert_eq!(
        words(&transitions),
        [("draining", "terminating"), ("unhealthy", "not_ready")]
    );
    assert_eq!(pool.tiers(), "100:f");
    pool.check("fff", false);
    assert_eq!(pool.tiers(), "100:ef");
    assert!(pool.view().panicking);
    assert_eq!(words(&pool.operate('a', Action::Ready)), [("healthy", "operator")]);
    pool.operate('b', Action::Ready);
    pool.operate('c', Action::Weight(None));
    assert_eq!(pool.tiers(), "100:abc");
    assert_eq!(
        pool.membership.set(specs("abcdef"), pool.now).len(),
        2,
        "d and e are ready again"
    );
    assert_eq!(pool.tiers(), "100:abcde");
}

#[test]
fn a_reload_of_the_rules_keeps_what_is_known() {
    let off = Rules {
        checks: None,
        outlier: None,
        ..Rules::default()
    };
    let mut pool = Pool::healthy(Rules::default(), specs("abcd"));
    pool.check("aaa", false);
    pool.offend('b', Sign::Failure);
    let transitions = pool.membership.set_rules(off, pool.now);
    assert_eq!(
        words(&transitions),
        [("healthy", "no_checks"), ("healthy", "no_checks")]
    );
    assert_eq!(pool.offend('b', Sign::Failure), []);
    assert_eq!(pool.membership.set_rules(Rules::default(), pool.now), []);
    assert_eq!(pool.tiers(), "100:abcd", "checks that are new have to fail first");
    assert_eq!(pool.membership.set_rules(Rules::default(), pool.now), []);
}

#[test]
fn a_set_that_says_nothing_new_asks_for_no_new_view() {
    let same = specs("abc");
    let mut pool = Pool::healthy(Rules::default(), same.clone());
    let revision = pool.membership.revision();
    pool.membership.set(same.clone(), pool.now);
    pool.check("abc", true);
    assert_eq!(pool.membership.revision(), revision);
    for (at, change) in [(0, 2), (1, 5)] {
        let mut other = same.clone();
        other[at].weight = change;
        pool.membership.set(other, pool.now);
    }
    pool.membership.set(same.iter().rev().cloned().collect(), pool.now);
    assert_eq!(pool.membership.revision(), revision + 3);
}
