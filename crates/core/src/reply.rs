//! Replies of our own: errors with their reasons, redirects, configured answers.

use std::fmt::Display;
use std::sync::Arc;

use crate::outcome::Reason;
use crate::template::{Position, Template, Values};

/// A reply of our own.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Why, when it is an error.
    pub reason: Option<Reason>,
    /// Its header fields, besides those that frame and date it.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Arc<str>,
    /// The body is somebody else's words, which do not give a reason of ours away.
    pub theirs: bool,
    /// The connection ends with it.
    pub close: bool,
}

impl Reply {
    /// A reply that is no error.
    pub fn new(status: u16, headers: Vec<(String, String)>, body: impl Into<Arc<str>>) -> Self {
        Reply {
            status,
            reason: None,
            headers,
            body: body.into(),
            theirs: false,
            close: false,
        }
    }

    /// The reply for a reason.
    pub fn reason(reason: Reason) -> Self {
        Reply::of_status(reason.status(), reason)
    }

    /// The reply for a reason, with another status than its own.
    pub fn of_status(status: u16, reason: Reason) -> Self {
        Reply::saying(status, reason, reason.says())
    }

    /// The reply for a reason, with what exactly was wrong.
    pub fn detailed(reason: Reason, detail: &dyn Display) -> Self {
        Reply::saying(
            reason.status(),
            reason,
            &format!("{} In detail: {detail}.", reason.says()),
        )
    }

    fn saying(status: u16, reason: Reason, says: &str) -> Self {
        let body = format!("{status} {}: {says}\n", reason.word());
        let headers = vec![("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())];
        Reply {
            reason: Some(reason),
            ..Reply::new(status, headers, body)
        }
    }

    /// The reply that sends a client to `location`.
    pub fn redirect(status: u16, location: String) -> Self {
        Reply::new(status, vec![("location".into(), location)], "")
    }

    /// The same with one more header field.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The connection ends with it.
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}

/// A redirect: what is `None` stays as the request had it; the port only when neither scheme nor host changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host, without port.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The whole path.
    pub path: Option<Template>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

impl Redirect {
    /// The reply that sends a client there.
    pub fn reply(&self, values: &Values<'_>) -> Reply {
        let path = self.path.as_ref().map(|path| path.rendered(Position::Url, values));
        self.reply_at(values, path.as_deref())
    }

    /// The same with `path` in place of the request's own. A request that names no host cannot be sent to another scheme
    /// or port of it: a path alone would send it where it is.
    pub fn reply_at(&self, values: &Values<'_>, path: Option<&str>) -> Reply {
        match self.location(values, path) {
            Some(location) => Reply::redirect(self.status, location),
            None => Reply::detailed(Reason::BadRequest, &"it is to be redirected, and names no host"),
        }
    }

    /// Where it sends a request, unless that takes a host and there is none. No client is sent to another host by `//` at
    /// the beginning of a path.
    fn location(&self, values: &Values<'_>, path: Option<&str>) -> Option<String> {
        let from = values.asked.authority.as_ref();
        let scheme = self.scheme.as_deref().unwrap_or(values.scheme);
        let host = self.host.as_deref().or(from.map(|from| &*from.host));
        let path = path.unwrap_or(&values.asked.path).trim_start_matches(['/', '\\']);
        let query = values.asked.query.map(|query| format!("?{query}")).unwrap_or_default();
        let Some(host) = host.filter(|host| !host.is_empty()) else {
            let goes_elsewhere = self.scheme.is_some() || self.port.is_some();
            return (!goes_elsewhere).then(|| format!("/{path}{query}"));
        };
        // Another scheme or host is another server: the old port means nothing there.
        let kept = if self.scheme.is_none() && self.host.is_none() {
            from.and_then(|from| from.port)
        } else {
            None
        };
        let port = self.port.or(kept).map(|port| format!(":{port}")).unwrap_or_default();
        // RFC 9110 §7.1: the asterisk means the server as a whole, whose URL has no path.
        if path == "*" && values.asked.path == "*" {
            return Some(format!("{scheme}://{host}{port}"));
        }
        Some(format!("{scheme}://{host}{port}/{path}{query}"))
    }
}

/// An answer of our own, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Template,
    /// Its header fields.
    pub headers: Vec<(String, Template)>,
}

/// What a body is when nobody says so.
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

impl Respond {
    /// The reply to one request. What the request brings into the body is escaped for the type that it says it has.
    pub fn reply(&self, values: &Values<'_>) -> Reply {
        let render = |(name, value): &(String, Template)| (name.clone(), value.rendered(Position::Field, values));
        let mut headers: Vec<(String, String)> = self.headers.iter().map(render).collect();
        let typed = headers.iter().find(|(name, _)| name == "content-type");
        let position = match typed {
            Some((_, typed)) if typed.contains("html") || typed.contains("xml") => Position::Html,
            Some((_, typed)) if typed.contains("json") => Position::Json,
            _ => Position::Plain,
        };
        let body = self.body.shared();
        let body = body.unwrap_or_else(|| self.body.rendered(position, values).into());
        if !body.is_empty() && typed.is_none() {
            headers.push(("content-type".into(), PLAIN_TEXT.into()));
        }
        Reply::new(self.status, headers, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Asked, Fields, Target};

    struct Agent;

    impl Fields for Agent {
        fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
            let _ = name == "user-agent" && visit(b"<\"evil\">");
        }
    }

    fn with_values<T>(host: &[u8], path: &[u8], ask: impl FnOnce(&Values<'_>) -> T) -> T {
        let asked = Asked::read("GET", host, Target::Origin(path), &Agent, false).unwrap();
        ask(&Values {
            asked: &asked,
            fields: &Agent,
            client: "192.0.2.1".parse().unwrap(),
            peer: "192.0.2.1:1".parse().unwrap(),
            request_id: "id",
            scheme: "http",
            tls: None,
            route: "r",
            pool: "",
        })
    }

    #[test]
    fn a_redirect_keeps_what_it_does_not_name() {
        let none = Redirect {
            scheme: None,
            host: None,
            port: None,
            path: None,
            status: 302,
        };
        let https = Redirect {
            scheme: Some("https".into()),
            ..none.clone()
        };
        let moved = Redirect {
            host: Some("b.example".into()),
            port: Some(8443),
            path: Some(Template::text("/new")),
            ..https.clone()
        };
        for (to, host, location) in [
            (&none, &b"a.example:8080"[..], "http://a.example:8080/x?v=1"),
            (&https, b"a.example:8080", "https://a.example/x?v=1"),
            (&moved, b"a.example:8080", "https://b.example:8443/new?v=1"),
            (&none, b"", "/x?v=1"),
        ] {
            let reply = with_values(host, b"/x?v=1", |values| to.reply(values));
            assert_eq!(reply.headers, [("location".to_owned(), location.to_owned())]);
        }
    }

    #[test]
    fn nobody_is_sent_to_another_host_by_two_slashes() {
        let to = Redirect {
            scheme: None,
            host: None,
            port: None,
            path: Some(Template::text("//evil.example/x")),
            status: 302,
        };
        let location = with_values(b"", b"/", |values| to.reply(values).headers.remove(0).1);
        assert_eq!(location, "/evil.example/x");
    }

    #[test]
    fn a_body_escapes_what_the_request_brings() {
        let template = |text: &str| {
            use crate::document::{Decode, Faults, Node, Span, Value};
            let value = Value::Text(text.into());
            let span = Span::default();
            Template::decode(&Node { span, value }, &mut Faults::default()).unwrap()
        };
        for (typed, body) in [
            ("text/html", "&lt;&quot;evil&quot;&gt;"),
            ("application/json", "<\\\"evil\\\">"),
            ("text/plain", "<\"evil\">"),
        ] {
            let respond = Respond {
                status: 200,
                body: template("{request.header.user-agent}"),
                headers: vec![("content-type".into(), Template::text(typed))],
            };
            assert_eq!(&*with_values(b"a", b"/", |values| respond.reply(values)).body, body);
        }
    }
}
