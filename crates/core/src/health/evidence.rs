//! Whether one backend's failures stand out from the rest of its pool's.

use crate::load::Recent;

/// Chance of ejecting somebody in a pool where all fail alike, each time that the whole pool is judged. It is divided
/// by the number of backends (Bonferroni's correction), since each of them may be the unlucky one.
const MISTAKE: f64 = 1e-4;

/// Two-sided 99 % quantile of the normal distribution, for the bound on the others' failure rate.
const Z: f64 = 2.576;

/// A backend stands out only when it succeeds at most this often, relative to the others: what is merely a little
/// worse is left to the load-aware policies.
const SUCCESS_RATIO_MAX: f64 = 0.5;

/// Whether `own` failures are more than chance and the rest of the pool's failure rate explain, in a pool of
/// `backends`.
///
/// The others' rate is taken at the upper end of its Wilson score interval (Wilson 1927), so that little evidence about
/// them excuses much. The chance of `own` under that rate is bounded by Chernoff and Hoeffding: at most
/// `exp(-n · KL(own rate ‖ their rate))` (Hoeffding 1963, theorem 1). With five failures of five and three backends, the
/// others must show about 50 answers without a failure; with ten of ten, 13.
pub fn stands_out(own: Recent, rest: Recent, backends: usize) -> bool {
    if own.results == 0 || rest.results == 0 {
        return false;
    }
    let rate = |recent: Recent| f64::from(recent.failures.min(recent.results)) / f64::from(recent.results);
    let (own_rate, rest_rate) = (rate(own), rate(rest));
    if 1.0 - own_rate > SUCCESS_RATIO_MAX * (1.0 - rest_rate) {
        return false;
    }
    let bound = wilson_upper(rest_rate, f64::from(rest.results));
    if own_rate <= bound {
        return false;
    }
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 backends")]
    let doubt = (backends.max(1) as f64 / MISTAKE).ln();
    f64::from(own.results) * divergence(own_rate, bound) >= doubt
}

/// The upper end of Wilson's score interval for a `rate` seen in `n` results.
fn wilson_upper(rate: f64, n: f64) -> f64 {
    let z2 = Z * Z;
    let centre = rate + z2 / (2.0 * n);
    let spread = Z * (rate * (1.0 - rate) / n + z2 / (4.0 * n * n)).sqrt();
    ((centre + spread) / (1.0 + z2 / n)).min(1.0)
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
            (seen(5, 5), seen(0, 100), true, "always fails where others never do"),
            (seen(10, 10), seen(0, 20), true, "more of its own needs less of theirs"),
            (seen(5, 5), seen(0, 10), false, "too little evidence about the others"),
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
            (seen(0, 0), seen(0, 1000), false, "nothing is known of it"),
        ] {
            assert_eq!(stands_out(own, rest, 3), expected, "{why}");
        }
    }

    #[test]
    fn chance_alone_makes_nobody_stand_out() {
        let mut rng = Rng::seeded(7);
        let mut mistakes = 0;
        for _ in 0..20_000 {
            let fails = rng.unit();
            let mut drawn = |n: u32| seen((0..n).map(|_| u32::from(rng.unit() < fails)).sum(), n);
            mistakes += u32::from(stands_out(drawn(10), drawn(90), 10));
        }
        assert!(mistakes <= 2, "20,000 × 1e-4 / 10 is the bound: {mistakes}");
    }
}
