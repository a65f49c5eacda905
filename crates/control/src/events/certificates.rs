//! What is told of certificates: that another one is used, that one cannot be used, and that one ends soon.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::json;

use super::{Events, Kind};
use crate::certificates::CertificateStatus;

/// Days that are left when it is said that a certificate ends: time to act, and reminders.
const DAYS_LEFT: [u64; 5] = [30, 14, 7, 3, 1];

/// What was known of each certificate at the last look, by listener and path.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<(Arc<str>, PathBuf), Standing>);

#[derive(Clone, Debug, PartialEq)]
struct Standing {
    fingerprint: Option<String>,
    error: Option<String>,
    /// The least of [`DAYS_LEFT`] that it has come under; 0 when it is over.
    under: Option<u64>,
}

impl Known {
    /// Tells what has changed since the last look.
    pub(crate) fn look(&mut self, certificates: &[CertificateStatus], now: SystemTime, events: &Events) {
        let mut known = BTreeMap::new();
        for certificate in certificates {
            let key = (certificate.listener.clone(), certificate.path.clone());
            let standing = standing(certificate, now);
            tell(certificate, self.0.get(&key), &standing, events);
            known.insert(key, standing);
        }
        self.0 = known;
    }
}

fn standing(certificate: &CertificateStatus, now: SystemTime) -> Standing {
    let facts = certificate.facts.as_ref();
    let left = facts.map(|facts| days_left(facts.not_after, now));
    Standing {
        fingerprint: facts.map(|facts| facts.fingerprint.clone()),
        error: (certificate.error.clone()).or_else(|| certificate.acme.as_ref()?.error.clone()),
        under: left.and_then(|left| match left {
            None => Some(0),
            Some(days) => DAYS_LEFT.into_iter().filter(|under| days < *under).min(),
        }),
    }
}

/// Whole days until `end`; `None` when it is over.
fn days_left(end: SystemTime, now: SystemTime) -> Option<u64> {
    end.duration_since(now).ok().map(|left| left.as_secs() / 86_400)
}

fn tell(certificate: &CertificateStatus, before: Option<&Standing>, now: &Standing, events: &Events) {
    let (listener, path) = (&*certificate.listener, certificate.path.display().to_string());
    let about = |what: &str| json!({ "listener": listener, "path": path, "what": what });
    let names = certificate
        .facts
        .as_ref()
        .map_or(String::new(), |facts| facts.names.join(", "));
    if let Some(error) = now
        .error
        .as_ref()
        .filter(|_| before.is_none_or(|before| before.error != now.error))
    {
        let mut details = about("error");
        details["error"] = error.as_str().into();
        let what = match certificate.error {
            Some(_) => "a certificate cannot be used",
            None => "no certificate was issued",
        };
        events.tell(Kind::Certificate, format!("{listener}: {what}: {error}"), details);
    }
    if now.fingerprint.is_some() && before.is_none_or(|before| before.fingerprint != now.fingerprint) {
        events.tell(
            Kind::Certificate,
            format!("{listener} shows the certificate for {names}"),
            about("shown"),
        );
    }
    let sooner = |under: u64| {
        let was = before.filter(|before| before.fingerprint == now.fingerprint);
        was.and_then(|before| before.under).is_none_or(|was| under < was)
    };
    match now.under {
        Some(0) if sooner(0) => {
            let message = format!("{listener}: the certificate for {names} is over");
            events.tell(Kind::Certificate, message, about("expired"));
        }
        Some(under) if sooner(under) => {
            let message = format!("{listener}: the certificate for {names} ends in less than {under} days");
            let mut details = about("ends_soon");
            details["days"] = under.into();
            events.tell(Kind::Certificate, message, details);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_and_nothing_is_left_of_what_is_over() {
        let now = SystemTime::now();
        let day = std::time::Duration::from_secs(86_400);
        assert_eq!(days_left(now + day * 3 - day / 2, now), Some(2));
        assert_eq!(days_left(now - day, now), None);
    }

    #[test]
    fn an_error_is_told_once_for_as_long_as_it_stays_the_same() {
        let (events, mut known) = (Events::default(), Known::default());
        let mut certificate = CertificateStatus {
            listener: "web".into(),
            path: "a.pem".into(),
            facts: None,
            key: None,
            loaded_at: None,
            error: Some("is no certificate".into()),
            staple: None,
            acme: None,
        };
        for _ in 0..3 {
            known.look(std::slice::from_ref(&certificate), SystemTime::now(), &events);
        }
        let count = || {
            events
                .counts()
                .find(|(kind, _)| *kind == "certificate")
                .map(|(_, count)| count)
        };
        assert_eq!(count(), Some(1));
        certificate.error = Some("has no key".into());
        known.look(&[certificate], SystemTime::now(), &events);
        assert_eq!(count(), Some(2));
    }
}
