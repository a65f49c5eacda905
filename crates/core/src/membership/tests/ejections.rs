//! Who is ejected, and when they come back.

use super::*;

#[test]
fn failures_eject_for_a_time() {
    let mut pool = Pool::healthy(Rules::default(), specs("abc"));
    assert_eq!(words(&pool.offend('a', Sign::Failure)), [("ejected", "failures")]);
    assert_eq!(pool.tiers(), "100:bc");
    assert_eq!(
        pool.offend('b', Sign::Failure),
        [],
        "two of three would be more than half"
    );
    let until = pool.membership.next_deadline().unwrap();
    assert!((27.0..=33.0).contains(&until.since(pool.now).as_secs_f64()));
    assert_eq!(pool.wait(26.0), []);
    assert_eq!(words(&pool.wait(7.0)), [("healthy", "ejection_over")]);
    assert_eq!(pool.membership.next_deadline(), None);
}

#[test]
fn a_row_that_a_success_has_ended_ejects_nobody() {
    let mut pool = Pool::healthy(Rules::default(), specs("abc"));
    pool.answer('a', Sign::Failure, 9);
    pool.answer('a', Sign::Success, 1);
    assert_eq!(pool.apply(Event::Suspect { backend: id('a') }), []);
}

#[test]
fn the_last_usable_one_is_never_ejected() {
    let mut pool = Pool::healthy(Rules::default(), specs("a"));
    assert_eq!(pool.offend('a', Sign::Failure), []);
    let mut pool = Pool::healthy(Rules::default(), specs("abcd"));
    pool.check("bbbccc", false);
    pool.operate('d', Action::Drain);
    assert_eq!(pool.offend('a', Sign::Failure), []);
}

#[test]
fn the_ejected_come_back_when_too_few_are_left() {
    let mut pool = Pool::healthy(Rules::default(), specs("abcd"));
    pool.offend('a', Sign::Failure);
    pool.wait(5.0);
    pool.offend('b', Sign::Failure);
    assert_eq!(pool.tiers(), "100:cd");
    let transitions = pool.operate('c', Action::Maintenance);
    assert_eq!(
        words(&transitions),
        [("maintenance", "operator"), ("healthy", "readmitted")]
    );
    assert_eq!(pool.tiers(), "100:ad", "the one that would have been back first");
    pool.check("aaa", false);
    let transitions = pool.check("ddd", false);
    assert_eq!(
        words(&transitions),
        [("unhealthy", "check_failed"), ("healthy", "readmitted")]
    );
    assert_eq!(pool.state('b'), State::Healthy, "nobody else is");
}

#[test]
fn server_errors_eject_only_who_stands_out() {
    let mut pool = Pool::healthy(Rules::default(), specs("abc"));
    assert_eq!(
        pool.offend('a', Sign::ServerError),
        [],
        "nothing is known of the others"
    );
    pool.answer('b', Sign::Success, 200);
    pool.wait(0.3);
    assert_eq!(
        words(&pool.offend('a', Sign::ServerError)),
        [("ejected", "server_errors")]
    );
    let mut pool = Pool::healthy(Rules::default(), specs("abc"));
    for _ in 0..20 {
        for name in "abc".chars() {
            assert_eq!(pool.offend(name, Sign::ServerError), [], "all fail alike");
        }
        pool.wait(0.3);
    }
}

#[test]
fn a_passing_check_ends_an_ejection_only_when_it_can_tell() {
    let mut pool = Pool::healthy(Rules::default(), specs("abc"));
    pool.answer('b', Sign::Success, 200);
    pool.offend('a', Sign::ServerError);
    assert_eq!(pool.check("aaaaaa", true), []);
    assert_eq!(pool.state('a'), State::Ejected);
    pool.check("aaa", false);
    assert_eq!(pool.state('a'), State::Unhealthy);
    assert_eq!(words(&pool.check("aa", true)), [("healthy", "check_passed")]);
    pool.offend('c', Sign::Failure);
    assert_eq!(
        words(&pool.check("cc", true)),
        [("healthy", "check_passed")],
        "restarted"
    );
}

#[test]
fn an_ejection_is_not_shaken_off_by_rediscovery() {
    let mut pool = Pool::healthy(Rules::default(), specs("abc"));
    pool.offend('a', Sign::Failure);
    pool.membership.set(specs("bc"), pool.now);
    pool.membership.set(specs("abc"), pool.now);
    assert_eq!(pool.state('a'), State::Ejected);
    pool.membership.set(specs("bc"), pool.now);
    pool.wait(60.0);
    pool.membership.set(specs("abc"), pool.now);
    assert_eq!(pool.state('a'), State::Unknown);
}

#[test]
fn a_backend_that_breaks_after_a_good_while_is_noticed_at_once() {
    let mut pool = Pool::healthy(Rules::default(), specs("abc"));
    for name in "abc".chars() {
        pool.answer(name, Sign::Success, 1_000);
    }
    let mut rows = 0;
    loop {
        rows += 1;
        pool.wait(0.05);
        pool.answer('b', Sign::Success, 10);
        pool.answer('c', Sign::Success, 10);
        if !pool.offend('a', Sign::ServerError).is_empty() {
            break;
        }
    }
    assert_eq!(
        rows, 3,
        "one that raises the suspicion, and ten failures where the others had forty answers"
    );
}

#[test]
fn a_burst_for_a_broken_url_ejects_nobody_in_a_pool_that_was_well_for_long() {
    let mut pool = Pool::healthy(Rules::default(), specs("abc"));
    for name in "abc".chars() {
        pool.answer(name, Sign::Success, 1_000);
    }
    for _ in 0..100 {
        pool.wait(0.05);
        for name in "abc".chars() {
            assert_eq!(pool.offend(name, Sign::ServerError), []);
        }
    }
}

#[test]
fn a_row_from_before_an_outage_does_not_count_after_it() {
    let mut pool = Pool::healthy(Rules::default(), specs("abc"));
    pool.check("aaa", false);
    pool.answer('a', Sign::Failure, 50);
    pool.check("aa", true);
    pool.answer('a', Sign::Failure, 4);
    assert_eq!(pool.apply(Event::Suspect { backend: id('a') }), []);
    pool.answer('a', Sign::Failure, 1);
    assert_eq!(
        words(&pool.apply(Event::Suspect { backend: id('a') })),
        [("ejected", "failures")]
    );
}
