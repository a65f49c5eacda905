//! A pool all of whose backends are full: who waits, in which order, for how long, and who is turned away.

use std::io::{Read, Write};

use e2e::{Backend, Plimsoll, Script, Wire, eventually};

use crate::stage::{Site, Stage, attempts};

/// A pool whose only backend carries one request at once, and the client that is on it until it goes away.
fn busy(one: &Backend, limits: &str, route: &str) -> (Stage, Wire) {
    one.play(Script::Hang);
    let stage = Site::new().route(route).address("one", one.address()).pool(&format!(
        "backends = [{{ name = \"one\", address = \"@one@\" }}]\nhealth = false\nlimits = {{ requests = 1, {limits} }}"
    ));
    let mut stuck = stage.connect();
    stuck.send("GET /stuck HTTP/1.1\r\nhost: a\r\n\r\n");
    one.wait_for_requests(1);
    one.forget();
    one.play(Script::Echo);
    (stage, stuck)
}

/// A request that waits as the `count`th.
fn waiting(stage: &Stage, path: &str, class: &str, count: u64) -> Wire {
    let mut wire = stage.connect();
    wire.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-priority: {class}\r\n\r\n"));
    stage.wait_for_queue(count);
    wire
}

fn counted(stage: &Stage, class: &str, result: &str) -> f64 {
    let labels = [("pool", "api"), ("class", class), ("result", result)];
    stage.plimsoll.metrics().sum("plimsoll_queue_total", &labels)
}

const CLASSES: &str = "priority = { header = \"X-Priority\", high = [\"checkout\"], low = [\"batch\"] }";

#[test]
fn higher_classes_go_first_and_within_a_class_the_oldest() {
    let one = Backend::named("one", Script::Echo);
    let (stage, stuck) = busy(&one, "queue_timeout = \"60s\"", CLASSES);
    let order = [
        ("/low-1", "batch"),
        ("/normal-1", "other"),
        ("/low-2", "Batch"),
        ("/high-1", "checkout"),
        ("/normal-2", ""),
        ("/high-2", "checkout"),
    ];
    let mut wires: Vec<Wire> = (1..)
        .zip(order)
        .map(|(count, (path, class))| waiting(&stage, path, class, count))
        .collect();
    assert_eq!(
        stage
            .plimsoll
            .metrics()
            .sum("plimsoll_queue_waiting", &[("pool", "api")]),
        6.0
    );
    drop(stuck);
    for wire in &mut wires {
        assert_eq!(wire.reply().status, 200);
    }
    let seen = one.seen();
    let seen: Vec<&str> = seen.iter().map(|request| request.path()).collect();
    assert_eq!(
        seen,
        ["/high-1", "/high-2", "/normal-1", "/normal-2", "/low-1", "/low-2"]
    );
    let line = stage.logged("/low-2");
    assert!(line["queue_ms"].as_f64() > Some(0.0), "{line}");
    let sum = |name: &str| line[name].as_f64().unwrap_or_default();
    assert!(sum("queue_ms") + sum("first_byte_ms") <= sum("duration_ms"), "{line}");
    assert_eq!(stage.logged("/stuck")["queue_ms"], 0.0);
    assert_eq!(
        (counted(&stage, "high", "served"), counted(&stage, "low", "served")),
        (2.0, 2.0)
    );
    let labels = [("pool", "api")];
    let metrics = stage.plimsoll.metrics();
    assert_eq!(metrics.sum("plimsoll_queue_duration_seconds_count", &labels), 6.0);
    assert_eq!(metrics.sum("plimsoll_queue_waiting", &labels), 0.0);
}

#[test]
fn a_full_queue_sheds_the_youngest_of_the_lowest_class() {
    let one = Backend::named("one", Script::Echo);
    let (mut stage, stuck) = busy(&one, "queue = 2, queue_timeout = \"60s\"", CLASSES);
    let mut first = waiting(&stage, "/low-1", "batch", 1);
    let mut second = waiting(&stage, "/low-2", "batch", 2);
    let mut refused = stage.connect();
    refused.send("GET /low-3 HTTP/1.1\r\nhost: a\r\nx-priority: batch\r\n\r\n");
    refused.reply().assert_reason(503, "pool_full");
    let mut high = stage.connect();
    high.send("GET /high HTTP/1.1\r\nhost: a\r\nx-priority: checkout\r\n\r\n");
    second.reply().assert_reason(503, "pool_full");
    stage.assert_failures("pool_full", 2.0);
    stage.assert_bystander_undisturbed();
    drop(stuck);
    assert_eq!((high.reply().status, first.reply().status), (200, 200));
    eventually("all are counted", || {
        let counts = [
            counted(&stage, "low", "refused"),
            counted(&stage, "low", "shed"),
            counted(&stage, "low", "served"),
            counted(&stage, "high", "served"),
        ];
        (counts == [1.0; 4]).then_some(())
    });
}

#[test]
fn a_route_can_be_of_one_class() {
    let one = Backend::named("one", Script::Echo);
    let (stage, _stuck) = busy(&one, "queue_timeout = \"100ms\"", "priority = \"low\"");
    stage.get("/late").assert_reason(503, "queue_timeout");
    assert_eq!(counted(&stage, "low", "timeout"), 1.0);
    let line = stage.logged("/late");
    assert!(line["queue_ms"].as_f64() >= Some(100.0), "{line}");
    assert_eq!(
        (&line["attempts"], &line["backend"]),
        (&serde_json::json!([]), &serde_json::Value::Null)
    );
    assert_eq!(one.requests(), 0);
}

#[test]
fn a_client_that_goes_away_leaves_the_queue() {
    let one = Backend::named("one", Script::Echo);
    let (stage, stuck) = busy(&one, "queue_timeout = \"60s\"", "");
    let gone = waiting(&stage, "/gone", "", 1);
    let mut next = waiting(&stage, "/next", "", 2);
    drop(gone);
    stage.wait_for_queue(1);
    assert_eq!(stage.logged("/gone")["reason"], "client_closed");
    drop(stuck);
    assert_eq!(next.reply().status, 200);
    assert_eq!((one.requests_to("/gone"), counted(&stage, "normal", "left")), (0, 1.0));
}

#[test]
fn a_retry_goes_back_before_it_waits() {
    let one = Backend::named("one", Script::Echo);
    let dead = Backend::refusing();
    one.play(Script::Hang);
    let stage = Site::new()
        .address("one", one.address())
        .address("dead", dead.address())
        .pool(
            r#"backends = [{ name = "dead", address = "@dead@" }, { name = "one", address = "@one@", priority = 1 }]
            health = false
            outlier = false
            limits = { requests = 1, queue_timeout = "60s" }"#,
        );
    let mut stuck = stage.connect();
    stuck.send("GET /stuck HTTP/1.1\r\nhost: a\r\n\r\n");
    one.wait_for_requests(1);
    // The dead one has room, and another try there comes before waiting for anybody else.
    let reply = stage.get("/again");
    reply.assert_reason(502, "connect_failed");
    let tried: Vec<String> = attempts(&stage.logged("/again")).into_iter().map(|one| one.0).collect();
    assert_eq!(tried, ["dead", "dead"]);
}

#[test]
fn the_api_and_explain_tell_who_waits() {
    let one = Backend::named("one", Script::Echo);
    let (stage, _stuck) = busy(&one, "queue = 5, queue_timeout = \"60s\"", CLASSES);
    let _waits = waiting(&stage, "/waits", "", 1);
    let pool = stage.plimsoll.admin("/api/v1/pools/api").json();
    assert_eq!(pool["queue"], serde_json::json!({ "waiting": 1, "limit": 5 }));
    let url = format!("http://{}/asked", stage.plimsoll.address("web"));
    let path = format!("/api/v1/explain?url={url}&header=x-priority:batch");
    let told = stage.plimsoll.admin(&path).json();
    let steps = told["steps"].as_array().cloned().unwrap_or_default();
    for (subject, why) in [
        ("priority", "low, if it has to wait"),
        ("one", "full: 1 in flight of 1"),
        (
            "queue",
            "waits for a backend, 1m at the most, then queue_timeout: 1 of 5 wait",
        ),
    ] {
        let told = steps
            .iter()
            .any(|step| step["subject"] == subject && step["why"] == why);
        assert!(told, "{subject}: {steps:#?}");
    }
}

#[test]
fn a_tcp_connection_waits_for_a_place() {
    let echo = Backend::tcp_echo();
    let plimsoll = Plimsoll::config(
        r#"
        [server]
        workers = 2
        [log]
        access = "./access.log"
        [listeners.db]
        bind = ["@db@"]
        protocol = "tcp"
        pool = "db"
        [pools.db]
        backends = ["@echo@"]
        health = false
        limits = { requests = 1, queue_timeout = "60s" }
        "#,
    )
    .address("echo", echo.address())
    .start();
    let mut first = plimsoll.connect("db");
    first.send("ping");
    assert_eq!(first.read_bytes(4), b"ping");
    let mut second = plimsoll.connect("db");
    second.send("pong");
    eventually("it waits", || {
        (plimsoll.metrics().sum("plimsoll_queue_waiting", &[("pool", "db")]) == 1.0).then_some(())
    });
    drop(first);
    assert_eq!(second.read_bytes(4), b"pong");
    second.half_close();
    let mut rest = Vec::new();
    let _ = second.socket().flush();
    assert!(matches!(second.socket().read_to_end(&mut rest), Ok(0)));
    let lines = eventually("both are logged", || {
        let text = plimsoll.scratch().read("access.log");
        (text.matches('\n').count() == 2).then_some(text)
    });
    let waited = lines.lines().filter(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        line["queue_ms"].as_f64() > Some(0.0)
    });
    assert_eq!(waited.count(), 1, "{lines}");
}
