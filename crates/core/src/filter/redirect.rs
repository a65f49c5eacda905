//! `redirect`: the client is sent elsewhere, when its path is one of those that are meant.

use super::expression::{Expression, no_such_group};
use super::{Filter, FilterCx, FilterKind, Flow, Keep, RequestView};
use crate::document::{Decode, Faults, Json, Node, expect_text};
use crate::reply;
use crate::route::host;
use crate::template::Template;
use crate::{document, words};

document! {
    /// The client is sent elsewhere. What is left out stays as the request had it. The port does not when scheme or host
    /// is named, since another one is another server.
    struct Table {
        /// A regular expression over the whole path: requests that it does not match go on. All are meant unless set.
        regex: Option<Expression>,
        /// The scheme.
        scheme: Option<Scheme>,
        /// The host, without port.
        host: Option<HostName>,
        /// The port; the request's stays only when neither scheme nor host is named.
        port: Option<Port>,
        /// The whole path, with $1 for the first group of `regex`; the request's query stays.
        path: Option<Template>,
        /// 301, 302, 303, 307 or 308: 302 unless set.
        status: Status = Status(302),
    }
}

/// Where which clients are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    regex: Option<Expression>,
    to: reply::Redirect,
}

words! {
    /// A scheme.
    enum Scheme {
        /// In clear text.
        Http = "http",
        /// Over TLS.
        Https = "https",
    }
}

/// The host that a client is sent to.
#[derive(Clone, Debug, PartialEq)]
struct HostName(String);

/// The port that a client is sent to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Port(u16);

/// RFC 9110 §15.4: the statuses that clients follow.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Status(u16);

const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

impl Redirect {
    /// Where clients are sent, when it is all that are.
    pub fn of_all(&self) -> Option<&reply::Redirect> {
        self.regex.is_none().then_some(&self.to)
    }
}

impl FilterKind for Redirect {
    fn build(&self, _: &mut dyn Keep) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl Filter for Redirect {
    fn request(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let fields = head.fields();
        let values = cx.values(head, &fields);
        Flow::Reply(match &self.regex {
            None => self.to.reply(&values),
            Some(regex) => {
                let pattern = self.to.path.as_ref().and_then(Template::as_text);
                match regex.replace(head.path(), pattern.unwrap_or(Expression::WHOLE)) {
                    Some(path) => self.to.reply_at(&values, Some(&path)),
                    None => {
                        cx.say(|| format!("{} is not meant", head.path()));
                        return Flow::Next;
                    }
                }
            }
        })
    }
}

impl Decode for Redirect {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let table = Table::decode(node, faults)?;
        let written = |key: &str| node.field(key).is_some();
        if !["scheme", "host", "port", "path"].into_iter().any(written) {
            faults
                .error(node.span, "the redirect sends the client to where it is")
                .help("give it one of `scheme`, `host`, `port` or `path`");
            return None;
        }
        let text = table.path.as_ref().and_then(Template::as_text);
        let place = node.field("path").map_or(node.span, |path| path.span);
        if table.regex.is_some() && table.path.is_some() && text.is_none() {
            faults
                .error(place, "beside `regex`, `path` holds no placeholders")
                .help("it takes the expression's groups: $1, $name");
            return None;
        }
        let stranger = table.regex.as_ref().zip(text).and_then(|(regex, text)| regex.stranger(text));
        if let Some(group) = stranger {
            let (message, help) = no_such_group(group);
            faults.error(place, message).help(help);
            return None;
        }
        if let Some((message, help)) = text.and_then(misspelled) {
            faults.error(place, message).help(help);
            return None;
        }
        Some(Redirect {
            regex: table.regex,
            to: reply::Redirect {
                scheme: table.scheme.map(|scheme| scheme.word().to_owned()),
                host: table.host.map(|HostName(host)| host),
                port: table.port.map(|Port(port)| port),
                path: table.path,
                status: table.status.0,
            },
        })
    }

    fn schema() -> Json {
        Table::schema()
    }
}

/// What is wrong with the path of a redirect, and what to write.
fn misspelled(text: &str) -> Option<(String, String)> {
    let no_path = format!("\"{}\" is not a path", text.escape_debug());
    if let Some((bare, _)) = text.split_once('#') {
        return Some((no_path, format!("a path has no fragment: write \"{bare}\"")));
    }
    if let Some((bare, _)) = text.split_once('?') {
        let message = "the path of a redirect has no query: the request's own stays";
        return Some((message.into(), format!("write \"{bare}\"")));
    }
    if text.starts_with("//") || !text.starts_with(['/', '$']) {
        let bare = text.trim_start_matches('/');
        return Some((no_path, format!("paths begin with one slash: write \"/{bare}\"")));
    }
    None
}

impl Decode for HostName {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a host", faults)?;
        match host::normalise(text.as_bytes()) {
            Ok(Some(authority)) if authority.port.is_none() => Some(HostName(authority.host.into_owned())),
            _ => {
                faults
                    .error(node.span, format!("\"{}\" is not a host", text.escape_debug()))
                    .help("write a name or an address; the port has its own key");
                None
            }
        }
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "string", "examples": ["www.example.com"] })
    }
}

impl Decode for Port {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let port = u16::decode(node, faults)?;
        if port == 0 {
            faults.error(node.span, "0 is no port: 1 to 65535 are");
        }
        (port > 0).then_some(Port(port))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "integer", "minimum": 1, "maximum": 65535 })
    }
}

impl Decode for Status {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let status = u16::decode(node, faults)?;
        let known = STATUSES.contains(&status);
        if !known {
            faults
                .error(node.span, format!("{status} is not a redirect"))
                .help("known here: 301, 302, 303, 307, 308");
        }
        known.then_some(Status(status))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "integer", "enum": STATUSES })
    }
}
