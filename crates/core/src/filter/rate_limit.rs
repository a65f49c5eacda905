//! `rate-limit`: so many requests in so long for each key, and those beyond get 429.

use std::sync::Arc;
use std::time::Duration;

use super::key::Key;
use super::{Filter, FilterCx, FilterKind, Flow, Keep, RequestView};
use crate::document::{Decode, Faults, Json, Node, expect_text};
use crate::limit::{Bucket, Debt, KEYS_MAX, Rate, Table, Taken};
use crate::outcome::Reason;
use crate::reply::Reply;
use crate::{document, words};

document! {
    /// So many requests in so long for each key; those beyond get 429 with the reason rate_limited. A key's bucket holds
    /// `burst` requests and is filled at `rate`.
    struct Settings {
        /// What is counted by: "client-ip" (IPv6 by its /64), "header:NAME", "cookie:NAME", "query:NAME", "path",
        /// "host", a list of these that count together, or "all" for all requests together. "client-ip" unless set.
        key: Key = Key::client(),
        /// How many, and in how long: "100/s", "30/m", "1000/h", "5000/d".
        rate: Rate,
        /// How many may come at once: the number of `rate` unless set.
        burst: Option<Burst>,
        /// Who counts together: the workers of this node.
        scope: Scope = Scope::Node,
        /// What becomes of requests that have no such key: they pass unless set.
        without_key: WithoutKey = WithoutKey::Pass,
        /// Which answers say what is left, in RateLimit and RateLimit-Policy: those that are refused unless set.
        announce: Announce = Announce::Refused,
        /// What those fields call the limit: "default" unless set.
        name: PolicyName = PolicyName("default".into()),
        /// Keys that are told apart: 1000000 unless set, at 34 bytes each once there are so many. Beyond, the bucket that
        /// is nearest to full is forgotten.
        max_keys: MaxKeys = MaxKeys::default(),
    }
}

words! {
    /// Who counts together.
    enum Scope {
        /// The workers of this node.
        Node = "node",
    } later { "cluster" }
}

words! {
    /// What becomes of requests without the key.
    enum WithoutKey {
        /// They are not limited.
        Pass = "pass",
        /// They share a bucket.
        Share = "share",
    }
}

words! {
    /// Which answers say what is left.
    enum Announce {
        /// None.
        Never = "never",
        /// Those that are refused.
        Refused = "refused",
        /// All.
        Always = "always",
    }
}

/// Requests that may come at once.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Burst(u32);

/// What the fields call a limit: a string (RFC 9651 §3.3.3).
#[derive(Clone, Debug, PartialEq)]
struct PolicyName(String);

/// Keys that a table tells apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct MaxKeys(pub(super) usize);

/// The limit as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    settings: Settings,
    bucket: Bucket,
}

/// The limit as it serves.
struct Limiter {
    config: RateLimit,
    debts: Arc<Table<Debt>>,
}

impl FilterKind for RateLimit {
    fn build(&self, keep: &mut dyn Keep) -> Box<dyn Filter> {
        let (seed, keys) = (keep.seed(), self.settings.max_keys.0);
        let kept = keep.state(&mut || Arc::new(Table::<Debt>::new(seed, keys)));
        let debts = kept.downcast().unwrap_or_else(|_| Arc::new(Table::new(seed, keys)));
        debts.resize(keys);
        Box::new(Limiter {
            config: self.clone(),
            debts,
        })
    }
}

impl Filter for Limiter {
    fn request(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let RateLimit { settings, bucket } = &self.config;
        let seed = self.debts.seed();
        let key = match (settings.key.hash(seed, head, cx), settings.without_key) {
            (Some(key), _) => key,
            // Any number that is nobody's hash but by the luck of one in 2^64.
            (None, WithoutKey::Share) => seed,
            (None, WithoutKey::Pass) => {
                cx.say(|| format!("the request has no {}, and is not limited", settings.key));
                return Flow::Next;
            }
        };
        let taken = if cx.is_question {
            let found = bucket.look(self.debts.look(key), cx.now);
            cx.say(|| self.told(found));
            found
        } else {
            let (taken, crowded) = self.debts.change(key, cx.now, |debt| bucket.take(debt, cx.now));
            head.changes.crowded_out += u32::from(crowded);
            taken
        };
        if taken.allowed {
            if settings.announce == Announce::Always {
                let [(policy, allowance), (limit, left)] = self.config.fields(taken);
                head.changes.answer.add(policy, allowance.as_bytes());
                head.changes.answer.add(limit, left.as_bytes());
            }
            return Flow::Next;
        }
        Flow::Reply(self.config.refusal(taken))
    }
}

impl Limiter {
    fn told(&self, found: Taken) -> String {
        let RateLimit { settings, bucket } = &self.config;
        let mut told = format!(
            "{} of {} left for this {}, which gets {}",
            found.left,
            bucket.burst(),
            settings.key,
            settings.rate
        );
        let forgotten = self.debts.forgotten();
        if forgotten > 0 {
            told.push_str(&format!(
                "; {forgotten} keys were forgotten for want of room: raise max_keys"
            ));
        }
        told
    }
}

impl RateLimit {
    fn refusal(&self, taken: Taken) -> Reply {
        let reply = Reply::reason(Reason::RateLimited).with("retry-after", seconds(taken.more_after).to_string());
        if self.settings.announce == Announce::Never {
            return reply;
        }
        let fields = self.fields(taken).into_iter();
        fields.fold(reply, |reply, (name, value)| reply.with(name, value))
    }

    /// draft-ietf-httpapi-ratelimit-headers-11 §3 and §4: the quota and the window of the policy, and how much is left of
    /// it until there is more.
    fn fields(&self, taken: Taken) -> [(&'static str, String); 2] {
        let PolicyName(name) = &self.settings.name;
        let (quota, window) = (self.bucket.burst(), seconds(self.bucket.fills()));
        let (left, until) = (taken.left, seconds(taken.more_after));
        [
            ("ratelimit-policy", format!("\"{name}\";q={quota};w={window}")),
            ("ratelimit", format!("\"{name}\";r={left};t={until}")),
        ]
    }
}

/// Whole seconds, at least one: those who come back then find something.
fn seconds(span: Duration) -> u64 {
    (span.as_secs() + u64::from(span.subsec_nanos() > 0)).max(1)
}

impl Decode for RateLimit {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let settings = Settings::decode(node, faults)?;
        let burst = settings.burst.map_or(settings.rate.count, |Burst(burst)| burst);
        let Some(bucket) = Bucket::new(settings.rate, burst) else {
            faults
                .error(
                    node.span,
                    format!(
                        "at {}, a burst of {burst} takes more than a year to come back",
                        settings.rate
                    ),
                )
                .help("lower `burst`, or raise `rate`");
            return None;
        };
        Some(RateLimit { settings, bucket })
    }

    fn schema() -> Json {
        Settings::schema()
    }
}

impl Decode for Burst {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let burst = u32::decode(node, faults)?;
        if burst == 0 {
            faults
                .error(node.span, "a burst of 0 lets nothing pass")
                .help("write 1 to let requests pass one by one");
        }
        (burst > 0).then_some(Burst(burst))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX })
    }
}

impl Decode for PolicyName {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a name", faults)?;
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && !matches!(byte, b'"' | b'\\');
        if text.is_empty() || text.len() > NAME_MAX || !text.bytes().all(plain) {
            faults
                .error(
                    node.span,
                    format!("\"{}\" cannot stand in a header field", text.escape_debug()),
                )
                .help(format!(
                    "a name is 1 to {NAME_MAX} letters, digits and signs, without quotes and backslashes"
                ));
            return None;
        }
        Some(PolicyName(text.to_owned()))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "string", "maxLength": NAME_MAX })
    }
}

/// The longest name of a limit, in bytes.
const NAME_MAX: usize = 64;

impl Default for MaxKeys {
    fn default() -> Self {
        MaxKeys(1_000_000)
    }
}

impl Decode for MaxKeys {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let keys = u32::decode(node, faults)?;
        let keys = usize::try_from(keys).unwrap_or(KEYS_MAX);
        if keys == 0 || keys > KEYS_MAX {
            faults.error(node.span, format!("{keys} is out of range: 1 to {KEYS_MAX}"));
            return None;
        }
        Some(MaxKeys(keys))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "integer", "minimum": 1, "maximum": KEYS_MAX })
    }
}

#[cfg(test)]
#[path = "rate_limit_tests.rs"]
mod tests;
