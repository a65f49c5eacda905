//! How long a connection goes on and how many there may be, and what we answer ourselves.

use std::time::Duration;

use e2e::{Backend, PATIENCE, Script, eventually, scaled};

use crate::front::{front, memory_kib, wait_for_failures};

#[test]
fn the_last_of_keepalive_requests_says_close() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().listener("keepalive_requests = 3").before(backend.address());
    let mut wire = plimsoll.connect("web");
    for number in 1..=3 {
        let reply = wire.get("/");
        assert_eq!(
            (reply.status, reply.header("connection")),
            (200, (number == 3).then_some("close"))
        );
    }
    wire.assert_closed_within(PATIENCE);
    // Requests sent ahead beyond the last one are not served, and the answers before them are not lost.
    let mut wire = plimsoll.connect("web");
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(10));
    for _ in 0..3 {
        assert_eq!(wire.reply().status, 200);
    }
    wire.assert_closed_within(PATIENCE);
    assert_eq!(backend.requests(), 6);
}

#[test]
fn a_connection_past_its_keepalive_age_ends_with_its_next_answer_or_at_once_when_idle() {
    let backend = Backend::start(Script::after(Duration::from_millis(1_200), Script::Echo));
    let plimsoll = front().listener("keepalive_age = \"1s\"").before(backend.address());
    let mut wire = plimsoll.connect("web");
    let reply = wire.get("/");
    // Its age when the request began decided; an idle one is closed silently.
    assert_eq!(reply.status, 200);
    wire.assert_closed_within(PATIENCE);
}

#[test]
fn a_connection_too_many_is_told_so() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().server("max_connections = 3").before(backend.address());
    let mut kept: Vec<_> = (0..3).map(|_| plimsoll.connect("web")).collect();
    for wire in &mut kept {
        assert_eq!(wire.get("/").status, 200);
    }
    let mut wire = plimsoll.connect("web");
    let reply = wire.get("/");
    reply.assert_reason(503, "overloaded");
    assert_eq!(reply.header("connection"), Some("close"));
    wire.assert_closed_within(PATIENCE);
    drop(wire);
    wait_for_failures(&plimsoll, "overloaded", 1);
    for wire in &mut kept {
        assert_eq!(wire.get("/").status, 200, "those that were there are served on");
    }
    kept.pop();
    eventually("a place becomes free", || {
        (plimsoll.get("web", "/").status == 200).then_some(())
    });
}

#[test]
fn those_within_the_limit_are_served_whoever_comes_after_them() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().server("max_connections = 5").before(backend.address());
    let mut early: Vec<_> = (0..5).map(|_| plimsoll.connect("web")).collect();
    eventually("all are accepted", || {
        let open = plimsoll.admin("/api/v1/status").json()["connections"].as_u64()?;
        (open == 5).then_some(())
    });
    // None of them has said anything yet. A crowd that never does gets no more descriptors than a few.
    let mut crowd: Vec<_> = (0..200).map(|_| plimsoll.connect("web")).collect();
    wait_for_failures(&plimsoll, "overloaded", 200 - 64);
    let open: Vec<_> = crowd
        .iter_mut()
        .map(|wire| wire.is_idle_for(Duration::from_millis(5)))
        .collect();
    assert_eq!(open.iter().filter(|open| **open).count(), 64);
    for wire in &mut early {
        assert_eq!(wire.get("/").status, 200);
    }
}

#[test]
fn connections_that_say_nothing_hold_no_buffer() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let count = scaled("connections_that_say_nothing_hold_no_buffer", 1_000, 1);
    let before = memory_kib(&plimsoll, "VmRSS");
    let silent: Vec<_> = (0..count).map(|_| plimsoll.connect("web")).collect();
    eventually("all are accepted", || {
        let open = plimsoll.admin("/api/v1/status").json()["connections"].as_u64()?;
        (open >= count).then_some(())
    });
    let grown = memory_kib(&plimsoll, "VmRSS").saturating_sub(before);
    // A buffer alone is 16 KiB.
    assert!(grown < count * 6, "{count} connections made it grow by {grown} KiB");
    drop(silent);
}

#[test]
fn the_health_path_is_answered_here() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .listener("health_path = \"/.well-known/ready\"")
        .before(backend.address());
    let mut wire = plimsoll.connect("web");
    for target in ["/.well-known/ready", "/.well-known/ready?x", "/x/../.well-known//ready"] {
        assert_eq!(wire.get(target).status, 200, "{target}");
    }
    wire.send("HEAD /.well-known/ready HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(wire.reply_to("HEAD").status, 200);
    assert_eq!(backend.requests(), 0);
    assert_eq!(wire.get("/.well-known/readyx").status, 200);
    assert_eq!(backend.requests(), 1);
}

const OWN: &str = r#"
    [[routes]]
    name = "secure"
    match = { path = "/secure/*" }
    redirect = { scheme = "https", status = 308 }

    [[routes]]
    name = "moved"
    match = { path = "/moved" }
    redirect = { host = "new.example", port = 8443, path = "/here", status = 302 }

    [[routes]]
    name = "sorry"
    match = { path = "/sorry" }
    respond = { status = 503, body = "back soon", headers = { retry-after = "60" } }

    [[routes]]
    name = "nothing"
    match = { path = "/nothing" }
    respond = { status = 204 }
"#;

#[test]
fn redirects_and_configured_answers_are_made_here() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().tables(OWN).before(backend.address());
    let mut wire = plimsoll.connect("web");
    let mut ask = |method: &str, target: &str| {
        wire.send(format!("{method} {target} HTTP/1.1\r\nhost: Shop.example:8080\r\n\r\n"));
        wire.reply_to(method)
    };
    for (target, status, location) in [
        ("/secure/a?b=c", 308, "https://shop.example/secure/a?b=c"),
        (
            "/secure//evil.example/",
            308,
            "https://shop.example/secure/evil.example/",
        ),
        ("/secure/%0d%0ax:%20y", 308, "https://shop.example/secure/%0D%0Ax:%20y"),
        ("/moved?x=1", 302, "http://new.example:8443/here?x=1"),
    ] {
        let reply = ask("GET", target);
        assert_eq!(
            (reply.status, reply.header("location")),
            (status, Some(location)),
            "{target}"
        );
        assert_eq!((reply.body.len(), reply.reason()), (0, None));
    }
    let reply = ask("GET", "/sorry");
    assert_eq!(
        (reply.status, reply.text().as_str(), reply.reason()),
        (503, "back soon", None)
    );
    assert_eq!(reply.header("retry-after"), Some("60"));
    let reply = ask("HEAD", "/sorry");
    assert_eq!((reply.status, reply.header("content-length")), (503, Some("9")));
    let reply = ask("GET", "/nothing");
    assert_eq!((reply.status, reply.header("content-length")), (204, None));
    assert_eq!(ask("GET", "/else").status, 200, "one connection carried all of them");
    assert_eq!(backend.requests(), 1);
}

#[test]
fn reasons_stay_inside_when_they_are_not_to_be_exposed() {
    let backend = Backend::start(Script::close());
    let plimsoll = front().server("expose_reason = false").before(backend.address());
    let mut wire = plimsoll.connect("web");
    let reply = wire.get("/");
    assert_eq!((reply.status, reply.reason()), (502, None));
    assert!(!reply.text().contains("backend_reset"), "{}", reply.text());
    wire.send("GET / HTTP/9\r\n\r\n");
    let reply = wire.reply();
    assert_eq!((reply.status, reply.reason()), (400, None));
    wait_for_failures(&plimsoll, "backend_reset", 1);
    wait_for_failures(&plimsoll, "bad_request", 1);
}

#[test]
fn a_worker_that_is_late_for_everything_refuses_a_part_and_never_the_health_path() {
    let backend = Backend::start(Script::status(200));
    let plimsoll = front()
        .server("workers = 1\nshed_after = \"1ms\"")
        .listener("health_path = \"/ready\"")
        .before(backend.address());
    let address = plimsoll.address("web");
    let connections = usize::try_from(scaled("connections", 400, 2)).expect("a small number");
    let done = std::sync::atomic::AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(plimsoll.get("web", "/ready").status, 200);
            }
        });
        // As long as it takes: a machine that is quick may be late only now and then.
        let refused = eventually("requests are refused", || {
            let load = e2e::tools::wrk(address, "/", connections, Duration::from_secs(2));
            (load.bad_statuses > 0).then_some(load.bad_statuses)
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        watching.join().expect("the health path is served");
        refused
    });
    let metrics = plimsoll.metrics();
    assert!(metrics.sum("plimsoll_failures_total", &[("reason", "overloaded")]) >= refused as f64);
    assert!(metrics.has("plimsoll_worker_late_seconds", &[("worker", "0")]));
    eventually("it is over", || {
        let replies = (0..20).map(|_| plimsoll.get("web", "/").status);
        replies.into_iter().all(|status| status == 200).then_some(())
    });
}
