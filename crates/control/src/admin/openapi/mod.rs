//! The description of the API, in its own words (OpenAPI 3.1). It tells what is there, and nothing that is not.

mod additions;
mod changes;

use plimsoll_core::health::State;
use plimsoll_core::outcome::Reason;
use serde_json::{Value, json};

use super::decisions::LIMIT_MAX;
use super::stats::{self, SORTS};
use crate::config::{backend_schema, route_schema};
use crate::events::EVENTS_MAX;

/// `GET /api/v1/openapi.json`.
pub(super) async fn document() -> axum::Json<Value> {
    axum::Json(describe())
}

/// The whole description.
pub(super) fn describe() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Plimsoll admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "How this node and its pools stand, and what operators may change.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths(),
        "components": {
            "schemas": {
                "Status": status(),
                "Stats": stats_schema(),
                "Pool": pool(),
                "Backend": backend(),
                "BackendEntry": backend_schema(),
                "RouteEntry": route_schema(),
                "Change": changes::change_schema(),
                "RouteChange": changes::route_change_schema(),
                "ShiftAsked": changes::shift_asked_schema(),
                "Shift": changes::shift(),
                "Route": route(),
                "Decision": decision(),
                "TakenDecision": taken_decision(true),
                "TakenSummary": taken_decision(false),
                "Problem": problem(),
            },
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "token": [] }],
    })
}

fn paths() -> Value {
    let pool = parameter("pool", "The pool's name.");
    let backend = parameter("address", "The backend's name, or its address and port.");
    let pools = json!({ "type": "array", "items": of("Pool") });
    let routes = json!({ "type": "array", "items": of("Route") });
    let mut one_pool = get("One pool and its backends.", "application/json", &of("Pool"));
    one_pool["get"]["parameters"] = json!([pool]);
    one_pool["get"]["responses"]["404"] = refusal("No such pool.");
    one_pool["patch"] = changes::change_all(&pool);
    json!({
        "/": open(get("The dashboard.", "text/html", &text()), true),
        "/healthz": open(get("200 for as long as the process runs.", "text/plain", &text()), true),
        "/readyz": readyz(),
        "/metrics": open(get("Metrics for Prometheus, or as OpenMetrics.", "text/plain", &text()), false),
        "/api/v1/openapi.json": get("This description.", "application/json", &json!({ "type": "object" })),
        "/api/v1/status": get("How this node stands.", "application/json", &of("Status")),
        "/api/v1/stats": stats_call(),
        "/api/v1/pools": get("All pools and their backends.", "application/json", &pools),
        "/api/v1/pools/{pool}": one_pool,
        "/api/v1/pools/{pool}/backends/{address}": {
            "patch": changes::change(&pool, &backend),
            "delete": additions::remove_backend(&pool, &backend),
        },
        "/api/v1/pools/{pool}/backends": { "post": additions::add_backend(&pool) },
        "/api/v1/explain": explain(),
        "/api/v1/events": events(),
        "/api/v1/decisions": decisions(),
        "/api/v1/decisions/{request_id}": one_decision(),
        "/api/v1/reload": { "post": changes::load("Read the configuration's file again, and serve what it says.", None) },
        "/api/v1/config": { "put": changes::load("Serve what the body says.", Some(changes::configuration())) },
        "/api/v1/routes/{route}": { "patch": changes::route_change(), "delete": additions::remove_route() },
        "/api/v1/upgrade": { "post": changes::upgrade() },
        "/api/v1/routes/{route}/shift": { "post": changes::shift_begin(), "delete": changes::shift_cancel() },
        "/api/v1/routes": routes_call(&routes),
    })
}

fn routes_call(routes: &Value) -> Value {
    let mut call = get(
        "All routes, in the order of the file, and then those that were made here.",
        "application/json",
        routes,
    );
    call["post"] = additions::add_route();
    call
}

fn readyz() -> Value {
    let mut call = open(get("200 while this node takes work.", "text/plain", &text()), true);
    call["get"]["responses"]["503"] = refusal("It drains, or the first health checks have not finished.");
    call
}

fn stats_call() -> Value {
    let mut call = get(
        "What the dashboard draws: sums since the start by listener, route and pool, and a page of a pool's backends.",
        "application/json",
        &of("Stats"),
    );
    let query = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema });
    call["get"]["parameters"] = json!([
        query("pool", "Whose backends are wanted; without it, nobody's.", text()),
        query("filter", "Those whose name, address or state contains this.", text()),
        query(
            "sort",
            "By what they are ordered.",
            json!({ "enum": SORTS.map(|(word, _)| word) })
        ),
        query("offset", "How many stand before the page.", count()),
        query(
            "limit",
            "How many stand on it.",
            json!({ "type": "integer", "minimum": 1, "maximum": stats::LIMIT_MAX })
        ),
    ]);
    call["get"]["responses"]["400"] = refusal("The question cannot be understood.");
    call["get"]["responses"]["404"] = refusal("No such pool.");
    call
}

fn stats_schema() -> Value {
    let counts = || json!({ "type": "array", "items": count() });
    let listener = object(&json!({
        "name": text(), "requests": count(), "errors": count(), "connections": count(), "accepted": count(),
        "bytes_in": count(), "bytes_out": count(),
    }));
    let route = object(&json!({ "name": text(), "requests": count(), "errors": count(), "buckets": counts() }));
    let uneven = object(&json!({
        "backend": text(), "share_percent": { "type": "number" }, "fair_percent": { "type": "number" }, "words": text(),
    }));
    let pool = object(&json!({
        "name": text(), "requests": count(), "errors": count(), "buckets": counts(), "policy": text(),
        "panicking": { "type": "boolean" }, "waiting": count(), "queue": count(), "backends": count(),
        "states": { "type": "object" }, "in_flight": count(), "load_line": count(),
        "uneven": { "type": "array", "items": uneven },
    }));
    let mut stats = object(&json!({
        "now_ms": count(),
        "buckets_ms": { "type": "array", "items": { "type": "number" }, "description": "Upper bounds; what is above all comes last in `buckets`." },
        "listeners": { "type": "array", "items": listener },
        "routes": { "type": "array", "items": route },
        "pools": { "type": "array", "items": pool },
        "failures": { "type": "object", "additionalProperties": count() },
        "status": of("Status"),
        "may_write": { "type": "boolean", "description": "Whether the caller's token allows changes." },
    }));
    stats["properties"]["backends"] = object(&json!({
        "pool": text(), "all": count(), "found": count(), "offset": count(),
        "page": { "type": "array", "items": of("Backend") },
    }));
    stats
}

fn decisions() -> Value {
    let summaries = json!({ "type": "array", "items": of("TakenSummary") });
    let mut call = get(
        "Decisions that were taken of late, the newest first: all failures, and a sample of the others.",
        "application/json",
        &summaries,
    );
    let query = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema });
    let words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.word()).collect();
    call["get"]["parameters"] = json!([
        query("route", "Those by this route.", text()),
        query("pool", "Those of this pool, or that it could not serve.", text()),
        query("backend", "Those that tried the backend of this name.", text()),
        query("reason", "Those with this reason.", json!({ "enum": words })),
        query("failed", "Failures alone.", json!({ "type": "boolean" })),
        query(
            "limit",
            "How many.",
            json!({ "type": "integer", "minimum": 1, "maximum": LIMIT_MAX })
        ),
    ]);
    call["get"]["responses"]["400"] = refusal("The question cannot be understood.");
    call["get"]["responses"]["404"] = refusal("No such route, pool or reason.");
    call
}

fn one_decision() -> Value {
    let mut call = get(
        "What became of a request, and why.",
        "application/json",
        &of("TakenDecision"),
    );
    call["get"]["parameters"] = json!([parameter("request_id", "The request's id.")]);
    call["get"]["responses"]["404"] = refusal("Nothing is kept of it.");
    call
}

/// One that was taken, with its steps or without.
fn taken_decision(whole: bool) -> Value {
    let mut properties = json!({
        "request_id": text(),
        "at": time(),
        "client": text(),
        "protocol": text(),
        "method": or_null("string"),
        "host": or_null("string"),
        "path": or_null("string"),
        "listener": or_null("string"),
        "route": or_null("string"),
        "pool": or_null("string"),
        "backend": or_null("string"),
        "status": count(),
        "reason": or_null("string"),
        "duration_ms": { "type": "number", "minimum": 0 },
        "queue_ms": { "type": "number", "minimum": 0 },
        "attempts": { "type": "array", "items": { "type": "object", "required": ["backend", "ms"] } },
    });
    if whole {
        properties["generation"] = count();
        properties["steps"] = decision()["properties"]["steps"].clone();
    }
    object(&properties)
}

/// A stream has no schema that a document could be held against.
fn events() -> Value {
    let mut call = get(
        "What happens, as it happens: server-sent events. It does not end by itself.",
        "text/event-stream",
        &text(),
    );
    call["get"]["parameters"] = json!([
        {
            "name": "last",
            "in": "query",
            "required": false,
            "description": "How many of the last events are told first.",
            "schema": { "type": "integer", "minimum": 0, "maximum": EVENTS_MAX },
        },
        {
            "name": "Last-Event-ID",
            "in": "header",
            "required": false,
            "description": "The id of the last event that was read: what came after it is told first.",
            "schema": { "type": "string", "pattern": "^[0-9a-f]{1,16}-[0-9]{1,19}$" },
        },
    ]);
    call["get"]["responses"]["400"] = refusal("The question cannot be understood.");
    call["get"]["responses"]["503"] = refusal("Too many follow already.");
    call
}

fn explain() -> Value {
    let mut call = get(
        "What a request would get now, and why. Nothing is sent.",
        "application/json",
        &of("Decision"),
    );
    call["get"]["responses"]["400"] = refusal("The question cannot be understood.");
    call["get"]["responses"]["404"] = refusal("No listener takes such a request.");
    let query = |name: &str, required: bool, description: &str, schema: Value| json!({ "name": name, "in": "query", "required": required, "description": description, "schema": schema });
    let url = json!({ "type": "string", "format": "uri", "pattern": "^(https?|tcp|tls)://[a-z0-9]" });
    let method = json!({ "type": "string", "pattern": "^[A-Za-z]+$" });
    let client = json!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] });
    let header = json!({ "type": "string", "pattern": "^[A-Za-z0-9-]+: ?[ -~]*$" });
    let headers = json!({ "type": "array", "items": header });
    let texts = json!({ "type": "array", "items": text() });
    call["get"]["parameters"] = json!([
        query(
            "url",
            true,
            "http://HOST[:PORT]/PATH, https:// or tls:// to listeners that pass TLS through, or tcp://HOST:PORT.",
            url
        ),
        query("method", false, "GET unless given.", method),
        query("client", false, "The client's address; this host unless given.", client),
        query(
            "header",
            false,
            "A header field, `name: value`; once for each.",
            headers
        ),
        query(
            "alpn",
            false,
            "A protocol that is offered within TLS; once for each.",
            texts
        ),
        query(
            "listener",
            false,
            "The listener; found by the URL unless given.",
            text()
        ),
    ]);
    call
}

fn decision() -> Value {
    object(&json!({
        "listener": or_null("string"),
        "route": or_null("string"),
        "pool": or_null("string"),
        "backend": or_null("string"),
        "reason": or_null("string"),
        "steps": { "type": "array", "items": object(&json!({
            "stage": text(),
            "subject": text(),
            "verdict": text(),
            "why": text(),
        })) },
    }))
}

fn get(summary: &str, media: &str, schema: &Value) -> Value {
    json!({ "get": {
        "summary": summary,
        "responses": {
            "200": answer("So it is.", media, schema),
            "401": refusal("The token is missing or wrong."),
            "403": refusal("The Host or the Origin is not ours."),
        },
    } })
}

/// A call that is not about data; `free` ones need no token.
fn open(mut call: Value, free: bool) -> Value {
    if let (true, Some(object)) = (free, call["get"].as_object_mut()) {
        object.insert("security".into(), json!([]));
        if let Some(responses) = object["responses"].as_object_mut() {
            responses.retain(|status, _| status == "200");
        }
    }
    call
}

fn answer(description: &str, media: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { media: { "schema": schema } } })
}

fn refusal(description: &str) -> Value {
    answer(description, "application/problem+json", &of("Problem"))
}

fn of(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn parameter(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": text() })
}

/// An object whose every property is always there.
fn object(properties: &Value) -> Value {
    let required: Vec<&String> = properties.as_object().into_iter().flat_map(|map| map.keys()).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

fn or_null(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn nullable(schema: &Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn status() -> Value {
    object(&json!({
        "version": text(),
        "generation": count(),
        "uptime_s": count(),
        "started_at": time(),
        "pid": count(),
        "workers": count(),
        "connections": count(),
        "ready": { "type": "boolean" },
        "differs": additions::differs(),
        "draining": { "type": "boolean" },
        "before": {
            "anyOf": [object(&json!({ "pid": count(), "connections": count() })), { "type": "null" }],
            "description": "The process that an upgrade has replaced, while it still has connections.",
        },
        "last_reload": object(&json!({
            "at": time(),
            "result": { "enum": ["ok", "error"] },
            "errors": { "type": "array", "items": text() },
            "from": { "enum": ["file", "api"], "description": "Where it came from: the file, or a call to this API." },
        })),
        "configuration": object(&json!({
            "from": { "enum": ["file", "api"], "description": "Where what is served came from." },
            "watched": { "type": "boolean", "description": "Whether the file is read again when it changes." },
            "needs_restart": { "type": "array", "items": text(), "description": "What it says that is not so yet." },
        })),
        "files": { "type": "array", "items": object(&json!({
            "path": text(),
            "loaded_at": { "type": ["string", "null"], "format": "date-time" },
            "entries": count(),
            "error": or_null("string"),
        })) },
        "certificates": { "type": "array", "items": certificate() },
    }))
}

fn certificate() -> Value {
    object(&json!({
        "listener": text(),
        "path": text(),
        "names": { "type": ["array", "null"], "items": text() },
        "subject": or_null("string"),
        "issuer": or_null("string"),
        "not_before": { "type": ["string", "null"], "format": "date-time" },
        "not_after": { "type": ["string", "null"], "format": "date-time" },
        "fingerprint": or_null("string"),
        "key": or_null("string"),
        "loaded_at": { "type": ["string", "null"], "format": "date-time" },
        "error": or_null("string"),
        "ocsp": nullable(&object(&json!({
            "path": text(),
            "next_update": { "type": ["string", "null"], "format": "date-time" },
            "error": or_null("string"),
        }))),
        "acme": nullable(&object(&json!({
            "state": { "enum": ["pending", "ordering", "issued", "failing"] },
            "domains": { "type": "array", "items": text() },
            "directory": text(),
            "challenge": { "enum": ["http-01", "tls-alpn-01", "dns-01"] },
            "next_try": { "type": ["string", "null"], "format": "date-time" },
            "failures": count(),
            "error": or_null("string"),
        }))),
    }))
}

fn pool() -> Value {
    object(&json!({
        "name": text(),
        "policy": text(),
        "panicking": { "type": "boolean", "description": "Too few are healthy, so health is ignored." },
        "fallback": or_null("string"),
        "queue": object(&json!({ "waiting": count(), "limit": count() })),
        "tls": nullable(&object(&json!({
            "server_name": or_null("string"),
            "min_version": { "enum": ["1.2", "1.3"] },
            "mutual": { "type": "boolean", "description": "Whether we show a certificate." },
            "danger_accept_invalid_certs": { "type": "boolean" },
            "error": or_null("string"),
        }))),
        "backends": { "type": "array", "items": of("Backend") },
    }))
}

fn backend() -> Value {
    object(&json!({
        "name": text(),
        "address": text(),
        "weight": count(),
        "effective_weight": { "type": "number", "minimum": 0 },
        "zone": or_null("string"),
        "priority": count(),
        "origin": origin(),
        "protocol": { "enum": ["h1", "h2", null] },
        "state": { "enum": State::WORDS },
        "cause": text(),
        "since": time(),
        "ejected_until": { "type": ["string", "null"], "format": "date-time" },
        "drains_until": { "type": ["string", "null"], "format": "date-time" },
        "drain_left_ms": { "type": ["integer", "null"], "minimum": 0 },
        "in_flight": count(),
        "in_flight_before": {
            "type": "integer", "minimum": 0,
            "description": "What processes that an upgrade has replaced still have under way there.",
        },
        "load_line": count(),
        "utilization": or_null("number"),
        "connections": count(),
        "requests": count(),
        "errors": count(),
        "latency_ms": or_null("number"),
        "sticky_sessions": count(),
        "cut": { "type": "integer", "minimum": 0, "description": "What was still under way at deadlines of drains, and was cut." },
        "operator": object(&json!({
            "state": { "enum": ["drain", "maintenance", null] },
            "weight": or_null("integer"),
        })),
    }))
}

fn route() -> Value {
    let texts = json!({ "type": "array", "items": text() });
    let of_requests = object(&json!({
        "host": text(),
        "path": text(),
        "methods": texts,
        "headers": texts,
        "query": texts,
        "cookies": texts,
    }));
    let split = json!({ "type": ["array", "null"], "items": object(&json!({ "pool": text(), "weight": count() })) });
    let of_connections = object(&json!({ "sni": text(), "alpn": texts, "client": or_null("string") }));
    object(&json!({
        "name": text(),
        "origin": origin(),
        "listeners": texts,
        "match": { "type": "array", "items": { "anyOf": [of_requests, of_connections] } },
        "pool": or_null("string"),
        "split": split,
        "redirect": or_null("object"),
        "respond": or_null("object"),
        "timeout_ms": or_null("integer"),
        "retry_attempts": count(),
        "host": { "type": "string", "description": "The Host sent upstream: keep, backend, or a name." },
        "maintenance": { "type": "boolean", "description": "Whether it is closed now." },
        "operator": object(&json!({ "maintenance": or_null("boolean"), "split": split })),
        "shift": { "anyOf": [of("Shift"), { "type": "null" }] },
    }))
}

fn origin() -> Value {
    json!({ "enum": ["file", "api"], "description": "Whether the configuration names it, or it was made here." })
}

fn problem() -> Value {
    object(&json!({ "type": text(), "title": text(), "status": count(), "detail": text() }))
}
