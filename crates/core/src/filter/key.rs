//! What limits count by: `"client-ip"`, `"header:NAME"`, `["client-ip", "path"]`, or all requests together.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{FilterCx, RequestView};
use crate::balance::HashKey;
use crate::document::{Decode, Faults, Json, Node, Value, expect_text};
use crate::route::RequestHead;

/// Parts of a key.
const PARTS_MAX: usize = 8;

/// All requests count together.
const ALL: &str = "all";

const FORMS: &str = "client-ip, header:NAME, cookie:NAME, query:NAME, path, host or all";

/// The parts of a request that limits count by. Without any, all requests count together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key(Vec<HashKey>);

impl Key {
    /// The client, which is what is meant when nothing is said.
    pub(super) fn client() -> Self {
        Key(vec![HashKey::ClientIp])
    }

    /// The hash of the key, as filters have left the request; `None` when a part of it is not there.
    pub(super) fn hash(&self, seed: u64, head: &RequestView<'_>, cx: &FilterCx<'_>) -> Option<u64> {
        let fields = head.fields();
        let head = RequestHead {
            path: head.path(),
            fields: &fields,
            ..head.asked.head()
        };
        self.0.iter().try_fold(seed, |seed, part| {
            part.read(&head, cx.client, |bytes| xxh3_64_with_seed(bytes, seed))
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return out.write_str(ALL);
        }
        let parts: Vec<String> = self.0.iter().map(HashKey::text).collect();
        out.write_str(&parts.join(" and "))
    }
}

impl Decode for Key {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let parts = match &node.value {
            Value::Array(parts) => parts.as_slice(),
            _ if expect_text(node, "", &mut Faults::default()) == Some(ALL) => return Some(Key(Vec::new())),
            _ => std::slice::from_ref(node),
        };
        if parts.is_empty() || parts.len() > PARTS_MAX {
            faults
                .error(node.span, format!("a key has one to {PARTS_MAX} parts"))
                .help(format!("write \"{ALL}\" when all requests count together"));
            return None;
        }
        let read = parts.iter().map(|part| read(part, faults)).collect::<Vec<_>>();
        read.into_iter().collect::<Option<Vec<_>>>().map(Key)
    }

    fn schema() -> Json {
        let part = serde_json::json!({
            "type": "string", "pattern": "^(client-ip|path|host|(header|cookie|query):.+)$"
        });
        serde_json::json!({
            "anyOf": [{ "const": ALL }, part, { "type": "array", "items": part, "minItems": 1 }]
        })
    }
}

fn read(node: &Node, faults: &mut Faults) -> Option<HashKey> {
    let text = expect_text(node, "a key, like \"client-ip\"", faults)?;
    let part = HashKey::parse(text).filter(|part| !matches!(part, HashKey::Sni | HashKey::FiveTuple));
    if part.is_none() {
        faults
            .error(
                node.span,
                format!("\"{text}\" is not a key that requests are counted by"),
            )
            .help(format!("known here: {FORMS}"));
    }
    part
}
