//! `compress`: answers are compressed for clients that take them so.
//!
//! What is to be done is said when the request is seen: which coding the client prefers among those that are offered
//! (RFC 9110 §12.5.3). Whether the answer is worth it is said when its head is there.

use std::sync::Arc;

use super::{Filter, FilterCx, FilterKind, Flow, Keep, RequestView};
use crate::document::units::Size;
use crate::document::{Decode, Faults, Json, Node, Value, expect_text};
use crate::route::Fields;
use crate::{document, words};

document! {
    /// Answers are compressed for clients that take them so.
    pub struct Compress {
        /// What is offered, the best first: ["zstd", "br", "gzip"] unless set.
        encodings: Offered = Offered(vec![Coding::Zstd, Coding::Brotli, Coding::Gzip]),
        /// The shortest body that is compressed, where its length is known: 1KiB unless set.
        min_size: Size = Size(1 << 10),
        /// The types of what is compressed, like "text/*": text, JSON, scripts, XML, SVG, wasm and fonts that are not
        /// compressed already unless set.
        types: Types = Types::usual(),
    }
}

words! {
    /// A content coding.
    pub enum Coding {
        /// RFC 8878.
        Zstd = "zstd",
        /// RFC 7932.
        Brotli = "br",
        /// RFC 1952.
        Gzip = "gzip",
    }
}

/// Codings, the best first.
#[derive(Clone, Debug, PartialEq)]
struct Offered(Vec<Coding>);

/// Types of content, in lower case: `text/html`, or `text/*`.
#[derive(Clone, Debug, PartialEq)]
struct Types(Vec<String>);

/// Types that are worth it, as Caddy and nginx's users list them.
const USUAL: [&str; 20] = [
    "text/*",
    "application/atom+xml",
    "application/graphql-response+json",
    "application/javascript",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/problem+json",
    "application/rss+xml",
    "application/vnd.api+json",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xhtml+xml",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/svg+xml",
];

/// What is to be done with the answer of one request.
#[derive(Clone, Debug)]
pub struct Compression {
    settings: Arc<Compress>,
    /// What the client prefers of what is offered; `None` when it takes none of it.
    coding: Option<Coding>,
}

/// What is to be done with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It would never be compressed.
    Leave,
    /// It would be for another client: caches have to know (RFC 9110 §12.5.5).
    Vary,
    /// It is compressed.
    Code(Coding),
}

impl FilterKind for Compress {
    fn build(&self, _: &mut dyn Keep) -> Box<dyn Filter> {
        Box::new(Built(Arc::new(self.clone())))
    }
}

struct Built(Arc<Compress>);

impl Filter for Built {
    fn request(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let coding = preferred(&self.0.encodings.0, head.asked.fields);
        cx.say(|| match coding {
            Some(coding) => format!("the client takes {}", coding.word()),
            None => "the client takes none of what is offered".into(),
        });
        head.changes.compression = Some(Compression {
            settings: self.0.clone(),
            coding,
        });
        Flow::Next
    }
}

impl Compression {
    /// What is to be done with an answer of this `status` and these fields, whose body is `length` bytes long if that is
    /// known.
    pub fn judge(&self, status: u16, fields: &dyn Fields, length: Option<u64>) -> Verdict {
        // No body, a part of one, or one that is for the cache that has the whole.
        if !(200..600).contains(&status) || matches!(status, 204 | 205 | 206 | 304) {
            return Verdict::Leave;
        }
        let has = |name| {
            let mut found = false;
            fields.each(name, &mut |_| {
                found = true;
                false
            });
            found
        };
        // Coded already, a part, or signed as it is (RFC 9530, RFC 1864).
        let bound = ["content-encoding", "content-range", "content-digest", "repr-digest", "digest", "content-md5"];
        if bound.into_iter().any(has) || lists(fields, "cache-control", b"no-transform") {
            return Verdict::Leave;
        }
        let mut typed = false;
        fields.each("content-type", &mut |value| {
            typed = self.settings.types.hold(value);
            false
        });
        if !typed || length.is_some_and(|length| length < self.settings.min_size.0) {
            return Verdict::Leave;
        }
        self.coding.map_or(Verdict::Vary, Verdict::Code)
    }
}

/// Whether the list in the fields `name` has `member`, in any case.
fn lists(fields: &dyn Fields, name: &str, member: &[u8]) -> bool {
    let mut found = false;
    fields.each(name, &mut |value| {
        found |= value.split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(member));
        !found
    });
    found
}

/// What the client prefers of `offered`: the greatest weight, and of equals the first.
fn preferred(offered: &[Coding], fields: &dyn Fields) -> Option<Coding> {
    // Thousandths (RFC 9110 §12.4.2).
    let mut weights: Vec<Option<u32>> = vec![None; offered.len()];
    let mut any = None;
    fields.each("accept-encoding", &mut |value| {
        for member in value.split(|byte| *byte == b',') {
            let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(weight).unwrap_or(1_000);
            if name == b"*" {
                any = Some(weight);
            }
            for (coding, known) in offered.iter().zip(&mut weights) {
                let old = *coding == Coding::Gzip && name.eq_ignore_ascii_case(b"x-gzip");
                if old || name.eq_ignore_ascii_case(coding.word().as_bytes()) {
                    *known = Some(weight);
                }
            }
        }
        true
    });
    let weighed = offered.iter().zip(weights).map(|(coding, weight)| (*coding, weight.or(any).unwrap_or(0)));
    let best = weighed.filter(|(_, weight)| *weight > 0).reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map(|(coding, _)| coding)
}

/// `q=0.5` in thousandths; `None` when it is another parameter, and 0 when nobody can read it.
fn weight(parameter: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(parameter).ok()?;
    let (name, value) = text.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let number: f32 = value.trim().parse().unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 1000")]
    let thousandths = (number.clamp(0.0, 1.0) * 1_000.0) as u32;
    Some(thousandths)
}

impl Types {
    fn usual() -> Self {
        Types(USUAL.map(str::to_owned).to_vec())
    }

    /// Whether a `Content-Type` is one of them.
    fn hold(&self, value: &[u8]) -> bool {
        let bare = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        self.0.iter().any(|known| match known.strip_suffix('*') {
            Some(family) => bare.len() >= family.len() && bare[..family.len()].eq_ignore_ascii_case(family.as_bytes()),
            None => bare.eq_ignore_ascii_case(known.as_bytes()),
        })
    }
}

impl Decode for Offered {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let Value::Array(items) = &node.value else {
            return Coding::decode(node, faults).map(|one| Offered(vec![one]));
        };
        if items.is_empty() {
            faults.error(node.span, "the list is empty").help("leave the key out, or take the filter out");
            return None;
        }
        let mut codings = Vec::new();
        for item in items {
            let coding = Coding::decode(item, faults)?;
            if codings.contains(&coding) {
                faults.error(item.span, format!("\"{}\" is there twice", coding.word()));
                return None;
            }
            codings.push(coding);
        }
        Some(Offered(codings))
    }

    fn schema() -> Json {
        let one = Coding::schema();
        serde_json::json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

impl Decode for Types {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let Value::Array(items) = &node.value else {
            faults.expected(node, "a list of types, like [\"text/*\"]");
            return None;
        };
        let one = |item: &Node, faults: &mut Faults| {
            let text = expect_text(item, "a type, like \"text/*\"", faults)?.to_ascii_lowercase();
            let whole = text.split_once('/').is_some_and(|(family, kind)| {
                super::is_token(family) && (kind == "*" || super::is_token(kind) && !kind.contains('*'))
            });
            if !whole || text.starts_with('*') {
                faults
                    .error(item.span, format!("\"{}\" is not a type", text.escape_debug()))
                    .help("write it like \"application/json\" or \"text/*\"");
                return None;
            }
            Some(text)
        };
        Some(Types(items.iter().filter_map(|item| one(item, faults)).collect()))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "array", "items": { "type": "string", "examples": ["text/*"] } })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{KeepOne, Request, build, read};
    use super::*;

    struct Came<'f>(&'f [(&'f str, &'f str)]);

    impl Fields for Came<'_> {
        fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
            let mut values = self.0.iter().filter(|(known, _)| *known == name);
            let _ = values.all(|(_, value)| visit(value.as_bytes()));
        }
    }

    #[test]
    fn what_the_client_prefers_is_taken_and_of_equals_the_first() {
        let offered = [Coding::Zstd, Coding::Brotli, Coding::Gzip];
        for (accepted, taken) in [
            ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
            ("gzip, deflate, br", Some(Coding::Brotli)),
            ("gzip;q=1.0, br;q=0.5, *;q=0", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("GZIP ; q=0.001", Some(Coding::Gzip)),
            ("*", Some(Coding::Zstd)),
            ("zstd;q=0, *", Some(Coding::Brotli)),
            ("identity", None),
            ("gzip;q=0", None),
            ("gzip;q=nan", None),
            ("gzip;q=abc", None),
            ("", None),
        ] {
            assert_eq!(preferred(&offered, &Came(&[("accept-encoding", accepted)])), taken, "{accepted}");
        }
        assert_eq!(preferred(&offered, &Came(&[])), None);
    }

    #[test]
    fn only_what_is_worth_it_and_may_be_changed_is_compressed() {
        let filter = build::<Compress>(&json!({ "min_size": "100B" }), &mut KeepOne::default());
        let asked = Request::get().with("accept-encoding", "gzip").ask(&*filter);
        let compression = asked.changes.compression.expect("it wants something");
        let code = Verdict::Code(Coding::Gzip);
        for (status, fields, length, verdict) in [
            (200, &[("content-type", "text/html; charset=utf-8")][..], None, code),
            (200, &[("content-type", "Application/JSON")], Some(100), code),
            (404, &[("content-type", "text/plain")], Some(5_000), code),
            (200, &[("content-type", "text/html")], Some(99), Verdict::Leave),
            (200, &[("content-type", "image/png")], None, Verdict::Leave),
            (200, &[("content-type", "texthtml")], None, Verdict::Leave),
            (200, &[], None, Verdict::Leave),
            (206, &[("content-type", "text/html")], None, Verdict::Leave),
            (304, &[("content-type", "text/html")], None, Verdict::Leave),
            (200, &[("content-type", "text/html"), ("content-encoding", "br")], None, Verdict::Leave),
            (200, &[("content-type", "text/html"), ("cache-control", "public, No-Transform")], None, Verdict::Leave),
            (200, &[("content-type", "text/html"), ("repr-digest", "sha-256=:x:")], None, Verdict::Leave),
        ] {
            assert_eq!(compression.judge(status, &Came(fields), length), verdict, "{status} {fields:?}");
        }
        let asked = Request::get().ask(&*filter);
        let compression = asked.changes.compression.expect("caches have to know");
        let html = [("content-type", "text/html")];
        assert_eq!(compression.judge(200, &Came(&html), None), Verdict::Vary);
    }

    #[test]
    fn wrong_settings_are_told() {
        for (settings, wrong) in [
            (json!({ "encodings": ["deflate"] }), "unknown word"),
            (json!({ "encodings": [] }), "empty"),
            (json!({ "encodings": ["gzip", "gzip"] }), "twice"),
            (json!({ "types": ["html"] }), "not a type"),
            (json!({ "types": ["*/*"] }), "not a type"),
        ] {
            let told = read::<Compress>(&settings).unwrap_err();
            assert!(told[0].contains(wrong), "{settings}: {told:?}");
        }
    }
}
