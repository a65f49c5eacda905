//! `rewrite`: another path goes upstream than the client asked for.

use super::expression::{Expression, no_such_group};
use super::{Filter, FilterCx, FilterKind, Flow, Keep, RequestView};
use crate::document;
use crate::document::{Decode, Faults, Json, Node, expect_text};
use crate::outcome::Reason;
use crate::reply::Reply;
use crate::reversal::Rewritten;
use crate::route::path;
use crate::template::{Position, Template};

document! {
    /// Another path goes upstream than the client asked for; the query stays.
    struct Table {
        /// What takes the place of the part that the route's match named: with `match = { path = "/api/*" }`, "/" makes
        /// /orders of /api/orders.
        path_prefix: Option<Prefix>,
        /// What stands at the beginning of the path and goes.
        strip_prefix: Option<Prefix>,
        /// What is put before the path.
        add_prefix: Option<Prefix>,
        /// A regular expression over the whole path; `path` is what takes its place, with $1 for its first group. A path
        /// that it does not match stays.
        regex: Option<Expression>,
        /// The whole path.
        path: Option<Template>,
    }
}

/// What becomes of the path.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewrite(To);

#[derive(Clone, Debug, PartialEq)]
enum To {
    /// This in place of what the route's match named.
    Prefix(String),
    /// Without this at its beginning.
    Strip(String),
    /// Behind this.
    Add(String),
    /// What the expression matches, as the pattern says.
    Regex(Expression, String),
    /// This.
    Path(Template),
}

/// A path that begins with a slash; without the one at its end.
#[derive(Clone, Debug, PartialEq)]
struct Prefix(String);

impl FilterKind for Rewrite {
    fn build(&self, _: &mut dyn Keep) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl Filter for Rewrite {
    fn request(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let path = head.path();
        let Some(to) = self.0.apply(path, head, cx) else {
            cx.say(|| format!("{path} stays"));
            return Flow::Next;
        };
        match path::canonical(to.as_bytes(), true) {
            Ok(canonical) => {
                cx.say(|| format!("{path} becomes {canonical}"));
                let canonical = canonical.into_owned();
                head.changes.path = Some(canonical);
                self.0.note(head);
                Flow::Next
            }
            Err(fault) => Flow::Reply(Reply::detailed(Reason::BadRequest, &format!("the rewritten path: {fault}"))),
        }
    }
}

impl To {
    /// Takes note of what answers have to be turned back by.
    fn note(&self, head: &mut RequestView<'_>) {
        let rewritten = &mut head.changes.rewritten;
        match self {
            To::Prefix(prefix) => rewritten.replace(head.prefix, prefix),
            To::Strip(prefix) => rewritten.replace(prefix, ""),
            To::Add(prefix) => rewritten.replace("", prefix),
            To::Regex(..) | To::Path(_) => *rewritten = Rewritten::Beyond,
        }
    }

    /// What `path` becomes; `None` when it stays.
    fn apply(&self, path: &str, head: &RequestView<'_>, cx: &FilterCx<'_>) -> Option<String> {
        match self {
            To::Prefix(prefix) => {
                let rest = path.strip_prefix(head.prefix)?;
                Some(joined(prefix, rest))
            }
            To::Strip(prefix) => {
                let rest = path.strip_prefix(prefix.as_str())?;
                (rest.is_empty() || rest.starts_with('/')).then(|| joined("", rest))
            }
            To::Add(prefix) => Some(joined(prefix, path)),
            To::Regex(expression, pattern) => expression.replace(path, pattern),
            To::Path(template) => Some(template.rendered(Position::Url, &cx.values(head, &head.fields()))),
        }
    }
}

fn joined(prefix: &str, rest: &str) -> String {
    let slash = if prefix.is_empty() && !rest.starts_with('/') { "/" } else { "" };
    format!("{prefix}{slash}{rest}")
}

impl Decode for Rewrite {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let before = faults.list.len();
        let table = Table::decode(node, faults)?;
        let mut ways = [
            table.path_prefix.map(|Prefix(prefix)| To::Prefix(prefix)),
            table.strip_prefix.map(|Prefix(prefix)| To::Strip(prefix)),
            table.add_prefix.map(|Prefix(prefix)| To::Add(prefix)),
            match (table.regex, table.path) {
                (Some(expression), Some(path)) => match path.as_text() {
                    Some(text) => {
                        if let Some(group) = expression.stranger(text) {
                            let (message, help) = no_such_group(group);
                            faults.error(node.span, message).help(help);
                            return None;
                        }
                        Some(To::Regex(expression, text.to_owned()))
                    }
                    None => {
                        let fault = faults.error(node.span, "beside `regex`, `path` holds no placeholders");
                        fault.help("it takes the expression's groups: $1, $name");
                        return None;
                    }
                },
                (None, Some(path)) => Some(To::Path(path)),
                (Some(_), None) => {
                    let fault = faults.error(node.span, "the key `path` is missing: what takes the place of the match");
                    fault.help("{ kind = \"rewrite\", regex = \"/v1/(.*)\", path = \"/$1\" }");
                    return None;
                }
                (None, None) => None,
            },
        ]
        .into_iter()
        .flatten();
        match (ways.next(), ways.next()) {
            (Some(way), None) => Some(Rewrite(way)),
            _ => {
                if faults.list.len() == before {
                    faults
                        .error(node.span, "a rewrite does one thing")
                        .help("give it one of `path_prefix`, `strip_prefix`, `add_prefix` or `path`, or `regex` with `path`");
                }
                None
            }
        }
    }

    fn schema() -> Json {
        Table::schema()
    }
}

impl Decode for Prefix {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a path", faults)?;
        match path::canonical(text.as_bytes(), true) {
            Ok(canonical) => Some(Prefix(canonical.trim_end_matches('/').to_owned())),
            Err(fault) => {
                faults
                    .error(node.span, format!("\"{}\" is not a path: {fault}", text.escape_debug()))
                    .help("a path begins with a slash: \"/v2\"");
                None
            }
        }
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "string", "pattern": "^/" })
    }
}
