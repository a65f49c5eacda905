//! Calls that make backends and routes, and remove what was made so.

use serde_json::{Value, json};

use super::*;

pub(super) fn add_backend(pool: &Value) -> Value {
    let mut call = making(
        "Add a backend to a pool: it lasts as long as the process.",
        "BackendEntry",
        "Backend",
    );
    call["parameters"] = json!([pool]);
    call["responses"]["404"] = refusal("No such pool.");
    call
}

pub(super) fn add_route() -> Value {
    making(
        "Add a route behind those of the file: it lasts as long as the process.",
        "RouteEntry",
        "Route",
    )
}

pub(super) fn remove_backend(pool: &Value, backend: &Value) -> Value {
    let mut call = removing(
        "Remove a backend that was added here: it drains first.",
        "No such pool or backend.",
    );
    let timeout = json!({
        "name": "timeout", "in": "query", "required": false, "example": "60s",
        "description": "How long it keeps the work that it has.",
        "schema": { "type": "string", "pattern": "^[0-9]{1,6}(ms|s|m|h)$" },
    });
    call["parameters"] = json!([pool, backend, timeout]);
    call["responses"]["202"] = answer(
        "The backend as it drains; it is removed once it has nothing left.",
        "application/json",
        &of("Backend"),
    );
    call["responses"]["400"] = refusal("The timeout is none.");
    call
}

pub(super) fn remove_route() -> Value {
    let mut call = removing("Remove a route that was added here.", "No such route.");
    call["parameters"] = json!([parameter("route", "The route's name.")]);
    call["responses"]["400"] = refusal("It takes no query.");
    call
}

fn making(summary: &str, entry: &str, made: &str) -> Value {
    let mut created = answer("It as it stands then.", "application/json", &of(made));
    created["headers"] = json!({ "Location": { "description": "Where it is.", "schema": text() } });
    json!({
        "summary": summary,
        "requestBody": { "required": true, "content": { "application/json": { "schema": of(entry) } } },
        "responses": {
            "201": created,
            "400": refusal("The body does not say one that fits the configuration, with all `errors`."),
            "401": refusal("The token is missing or wrong."),
            "403": refusal("The Host or the Origin is not ours, or the token only reads."),
            "409": refusal("There is one like it, or there are too many."),
            "413": refusal("The body is too large."),
            "415": refusal("The body is not application/json."),
            "500": refusal("An error of our own."),
            "503": refusal("The node is being shut down."),
        },
    })
}

fn removing(summary: &str, unknown: &str) -> Value {
    json!({
        "summary": summary,
        "responses": {
            "204": { "description": "It is removed." },
            "401": refusal("The token is missing or wrong."),
            "403": refusal("The Host or the Origin is not ours, or the token only reads."),
            "404": refusal(unknown),
            "409": refusal("The configuration's file has it, and keeps it."),
            "500": refusal("An error of our own."),
            "503": refusal("The node is being shut down."),
        },
    })
}

/// Where what runs and what the file says differ.
pub(super) fn differs() -> Value {
    let list = |item: Value| json!({ "type": "array", "items": item });
    let mut addition = object(&json!({ "leaving": { "type": "boolean" }, "set_aside": or_null("string") }));
    addition["anyOf"] = json!([
        object(&json!({ "pool": text(), "backend": text() })),
        object(&json!({ "route": text() })),
    ]);
    object(&json!({
        "backends": list(object(&json!({
            "pool": text(), "backend": text(), "state": { "enum": ["drain", "maintenance", null] },
            "weight": or_null("integer"),
        }))),
        "routes": list(object(&json!({ "route": text(), "maintenance": or_null("boolean"), "split": { "type": "boolean" } }))),
        "additions": list(addition),
        "file_changed": { "type": "boolean", "description": "Whether the files are others than those that were read." },
    }))
}
