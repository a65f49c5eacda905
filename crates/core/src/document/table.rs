//! What the declarations of [`document!`](crate::document!) and [`words!`](crate::words!) expand to calls of.

use serde_json::{Map, Value as Json, json};

use super::{Decode, Entry, Faults, Node, expect_text, nearest};

/// `r#match` → `match`.
pub const fn plain(name: &'static str) -> &'static str {
    let bytes = name.as_bytes();
    if bytes.len() > 2 && bytes[0] == b'r' && bytes[1] == b'#' {
        name.split_at(2).1
    } else {
        name
    }
}

/// Adds an error for every key that is neither known nor left for later.
pub fn refuse_unknown(entries: &[Entry], known: &[&str], later: &[&str], faults: &mut Faults) {
    for entry in entries {
        let key = entry.key.as_str();
        if known.contains(&key) {
            continue;
        }
        if later.contains(&key) {
            faults
                .not_built(entry.key_span, &format!("`{key}`"))
                .help("take the key out to go on without it");
            continue;
        }
        let fault = faults.error(entry.key_span, format!("unknown key `{key}`"));
        // Of words that are as near, the first: one that is built.
        let known_here = || match known {
            [] => "no other keys are known here".to_owned(),
            known => format!("known here: {}", known.join(", ")),
        };
        fault.help(match nearest(key, known.iter().chain(later).copied()) {
            Some(word) if later.contains(&word) => {
                format!("`{word}` is the nearest, and is not built yet; {}", known_here())
            }
            Some(word) => format!("did you mean `{word}`?"),
            None => known_here(),
        });
    }
}

/// The value of a key that was left out, or an error that the key is required.
pub fn absent_or_fault<T: Decode>(node: &Node, key: &str, faults: &mut Faults) -> Option<T> {
    let value = T::absent();
    if value.is_none() {
        faults.error(node.span, format!("the key `{key}` is missing"));
    }
    value
}

/// The word of `known` that `node` holds, or an error with the nearest one.
pub fn expect_word<'a>(node: &'a Node, known: &[&str], later: &[&str], faults: &mut Faults) -> Option<&'a str> {
    let text = expect_text(node, &format!("one of {}", quoted(known)), faults)?;
    if known.contains(&text) {
        return Some(text);
    }
    if later.contains(&text) {
        faults
            .not_built(node.span, &format!("\"{text}\""))
            .help(format!("what there is: {}", quoted(known)));
        return None;
    }
    let fault = faults.error(node.span, format!("unknown word \"{text}\""));
    let known_here = quoted(known);
    fault.help(match nearest(text, known.iter().chain(later).copied()) {
        Some(word) if later.contains(&word) => {
            format!("\"{word}\" is the nearest, and is not built yet; known here: {known_here}")
        }
        Some(word) => format!("did you mean \"{word}\"? Known here: {known_here}"),
        None => format!("known here: {known_here}"),
    });
    None
}

/// `"a", "b"`.
pub fn quoted(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("\"{word}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

/// `schema` with the doc comment's lines as its description.
pub fn described(mut schema: Json, doc: &[&str]) -> Json {
    let text = doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    if let (Json::Object(map), false) = (&mut schema, text.is_empty()) {
        map.insert("description".into(), text.into());
    }
    schema
}

/// `properties` with one more key.
pub fn with_property(mut properties: Map<String, Json>, key: &str, schema: Json, doc: &[&str]) -> Map<String, Json> {
    properties.insert(key.to_owned(), described(schema, doc));
    properties
}

/// The schema of a table that admits no other keys.
pub fn table_schema(properties: Map<String, Json>, doc: &[&str]) -> Json {
    let properties = Json::Object(properties);
    described(
        json!({ "type": "object", "properties": properties, "additionalProperties": false }),
        doc,
    )
}

/// `schema` with the list of the keys that may not be left out.
pub fn with_required(mut schema: Json, keys: &[(&str, bool)]) -> Json {
    let required: Vec<&str> = keys
        .iter()
        .filter(|(_, required)| *required)
        .map(|(key, _)| *key)
        .collect();
    if let (Json::Object(map), false) = (&mut schema, required.is_empty()) {
        map.insert("required".into(), required.into());
    }
    schema
}

/// The schema of one of several words.
pub fn words_schema(words: &[&str]) -> Json {
    json!({ "type": "string", "enum": words })
}
