//! The access log: every field under its name, one line a request whatever its bytes are.

use std::time::Duration;

use e2e::{Backend, Plimsoll, Script, eventually};
use serde_json::Value;

use crate::front::front;

/// The fields of a line, as they are promised.
pub(crate) const FIELDS: [&str; 26] = [
    "time",
    "request_id",
    "listener",
    "protocol",
    "client",
    "method",
    "host",
    "path",
    "status",
    "reason",
    "route",
    "pool",
    "backend",
    "attempts",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "queue_ms",
    "connect_ms",
    "tls_ms",
    "first_byte_ms",
    "grpc_status",
    "upstream_ms",
    "closed_by",
    "tls",
    "user_agent",
];

/// The lines of the log, once there are so many.
#[track_caller]
fn lines(plimsoll: &Plimsoll, count: usize) -> Vec<String> {
    eventually(&format!("{count} lines in the access log"), || {
        let text = std::fs::read_to_string(plimsoll.scratch().path().join("access.log")).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        assert!(lines.len() <= count, "{lines:#?}");
        (lines.len() == count && text.ends_with('\n')).then_some(lines)
    })
}

/// The lines of the log as JSON, once there are so many.
#[track_caller]
fn objects(plimsoll: &Plimsoll, count: usize) -> Vec<Value> {
    let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    lines(plimsoll, count).iter().map(parse).collect()
}

#[track_caller]
fn assert_has(object: &Value, wanted: &[(&str, Value)]) {
    for (key, value) in wanted {
        assert_eq!(object[key], *value, "{key} in {object:#}");
    }
}

#[test]
fn a_request_is_told_whole() {
    let backend = Backend::start(Script::after(Duration::from_millis(20), Script::reply(201, "created")));
    let plimsoll = front()
        .log("access = \"access.log\"")
        .server("trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]")
        .before(backend.address());
    let request = "POST /orders//x?card=4111 HTTP/1.1\r\nhost: Shop.example\r\nuser-agent: curl/8\r\ncontent-length: 4\r\n\
                   authorization: Basic c2VjcmV0\r\ncookie: secret=1\r\nx-forwarded-for: 6.6.6.6, 192.0.2.7, 10.1.1.1\r\n\
                   x-request-id: mine-7\r\n\r\nbody";
    let reply = plimsoll.exchange("web", request);
    assert_eq!(reply.status, 201);
    let line = lines(&plimsoll, 1).remove(0);
    for secret in ["4111", "c2VjcmV0", "secret"] {
        assert!(!line.contains(secret), "{line}");
    }
    let object = objects(&plimsoll, 1).remove(0);
    let mut keys: Vec<_> = object
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    let mut promised = FIELDS.to_vec();
    keys.sort_unstable();
    promised.sort_unstable();
    assert_eq!(keys, promised);
    assert_has(
        &object,
        &[
            ("request_id", "mine-7".into()),
            ("listener", "web".into()),
            ("protocol", "HTTP/1.1".into()),
            ("client", "192.0.2.7".into()),
            ("method", "POST".into()),
            ("host", "Shop.example".into()),
            ("path", "/orders//x".into()),
            ("status", 201.into()),
            ("reason", Value::Null),
            ("route", "all".into()),
            ("pool", "api".into()),
            ("backend", "one".into()),
            ("bytes_in", request.len().into()),
            ("tls", Value::Null),
            ("tls_ms", Value::Null),
            ("user_agent", "curl/8".into()),
        ],
    );
    assert_eq!(object["attempts"].as_array().map(Vec::len), Some(1));
    assert_has(
        &object["attempts"][0],
        &[("backend", "one".into()), ("status", 201.into())],
    );
    for key in ["duration_ms", "first_byte_ms", "upstream_ms"] {
        assert!(object[key].as_f64().is_some_and(|ms| ms >= 20.0), "{key} in {object:#}");
    }
    assert!(
        object["bytes_out"].as_u64().is_some_and(|bytes| bytes > 7),
        "{object:#}"
    );
    assert!(object["connect_ms"].is_number(), "{object:#}");
    let time = object["time"].as_str().unwrap_or_default();
    assert!(time.len() == 24 && time.ends_with('Z') && time.contains('T'), "{time}");
}

#[test]
fn every_attempt_and_every_reason_is_told() {
    let backend = Backend::start(Script::InTurn(vec![Script::close(), Script::status(503), Script::Echo]));
    let plimsoll = front()
        .log("access = \"access.log\"")
        .route("match = { path = \"/known\" }\nretry = { attempts = 3, on = [\"reset\", \"503\"] }")
        .before(backend.address());
    // Workers write side by side: the next line is waited for before the next request.
    assert_eq!(plimsoll.get("web", "/known").status, 200);
    lines(&plimsoll, 1);
    plimsoll.get("web", "/unknown").assert_reason(404, "no_route");
    lines(&plimsoll, 2);
    plimsoll
        .exchange("web", "GET /known HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n")
        .assert_reason(400, "bad_request");
    lines(&plimsoll, 3);
    backend.play(Script::Hang);
    let mut wire = plimsoll.connect("web");
    wire.send("GET /known HTTP/1.1\r\nhost: a\r\n\r\n");
    backend.wait_for_requests(4);
    drop(wire);
    let objects = objects(&plimsoll, 4);
    let attempts: Vec<_> = objects[0]["attempts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|attempt| {
            (
                attempt["status"].as_u64(),
                attempt["error"].as_str(),
                attempt["ms"].is_number(),
            )
        })
        .collect();
    assert_eq!(
        attempts,
        [
            (None, Some("backend_reset"), true),
            (Some(503), None, true),
            (Some(200), None, true)
        ]
    );
    assert_has(
        &objects[1],
        &[
            ("status", 404.into()),
            ("reason", "no_route".into()),
            ("route", Value::Null),
        ],
    );
    assert_has(
        &objects[2],
        &[
            ("status", 400.into()),
            ("reason", "bad_request".into()),
            ("client", "127.0.0.1".into()),
        ],
    );
    let gone = [
        ("status", 499.into()),
        ("reason", "client_closed".into()),
        ("closed_by", "client".into()),
    ];
    assert_has(&objects[3], &gone);
    for object in &objects {
        // Each that could be read can be asked for by its id.
        let id = object["request_id"].as_str().map(str::len);
        assert_eq!(id, (object["status"] != 400).then_some(32), "{object:#}");
        assert_eq!(object.as_object().map(serde_json::Map::len), Some(FIELDS.len()));
    }
}

#[test]
fn hostile_bytes_stay_in_their_line() {
    let backend = Backend::start(Script::Echo);
    let hostile = b"GET /\"%0a%1b[31m{}'\\u0041<x>?q HTTP/1.1\r\nhost: a\r\nuser-agent: \"x\\\t\xff\xfe\xe2\x80\xa8 \"} , {\"\r\n\
                    referer: http://r/\"\r\n\r\n";
    let backslash_free: Vec<u8> = hostile.iter().copied().filter(|byte| *byte != b'\\').collect();
    let json = front().log("access = \"access.log\"").before(backend.address());
    let combined = front()
        .log("access = \"access.log\"\nformat = \"combined\"")
        .before(backend.address());
    for (number, (bytes, status)) in [(&hostile[..], 400), (&backslash_free, 200)].into_iter().enumerate() {
        for plimsoll in [&json, &combined] {
            assert_eq!(plimsoll.exchange("web", bytes).status, status);
            lines(plimsoll, number + 1);
        }
    }
    let objects = objects(&json, 2);
    assert_eq!(objects[0]["path"], "/\"%0a%1b[31m{}'\\u0041<x>");
    assert_eq!(objects[1]["path"], "/\"%0a%1b[31m{}'u0041<x>");
    assert_eq!(objects[1]["user_agent"], "\"x\t\u{fffd}\u{fffd}\u{2028} \"} , {\"");
    for line in lines(&combined, 2) {
        // 127.0.0.1 - - [20/Nov/2026:12:00:00 +0000] "GET /… HTTP/1.1" 200 123 "referer" "agent"
        let quoted = line.replace("\\\\", "").replace("\\\"", "");
        let parts: Vec<&str> = quoted.split('"').collect();
        assert_eq!(parts.len(), 7, "{line}");
        assert!(
            parts[0].starts_with("127.0.0.1 - - [") && parts[0].ends_with(" +0000] "),
            "{line}"
        );
        assert!(
            parts[1].starts_with("GET /") && parts[1].ends_with(" HTTP/1.1"),
            "{line}"
        );
        assert_eq!(
            parts[2]
                .split_whitespace()
                .filter(|part| part.parse::<u64>().is_ok())
                .count(),
            2,
            "{line}"
        );
        assert!(line.contains("\\x09") && !line.contains('\t'), "{line}");
    }
}

#[test]
fn a_malformed_request_is_a_line_in_the_combined_format_too() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .log("access = \"access.log\"\nformat = \"combined\"")
        .before(backend.address());
    let agent = "Mozilla/5.0 (X11)";
    let head = format!("GET /a?secret HTTP/1.1\r\nhost: a\r\nuser-agent: {agent}\r\nreferer: http://r/\r\n\r\n");
    assert_eq!(plimsoll.exchange("web", head).status, 200);
    lines(&plimsoll, 1);
    assert_eq!(plimsoll.exchange("web", "GET / HTTP/7\r\n\r\n").status, 400);
    let lines = lines(&plimsoll, 2);
    assert!(lines[0].contains("] \"GET /a HTTP/1.1\" 200 "), "{}", lines[0]);
    assert!(
        lines[0].ends_with(&format!(" \"http://r/\" \"{agent}\"")),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].contains("] \"-\" 400 ") && lines[1].ends_with(" \"-\" \"-\""),
        "{}",
        lines[1]
    );
}

#[test]
fn heads_that_come_to_no_end_are_told_with_what_came_of_them() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .log("access = \"access.log\"")
        .listener("timeouts = { request_header = \"300ms\" }")
        .before(backend.address());
    let mut late = plimsoll.connect("web");
    late.send("GET / HTTP/1.1\r\n");
    late.reply().assert_reason(408, "request_header_timeout");
    assert!(lines(&plimsoll, 1).len() == 1);
    let mut gone = plimsoll.connect("web");
    gone.send("GET /gone");
    drop(gone);
    let objects = objects(&plimsoll, 2);
    assert_has(&objects[0], &[("bytes_in", 16.into()), ("status", 408.into())]);
    assert!(objects[0]["duration_ms"].as_f64() >= Some(270.0), "{:#}", objects[0]);
    assert_has(
        &objects[1],
        &[
            ("bytes_in", 9.into()),
            ("status", 499.into()),
            ("reason", "client_closed".into()),
        ],
    );
}
