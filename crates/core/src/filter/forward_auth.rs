//! `forward-auth`: an authentication service is asked about each request, and decides whether it goes on. Without its
//! answer nothing does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::errand::{Answered, Ask, Done, Errand};
use super::{FRAMING, FieldName, Filter, FilterCx, FilterKind, Flow, Keep, RequestView, Url};
use crate::document;
use crate::document::{Decode, Faults, Json, Node, expect_text};
use crate::outcome::Reason;
use crate::reply::Reply;

document! {
    /// An authentication service is asked about each request: with 2xx it goes on, any other answer is the client's.
    pub struct ForwardAuth {
        /// What is asked, with GET: "http://127.0.0.1:4180/auth".
        url: AskUrl,
        /// Fields of the service's answer that the request is given, in place of what the client sent.
        copy: Vec<FieldName>,
        /// Fields of the service's answer that the client's answer is given, like "set-cookie".
        copy_response: Vec<FieldName>,
        /// The only fields of the request that the service sees; all but those of its body unless set.
        request_headers: Option<Vec<FieldName>>,
        /// How long the service may take; then the answer is 503.
        timeout: Patience = Patience(Duration::from_secs(1)),
    }
}

/// The longest that a service may be waited for.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Where to ask: by address, since nobody resolves names while a request waits.
#[derive(Clone, Debug, PartialEq)]
struct AskUrl {
    to: SocketAddr,
    /// As it is written, for `Host`.
    host: String,
    target: String,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Patience(Duration);

impl FilterKind for ForwardAuth {
    fn build(&self, _: &mut dyn Keep) -> Box<dyn Filter> {
        let only = self.request_headers.as_ref();
        Box::new(Guard {
            only: only.map(|names| names.iter().map(|name| name.0.clone()).collect()),
            settings: self.clone(),
        })
    }

    fn vouches(&self) -> Vec<&FieldName> {
        self.copy.iter().collect()
    }
}

/// The filter.
struct Guard {
    settings: ForwardAuth,
    only: Option<Arc<[String]>>,
}

impl Filter for Guard {
    fn request(&self, head: &mut RequestView<'_>, _: &mut FilterCx<'_>) -> Flow {
        let AskUrl { to, host, target } = &self.settings.url;
        let query = head.asked.query.map(|query| format!("?{query}")).unwrap_or_default();
        Flow::Errand(Errand::Ask(Ask {
            to: *to,
            host: host.clone(),
            target: target.clone(),
            method: head.asked.method.to_owned(),
            uri: format!("{}{query}", head.asked.path),
            only: self.only.clone(),
            timeout: self.settings.timeout.0,
        }))
    }

    fn resume(&self, done: Done, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let answered = match done {
            Done::Asked(Some(answered)) => answered,
            Done::Assumed => {
                cx.say(|| "the service is taken to agree".to_owned());
                Answered::default()
            }
            _ => return Flow::Reply(Reply::reason(Reason::AuthUnavailable)),
        };
        match answered.status {
            200..300 => {
                self.agree(&answered, head, cx);
                Flow::Next
            }
            300..500 => Flow::Reply(passed_on(answered)),
            // It failed, and has not decided anything.
            _ => Flow::Reply(Reply::reason(Reason::AuthUnavailable)),
        }
    }
}

impl Guard {
    fn agree(&self, answered: &Answered, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) {
        let named = |wanted: &FieldName| {
            let wanted = wanted.0.clone();
            let same = move |(name, _): &&(String, Vec<u8>)| name.eq_ignore_ascii_case(&wanted);
            answered.fields.iter().filter(same).map(|(_, value)| value)
        };
        for name in &self.settings.copy {
            cx.say(|| format!("sets {}", name.0));
            head.changes.request.remove(&name.0);
            named(name).for_each(|value| head.changes.request.add(&name.0, value));
        }
        for name in &self.settings.copy_response {
            cx.say(|| format!("adds {} to the answer", name.0));
            named(name).for_each(|value| head.changes.answer.add(&name.0, value));
        }
    }
}

/// What the service answers for us.
fn passed_on(answered: Answered) -> Reply {
    let reason = match answered.status {
        401 => Some(Reason::Unauthorized),
        403 => Some(Reason::Denied),
        _ => None,
    };
    let ours = |name: &str| {
        let own = ["date", "server", "x-plimsoll-reason"];
        FRAMING.iter().chain(&own).any(|known| name.eq_ignore_ascii_case(known))
    };
    let fields = answered.fields.into_iter().filter(|(name, _)| !ours(name));
    let fields = fields.map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()));
    let body = String::from_utf8_lossy(&answered.body);
    Reply {
        reason,
        theirs: true,
        ..Reply::new(answered.status, fields.collect(), &*body)
    }
}

impl Decode for AskUrl {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        const EXAMPLE: &str = "write it like \"http://127.0.0.1:4180/auth\"";
        let text = expect_text(node, "a URL, like \"http://127.0.0.1:4180/auth\"", faults)?;
        let Some(url) = Url::parse(text) else {
            faults
                .error(node.span, format!("\"{text}\" is not a URL with http://"))
                .help(EXAMPLE);
            return None;
        };
        if url.secure {
            faults.not_built(node.span, "an authentication service behind https://");
            return None;
        }
        let address = |(host, port): (&str, u16)| Some(SocketAddr::new(host.parse().ok()?, port));
        let Some(to) = url.host_and_port().and_then(address) else {
            let fault = faults.error(node.span, format!("\"{}\" is not an address", url.host));
            fault.help(format!("names are not resolved here yet: {EXAMPLE}"));
            return None;
        };
        let Url { host, target, .. } = url;
        Some(AskUrl { to, host, target })
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "string", "pattern": "^http://", "examples": ["http://127.0.0.1:4180/auth"] })
    }
}

impl Decode for Patience {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let span = Duration::decode(node, faults)?;
        if span.is_zero() || span > TIMEOUT_MAX {
            faults.error(node.span, "a service may be waited for from \"1ms\" to \"60s\"");
            return None;
        }
        Some(Patience(span))
    }

    fn schema() -> Json {
        Duration::schema()
    }
}

#[cfg(test)]
#[path = "forward_auth_tests.rs"]
mod tests;
