//! What the dashboard and `plimsoll top` draw: sums by listener, route and pool, and one page of a pool's backends.
//! Rates and quantiles are the reader's to compute, from two answers.

use std::collections::{BTreeMap, HashSet};

use plimsoll_core::health::State;
use plimsoll_core::membership::MemberStatus;
use plimsoll_core::outcome::Reason;
use plimsoll_core::telemetry::BUCKETS_US;
use serde_json::{Value, json};

use super::Metrics;
use super::series::Label;
use super::shares::Shares;
use super::totals::{Totals, open};
use super::work::Sum;
use crate::living::PoolStatus;

/// Which backends are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Of this pool.
    pub(crate) pool: String,
    /// Those whose name, address or state contains this.
    pub(crate) filter: String,
    /// By what they are ordered.
    pub(crate) sort: Sort,
    /// How many stand before them.
    pub(crate) offset: usize,
    /// How many.
    pub(crate) limit: usize,
}

/// By what backends are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    /// As they are configured.
    #[default]
    Order,
    /// Those first that are not well.
    State,
    /// The busiest first.
    Load,
    /// Those first that were asked most.
    Requests,
    /// Those first that failed most.
    Errors,
    /// The slowest first.
    Latency,
}

impl Metrics {
    /// Everything but the backends; those of `page`, when it is asked for. `None` when there is no such pool.
    pub(crate) fn stats(&self, page: Option<&Page>) -> Option<Value> {
        let pools = self.control.pools();
        let now = self.control.now();
        let mut shares = self.shares.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shares.look(&pools, now);
        let totals = self.collect();
        let failures = Reason::ALL
            .iter()
            .zip(&totals.failures)
            .filter(|(_, count)| **count > 0);
        let failures: BTreeMap<&str, u64> = failures.map(|(reason, count)| (reason.word(), *count)).collect();
        let mut stats = json!({
            "now_ms": now.millis(),
            "buckets_ms": BUCKETS_US.map(|bound| bound as f64 / 1e3),
            "listeners": listeners(&totals),
            "routes": routes(&totals, &self.route_names()),
            "pools": self.pools_stats(&pools, &totals, &shares),
            "failures": failures,
        });
        if let Some(page) = page {
            let pool = pools.iter().find(|pool| *pool.name == *page.pool)?;
            stats["backends"] = self.backends(pool, page, &totals, &shares);
        }
        Some(stats)
    }

    fn route_names(&self) -> Vec<Label> {
        let snapshot = self.control.snapshot().load();
        snapshot.routes.iter().map(|route| route.name.clone()).collect()
    }

    fn pools_stats(&self, pools: &[PoolStatus], totals: &Totals, shares: &Shares) -> Vec<Value> {
        let none = Sum::default();
        let of = |pool: &PoolStatus| {
            let sum = totals.work.pools.get(&pool.name).unwrap_or(&none);
            let mut states: BTreeMap<&str, usize> = BTreeMap::new();
            let (mut in_flight, mut load_line) = (0, 0);
            for backend in &pool.backends {
                *states.entry(backend.state.word()).or_default() += 1;
                in_flight += u64::from(backend.backend.load.in_flight());
                if backend.effective_weight > 0.0 {
                    load_line += u64::from(backend.load_line);
                }
            }
            let findings = shares.findings(&self.control, pool);
            let uneven = findings.iter().map(|finding| {
                json!({
                    "backend": finding.backend,
                    "share_percent": tenths(finding.share_percent),
                    "fair_percent": tenths(finding.fair_percent),
                    "words": finding.words(),
                })
            });
            let mut json = sum.json(&pool.name);
            json["policy"] = pool.policy.into();
            json["panicking"] = pool.panicking.into();
            json["waiting"] = pool.waiting.into();
            json["queue"] = pool.queue.into();
            json["backends"] = pool.backends.len().into();
            json["states"] = json!(states);
            json["in_flight"] = in_flight.into();
            json["load_line"] = load_line.into();
            json["uneven"] = uneven.collect();
            json
        };
        pools.iter().map(of).collect()
    }

    fn backends(&self, pool: &PoolStatus, page: &Page, totals: &Totals, shares: &Shares) -> Value {
        let filter = page.filter.to_lowercase();
        let fits = |backend: &&MemberStatus| {
            let address = || backend.backend.address.to_string();
            filter.is_empty()
                || backend.name.to_lowercase().contains(&filter)
                || backend.state.word().contains(&filter)
                || address().contains(&filter)
        };
        let mut found: Vec<&MemberStatus> = pool.backends.iter().filter(fits).collect();
        order(&mut found, page.sort);
        let all: u64 = pool.backends.iter().map(|backend| recent(backend, shares)).sum();
        let shown = found.iter().skip(page.offset).take(page.limit).map(|backend| {
            let mut json = crate::admin::backend_json(&self.control, pool, backend);
            let share = 100.0 * recent(backend, shares) as f64 / all.max(1) as f64;
            json["share_percent"] = tenths(share).into();
            let durations = totals
                .backend_durations
                .find(&[pool.name.clone(), backend.name.clone()]);
            json["buckets"] = json!(durations.copied().unwrap_or_default().buckets);
            json
        });
        json!({
            "pool": &*pool.name,
            "all": pool.backends.len(),
            "found": found.len(),
            "offset": page.offset,
            "page": shown.collect::<Vec<_>>(),
        })
    }
}

fn recent(backend: &MemberStatus, shares: &Shares) -> u64 {
    shares.since(backend.backend.id, backend.backend.load.totals().0)
}

fn order(backends: &mut [&MemberStatus], sort: Sort) {
    let totals = |backend: &MemberStatus| backend.backend.load.totals();
    match sort {
        Sort::Order => {}
        Sort::State => backends.sort_by_key(|backend| backend.state == State::Healthy),
        Sort::Load => backends.sort_by(|a, b| filled(b).total_cmp(&filled(a))),
        Sort::Requests => backends.sort_by_key(|backend| std::cmp::Reverse(totals(backend).0)),
        Sort::Errors => backends.sort_by_key(|backend| std::cmp::Reverse(totals(backend).1)),
        Sort::Latency => {
            let latency = |backend: &MemberStatus| backend.backend.load.latency_ms().unwrap_or(0.0);
            backends.sort_by(|a, b| latency(b).total_cmp(&latency(a)));
        }
    }
}

/// How much of its load line a backend carries.
fn filled(backend: &MemberStatus) -> f64 {
    f64::from(backend.backend.load.in_flight()) / f64::from(backend.load_line.max(1))
}

fn listeners(totals: &Totals) -> Vec<Value> {
    let none = Sum::default();
    let of = |([listener], counts): (&[Label; 1], _)| {
        let sum = totals.work.listeners.get(listener).unwrap_or(&none);
        let counts: &plimsoll_core::telemetry::ListenerCounts = counts;
        json!({
            "name": &**listener,
            "requests": sum.requests,
            "errors": sum.errors,
            "connections": open(counts),
            "accepted": counts.opened,
            "bytes_in": counts.bytes_in,
            "bytes_out": counts.bytes_out,
        })
    };
    totals.listeners.iter().map(of).collect()
}

/// Routes in the order of the file, and what went by none.
fn routes(totals: &Totals, names: &[Label]) -> Vec<Value> {
    let none = Sum::default();
    let sums = &totals.work.routes;
    let mut routes: Vec<Value> = Vec::new();
    for name in names {
        routes.push(sums.get(name).unwrap_or(&none).json(name));
    }
    // What went by no route, and by routes that are gone.
    let named: HashSet<&Label> = names.iter().collect();
    let others = sums.iter().filter(|(name, _)| !named.contains(name));
    routes.extend(others.map(|(name, sum)| sum.json(name)));
    routes
}

impl Sum {
    fn json(&self, name: &str) -> Value {
        json!({
            "name": name,
            "requests": self.requests,
            "errors": self.errors,
            "buckets": self.durations.buckets,
        })
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
