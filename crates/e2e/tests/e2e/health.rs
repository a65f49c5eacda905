//! Active checks, and what a pool does with backends that are well, ill, or taken out by an operator.

use std::time::Duration;

use e2e::{Backend, Plimsoll, Script, Wire, eventually};

use crate::stage::{Site, Stage};

fn pair(pool: &str) -> (Backend, Backend, Stage) {
    let (a, b) = (Backend::named("a", Script::Echo), Backend::named("b", Script::Echo));
    let stage = stage_of(&a, &b, pool);
    (a, b, stage)
}

fn stage_of(a: &Backend, b: &Backend, pool: &str) -> Stage {
    Site::new()
        .address("a", a.address())
        .address("b", b.address())
        .pool(&format!(
            "policy = \"round-robin\"\n\
         backends = [{{ name = \"a\", address = \"@a@\" }}, {{ name = \"b\", address = \"@b@\" }}]\n{pool}"
        ))
}

/// Panics unless these and no others answer soon: a view may be a tenth of a second older than a state.
#[track_caller]
fn assert_answering(stage: &Stage, names: &[&str]) {
    eventually(&format!("{names:?} answer"), || {
        (answering(stage) == names).then_some(())
    });
}

/// Who answers ten requests.
fn answering(stage: &Stage) -> Vec<String> {
    let mut names: Vec<_> = (0..10)
        .map(|_| {
            let reply = stage.get("/work");
            assert_eq!(reply.status, 200, "{reply:#?}");
            reply.json()["backend"].as_str().unwrap_or_default().to_owned()
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

fn checked(script: Script) -> Script {
    Script::by_path([("/healthz", script), ("/", Script::Echo)])
}

#[test]
fn so_many_failed_checks_take_a_backend_out_and_so_many_passed_ones_bring_it_back() {
    let (a, _b, stage) = pair("health = { http = \"/healthz\", interval = \"100ms\", fall = 3, rise = 2 }");
    stage.plimsoll.wait_for_state("api", "a", "healthy");
    stage.plimsoll.wait_for_state("api", "b", "healthy");
    assert_answering(&stage, &["a", "b"]);
    a.play(checked(Script::status(503)));
    a.forget();
    stage.plimsoll.wait_for_state("api", "a", "unhealthy");
    assert!(a.requests_to("/healthz") >= 3, "{} checks", a.requests_to("/healthz"));
    let status = stage.backend("a");
    assert!(
        status["cause"].as_str().is_some_and(|cause| cause.contains("503")),
        "{status}"
    );
    assert_answering(&stage, &["b"]);
    a.play(Script::Echo);
    a.forget();
    stage.plimsoll.wait_for_state("api", "a", "healthy");
    assert!(a.requests_to("/healthz") >= 2, "{} checks", a.requests_to("/healthz"));
    assert_answering(&stage, &["a", "b"]);
    let metrics = stage.plimsoll.metrics();
    let labels = [("pool", "api"), ("backend", "a"), ("to", "unhealthy")];
    assert_eq!(metrics.sum("plimsoll_health_transitions_total", &labels), 1.0);
    let labels = [("pool", "api"), ("backend", "a"), ("state", "healthy")];
    assert_eq!(metrics.sum("plimsoll_backend_state", &labels), 1.0);
    let check = a
        .seen()
        .into_iter()
        .find(|seen| seen.path() == "/healthz")
        .expect("it was checked");
    assert_eq!(check.head.header("host"), Some(a.address().to_string().as_str()));
    a.assert_no_violations();
}

#[test]
fn one_failed_check_among_passed_ones_changes_nothing() {
    let flaky = Script::custom(|exchange| {
        let status = if exchange.number % 3 == 1 { 500 } else { 200 };
        exchange.reply(status, &[], b"").map(|()| true)
    });
    // A check may take as long as its interval: a busy machine must not miss three in a row.
    let (a, _b, stage) = pair("health = { http = \"/healthz\", interval = \"300ms\" }");
    a.play(flaky);
    a.forget();
    a.wait_for_requests(10);
    let labels = [("pool", "api"), ("backend", "a"), ("to", "unhealthy")];
    assert_eq!(
        stage
            .plimsoll
            .metrics()
            .sum("plimsoll_health_transitions_total", &labels),
        0.0
    );
}

#[test]
fn a_check_expects_the_statuses_that_it_is_told_to() {
    for (expect, status, state) in [
        ("[\"200-299\"]", 204, "healthy"),
        ("[\"200-299\"]", 302, "unhealthy"),
        ("[\"200\", \"400-404\"]", 404, "healthy"),
        ("[\"200\", \"400-404\"]", 405, "unhealthy"),
        ("[\"200\"]", 204, "unhealthy"),
    ] {
        let (a, b) = (
            Backend::named("a", checked(Script::status(status))),
            Backend::named("b", Script::Echo),
        );
        let pool = format!("health = {{ http = \"/healthz\", interval = \"100ms\", expect = {expect} }}");
        let stage = stage_of(&a, &b, &pool);
        stage.plimsoll.wait_for_state("api", "a", state);
    }
}

#[test]
fn a_check_fails_however_a_backend_does() {
    let drip = Script::Drip {
        bytes: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
        pause: Duration::from_millis(50),
    };
    let endless = Script::BytesThenClose(format!("HTTP/1.1 200 OK\r\nx-a: {}", "a".repeat(100_000)).into());
    for (script, cause) in [
        (Script::Hang, "no answer within"),
        (drip, "no answer within"),
        (Script::close(), "closed"),
        (Script::reset(), "reset"),
        (Script::garbage(), ""),
        (endless, ""),
    ] {
        let (a, b) = (Backend::named("a", checked(script)), Backend::named("b", Script::Echo));
        let pool = "health = { http = \"/healthz\", interval = \"200ms\", timeout = \"200ms\", fall = 1 }";
        let stage = stage_of(&a, &b, pool);
        stage.plimsoll.wait_for_state("api", "a", "unhealthy");
        let status = stage.backend("a");
        assert!(
            status["cause"].as_str().is_some_and(|said| said.contains(cause)),
            "{cause}: {status}"
        );
        stage.plimsoll.wait_for_state("api", "b", "healthy");
        assert_answering(&stage, &["b"]);
    }
}

#[test]
fn a_tcp_check_notices_who_is_gone_and_who_is_back() {
    let (mut a, _b, stage) = pair("health = { tcp = true, interval = \"100ms\" }");
    stage.plimsoll.wait_for_state("api", "a", "healthy");
    a.stop();
    stage.plimsoll.wait_for_state("api", "a", "unhealthy");
    assert_answering(&stage, &["b"]);
    a.restart();
    stage.plimsoll.wait_for_state("api", "a", "healthy");
    assert_answering(&stage, &["a", "b"]);
    assert_eq!(a.requests_to("/"), 0, "nothing is sent");
}

#[test]
fn a_new_pool_serves_before_its_first_checks_are_done() {
    let slow = Backend::named("slow", checked(Script::Hang));
    let plimsoll = Plimsoll::config(
        r#"
        [listeners.web]
        bind = ["@web@"]
        pool = "api"
        [pools.api]
        backends = [{ name = "slow", address = "@slow@" }]
        health = { http = "/healthz", interval = "60s", timeout = "60s" }
        "#,
    )
    .address("slow", slow.address())
    .spawn();
    let web = plimsoll.address("web");
    let mut wire = eventually("it listens", || Wire::try_connect(web).ok());
    assert_eq!(wire.get("/").json()["backend"], "slow");
    plimsoll.wait_for_state("api", "slow", "unknown");
}

#[test]
fn a_backend_that_counts_as_healthy_at_first_needs_a_whole_row_to_fall() {
    let (a, b) = (
        Backend::named("a", checked(Script::status(500))),
        Backend::named("b", Script::Echo),
    );
    let health = "health = { http = \"/healthz\", interval = \"150ms\", fall = 4, initial = \"healthy\" }";
    let stage = stage_of(&a, &b, health);
    assert_eq!(stage.backend("a")["state"], "healthy");
    stage.plimsoll.wait_for_state("api", "a", "unhealthy");
    assert!(a.requests_to("/healthz") >= 4);
}

#[test]
fn without_panic_a_pool_whose_backends_are_all_down_says_so() {
    let (mut a, mut b, mut stage) = pair("health = { interval = \"300ms\", fall = 1 }\npanic_threshold = 0");
    a.stop();
    b.stop();
    for name in ["a", "b"] {
        stage.plimsoll.wait_for_state("api", name, "unhealthy");
    }
    eventually("nobody is asked any more", || {
        (stage.get("/down").reason() == Some("no_healthy_backend")).then_some(())
    });
    stage.get("/still-down").assert_reason(503, "no_healthy_backend");
    stage.assert_failures("no_healthy_backend", 2.0);
    assert_eq!(stage.logged("/still-down")["reason"], "no_healthy_backend");
    stage.assert_bystander_undisturbed();
    a.restart();
    stage.plimsoll.wait_for_state("api", "a", "healthy");
    assert_answering(&stage, &["a"]);
}

#[test]
fn in_a_panic_all_backends_are_used_and_everybody_can_see_it() {
    let (a, b, stage) = pair("health = { http = \"/healthz\", interval = \"300ms\", fall = 1, rise = 1 }");
    stage.plimsoll.wait_for_state("api", "a", "healthy");
    a.play(checked(Script::status(500)));
    b.play(checked(Script::status(500)));
    stage.plimsoll.wait_for_state("api", "a", "unhealthy");
    stage.plimsoll.wait_for_state("api", "b", "unhealthy");
    let panicking = || stage.plimsoll.admin("/api/v1/pools/api").json()["panicking"] == true;
    eventually("the pool panics", || panicking().then_some(()));
    // The check is wrong, the backends are not: better than nothing.
    assert_answering(&stage, &["a", "b"]);
    assert!(stage.plimsoll.stderr().contains("panic"), "it is in the log");
    // Never one that an operator took out.
    stage.patch("a", r#"{ "state": "maintenance" }"#);
    assert_answering(&stage, &["b"]);
    b.play(Script::Echo);
    stage.plimsoll.wait_for_state("api", "b", "healthy");
    eventually("the panic is over", || (!panicking()).then_some(()));
}

#[test]
fn what_an_operator_takes_out_gets_no_new_work_and_finishes_what_it_has() {
    for (change, state) in [
        (r#"{ "state": "maintenance" }"#, "maintenance"),
        (r#"{ "state": "drain" }"#, "draining"),
        (r#"{ "weight": 0 }"#, "healthy"),
    ] {
        let (a, _b, stage) = pair("health = false");
        a.play(Script::after(Duration::from_millis(400), Script::Echo));
        let mut wire = stage.connect();
        while a.requests() == 0 {
            wire = stage.connect();
            wire.send("GET /under-way HTTP/1.1\r\nhost: a\r\n\r\n");
            let before = a.requests();
            eventually("it is somewhere", || {
                (a.requests() > before || wire_has_reply(&wire)).then_some(())
            });
        }
        stage.patch("a", change);
        assert_eq!(stage.backend("a")["state"], state);
        assert_answering(&stage, &["b"]);
        assert_eq!(wire.reply().json()["backend"], "a", "what was under way is answered");
        a.play(Script::Echo);
        stage.patch("a", r#"{ "state": "ready", "weight": null }"#);
        assert_answering(&stage, &["a", "b"]);
    }
}

/// Whether a byte has come.
fn wire_has_reply(wire: &e2e::Wire) -> bool {
    let socket = wire.socket();
    socket.set_nonblocking(true).expect("a socket can be looked at");
    let has = socket.peek(&mut [0]).is_ok_and(|count| count > 0);
    socket.set_nonblocking(false).expect("a socket can be looked at");
    has
}

#[test]
fn a_pool_whose_backends_are_all_taken_out_has_none() {
    let (_a, _b, stage) = pair("health = false");
    stage.patch("a", r#"{ "state": "maintenance" }"#);
    stage.patch("b", r#"{ "weight": 0 }"#);
    eventually("nobody is left", || {
        let reply = stage.get("/none");
        (reply.status == 503).then(|| reply.assert_reason(503, "no_backend"))
    });
}
