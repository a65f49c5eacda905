//! Hedged requests: a second backend when the first takes long, one answer, and no more than the route allows.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use e2e::frames::{END_STREAM, kind};
use e2e::{Backend, Plimsoll, Script, eventually, stays, tools};
use serde_json::Value;

use crate::http2_streams::scripted;
use crate::stage::{Site, Stage, attempts};

/// `slow` is always tried first.
fn pair(slow: Script, route: &str) -> (Backend, Backend, Stage) {
    pair_of("", slow, route)
}

fn pair_of(pool: &str, slow: Script, route: &str) -> (Backend, Backend, Stage) {
    let slow = Backend::named("slow", slow);
    let fast = Backend::named("fast", Script::Echo);
    let stage = Site::new()
        .route(route)
        .address("slow", slow.address())
        .address("fast", fast.address())
        .pool(&format!(
            "backends = [{{ name = \"slow\", address = \"@slow@\" }}, {{ name = \"fast\", address = \"@fast@\", priority = 1 }}]\n\
             health = false\noutlier = false\n{pool}"
        ));
    (slow, fast, stage)
}

/// Every request may be hedged, after 100 ms.
const ALL: &str = "hedge = { after = \"100ms\", max_percent = 100 }\nretry = { attempts = 0 }";

fn hedges(plimsoll: &Plimsoll, result: &str) -> f64 {
    plimsoll.metrics().sum("plimsoll_hedges_total", &[("result", result)])
}

/// The attempts, and whether each was the second one of a hedged request.
fn with_hedges(line: &Value) -> Vec<(String, String, bool)> {
    let second = line["attempts"].as_array().into_iter().flatten();
    let second = second.map(|attempt| attempt["hedge"] == true);
    attempts(line)
        .into_iter()
        .zip(second)
        .map(|((backend, result), second)| (backend, result, second))
        .collect()
}

fn told(attempts: &[(&str, &str, bool)]) -> Vec<(String, String, bool)> {
    let own = |(backend, result, second): &(&str, &str, bool)| ((*backend).into(), (*result).into(), *second);
    attempts.iter().map(own).collect()
}

#[test]
fn a_request_that_waits_is_answered_by_a_second_backend_and_the_first_is_cancelled() {
    let (slow, fast, mut stage) = pair(Script::Hang, ALL);
    let body = vec![b'x'; 60_000];
    for (count, (method, body)) in [("GET", &[][..]), ("HEAD", &[]), ("PUT", &body), ("DELETE", b"one")]
        .into_iter()
        .enumerate()
    {
        let path = format!("/{count}");
        let mut wire = stage.connect();
        wire.send(crate::stage::request(method, &path, body));
        assert_eq!(wire.reply_to(method).status, 200, "{method}");
        assert_eq!((slow.requests(), fast.requests()), (count + 1, count + 1));
        assert!(fast.seen()[count].body == body, "{method}");
        let line = stage.logged(&path);
        assert_eq!(
            with_hedges(&line),
            told(&[("slow", "overtaken", false), ("fast", "200", true)]),
            "{line}"
        );
        assert_eq!((&line["backend"], &line["status"]), (&"fast".into(), &200.into()));
        // The connection goes on.
        wire.send("GET /next HTTP/1.1\r\nhost: bystander.example\r\n\r\n");
        assert_eq!(wire.reply().text(), "undisturbed");
    }
    eventually(
        "what was overtaken has its connections closed and its leases given back",
        || {
            let backend = stage.backend("slow");
            (slow.open_connections() == 0 && backend["in_flight"] == 0).then_some(())
        },
    );
    // As a cancellation: no failure, no request that has ended.
    let backend = stage.backend("slow");
    assert_eq!(
        (&backend["errors"], &backend["requests"]),
        (&0.into(), &0.into()),
        "{backend}"
    );
    assert!(
        backend["latency_ms"].as_f64() >= Some(100.0),
        "it has shown how slow it is: {backend}"
    );
    assert_eq!(hedges(&stage.plimsoll, "won"), 4.0);
    assert_eq!(stage.retries("success"), 0.0, "a hedge is no retry");
    stage.assert_bystander_undisturbed();
    fast.assert_no_violations();
}

#[test]
fn what_is_answered_in_time_is_sent_once() {
    let (slow, fast, stage) = pair(Script::Echo, "hedge = { after = \"10s\", max_percent = 100 }");
    for _ in 0..20 {
        assert_eq!(stage.get("/quick").json()["backend"], "slow");
    }
    assert_eq!((slow.requests(), fast.requests()), (20, 0));
    assert_eq!(hedges(&stage.plimsoll, "won") + hedges(&stage.plimsoll, "lost"), 0.0);
}

#[test]
fn the_first_backends_answer_counts_when_it_comes_first_after_all() {
    let (slow, fast, stage) = pair(Script::after(Duration::from_millis(600), Script::Echo), ALL);
    fast.play(Script::Hang);
    assert_eq!(stage.get("/first").json()["backend"], "slow");
    assert_eq!((slow.requests(), fast.requests()), (1, 1));
    let line = stage.logged("/first");
    assert_eq!(
        with_hedges(&line),
        told(&[("fast", "overtaken", true), ("slow", "200", false)]),
        "{line}"
    );
    eventually("the second is cancelled", || {
        (fast.open_connections() == 0 && stage.backend("fast")["in_flight"] == 0).then_some(())
    });
    assert_eq!(hedges(&stage.plimsoll, "lost"), 1.0);
    assert_eq!(stage.backend("fast")["errors"], 0);
}

#[test]
fn what_is_not_idempotent_or_too_long_to_be_kept_is_never_sent_twice() {
    let word = format!("{}, non_idempotent = true }}", ALL.trim_end_matches(" }"));
    let (slow, fast, stage) = pair(Script::after(Duration::from_millis(500), Script::Echo), &word);
    let long = vec![b'x'; 300_000];
    for (method, body) in [("POST", &b"once"[..]), ("PATCH", b"once"), ("PUT", &long)] {
        assert_eq!(stage.send(method, "/once", body).json()["backend"], "slow");
    }
    assert_eq!((slow.requests(), fast.requests()), (3, 0));
}

#[test]
fn a_second_attempt_that_fails_leaves_the_first_one_alone() {
    for (script, result) in [(Script::reset(), "backend_reset"), (Script::status(503), "503")] {
        let (_slow, fast, stage) = pair(Script::after(Duration::from_millis(600), Script::Echo), ALL);
        fast.play(script);
        assert_eq!(stage.get("/one").json()["backend"], "slow");
        let line = stage.logged("/one");
        assert_eq!(
            with_hedges(&line),
            told(&[("fast", result, true), ("slow", "200", false)]),
            "{line}"
        );
        assert_eq!(hedges(&stage.plimsoll, "failed"), 1.0);
        assert_eq!(stage.backend("fast")["errors"], 1, "that is a failure of its own");
    }
}

#[test]
fn a_first_attempt_that_fails_waits_for_the_second_and_is_retried_when_both_have_failed() {
    let late = |then: Script| Script::after(Duration::from_millis(300), then);
    // The first fails while the second is under way.
    for (first, result) in [(Script::reset(), "backend_reset"), (Script::status(500), "500")] {
        let (_slow, fast, stage) = pair(late(first), ALL);
        fast.play(Script::after(Duration::from_millis(600), Script::Echo));
        assert_eq!(stage.get("/second").json()["backend"], "fast");
        let line = stage.logged("/second");
        assert_eq!(
            with_hedges(&line),
            told(&[("slow", result, false), ("fast", "200", true)]),
            "{line}"
        );
        assert_eq!(stage.backend("slow")["errors"], 1);
    }
    // Both fail: the first one's failure is what came of it, and a retry may follow.
    let (slow, fast, stage) = pair(late(Script::reset()), ALL);
    fast.play(Script::reset());
    stage.get("/both").assert_reason(502, "backend_reset");
    let line = stage.logged("/both");
    assert_eq!(
        with_hedges(&line),
        told(&[("fast", "backend_reset", true), ("slow", "backend_reset", false)]),
        "{line}"
    );
    assert_eq!((slow.requests(), fast.requests()), (1, 1));
    let (slow, fast, stage) = pair(late(Script::reset()), &ALL.replace("attempts = 0", "attempts = 1"));
    fast.play(Script::InTurn(vec![Script::reset(), Script::Echo]));
    slow.play(Script::InTurn(vec![late(Script::reset()), Script::Echo]));
    assert_eq!(stage.get("/again").status, 200);
    assert_eq!(slow.requests() + fast.requests(), 3);
}

#[test]
fn no_more_than_the_percentage_is_hedged() {
    let (_slow, fast, stage) = pair(
        Script::after(Duration::from_millis(60), Script::Echo),
        "hedge = { after = \"20ms\", max_percent = 10 }",
    );
    let mut wire = stage.connect();
    for _ in 0..95 {
        assert_eq!(wire.get("/share").status, 200);
    }
    // The tenth of 95; fewer where a busy machine was as slow as the backend, and there was nothing to hedge.
    let hedged = fast.requests();
    assert!((1..=9).contains(&hedged), "{hedged} of 95");
    assert!(hedges(&stage.plimsoll, "budget_spent") > 0.0);
    let ended = hedges(&stage.plimsoll, "won") + hedges(&stage.plimsoll, "lost");
    assert_eq!(ended, f64::from(u32::try_from(hedged).expect("they are few")));
}

#[test]
fn the_time_to_wait_is_learned_from_the_pools_latency() {
    let (slow, fast, stage) = pair(
        Script::by_path([("/hang", Script::Hang), ("/", Script::Echo)]),
        "hedge = { after = \"p95\", max_percent = 100 }",
    );
    // Of few answers nothing is known.
    let mut wire = stage.connect();
    wire.send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
    slow.wait_for_requests(1);
    stays(Duration::from_millis(300), "nothing is hedged", || fast.requests() == 0);
    let mut other = stage.connect();
    for _ in 0..150 {
        assert_eq!(other.get("/quick").status, 200);
    }
    let reply = stage.get("/hang");
    assert_eq!((reply.status, reply.json()["backend"].clone()), (200, "fast".into()));
    let url = format!("http://{}/quick", stage.plimsoll.address("web"));
    let config = stage.plimsoll.config_file().display().to_string();
    let offline = e2e::run_command(stage.plimsoll.scratch(), &["explain", "-c", &config, &url]);
    assert!(
        offline.stdout.contains("after p95, of which too few answers tell yet"),
        "{}",
        offline.stdout
    );
    let told = stage.plimsoll.admin(&format!("/api/v1/explain?url={url}")).text();
    assert!(told.contains("after p95, now "), "{told}");
    let told = stage
        .plimsoll
        .admin(&format!("/api/v1/explain?method=POST&url={url}"))
        .text();
    assert!(told.contains("never: POST is not sent twice"), "{told}");
}

#[test]
fn a_sticky_session_is_not_hedged_and_a_pool_of_one_has_nobody_to_ask() {
    let (slow, fast, stage) = pair_of("sticky = { header = \"x-user\" }", Script::Echo, ALL);
    let user = "GET /user HTTP/1.1\r\nhost: a\r\nx-user: 7\r\n\r\n";
    assert_eq!(stage.plimsoll.exchange("web", user).json()["backend"], "slow");
    slow.play(Script::after(Duration::from_millis(500), Script::Echo));
    assert_eq!(stage.plimsoll.exchange("web", user).json()["backend"], "slow");
    assert_eq!(fast.requests(), 0);
    let only = Backend::named("only", Script::after(Duration::from_millis(400), Script::Echo));
    let stage = Site::new()
        .route(ALL)
        .address("only", only.address())
        .pool("backends = [\"@only@\"]\nhealth = false");
    assert_eq!(stage.get("/alone").status, 200);
    assert_eq!((only.requests(), hedges(&stage.plimsoll, "no_backend")), (1, 1.0));
}

#[test]
fn a_client_that_leaves_takes_both_attempts_with_it() {
    let (slow, fast, stage) = pair(Script::Hang, ALL);
    fast.play(Script::Hang);
    let mut wire = stage.connect();
    wire.send("GET /leaves HTTP/1.1\r\nhost: a\r\n\r\n");
    fast.wait_for_requests(1);
    drop(wire);
    eventually("both are cancelled", || {
        (slow.open_connections() + fast.open_connections() == 0).then_some(())
    });
    assert_eq!(stage.failures("client_closed"), 1.0);
    eventually("no lease is left", || {
        (stage.backend("slow")["in_flight"] == 0 && stage.backend("fast")["in_flight"] == 0).then_some(())
    });
}

#[test]
fn interim_answers_of_the_first_backend_go_on_and_those_of_the_second_are_nobodys() {
    let hint = |from: &'static str, pause: u64| {
        Script::custom(move |exchange| {
            exchange.send(format!("HTTP/1.1 103 Early Hints\r\nlink: <{from}>\r\n\r\n"))?;
            std::thread::sleep(Duration::from_millis(pause));
            exchange.reply(200, &[], from.as_bytes()).map(|()| true)
        })
    };
    let (_slow, fast, stage) = pair(hint("slow", 5_000), ALL);
    fast.play(hint("fast", 0));
    let reply = stage.get("/hints");
    assert_eq!((reply.interim.as_slice(), reply.text().as_str()), (&[103][..], "fast"));
}

/// Backends that speak HTTP/2: one that answers nothing and counts what is cancelled, and one that answers.
#[test]
fn over_http_2_the_first_backends_stream_alone_is_reset() {
    let cancelled = Arc::new(AtomicU32::new(0));
    let count = cancelled.clone();
    let slow = scripted(&[], move |_, frame| -> io::Result<bool> {
        count.fetch_add(u32::from(frame.kind == kind::RST_STREAM), Ordering::Relaxed);
        Ok(true)
    });
    let fast = scripted(&[], |frames, frame| {
        if frame.kind == kind::HEADERS {
            frames.answer(frame.stream, 200, &[], 0)?;
            frames.send(kind::DATA, END_STREAM, frame.stream, b"fast")?;
        }
        Ok(true)
    });
    let stage = Site::new()
        .route(ALL)
        .address("slow", slow.address())
        .address("fast", fast.address())
        .pool(
            "backends = [\"@slow@\", { address = \"@fast@\", priority = 1 }]\nprotocol = \"h2\"\nhealth = false\n\
             outlier = false",
        );
    let url = format!("http://{}/", stage.plimsoll.address("web"));
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        assert_eq!(tools::curl(&[version, &url]).stdout, "fast", "{version}");
    }
    eventually("both streams are reset", || {
        (cancelled.load(Ordering::Relaxed) == 2).then_some(())
    });
    assert_eq!(slow.open_connections(), 1, "its connection stays");
    assert_eq!(hedges(&stage.plimsoll, "won"), 2.0);
}
