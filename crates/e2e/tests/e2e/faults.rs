//! Bodies that are too long, and faults that are injected.

use std::process::Command;
use std::time::{Duration, Instant};

use e2e::frames::END_STREAM;
use e2e::tools::{curl, run};
use e2e::{Backend, Frames, PATIENCE, Plimsoll, Script, eventually};

use crate::front::wait_for_failures;

fn serve(filters: &str) -> (Backend, Plimsoll) {
    let backend = Backend::start(Script::Echo);
    let text = format!(
        "[listeners.web]\nbind = \"@web@\"\n[[routes]]\nfilters = [{filters}]\npool = \"p\"\n\
         [pools.p]\nbackends = [\"@one@\"]\nhealth = false\n"
    );
    let plimsoll = Plimsoll::config(&text).address("one", backend.address()).start();
    (backend, plimsoll)
}

#[test]
fn a_body_that_is_said_to_be_too_long_is_refused_before_it_is_sent() {
    let (backend, plimsoll) = serve(r#"{ kind = "body-limit", size = "1KiB" }"#);
    let mut wire = plimsoll.connect("web");
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1025\r\nexpect: 100-continue\r\n\r\n");
    let reply = wire.reply();
    reply.assert_reason(413, "body_too_large");
    assert!(
        reply.interim.is_empty(),
        "nobody asked for the body: {:?}",
        reply.interim
    );
    assert_eq!(reply.header("connection"), Some("close"));
    wire.assert_closed_within(PATIENCE);
    assert_eq!(backend.requests(), 0);
    let fits = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1024\r\n\r\n{}",
        "x".repeat(1_024)
    );
    assert_eq!(plimsoll.exchange("web", fits).status, 200);
}

#[test]
fn a_body_of_unknown_length_is_cut_where_it_becomes_too_long() {
    let (backend, plimsoll) =
        serve(r#"{ kind = "body-limit", size = "100KiB" }, { kind = "body-limit", size = "200KiB" }"#);
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1_024));
    let fits = format!("{head}{}0\r\n\r\n", chunk.repeat(100));
    assert_eq!(plimsoll.exchange("web", fits).status, 200);
    // More than is kept for a retry, so that the backend has a part of it by then.
    let mut wire = plimsoll.connect("web");
    wire.send(head);
    for _ in 0..101 {
        wire.send(&chunk);
    }
    let reply = wire.reply();
    reply.assert_reason(413, "body_too_large");
    assert_eq!(reply.header("connection"), Some("close"));
    wire.assert_closed_within(PATIENCE);
    let file = plimsoll.scratch().write("body", "x".repeat(1 << 20));
    let url = format!("http://{}/", plimsoll.address("web"));
    let mut nghttp = Command::new("nghttp");
    nghttp.args(["-v", "--no-content-length", "-d"]).arg(file).arg(url);
    let told = run(&mut nghttp, PATIENCE).stdout;
    // RFC 9113 §8.1: the rest is not wanted, and the answer counts all the same.
    for part in [":status: 413", "413 body_too_large", "error_code=NO_ERROR"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(plimsoll.get("web", "/").status, 200);
    backend.assert_no_violations();
}

#[test]
fn requests_that_are_drawn_wait_and_fail() {
    let (backend, plimsoll) = serve(r#"{ kind = "fault", delay = "300ms", abort = 418, header = "x-chaos" }"#);
    assert_eq!(plimsoll.get("web", "/").status, 200);
    let begun = Instant::now();
    let reply = plimsoll.exchange("web", "GET / HTTP/1.1\r\nhost: a\r\nx-chaos: 1\r\n\r\n");
    reply.assert_reason(418, "fault_injected");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(backend.requests(), 1);
    let url = format!("http://{}/", plimsoll.address("web"));
    let told = curl(&["--http2-prior-knowledge", "-i", "-H", "x-chaos: 1", &url]).stdout;
    assert!(told.starts_with("HTTP/2 418"), "{told}");
    let told = plimsoll.admin("/api/v1/explain?url=http://a/&header=x-chaos:1").text();
    assert!(
        told.contains("100 of 100 requests, and this one") && told.contains("fault_injected"),
        "{told}"
    );
}

#[test]
fn faults_on_trial_are_counted_and_nobody_waits() {
    let (_backend, plimsoll) = serve(r#"{ kind = "fault", delay = "10m", abort = 503, dry_run = true }"#);
    assert_eq!(plimsoll.get("web", "/").status, 200);
    eventually("it is counted", || {
        let rehearsed = plimsoll
            .metrics()
            .sum("plimsoll_dry_run_total", &[("reason", "fault_injected")]);
        (rehearsed >= 1.0).then_some(())
    });
}

#[test]
fn a_limit_on_trial_lets_every_body_pass_and_counts_those_that_are_too_long() {
    let (backend, plimsoll) = serve(r#"{ kind = "body-limit", size = "1KiB", dry_run = true }"#);
    let body = "x".repeat(2_048);
    let declared = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2048\r\n\r\n{body}");
    let chunked = format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n800\r\n{body}\r\n0\r\n\r\n");
    let short = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    for request in [declared.as_str(), &chunked, short] {
        assert_eq!(plimsoll.exchange("web", request).status, 200);
    }
    let lengths: Vec<usize> = backend.seen().iter().map(|request| request.body.len()).collect();
    assert_eq!(lengths, [2_048, 2_048, 1]);
    eventually("two are counted", || {
        let labels = [("reason", "body_too_large")];
        (plimsoll.metrics().sum("plimsoll_dry_run_total", &labels) == 2.0).then_some(())
    });
}

#[test]
fn a_client_that_goes_away_while_it_waits_is_not_waited_for() {
    let (backend, plimsoll) = serve(r#"{ kind = "concurrency-limit", limit = 3 }, { kind = "fault", delay = "10m" }"#);
    let mut old = plimsoll.connect("web");
    old.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut new = Frames::connect(plimsoll.address("web"));
    new.request(1, "GET", "/", &[], END_STREAM);
    let mut newer = Frames::connect(plimsoll.address("web"));
    newer.request(1, "GET", "/", &[], END_STREAM);
    let held = |count: u8| {
        let told = plimsoll.admin("/api/v1/explain?url=http://a/&client=127.0.0.1").text();
        told.contains(&format!("{count} of 3 under way")).then_some(())
    };
    eventually("all three wait", || held(3));
    drop(old);
    new.reset(1, 8).expect("it is taken");
    drop(newer);
    eventually("none of them is waited for", || held(0));
    wait_for_failures(&plimsoll, "client_closed", 3);
    assert_eq!(backend.requests(), 0);
}
