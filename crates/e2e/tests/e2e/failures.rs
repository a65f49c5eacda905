//! Backends that fail before a byte of their answer reached the client: each failure has its reason.

use std::time::{Duration, Instant};

use e2e::{Backend, Script, eventually};

use crate::stage::{Site, Stage, attempts};

/// A pool of one that is never ejected, and whose failures are never tried again.
const ALONE: &str = r#"backends = [{ name = "bad", address = "@bad@" }]
    health = false
    outlier = false
    timeouts = { connect = "400ms", response_header = "400ms" }"#;
const NO_RETRY: &str = "retry = { attempts = 0 }";

/// Panics unless GET of `path` is answered with this reason, which is counted and logged, and nobody else noticed.
#[track_caller]
fn assert_fails(stage: &mut Stage, path: &str, status: u16, reason: &str) {
    let before = stage.failures(reason);
    let mut wire = stage.connect();
    let reply = wire.get(path);
    assert!(
        reply.status == status && reply.reason() == Some(reason),
        "{path}: expected {status} {reason}, got {reply:#?}"
    );
    stage.assert_failures(reason, before + 1.0);
    let line = stage.logged(path);
    assert_eq!(
        (line["status"].as_u64(), line["reason"].as_str()),
        (Some(u64::from(status)), Some(reason)),
        "{line}"
    );
    assert_eq!(attempts(&line), [("bad".to_owned(), reason.to_owned())], "{line}");
    assert_eq!(line["closed_by"], "backend", "{line}");
    assert_eq!(
        (&line["route"], &line["pool"]),
        (&"all".into(), &"api".into()),
        "{line}"
    );
    stage.assert_bystander_undisturbed();
    // The client that asked can go on, too.
    assert_eq!(wire.get("/well").status, 200, "after {path}");
}

fn raw(bytes: &str) -> Script {
    Script::BytesThenClose(bytes.as_bytes().to_vec())
}

fn scripted(scripts: impl IntoIterator<Item = (String, Script)>) -> (Backend, Stage) {
    let mut all = vec![("/well".to_owned(), Script::reply(200, "well"))];
    all.extend(scripts);
    // Longest first, so that no path is another's prefix.
    all.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    let bad = Backend::named("bad", Script::ByPath(all));
    let stage = Site::new().route(NO_RETRY).address("bad", bad.address()).pool(ALONE);
    (bad, stage)
}

#[test]
fn a_backend_that_goes_away_before_its_answer_is_a_backend_reset() {
    let cases = [
        ("/reset", Script::reset()),
        ("/close", Script::close()),
        ("/one-byte-and-reset", Script::BytesThenReset(b"H".to_vec())),
        ("/one-byte-and-close", raw("H")),
        ("/half-a-head", raw("HTTP/1.1 200 OK\r\ncontent-le")),
        (
            "/a-head-without-its-end",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n"),
        ),
        (
            "/only-an-interim-answer",
            raw("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
        ),
    ];
    let (_bad, mut stage) = scripted(cases.clone().map(|(path, script)| (path.to_owned(), script)));
    for (path, _) in cases {
        assert_fails(&mut stage, path, 502, "backend_reset");
    }
}

/// Answers that follow no grammar.
fn nonsense() -> Vec<(&'static str, String)> {
    let ok = "HTTP/1.1 200 OK\r\n";
    let long = "a".repeat(70_000);
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    vec![
        ("garbage", "\x00\x16 this is not HTTP\r\n\r\n".to_owned()),
        (
            "text",
            "this is not HTTP either, and it has no line end for a long time".repeat(400),
        ),
        ("another-protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned()),
        (
            "a-folded-line",
            format!("{ok}x-a: 1\r\n  2\r\ncontent-length: 0\r\n\r\n"),
        ),
        ("a-space-before-the-colon", format!("{ok}content-length : 0\r\n\r\n")),
        ("a-bare-lf", "HTTP/1.1 200 OK\ncontent-length: 0\n\n".to_owned()),
        ("one-bare-lf", format!("{ok}x-a: 1\ncontent-length: 0\r\n\r\n")),
        ("a-bare-cr", format!("{ok}x-a: 1\rx-b: 2\r\ncontent-length: 0\r\n\r\n")),
        ("a-nul", format!("{ok}x-a: \0\r\ncontent-length: 0\r\n\r\n")),
        (
            "a-field-without-a-name",
            format!("{ok}: 1\r\ncontent-length: 0\r\n\r\n"),
        ),
        ("status-99", "HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n".to_owned()),
        (
            "status-600",
            "HTTP/1.1 600 High\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ),
        ("status-2x", "HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n".to_owned()),
        ("no-status", "HTTP/1.1 \r\ncontent-length: 0\r\n\r\n".to_owned()),
        ("version-2", "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()),
        (
            "a-switch-nobody-asked-for",
            "HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n".to_owned(),
        ),
        ("a-huge-head", format!("{ok}x-a: {long}\r\ncontent-length: 0\r\n\r\n")),
        ("too-many-fields", format!("{ok}{many}content-length: 0\r\n\r\n")),
        (
            "a-flood-of-interim-answers",
            "HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000),
        ),
    ]
}

/// Answers whose ends could be read in two ways, or in none.
fn contradictions() -> Vec<(&'static str, String)> {
    let ok = "HTTP/1.1 200 OK\r\n";
    vec![
        (
            "a-length-twice",
            format!("{ok}content-length: 2\r\ncontent-length: 3\r\n\r\nabc"),
        ),
        (
            "a-length-twice-alike",
            format!("{ok}content-length: 2\r\ncontent-length: 2\r\n\r\nab"),
        ),
        ("a-list-of-lengths", format!("{ok}content-length: 2, 2\r\n\r\nab")),
        ("a-length-with-a-sign", format!("{ok}content-length: +2\r\n\r\nab")),
        ("a-length-below-zero", format!("{ok}content-length: -2\r\n\r\nab")),
        (
            "a-length-beyond-64-bits",
            format!("{ok}content-length: 99999999999999999999\r\n\r\n"),
        ),
        ("no-length", format!("{ok}content-length:\r\n\r\n")),
        (
            "length-and-chunks",
            format!("{ok}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "chunks-twice",
            format!("{ok}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "another-coding",
            format!("{ok}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("an-unknown-coding", format!("{ok}transfer-encoding: identity\r\n\r\n")),
    ]
}

#[test]
fn an_answer_that_is_no_answer_is_a_backend_protocol_error() {
    let cases = [nonsense(), contradictions()].concat();
    let scripts = cases.iter().map(|(name, bytes)| (format!("/{name}"), raw(bytes)));
    let (_bad, mut stage) = scripted(scripts.collect::<Vec<_>>());
    for (name, _) in &cases {
        assert_fails(&mut stage, &format!("/{name}"), 502, "backend_protocol_error");
    }
}

#[test]
fn a_backend_that_takes_too_long_is_a_response_timeout() {
    let slowly = |bytes: &str| Script::Drip {
        bytes: bytes.as_bytes().to_vec(),
        pause: Duration::from_millis(50),
    };
    let patient = |bytes: &str| {
        Script::custom({
            let bytes = bytes.to_owned();
            move |exchange| {
                exchange.send(&bytes)?;
                while exchange.read(&mut [0; 64])? > 0 {}
                Ok(false)
            }
        })
    };
    let cases = [
        ("/hang", Script::Hang),
        ("/hang-after-a-byte", patient("H")),
        ("/hang-in-the-head", patient("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n")),
        ("/drip", slowly("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")),
    ];
    let (bad, mut stage) = scripted(cases.clone().map(|(path, script)| (path.to_owned(), script)));
    for (path, _) in cases {
        assert_fails(&mut stage, path, 504, "response_timeout");
    }
    eventually("the connections that timed out are closed", || {
        (bad.open_connections() <= 1).then_some(())
    });
}

#[test]
fn a_backend_that_refuses_is_a_connect_failure() {
    let mut bad = Backend::named("bad", Script::reply(200, "well"));
    let mut stage = Site::new().route(NO_RETRY).address("bad", bad.address()).pool(ALONE);
    bad.stop();
    let mut wire = stage.connect();
    wire.get("/refused").assert_reason(502, "connect_failed");
    stage.assert_failures("connect_failed", 1.0);
    assert_eq!(
        attempts(&stage.logged("/refused")),
        [("bad".into(), "connect_failed".into())]
    );
    stage.assert_bystander_undisturbed();
    bad.restart();
    assert_eq!(wire.get("/well").status, 200);
}

#[test]
fn a_backend_that_cannot_be_reached_is_a_connect_timeout() {
    let bad = Backend::unreachable();
    let mut stage = Site::new().route(NO_RETRY).address("bad", bad.address()).pool(ALONE);
    let began = Instant::now();
    stage.get("/unreachable").assert_reason(504, "connect_timeout");
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    stage.assert_failures("connect_timeout", 1.0);
    assert_eq!(
        attempts(&stage.logged("/unreachable")),
        [("bad".into(), "connect_timeout".into())]
    );
    stage.assert_bystander_undisturbed();
}

#[test]
fn a_request_that_is_not_done_within_its_routes_timeout_ends_there() {
    let bad = Backend::named("bad", Script::Hang);
    let stage = Site::new()
        .route("timeout = \"500ms\"")
        .route("retry = { attempts = 5, per_try_timeout = \"150ms\", on = [\"timeout\"] }")
        .address("bad", bad.address())
        .pool(ALONE);
    stage.get("/late").assert_reason(504, "request_timeout");
    stage.assert_failures("request_timeout", 1.0);
    let tried = attempts(&stage.logged("/late"));
    assert!((2..=4).contains(&tried.len()), "{tried:?}");
    assert_eq!(tried.last(), Some(&("bad".into(), "request_timeout".into())));
}

#[test]
fn a_client_that_goes_away_cancels_its_request() {
    let bad = Backend::named("bad", Script::Hang);
    let stage = Site::new()
        .address("bad", bad.address())
        .pool("backends = [{ name = \"bad\", address = \"@bad@\" }]\nhealth = false");
    let mut wire = stage.connect();
    wire.send("GET /left HTTP/1.1\r\nhost: a\r\n\r\n");
    bad.wait_for_requests(1);
    drop(wire);
    eventually("the backend's connection is closed", || {
        (bad.open_connections() == 0).then_some(())
    });
    let line = stage.logged("/left");
    assert_eq!(
        (line["status"].as_u64(), line["reason"].as_str()),
        (Some(499), Some("client_closed")),
        "{line}"
    );
    assert_eq!(
        attempts(&line),
        [("bad".to_owned(), "client_closed".to_owned())],
        "{line}"
    );
    stage.assert_failures("client_closed", 1.0);
    let status = stage.backend("bad");
    assert_eq!(
        (&status["in_flight"], &status["errors"]),
        (&0.into(), &0.into()),
        "{status}"
    );
}

#[test]
fn a_shortage_of_our_own_is_no_fault_of_the_backends() {
    let a = Backend::named("a", Script::Echo);
    let stage = Site::new()
        .address("a", a.address())
        .pool("backends = [{ name = \"a\", address = \"@a@\" }]\nhealth = false");
    let mut wire = stage.connect();
    let limit = |soft: u32| {
        let mut prlimit = std::process::Command::new("prlimit");
        prlimit.args(["--pid", &stage.plimsoll.pid().to_string(), &format!("--nofile={soft}:")]);
        assert_eq!(e2e::tools::run(&mut prlimit, e2e::PATIENCE).code, Some(0));
    };
    eventually("the client is accepted", || {
        (stage
            .plimsoll
            .metrics()
            .sum("plimsoll_connections", &[("listener", "web")])
            >= 2.0)
            .then_some(())
    });
    // No descriptor for a connection to anybody.
    limit(1);
    for _ in 0..10 {
        wire.get("/short").assert_reason(503, "overloaded");
    }
    limit(1_000);
    assert_eq!(wire.get("/well").status, 200);
    let status = stage.backend("a");
    assert_eq!(
        (&status["errors"], &status["state"]),
        (&0.into(), &"healthy".into()),
        "{status}"
    );
    stage.assert_failures("overloaded", 10.0);
}
