//! Calls of gRPC, between clients and servers that we did not write.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::frames::{self, END_STREAM, Frames, kind};
use e2e::{Backend, Foreign, Plimsoll, Script, eventually, tools};
use serde_json::Value;

use crate::front::{front, one, wait_for_failures};
use crate::http2_streams::{h2, scripted};

const OK: u8 = 0;
const CANCELLED: u8 = 1;
const DEADLINE_EXCEEDED: u8 = 4;
const UNIMPLEMENTED: u8 = 12;
const UNAVAILABLE: u8 = 14;
const DATA_LOSS: u8 = 15;

fn server(name: &str) -> Foreign {
    Foreign::start(|port, directory| {
        let script = directory.join("server.py");
        std::fs::write(&script, include_str!("grpc/server.py")).expect("a file can be written");
        let mut command = Command::new(tools::python_with_packages());
        command.arg(script).arg(port.to_string()).arg(name);
        command
    })
}

/// Makes a call; what became of it.
#[track_caller]
fn call(plimsoll: &Plimsoll, arguments: &[&str]) -> Value {
    let mut command = Command::new(tools::python_with_packages());
    command.args([
        "-c",
        include_str!("grpc/client.py"),
        &plimsoll.address("web").to_string(),
    ]);
    let output = tools::run(command.args(arguments), Duration::from_secs(40));
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {output:?}"))
}

#[track_caller]
fn assert_code(told: &Value, code: u8) {
    assert_eq!(told["code"], code, "{told}");
}

fn before(backend: SocketAddr) -> Plimsoll {
    h2().log("access = \"access.log\"").before(backend)
}

/// The last line of the access log for this call, once it is one with this status.
fn logged(plimsoll: &Plimsoll, name: &str, status: u8) -> Value {
    eventually(&format!("{name} is logged with {status}"), || {
        let log = plimsoll.scratch().read("access.log");
        let line = log.lines().rev().find(|line| line.contains(&format!("/{name}\"")))?;
        let line: Value = serde_json::from_str(line).ok()?;
        (line["grpc_status"] == status).then_some(line)
    })
}

#[test]
fn calls_of_every_kind_come_through() {
    let server = server("one");
    let plimsoll = before(server.address());
    let told = call(&plimsoll, &["Unary", "hello"]);
    assert_code(&told, OK);
    assert_eq!(
        (&told["messages"][0], &told["x-name"]),
        (&"hello".into(), &"one".into()),
        "{told}"
    );
    assert_eq!(told["x-trailing-bin"], "b'\\x00\\xff'", "{told}");
    logged(&plimsoll, "Unary", OK);
    let told = call(&plimsoll, &["Unary", "", "size=3000000"]);
    assert_eq!(told["size"], 3_000_000, "{told}");
    let told = call(&plimsoll, &["ServerStream", "1000"]);
    assert_code(&told, OK);
    assert_eq!(told["messages"].as_array().map(Vec::len), Some(1000));
    let told = call(&plimsoll, &["ClientStream", "1000"]);
    assert_code(&told, OK);
    assert_eq!(told["messages"][0], "1000000");
    // Each waits for the one before, and the first for the head of the answer.
    let told = call(&plimsoll, &["Bidi", "20"]);
    assert_code(&told, OK);
    assert_eq!(told["messages"], serde_json::json!((0..20).collect::<Vec<u8>>()));
    assert_eq!(told["x-begun"], "yes");
}

#[test]
fn failures_come_through_with_or_without_a_message() {
    let server = server("one");
    let plimsoll = before(server.address());
    for code in 1..=16u8 {
        if code % 5 != 0 && code != UNAVAILABLE {
            continue;
        }
        let told = call(&plimsoll, &["Unary", "x", &format!("fail={code}")]);
        assert_code(&told, code);
        assert_eq!(told["details"], "refused: 100 % by é");
        logged(&plimsoll, "Unary", code);
    }
    let told = call(&plimsoll, &["FailLate", "x"]);
    assert_code(&told, DATA_LOSS);
    assert_eq!(told["messages"][0], "one");
    let told = call(&plimsoll, &["NoSuchCall", "x"]);
    assert_code(&told, UNIMPLEMENTED);
}

#[test]
fn our_own_errors_are_grpcs() {
    let mut server = Backend::refusing();
    let plimsoll = h2()
        .route("match = { path = \"/e2e.Calls/*\" }\nretry = { attempts = 0 }")
        .tables(
            "[[routes]]\nname = \"closed\"\nmatch = { path = \"/e2e.Calls/Closed\" }\n\
             respond = { status = 403, body = \"not here: 100 %\\n\" }",
        )
        .log("access = \"access.log\"")
        .before(server.address());
    let told = call(&plimsoll, &["Unary", "x"]);
    assert_code(&told, UNAVAILABLE);
    assert_eq!(told["x-plimsoll-reason"], "connect_failed", "{told}");
    assert!(
        told["details"]
            .as_str()
            .is_some_and(|says| says.starts_with("502 connect_failed: "))
    );
    let line = logged(&plimsoll, "Unary", UNAVAILABLE);
    assert_eq!(line["status"], 200, "{line}");
    assert_eq!(line["reason"], "connect_failed");
    let told = call(&plimsoll, &["Closed", "x"]);
    assert_code(&told, 7);
    assert_eq!(told["details"], "not here: 100 %");
    // As frames: a head alone, with trailers in it.
    let mut client = Frames::connect(plimsoll.address("web"));
    client.request(
        1,
        "POST",
        "/other",
        &[("content-type", "application/grpc+proto")],
        END_STREAM,
    );
    let head = client.wait_for(1, kind::HEADERS);
    assert_eq!(
        (frames::status(&head.payload), head.flags & END_STREAM),
        (Some(200), END_STREAM)
    );
    // What is not gRPC keeps its status.
    client.request(
        3,
        "POST",
        "/other",
        &[("content-type", "application/grpc-web")],
        END_STREAM,
    );
    let head = client.wait_for(3, kind::HEADERS);
    assert_eq!(frames::status(&head.payload), Some(404));
    server.stop();
}

#[test]
fn a_clients_deadline_is_kept_and_is_no_fault_of_the_backend() {
    // A client that does not look at its own deadline.
    let backend = scripted(&[], |frames, frame| {
        if frame.kind == kind::HEADERS && frame.stream > 1 {
            frames.answer(frame.stream, 200, &[("content-type", "application/grpc")], 0)?;
            frames.send(kind::DATA, 0, frame.stream, &[0; 5])?;
        }
        Ok(true)
    });
    let plimsoll = h2().server("workers = 1").before(backend.address());
    let mut client = Frames::connect(plimsoll.address("web"));
    let fields = [("content-type", "application/grpc"), ("grpc-timeout", "300m")];
    let started = Instant::now();
    client.request(1, "POST", "/silent", &fields, END_STREAM);
    let head = client.wait_for(1, kind::HEADERS);
    assert_eq!(
        (frames::status(&head.payload), head.flags & END_STREAM),
        (Some(200), END_STREAM)
    );
    assert!(started.elapsed() >= Duration::from_millis(300));
    // And a stream that has begun is ended.
    client.request(3, "POST", "/begun", &fields, 0);
    client.wait_for(3, kind::DATA);
    client.wait_for(3, kind::RST_STREAM);
    wait_for_failures(&plimsoll, "request_timeout", 2);
    assert_eq!(
        (&one(&plimsoll)["errors"], &one(&plimsoll)["in_flight"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn the_sooner_of_both_deadlines_holds() {
    let server = server("one");
    let plimsoll = h2()
        .route("timeout = \"400ms\"\nretry = { attempts = 0 }")
        .before(server.address());
    let told = call(&plimsoll, &["Slow", "5", "timeout=10"]);
    assert_code(&told, DEADLINE_EXCEEDED);
    assert_eq!(told["x-plimsoll-reason"], "request_timeout", "{told}");
    let told = call(&plimsoll, &["Slow", "5", "timeout=0.1"]);
    assert_code(&told, DEADLINE_EXCEEDED);
}

#[test]
fn cancelling_a_call_cancels_it_at_its_server() {
    let server = server("one");
    let plimsoll = before(server.address());
    let told = call(&plimsoll, &["Hang", "x", "cancel-after=1"]);
    assert_code(&told, CANCELLED);
    assert_eq!(call(&plimsoll, &["Cancellations", "1"])["messages"][0], "cancelled");
    // And so does its deadline.
    let told = call(&plimsoll, &["Hang", "x", "timeout=0.5"]);
    assert_code(&told, DEADLINE_EXCEEDED);
    assert_eq!(call(&plimsoll, &["Cancellations", "1"])["messages"][0], "cancelled");
}

#[test]
fn a_call_is_tried_again_by_its_status() {
    let (first, second) = (server("one"), server("two"));
    let plimsoll = Plimsoll::config(
        // Each worker has a turn of its own.
        "server.workers = 1\nlisteners.web = { bind = [\"@web@\"] }\n\
         [[routes]]\npool = \"api\"\nretry = { attempts = 3, on = [\"grpc:unavailable\", \"grpc:RESOURCE_EXHAUSTED\"] }\n\
         [pools.api]\nbackends = [\"@first@\", \"@second@\"]\nprotocol = \"h2\"\nhealth = false\npolicy = \"round-robin\"",
    )
    .address("first", first.address())
    .address("second", second.address())
    .start();
    // Each of both refuses it once.
    let told = call(&plimsoll, &["Unary", "hello", "fail=14", "fail-times=1", "fail-key=a"]);
    assert_code(&told, OK);
    assert_eq!(told["messages"][0], "hello");
    let told = call(&plimsoll, &["Unary", "x", "fail=8", "fail-key=b"]);
    assert_code(&told, 8);
    let seen = |key: &str| {
        let both = (0..2).map(|_| {
            call(&plimsoll, &["Seen", key])["messages"][0]
                .as_str()
                .map(str::to_owned)
        });
        both.map(|count| count.and_then(|count| count.parse().ok()).unwrap_or(0u32))
            .sum::<u32>()
    };
    assert_eq!(seen("b"), 4, "three retries");
    let told = call(&plimsoll, &["Unary", "x", "fail=13", "fail-key=c"]);
    assert_code(&told, 13);
    assert_eq!(seen("c"), 1, "not named");
}

#[test]
fn statuses_of_a_broken_server_count_against_it() {
    let server = server("one");
    let plimsoll = before(server.address());
    for (code, errors) in [(5, 0), (14, 1), (13, 2), (2, 3), (15, 4), (8, 4), (4, 5), (12, 6)] {
        call(&plimsoll, &["Unary", "x", &format!("fail={code}")]);
        assert_eq!(one(&plimsoll)["errors"], errors, "status {code}");
    }
    call(&plimsoll, &["FailLate", "x"]);
    eventually("one that comes behind messages counts too", || {
        (one(&plimsoll)["errors"] == 7).then_some(())
    });
}

#[test]
fn calls_of_one_client_are_balanced_one_by_one() {
    let (first, second) = (server("one"), server("two"));
    let plimsoll = Plimsoll::config(
        "listeners.web = { bind = [\"@web@\"], pool = \"api\" }\n\
         [pools.api]\nbackends = [\"@first@\", \"@second@\"]\nprotocol = \"h2\"\nhealth = false\npolicy = \"round-robin\"",
    )
    .address("first", first.address())
    .address("second", second.address())
    .start();
    let mut client = Frames::connect(plimsoll.address("web"));
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    for number in 0..20 {
        let stream = number * 2 + 1;
        client.request(stream, "POST", "/e2e.Calls/Unary", &fields, 0);
        client
            .send(kind::DATA, END_STREAM, stream, &[0, 0, 0, 0, 1, b'x'])
            .expect("it is taken");
        let data = client.wait_for(stream, kind::DATA);
        assert_eq!(data.payload, [0, 0, 0, 0, 1, b'x']);
    }
    for server in [&first, &second] {
        let backend = server.address().to_string();
        let sent = plimsoll
            .metrics()
            .sum("plimsoll_requests_total", &[("backend", &backend)]);
        assert_eq!(sent, 10.0);
    }
}

#[test]
fn over_http_1_1_a_refused_call_is_told_the_same() {
    let backend = Backend::start(Script::Hang);
    let plimsoll = front().route("timeout = \"200ms\"").before(backend.address());
    let reply = plimsoll.exchange(
        "web",
        "POST /x HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n",
    );
    assert_eq!((reply.status, reply.header("grpc-status")), (200, Some("4")));
}
