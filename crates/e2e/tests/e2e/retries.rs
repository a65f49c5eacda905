//! Retries: on another backend, of what is safe, within the route's count and the pool's budget.

use std::time::{Duration, Instant};

use e2e::{Backend, Script, eventually};

use crate::stage::{Site, Stage, attempts, request};

/// `bad` is always tried first.
const PAIR: &str = r#"backends = [
        { name = "bad", address = "@bad@" },
        { name = "good", address = "@good@", priority = 1 },
    ]
    health = false
    outlier = false
    timeouts = { connect = "500ms", response_header = "5s" }"#;

pub(crate) fn pair(bad: Script, route: &str) -> (Backend, Backend, Stage) {
    let bad = Backend::named("bad", bad);
    let good = Backend::named("good", Script::Echo);
    let stage = Site::new()
        .route(route)
        .address("bad", bad.address())
        .address("good", good.address())
        .pool(PAIR);
    (bad, good, stage)
}

fn tried(results: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(backend, result): &(&str, &str)| ((*backend).to_owned(), (*result).to_owned());
    results.iter().map(own).collect()
}

#[test]
fn what_is_idempotent_is_tried_on_another_backend_however_the_first_one_fails() {
    let raw = |bytes: &str| Script::BytesThenClose(bytes.as_bytes().to_vec());
    let failures = [
        ("reset", Script::reset(), "backend_reset"),
        ("close", Script::close(), "backend_reset"),
        ("one byte", Script::BytesThenReset(b"H".to_vec()), "backend_reset"),
        ("half a head", raw("HTTP/1.1 200 OK\r\ncontent"), "backend_reset"),
        ("garbage", Script::garbage(), "backend_protocol_error"),
        ("no HTTP", raw("SSH-2.0-x\r\n\r\n"), "backend_protocol_error"),
        (
            "two lengths",
            raw("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
            "backend_protocol_error",
        ),
        (
            "an unasked switch",
            raw("HTTP/1.1 101 Yes\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
            "backend_protocol_error",
        ),
    ];
    let (bad, good, mut stage) = pair(Script::Hang, "");
    let mut count = 0;
    for (what, script, reason) in failures {
        bad.play(script);
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
            count += 1;
            let path = format!("/{count}");
            let mut wire = stage.connect();
            wire.send(format!("{method} {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
            let reply = wire.reply_to(method);
            assert_eq!((reply.status, reply.reason()), (200, None), "{method} after {what}");
            let line = stage.logged(&path);
            assert_eq!(
                attempts(&line),
                tried(&[("bad", reason), ("good", "200")]),
                "{method} after {what}: {line}"
            );
            assert_eq!(
                (&line["reason"], &line["backend"]),
                (&serde_json::Value::Null, &"good".into())
            );
        }
    }
    assert_eq!((bad.requests(), good.requests()), (count, count));
    eventually("all retries are counted", || {
        (stage.retries("success") == 40.0).then_some(())
    });
    assert_eq!(
        (
            stage.failures("backend_reset"),
            stage.failures("backend_protocol_error")
        ),
        (0.0, 0.0)
    );
    stage.assert_bystander_undisturbed();
    good.assert_no_violations();
}

#[test]
fn a_post_that_reached_a_backend_is_not_sent_again() {
    for (script, reason) in [
        (Script::reset(), "backend_reset"),
        (Script::close(), "backend_reset"),
        (Script::garbage(), "backend_protocol_error"),
    ] {
        let (bad, good, stage) = pair(script, "retry = { attempts = 3 }");
        stage.send("POST", "/order", b"pay once").assert_reason(502, reason);
        stage.send("PATCH", "/order", b"pay once").assert_reason(502, reason);
        assert_eq!((bad.requests(), good.requests()), (2, 0));
        assert_eq!(attempts(&stage.logged("/order")), tried(&[("bad", reason)]));
    }
}

#[test]
fn a_post_that_could_not_be_sent_is_tried_on_another_backend() {
    let (mut bad, good, stage) = pair(Script::Echo, "");
    bad.stop();
    let long = vec![b'x'; 300_000];
    for (count, body) in [&b"pay once"[..], &long].into_iter().enumerate() {
        let reply = stage.send("POST", "/order", body);
        assert_eq!(reply.status, 200, "{reply:#?}");
        assert_eq!(good.requests(), count + 1);
        assert_eq!(good.seen()[count].body, body);
    }
    assert_eq!(
        attempts(&stage.logged("/order")),
        tried(&[("bad", "connect_failed"), ("good", "200")])
    );
}

#[test]
fn a_connection_that_is_not_made_in_time_is_made_to_another_backend() {
    let bad = Backend::unreachable();
    let good = Backend::named("good", Script::Echo);
    let stage = Site::new()
        .address("bad", bad.address())
        .address("good", good.address())
        .pool(PAIR);
    assert_eq!(stage.send("POST", "/order", b"pay once").status, 200);
    assert_eq!(
        attempts(&stage.logged("/order")),
        tried(&[("bad", "connect_timeout"), ("good", "200")])
    );
}

#[test]
fn a_put_is_sent_again_with_the_body_that_was_kept() {
    let (bad, good, stage) = pair(Script::reset(), "");
    let body: Vec<u8> = (0..60_000u32)
        .map(|n| b'a' + u8::try_from(n % 26).unwrap_or(0))
        .collect();
    assert_eq!(stage.send("PUT", "/known", &body).status, 200);
    // In chunks, with a pause in the middle: the second backend gets what came before it, too.
    let mut wire = stage.connect();
    wire.send("PUT /chunks HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    for part in body.chunks(10_000) {
        wire.send(format!("{:x}\r\n", part.len()));
        wire.send(part);
        wire.send("\r\n");
    }
    wire.send("0\r\nx-sum: 1\r\n\r\n");
    assert_eq!(wire.reply().status, 200);
    assert_eq!((bad.requests(), good.requests()), (2, 2));
    for seen in good.seen() {
        assert!(seen.body == body, "{}: {} bytes", seen.path(), seen.body.len());
    }
    good.assert_no_violations();
}

#[test]
fn a_body_too_long_to_be_kept_is_sent_once_and_is_no_error() {
    let (bad, good, stage) = pair(Script::reset(), "retry = { attempts = 3 }");
    let long = vec![b'x'; 300_000];
    stage.send("PUT", "/long", &long).assert_reason(502, "backend_reset");
    assert_eq!((bad.requests(), good.requests()), (1, 0));
    assert_eq!(attempts(&stage.logged("/long")), tried(&[("bad", "backend_reset")]));
    bad.play(Script::Echo);
    assert_eq!(
        stage.send("PUT", "/well", &long).json()["body"].as_str().map(str::len),
        Some(300_000)
    );
    assert_eq!(stage.retries("failure"), 0.0);
}

#[test]
fn statuses_are_tried_again_when_the_route_says_so() {
    let route = "retry = { on = [\"503\", \"429\"] }";
    let (bad, good, stage) = pair(Script::status(503), route);
    assert_eq!(stage.get("/503").json()["backend"], "good");
    assert_eq!(
        attempts(&stage.logged("/503")),
        tried(&[("bad", "503"), ("good", "200")])
    );
    // What is not idempotent gets the answer that there is.
    let reply = stage.send("POST", "/post", b"once");
    assert_eq!((reply.status, reply.reason(), good.requests()), (503, None, 1));
    bad.play(Script::status(429));
    assert_eq!(stage.get("/429").status, 200);
    bad.play(Script::status(500));
    assert_eq!(stage.get("/500").status, 500);
    // `on` is the whole list: without "reset", a reset is final.
    bad.play(Script::reset());
    stage.get("/reset").assert_reason(502, "backend_reset");
    assert_eq!(good.requests(), 2);
}

#[test]
fn every_5xx_is_tried_again_when_the_route_says_so() {
    let (bad, good, stage) = pair(Script::Echo, "retry = { on = [\"5xx\"] }");
    for (count, status) in [500, 502, 503, 504, 599].into_iter().enumerate() {
        bad.play(Script::status(status));
        assert_eq!(stage.get(&format!("/{status}")).status, 200, "{status}");
        assert_eq!(good.requests(), count + 1);
    }
    bad.play(Script::status(404));
    assert_eq!(stage.get("/404").status, 404);
    // When all tries answer so, the last answer is what the client gets, whole.
    bad.play(Script::status(500));
    good.play(Script::reply(503, "both").header("retry-after", "7"));
    let reply = stage.get("/both");
    assert_eq!(
        (reply.status, reply.text().as_str(), reply.reason()),
        (503, "both", None)
    );
    assert_eq!(reply.header("retry-after"), Some("7"));
    eventually("the retry that did not help is counted", || {
        (stage.retries("failure") == 1.0).then_some(())
    });
}

#[test]
fn a_try_that_takes_too_long_is_given_up_for_another() {
    let interim = Script::custom(|exchange| {
        loop {
            exchange.send("HTTP/1.1 102 Processing\r\n\r\n")?;
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let (bad, _good, stage) = pair(
        Script::Hang,
        "retry = { on = [\"timeout\"], per_try_timeout = \"300ms\" }",
    );
    for (path, script) in [("/hang", Script::Hang), ("/interim-answers-alone", interim)] {
        bad.play(script);
        assert_eq!(stage.get(path).status, 200);
        assert_eq!(
            attempts(&stage.logged(path)),
            tried(&[("bad", "response_timeout"), ("good", "200")])
        );
    }
    bad.play(Script::Hang);
    stage
        .send("POST", "/order", b"once")
        .assert_reason(504, "response_timeout");
    // The time of a try runs from the request's end: a client may take longer to send it.
    bad.play(Script::Echo);
    let mut wire = stage.connect();
    wire.send("PUT /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\n");
    wire.drip("12345678", Duration::from_millis(75))
        .expect("the body is taken");
    assert_eq!(wire.reply().json()["body"], "12345678");
}

#[test]
fn attempts_counts_the_retries() {
    for (retries, expected) in [(0, 1), (1, 2), (4, 5)] {
        let (bad, good, stage) = pair(Script::reset(), &format!("retry = {{ attempts = {retries} }}"));
        good.play(Script::reset());
        stage.get("/all").assert_reason(502, "backend_reset");
        let line = stage.logged("/all");
        let tried = attempts(&line);
        assert_eq!(tried.len(), expected, "{tried:?}");
        assert_eq!(bad.requests() + good.requests(), expected);
        // Another one as long as there is one.
        assert_eq!(good.requests() > 0, retries > 0);
    }
}

#[test]
fn a_pool_of_one_is_tried_again_itself() {
    let only = Backend::named(
        "only",
        Script::InTurn(vec![Script::reset(), Script::reply(200, "second")]),
    );
    let stage = Site::new()
        .address("only", only.address())
        .pool("backends = [{ name = \"only\", address = \"@only@\" }]\nhealth = false");
    assert_eq!(stage.get("/twice").text(), "second");
    assert_eq!(
        attempts(&stage.logged("/twice")),
        tried(&[("only", "backend_reset"), ("only", "200")])
    );
}

#[test]
fn retries_stop_when_the_budget_is_spent_and_the_failure_is_the_first_one() {
    // A second backend that fails otherwise, so that it shows who answered last.
    let (bad, good, stage) = pair(Script::reset(), "");
    good.play(Script::garbage());
    let (requests, began) = (600, Instant::now());
    let mut reasons = [0u32; 2];
    let mut wire = stage.connect();
    for _ in 0..requests {
        wire.send(request("GET", "/outage", b""));
        let reply = wire.reply();
        let which = usize::from(reply.reason() == Some("backend_protocol_error"));
        assert!(which == 1 || reply.reason() == Some("backend_reset"), "{reply:#?}");
        reasons[which] += 1;
    }
    let took = began.elapsed().as_secs_f64();
    let retried = f64::from(reasons[1]);
    // Ten seconds' worth of the free ten a second to begin with, a fifth of the requests, and ten a second since; the
    // first failure of ten seconds is not charged, nor is what began in the same millisecond, in which a few fit.
    let graced = 8.0 * (1.0 + took / 10.0);
    let most = 100.0 + 0.2 * f64::from(requests) + 10.0 * took + 1.0 + graced;
    assert!(retried <= most, "{retried} retries in {took} s, {most} allowed");
    assert!(retried >= 90.0, "{retried}");
    assert_eq!(bad.requests(), usize::try_from(requests).unwrap_or(0));
    assert_eq!(good.requests(), usize::try_from(reasons[1]).unwrap_or(0));
    let refused = f64::from(requests) - retried;
    stage.assert_failures("retry_budget_spent", refused);
    stage.assert_failures("backend_reset", refused);
    stage.assert_failures("backend_protocol_error", retried);
    assert_eq!(
        (stage.retries("budget_spent"), stage.retries("failure")),
        (refused, retried)
    );
}
