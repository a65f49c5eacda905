//! Decisions that were taken, as callers get them.

use std::time::Duration;

use plimsoll_core::decision::{Asked, Taken};
use plimsoll_core::outcome::Reason;
use plimsoll_core::time::Now;

use super::Fixture;

/// Keeps a decision about the request `id`, of the route "shop" and the pool "api".
pub(super) fn keep(fixture: &Fixture, id: &str, reason: Option<Reason>) {
    let snapshot = fixture.api.control.snapshot().load();
    let taken = Taken {
        asked: Some(Asked {
            method: "GET".into(),
            host: "shop.example".into(),
            path: "/<script>".into(),
        }),
        id: id.into(),
        trace: None,
        at: Now::from_millis(5),
        generation: 1,
        client: [192, 0, 2, 7].into(),
        protocol: "HTTP/2",
        listener: snapshot.listeners[0].id,
        route: Some(snapshot.routes[0].id),
        pool: Some(snapshot.pools[0].id),
        instead_of: None,
        attempts: Vec::new(),
        status: reason.map_or(200, Reason::status),
        reason,
        queued: None,
        connect: None,
        took: Duration::from_millis(12),
        steps: Vec::new(),
    };
    fixture.api.decisions.keep(0, taken);
}

#[tokio::test]
async fn a_failure_is_told_with_how_the_backends_stood() {
    let fixture = Fixture::new();
    fixture.check(0, false);
    keep(&fixture, "abc", Some(Reason::NoHealthyBackend));
    let decision = fixture.get("/api/v1/decisions/abc").await.json();
    assert_eq!(
        (
            &decision["listener"],
            &decision["route"],
            &decision["pool"],
            &decision["reason"]
        ),
        (
            &"web".into(),
            &"shop".into(),
            &"api".into(),
            &"no_healthy_backend".into()
        )
    );
    let steps = decision["steps"].to_string();
    for words in [
        "unhealthy since",
        "checks fail: status 500",
        "answered by us after 12 ms: 503",
        "192.0.2.7",
    ] {
        assert!(steps.contains(words), "{words}: {steps}");
    }
}

#[tokio::test]
async fn what_a_backend_was_then_is_told_though_it_is_something_else_now() {
    let fixture = Fixture::new();
    fixture.check(0, false);
    keep(&fixture, "abc", Some(Reason::NoHealthyBackend));
    fixture.millis.store(10_000, std::sync::atomic::Ordering::Relaxed);
    (0..2).for_each(|_| fixture.check(0, true));
    let steps = fixture.get("/api/v1/decisions/abc").await.json()["steps"].to_string();
    assert!(steps.contains("then; healthy since"), "{steps}");
}

#[tokio::test]
async fn the_latest_are_found_and_wrong_questions_are_told_what_is_right() {
    let fixture = Fixture::new();
    keep(&fixture, "good", None);
    keep(&fixture, "bad", Some(Reason::PoolFull));
    let ids = |json: serde_json::Value| -> Vec<String> {
        let list = json.as_array().expect("a list").clone();
        list.iter()
            .map(|one| one["request_id"].as_str().expect("an id").to_owned())
            .collect()
    };
    for (query, found) in [
        ("", 2),
        ("?failed=true", 1),
        ("?reason=pool_full&route=shop&pool=api", 1),
        ("?route=old", 0),
        ("?backend=one", 0),
        ("?limit=1", 1),
    ] {
        let json = fixture.get(&format!("/api/v1/decisions{query}")).await.json();
        assert_eq!(ids(json).len(), found, "{query}");
    }
    for (query, status, says) in [
        ("?limit=0", 400, "from 1 to"),
        ("?failed=yes", 400, "true or false"),
        ("?reasn=x", 400, "did you mean \\\"reason\\\""),
        ("?limit=1&limit=2", 400, "twice"),
        ("?pool=apo", 404, "did you mean \\\"api\\\""),
        ("?reason=poolfull", 404, "pool_full"),
        ("/none", 404, "x-plimsoll-explain"),
    ] {
        let answer = fixture.get(&format!("/api/v1/decisions{query}")).await;
        assert!(
            answer.status == status && answer.body.contains(says),
            "{query}: {}",
            answer.body
        );
    }
}
