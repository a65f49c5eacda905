//! `body-limit`: requests with longer bodies get 413.

use super::{Filter, FilterCx, FilterKind, Flow, Keep, RequestView};
use crate::document;
use crate::document::units::Size;
use crate::outcome::Reason;
use crate::reply::Reply;
use crate::route::Fields;

document! {
    /// Requests with longer bodies get 413 with the reason body_too_large: at once when they say how long they are, and
    /// where the limit is passed when they do not.
    pub struct BodyLimit {
        /// How long a body may be: "10MiB".
        size: Size,
    }
}

impl FilterKind for BodyLimit {
    fn build(&self, _: &mut dyn Keep) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl Filter for BodyLimit {
    fn request(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let BodyLimit { size: Size(most) } = *self;
        // The head was read strictly: there is one length, or chunks, or no body.
        match declared(head) {
            Some(length) if length > most => {
                cx.say(|| format!("the body has {length} bytes, and {most} are allowed"));
                Flow::Reply(Reply::reason(Reason::BodyTooLarge))
            }
            Some(length) => {
                cx.say(|| format!("the body has {length} bytes of {most}"));
                Flow::Next
            }
            None => {
                let mut chunked = false;
                head.fields().each("transfer-encoding", &mut |_| {
                    chunked = true;
                    false
                });
                if chunked {
                    cx.say(|| format!("the body is cut once it has more than {most} bytes"));
                    let changes = &mut head.changes;
                    let max = if cx.dry_run {
                        &mut changes.body_trial_max
                    } else {
                        &mut changes.body_max
                    };
                    *max = Some(max.unwrap_or(most).min(most));
                }
                Flow::Next
            }
        }
    }
}

/// The length that the body is said to have.
fn declared(head: &RequestView<'_>) -> Option<u64> {
    let mut length = None;
    head.fields().each("content-length", &mut |value| {
        length = std::str::from_utf8(value)
            .ok()
            .and_then(|digits| digits.trim().parse().ok());
        false
    });
    length
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Changes;
    use super::super::fixtures::{KeepOne, Request, build};
    use super::*;

    #[test]
    fn declared_lengths_are_judged_at_once_and_others_as_they_come() {
        let filter = build::<BodyLimit>(&json!({ "size": "1KiB" }), &mut KeepOne::default());
        for (name, value, status, body_max) in [
            ("content-length", "1024", 0, None),
            ("content-length", "1025", 413, None),
            ("content-length", "18446744073709551615", 413, None),
            ("transfer-encoding", "chunked", 0, Some(1_024)),
            ("x-none", "1", 0, None),
        ] {
            let asking = Request::get().with(name, value).ask(&*filter);
            assert_eq!(
                (asking.status(), asking.changes.body_max),
                (status, body_max),
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn on_trial_a_body_that_becomes_too_long_is_told_of() {
        let changes = Changes {
            rehearsed: vec![Reason::Denied],
            body_trial_max: Some(10),
            ..Changes::default()
        };
        let told = |bytes| changes.rehearsed(bytes).collect::<Vec<_>>();
        assert_eq!(told(10), [Reason::Denied]);
        assert_eq!(told(11), [Reason::Denied, Reason::BodyTooLarge]);
        assert!(changes.outlast_head());
    }
}
