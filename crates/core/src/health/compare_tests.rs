//! Who stands out, and who does not.

use proptest::prelude::*;

use super::*;
use crate::load::Load;

/// What a backend answered: so many, of which so many failed.
fn answered(results: u64, failures: u64) -> Totals {
    Totals {
        results,
        failures,
        ..Totals::default()
    }
}

/// What a backend answered that took so many milliseconds, each so often.
fn timed(spans: &[(u64, u32)]) -> Totals {
    let load = Load::default();
    for (millis, times) in spans {
        for _ in 0..*times {
            load.observe_time(Duration::from_millis(*millis));
        }
    }
    load.sums()
}

fn places(found: &[(usize, Offence)]) -> Vec<usize> {
    found.iter().map(|(at, _)| *at).collect()
}

#[test]
fn whose_success_rate_stands_out() {
    let well = answered(1_000, 0);
    for (counts, expected, why) in [
        (vec![well, well, well, well, answered(1_000, 500)], vec![4], "half fail"),
        (vec![well, well, well, well, answered(1_000, 50)], vec![4], "5 % fail"),
        (
            vec![well, well, well, well, answered(1_000, 9)],
            vec![],
            "it does not matter",
        ),
        (
            vec![well, well, well, well, answered(100, 4)],
            vec![],
            "chance explains it",
        ),
        (
            vec![well, well, well, well, answered(99, 99)],
            vec![],
            "too few requests",
        ),
        (
            vec![well, well, well, answered(1_000, 1_000)],
            vec![],
            "four convict nobody",
        ),
        (vec![answered(1_000, 900); 9], vec![], "all fail alike"),
        (
            vec![answered(1_000, 900), answered(1_000, 900), well, well, well],
            vec![],
            "two of five are no exception",
        ),
        (
            [vec![well; 8], vec![answered(1_000, 480), answered(1_000, 500)]].concat(),
            vec![9, 8],
            "two of ten are, the worse first",
        ),
    ] {
        assert_eq!(
            places(&unsuccessful(&counts, &SuccessRate::default())),
            expected,
            "{why}"
        );
    }
}

#[test]
fn whose_latency_stands_out() {
    let of = |millis| timed(&[(millis, 200)]);
    for (counts, expected, why) in [
        (
            vec![of(20), of(22), of(18), of(20), of(200)],
            vec![4],
            "ten times as long",
        ),
        (
            vec![of(20), of(20), of(20), of(20), of(50)],
            vec![],
            "less than three times",
        ),
        (
            vec![of(1), of(1), of(1), of(1), of(9)],
            vec![],
            "8 ms that nobody notices",
        ),
        (vec![of(20), of(20), of(20), of(200)], vec![], "four convict nobody"),
        (vec![of(5), of(20), of(80), of(320), of(1_280)], vec![], "all differ"),
        (
            vec![of(20), of(20), of(20), of(20), timed(&[(2_000, 99)])],
            vec![],
            "too few answers",
        ),
        (
            vec![of(20), of(20), of(20), of(20), timed(&[(20, 199), (60_000, 1)])],
            vec![],
            "one answer of a minute",
        ),
    ] {
        assert_eq!(places(&slow(&counts, &Latency::default())), expected, "{why}");
    }
}

#[test]
fn what_speaks_against_it_is_told() {
    let well = answered(1_000, 10);
    let found = unsuccessful(&[well, well, well, well, answered(1_000, 251)], &SuccessRate::default());
    let (own_permille, others_permille) = (749, 990);
    let offence = Offence::SuccessRate {
        own_permille,
        others_permille,
    };
    assert_eq!(found, [(4, offence)]);
}

#[test]
fn chance_alone_convicts_nobody_in_a_large_pool() {
    let mut rng = crate::rng::Rng::seeded(3);
    for fails in [0.001, 0.05, 0.5] {
        for _ in 0..300 {
            let drawn = |rng: &mut crate::rng::Rng| (0..100).map(|_| u64::from(rng.unit() < fails)).sum();
            let counts: Vec<Totals> = (0..50).map(|_| answered(100, drawn(&mut rng))).collect();
            assert_eq!(unsuccessful(&counts, &SuccessRate::default()), [], "{fails}");
        }
    }
}

proptest! {
    #[test]
    fn nobody_at_or_above_the_mean_is_found_and_nobody_in_a_small_pool(
        counts in proptest::collection::vec((0u64..2_000, 0u64..2_000, 0u64..1 << 24), 0..30),
    ) {
        let counts: Vec<Totals> = counts
            .into_iter()
            .map(|(results, failures, each)| Totals {
                results,
                failures: failures.min(results),
                timed: results,
                logs: results * each / 1_000,
            })
            .collect();
        let found = unsuccessful(&counts, &SuccessRate::default());
        let comparable: Vec<f64> = counts
            .iter()
            .map(|counts| counts.results())
            .filter(|recent| recent.results >= 100)
            .map(|recent| 1.0 - f64::from(recent.failures) / f64::from(recent.results))
            .collect();
        if comparable.len() < 5 {
            prop_assert!(found.is_empty());
            prop_assert!(slow(&counts, &Latency::default()).is_empty());
        } else {
            let mean = Crowd::of(&comparable).mean;
            for (at, _) in &found {
                let recent = counts[*at].results();
                prop_assert!(1.0 - f64::from(recent.failures) / f64::from(recent.results) < mean);
            }
        }
        // Cantelli: at most a share of 1 / (1 + 1.9²) lies that far out on one side.
        prop_assert!(found.len() as f64 <= comparable.len() as f64 / (1.0 + 1.9f64.powi(2)));
    }
}
