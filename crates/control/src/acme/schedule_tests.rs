use super::*;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

/// The start of a certificate's life.
fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + 20_000 * DAY
}

/// One of `days`, where in its window a fingerprint of these digits lies.
fn held(days: u32, digits: &str) -> Held {
    Held {
        not_before: start(),
        not_after: start() + days * DAY,
        names: vec!["a.test".into(), "b.test".into()],
        fingerprint: digits.repeat(8),
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn what_is_missing_is_asked_for_at_once_and_what_is_held_at_two_thirds_of_its_life() {
    let (early, late) = (held(90, "0"), held(90, "f"));
    for (wanted, held, at, why) in [
        (&["a.test"][..], None, start() + DAY, Why::Missing),
        (&["a.test", "b.test"], Some(&early), start() + 60 * DAY, Why::Renewal),
        (&["a.test"], Some(&early), start() + 60 * DAY, Why::Renewal),
        // A thirtieth of its life later for those whose lot it is.
        (&["a.test"], Some(&late), start() + 63 * DAY, Why::Renewal),
        (
            &["a.test", "c.test", "*.b.test"],
            Some(&early),
            start() + DAY,
            Why::Lacks(names(&["c.test", "*.b.test"])),
        ),
    ] {
        let found = due(start() + DAY, &names(wanted), held, &Memory::default());
        assert_eq!(found, (at, why), "{wanted:?}");
    }
}

#[test]
fn nothing_is_tried_before_its_time_has_come() {
    let again = start() + 70 * DAY;
    let memory = Memory {
        try_again: Some(again),
        ..Memory::default()
    };
    let early = held(90, "0");
    assert_eq!(due(start(), &names(&["a.test"]), None, &memory).0, again);
    assert_eq!(due(start(), &names(&["a.test"]), Some(&early), &memory).0, again);
    let (before, after) = (start() + DAY, start() + 60 * DAY);
    let memory = Memory {
        try_again: Some(before),
        ..Memory::default()
    };
    assert_eq!(due(start(), &names(&["a.test"]), Some(&early), &memory).0, after);
}

#[test]
fn the_authoritys_advice_counts_for_the_certificate_that_it_is_about() {
    let window = (start() + 10 * DAY, start() + 12 * DAY);
    let advised = |of: &Held, window| Memory {
        advice: Some(Advice {
            of: of.fingerprint.clone(),
            window,
            ask_again: start() + HOUR,
        }),
        ..Memory::default()
    };
    let (early, late, other) = (held(90, "0"), held(90, "f"), held(90, "7"));
    for (held, memory, at) in [
        (&early, advised(&early, Some(window)), start() + 10 * DAY),
        (&late, advised(&late, Some(window)), start() + 12 * DAY),
        (&early, advised(&other, Some(window)), start() + 60 * DAY),
        (&early, advised(&early, None), start() + 60 * DAY),
        // A window that is over already means now, and one behind its end is no help.
        (
            &early,
            advised(&early, Some((start() - 2 * DAY, start() - DAY))),
            start() - 2 * DAY,
        ),
        (
            &early,
            advised(&early, Some((start() + 99 * DAY, start() + 100 * DAY))),
            start() + 90 * DAY,
        ),
        // Turned around, it is a moment.
        (
            &late,
            advised(&late, Some((start() + 12 * DAY, start() + 10 * DAY))),
            start() + 12 * DAY,
        ),
    ] {
        assert_eq!(
            due(start(), &names(&["a.test"]), Some(held), &memory),
            (at, Why::Renewal)
        );
    }
    assert!(wants_advice(start(), &early, &Memory::default()));
    assert!(wants_advice(start(), &early, &advised(&other, None)));
    assert!(!wants_advice(start(), &early, &advised(&early, None)));
    assert!(wants_advice(start() + HOUR, &early, &advised(&early, None)));
    for (holds, ends) in [(Duration::ZERO, MINUTE), (HOUR, HOUR), (300 * DAY, DAY)] {
        assert_eq!(advice_ends(start(), holds), start() + ends);
    }
}

#[test]
fn failures_make_the_next_try_wait_longer_and_longer() {
    let wait = |memory: &Memory| {
        memory
            .try_again
            .expect("it waits")
            .duration_since(start())
            .expect("later")
    };
    let mut refused = Memory::default();
    let mut unheard = Memory::default();
    let mut waits = Vec::new();
    for _ in 0..12 {
        refused = failed(start(), &refused, None, (Failure::Refused, "no".into()), None, 0.5);
        unheard = failed(
            start(),
            &unheard,
            None,
            (Failure::Unreachable, "gone".into()),
            None,
            0.5,
        );
        waits.push((wait(&refused).as_secs(), wait(&unheard).as_secs()));
    }
    assert_eq!(
        waits,
        [
            (60, 5),
            (120, 10),
            (240, 20),
            (480, 40),
            (960, 80),
            (1_920, 160),
            (3_840, 320),
            (7_680, 640),
            (15_360, 1_280),
            (21_600, 2_560),
            (21_600, 5_120),
            (21_600, 10_240)
        ]
    );
    assert_eq!((refused.failures, refused.error.as_deref()), (12, Some("no")));
    // A fifth to either side.
    for (random, seconds) in [(0.0, 48), (1.0, 72)] {
        let after = failed(
            start(),
            &Memory::default(),
            None,
            (Failure::Other, String::new()),
            None,
            random,
        );
        assert_eq!(wait(&after).as_secs(), seconds);
    }
    // Years of failures overflow nowhere.
    let long = Memory {
        failures: u32::MAX,
        ..Memory::default()
    };
    let after = failed(start(), &long, None, (Failure::Refused, String::new()), None, 0.5);
    assert_eq!((wait(&after), after.failures), (BACKOFF_MAX, u32::MAX));
}

#[test]
fn what_was_just_given_is_not_asked_for_again_at_once() {
    for (life, rest) in [
        (90 * DAY, HOUR),
        (HOUR, 5 * MINUTE),
        (Duration::ZERO, UNREACHABLE_BACKOFF),
    ] {
        let held = Held {
            not_after: start() + life,
            ..held(1, "0")
        };
        let memory = given(start(), &held);
        assert_eq!(memory.try_again, Some(start() + rest), "{life:?}");
        assert_eq!((memory.failures, memory.error), (0, None));
    }
}

#[test]
fn a_short_life_makes_short_waits_and_the_authoritys_word_counts() {
    let wait = |memory: &Memory| {
        memory
            .try_again
            .expect("it waits")
            .duration_since(start())
            .expect("later")
    };
    let many = Memory {
        failures: 20,
        ..Memory::default()
    };
    let of_life = |life: Duration| Held {
        not_after: start() + life,
        ..held(1, "0")
    };
    for (life, told, waits) in [
        (HOUR, None, 5 * MINUTE),
        (MINUTE, None, UNREACHABLE_BACKOFF),
        (90 * DAY, None, BACKOFF_MAX),
        (HOUR, Some(DAY), DAY),
        (90 * DAY, Some(MINUTE), BACKOFF_MAX),
        (90 * DAY, Some(400 * DAY), RETRY_AFTER_MAX),
    ] {
        let after = failed(
            start(),
            &many,
            Some(&of_life(life)),
            (Failure::Refused, String::new()),
            told,
            0.5,
        );
        assert_eq!(wait(&after), waits, "{life:?} {told:?}");
    }
}
