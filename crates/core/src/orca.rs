//! ORCA: what backends report of their own load, in the fields `endpoint-load-metrics` and `endpoint-load-metrics-bin` of
//! their answers and of these' trailers.
//!
//! Open Request Cost Aggregation (envoyproxy/envoy#6614, `xds.data.orca.v3.OrcaLoadReport`; gRPC's A51). Its formats are
//! TEXT (`TEXT cpu_utilization=0.3, application_utilization=0.8`), JSON (`JSON {"cpu_utilization": 0.3}`) and BIN, which is
//! the message in base64, and what gRPC's servers put into the second field. Of a report that is no report in full,
//! nothing is believed.

mod message;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;

use crate::load::{pack, unpack};
use crate::time::Now;

/// The fields: of text, and of the message alone.
pub const FIELDS: [&str; 2] = ["endpoint-load-metrics", "endpoint-load-metrics-bin"];

/// The longest report, in bytes.
pub const REPORT_BYTES_MAX: usize = 4 << 10;

/// Metrics in one report.
const METRICS_MAX: usize = 64;

/// How long a report is believed.
const BELIEVED: Duration = Duration::from_secs(10);

/// The largest utilisation that is believed; those above are this.
const UTILISATION_MAX: f64 = 100.0;

/// The last report of one backend.
#[derive(Debug, Default)]
pub struct Report(AtomicU64);

impl Report {
    /// Takes in the value of one of the [`FIELDS`]; false when it is no report.
    pub fn take(&self, field: &str, value: &[u8], now: Now) -> bool {
        let Some(utilisation) = parse(field, value) else {
            return false;
        };
        if let Some(share) = utilisation {
            // Never the word 0, which means "none yet".
            #[expect(clippy::cast_possible_truncation, reason = "a share, to a few places")]
            self.0.store(pack(share.max(1e-6) as f32, now), Relaxed);
        }
        true
    }

    /// Takes in what lines of trailers, each with its end, report; what is left of them, when they do.
    pub fn take_lines(&self, lines: &[u8], now: Now) -> Option<Vec<u8>> {
        let field_of = |line: &[u8]| {
            let (name, _) = line.split_at(line.iter().position(|byte| *byte == b':')?);
            FIELDS
                .into_iter()
                .find(|field| name.eq_ignore_ascii_case(field.as_bytes()))
        };
        let mut reported = false;
        let others = |line: &&[u8]| match field_of(line) {
            Some(field) => {
                self.take(field, line[field.len() + 1..].trim_ascii(), now);
                reported = true;
                false
            }
            None => true,
        };
        let left: Vec<&[u8]> = lines.split_inclusive(|byte| *byte == b'\n').filter(others).collect();
        let left = left.concat();
        reported.then_some(left)
    }

    /// The share of its own capacity that it says it uses; `None` when it has not said so lately.
    pub fn utilisation(&self, now: Now) -> Option<f32> {
        let packed = self.0.load(Relaxed);
        let (share, age) = unpack(packed, now);
        (packed != 0 && age <= BELIEVED).then_some(share)
    }
}

/// The utilisation in a report: what the application says of itself, else its processors' (as gRPC's weighted round robin
/// takes it, A58). The outer `None`: it is no report.
fn parse(field: &str, value: &[u8]) -> Option<Option<f64>> {
    if value.len() > REPORT_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?.trim();
    let metrics = if field == FIELDS[1] {
        message::read(text)?
    } else {
        let (format, body) = text.split_once(' ')?;
        match format {
            "TEXT" => text_metrics(body)?,
            "JSON" => json_metrics(body)?,
            "BIN" => message::read(body)?,
            _ => return None,
        }
    };
    let of = |name: &str| metrics.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
    let own = of("application_utilization").filter(|share| *share > 0.0);
    let share = own.or_else(|| of("cpu_utilization"));
    Some(share.map(|share| share.min(UTILISATION_MAX)))
}

type Metrics = Vec<(String, f64)>;

fn text_metrics(body: &str) -> Option<Metrics> {
    let mut metrics = Metrics::new();
    for pair in body.split(',') {
        let (name, value) = pair.split_once(['=', ':'])?;
        add(&mut metrics, name.trim(), value.trim().parse().ok()?)?;
    }
    Some(metrics)
}

fn json_metrics(body: &str) -> Option<Metrics> {
    let Value::Object(fields) = serde_json::from_str(body).ok()? else {
        return None;
    };
    let mut metrics = Metrics::new();
    for (name, value) in fields {
        match value {
            Value::Number(number) => add(&mut metrics, &name, number.as_f64()?)?,
            // request_cost, utilization and named_metrics: maps of numbers, which nothing here uses.
            Value::Object(map) if map.len() <= METRICS_MAX && map.values().all(Value::is_number) => {}
            _ => return None,
        }
    }
    Some(metrics)
}

/// Each once, and no number below 0 or beyond all bounds.
fn add(metrics: &mut Metrics, name: &str, value: f64) -> Option<()> {
    let known = metrics.iter().any(|(key, _)| key == name);
    let sound = value.is_finite() && value >= 0.0 && !name.is_empty();
    (sound && !known && metrics.len() < METRICS_MAX).then(|| metrics.push((name.to_owned(), value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read_and_nothing_that_is_neither() {
        for (value, share) in [
            ("TEXT cpu_utilization=0.3", Some(Some(0.3))),
            (
                "TEXT cpu_utilization=0.3, application_utilization=0.8,named_metrics.q=7",
                Some(Some(0.8)),
            ),
            ("TEXT application_utilization:0,cpu_utilization:1.5", Some(Some(1.5))),
            ("TEXT mem_utilization=0.5", Some(None)),
            (
                "JSON {\"cpu_utilization\": 0.25, \"named_metrics\": {\"q\": 1}}",
                Some(Some(0.25)),
            ),
            ("JSON {\"cpu_utilization\": 1e300}", Some(Some(UTILISATION_MAX))),
            ("JSON {}", Some(None)),
            ("TEXT cpu_utilization=0.3,cpu_utilization=0.4", None),
            ("TEXT cpu_utilization=-0.3", None),
            ("TEXT cpu_utilization=NaN", None),
            ("TEXT cpu_utilization=inf", None),
            ("TEXT cpu_utilization", None),
            ("TEXT ", None),
            ("JSON [1]", None),
            ("JSON {\"cpu_utilization\": \"0.3\"}", None),
            ("JSON {\"cpu_utilization\": 0.3} x", None),
            ("BIN CQAAAAAAANA/SQAAAAAAAOg/", Some(Some(0.75))),
            ("BIN CQAAAAAAANA", None),
            ("cpu_utilization=0.3", None),
            ("", None),
        ] {
            assert_eq!(parse(FIELDS[0], value.as_bytes()), share, "{value}");
        }
        assert_eq!(parse(FIELDS[0], &[b'x'; REPORT_BYTES_MAX + 1]), None);
        assert_eq!(parse(FIELDS[0], b"TEXT cpu_utilization=\xff"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_value_harms(value in proptest::collection::vec(proptest::num::u8::ANY, 0..200), json in "JSON [{}\\[\\]\":,0-9.a-z]{0,100}") {
            for field in FIELDS {
                let _ = parse(field, &value);
            }
            let _ = parse(FIELDS[0], json.as_bytes());
        }
    }

    #[test]
    fn a_report_is_believed_for_a_while() {
        let (report, now) = (Report::default(), Now::from_millis(5));
        assert_eq!(report.utilisation(now), None);
        assert!(report.take(FIELDS[0], b"TEXT cpu_utilization=0.5", now));
        assert!(report.take(FIELDS[0], b"TEXT eps=1", now) && !report.take(FIELDS[0], b"rubbish", now));
        assert_eq!(report.utilisation(now + BELIEVED), Some(0.5));
        assert_eq!(report.utilisation(now + BELIEVED + Duration::from_millis(1)), None);
        assert!(report.take(FIELDS[0], b"TEXT cpu_utilization=0", Now::START));
        assert!(report.utilisation(Now::START).is_some());
    }
}
