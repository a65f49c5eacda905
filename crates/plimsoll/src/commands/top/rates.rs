//! What happened between two answers of `/api/v1/stats`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::commands::text;

/// What is drawn.
pub(super) struct Rates {
    pub(super) status: Value,
    pub(super) node: Row,
    pub(super) pools: Vec<Row>,
    pub(super) routes: Vec<Row>,
    pub(super) backends: Vec<Row>,
    /// The pool of the backends, and how many it has.
    pub(super) pool: Option<(String, u64)>,
    /// Reasons of our own answers, by how often a second.
    pub(super) failures: Vec<(String, f64)>,
}

/// One pool, route or backend; or all.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) name: String,
    /// Requests a second.
    pub(super) rate: f64,
    /// The share of them that failed.
    pub(super) errors: Option<f64>,
    /// p50, p90 and p99 in milliseconds.
    pub(super) latency_ms: [Option<f64>; 3],
    /// As the API tells of it.
    pub(super) told: Value,
}

const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

impl Rates {
    /// What happened from `before` to `now`.
    pub(super) fn between(before: &Value, now: &Value) -> Rates {
        let millis = |stats: &Value| stats["now_ms"].as_f64().unwrap_or_default();
        let seconds = (millis(now) - millis(before)).max(1.0) / 1e3;
        let bounds: Vec<f64> = list(&now["buckets_ms"]).iter().filter_map(Value::as_f64).collect();
        let rows = |pick: &dyn Fn(&Value) -> Vec<Value>| {
            let earlier = pick(before);
            let earlier: HashMap<&str, &Value> = earlier
                .iter()
                .filter_map(|one| Some((one["name"].as_str()?, one)))
                .collect();
            let of = |one: &Value| {
                let was = one["name"].as_str().and_then(|name| earlier.get(name).copied());
                Row::between(was, one, seconds, &bounds)
            };
            pick(now).iter().map(of).collect::<Vec<Row>>()
        };
        let routes = rows(&|stats| list(&stats["routes"]).to_vec());
        let failures = &now["failures"];
        let mut failures: Vec<(String, f64)> = failures
            .as_object()
            .into_iter()
            .flatten()
            .map(|(reason, count)| (reason.clone(), rate(&before["failures"][reason], count, seconds)))
            .collect();
        failures.sort_by(|a, b| b.1.total_cmp(&a.1));
        let pool = now["backends"]["pool"].as_str();
        Rates {
            status: now["status"].clone(),
            node: Row::between(Some(&sum(before)), &sum(now), seconds, &bounds),
            pools: rows(&|stats| list(&stats["pools"]).to_vec()),
            routes,
            backends: rows(&|stats| list(&stats["backends"]["page"]).to_vec()),
            pool: pool.map(|name| (name.to_owned(), now["backends"]["all"].as_u64().unwrap_or_default())),
            failures,
        }
    }

    /// For machines.
    pub(super) fn json(&self) -> Value {
        let all = |rows: &[Row]| rows.iter().map(Row::json).collect::<Vec<Value>>();
        let failures: Map<String, Value> = self
            .failures
            .iter()
            .map(|(reason, rate)| (reason.clone(), json!(rate)))
            .collect();
        json!({
            "status": self.status,
            "node": self.node.json(),
            "pools": all(&self.pools),
            "routes": all(&self.routes),
            "pool": self.pool.as_ref().map(|(name, _)| name),
            "backends": all(&self.backends),
            "failures_per_s": failures,
        })
    }
}

impl Row {
    fn between(before: Option<&Value>, now: &Value, seconds: f64, bounds: &[f64]) -> Row {
        let none = Value::Null;
        let before = before.unwrap_or(&none);
        let requests = rate(&before["requests"], &now["requests"], seconds);
        let errors = rate(&before["errors"], &now["errors"], seconds);
        let counts = |value: &Value| -> Vec<u64> { list(value).iter().filter_map(Value::as_u64).collect() };
        let (was, is) = (counts(&before["buckets"]), counts(&now["buckets"]));
        let new: Vec<u64> = is
            .iter()
            .enumerate()
            .map(|(at, count)| count.saturating_sub(was.get(at).copied().unwrap_or(0)))
            .collect();
        Row {
            name: text(&now["name"]),
            rate: requests,
            errors: (requests > 0.0).then(|| errors / requests),
            latency_ms: QUANTILES.map(|share| quantile(&new, bounds, share)),
            told: now.clone(),
        }
    }

    fn json(&self) -> Value {
        let mut json = self.told.clone();
        if let Some(object) = json.as_object_mut() {
            object.remove("buckets");
        }
        json["requests_per_s"] = json!(self.rate);
        json["error_share"] = json!(self.errors);
        for (name, value) in ["p50_ms", "p90_ms", "p99_ms"].into_iter().zip(self.latency_ms) {
            json[name] = json!(value);
        }
        json
    }
}

/// All routes together.
fn sum(stats: &Value) -> Value {
    let (mut requests, mut errors, mut buckets) = (0, 0, Vec::new());
    for route in list(&stats["routes"]) {
        requests += route["requests"].as_u64().unwrap_or_default();
        errors += route["errors"].as_u64().unwrap_or_default();
        let counts = list(&route["buckets"]);
        buckets.resize(buckets.len().max(counts.len()), 0);
        for (sum, count) in buckets.iter_mut().zip(counts) {
            *sum += count.as_u64().unwrap_or_default();
        }
    }
    json!({ "name": "", "requests": requests, "errors": errors, "buckets": buckets })
}

fn rate(before: &Value, now: &Value, seconds: f64) -> f64 {
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    // A process that began anew counts from 0.
    count(now).saturating_sub(count(before)) as f64 / seconds
}

/// The latency that `share` of what was counted does not exceed, evenly spread within its bucket.
fn quantile(counts: &[u64], bounds: &[f64], share: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let mut left = all as f64 * share;
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let count = *count as f64;
        if count >= left {
            let low = at.checked_sub(1).and_then(|at| bounds.get(at)).copied().unwrap_or(0.0);
            let high = bounds.get(at).copied().unwrap_or(low);
            return Some(low + (high - low) * left / count);
        }
        left -= count;
    }
    None
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_spread_within_their_bucket() {
        let bounds = [1.0, 10.0, 100.0];
        assert_eq!(quantile(&[0, 10, 0, 0], &bounds, 0.5), Some(5.5));
        assert_eq!(
            quantile(&[0, 0, 0, 4], &bounds, 0.5),
            Some(100.0),
            "above all bounds nothing is known"
        );
        assert_eq!(quantile(&[0; 4], &bounds, 0.5), None);
        assert_eq!(quantile(&[], &bounds, 0.5), None);
    }

    #[test]
    fn rates_are_of_the_time_between_and_a_restart_is_not_negative() {
        let stats = |now_ms: u64, requests: u64, errors: u64| {
            json!({
                "now_ms": now_ms, "buckets_ms": [1.0, 10.0], "failures": { "no_route": errors },
                "routes": [{ "name": "r", "requests": requests, "errors": errors, "buckets": [requests, 0, 0] }],
                "pools": [], "status": {},
            })
        };
        let rates = Rates::between(&stats(1_000, 100, 0), &stats(3_000, 300, 20));
        assert_eq!((rates.node.rate, rates.node.errors), (100.0, Some(0.1)));
        assert_eq!(rates.routes[0].latency_ms[0], Some(0.5));
        assert_eq!(rates.failures, [("no_route".to_owned(), 10.0)]);
        let anew = Rates::between(&stats(9_000, 300, 20), &stats(1_000, 5, 0));
        assert_eq!((anew.node.rate, anew.node.errors), (0.0, None));
    }
}
