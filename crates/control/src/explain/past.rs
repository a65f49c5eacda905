//! Telling a decision that was taken: what a worker kept of it, in the words of `explain`, with how the backends stood
//! then.

use std::time::Duration;

use plimsoll_core::decision::{Attempt, Decision, Stage, Taken, Verdict};
use plimsoll_core::membership::MemberStatus;
use plimsoll_core::name::NameId;
use plimsoll_core::outcome::Reason;
use serde_json::{Value, json};

use crate::publish::Control;

/// Backends of a pool that are told of; those that were out come first.
const MEMBERS_MAX: usize = 50;

impl Control {
    /// What is known of a decision, without its steps.
    pub(crate) fn decision_summary(&self, taken: &Taken) -> Value {
        let asked = taken.asked.as_ref();
        let told = |text: &str| (!text.is_empty()).then(|| Value::from(text));
        let name = |id: Option<NameId>| id.map(|id| self.name_of(id).to_string());
        json!({
            "request_id": taken.id,
            "trace_id": taken.trace.map(|id| format!("{id:032x}")),
            "at": rfc3339(self, taken),
            "client": taken.client.to_string(),
            "protocol": taken.protocol,
            "method": asked.and_then(|asked| told(&asked.method)),
            "host": asked.and_then(|asked| told(&asked.host)),
            "path": asked.and_then(|asked| told(&asked.path)),
            "listener": &*self.name_of(taken.listener),
            "route": name(taken.route),
            "pool": name(taken.pool),
            "backend": taken.attempts.last().map(|attempt| &*attempt.backend),
            "status": taken.status,
            "reason": taken.reason.map(Reason::word),
            "duration_ms": millis(taken.took),
            "queue_ms": millis(taken.queued.unwrap_or_default()),
            "attempts": taken.attempts.iter().map(attempt_json).collect::<Vec<_>>(),
        })
    }

    /// Everything that is known of it.
    pub(crate) fn decision(&self, taken: &Taken) -> Value {
        let mut decision = Decision::default();
        self.tell_request(taken, &mut decision);
        decision.steps.extend(taken.steps.iter().cloned());
        if let (Some(route), true) = (taken.route, taken.steps.is_empty()) {
            let why = "was taken; why is recorded of a sample, and of what a trusted sender marks with \
                       x-plimsoll-explain: 1";
            decision.step(Stage::Route, &*self.name_of(route), Verdict::Taken, why);
        }
        if let Some((asked, why)) = taken.instead_of {
            self.tell_members(asked, taken, &mut decision);
            let served = taken
                .pool
                .map_or_else(String::new, |pool| self.name_of(pool).to_string());
            let why = format!("{} `{served}` takes over", why.says());
            decision.step(Stage::Action, &*self.name_of(asked), Verdict::Refused, why);
        }
        if let Some(pool) = taken.pool {
            self.tell_members(pool, taken, &mut decision);
        }
        for (at, attempt) in taken.attempts.iter().enumerate() {
            let counts = at + 1 == taken.attempts.len() && attempt.result.is_ok();
            let verdict = if counts { Verdict::Taken } else { Verdict::Refused };
            decision.step(Stage::Pick, &*attempt.backend, verdict, attempt_words(attempt));
        }
        tell_end(taken, &mut decision);
        let mut json = self.decision_summary(taken);
        json["generation"] = taken.generation.into();
        json["steps"] = json!(decision.steps);
        json
    }

    fn tell_request(&self, taken: &Taken, decision: &mut Decision) {
        let protocol = taken.protocol;
        decision.step(
            Stage::Listener,
            &*self.name_of(taken.listener),
            Verdict::Taken,
            protocol,
        );
        let line = taken.asked.as_ref().map_or_else(
            || "its head could not be read, or was not kept".to_owned(),
            |asked| {
                format!("{} {}{}", asked.method, asked.host, asked.path)
                    .trim()
                    .to_owned()
            },
        );
        decision.step(Stage::Request, "request", Verdict::Passed, line);
        decision.step(Stage::Request, "client", Verdict::Passed, taken.client.to_string());
        let at = format!("{}, in generation {}", rfc3339(self, taken), taken.generation);
        decision.step(Stage::Request, "at", Verdict::Passed, at);
    }

    /// How the backends of a pool stood then, as far as that is known.
    fn tell_members(&self, pool: NameId, taken: &Taken, decision: &mut Decision) {
        let name = self.name_of(pool);
        let Some(status) = self.pool(&name) else {
            let why = "the pool is gone, so how its backends stood is not known any more";
            return decision.step(Stage::Member, &*name, Verdict::Passed, why);
        };
        let mut backends: Vec<&MemberStatus> = status.backends.iter().collect();
        backends.sort_by_key(|backend| backend.effective_weight > 0.0);
        for backend in backends.iter().take(MEMBERS_MAX) {
            let (verdict, why) = self.stood(&name, backend, taken);
            decision.step(Stage::Member, &*backend.name, verdict, why);
        }
        if backends.len() > MEMBERS_MAX {
            let why = format!("{} more backends are not shown", backends.len() - MEMBERS_MAX);
            decision.step(Stage::Member, "…", Verdict::Passed, why);
        }
    }

    fn stood(&self, pool: &str, backend: &MemberStatus, taken: &Taken) -> (Verdict, String) {
        let since = humantime::format_rfc3339_seconds(self.wall_time(backend.since));
        let (state, cause) = (backend.state.word(), &backend.cause);
        if backend.since <= taken.at {
            let out = backend.effective_weight <= 0.0;
            let verdict = if out { Verdict::Refused } else { Verdict::Passed };
            let weight = if out && backend.weight == 0 {
                "; its weight is 0"
            } else {
                ""
            };
            return (verdict, format!("{state} since {since}: {cause}{weight}"));
        }
        let was = self
            .events()
            .state_before(pool, &backend.name, self.wall_time(taken.at));
        let verdict = if was.as_deref() == Some("healthy") {
            Verdict::Passed
        } else {
            Verdict::Refused
        };
        let was = was.unwrap_or_else(|| "something else".into());
        (verdict, format!("was {was} then; {state} since {since}: {cause}"))
    }

    fn name_of(&self, id: NameId) -> std::sync::Arc<str> {
        self.state().identities.names.name(id).clone()
    }
}

fn tell_end(taken: &Taken, decision: &mut Decision) {
    let took = took_words(taken.took);
    if let Some(queued) = taken.queued {
        let why = format!("waited {} for a backend with room", took_words(queued));
        decision.step(Stage::Action, "queue", Verdict::Passed, why);
    }
    let status = taken.status;
    let (subject, verdict, why) = match taken.reason {
        Some(reason) if status == 0 => (
            reason.word(),
            Verdict::Refused,
            format!("ended after {took}: {}", reason.says()),
        ),
        Some(reason) if status == reason.status() => {
            let why = format!("answered by us after {took}: {status} {}", reason.says());
            (reason.word(), Verdict::Refused, why)
        }
        Some(reason) => {
            let why = format!(
                "{status} had been sent, and it broke off after {took}: {}",
                reason.says()
            );
            (reason.word(), Verdict::Refused, why)
        }
        None if status == 0 => ("connection", Verdict::Taken, format!("ended well after {took}")),
        None if taken.attempts.is_empty() => (
            "answer",
            Verdict::Taken,
            format!("answered by us after {took}: {status}"),
        ),
        None => (
            "answer",
            Verdict::Taken,
            format!("the client got {status}, after {took} in all"),
        ),
    };
    decision.step(Stage::Action, subject, verdict, why);
}

fn attempt_words(attempt: &Attempt) -> String {
    let took = took_words(attempt.took);
    let hedge = if attempt.is_hedge {
        "the second attempt of a hedged request: "
    } else {
        ""
    };
    match (attempt.result, attempt.cause) {
        (Ok(0), _) => format!("{hedge}connected after {took}"),
        (Ok(status), _) => format!("{hedge}answered {status} after {took}"),
        (Err(word), None) => format!("{hedge}{word} after {took}"),
        (Err(word), Some(cause)) => format!("{hedge}{word} after {took}: {cause}"),
    }
}

fn attempt_json(attempt: &Attempt) -> Value {
    let mut json = json!({ "backend": &*attempt.backend, "ms": millis(attempt.took) });
    match attempt.result {
        Ok(status) => json["status"] = status.into(),
        Err(word) => json["error"] = word.into(),
    }
    if let Some(cause) = attempt.cause {
        json["cause"] = cause.into();
    }
    if attempt.is_hedge {
        json["hedge"] = true.into();
    }
    json
}

fn rfc3339(control: &Control, taken: &Taken) -> String {
    humantime::format_rfc3339_millis(control.wall_time(taken.at)).to_string()
}

/// Milliseconds with three places.
fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

fn took_words(span: Duration) -> String {
    format!("{} ms", (span.as_secs_f64() * 1e4).round() / 10.0)
}
