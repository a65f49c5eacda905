//! `ban`: clients whose requests fail far more often than others' get 403 for a time.

use std::sync::Arc;
use std::time::Duration;

use super::key::Key;
use super::rate_limit::MaxKeys;
use super::{Filter, FilterCx, FilterKind, Flow, Keep, RequestView};
use crate::document;
use crate::document::{Decode, Faults, Json, Node, Value, expect_text};
use crate::limit::{Bans, Counted, Rules};
use crate::outcome::Reason;
use crate::reply::Reply;
use crate::time::Now;

/// The longest window and the longest ban: a day.
const SPAN_MAX: Duration = Duration::from_secs(86_400);

document! {
    /// Clients whose requests fail far more often than others' get 403 with the reason denied for a time.
    struct Settings {
        /// Who is banned: "client-ip" (IPv6 by its /64) unless set, or any other key of a limit.
        key: Key = Key::client(),
        /// The answers that count as failures: "4xx" unless set; classes and single statuses.
        errors: Vec<Errors> = vec![Errors::Class(4)],
        /// How long failures are remembered: 10s unless set.
        window: Span = Span(Duration::from_secs(10)),
        /// The least requests in a window that say anything: 20 unless set.
        requests: Count = Count(20),
        /// The least share of them that fails, of a hundred: 50 unless set.
        percent: Percent = Percent(50.0),
        /// How many times the share of all others' requests that fail: 3 unless set.
        times: Times = Times(3.0),
        /// How long a ban lasts: 1m unless set.
        ban_for: Span = Span(Duration::from_secs(60)),
        /// Keys that are told apart: 1000000 unless set. Beyond, the one with the fewest failures is forgotten.
        max_keys: MaxKeys = MaxKeys::default(),
    }
}

/// Bans as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Ban(Settings);

/// Answers that count as failures.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Errors {
    /// Those that begin with this digit.
    Class(u16),
    /// These.
    Status(u16),
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span(Duration);

/// How many.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Count(u32);

/// So many of a hundred.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Percent(f64);

/// So many times.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Times(f64);

/// Bans as they serve.
struct Banning {
    key: Key,
    errors: Arc<[Errors]>,
    rules: Rules,
    bans: Arc<Bans>,
}

/// A request whose end counts.
#[derive(Debug)]
pub struct Watched {
    bans: Arc<Bans>,
    errors: Arc<[Errors]>,
    rules: Rules,
    key: u64,
}

impl Watched {
    /// The request was answered with `status`.
    pub fn ended(&self, status: u16, now: Now) -> Counted {
        let failed = self.errors.iter().any(|errors| errors.hold(status));
        self.bans.count(self.key, failed, &self.rules, now)
    }

    /// How long whoever asked is banned then.
    pub fn ban_for(&self) -> Duration {
        self.rules.ban_for
    }
}

impl FilterKind for Ban {
    fn build(&self, keep: &mut dyn Keep) -> Box<dyn Filter> {
        let Ban(settings) = self;
        let (seed, keys) = (keep.seed(), settings.max_keys.0);
        let kept = keep.state(&mut || Arc::new(Bans::new(seed, keys)));
        let bans = kept.downcast().unwrap_or_else(|_| Arc::new(Bans::new(seed, keys)));
        bans.resize(keys);
        Box::new(Banning {
            key: settings.key.clone(),
            errors: settings.errors.clone().into(),
            rules: Rules {
                window: settings.window.0,
                requests: settings.requests.0,
                percent: settings.percent.0,
                times: settings.times.0,
                ban_for: settings.ban_for.0,
            },
            bans,
        })
    }
}

impl Filter for Banning {
    fn request(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let Some(key) = self.key.hash(self.bans.seed(), head, cx) else {
            cx.say(|| format!("the request has no {}, and cannot be banned", self.key));
            return Flow::Next;
        };
        let standing = self.bans.standing(key, cx.now);
        cx.say(|| match standing.banned_for {
            Some(left) => format!("this {} is banned for another {} s", self.key, seconds(left)),
            None => format!(
                "{} of {} requests of this {} failed",
                standing.errors, standing.requests, self.key
            ),
        });
        if let Some(left) = standing.banned_for {
            return Flow::Reply(Reply::reason(Reason::Denied).with("retry-after", seconds(left).to_string()));
        }
        if !cx.is_question {
            head.changes.watched.push(Watched {
                bans: self.bans.clone(),
                errors: self.errors.clone(),
                rules: self.rules,
                key,
            });
        }
        Flow::Next
    }
}

fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

/// The status in the log of a client that went away, which is nobody's answer.
const GONE: u16 = Reason::ClientClosed.status();

impl Errors {
    fn hold(self, status: u16) -> bool {
        match self {
            Errors::Class(digit) => status / 100 == digit && status != GONE,
            Errors::Status(wanted) => status == wanted,
        }
    }
}

impl Decode for Ban {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let settings = Settings::decode(node, faults)?;
        if settings.errors.is_empty() {
            faults
                .error(node.span, "`errors` names no answer")
                .help("write errors = [\"4xx\"]");
            return None;
        }
        Some(Ban(settings))
    }

    fn schema() -> Json {
        Settings::schema()
    }
}

impl Decode for Errors {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let parsed = match &node.value {
            Value::Integer(number) => u16::try_from(*number).ok().map(Errors::Status),
            _ => match expect_text(node, "\"4xx\", \"5xx\" or a status", faults)? {
                "4xx" => Some(Errors::Class(4)),
                "5xx" => Some(Errors::Class(5)),
                text => text.parse().ok().map(Errors::Status),
            },
        };
        let parsed = parsed.filter(|errors| !matches!(errors, Errors::Status(status) if !(200..600).contains(status)));
        if parsed.is_none() {
            faults
                .error(node.span, "this is neither a class nor a status")
                .help("write \"4xx\", \"5xx\", \"401\"");
        }
        parsed
    }

    fn schema() -> Json {
        serde_json::json!({ "anyOf": [
            { "type": "string", "pattern": "^(4xx|5xx|[2-5][0-9][0-9])$" },
            { "type": "integer", "minimum": 200, "maximum": 599 },
        ] })
    }
}

impl Decode for Span {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let span = Duration::decode(node, faults)?;
        let possible = !span.is_zero() && span <= SPAN_MAX;
        if !possible {
            faults.error(node.span, "this is more than nothing, and a day at the most");
        }
        possible.then_some(Span(span))
    }

    fn schema() -> Json {
        Duration::schema()
    }
}

impl Decode for Count {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let count = u32::decode(node, faults)?;
        if count == 0 {
            faults
                .error(node.span, "no request says nothing")
                .help("write 1 or more");
        }
        (count > 0).then_some(Count(count))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX })
    }
}

impl Decode for Percent {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let percent = f64::decode(node, faults)?;
        let possible = percent > 0.0 && percent <= 100.0;
        if !possible {
            faults
                .error(node.span, format!("{percent} is no share of a hundred"))
                .help("write more than 0, 100 at the most");
        }
        possible.then_some(Percent(percent))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "number", "minimum": 0, "maximum": 100 })
    }
}

impl Decode for Times {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let times = f64::decode(node, faults)?;
        if times < 1.0 {
            faults
                .error(node.span, format!("{times} times others' share does not stand out"))
                .help("write 1 or more");
        }
        (times >= 1.0).then_some(Times(times))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "number", "minimum": 1 })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{KeepOne, Request, build, read};
    use super::*;

    #[test]
    fn who_stands_out_is_refused_until_the_ban_is_over() {
        let settings = json!({ "requests": 3, "window": "10s", "ban_for": "1m" });
        let filter = build::<Ban>(&settings, &mut KeepOne::default());
        let end = |status| {
            let asking = Request::get().ask(&*filter);
            let watched = &asking.changes.watched[0];
            watched.ended(status, Now::from_millis(1_000)).is_banned
        };
        // Neither those who went away nor the backends' failures are the client's doing.
        assert!(![499, 500, 404, 499, 404].map(end).contains(&true));
        let said = Request::get().question(&*filter).said;
        assert_eq!(said, "2 of 5 requests of this client-ip failed");
        assert!(end(401));
        let refused = Request::at(2_500).ask(&*filter);
        assert_eq!(
            (refused.status(), refused.field("retry-after").as_deref()),
            (403, Some("59"))
        );
        assert!(refused.changes.watched.is_empty());
        assert_eq!(
            Request::at(2_500).question(&*filter).said,
            "this client-ip is banned for another 59 s"
        );
        assert_eq!(Request::from("192.0.2.2").ask(&*filter).status(), 0);
        assert_eq!(Request::at(61_000).ask(&*filter).status(), 0);
    }

    #[test]
    fn what_makes_no_ban_is_refused() {
        for (settings, wrong) in [
            (json!({ "errors": [] }), "names no answer"),
            (json!({ "errors": ["3xx"] }), "neither a class"),
            (json!({ "errors": [99] }), "neither a class"),
            (json!({ "percent": 0 }), "no share"),
            (json!({ "times": 0.5 }), "does not stand out"),
            (json!({ "requests": 0 }), "says nothing"),
            (json!({ "ban_for": "2d" }), "a day at the most"),
        ] {
            let told = read::<Ban>(&settings).unwrap_err().join("; ");
            assert!(told.contains(wrong), "{settings}: {told}");
        }
        let all =
            json!({ "errors": ["5xx", 401, "403"], "key": "header:x", "percent": 90, "times": 2, "max_keys": 10 });
        assert!(read::<Ban>(&all).is_ok());
    }
}
