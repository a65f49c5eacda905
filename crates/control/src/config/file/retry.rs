//! `retry` and `hedge` of a route, and a pool's `retry_budget`: when a request is sent more than once.

use std::ops::RangeInclusive;
use std::time::Duration;

use plimsoll_core::backoff::Backoff;
use plimsoll_core::document;
use plimsoll_core::document::{Decode, Faults, Json, Located, Node, Span, Value, expect_text, expect_word};
use plimsoll_core::grpc::Code;
use plimsoll_core::hedge::After;
use plimsoll_core::retry as core;
use serde_json::json;

use super::values::{Many, Percent, Timeout, Within};

/// The most retries of one request. Each may wait for a timeout, and the client waits for all.
const RETRIES_MAX: u32 = 10;

/// The longest that a retry may wait: the client waits as well.
pub(in super::super) const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The most retries a second that may come for free.
const FREE_MAX: u32 = 10_000;

document! {
    /// What may be sent again, to another backend when there is one.
    pub(in super::super) struct RetryTable {
        /// Retries after the first attempt: 1 unless set, 0 for none.
        pub(in super::super) attempts: Within<0, RETRIES_MAX> = Within(1),
        /// Failures that are retried: ["connect", "reset"] unless set.
        pub(in super::super) on: Option<Many<RetryOn>>,
        /// The longest that one attempt may take, from the request's end to the head of its answer.
        pub(in super::super) per_try_timeout: Option<Located<Timeout>>,
        /// Which requests may be sent again though their method is not idempotent: false for none, "idempotency-key" for
        /// those that carry one, true for all.
        pub(in super::super) non_idempotent: NonIdempotent = NonIdempotent(core::NonIdempotent::Never),
        /// How long a retry waits: the first not at all unless set.
        pub(in super::super) backoff: Option<Located<BackoffTable>>,
    }
}

document! {
    /// How long a retry waits: a time that is drawn for each, up to a limit that doubles with each retry of a request.
    pub(in super::super) struct BackoffTable {
        /// The limit for the first retry: 25ms unless set.
        pub(in super::super) base: Option<Located<Timeout>>,
        /// Where the limit stops growing: ten times the base unless set.
        pub(in super::super) max: Option<Located<Timeout>>,
    }
}

impl BackoffTable {
    /// What it says, whether that makes sense or not.
    pub(in super::super) fn backoff(&self) -> Backoff {
        let base = self.base.as_ref().map_or(Backoff::BASE, |base| base.value.0);
        let grown = base.saturating_mul(Backoff::GROWTH).min(BACKOFF_MAX);
        Backoff {
            base,
            max: self.max.as_ref().map_or(grown, |max| max.value.0),
            first: true,
        }
    }
}

/// Which requests may be sent again though their method is not idempotent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct NonIdempotent(pub(in super::super) core::NonIdempotent);

impl Decode for NonIdempotent {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let word = match node.value {
            Value::Bool(false) => core::NonIdempotent::Never,
            Value::Bool(true) => core::NonIdempotent::All,
            Value::Text(_) => {
                expect_word(node, &[core::IDEMPOTENCY_KEY], &[], faults)?;
                core::NonIdempotent::Keyed
            }
            _ => {
                faults.expected(node, "true, false, or \"idempotency-key\"");
                return None;
            }
        };
        Some(NonIdempotent(word))
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "boolean" }, { "const": core::IDEMPOTENCY_KEY }] })
    }
}

document! {
    /// How much may be spent on retries in a pool.
    pub(in super::super) struct RetryBudget {
        /// Retries for a hundred requests: 20 unless set.
        pub(in super::super) percent: Percent = Within(20),
        /// Retries a second that come for free: 10 unless set.
        pub(in super::super) per_second: Within<0, FREE_MAX> = Within(10),
    }
}

document! {
    /// When a request is sent to a second backend though the first has not failed.
    pub(in super::super) struct HedgeTable {
        /// How long the first backend is waited for: as long as most of the pool's answers took, "p95" unless set, or a
        /// time.
        pub(in super::super) after: Located<HedgeAfter> = Located { value: HedgeAfter(After::Quantile(95)), span: Span::default() },
        /// The most requests of a hundred that are sent twice: 5 unless set.
        pub(in super::super) max_percent: Within<1, 100> = Within(5),
    }
}

/// How long the first backend is waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct HedgeAfter(pub(in super::super) After);

/// The percentiles that can be named. Less would hedge every other request, and more wants more answers than there are.
const PERCENTILES: RangeInclusive<u32> = 50..=99;

impl Decode for HedgeAfter {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(
            node,
            "a percentile, like \"p95\", or a duration, like \"200ms\"",
            faults,
        )?;
        let Some(digits) = text.strip_prefix(['p', 'P']) else {
            return Timeout::decode(node, faults).map(|Timeout(span)| HedgeAfter(After::Fixed(span)));
        };
        let percent = digits.parse().ok().filter(|percent| PERCENTILES.contains(percent));
        if percent.is_none() {
            faults
                .error(node.span, format!("\"{text}\" is no percentile that can be told"))
                .help("write p50 to p99");
        }
        percent.map(|percent| HedgeAfter(After::Quantile(percent)))
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "string", "pattern": "^[pP][5-9][0-9]$" }, Timeout::schema()] })
    }
}

/// A failure that is retried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum RetryOn {
    /// A failed or refused connection.
    Connect,
    /// A connection that ended before the answer.
    Reset,
    /// An attempt that took too long.
    Timeout,
    /// Any status of 500 or above.
    ServerError,
    /// This status.
    Status(u16),
    /// An answer that says no more than this status of gRPC.
    Grpc(Code),
}

const RETRY_WORDS: [&str; 4] = ["connect", "reset", "timeout", "5xx"];

impl Decode for RetryOn {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        if node.integer().is_some() {
            return Within::<400, 599>::decode(node, faults)
                .and_then(|Within(code)| u16::try_from(code).ok())
                .map(RetryOn::Status);
        }
        let text = expect_text(node, "a failure, like \"connect\" or \"503\"", faults)?;
        if let Some(name) = text.strip_prefix("grpc:") {
            if let Some(code) = Code::named(name) {
                return Some(RetryOn::Grpc(code));
            }
            expect_word(node, Code::RETRY_WORDS, &[], faults)?;
            return None;
        }
        if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let code = text.parse().ok().filter(|code| (400..=599).contains(code));
            if code.is_none() {
                faults.error(node.span, format!("{text} is no failure: 400 to 599 are"));
            }
            return code.map(RetryOn::Status);
        }
        Some(match expect_word(node, &RETRY_WORDS, &[], faults)? {
            "connect" => RetryOn::Connect,
            "reset" => RetryOn::Reset,
            "timeout" => RetryOn::Timeout,
            _ => RetryOn::ServerError,
        })
    }

    fn schema() -> Json {
        // In either case, and with hyphens or underscores.
        let either = |byte: char| match byte {
            '-' => "[-_]".to_owned(),
            letter => format!("[{letter}{}]", letter.to_ascii_uppercase()),
        };
        let name = |word: &&str| word["grpc:".len()..].chars().map(either).collect::<String>();
        let names: Vec<String> = Code::RETRY_WORDS.iter().map(name).collect();
        let grpc = format!("^grpc:({})$", names.join("|"));
        json!({ "anyOf": [
            { "type": "string", "enum": RETRY_WORDS },
            { "type": "string", "pattern": grpc },
            { "type": "string", "pattern": "^[45][0-9][0-9]$" },
            { "type": "integer", "minimum": 400, "maximum": 599 },
        ] })
    }
}
