//! What the record of a decision says about members, priorities and zones.

use super::levels::{Census, Level, Mode};
use super::spec::Rules;
use super::standing::Standing;
use crate::decision::{Stage, Verdict};
use crate::health::State;
use crate::time::Now;

type Note = (Stage, String, Verdict, String);

/// Why a backend is in or out.
pub(super) fn member(standing: &Standing, usable: bool, (now, rules): (Now, &Rules)) -> Note {
    let mut why = format!("{}: {}", standing.state.word(), standing.cause);
    if standing.state == State::Ejected
        && let Some(until) = standing.ejection.until()
    {
        why.push_str(&format!("; {:.1} s left", until.since(now).as_secs_f64()));
    }
    if let Some(until) = standing.drains_until(rules).filter(|_| rules.sticky.is_some()) {
        let left = until.since(now).as_secs_f64();
        match standing.keeps_sessions(usable) && until > now {
            true => why.push_str(&format!("; keeps its sticky sessions for {left:.1} s more")),
            false => why.push_str("; keeps no sticky sessions"),
        }
    }
    if standing.weight() == 0 {
        why.push_str("; weight 0 takes no new work");
    } else if usable && standing.state == State::Unknown {
        why.push_str("; used, since the pool is new");
    } else if usable && standing.state != State::Healthy {
        why.push_str("; used in panic");
    }
    why.push_str(&format!("; weight {}", standing.weight()));
    if standing.operator.weight.is_some() {
        why.push_str(&format!(" (set by an operator, configured {})", standing.spec.weight));
    }
    let step = standing.step(now);
    if step < super::slow_start::STEPS {
        why.push_str(&format!(", {step}0 % of it in slow start"));
    }
    if let Some(zone) = &standing.spec.zone {
        why.push_str(&format!(", zone {zone}"));
    }
    why.push_str(&format!(", priority {}", standing.spec.priority));
    let verdict = if usable { Verdict::Taken } else { Verdict::Refused };
    (Stage::Member, standing.spec.name.to_string(), verdict, why)
}

/// What a priority gets, and in what mode.
pub(super) fn level(number: u32, level: Level, census: &Census) -> Note {
    let healthy = census.text();
    let mode = match level.mode {
        Mode::Serving => String::new(),
        Mode::Starting => "; not all have been checked yet, so those that have not are used too".into(),
        Mode::Panicking => "; under the panic threshold, so all are used whatever their health".into(),
    };
    let why = format!("{healthy}; gets {:.1} % of the work{mode}", level.load * 100.0);
    (Stage::Tier, format!("priority {number}"), verdict(level.load), why)
}

/// What a zone gets of its priority's share.
pub(super) fn zone(name: Option<&str>, own: bool, share: f64) -> Note {
    let whose = if own { "our own zone" } else { "another zone" };
    let why = format!("{whose}; gets {:.1} % of its priority's work", share * 100.0);
    let subject = name.map_or_else(|| "no zone".into(), |name| format!("zone {name}"));
    (Stage::Tier, subject, verdict(share), why)
}

fn verdict(share: f64) -> Verdict {
    if share > 0.0 { Verdict::Taken } else { Verdict::Passed }
}
