//! Who is ejected because others do better.

use super::*;
use crate::health::{Latency, Outlier, SuccessRate};

fn rules() -> Rules {
    Rules {
        outlier: Some(Outlier {
            success_rate: Some(SuccessRate::default()),
            latency: Some(Latency::default()),
            ..Outlier::default()
        }),
        ..Rules::default()
    }
}

impl Pool {
    /// So many successes and so many failures, mixed, so that no row comes of it.
    fn serve(&mut self, name: char, well: u32, badly: u32) {
        self.answer(name, Sign::ServerError, badly);
        self.answer(name, Sign::Success, well);
    }

    fn take(&mut self, name: char, millis: u64) {
        let load = &self.status(name).backend.load;
        for _ in 0..100 {
            load.observe_time(Duration::from_millis(millis));
        }
    }
}

#[test]
fn a_low_success_rate_ejects_at_the_end_of_the_interval() {
    let mut pool = Pool::healthy(rules(), specs("abcde"));
    pool.serve('a', 100, 100);
    for name in "bcde".chars() {
        pool.serve(name, 200, 0);
    }
    assert_eq!(pool.wait(9.9), []);
    let transitions = pool.wait(0.1);
    assert_eq!(words(&transitions), [("ejected", "success_rate")]);
    assert_eq!(
        transitions[0].cause.to_string(),
        "50 % of its requests succeed, 100 % of the others'"
    );
    assert_eq!(pool.tiers(), "100:bcde");
    let until = pool.status('a').ejected_until.unwrap();
    assert!((27.0..=33.0).contains(&until.since(pool.now).as_secs_f64()));
    assert_eq!(pool.wait(10.0), [], "the same answers do not count twice");
    assert_eq!(words(&pool.wait(24.0)), [("healthy", "ejection_over")]);
    assert_eq!(pool.wait(10.0), []);
}

#[test]
fn a_high_latency_ejects_at_the_end_of_the_interval() {
    let mut pool = Pool::healthy(rules(), specs("abcde"));
    pool.take('a', 200);
    for name in "bcde".chars() {
        pool.take(name, 20);
    }
    let transitions = pool.wait(10.0);
    assert_eq!(words(&transitions), [("ejected", "latency")]);
    let cause = transitions[0].cause.to_string();
    assert!(
        cause.starts_with("it typically takes 19") || cause.starts_with("it typically takes 200"),
        "{cause}"
    );
}

#[test]
fn nobody_is_compared_unless_it_is_asked_for() {
    let mut pool = Pool::healthy(Rules::default(), specs("abcde"));
    pool.serve('a', 100, 100);
    for name in "bcde".chars() {
        pool.serve(name, 200, 0);
    }
    assert_eq!(pool.membership.next_deadline(), None);
    assert_eq!(pool.wait(10.0), []);
    pool.membership.set_rules(rules(), pool.now);
    assert_eq!(pool.wait(10.0), [], "what was before does not count");
}

#[test]
fn not_more_stand_out_than_the_pool_can_spare() {
    let names = "abcdefghijkl";
    let few = Rules {
        outlier: Some(Outlier {
            max_ejected_percent: 10,
            ..rules().outlier.unwrap()
        }),
        ..rules()
    };
    for (rules, expected) in [(rules(), "ab"), (few, "b")] {
        let mut pool = Pool::healthy(rules, specs(names));
        for name in names.chars() {
            let bad = match name {
                'a' => 90,
                'b' => 100,
                _ => 0,
            };
            pool.serve(name, 100, bad);
        }
        pool.wait(10.0);
        let out: String = names
            .chars()
            .filter(|name| pool.state(*name) == State::Ejected)
            .collect();
        assert_eq!(out, expected);
    }
}

#[test]
fn who_is_not_at_work_is_no_measure() {
    for take_out in [Action::Drain, Action::Weight(Some(0))] {
        let mut pool = Pool::healthy(rules(), specs("abcde"));
        pool.operate('b', take_out);
        pool.serve('a', 100, 100);
        for name in "bcde".chars() {
            pool.serve(name, 200, 0);
        }
        assert_eq!(pool.wait(10.0), [], "four are too few");
    }
}

#[test]
fn what_it_did_before_it_was_well_again_does_not_count() {
    let mut pool = Pool::healthy(rules(), specs("abcde"));
    pool.serve('a', 100, 100);
    pool.check("aaa", false);
    pool.check("aa", true);
    for name in "abcde".chars() {
        pool.serve(name, 200, 0);
    }
    assert_eq!(pool.wait(10.0), []);
}
