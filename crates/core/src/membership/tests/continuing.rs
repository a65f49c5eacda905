//! Going on where another process was.

use super::*;
use crate::health::Offence;

/// Everything that `before` hands over, taken in by a new pool over `names`, whose clock says the same.
fn taken_over(before: &Pool, names: &str, rules: Rules) -> Pool {
    let mut after = Pool::new(rules, specs(names));
    let handed: Vec<_> = (before.membership.handed())
        .map(|(backend, handed)| (backend.id, handed))
        .collect();
    let of = |backend: &Backend| handed.iter().find(|(id, _)| *id == backend.id);
    after.now = before.now;
    after
        .membership
        .go_on(|backend| of(backend).map(|(_, before)| before.clone()), after.now);
    after
}

#[test]
fn the_process_that_takes_over_knows_who_is_well_and_what_operators_want() {
    let mut before = Pool::healthy(Rules::default(), specs("abcdef"));
    before.check("bbb", false);
    before.operate('c', Action::Maintenance);
    before.operate('d', Action::DrainUntil(before.now + Duration::from_secs(60)));
    before.operate('e', Action::Weight(Some(7)));
    let mut after = taken_over(&before, "abcdefg", Rules::default());
    for name in "abcdef".chars() {
        let (was, is) = (before.status(name), after.status(name));
        assert_eq!((is.state, &is.cause), (was.state, &was.cause), "{name}");
        assert_eq!((is.operator, is.weight), (was.operator, was.weight), "{name}");
        assert_eq!(is.drains_until, was.drains_until, "{name}");
    }
    assert_eq!(after.state('g'), State::Unknown, "nobody has checked the newcomer");
    assert_eq!(words(&after.check("b", true)), [], "rise counts");
    assert_eq!(words(&after.check("b", true)), [("healthy", "check_passed")]);
    assert_eq!(words(&after.operate('c', Action::Ready)), [("healthy", "operator")]);
}

#[test]
fn an_ejection_goes_on_and_is_the_longer_the_next_time() {
    let mut before = Pool::healthy(Rules::default(), specs("abc"));
    before.offend('a', Sign::Failure);
    assert_eq!(before.state('a'), State::Ejected);
    let mut after = taken_over(&before, "abc", Rules::default());
    assert_eq!(after.status('a').cause, Cause::Ejected(Offence::Failures(5)));
    assert_eq!(after.status('a').ejected_until, before.status('a').ejected_until);
    assert_eq!(words(&after.wait(34.0)), [("healthy", "ejection_over")]);
    after.offend('a', Sign::Failure);
    let again = after.status('a').ejected_until.expect("ejected").since(after.now);
    assert!(again > Duration::from_secs(50), "twice as long: {again:?}");
    let mut late = before;
    late.now = late.now + Duration::from_secs(34);
    let late = taken_over(
        &late,
        "abc",
        Rules {
            outlier: None,
            ..Rules::default()
        },
    );
    assert_eq!(late.state('a'), State::Healthy, "nobody is ejected any more");
}

#[test]
fn verdicts_count_for_nothing_where_nothing_is_checked_any_more() {
    let mut before = Pool::healthy(Rules::default(), specs("ab"));
    before.check("aaa", false);
    let unchecked = Rules {
        checks: None,
        ..Rules::default()
    };
    let after = taken_over(&before, "ab", unchecked);
    assert_eq!((after.state('a'), after.state('b')), (State::Healthy, State::Healthy));
}
