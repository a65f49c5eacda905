//! `cors`: scripts of other origins may read the answers (the Fetch standard's CORS protocol).

use std::time::Duration;

use super::expression::Expression;
use super::{FieldName, Filter, FilterCx, FilterKind, Flow, Keep, RequestView, is_token};
use crate::document;
use crate::document::{Decode, Faults, Json, Node, Value, expect_text};
use crate::outcome::Reason;
use crate::reply::Reply;
use crate::route::{Fields, host};

document! {
    /// Scripts of these origins may read the answers. Preflights are answered here.
    struct Settings {
        /// Whose: `https://app.example.com`, `https://*.example.com` for any labels before the suffix, { regex = "…" }
        /// over the whole origin, or "*" for everybody's.
        origins: Vec<Origin>,
        /// The methods that they may use: GET, HEAD and POST unless set; "*" for any.
        methods: Names = Names(["GET", "HEAD", "POST"].map(str::to_owned).to_vec()),
        /// The request's header fields that they may set, beside those that everybody may; "*" for any.
        headers: Names = Names(Vec::new()),
        /// The answer's header fields that they may read, beside those that everybody may.
        expose_headers: Vec<FieldName> = Vec::new(),
        /// Whether their requests may carry cookies and other credentials.
        credentials: bool = false,
        /// How long a browser may remember a preflight's answer: as long as it likes unless set, which is 5 s.
        max_age: Option<Duration>,
    }
}

/// Who may read the answers, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Cors(Settings);

/// Whose scripts are meant.
#[derive(Clone, Debug, PartialEq)]
enum Origin {
    /// Everybody's.
    Any,
    /// This one's.
    Exact(String),
    /// Those of this scheme whose host ends so, with a port as it is here.
    Below { scheme: String, suffix: String },
    /// Those that it matches as a whole.
    Regex(Expression),
}

/// Methods or fields; `*` is any.
#[derive(Clone, Debug, PartialEq)]
struct Names(Vec<String>);

const ORIGIN: &str = "origin";
const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";
const EXPOSE: &str = "access-control-expose-headers";
const REQUEST_METHOD: &str = "access-control-request-method";
const REQUEST_HEADERS: &str = "access-control-request-headers";

/// The longest Origin that is looked at: a scheme, a host of 254 bytes and a port.
const ORIGIN_BYTES_MAX: usize = 512;

impl FilterKind for Cors {
    fn build(&self, _: &mut dyn Keep) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl Filter for Cors {
    fn request(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let origin = first(head, ORIGIN);
        let allowed = origin.as_deref().and_then(|origin| self.allow(origin));
        match (&origin, &allowed) {
            (None, _) => cx.say(|| "the request has no Origin".into()),
            (Some(_), None) => cx.say(|| "the Origin is not one of those that may read the answer".into()),
            (Some(_), Some(allowed)) => cx.say(|| format!("{allowed} may read the answer")),
        }
        if let (true, Some(_), Some(method)) = (head.asked.method == "OPTIONS", &origin, first(head, REQUEST_METHOD)) {
            return Flow::Reply(self.preflight(head, allowed, &method));
        }
        let answer = &mut head.changes.answer;
        // A second field of a name, a backend's own, would make browsers refuse both.
        for name in [ALLOW_ORIGIN, ALLOW_CREDENTIALS, EXPOSE] {
            answer.remove(name);
        }
        if self.varies() {
            answer.add("vary", ORIGIN.as_bytes());
        }
        if let Some(allowed) = allowed {
            answer.add(ALLOW_ORIGIN, allowed.as_bytes());
            if self.0.credentials {
                answer.add(ALLOW_CREDENTIALS, b"true");
            }
            let exposed: Vec<&str> = self.0.expose_headers.iter().map(|FieldName(name)| &**name).collect();
            if !exposed.is_empty() {
                answer.add(EXPOSE, exposed.join(", ").as_bytes());
            }
        }
        Flow::Next
    }
}

impl Cors {
    /// What an origin is told: `*`, or itself; `None` when it may not.
    fn allow<'o>(&self, origin: &'o str) -> Option<&'o str> {
        if !self.varies() {
            return Some("*");
        }
        self.0
            .origins
            .iter()
            .any(|allowed| allowed.is(origin))
            .then_some(origin)
    }

    /// Whether different origins are told different things, which caches have to know.
    fn varies(&self) -> bool {
        !self.0.origins.contains(&Origin::Any)
    }

    /// The answer to a preflight, which never reaches a backend.
    fn preflight(&self, head: &RequestView<'_>, allowed: Option<&str>, method: &str) -> Reply {
        let wanted = all(head, REQUEST_HEADERS);
        let refused = match allowed {
            None => Some("its Origin may not read the answer".to_owned()),
            Some(_) if !self.0.methods.hold(method) => {
                Some(format!("the method {} is not allowed", method.escape_debug()))
            }
            Some(_) => wanted
                .iter()
                .find(|name| !self.0.headers.hold(&name.to_ascii_lowercase()))
                .map(|name| format!("the header field {} is not allowed", name.escape_debug())),
        };
        let reply = match refused {
            Some(why) => return self.varied(Reply::detailed(Reason::Denied, &why)),
            None => Reply::new(204, Vec::new(), "").with(ALLOW_ORIGIN, allowed.unwrap_or_default()),
        };
        let mut reply = self
            .varied(reply)
            .with("access-control-allow-methods", self.0.methods.told(method));
        if !wanted.is_empty() {
            reply = reply.with("access-control-allow-headers", self.0.headers.told(&wanted.join(", ")));
        }
        if self.0.credentials {
            reply = reply.with(ALLOW_CREDENTIALS, "true");
        }
        match self.0.max_age {
            Some(age) => reply.with("access-control-max-age", age.as_secs().to_string()),
            None => reply,
        }
    }

    fn varied(&self, reply: Reply) -> Reply {
        let depends = if self.varies() {
            format!("{ORIGIN}, {REQUEST_METHOD}, {REQUEST_HEADERS}")
        } else {
            format!("{REQUEST_METHOD}, {REQUEST_HEADERS}")
        };
        reply.with("vary", depends)
    }
}

/// The first value of `name`, when it is text of a length that an origin or a method can have.
fn first(head: &RequestView<'_>, name: &str) -> Option<String> {
    let mut found = None;
    head.fields().each(name, &mut |value| {
        let text = std::str::from_utf8(value).ok();
        found = text.filter(|text| text.len() <= ORIGIN_BYTES_MAX).map(str::to_owned);
        false
    });
    found
}

/// The members of the list `name`.
fn all(head: &RequestView<'_>, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    head.fields().each(name, &mut |value| {
        let members = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        found.extend(
            members
                .filter(|member| !member.is_empty())
                .map(|member| String::from_utf8_lossy(member).into_owned()),
        );
        true
    });
    found
}

impl Origin {
    /// Browsers write origins in one way (HTML §7.5, ASCII serialisation): bytes are compared.
    fn is(&self, origin: &str) -> bool {
        match self {
            Origin::Any => true,
            Origin::Exact(exact) => exact == origin,
            Origin::Below { scheme, suffix } => {
                let rest = origin
                    .strip_prefix(scheme.as_str())
                    .and_then(|rest| rest.strip_suffix(suffix.as_str()));
                let label =
                    |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
                rest.is_some_and(|labels| labels.bytes().all(label) && !labels.split('.').any(str::is_empty))
            }
            Origin::Regex(regex) => regex.is_match(origin),
        }
    }

    /// Reads an origin; else what is wrong with it, and what to write.
    fn parse(text: &str) -> Result<Self, (String, String)> {
        if text == "*" {
            return Ok(Origin::Any);
        }
        let wrong = |help: String| Err((format!("\"{}\" is not an origin", text.escape_debug()), help));
        if text == "null" {
            return wrong("\"null\" is what any sandboxed page says, whoever wrote it".into());
        }
        let lower = text.to_ascii_lowercase();
        let Some((scheme, rest)) = lower.split_once("://") else {
            return wrong("write the scheme, too: \"https://app.example.com\"".into());
        };
        if let Some((bare, _)) = rest.split_once(['/', '?', '#']) {
            return wrong(format!("an origin has no path: write \"{scheme}://{bare}\""));
        }
        let (below, named) = match rest.strip_prefix("*.") {
            Some(named) => (true, named),
            None => (false, rest),
        };
        match host::normalise(named.as_bytes()) {
            Ok(Some(authority)) if authority.port.is_none() || !is_default(scheme, authority.port) => {}
            Ok(Some(authority)) => {
                let star = if below { "*." } else { "" };
                return wrong(format!(
                    "browsers leave the scheme's own port out: write \"{scheme}://{star}{}\"",
                    authority.host
                ));
            }
            _ => {
                return wrong(
                    "write a scheme and a host, like \"https://app.example.com\" or \"https://*.example.com\"".into(),
                );
            }
        }
        Ok(if below {
            Origin::Below {
                scheme: format!("{scheme}://"),
                suffix: format!(".{named}"),
            }
        } else {
            Origin::Exact(lower)
        })
    }
}

fn is_default(scheme: &str, port: Option<u16>) -> bool {
    matches!((scheme, port), ("http", Some(80)) | ("https", Some(443)))
}

impl Names {
    fn is_any(&self) -> bool {
        self.0.iter().any(|name| name == "*")
    }

    fn hold(&self, name: &str) -> bool {
        is_token(name) && (self.is_any() || self.0.iter().any(|known| known == name))
    }

    /// What a preflight is told. Any means what it `asked` for: with credentials `*` is a name like any other.
    fn told(&self, asked: &str) -> String {
        if self.is_any() {
            asked.to_owned()
        } else {
            self.0.join(", ")
        }
    }
}

impl Decode for Cors {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let mut settings = Settings::decode(node, faults)?;
        let place = node.field("origins").map_or(node.span, |origins| origins.span);
        if settings.origins.is_empty() {
            faults
                .error(place, "`origins` names nobody")
                .help("name one at least: origins = [\"https://app.example.com\"]");
            return None;
        }
        if settings.credentials && settings.origins.contains(&Origin::Any) {
            faults
                .error(place, "with `credentials`, any page could act as whoever visits it")
                .help("name the origins, or take `credentials` out");
            return None;
        }
        // Field names are compared in lower case, methods as they are (RFC 9110 §9.1).
        for name in &mut settings.headers.0 {
            name.make_ascii_lowercase();
        }
        Some(Cors(settings))
    }

    fn schema() -> Json {
        Settings::schema()
    }
}

impl Decode for Origin {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        if let Value::Table(entries) = &node.value {
            document::refuse_unknown(entries, &["regex"], &[], faults);
            let Some(regex) = node.field("regex") else {
                faults.error(node.span, "the key `regex` is missing");
                return None;
            };
            return Expression::decode(regex, faults).map(Origin::Regex);
        }
        let text = expect_text(node, "an origin, like \"https://app.example.com\"", faults)?;
        match Origin::parse(text) {
            Ok(origin) => Some(origin),
            Err((message, help)) => {
                faults.error(node.span, message).help(help);
                None
            }
        }
    }

    fn schema() -> Json {
        let regex = serde_json::Map::from_iter([("regex".to_owned(), Expression::schema())]);
        let table = document::with_required(document::table_schema(regex, &[]), &[("regex", true)]);
        serde_json::json!({ "anyOf": [{ "type": "string", "examples": ["https://app.example.com"] }, table] })
    }
}

impl Decode for Names {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let names = Vec::<String>::decode(node, faults)?;
        let stranger = names.iter().find(|name| !is_token(name));
        if let Some(stranger) = stranger {
            faults.error(
                node.span,
                format!(
                    "\"{}\" is neither a method nor a header's name",
                    stranger.escape_debug()
                ),
            );
            return None;
        }
        Some(Names(names))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "array", "items": { "type": "string" } })
    }
}

#[cfg(test)]
#[path = "cors_tests.rs"]
mod tests;
