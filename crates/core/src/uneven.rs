//! Why the work of a pool is not shared out as its weights say, in words.
//!
//! A pure function over what is known of the pool: it says what explains a difference that is too large for chance, the
//! strongest reason first, and that nothing does when nothing does.

use crate::health::State;

/// How far from its fair share a backend has to be to be told of: a fifth of it.
const TOLERANCE: f64 = 0.2;

/// How many standard deviations of chance that has to be as well.
const DEVIATIONS: f64 = 4.0;

/// Requests under which nothing is said: ten would be one more or less of every tenth.
const REQUESTS_MIN: u64 = 50;

/// How many backends are told of, those that are furthest from their share first.
pub const FINDINGS_MAX: usize = 20;

/// How much slower or faster than the others a backend is that gets less, or more, for it.
const SLOWER: f64 = 1.3;

/// What is known of a pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pool<'p> {
    /// Its policy's name.
    pub policy: &'p str,
    /// What its policy hashes, if it does.
    pub key: Option<&'p str>,
    /// Where this node stands, where that matters.
    pub zone: Option<&'p str>,
}

/// What is known of a backend.
#[derive(Clone, Copy, Debug)]
pub struct Part<'p> {
    /// Its name.
    pub name: &'p str,
    /// Requests that it got in the time that is looked at.
    pub requests: u64,
    /// Its weight.
    pub weight: u32,
    /// What reaches the policy.
    pub effective_weight: f64,
    /// Its state.
    pub state: State,
    /// Why.
    pub cause: &'p str,
    /// Its priority.
    pub priority: u32,
    /// Where it stands.
    pub zone: Option<&'p str>,
    /// What it carries now.
    pub in_flight: u32,
    /// What it may carry.
    pub load_line: u32,
    /// How long its answers take.
    pub latency_ms: Option<f64>,
    /// Its sticky sessions.
    pub sticky_sessions: u64,
}

/// A backend whose share is not what its weight says.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Its name.
    pub backend: String,
    /// What it gets, in percent.
    pub share_percent: f64,
    /// What its weight says.
    pub fair_percent: f64,
    /// Why, in words.
    pub why: String,
}

/// Who gets more or less than its weight says, and why.
pub fn uneven(pool: Pool<'_>, parts: &[Part<'_>]) -> Vec<Finding> {
    let all: u64 = parts.iter().map(|part| part.requests).sum();
    let weights: f64 = parts.iter().map(|part| f64::from(part.weight)).sum();
    if all < REQUESTS_MIN || weights <= 0.0 {
        return Vec::new();
    }
    let mut findings: Vec<Finding> = Vec::new();
    for part in parts {
        let (share, fair) = (part.requests as f64 / all as f64, f64::from(part.weight) / weights);
        let chance = (fair * (1.0 - fair) / all as f64).sqrt();
        let apart = (share - fair).abs();
        if apart <= fair * TOLERANCE || apart <= DEVIATIONS * chance {
            continue;
        }
        findings.push(Finding {
            backend: part.name.to_owned(),
            share_percent: 100.0 * share,
            fair_percent: 100.0 * fair,
            why: if share < fair {
                why_less(pool, part, parts)
            } else {
                why_more(pool, part, parts)
            },
        });
    }
    let apart = |finding: &Finding| (finding.share_percent - finding.fair_percent).abs();
    findings.sort_by(|a, b| apart(b).total_cmp(&apart(a)));
    findings.truncate(FINDINGS_MAX);
    findings
}

impl Finding {
    /// The whole sentence.
    pub fn words(&self) -> String {
        let (share, fair) = (percent(self.share_percent), percent(self.fair_percent));
        format!("{} gets {share}, and {fair} by its weight: {}", self.backend, self.why)
    }
}

fn percent(value: f64) -> String {
    if value >= 10.0 || value == 0.0 {
        format!("{value:.0} %")
    } else {
        format!("{value:.1} %")
    }
}

fn why_less(pool: Pool<'_>, part: &Part<'_>, parts: &[Part<'_>]) -> String {
    if part.state != State::Healthy {
        return format!("it is {} ({})", part.state.word(), part.cause);
    }
    let first = parts
        .iter()
        .filter(|other| takes_work(other))
        .map(|other| other.priority)
        .min();
    if let Some(first) = first.filter(|first| part.priority > *first) {
        return format!(
            "it is of priority {}, and those of priority {first} suffice",
            part.priority
        );
    }
    if let Some(zone) = other_zone(pool, part) {
        return format!("it stands in the zone {zone}, and work stays in ours as far as it can");
    }
    if part.effective_weight > 0.0 && part.effective_weight < f64::from(part.weight) {
        let tenths = part.effective_weight / f64::from(part.weight) * 10.0;
        return format!("it is in slow start, at {tenths:.0} tenths of its weight");
    }
    if let Some(reason) = by_sessions_or_keys(pool, part, parts) {
        return reason;
    }
    if part.in_flight >= part.load_line {
        return format!(
            "it is full: {} in flight, and its load line is {}",
            part.in_flight, part.load_line
        );
    }
    if let Some((own, others)) = latencies(part, parts).filter(|(own, others)| own > &(others * SLOWER)) {
        return format!(
            "it is slower: {own:.1} ms, and {others:.1} ms is the median of the others; {}",
            follows(pool)
        );
    }
    if first_to_wait(part, parts) {
        return format!("it has more in flight than the others; {}", follows(pool));
    }
    nothing(pool)
}

fn why_more(pool: Pool<'_>, part: &Part<'_>, parts: &[Part<'_>]) -> String {
    if let Some(reason) = by_sessions_or_keys(pool, part, parts) {
        return reason;
    }
    let out: Vec<&str> = parts
        .iter()
        .filter(|other| !takes_work(other))
        .map(|other| other.name)
        .collect();
    if let Some((first, rest)) = out.split_first() {
        return match rest.len() {
            0 => format!("{first} takes no work now, and the others take its share"),
            more => format!("{first} and {more} more take no work now, and the others take their share"),
        };
    }
    let starting = |other: &&Part<'_>| other.effective_weight < f64::from(other.weight);
    if let Some(other) = parts.iter().find(starting) {
        return format!(
            "{} is in slow start, and the others take the rest of its share",
            other.name
        );
    }
    if pool.zone.is_some() && pool.zone == part.zone && parts.iter().any(|other| other.zone != part.zone) {
        return "it stands in our own zone, where work stays as far as it can".into();
    }
    if let Some((own, others)) = latencies(part, parts).filter(|(own, others)| others > &(own * SLOWER)) {
        return format!(
            "it is faster: {own:.1} ms, and {others:.1} ms is the median of the others; {}",
            follows(pool)
        );
    }
    if let Some(full) = parts.iter().find(|other| other.in_flight >= other.load_line) {
        return format!("{} is full, and the others take what it cannot", full.name);
    }
    nothing(pool)
}

/// Whether new work goes there at all.
fn takes_work(part: &Part<'_>) -> bool {
    part.effective_weight > 0.0
}

/// The zone of a backend that stands in another one than we.
fn other_zone<'p>(pool: Pool<'p>, part: &Part<'p>) -> Option<&'p str> {
    part.zone.filter(|zone| pool.zone.is_some_and(|own| own != *zone))
}

fn by_sessions_or_keys(pool: Pool<'_>, part: &Part<'_>, parts: &[Part<'_>]) -> Option<String> {
    let sessions: u64 = parts.iter().map(|part| part.sticky_sessions).sum();
    if sessions > 0 {
        let own = 100.0 * part.sticky_sessions as f64 / sessions as f64;
        let own = percent(own);
        return Some(format!("sticky sessions stay where they are, and it has {own} of them"));
    }
    let key = pool.key?;
    Some(format!(
        "{} sends each {key} to one backend, and some come more often than others",
        pool.policy
    ))
}

/// Its latency, and the median of the others'.
fn latencies(part: &Part<'_>, parts: &[Part<'_>]) -> Option<(f64, f64)> {
    let own = part.latency_ms?;
    let mut others: Vec<f64> = parts
        .iter()
        .filter(|other| other.name != part.name && takes_work(other))
        .filter_map(|other| other.latency_ms)
        .collect();
    others.sort_by(f64::total_cmp);
    Some((own, *others.get(others.len() / 2)?))
}

fn first_to_wait(part: &Part<'_>, parts: &[Part<'_>]) -> bool {
    let others = parts
        .iter()
        .filter(|other| other.name != part.name && takes_work(other));
    others
        .map(|other| other.in_flight)
        .max()
        .is_some_and(|most| part.in_flight > most)
}

/// What a policy goes by.
fn follows(pool: Pool<'_>) -> String {
    let policy = pool.policy;
    match policy {
        "round-robin" | "random" => format!("{policy} does not go by that, so look at its limits and checks"),
        "least-connections" | "power-of-two" => {
            format!("{policy} gives work to those that have less in flight, and so to those that finish it")
        }
        _ => format!("{policy} gives more work to those that answer faster"),
    }
}

fn nothing(pool: Pool<'_>) -> String {
    format!(
        "nothing that is known now explains it; {} may have seen other times",
        pool.policy
    )
}

#[cfg(test)]
#[path = "uneven_tests.rs"]
mod tests;
