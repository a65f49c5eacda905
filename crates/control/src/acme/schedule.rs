//! When a certificate is asked for: a function of what is wanted, what is held, and what went before.

use std::time::{Duration, SystemTime};

/// How long the first wait is after an authority has refused. With its doubling, six tries fall into the first hour: Let's
/// Encrypt allows five failures an hour and name, of which one comes back every twelve minutes.
const REFUSED_BACKOFF: Duration = Duration::from_secs(60);

/// How long it is after nobody has answered, which no authority counts.
const UNREACHABLE_BACKOFF: Duration = Duration::from_secs(5);

/// The longest wait, and the share of a certificate's life that it may be at the most: one that lives for an hour has to
/// be renewed within minutes.
const BACKOFF_MAX: Duration = Duration::from_secs(6 * 3_600);
const BACKOFF_OF_LIFE: u32 = 12;

/// How soon after a certificate was given another one may be asked for, whatever is wrong with it.
const GIVEN_REST: Duration = Duration::from_secs(3_600);

/// The longest that an authority may ask us to wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(7 * 86_400);

/// How long an authority's advice holds that does not say so, and the bounds of what it may say (RFC 9773 §4.3).
pub(super) const ADVICE_HOLDS: Duration = Duration::from_secs(6 * 3_600);
const ADVICE_MIN: Duration = Duration::from_secs(60);
const ADVICE_MAX: Duration = Duration::from_secs(86_400);

/// A certificate that is held.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// What it is for.
    pub(super) names: Vec<String>,
    /// SHA-256 of it, in hexadecimal. As good as drawn by lot, it says where in a window of time it is renewed: nodes
    /// that were started together do not ask together, and one that is started again does not draw again.
    pub(super) fingerprint: String,
}

/// What is remembered from one try to the next, through restarts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    /// Tries in a row that failed.
    pub(super) failures: u32,
    /// No try before this.
    pub(super) try_again: Option<SystemTime>,
    /// Why the last one failed.
    pub(super) error: Option<String>,
    /// What the authority says about the renewal of what it has given.
    pub(super) advice: Option<Advice>,
}

/// When an authority wants a certificate to be renewed (RFC 9773 §4.2).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Advice {
    /// The certificate's fingerprint.
    pub(super) of: String,
    /// From when to when; `None` when the authority gives no advice.
    pub(super) window: Option<(SystemTime, SystemTime)>,
    /// When to ask for it again.
    pub(super) ask_again: SystemTime,
}

/// Why a certificate is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There is none.
    Missing,
    /// The one that there is, is not for these names.
    Lacks(Vec<String>),
    /// It has to be renewed.
    Renewal,
}

/// How a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody was asked, or nobody has answered.
    Unreachable,
    /// The authority has said no.
    Refused,
    /// Something else is wrong.
    Other,
}

/// When the next try is to be made, and why.
pub(super) fn due(now: SystemTime, wanted: &[String], held: Option<&Held>, memory: &Memory) -> (SystemTime, Why) {
    let (at, why) = match held {
        None => (now, Why::Missing),
        Some(held) => {
            let lacking: Vec<String> = (wanted.iter())
                .filter(|name| !held.names.contains(name))
                .cloned()
                .collect();
            match lacking.is_empty() {
                true => (renewal(held, memory), Why::Renewal),
                false => (now, Why::Lacks(lacking)),
            }
        }
    };
    (memory.try_again.map_or(at, |again| again.max(at)), why)
}

/// When a certificate is renewed: in the window that its authority wants, or when two thirds of its life are over.
fn renewal(held: &Held, memory: &Memory) -> SystemTime {
    let life = held.not_after.duration_since(held.not_before).unwrap_or_default();
    let advice = memory.advice.as_ref().filter(|advice| advice.of == held.fingerprint);
    let (from, to) = match advice.and_then(|advice| advice.window) {
        Some(window) => window,
        None => {
            let from = held.not_before + life * 2 / 3;
            (from, from + life / 30)
        }
    };
    let window = to.duration_since(from).unwrap_or_default();
    // Never later than its end, whatever the authority wants.
    (from + window.mul_f64(lot(&held.fingerprint))).min(held.not_after)
}

/// A number from 0 to 1, of a fingerprint.
fn lot(fingerprint: &str) -> f64 {
    let digits = fingerprint.get(..8).unwrap_or_default();
    f64::from(u32::from_str_radix(digits, 16).unwrap_or_default()) / f64::from(u32::MAX)
}

/// Whether the authority is to be asked for its advice.
pub(super) fn wants_advice(now: SystemTime, held: &Held, memory: &Memory) -> bool {
    let known = memory.advice.as_ref().filter(|advice| advice.of == held.fingerprint);
    known.is_none_or(|advice| now >= advice.ask_again)
}

/// When to ask for advice again, which was said to hold for so long.
pub(super) fn advice_ends(now: SystemTime, holds: Duration) -> SystemTime {
    now + holds.clamp(ADVICE_MIN, ADVICE_MAX)
}

/// What is remembered after a try that failed. `random` is from 0 to 1, `told` is for how long the authority does not
/// want to be asked.
pub(super) fn failed(
    now: SystemTime,
    memory: &Memory,
    held: Option<&Held>,
    (failure, error): (Failure, String),
    told: Option<Duration>,
    random: f64,
) -> Memory {
    let failures = memory.failures.saturating_add(1);
    let first = match failure {
        Failure::Unreachable => UNREACHABLE_BACKOFF,
        Failure::Refused | Failure::Other => REFUSED_BACKOFF,
    };
    let most = share_of_life(held, BACKOFF_MAX);
    let doubled = first.saturating_mul(2_u32.saturating_pow(failures - 1)).min(most);
    let backoff = doubled.mul_f64(0.8 + 0.4 * random);
    let wait = told.map_or(backoff, |told| told.min(RETRY_AFTER_MAX).max(backoff));
    Memory {
        failures,
        try_again: Some(now + wait),
        error: Some(error),
        advice: memory.advice.clone(),
    }
}

/// What is remembered once `held` was given: an authority whose advice is always to renew is not asked without end.
pub(super) fn given(now: SystemTime, held: &Held) -> Memory {
    Memory {
        try_again: Some(now + share_of_life(Some(held), GIVEN_REST)),
        ..Memory::default()
    }
}

/// A twelfth of a certificate's life, within bounds.
fn share_of_life(held: Option<&Held>, most: Duration) -> Duration {
    let life = held.and_then(|held| held.not_after.duration_since(held.not_before).ok());
    life.map_or(most, |life| (life / BACKOFF_OF_LIFE).clamp(UNREACHABLE_BACKOFF, most))
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
