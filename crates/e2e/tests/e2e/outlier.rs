//! Passive health: who fails requests is taken out, and a request that always fails takes nobody out.

use std::time::Duration;

use e2e::{Backend, Script, eventually, tools};

use crate::stage::{Site, Stage};

fn pool_of(backends: &[&Backend], lines: &str) -> Stage {
    let names = ["a", "b", "c", "d", "e"];
    let site = backends.iter().zip(names).fold(Site::new(), |site, (backend, name)| {
        site.address(name, backend.address())
    });
    let entries: Vec<_> = backends
        .iter()
        .zip(names)
        .map(|(_, name)| format!("{{ name = \"{name}\", address = \"@{name}@\" }}"))
        .collect();
    site.pool(&format!("backends = [{}]\nhealth = false\n{lines}", entries.join(", ")))
}

fn ejections(stage: &Stage) -> f64 {
    let labels = [("pool", "api"), ("to", "ejected")];
    stage
        .plimsoll
        .metrics()
        .sum("plimsoll_health_transitions_total", &labels)
}

#[test]
fn a_backend_that_answers_500_to_everything_attracts_nothing() {
    for policy in [
        "least-connections",
        "power-of-two",
        "peak-ewma",
        "least-response-time",
        "round-robin",
    ] {
        let well = || Backend::start(Script::after(Duration::from_millis(2), Script::reply(200, "ok")));
        let (a, b, c) = (well(), well(), Backend::start(Script::status(500)));
        let stage = pool_of(&[&a, &b, &c], &format!("policy = \"{policy}\""));
        let load = tools::wrk(stage.plimsoll.address("web"), "/", 16, Duration::from_secs(1));
        let (bad, all) = (c.requests(), a.requests() + b.requests() + c.requests());
        // It answers at once and the others take 2 ms: by what is in flight alone it would get nearly everything.
        assert!(bad * 20 < all, "{policy}: {bad} of {all}");
        assert!(load.bad_statuses * 20 < load.requests, "{policy}: {load:?}");
        // Policies that see failures avoid it so well that the evidence for an ejection may take longer.
        if policy == "round-robin" {
            assert_eq!(stage.backend("c")["state"], "ejected");
            assert_eq!(ejections(&stage), 1.0);
        }
    }
}

/// A pool of five whose last backend answers with `last`, with work until that one is ejected; its cause.
fn compared(outlier: &str, last: Script) -> String {
    let well = || Backend::start(Script::reply(200, "ok"));
    let (a, b, c, d) = (well(), well(), well(), well());
    let e = Backend::start(last);
    let lines = format!("policy = \"round-robin\"\noutlier = {{ interval = \"300ms\", {outlier} }}");
    let stage = pool_of(&[&a, &b, &c, &d, &e], &lines);
    let web = stage.plimsoll.address("web");
    eventually("it is ejected", || {
        tools::wrk(web, "/", 8, Duration::from_secs(1));
        (stage.backend("e")["state"] == "ejected").then_some(())
    });
    let word = if outlier.starts_with("latency") {
        "latency"
    } else {
        "success_rate"
    };
    let labels = [("pool", "api"), ("backend", "e"), ("to", "ejected"), ("cause", word)];
    let metrics = stage.plimsoll.metrics();
    assert_eq!(metrics.sum("plimsoll_health_transitions_total", &labels), 1.0);
    stage.backend("e")["cause"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn who_fails_every_third_request_is_ejected_where_the_others_fail_none() {
    let flaky = Script::custom(|exchange| {
        let status = if exchange.number % 3 == 0 { 500 } else { 200 };
        exchange.reply(status, &[], b"").map(|()| true)
    });
    let cause = compared("success_rate = { min_requests = 20 }", flaky);
    assert!(
        cause.ends_with("% of its requests succeed, 100 % of the others'"),
        "{cause}"
    );
}

#[test]
fn who_takes_many_times_as_long_is_ejected() {
    let slow = Script::after(Duration::from_millis(200), Script::reply(200, "ok"));
    let cause = compared("latency = { min_requests = 5 }", slow);
    assert!(cause.starts_with("it typically takes 2"), "{cause}");
}

#[test]
fn one_url_that_always_answers_500_ejects_none() {
    let mixed = || {
        Backend::start(Script::by_path([
            ("/broken", Script::status(500)),
            ("/", Script::reply(200, "ok")),
        ]))
    };
    let (a, b, c) = (mixed(), mixed(), mixed());
    let stage = pool_of(&[&a, &b, &c], "");
    let web = stage.plimsoll.address("web");
    std::thread::scope(|scope| {
        scope.spawn(|| tools::wrk(web, "/broken", 8, Duration::from_secs(2)));
        tools::wrk(web, "/well", 8, Duration::from_secs(2));
    });
    // And a burst of nothing but that one.
    let load = tools::wrk(web, "/broken", 8, Duration::from_secs(1));
    assert!(load.bad_statuses > 100, "{load:?}");
    assert_eq!(ejections(&stage), 0.0);
    for name in ["a", "b", "c"] {
        assert_eq!(stage.backend(name)["state"], "healthy");
    }
}

#[test]
fn five_failures_in_a_row_eject_and_time_brings_back() {
    for fails in ["refuses", "resets", "talks nonsense", "hangs"] {
        let (mut a, b) = (Backend::named("a", Script::Echo), Backend::named("b", Script::Echo));
        match fails {
            "refuses" => a.stop(),
            "resets" => a.play(Script::reset()),
            "hangs" => a.play(Script::Hang),
            _ => a.play(Script::garbage()),
        }
        let route = "retry = { on = [\"connect\", \"reset\", \"timeout\"], per_try_timeout = \"100ms\" }";
        let stage = Site::new()
            .route(route)
            .address("a", a.address())
            .address("b", b.address())
            .pool(
                "policy = \"round-robin\"\nhealth = false\noutlier = { eject_for = \"1s\" }\n\
             backends = [{ name = \"a\", address = \"@a@\" }, { name = \"b\", address = \"@b@\" }]",
            );
        eventually(&format!("one that {fails} is ejected"), || {
            assert_eq!(stage.get("/").json()["backend"], "b", "the other one helps out");
            (stage.backend("a")["state"] == "ejected").then_some(())
        });
        let status = stage.backend("a");
        assert_eq!(status["errors"], 5, "{status}");
        assert!(status["ejected_until"].is_string(), "{status}");
        if fails == "refuses" {
            a.restart();
        }
        a.play(Script::Echo);
        eventually("it is let back and gets work", || {
            let reply = stage.get("/");
            assert_eq!(reply.status, 200);
            (reply.json()["backend"] == "a").then_some(())
        });
        assert_eq!(stage.backend("a")["state"], "healthy");
    }
}

#[test]
fn the_last_one_is_never_ejected() {
    let a = Backend::start(Script::reset());
    let stage = pool_of(&[&a], "");
    for _ in 0..30 {
        stage.get("/").assert_reason(502, "backend_reset");
    }
    assert_eq!(
        (ejections(&stage), &stage.backend("a")["state"]),
        (0.0, &"healthy".into())
    );
    a.play(Script::Echo);
    assert_eq!(stage.get("/").status, 200);
}

#[test]
fn no_more_than_half_of_a_pool_is_ejected() {
    let backends: Vec<_> = (0..4).map(|_| Backend::start(Script::reset())).collect();
    let stage = pool_of(&backends.iter().collect::<Vec<_>>(), "");
    for _ in 0..100 {
        assert_eq!(stage.get("/").status, 502);
    }
    let states: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| stage.backend(name)["state"].clone())
        .into();
    assert_eq!(
        states.iter().filter(|state| *state == "ejected").count(),
        2,
        "{states:?}"
    );
}

#[test]
fn outlier_false_ejects_nobody() {
    let (a, b) = (Backend::start(Script::reset()), Backend::start(Script::Echo));
    let stage = pool_of(&[&a, &b], "outlier = false\npolicy = \"round-robin\"");
    for _ in 0..40 {
        assert_eq!(stage.get("/").status, 200);
    }
    assert_eq!(ejections(&stage), 0.0);
}
