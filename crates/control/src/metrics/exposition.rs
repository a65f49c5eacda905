//! The text that scrapers read: Prometheus' text format 0.0.4, and OpenMetrics 1.0 for those who ask for it.
//!
//! The two differ in how counters are announced, in the escaping of help texts, and in the last line.

use std::fmt::{Display, Write};
use std::time::SystemTime;

use plimsoll_core::exemplar::{Exemplar, Exemplars};
use plimsoll_core::telemetry::{BUCKETS_US, Histogram};
use plimsoll_core::time::Now;

/// Which text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What an `Accept` field asks for; Prometheus' own when it does not say.
    pub(crate) fn accepted(accept: &str) -> Self {
        let quality = |wanted: &str| {
            let of = |range: &str| {
                let mut parts = range.split(';').map(str::trim);
                (parts.next()?.eq_ignore_ascii_case(wanted)).then(|| {
                    let quality = parts.find_map(|part| part.strip_prefix("q="));
                    quality.map_or(1.0, |text| text.parse::<f64>().unwrap_or(0.0))
                })
            };
            accept.split(',').find_map(of).unwrap_or(0.0)
        };
        let open = quality("application/openmetrics-text");
        if open > 0.0 && open >= quality("text/plain") {
            Format::OpenMetrics
        } else {
            Format::Prometheus
        }
    }

    /// The `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows; its samples are called `…_total`.
    Counter,
    /// A counter beside a gauge of the same name without `_total`. OpenMetrics names both alike and so forbids the
    /// pair; there it is announced as unknown, which changes nothing for those who compute rates.
    CounterBesideGauge,
    /// It goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A label and its value.
pub(crate) type Pair<'a> = (&'static str, &'a str);

/// Tells what a clock on the wall showed then.
pub(crate) type Wall<'w> = &'w dyn Fn(Now) -> SystemTime;

/// A text under construction.
pub(crate) struct Exposition {
    out: String,
    format: Format,
    /// The name that samples of the current metric have.
    name: &'static str,
}

impl Exposition {
    /// An empty one.
    pub(crate) fn new(format: Format) -> Self {
        Exposition {
            out: String::with_capacity(16 << 10),
            format,
            name: "",
        }
    }

    /// Announces the metric that the following samples are of. Counters are named with their `_total`.
    pub(crate) fn metric(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Self {
        let open = self.format == Format::OpenMetrics;
        let (family, word) = match kind {
            Kind::Counter if open => (name.strip_suffix("_total").unwrap_or(name), "counter"),
            Kind::CounterBesideGauge if open => (name, "unknown"),
            Kind::Counter | Kind::CounterBesideGauge => (name, "counter"),
            Kind::Gauge => (name, "gauge"),
            Kind::Histogram => (name, "histogram"),
        };
        self.out.push_str("# HELP ");
        self.out.push_str(family);
        self.out.push(' ');
        // Only OpenMetrics escapes quotes in help texts; ours have none.
        escape(&mut self.out, help, open);
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "\n# TYPE {family} {word}");
        self.name = name;
        self
    }

    /// Writes one sample.
    pub(crate) fn sample(&mut self, labels: &[Pair<'_>], value: impl Display) -> &mut Self {
        self.line("", labels, None, value)
    }

    /// Writes a distribution of seconds.
    pub(crate) fn histogram(&mut self, labels: &[Pair<'_>], histogram: &Histogram) -> &mut Self {
        self.exemplified(labels, histogram, None)
    }

    /// The same, with some that were counted and can be looked at, where the format has room for those.
    pub(crate) fn exemplified(
        &mut self,
        labels: &[Pair<'_>],
        histogram: &Histogram,
        exemplars: Option<(&Exemplars, Wall<'_>)>,
    ) -> &mut Self {
        let mut below = 0;
        for (at, (count, bound)) in histogram.buckets.iter().zip(BUCKETS_US).enumerate() {
            below += count;
            // `{:?}` writes 1.0 where `{}` writes 1: OpenMetrics wants it so, and both texts shall name one series.
            self.line("_bucket", labels, Some(&format!("{:?}", seconds(bound))), below);
            self.exemplar(at, exemplars);
        }
        let count = histogram.count();
        self.line("_bucket", labels, Some("+Inf"), count);
        self.exemplar(BUCKETS_US.len(), exemplars);
        self.line("_sum", labels, None, seconds(histogram.sum_us));
        self.line("_count", labels, None, count)
    }

    /// The finished text.
    pub(crate) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    /// Writes an exemplar behind the line of the bucket at this position (OpenMetrics 1.0, "Exemplars").
    fn exemplar(&mut self, bucket: usize, exemplars: Option<(&Exemplars, Wall<'_>)>) {
        let found = exemplars.and_then(|(exemplars, wall)| Some((exemplars.of(bucket)?, wall)));
        let Some((Exemplar { duration, witness }, wall)) = found.filter(|_| self.format == Format::OpenMetrics) else {
            return;
        };
        self.out.pop();
        self.out.push_str(" # {");
        let trace = witness.trace.map(|id| format!("{id:032x}"));
        let labels = [
            ("trace_id", trace.as_deref()),
            ("request_id", witness.request.as_deref()),
        ];
        let labels = labels.into_iter().filter_map(|(name, text)| Some((name, text?)));
        for (at, (name, text)) in labels.enumerate() {
            self.out.push_str(if at == 0 { "" } else { "," });
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(&mut self.out, text, true);
            self.out.push('"');
        }
        let since = wall(witness.at)
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        // In whole microseconds, as it was counted: it has to lie in its bucket.
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let _ = writeln!(self.out, "}} {} {:.3}", seconds(micros), since.as_secs_f64());
    }

    fn line(&mut self, suffix: &str, labels: &[Pair<'_>], bound: Option<&str>, value: impl Display) -> &mut Self {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        let bound = bound.map(|bound| ("le", bound));
        for (at, (name, text)) in labels.iter().copied().chain(bound).enumerate() {
            self.out.push(if at == 0 { '{' } else { ',' });
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(&mut self.out, text, true);
            self.out.push('"');
        }
        if !labels.is_empty() || bound.is_some() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
        self
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 microseconds are 285 years")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_comes_to_those_who_prefer_it() {
        for (accept, format) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain", Format::Prometheus),
            ("application/openmetrics-text; version=1.0.0", Format::OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            ("text/plain, application/openmetrics-text;q=0.5", Format::Prometheus),
            ("application/openmetrics-text;q=0", Format::Prometheus),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }

    #[test]
    fn labels_and_help_are_escaped() {
        let mut text = Exposition::new(Format::Prometheus);
        text.metric("up", Kind::Gauge, "a \"b\"\nc\\")
            .sample(&[("pool", "a\"b\\c\nd")], 1);
        assert_eq!(
            text.finish(),
            "# HELP up a \"b\"\\nc\\\\\n# TYPE up gauge\nup{pool=\"a\\\"b\\\\c\\nd\"} 1\n"
        );
    }

    #[test]
    fn a_counter_is_announced_as_each_format_wants_it() {
        for (format, kind, announced) in [
            (Format::Prometheus, Kind::Counter, "# TYPE hits_total counter\n"),
            (Format::OpenMetrics, Kind::Counter, "# TYPE hits counter\n"),
            (
                Format::OpenMetrics,
                Kind::CounterBesideGauge,
                "# TYPE hits_total unknown\n",
            ),
        ] {
            let mut text = Exposition::new(format);
            text.metric("hits_total", kind, "Hits.").sample(&[], 3);
            let text = text.finish();
            assert!(text.contains(announced) && text.contains("\nhits_total 3\n"), "{text}");
            assert_eq!(text.ends_with("# EOF\n"), format == Format::OpenMetrics);
        }
    }
}
