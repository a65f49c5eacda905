//! Gradual shifts of a split, on a clock that stands where the test puts it.

use plimsoll_core::telemetry::RequestKey;
use serde_json::json;

use super::*;

const PATH: &str = "/api/v1/routes/canary/shift";

impl Fixture {
    async fn send(&self, method: Method, path: &str, body: &str) -> Answer {
        let fields = [("content-type", "application/json")];
        call(self.router(None), method, path, &fields, body).await
    }

    /// The route at `secs` after the start, once its shift has been looked at.
    async fn canary_at(&self, secs: u64) -> Value {
        self.millis.store(secs * 1_000, Relaxed);
        self.api.shifts.look();
        let routes = self.get("/api/v1/routes").await.json();
        routes[2].clone()
    }
}

fn weights(route: &Value) -> (u64, u64) {
    let weight = |at: usize| route["split"][at]["weight"].as_u64().expect("a weight");
    (weight(0), weight(1))
}

#[tokio::test]
async fn a_split_moves_with_time_to_what_was_asked_for() {
    let fixture = Fixture::new();
    let body = r#"{"to": [{"pool": "api", "weight": 1}], "over": "100s"}"#;
    let begun = fixture.send(Method::POST, PATH, body).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    assert_eq!(begun.json()["shift"]["state"], "shifting");
    assert_eq!(weights(&fixture.canary_at(50).await), (6_250, 3_750));
    let done = fixture.canary_at(100).await;
    assert_eq!(weights(&done), (1, 0));
    let expected = json!({
        "id": 1, "state": "done", "why": null, "percent": 100.0, "over_s": 100, "abort_if": [], "watched_s": 0,
        "before": [{"pool": "api", "weight": 1}, {"pool": "unchecked", "weight": 3}],
        "to": [{"pool": "api", "weight": 1}, {"pool": "unchecked", "weight": 0}],
    });
    assert_eq!(done["shift"], expected);
    assert_eq!(fixture.send(Method::DELETE, PATH, "").await.status, 409, "it is over");
}

#[tokio::test]
async fn errors_of_the_pool_that_grows_take_it_back() {
    let fixture = Fixture::new();
    let body = r#"{"to": [{"pool": "api", "weight": 1}], "over": "100s", "abort_if": ["error_rate > 1%"]}"#;
    assert_eq!(fixture.send(Method::POST, PATH, body).await.status, 200);
    let count = |pool: &str, code: u16, times: usize| {
        let snapshot = fixture.api.control.snapshot().load();
        let key = RequestKey {
            listener: Some(snapshot.listeners[0].id),
            route: Some(snapshot.routes[2].id),
            pool: fixture.api.control.pool(pool).map(|pool| pool.id),
            backend: None,
            code,
        };
        for _ in 0..times {
            fixture.api.metrics.count(key);
        }
    };
    // The pool that shrinks may be as bad as it likes: that is why somebody shifts.
    count("unchecked", 500, 1_000);
    count("api", 200, 100);
    assert_eq!(fixture.canary_at(20).await["shift"]["state"], "shifting");
    count("api", 502, 2);
    let back = fixture.canary_at(21).await;
    assert_eq!(back["shift"]["state"], "went_back");
    let why = back["shift"]["why"].as_str().expect("a reason");
    assert!(why.starts_with("error_rate 2.0% of 102 requests"), "{why}");
    assert_eq!(weights(&back), (1, 3));
}

#[tokio::test]
async fn it_waits_for_the_backends_of_the_pool_that_grows() {
    let fixture = Fixture::new();
    let body = r#"{"to": [{"pool": "api"}], "when_healthy": true}"#;
    let waiting = fixture.send(Method::POST, PATH, body).await.json();
    assert_eq!(waiting["shift"]["state"], "waiting");
    assert_eq!(waiting["shift"]["why"], "api/one is not healthy");
    fixture.check(0, true);
    assert_eq!(weights(&fixture.canary_at(1).await), (1, 3));
    fixture.check(1, true);
    let done = fixture.canary_at(2).await;
    assert_eq!(
        (done["shift"]["state"].as_str(), weights(&done)),
        (Some("done"), (1, 0))
    );
    let never = Fixture::new();
    assert_eq!(never.send(Method::POST, PATH, body).await.status, 200);
    assert_eq!(never.canary_at(601).await["shift"]["state"], "gave_up");
}

#[tokio::test]
async fn an_operator_comes_before_a_shift() {
    let fixture = Fixture::new();
    let body = r#"{"to": [{"pool": "api"}], "over": "100s"}"#;
    assert_eq!(fixture.send(Method::POST, PATH, body).await.status, 200);
    let _ = fixture.canary_at(50).await;
    let cancelled = fixture.send(Method::DELETE, PATH, "").await.json();
    assert_eq!(
        (cancelled["shift"]["state"].as_str(), weights(&cancelled)),
        (Some("cancelled"), (1, 3))
    );
    assert_eq!(fixture.send(Method::POST, PATH, body).await.status, 200);
    let set = r#"{"split": [{"pool": "unchecked", "weight": 8}]}"#;
    assert_eq!(
        fixture.send(Method::PATCH, "/api/v1/routes/canary", set).await.status,
        200
    );
    let replaced = fixture.canary_at(60).await;
    assert_eq!(
        (replaced["shift"]["state"].as_str(), weights(&replaced)),
        (Some("replaced"), (0, 8))
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_told() {
    let fixture = Fixture::new();
    for (path, body, status, why) in [
        (PATH, "{}", 400, "`to` is missing"),
        (
            PATH,
            r#"{"to": [{"pool": "apy"}]}"#,
            400,
            "its pools are api, unchecked",
        ),
        (
            PATH,
            r#"{"to": [{"pool": "api", "weight": 0}]}"#,
            400,
            "no pool would get any request",
        ),
        (
            PATH,
            r#"{"to": [{"pool": "api"}], "abort_if": ["errors > 1%"]}"#,
            400,
            "error_rate > 1%",
        ),
        (
            PATH,
            r#"{"to": [{"pool": "api"}], "over": "30d"}"#,
            400,
            "at most 7 days",
        ),
        (
            "/api/v1/routes/shop/shift",
            r#"{"to": [{"pool": "api"}]}"#,
            400,
            "the route has no split",
        ),
        (
            "/api/v1/routes/canery/shift",
            r#"{"to": [{"pool": "api"}]}"#,
            404,
            "canary",
        ),
    ] {
        let answer = fixture.send(Method::POST, path, body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(answer.body.contains(why), "{body}: {}", answer.body);
    }
    assert_eq!(
        fixture
            .send(Method::DELETE, "/api/v1/routes/nobody/shift", "")
            .await
            .status,
        404
    );
}
