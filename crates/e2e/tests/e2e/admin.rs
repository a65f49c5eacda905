//! The admin address: liveness, readiness, numbers.

use e2e::{Backend, Plimsoll, Script, eventually};

fn echoing() -> (Backend, Plimsoll) {
    let echo = Backend::start(Script::Echo);
    let plimsoll = Plimsoll::config(
        r#"
        [listeners.web]
        bind = ["@web@"]
        protocol = "http"

        [[routes]]
        name = "all"
        match = { path = "/*" }
        pool = "api"

        [pools.api]
        backends = [{ name = "echo", address = "@echo@" }]
        health = { http = "/healthz", interval = "200ms" }
        "#,
    )
    .address("echo", echo.address())
    .start();
    (echo, plimsoll)
}

#[test]
fn healthz_and_readyz_say_200_while_serving() {
    let (_echo, plimsoll) = echoing();
    assert_eq!(plimsoll.admin("/healthz").status, 200);
    assert_eq!(plimsoll.admin("/readyz").status, 200);
}

#[test]
fn metrics_count_requests_by_route_pool_and_code() {
    let (_echo, plimsoll) = echoing();
    plimsoll.wait_for_state("api", "echo", "healthy");
    for _ in 0..5 {
        assert_eq!(plimsoll.get("web", "/x").status, 200);
    }
    let labels = [
        ("listener", "web"),
        ("route", "all"),
        ("pool", "api"),
        ("backend", "echo"),
        ("code", "200"),
    ];
    eventually("five requests are counted", || {
        (plimsoll.metrics().sum("plimsoll_requests_total", &labels) == 5.0).then_some(())
    });
    assert!(plimsoll.metrics().has("plimsoll_generation", &[]));
}

#[test]
fn status_and_pools_tell_what_runs() {
    let (echo, plimsoll) = echoing();
    plimsoll.wait_for_state("api", "echo", "healthy");
    let status = plimsoll.admin("/api/v1/status").json();
    assert!(
        status["version"].is_string() && status["generation"].is_u64(),
        "{status}"
    );
    let pool = plimsoll.admin("/api/v1/pools/api").json();
    assert_eq!(pool["name"], "api");
    assert_eq!(pool["policy"], "least-connections");
    assert_eq!(pool["backends"][0]["address"], echo.address().to_string());
}
