//! How the node, its pools and its routes are told of.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;

use super::Fixture;

#[tokio::test]
async fn ready_is_after_the_first_checks_and_until_the_drain() {
    let fixture = Fixture::new();
    assert_eq!(fixture.get("/healthz").await.status, 200);
    let waiting = fixture.get("/readyz").await;
    assert_eq!(waiting.status, 503);
    let detail = waiting.json()["detail"].to_string();
    assert!(detail.contains("api") && !detail.contains("unchecked"), "{detail}");
    fixture.check(0, true);
    assert_eq!(fixture.get("/readyz").await.status, 503, "one of two was checked");
    fixture.check(1, false);
    assert_eq!(fixture.get("/readyz").await.status, 200, "a result is a result");
    fixture.api.control.begin_drain();
    assert_eq!(fixture.get("/readyz").await.status, 503);
    assert_eq!(fixture.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn nobody_waits_longer_than_an_interval_and_a_timeout_for_the_first_check() {
    let fixture = Fixture::new();
    fixture.millis.store(2_999, Relaxed);
    assert_eq!(fixture.get("/readyz").await.status, 503);
    fixture.millis.store(3_000, Relaxed);
    assert_eq!(fixture.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn status_and_pools_have_the_fields_of_the_contract() {
    let fixture = Fixture::new();
    fixture.millis.store(1_000, Relaxed);
    fixture.check(0, true);
    let status = fixture.get("/api/v1/status").await.json();
    assert_eq!(
        (&status["generation"], &status["workers"], &status["connections"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert!(status["version"].is_string() && status["uptime_s"].is_u64());
    let reload = &status["last_reload"];
    assert!(reload["result"] == "ok" && reload["errors"] == json!([]) && reload["at"].is_string());

    let pools = fixture.get("/api/v1/pools").await.json();
    assert_eq!(pools.as_array().map(Vec::len), Some(2));
    let pool = fixture.get("/api/v1/pools/api").await.json();
    assert_eq!(pool, pools[0]);
    assert_eq!(
        (&pool["policy"], &pool["panicking"]),
        (&json!("least-connections"), &json!(false))
    );
    let backend = &pool["backends"][0];
    for (field, value) in [
        ("name", json!("one")),
        ("address", json!("127.0.0.1:1")),
        ("weight", json!(1)),
        ("effective_weight", json!(1.0)),
        ("zone", json!("a")),
        ("priority", json!(0)),
        ("state", json!("healthy")),
        ("cause", json!("checks pass")),
        ("in_flight", json!(0)),
        ("load_line", json!(1024)),
        ("connections", json!(0)),
        ("requests", json!(0)),
        ("errors", json!(0)),
        ("latency_ms", json!(null)),
        ("sticky_sessions", json!(0)),
    ] {
        assert_eq!(backend.get(field), Some(&value), "{field}");
    }
    let since = backend["since"].as_str().expect("a time");
    let since = humantime::parse_rfc3339(since).expect("an RFC 3339 time");
    let expected = fixture.api.control.started() + std::time::Duration::from_secs(1);
    let apart = expected.duration_since(since).expect("milliseconds are cut off");
    assert!(apart < std::time::Duration::from_millis(1), "{apart:?}");
    assert_eq!(pool["backends"][1]["state"], "unknown");
}

#[tokio::test]
async fn routes_tell_what_they_match_and_no_secret() {
    let answer = Fixture::new().get("/api/v1/routes").await;
    assert!(!answer.body.contains("secret"), "{}", answer.body);
    let routes = answer.json();
    assert_eq!(routes[0]["name"], "shop");
    assert_eq!(
        (&routes[0]["listeners"], &routes[0]["pool"]),
        (&json!(["web"]), &json!("api"))
    );
    let rule = &routes[0]["match"][0];
    assert_eq!(
        (&rule["host"], &rule["path"]),
        (&json!("shop.example"), &json!("/api/*"))
    );
    assert_eq!(
        (&rule["methods"], &rule["headers"]),
        (&json!(["GET"]), &json!(["x-key"]))
    );
    assert_eq!(routes[1]["match"].as_array().map(Vec::len), Some(2));
    assert_eq!(routes[1]["redirect"]["status"], 308);
}

#[tokio::test]
async fn a_decision_is_explained_as_it_would_be_made_now() {
    let fixture = Fixture::new();
    fixture.check(0, true);
    fixture.check(1, false);
    let url = "http%3A%2F%2Fshop.example%2Fapi%2Fx";
    let found = fixture
        .get(&format!("/api/v1/explain?url={url}&listener=web&header=x-key:secret"))
        .await;
    let decision = found.json();
    assert_eq!(
        (&decision["route"], &decision["pool"], &decision["backend"]),
        (&json!("shop"), &json!("api"), &json!("one")),
        "{decision}"
    );
    assert!(decision["steps"].as_array().is_some_and(|steps| steps.len() > 3));
    let none = fixture
        .get("/api/v1/explain?url=http://x.example/&listener=web")
        .await
        .json();
    assert_eq!(none["reason"], "no_route");
    for (query, says) in [
        ("", "`url` is missing"),
        ("?ulr=http://x/", "did you mean \"url\"?"),
        ("?url=http://x/&url=http://y/", "twice"),
        ("?url=http://x/&header=nonsense", "no colon"),
        ("?url=%ff&listener=web", ""),
    ] {
        let answer = fixture.get(&format!("/api/v1/explain{query}")).await;
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!((answer.status, detail.contains(says)), (400, true), "{query}: {detail}");
    }
}
