//! What operators may change.

use axum::http::Method;
use serde_json::json;

use super::{Fixture, call};

#[tokio::test]
async fn an_operator_can_drain_and_undo_it() {
    let fixture = Fixture::new();
    fixture.check(0, true);
    for (backend, body, state, weight) in [
        ("one", r#"{"state": "drain"}"#, "draining", 1),
        ("127.0.0.1:1", r#"{"weight": 3}"#, "draining", 3),
        ("one", r#"{"state": "maintenance"}"#, "maintenance", 3),
        ("one", r#"{"state": "ready", "weight": 0}"#, "healthy", 0),
        ("127.0.0.1%3A1", r#"{"weight": null}"#, "healthy", 1),
    ] {
        let answer = fixture.patch(backend, body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let told = answer.json();
        assert_eq!(
            (&told["state"], &told["weight"]),
            (&json!(state), &json!(weight)),
            "{body}"
        );
        assert_eq!(told.get("warnings"), None, "{body}");
    }
    let told = fixture
        .patch("one", r#"{"state": "drain", "timeout": "60s"}"#)
        .await
        .json();
    assert_eq!(
        (&told["state"], &told["operator"]["state"]),
        (&json!("draining"), &json!("drain"))
    );
    assert!(told["drain_left_ms"] == 60_000 && told["cut"] == 0, "{told:#}");
}

#[tokio::test]
async fn changes_that_make_no_sense_change_nothing_and_say_why() {
    let fixture = Fixture::new();
    for (backend, body, status, says) in [
        ("one", "", 400, ""),
        ("one", "[]", 400, "a table"),
        ("one", "{}", 400, "nothing to change"),
        ("one", r#"{"wieght": 2}"#, 400, "did you mean `weight`?"),
        ("one", r#"{"state": "drian"}"#, 400, "did you mean \"drain\"?"),
        ("one", r#"{"weight": 1001}"#, 400, "0 to 1000"),
        ("one", r#"{"weight": "2"}"#, 400, "a whole number"),
        (
            "one",
            r#"{"state": "ready", "timeout": "1s"}"#,
            400,
            "belongs to a drain",
        ),
        ("one", r#"{"weight": 2, "weight": 3}"#, 400, "weight"),
        ("ones", r#"{"weight": 2}"#, 404, "did you mean \"one\"?"),
        ("127.0.0.1:9", r#"{"weight": 2}"#, 404, "no backend"),
    ] {
        let answer = fixture.patch(backend, body).await;
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (answer.status, detail.contains(says)),
            (status, true),
            "{body}: {detail}"
        );
        assert_eq!(answer.field("content-type"), "application/problem+json");
    }
    let long = format!(r#"{{"weight": 2{}}}"#, " ".repeat(70_000));
    assert_eq!(fixture.patch("one", &long).await.status, 413);
    let form = [("content-type", "text/plain")];
    let path = "/api/v1/pools/api/backends/one";
    let answer = call(fixture.router(None), Method::PATCH, path, &form, r#"{"weight": 2}"#).await;
    assert_eq!(answer.status, 415);
    assert_eq!(fixture.get("/api/v1/pools/apii").await.status, 404);
    let pool = fixture.get("/api/v1/pools/api").await.json();
    assert_eq!(pool["backends"][0]["weight"], 1);
}

#[tokio::test]
async fn a_pool_is_changed_as_a_whole_and_says_so_once() {
    let fixture = Fixture::new();
    fixture.check(0, true);
    fixture.check(1, true);
    let patch = async |path: &str, body: &str| {
        let fields = [("content-type", "application/json")];
        call(fixture.router(None), Method::PATCH, path, &fields, body).await
    };
    let told = || {
        fixture
            .api
            .control
            .events()
            .counts()
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    let before = told();
    for (body, state, weight) in [
        (r#"{"state": "drain", "timeout": "60s"}"#, "draining", 1),
        (r#"{"state": "ready", "weight": 4}"#, "healthy", 4),
        (r#"{"weight": null}"#, "healthy", 1),
    ] {
        let answer = patch("/api/v1/pools/api", body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let pool = answer.json();
        let backends = pool["backends"].as_array().expect("backends");
        assert_eq!(backends.len(), 2);
        for backend in backends {
            let stands = (&backend["state"], &backend["weight"]);
            assert_eq!(stands, (&json!(state), &json!(weight)), "{body}");
        }
    }
    assert_eq!(told() - before, 3, "one event for each call");
    let other = &fixture.get("/api/v1/pools/unchecked").await.json()["backends"][0];
    assert_eq!(other["operator"], json!({ "state": null, "weight": null }));
    for (path, body, status) in [
        ("/api/v1/pools/apj", r#"{"state": "drain"}"#, 404),
        ("/api/v1/pools/api", "{}", 400),
        ("/api/v1/pools/api", r#"{"timeout": "5s"}"#, 400),
        ("/api/v1/pools/api", "", 400),
    ] {
        assert_eq!(patch(path, body).await.status, status, "{path} {body}");
    }
}
