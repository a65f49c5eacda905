//! The JSON Schema takes what `check` takes.

use plimsoll_core::document::Json;
use plimsoll_core::route::PathMatch;

use super::super::{load, schema};
use super::documents::samples;
use super::includes::Directory;
use super::{SOUND, told, toml};

#[test]
fn the_schema_takes_every_configuration_of_the_documents() {
    let schema = schema();
    let mut seen = 0;
    for text in samples().into_iter().chain([SOUND.to_owned()]) {
        seen += 1;
        assert_eq!(refused(&text, &schema), None, "{text}");
    }
    assert!(seen > 20);
}

#[test]
fn the_schema_takes_variables_where_check_takes_them() {
    let directory = Directory::new();
    let schema = schema();
    for (text, value) in [
        ("server.workers = \"${X}\"", "2"),
        ("server.expose_reason = \"${X}\"", "false"),
        ("server.drain_timeout = \"${X}s\"", "2"),
        ("server.drain_timeout = \"${X}\"", "2s"),
        ("log.level = \"${X}\"", "debug"),
        ("admin.bind = \"127.0.0.1:${X}\"", "1"),
        ("[[routes]]\nname = \"${X}\"\npool = \"api\"", "x"),
        ("[[routes]]\nmatch = { path = \"${X}\" }\npool = \"api\"", "/x"),
        ("[[routes]]\nmatch = { path_regex = \"${X}\" }\npool = \"api\"", "/x"),
        ("[[routes]]\nredirect = { scheme = \"htt${X}\" }", "ps"),
        ("[[routes]]\nredirect = { path = \"${X}\" }", "/x"),
        ("[[routes]]\nredirect = { port = 1, status = \"${X}\" }", "301"),
        ("[[routes]]\nretry = { attempts = \"${X}\" }\npool = \"api\"", "2"),
        ("[[routes]]\nretry = { on = [\"50${X}\"] }\npool = \"api\"", "3"),
        (
            "[pools.x]\nbackends = [\"10.0.0.1:${X}\"]\nhealth = { http = \"/\", expect = [\"${X}\"] }",
            "200",
        ),
        (
            "[pools.x]\nbackends = [\"10.0.0.1:1\"]\npolicy = { kind = \"${X}\", key = \"header:${X}\" }",
            "maglev",
        ),
        (
            "[pools.x]\nbackends = [\"10.0.0.1:1\"]\npolicy = { kind = \"maglev\", load_factor = \"${X}\" }",
            "1.5",
        ),
        ("[pools.x]\nbackends = [\"10.0.0.1:1\"]\npolicy = \"${X}\"", "random"),
    ] {
        let text = format!("{text}\n{SOUND}");
        let path = directory.write("plimsoll.toml", &text);
        let loaded = load(&path, &|name| (name == "X").then(|| value.to_owned()));
        assert!(loaded.is_ok(), "{:#?}", told(&loaded));
        assert_eq!(refused(&text, &schema), None, "{text}");
    }
}

#[test]
fn the_schema_takes_what_check_takes_in_more_than_one_spelling() {
    let schema = schema();
    for text in [
        "server.drain_timeout = \"2  s\"",
        "[[routes]]\nmatch = { path_regex = \"(?i)/(?P<name>x)\" }\npool = \"api\"",
        "[pools.x]\nbackends = [\"10.0.0.1:1\"]\nhealth = { http = \"/\", expect = [\"200 - 299\", 404] }",
        "[pools.x]\nbackends = [\"10.0.0.1:1\"]\npolicy = { kind = \"consistent-hash\", key = \"path\" }",
        "[pools.x]\nbackends = [\"10.0.0.1:1\"]\nhealth = false\noutlier = false",
    ] {
        let text = format!("{text}\n{SOUND}");
        assert!(toml(&text).is_ok(), "{:#?}", told(&toml(&text)));
        assert_eq!(refused(&text, &schema), None, "{text}");
    }
}

#[test]
fn the_schema_refuses_what_is_plainly_wrong() {
    let schema = schema();
    for text in [
        "server.max_connections = \"${X}0\"",
        "server.workers = 0",
        "server.expose_reason = \"yes\"",
        "server.drain_timeout = \"2\"",
        "log.level = \"inof\"",
        "[[routes]]\nmatch = { path = \"x\" }\npool = \"api\"",
        "[[routes]]\nredirect = { path = \"/x\", status = 200 }",
        "[pools.x]\nbackends = [\"10.0.0.1:1\"]\npolicy = { kind = \"maglev\", key = \"snj\" }",
        "[pools.x]\nbackends = [\"10.0.0.1:1\"]\npolicy = { load_factor = 1.5 }",
        "[pools.x]\nbackends = []",
        "[pools.x]\nhealth = true",
    ] {
        let text = format!("{text}\n{SOUND}");
        assert!(refused(&text, &schema).is_some(), "{text}");
    }
}

/// Why `schema` refuses the TOML `text`, its variables as they are written.
fn refused(text: &str, schema: &Json) -> Option<String> {
    let document: Json = ::toml::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    fault(&document, schema).err()
}

/// As a validator does it: as much of JSON Schema as ours is written in; a keyword beyond that is an error.
fn fault(value: &Json, schema: &Json) -> Result<(), String> {
    let rules = schema.as_object().ok_or("a schema is an object")?;
    for (keyword, rule) in rules {
        let holds = match keyword.as_str() {
            "$schema" | "title" | "description" | "examples" => true,
            "type" => match rule {
                Json::Array(kinds) => kinds.iter().any(|kind| is_kind(value, kind)),
                kind => is_kind(value, kind),
            },
            "enum" => rule.as_array().is_some_and(|listed| listed.contains(value)),
            "const" => rule == value,
            "pattern" => value
                .as_str()
                .is_none_or(|text| is_found(rule.as_str().unwrap_or("("), text)),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            "maxLength" => within(value.as_str().map(|text| text.chars().count()), 0, rule),
            "minItems" => within(value.as_array().map(Vec::len), usize::MAX, rule),
            "minProperties" => within(value.as_object().map(|map| map.len()), usize::MAX, rule),
            "maxProperties" => within(value.as_object().map(|map| map.len()), 0, rule),
            "required" => (rule.as_array().unwrap().iter()).all(|key| {
                value
                    .as_object()
                    .is_none_or(|map| map.contains_key(key.as_str().unwrap()))
            }),
            "anyOf" => rule.as_array().unwrap().iter().any(|form| fault(value, form).is_ok()),
            "items" => value
                .as_array()
                .into_iter()
                .flatten()
                .try_for_each(|item| fault(item, rule))
                .map(|()| true)?,
            "properties" | "additionalProperties" => true,
            other => return Err(format!("what is the keyword {other}?")),
        };
        if !holds {
            return Err(format!("{value} breaks {keyword}: {rule}"));
        }
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        match (schema["properties"].get(key), &schema["additionalProperties"]) {
            (Some(part), _) => fault(value, part)?,
            (None, Json::Bool(false)) => return Err(format!("unknown key {key}")),
            (None, Json::Null) => {}
            (None, part) => fault(value, part)?,
        }
    }
    Ok(())
}

fn is_kind(value: &Json, kind: &Json) -> bool {
    match kind.as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    }
}

/// Whether a size keeps to `rule`: at most that much when `least` is 0, at least that much otherwise.
fn within(size: Option<usize>, least: usize, rule: &Json) -> bool {
    let limit = usize::try_from(rule.as_u64().unwrap()).unwrap();
    size.is_none_or(|size| if least == 0 { size <= limit } else { size >= limit })
}

/// Whether `pattern` is found anywhere in `text`, as patterns of JSON Schema are.
fn is_found(pattern: &str, text: &str) -> bool {
    match PathMatch::regex(&format!("(?s:.*)(?:{pattern})(?s:.*)")) {
        Ok(PathMatch::Regex(regex)) => regex.is_match(text),
        _ => panic!("{pattern} is no expression"),
    }
}
