//! Calls that change something.

use plimsoll_core::document::Decode;
use serde_json::{Value, json};

use super::super::change::{Change, RouteChange, ShiftAsked};
use super::*;
use crate::shifts::Stand;

pub(super) fn change(pool: &Value, backend: &Value) -> Value {
    json!({
        "summary": "Change a backend; what is set holds until it is undone.",
        "parameters": [pool, backend],
        "requestBody": { "required": true, "content": { "application/json": { "schema": of("Change") } } },
        "responses": {
            "200": answer("The backend as it stands then.", "application/json", &of("Backend")),
            "400": refusal("The body is no such change."),
            "401": refusal("The token is missing or wrong."),
            "403": refusal("The Host or the Origin is not ours."),
            "404": refusal("No such pool or backend."),
            "413": refusal("The body is too large."),
            "415": refusal("The body is not application/json."),
        },
    })
}

pub(super) fn change_all(pool: &Value) -> Value {
    let mut call = change(pool, &Value::Null);
    call["summary"] = "Change all backends of a pool at once; what is set holds until it is undone.".into();
    call["parameters"] = json!([pool]);
    call["responses"]["200"] = answer("The pool as it stands then.", "application/json", &of("Pool"));
    call["responses"]["404"] = refusal("No such pool.");
    call
}

pub(super) fn route_change() -> Value {
    json!({
        "summary": "Share a route's requests out over the pools of its split, in one swap; close it for maintenance, or open it.",
        "parameters": [parameter("route", "The route's name.")],
        "requestBody": { "required": true, "content": { "application/json": { "schema": of("RouteChange") } } },
        "responses": {
            "200": answer("The route as it stands then.", "application/json", &of("Route")),
            "400": refusal("The body is no such change, or the route has no such split."),
            "401": refusal("The token is missing or wrong."),
            "403": refusal("The Host or the Origin is not ours."),
            "404": refusal("No such route."),
            "413": refusal("The body is too large."),
            "415": refusal("The body is not application/json."),
        },
    })
}

/// A call that loads another configuration, which is in its `body` unless it is in a file.
pub(super) fn load(summary: &str, body: Option<Value>) -> Value {
    let dry_run = json!({
        "name": "dry_run", "in": "query", "required": false, "schema": { "type": "boolean" },
        "description": "Whether it is only judged: nothing changes.",
    });
    let texts = json!({ "type": "array", "items": text() });
    let reloaded = object(&json!({
        "result": { "const": "ok" },
        "dry_run": { "type": "boolean" },
        "generation": count(),
        "warnings": texts,
        "needs_restart": texts,
    }));
    let mut call = json!({
        "summary": summary,
        "parameters": [dry_run],
        "responses": {
            "200": answer("What was, or would be, done.", "application/json", &reloaded),
            "400": refusal("The query or the body is wrong, with all `errors` and their places. Nothing has changed."),
            "401": refusal("The token is missing or wrong."),
            "403": refusal("The Host or the Origin is not ours."),
            "409": refusal("An address cannot be bound, or there is no file. Nothing has changed."),
            "500": refusal("An error of our own."),
            "503": refusal("The node is being shut down. Nothing has changed."),
        },
    });
    match body {
        Some(body) => {
            call["requestBody"] = body;
            call["responses"]["413"] = refusal("The body is too large.");
            call["responses"]["429"] = refusal("Too many such bodies are being read.");
            call["responses"]["415"] = refusal("The body is of no type that is known.");
        }
        None => call["responses"]["422"] = refusal("The file is wrong, with all `errors`. Nothing has changed."),
    }
    call
}

pub(super) fn configuration() -> Value {
    let document = json!({ "schema": { "type": ["object", "string"] } });
    json!({ "required": true, "content": {
        "application/toml": document, "application/json": document, "application/yaml": document,
    } })
}

/// A change names something to change, and a timeout only with a drain.
pub(super) fn change_schema() -> Value {
    let mut schema = Change::schema();
    schema["anyOf"] = json!([{ "required": ["weight"] }, { "required": ["state"] }]);
    let drain = json!({ "required": ["state"], "properties": { "state": { "const": "drain" } } });
    schema["dependentSchemas"] = json!({ "timeout": drain });
    schema["properties"]["timeout"]["pattern"] = r"^[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h)$".into();
    schema
}

pub(super) fn upgrade() -> Value {
    let before = object(&json!({ "pid": count(), "connections": count() }));
    let upgraded = object(&json!({ "pid": count(), "before": before }));
    json!({
        "summary": "Have another process take over: of the binary that is in place now, with the configuration as it is now.",
        "responses": {
            "200": answer("Another process serves, and this one drains.", "application/json", &upgraded),
            "401": refusal("The token is missing or wrong."),
            "403": refusal("The Host or the Origin is not ours."),
            "409": refusal("An upgrade is under way, or this process is draining."),
            "502": refusal("The new process has failed; this one goes on."),
        },
    })
}

pub(super) fn shift_begin() -> Value {
    let mut call = route_change();
    call["summary"] = "Shift a route's split little by little, and back at once when it does badly.".into();
    call["requestBody"]["content"]["application/json"]["schema"] = of("ShiftAsked");
    call["responses"]["400"] = refusal("The body is no such shift, or the route has no such split.");
    call
}

pub(super) fn shift_cancel() -> Value {
    json!({
        "summary": "Take the shift that is under way back: the weights are what they were.",
        "parameters": [parameter("route", "The route's name.")],
        "responses": {
            "200": answer("The route as it stands then.", "application/json", &of("Route")),
            "401": refusal("The token is missing or wrong."),
            "403": refusal("The Host or the Origin is not ours."),
            "404": refusal("No such route."),
            "409": refusal("No shift of this route is under way."),
        },
    })
}

pub(super) fn shift_asked_schema() -> Value {
    let mut schema = ShiftAsked::schema();
    schema["required"] = json!(["to"]);
    schema["properties"]["to"]["minItems"] = 1.into();
    schema
}

/// The last shift of a route.
pub(super) fn shift() -> Value {
    let parts = || json!({ "type": "array", "items": object(&json!({ "pool": text(), "weight": count() })) });
    object(&json!({
        "id": { "type": "integer", "minimum": 1, "description": "Another one is another shift." },
        "state": { "enum": Stand::WORDS },
        "why": or_null("string"),
        "percent": { "type": "number", "minimum": 0, "maximum": 100, "description": "How much of it is done." },
        "before": parts(),
        "to": parts(),
        "over_s": count(),
        "abort_if": { "type": "array", "items": text() },
        "watched_s": { "type": "integer", "minimum": 0, "description": "How long it is watched once it is there." },
    }))
}

pub(super) fn route_change_schema() -> Value {
    let mut schema = RouteChange::schema();
    schema["anyOf"] = json!([{ "required": ["split"] }, { "required": ["maintenance"] }]);
    schema
}
