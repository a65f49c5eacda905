//! Clients that take their time, many at once.

use std::process::Command;
use std::time::Duration;

use e2e::frames::{self, Frames, kind};
use e2e::{Backend, Plimsoll, Script, Wire, scaled, tools};

use super::under_attack;
use crate::front::{front, wait_for_failures};

const HASTY: &str = "timeouts = { request_header = \"1s\", request_body = \"1s\", stream_idle = \"1s\" }";

#[test]
fn slow_heads_end_when_their_time_is_up() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().listener(HASTY).before(backend.address());
    let each = scaled("slow_heads_end_when_their_time_is_up", 300, 2);
    under_attack(&plimsoll, "slow heads", || {
        let begun = frames::encode(kind::HEADERS, 0, 1, &frames::head(&[(":method", "GET")]));
        let mut by_http2: Vec<Frames> = (0..each).map(|_| Frames::connect(plimsoll.address("web"))).collect();
        let mut by_http1: Vec<Wire> = (0..each).map(|_| plimsoll.connect("web")).collect();
        for (number, client) in by_http2.iter_mut().enumerate() {
            // In the middle of a frame, between two frames of a head, and before the first.
            let part = [&begun[..12], &begun[..], &begun[..5]][number % 3];
            client.wire.try_send(part).expect("it is taken");
        }
        for wire in &mut by_http1 {
            wire.send("GET / HTTP/1.1\r\nhost: a\r\nx-slow:");
        }
        for client in &mut by_http2 {
            while client.read().is_ok() {}
        }
        for wire in &mut by_http1 {
            wire.reply().assert_reason(408, "request_header_timeout");
        }
        2 * each
    });
    wait_for_failures(
        &plimsoll,
        "request_header_timeout",
        usize::try_from(2 * each).expect("it is small"),
    );
}

/// slowhttptest's verdict, while others ask.
fn slowhttptest(plimsoll: &Plimsoll, name: &str, options: &[&str]) {
    let connections = scaled(name, 100, 2).to_string();
    under_attack(plimsoll, name, || {
        let mut command = Command::new("slowhttptest");
        command
            .args([
                "-c",
                &connections,
                "-r",
                "200",
                "-i",
                "1",
                "-l",
                "20",
                "-p",
                "5",
                "-v",
                "1",
            ])
            .args(options)
            .args(["-u", &format!("http://{}/large", plimsoll.address("web"))]);
        let output = tools::run(&mut command, Duration::from_secs(30));
        let said = output.stdout + &output.stderr;
        // The last look at the service, of many.
        let available = said.lines().rfind(|line| line.contains("service available"));
        assert!(available.is_some_and(|line| line.contains("YES")), "{said}");
        connections.parse().expect("it is a number")
    });
}

#[test]
fn slowhttptest_finds_the_service_available() {
    let backend = Backend::start(Script::by_path([
        ("/large", Script::reply(200, vec![b'x'; 4 << 20])),
        ("/", Script::Echo),
    ]));
    let plimsoll = front().listener(HASTY).before(backend.address());
    let failures = |reason: &str| plimsoll.metrics().sum("plimsoll_failures_total", &[("reason", reason)]);
    slowhttptest(&plimsoll, "slowloris", &["-H"]);
    assert!(failures("request_header_timeout") >= 1.0);
    slowhttptest(&plimsoll, "slow bodies", &["-B", "-s", "100000"]);
    slowhttptest(
        &plimsoll,
        "slow reading",
        &["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32"],
    );
    assert!(failures("idle_timeout") >= 1.0);
}
