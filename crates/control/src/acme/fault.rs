//! Why there is no certificate.

use std::time::{Duration, SystemTime};

use instant_acme::{Error, Problem};

use super::schedule::Failure;
use super::transport::{Heard, Unheard};

/// What the types of ACME's problems begin with (RFC 8555 §6.7).
const PROBLEMS: &str = "urn:ietf:params:acme:error:";

/// The longest that is told of an authority's words: they stand in the log and in the status.
const TOLD_MAX: usize = 600;

/// Why a try has failed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) failure: Failure,
    /// In words, the authority's among them.
    pub(super) told: String,
    /// For how long the authority does not want to be asked.
    pub(super) retry_after: Option<Duration>,
    /// The type of its problem, without what all of them begin with.
    pub(super) problem: Option<String>,
}

impl Fault {
    /// Something that is no fault of the authority's.
    pub(super) fn ours(told: impl Into<String>) -> Fault {
        Fault {
            failure: Failure::Other,
            told: told.into(),
            retry_after: None,
            problem: None,
        }
    }

    /// The authority has refused with `problem`.
    pub(super) fn refused(problem: &Problem) -> Fault {
        let kind = problem.r#type.as_deref().map(|kind| kind.trim_start_matches(PROBLEMS));
        Fault {
            failure: Failure::Refused,
            told: bounded(&words(kind, problem)),
            retry_after: None,
            problem: kind.map(str::to_owned),
        }
    }

    /// What `error` says of `heard`, while `doing` it.
    pub(super) fn of(doing: &str, error: Error, heard: Heard) -> Fault {
        let now = SystemTime::now();
        let retry_after = heard.retry_after.and_then(|at| at.duration_since(now).ok());
        let mut fault = match error {
            Error::Api(problem) => Fault::refused(&problem),
            Error::Other(error) if error.is::<Unheard>() => Fault {
                failure: Failure::Unreachable,
                ..Fault::ours(error.to_string())
            },
            // Whoever answers with something else is not there, or not today.
            Error::Json(_) if heard.answered => Fault {
                failure: Failure::Unreachable,
                ..Fault::ours("the authority answers with what is no ACME")
            },
            other => Fault::ours(other.to_string()),
        };
        fault.told = bounded(&format!("{doing}: {}", fault.told));
        fault.retry_after = retry_after;
        fault
    }

    pub(super) fn is(&self, problem: &str) -> bool {
        self.problem.as_deref() == Some(problem)
    }
}

/// A problem in words: its type, what it says, and what it says of single names.
fn words(kind: Option<&str>, problem: &Problem) -> String {
    let mut text = kind.unwrap_or("refused").to_owned();
    if let Some(detail) = &problem.detail {
        text += &format!(": {detail}");
    }
    for sub in &problem.subproblems {
        let kind = sub.r#type.as_deref().map(|kind| kind.trim_start_matches(PROBLEMS));
        let of = sub.identifier.as_ref().map(|of| of.authorized(false).to_string());
        text += &format!(
            "; {}{}",
            of.map(|of| of + ": ").unwrap_or_default(),
            kind.unwrap_or_default()
        );
        if let Some(detail) = &sub.detail {
            text += &format!(" ({detail})");
        }
    }
    text
}

/// The beginning of a text on one line.
fn bounded(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut bounded: String = text.chars().take(TOLD_MAX).map(plain).collect();
    if text.chars().nth(TOLD_MAX).is_some() {
        bounded.push('…');
    }
    bounded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Problem {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_authoritys_problem_is_told_in_its_words() {
        let text = r#"{"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "Some names\nwere refused",
            "subproblems": [{"type": "urn:ietf:params:acme:error:caa", "detail": "forbidden",
                             "identifier": {"type": "dns", "value": "a.test"}}]}"#;
        let fault = Fault::of("ordering", problem(text).into(), Heard::default());
        assert_eq!(
            fault.told,
            "ordering: rejectedIdentifier: Some names were refused; a.test: caa (forbidden)"
        );
        assert_eq!(fault.failure, Failure::Refused);
        assert!(fault.is("rejectedIdentifier") && !fault.is("caa"));
        let long = format!(r#"{{"detail": "{}"}}"#, "x".repeat(5_000));
        assert_eq!(Fault::refused(&problem(&long)).told.chars().count(), TOLD_MAX + 1);
        assert_eq!(Fault::refused(&problem("{}")).told, "refused");
    }

    #[test]
    fn the_time_that_an_authority_wants_to_be_left_alone_is_kept() {
        let heard = Heard {
            answered: true,
            retry_after: Some(SystemTime::now() + Duration::from_secs(3_600)),
        };
        let text = r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many"}"#;
        let fault = Fault::of("ordering", problem(text).into(), heard);
        let wait = fault.retry_after.expect("it wants to be left alone");
        assert!(wait > Duration::from_secs(3_500) && fault.is("rateLimited"));
        let over = Heard {
            retry_after: Some(SystemTime::UNIX_EPOCH),
            ..heard
        };
        assert_eq!(Fault::of("ordering", problem(text).into(), over).retry_after, None);
    }

    #[test]
    fn whoever_answers_no_acme_is_as_good_as_away() {
        let json = serde_json::from_str::<u8>("<html>").unwrap_err();
        let heard = Heard {
            answered: true,
            retry_after: None,
        };
        assert_eq!(Fault::of("asking", json.into(), heard).failure, Failure::Unreachable);
        let other = Fault::of("asking", Error::Str("no order URL found"), heard);
        assert_eq!(
            (other.failure, &*other.told),
            (Failure::Other, "asking: missing data: no order URL found")
        );
    }
}
