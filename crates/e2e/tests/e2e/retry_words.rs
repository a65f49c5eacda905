//! What a route and a pool say of retries: of which requests, when, and how many.

use std::time::{Duration, Instant};

use e2e::{Script, eventually};

use crate::retries::pair;

/// All the words that widen what is retried.
const WIDE: &str = r#"on = ["connect", "reset", "timeout", "503"]"#;

#[test]
fn the_routes_word_widens_retries_to_what_has_a_key_or_to_all() {
    for (word, keyed, plain) in [
        ("non_idempotent = \"idempotency-key\"", 200, 502),
        ("non_idempotent = true", 200, 200),
        ("", 502, 502),
    ] {
        let (bad, good, stage) = pair(Script::reset(), &format!("retry = {{ {WIDE}, {word} }}"));
        for method in ["POST", "PATCH"] {
            let head = |field: &str| {
                format!("{method} /order HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n{field}\r\npay once")
            };
            let reply = |field: &str| stage.plimsoll.exchange("web", head(field)).status;
            assert_eq!(reply("idempotency-key: \"8e03978e\"\r\n"), keyed, "{method} {word}");
            assert_eq!(reply(""), plain, "{method} {word}");
            // None, and two of which nobody knows which one counts.
            assert_eq!(reply("idempotency-key:\r\n"), plain, "{method} {word}");
            assert_eq!(
                reply("idempotency-key: a\r\nidempotency-key: b\r\n"),
                plain,
                "{method} {word}"
            );
        }
        let retried = [keyed, plain, plain, plain]
            .iter()
            .filter(|status| **status == 200)
            .count();
        assert_eq!((bad.requests(), good.requests()), (8, 2 * retried), "{word}");
        assert!(good.seen().iter().all(|seen| seen.body == b"pay once"));
        // What may be sent again may also be sent on a connection that was kept.
        good.assert_no_violations();
    }
}

#[test]
fn retries_wait_when_the_route_says_so() {
    let backoff = "backoff = { base = \"400ms\", max = \"400ms\" }";
    let (bad, good, stage) = pair(Script::reset(), &format!("retry = {{ attempts = 3, {backoff} }}"));
    good.play(Script::reset());
    let waited = |path: &str| {
        let begun = Instant::now();
        stage.get(path).assert_reason(502, "backend_reset");
        begun.elapsed()
    };
    // Drawn between nothing and 400 ms, three times: the sum is above 100 ms in all but a few of a thousand cases, and of
    // six such sums all but never none.
    let longest = (0..6).map(|at| waited(&format!("/{at}"))).max();
    assert!(longest > Some(Duration::from_millis(100)), "{longest:?}");
    assert_eq!(bad.requests() + good.requests(), 6 * 4);
}

#[test]
fn a_client_that_leaves_while_its_retry_waits_is_noticed() {
    let backoff = "backoff = { base = \"60s\", max = \"60s\" }";
    let (bad, good, stage) = pair(Script::reset(), &format!("retry = {{ {backoff} }}"));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut wire = stage.connect();
            wire.send("GET /leaves HTTP/1.1\r\nhost: a\r\n\r\n");
            wire
        })
        .collect();
    bad.wait_for_requests(8);
    let left = clients.len() - good.requests();
    drop(clients);
    // One in sixty draws less than a second: few of eight may have been answered.
    eventually("those that wait are gone", || {
        (stage.failures("client_closed") + good.requests() as f64 >= 8.0).then_some(())
    });
    assert!(left >= 4, "{left}");
}

#[test]
fn a_retry_that_could_not_begin_before_the_deadline_is_not_waited_for() {
    let backoff = "backoff = { base = \"60s\", max = \"60s\" }";
    let route = format!("timeout = \"3s\"\nretry = {{ {WIDE}, {backoff} }}");
    let (bad, _good, stage) = pair(Script::reset(), &route);
    let (mut at_once, begun) = (0, Instant::now());
    for _ in 0..6 {
        let reply = stage.get("/late");
        // One in twenty draws a time that fits.
        assert!([200, 502].contains(&reply.status), "{reply:#?}");
        at_once += u32::from(reply.status == 502);
    }
    assert!(at_once >= 3, "{at_once}");
    assert!(
        begun.elapsed() < Duration::from_secs(6 * 60),
        "nobody waits for a draw of minutes"
    );
    // An answer that was to be thrown away is what the client gets instead.
    bad.play(Script::reply(503, "busy"));
    let texts: Vec<String> = (0..4).map(|_| stage.get("/busy").text()).collect();
    assert!(texts.iter().any(|text| text == "busy"), "{texts:?}");
}

#[test]
fn who_asks_to_be_asked_later_is_not_asked_again_at_once() {
    let busy = |name: &str| Script::reply(503, name).header("retry-after", "30");
    let (bad, good, stage) = pair(busy("bad"), "retry = { attempts = 3, on = [\"503\"] }");
    assert_eq!(stage.get("/other").status, 200, "another backend may be asked");
    good.play(busy("good"));
    let reply = stage.get("/both");
    assert_eq!(
        (reply.status, reply.text().as_str(), reply.header("retry-after")),
        (503, "good", Some("30"))
    );
    assert_eq!((bad.requests(), good.requests()), (2, 2), "each was asked once");
    // Without the field they are asked as often as the route says.
    bad.play(Script::status(503));
    good.play(Script::status(503));
    stage.get("/again");
    assert_eq!(bad.requests() + good.requests(), 4 + 4);
}
