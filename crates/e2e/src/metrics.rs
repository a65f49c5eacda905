//! What `/metrics` said, as numbers.

/// One scrape in Prometheus' text format.
#[derive(Debug, Clone)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// Takes a scrape's body.
    pub fn new(text: String) -> Metrics {
        Metrics { text }
    }

    /// The sum over all series of `name` whose labels include each of `labels`; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(name, labels).map(|(_, value)| value).sum()
    }

    /// Whether a series of this name and these labels exists.
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.series(name, labels).next().is_some()
    }

    /// The scrape as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn series<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = (&'a str, f64)> {
        self.text.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            // Label values may hold spaces; the value comes after the closing brace.
            let (found, value) = match rest.strip_prefix('{') {
                Some(labelled) => labelled.rsplit_once('}')?,
                None => ("", rest.strip_prefix(' ')?),
            };
            let wanted = labels.iter().all(|(key, value)| has_label(found, key, value));
            let number = value.split_whitespace().next()?.parse().ok()?;
            wanted.then_some((found, number))
        })
    }
}

fn has_label(labels: &str, key: &str, value: &str) -> bool {
    let pair = format!("{key}=\"{value}\"");
    labels
        .match_indices(&pair)
        .any(|(at, _)| at == 0 || labels.as_bytes()[at - 1] == b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: &str = "# HELP requests_total All.\nrequests_total{pool=\"a b\",code=\"200\"} 3\n\
                          requests_total{pool=\"c\",code=\"200\"} 4 1700000000\nrequests_total_of_others 9\nup 1\n";

    #[test]
    fn sums_are_over_the_series_that_carry_the_labels() {
        let metrics = Metrics::new(SCRAPE.to_owned());
        assert_eq!(metrics.sum("requests_total", &[("code", "200")]), 7.0);
        assert_eq!(metrics.sum("requests_total", &[("pool", "a b")]), 3.0);
        assert_eq!(metrics.sum("up", &[]), 1.0);
        assert!(!metrics.has("requests_total", &[("ode", "200")]));
    }
}
