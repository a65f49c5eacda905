//! Whether one backend's failures stand out from the rest of its pool's.

use crate::load::Recent;

/// Chance of ejecting somebody in a pool where all fail alike, each time that the whole pool is judged. It is divided
/// by the number of backends (Bonferroni's correction), since each of them may be the unlucky one. It is small because
/// a pool is judged often, and just when a row of failures makes one look bad.
const MISTAKE: f64 = 1e-6;

/// A backend stands out only when it succeeds at most this often, relative to the others: what is merely a little
/// worse is left to the load-aware policies.
const SUCCESS_RATIO_MAX: f64 = 0.5;

/// Whether `own` failures are more than chance explains, if the rest of a pool of `backends` fails as often.
///
/// If all fail at one rate, whatever it is, the chance that one fails as often as `own` and the others as seldom as
/// `rest` is at most `exp(-n · KL(own ‖ both) - m · KL(rest ‖ both))`, where `both` is the rate of all together
/// (Hoeffding 1963, theorem 1, for each side; the rate of all together is the one that explains them best). Little
/// evidence on either side excuses much: with five failures of five and three backends, the others must show 34 answers
/// without a failure; with ten of ten, 12.
pub fn stands_out(own: Recent, rest: Recent, backends: usize) -> bool {
    if own.results == 0 || rest.results == 0 {
        return false;
    }
    let (n, m) = (f64::from(own.results), f64::from(rest.results));
    let own_rate = f64::from(own.failures.min(own.results)) / n;
    let rest_rate = f64::from(rest.failures.min(rest.results)) / m;
    if own_rate <= rest_rate || 1.0 - own_rate > SUCCESS_RATIO_MAX * (1.0 - rest_rate) {
        return false;
    }
    beyond_chance(own, rest, backends)
}

/// Whether one rate of failures for all is too unlikely an explanation of `own` and `rest` ([`stands_out`] says how
/// unlikely). It is as symmetric as it looks: which of the two is the worse is for the caller to say.
pub(super) fn beyond_chance(own: Recent, rest: Recent, backends: usize) -> bool {
    if own.results == 0 || rest.results == 0 {
        return false;
    }
    let (n, m) = (f64::from(own.results), f64::from(rest.results));
    let own_rate = f64::from(own.failures.min(own.results)) / n;
    let rest_rate = f64::from(rest.failures.min(rest.results)) / m;
    let both = (own_rate * n + rest_rate * m) / (n + m);
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 backends")]
    let doubt = (backends.max(1) as f64 / MISTAKE).ln();
    n * divergence(own_rate, both) + m * divergence(rest_rate, both) >= doubt
}

/// Kullback and Leibler's divergence of two coins, `p` from `q`, in nats.
fn divergence(p: f64, q: f64) -> f64 {
    let term = |a: f64, b: f64| if a <= 0.0 { 0.0 } else { a * (a / b).ln() };
    term(p, q) + term(1.0 - p, 1.0 - q)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn seen(failures: u32, results: u32) -> Recent {
        Recent { results, failures }
    }

    #[test]
    fn who_stands_out() {
        for (own, rest, expected, why) in [
            (seen(5, 5), seen(0, 34), true, "always fails where others never do"),
            (seen(10, 10), seen(0, 12), true, "more of its own needs less of theirs"),
            (seen(5, 5), seen(0, 33), false, "too little evidence about the others"),
            (seen(500, 500), seen(0, 1), false, "hardly any about the others"),
            (seen(160, 200), seen(0, 4), false, "four answers of others say little"),
            (seen(5, 5), seen(0, 0), false, "none about the others"),
            (seen(5, 5), seen(5, 5), false, "all fail"),
            (
                seen(1000, 1000),
                seen(2000, 2000),
                false,
                "all fail, with much evidence",
            ),
            (seen(520, 1000), seen(1000, 2000), false, "all fail half the time"),
            (seen(20, 100), seen(0, 1000), false, "a little worse"),
            (seen(90, 100), seen(500, 1000), true, "bad among the half bad"),
            (seen(1, 100), seen(90, 100), false, "good among the bad"),
            (seen(0, 0), seen(0, 1000), false, "nothing is known of it"),
        ] {
            assert_eq!(stands_out(own, rest, 3), expected, "{why}");
        }
    }

    #[test]
    fn chance_alone_makes_nobody_stand_out() {
        let mut rng = Rng::seeded(7);
        for _ in 0..20_000 {
            let fails = rng.unit();
            let (n, m) = (rng.below(60) + 1, rng.below(60) + 1);
            let mut drawn = |n: u64| {
                let failures = (0..n).map(|_| u32::from(rng.unit() < fails)).sum();
                seen(failures, u32::try_from(n).unwrap())
            };
            assert!(!stands_out(drawn(n), drawn(m), 2));
        }
    }
}
