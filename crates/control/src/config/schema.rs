//! The JSON Schema of the whole configuration, from the schemas of its parts.

use plimsoll_core::document::{Decode, Json};
use serde_json::json;

use super::file::File;

/// A text with an environment variable in it, which stands for what nobody knows before it is filled in.
const HOLDS_VARIABLE: &str = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}";

/// The JSON Schema (draft 2020-12) of the whole configuration.
pub fn schema() -> Json {
    let mut schema = File::schema();
    admit_variables(&mut schema);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "Plimsoll configuration".into();
    schema
}

/// Lets `schema` and all parts of it take variables where values of their kind may be.
fn admit_variables(schema: &mut Json) {
    for tables in ["properties", "additionalProperties", "items", "anyOf"] {
        match schema.get_mut(tables) {
            Some(Json::Array(forms)) => forms.iter_mut().for_each(admit_variables),
            Some(Json::Object(parts)) if tables == "properties" => parts.values_mut().for_each(admit_variables),
            Some(part @ Json::Object(_)) => admit_variables(part),
            _ => {}
        }
    }
    if let Some(Json::String(pattern)) = schema.get_mut("pattern") {
        *pattern = format!("{pattern}|{HOLDS_VARIABLE}");
        return;
    }
    // A number or a boolean is one variable and nothing else.
    let alone = format!("^{HOLDS_VARIABLE}$");
    let scalar = matches!(schema["type"].as_str(), Some("integer" | "number" | "boolean"));
    let form = json!({ "type": "string", "pattern": if scalar { &alone } else { HOLDS_VARIABLE } });
    let words = ["enum", "const"]
        .into_iter()
        .find(|key| scalar && schema.get(key).is_some() || is_words(schema.get(key)));
    if let Some(key) = words {
        // What lists its values lists them all: the variable is another form of it.
        let mut listed = json!({});
        for key in ["type", key] {
            if let Some(value) = schema.as_object_mut().and_then(|schema| schema.remove(key)) {
                listed[key] = value;
            }
        }
        schema["anyOf"] = json!([listed, form]);
    } else if scalar {
        schema["type"] = json!([schema["type"], "string"]);
        schema["pattern"] = alone.into();
    }
}

/// Whether `listed`, under `enum` or `const`, is text.
fn is_words(listed: Option<&Json>) -> bool {
    match listed {
        Some(Json::Array(words)) => words.iter().all(Json::is_string),
        Some(word) => word.is_string(),
        None => false,
    }
}
