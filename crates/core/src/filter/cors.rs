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
        /// Whose: "https://app.example.com", "https://*.example.com" for any labels before the suffix, { regex = "…" }
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
        if let (true, Some(_), Some(method)) =
            (head.asked.method == "OPTIONS", &origin, first(head, REQUEST_METHOD))
        {
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
        self.0.origins.iter().any(|allowed| allowed.is(origin)).then_some(origin)
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
            Some(_) if !self.0.methods.hold(method) => Some(format!("the method {} is not allowed", method.escape_debug())),
            Some(_) => wanted.iter().find(|name| !self.0.headers.hold(&name.to_ascii_lowercase())).map(|name| {
                format!("the header field {} is not allowed", name.escape_debug())
            }),
        };
        let reply = match refused {
            Some(why) => return self.varied(Reply::detailed(Reason::Denied, &why)),
            None => Reply::new(204, Vec::new(), "").with(ALLOW_ORIGIN, allowed.unwrap_or_default()),
        };
        let mut reply = self.varied(reply).with("access-control-allow-methods", self.0.methods.told(method));
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
        found.extend(members.filter(|member| !member.is_empty()).map(|member| String::from_utf8_lossy(member).into_owned()));
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
                let rest = origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_suffix(suffix.as_str()));
                let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
                rest.is_some_and(|labels| {
                    labels.bytes().all(label) && !labels.split('.').any(str::is_empty)
                })
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
                return wrong(format!("browsers leave the scheme's own port out: write \"{scheme}://{star}{}\"", authority.host));
            }
            _ => return wrong("write a scheme and a host, like \"https://app.example.com\" or \"https://*.example.com\"".into()),
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
        if self.is_any() { asked.to_owned() } else { self.0.join(", ") }
    }
}

impl Decode for Cors {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let mut settings = Settings::decode(node, faults)?;
        let place = node.field("origins").map_or(node.span, |origins| origins.span);
        if settings.origins.is_empty() {
            faults.error(place, "`origins` names nobody").help("name one at least: origins = [\"https://app.example.com\"]");
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
            faults.error(node.span, format!("\"{}\" is neither a method nor a header's name", stranger.escape_debug()));
            return None;
        }
        Some(Names(names))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "array", "items": { "type": "string" } })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{Asking, KeepOne, Request, build, read};
    use super::*;

    fn cors(json: &Json) -> Box<dyn Filter> {
        build::<Cors>(json, &mut KeepOne::default())
    }

    fn preflight(origin: &'static str, method: &'static str, fields: &'static str) -> Request {
        let asked = Request::get().with(ORIGIN, origin).with(REQUEST_METHOD, method);
        let asked = if fields.is_empty() { asked } else { asked.with(REQUEST_HEADERS, fields) };
        Request { method: "OPTIONS", ..asked }
    }

    fn told(asking: &Asking) -> Option<String> {
        asking.field(ALLOW_ORIGIN)
    }

    #[test]
    fn origins_are_exact_or_below_a_suffix_or_matched_as_a_whole() {
        let filter = cors(&json!({ "origins": [
            "https://App.example.com", "https://*.shop.example", "http://*.dev.example:3000", { "regex": "https://pr-[0-9]+\\.example\\.com" },
        ] }));
        for (origin, allowed) in [
            ("https://app.example.com", true),
            ("http://app.example.com", false),
            ("https://app.example.com:8443", false),
            ("https://app.example.com.evil.example", false),
            ("https://evil.example/https://app.example.com", false),
            ("https://a.shop.example", true),
            ("https://a.b.shop.example", true),
            ("https://shop.example", false),
            ("https://.shop.example", false),
            ("https://evilshop.example", false),
            ("https://evil.example/.shop.example", false),
            ("https://evil.example?.shop.example", false),
            ("https://user@x.shop.example", false),
            ("http://x.dev.example:3000", true),
            ("http://x.dev.example", false),
            ("https://pr-12.example.com", true),
            ("https://pr-12.example.com.evil", false),
            ("https://x/https://pr-1.example.com", false),
            ("null", false),
            ("", false),
        ] {
            let asking = Request::get().with(ORIGIN, origin).ask(&*filter);
            assert_eq!(told(&asking), allowed.then(|| origin.to_owned()), "{origin}");
            assert_eq!(asking.field("vary").as_deref(), Some("origin"));
            assert!(asking.changes.answer.removes(ALLOW_ORIGIN), "a backend's own does not stand beside it");
        }
        let none = Request::get().ask(&*filter);
        assert_eq!((told(&none), none.field("vary").as_deref()), (None, Some("origin")));
    }

    #[test]
    fn everybody_is_told_the_same_when_everybody_may() {
        let filter = cors(&json!({ "origins": ["*"], "expose_headers": ["x-total", "etag"] }));
        let asking = Request::get().with(ORIGIN, "null").ask(&*filter);
        assert_eq!((told(&asking).as_deref(), asking.field("vary")), (Some("*"), None));
        assert_eq!(asking.field(EXPOSE).as_deref(), Some("x-total, etag"));
    }

    #[test]
    fn preflights_are_answered_with_what_is_allowed() {
        let filter = cors(&json!({
            "origins": ["https://a.example"], "methods": ["GET", "PUT"], "headers": ["X-Id", "content-type"],
            "credentials": true, "max_age": "10m",
        }));
        let answer = preflight("https://a.example", "PUT", "x-id, Content-Type").ask(&*filter);
        assert_eq!((answer.status(), told(&answer).as_deref()), (204, Some("https://a.example")));
        for (name, value) in [
            ("access-control-allow-methods", "GET, PUT"),
            ("access-control-allow-headers", "x-id, content-type"),
            (ALLOW_CREDENTIALS, "true"),
            ("access-control-max-age", "600"),
            ("vary", "origin, access-control-request-method, access-control-request-headers"),
        ] {
            assert_eq!(answer.field(name).as_deref(), Some(value), "{name}");
        }
        for refused in [
            preflight("https://b.example", "PUT", ""),
            preflight("https://a.example", "DELETE", ""),
            preflight("https://a.example", "put", ""),
            preflight("https://a.example", "PUT", "x-other"),
        ] {
            let answer = refused.ask(&*filter);
            assert_eq!((answer.status(), told(&answer)), (403, None));
        }
        // Without the method that it is for it is an OPTIONS like any other.
        let options = Request { method: "OPTIONS", ..Request::get().with(ORIGIN, "https://a.example") };
        assert_eq!(options.ask(&*filter).status(), 0);
    }

    #[test]
    fn any_method_and_field_is_what_was_asked_for_and_nothing_else_is_echoed() {
        let filter = cors(&json!({ "origins": ["*"], "methods": ["*"], "headers": ["*"] }));
        let answer = preflight("https://b.example", "PATCH", "x-a,x-b").ask(&*filter);
        assert_eq!(answer.field("access-control-allow-methods").as_deref(), Some("PATCH"));
        assert_eq!(answer.field("access-control-allow-headers").as_deref(), Some("x-a, x-b"));
        assert_eq!(preflight("https://b.example", "A B", "").ask(&*filter).status(), 403);
        assert_eq!(preflight("https://b.example", "PUT", "x<script>").ask(&*filter).status(), 403);
    }

    #[test]
    fn what_is_unsafe_or_never_matches_is_refused() {
        for (settings, wrong) in [
            (json!({ "origins": [] }), "names nobody"),
            (json!({ "origins": ["*"], "credentials": true }), "any page could act"),
            (json!({ "origins": ["null"] }), "not an origin"),
            (json!({ "origins": ["app.example.com"] }), "not an origin"),
            (json!({ "origins": ["https://app.example.com/"] }), "not an origin"),
            (json!({ "origins": ["https://app.example.com:443"] }), "not an origin"),
            (json!({ "origins": ["https://*"] }), "not an origin"),
            (json!({ "origins": ["https://a*.example"] }), "not an origin"),
            (json!({ "origins": [{ "regex": "(" }] }), ""),
            (json!({ "origins": ["https://a"], "methods": ["A B"] }), "neither a method"),
        ] {
            let told = read::<Cors>(&settings).unwrap_err().join("; ");
            assert!(told.contains(wrong), "{settings}: {told}");
        }
    }
}
