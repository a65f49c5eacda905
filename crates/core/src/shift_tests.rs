use super::*;

fn at(secs: u64) -> Now {
    Now::from_millis(secs * 1_000)
}

/// So many requests of 10 ms, so many of them errors, and so many more of 2 s.
fn counted(fast: u64, errors: u64, slow: u64) -> Counted {
    let mut durations = Histogram::default();
    durations.buckets[4] = fast;
    durations.buckets[11] = slow;
    Counted { errors, durations }
}

fn limits(texts: &[&str]) -> Vec<Limit> {
    texts.iter().map(|text| Limit::parse(text).expect(text)).collect()
}

fn shift(over_secs: u64, texts: &[&str]) -> Shift {
    let over = Duration::from_secs(over_secs);
    Shift::begin(
        vec![100, 0],
        vec![0, 100],
        over,
        limits(texts),
        Counted::default(),
        at(0),
    )
}

#[test]
fn limits_are_spelt_as_people_write_them() {
    for text in ["error_rate > 1%", "error_rate > 0.5%", "p99 > 250ms", "p50 > 1500ms"] {
        assert_eq!(Limit::parse(text).expect(text).to_string(), text);
    }
    assert_eq!(Limit::parse("p95>1.5s").expect("a limit").to_string(), "p95 > 1500ms");
    for text in [
        "",
        "error_rate",
        "error_rate > 1",
        "error_rate > 100%",
        "error_rate > -1%",
        "error_rate > NaN%",
        "errors > 1%",
        "p99 < 250ms",
        "p99 > 250",
        "p99 > ms",
        "p99 > 1m",
        "p99 > -1s",
        "p100 > 1s",
        "p0 > 1s",
        "p > 1s",
    ] {
        let said = Limit::parse(text).expect_err(text);
        assert!(
            said.contains("error_rate > 1%") || said.contains("an error rate is"),
            "{said}"
        );
    }
}

#[test]
fn weights_move_evenly_and_end_as_they_were_asked_for() {
    let mut shift = shift(100, &[]);
    for (secs, weights) in [
        (0, [10_000, 0]),
        (1, [9_900, 100]),
        (50, [5_000, 5_000]),
        (99, [100, 9_900]),
    ] {
        assert_eq!(
            shift.step(Counted::default(), at(secs)),
            Step::Weights(weights.to_vec()),
            "{secs}"
        );
    }
    assert_eq!(shift.step(Counted::default(), at(100)), Step::Done(vec![0, 100]));
    let over = Duration::from_secs(1_000_000);
    let mut slow = Shift::begin(vec![1, 1, 0], vec![2, 1, 1], over, vec![], Counted::default(), at(0));
    let Step::Weights(weights) = slow.step(Counted::default(), at(1)) else {
        panic!("it has begun")
    };
    assert_eq!(weights, [5_000, 5_000, 1], "whoever grows has something");
    assert_eq!(Shift::growing(&[1, 1, 0], &[2, 1, 1]), [false, false, true]);
}

#[test]
fn one_without_time_is_a_step() {
    assert_eq!(shift(0, &[]).step(Counted::default(), at(0)), Step::Done(vec![0, 100]));
    let mut watched = shift(0, &["error_rate > 1%"]);
    assert_eq!(watched.step(Counted::default(), at(0)), Step::Weights(vec![0, 100]));
    assert_eq!(watched.step(counted(100, 0, 0), at(29)), Step::Weights(vec![0, 100]));
    assert_eq!(watched.step(counted(200, 0, 0), at(30)), Step::Done(vec![0, 100]));
}

#[test]
fn too_many_errors_take_it_back() {
    let mut shift = shift(100, &["p99 > 10s", "error_rate > 1%"]);
    assert!(
        matches!(shift.step(counted(1_000, 10, 0), at(10)), Step::Weights(_)),
        "a percent is allowed"
    );
    let Step::Back(weights, why) = shift.step(counted(1_100, 40, 0), at(11)) else {
        panic!("a hundred requests, thirty errors")
    };
    assert_eq!(weights, [100, 0]);
    assert_eq!(
        why,
        "error_rate 3.6% of 1100 requests, where error_rate > 1% ends the shift"
    );
}

#[test]
fn slow_answers_take_it_back() {
    let mut shift = shift(100, &["p99 > 1s"]);
    assert!(matches!(shift.step(counted(1_000, 0, 5), at(10)), Step::Weights(_)));
    let Step::Back(_, why) = shift.step(counted(1_000, 0, 50), at(11)) else {
        panic!("five of a hundred are slow")
    };
    assert!(why.starts_with("p99 2185ms of 1050 requests"), "{why}");
}

#[test]
fn few_requests_prove_nothing_and_old_ones_are_forgotten() {
    let mut few = shift(100, &["error_rate > 1%"]);
    assert!(matches!(
        few.step(counted(REQUESTS_MIN - 1, REQUESTS_MIN - 1, 0), at(5)),
        Step::Weights(_)
    ));
    assert!(matches!(
        few.step(counted(REQUESTS_MIN, REQUESTS_MIN, 0), at(6)),
        Step::Back(..)
    ));
    // What was bad before the shift began is not its fault, nor is what was long ago.
    let over = Duration::from_secs(1_000);
    let mut old = Shift::begin(
        vec![1, 0],
        vec![0, 1],
        over,
        limits(&["error_rate > 10%"]),
        counted(50, 50, 0),
        at(0),
    );
    let mut total = counted(50, 50, 0);
    for secs in 1..500 {
        total.durations.buckets[4] += 10;
        // One error a second is a tenth, which is allowed; it adds up to many.
        total.errors += 1;
        let step = old.step(total, at(secs));
        assert!(matches!(step, Step::Weights(_)), "{secs}: {step:?}");
    }
    total.durations.buckets[4] += 100;
    total.errors += 60;
    assert!(
        matches!(old.step(total, at(500)), Step::Back(..)),
        "within the window it shows"
    );
}
