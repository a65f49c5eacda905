//! The dashboard for Grafana and the alerts for Prometheus in `packaging/` name metrics, labels and reasons that there
//! are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use plimsoll_core::outcome::Reason;

use super::exposition::Format;
use super::tests::{metrics, work};

/// Labels that Prometheus adds, and `le`, which histograms have.
const THEIRS: [&str; 3] = ["instance", "job", "le"];

fn packaged(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The metrics that there are, with the labels of those that have samples.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let (metrics, control, telemetry) = metrics();
    work(&control, &telemetry);
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let text = metrics.text(Format::Prometheus);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            known
                .entry(rest.split(' ').next().unwrap_or_default().to_owned())
                .or_default();
        } else if let Some((name, rest)) = line.split_once('{') {
            let labels = rest.split('}').next().unwrap_or_default();
            let names = labels
                .split("\",")
                .filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            known.entry(base(name).to_owned()).or_default().extend(names);
        }
    }
    known
}

/// The metric of a histogram's series.
fn base(name: &str) -> &str {
    let ends = ["_bucket", "_sum", "_count"];
    ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// Every metric that `text` names, with what stands in braces behind it.
fn named(text: &str) -> Vec<(String, String)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for start in ["plimsoll_", "process_"] {
        for (at, _) in text.match_indices(start) {
            if text[..at].ends_with(is_word) {
                continue;
            }
            let name: String = text[at..].chars().take_while(|c| is_word(*c)).collect();
            let rest = &text[at + name.len()..];
            let braces = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
            found.push((name, braces.unwrap_or_default().replace("\\\"", "\"")));
        }
    }
    found
}

#[test]
fn what_is_packaged_names_metrics_and_labels_that_there_are() {
    let known = known();
    let mut used = BTreeSet::new();
    for file in ["prometheus/alerts.yml", "grafana/plimsoll.json"] {
        let text = packaged(file);
        for (name, matchers) in named(&text) {
            let labels = known.get(base(&name)).unwrap_or_else(|| panic!("{file} names {name}"));
            used.insert(base(&name).to_owned());
            for matcher in matchers.split("\",") {
                let label = matcher.split(['=', '!']).next().unwrap_or_default().trim();
                let fits = label.is_empty() || THEIRS.contains(&label) || labels.is_empty() || labels.contains(label);
                assert!(fits, "{file}: {name} has no label {label}; it has {labels:?}");
            }
        }
    }
    assert!(used.len() >= 20, "{used:?}");
}

#[test]
fn the_reasons_that_alerts_name_are_reasons() {
    let text = packaged("prometheus/alerts.yml");
    let words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.word()).collect();
    let mut seen = 0;
    for (_, matchers) in named(&text) {
        for part in matchers.split(',').filter_map(|part| part.strip_prefix("reason=~\"")) {
            for word in part.trim_end_matches('"').split('|') {
                assert!(words.contains(&word), "{word}");
                seen += 1;
            }
        }
    }
    assert!(seen > 0);
}

#[test]
fn the_dashboard_is_json_whose_every_panel_asks_for_something() {
    let dashboard: serde_json::Value = serde_json::from_str(&packaged("grafana/plimsoll.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let asking = panels.iter().filter(|panel| panel["type"] != "row");
    assert!(asking.clone().count() > 15);
    for panel in asking {
        let targets = panel["targets"].as_array().expect("targets");
        assert!(
            targets
                .iter()
                .all(|target| target["expr"].as_str().is_some_and(|expr| !expr.is_empty())),
            "{panel}"
        );
    }
}
