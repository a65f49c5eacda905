//! The table of results.

use std::fmt::Write;
use std::time::Duration;

use super::scene::{BACKENDS, POLICIES};
use super::tally::Samples;

/// Answers under which a p99 says nothing: ten of the slowest hundredth.
const SAMPLES_MIN: usize = 200;

/// The table: a line for each policy that was measured. Empty when none was.
pub(super) fn text(rows: &[Samples]) -> String {
    let measured = || POLICIES.iter().zip(rows).filter(|(_, row)| row.count() > 0);
    if measured().next().is_none() {
        return String::new();
    }
    let mut out = format!(
        "{:<17} {:>8} {:>8} {:>8} {:>6}",
        "policy", "requests", "p50", "p99", "errors"
    );
    for spec in &BACKENDS {
        let _ = write!(out, " {:>8}", spec.name);
    }
    out.push('\n');
    for (policy, row) in measured() {
        // Writing into a String cannot fail.
        let _ = write!(
            out,
            "{policy:<17} {:>8} {:>8} {:>8} {:>6}",
            row.count(),
            millis(row.percentile(50.0)),
            millis(row.percentile(99.0)),
            row.errors,
        );
        for backend in 0..BACKENDS.len() {
            let _ = write!(out, " {:>6.1} %", row.share_percent(backend));
        }
        out.push('\n');
    }
    out
}

/// What the table comes to, in a sentence; nothing before there is enough to go by.
pub(super) fn verdict(rows: &[Samples]) -> Option<String> {
    let p99s = POLICIES.iter().zip(rows).filter(|(_, row)| row.count() >= SAMPLES_MIN);
    let p99s: Vec<(&str, Duration)> = p99s
        .filter_map(|(policy, row)| Some((*policy, row.percentile(99.0)?)))
        .collect();
    let (best, least) = p99s.iter().min_by_key(|(_, p99)| *p99)?;
    let (worst, most) = p99s.iter().max_by_key(|(_, p99)| *p99)?;
    if best == worst || least.is_zero() {
        return None;
    }
    let times = most.as_secs_f64() / least.as_secs_f64();
    Some(format!(
        "p99 is {times:.1} times as long under {worst} as under {best}."
    ))
}

/// A latency for people.
pub(super) fn millis(latency: Option<Duration>) -> String {
    match latency.map(|latency| latency.as_secs_f64() * 1_000.0) {
        None => "-".into(),
        Some(ms) if ms < 9.95 => format!("{ms:.1} ms"),
        Some(ms) => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::demo::tally::{Sample, Tally};

    /// Rows of 300 answers each, all of the latency given.
    fn rows(latencies_ms: &[u64]) -> Tally {
        let mut tally = Tally::new(POLICIES.len());
        for (row, ms) in latencies_ms.iter().enumerate() {
            for at in 0..300 {
                let sample = Sample {
                    at: Instant::now(),
                    latency: Duration::from_millis(*ms),
                    backend: Some(at % BACKENDS.len()),
                };
                tally.record(Some(row), sample);
            }
        }
        tally
    }

    #[test]
    fn policies_that_were_not_measured_have_no_line() {
        assert_eq!(text(rows(&[]).rows()), "");
        let table = text(rows(&[800, 64]).rows());
        let expected = "\
policy            requests      p50      p99 errors  swift-1  swift-2     slow
round-robin            300   800 ms   800 ms      0   33.3 %   33.3 %   33.3 %
least-connections      300    64 ms    64 ms      0   33.3 %   33.3 %   33.3 %
";
        assert_eq!(table, expected);
    }

    #[test]
    fn the_verdict_names_the_worst_and_the_best() {
        assert_eq!(verdict(rows(&[800]).rows()), None);
        let verdict = verdict(rows(&[800, 64, 100, 50]).rows()).unwrap();
        assert!(
            verdict.ends_with("p99 is 16.0 times as long under round-robin as under peak-ewma."),
            "{verdict}"
        );
    }

    #[test]
    fn latencies_have_three_figures_at_most() {
        let of = |us| millis(Some(Duration::from_micros(us)));
        assert_eq!([of(1_234), of(9_960), of(812_400)], ["1.2 ms", "10 ms", "812 ms"]);
        assert_eq!(millis(None), "-");
    }
}
