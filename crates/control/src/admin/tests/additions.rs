//! Backends and routes that callers make.

use serde_json::json;

use super::*;

const BACKENDS: &str = "/api/v1/pools/api/backends";
const ROUTES: &str = "/api/v1/routes";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

impl Fixture {
    async fn post(&self, path: &str, body: &str) -> Answer {
        call(self.router(None), Method::POST, path, &JSON, body).await
    }

    async fn delete(&self, path: &str) -> Answer {
        call(self.router(None), Method::DELETE, path, &[], "").await
    }

    async fn replace(&self, text: &str) -> Answer {
        let fields = [("content-type", "application/toml")];
        call(self.router(None), Method::PUT, "/api/v1/config", &fields, text).await
    }

    fn generation(&self) -> u64 {
        self.api.control.snapshot().load().generation
    }
}

#[tokio::test]
async fn a_backend_that_is_made_joins_its_pool_in_one_swap() {
    let fixture = Fixture::new();
    let (before, reloads) = (fixture.generation(), fixture.api.control.reloads());
    let made = fixture.post(BACKENDS, r#""127.0.0.1:7""#).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.field("location"), "/api/v1/pools/api/backends/127.0.0.1:7");
    assert_eq!(
        (&made.json()["origin"], &made.json()["name"]),
        (&json!("api"), &json!("127.0.0.1:7"))
    );
    let table = r#"{ "address": "[::1]:7", "name": "six", "weight": 3, "zone": "b", "max_requests": 5 }"#;
    let made = fixture.post(BACKENDS, table).await.json();
    assert_eq!(
        (&made["weight"], &made["zone"], &made["load_line"]),
        (&json!(3), &json!("b"), &json!(5))
    );
    assert_eq!(fixture.generation(), before + 2, "one swap each");
    assert_eq!(fixture.api.control.reloads(), reloads, "it is no reload");
    let pool = fixture.get("/api/v1/pools/api").await.json();
    let origins: Vec<&str> = (pool["backends"].as_array().expect("backends").iter())
        .map(|backend| backend["origin"].as_str().expect("an origin"))
        .collect();
    assert_eq!(origins, ["file", "file", "api", "api"]);
}

#[tokio::test]
async fn what_is_wrong_with_it_is_told_and_nothing_changes() {
    let fixture = Fixture::new();
    let before = fixture.generation();
    for (path, body, status, told) in [
        (BACKENDS, "{", 400, "expected"),
        (BACKENDS, "7", 400, "an address, like"),
        (BACKENDS, r#""backend.example:80""#, 400, "discovery by DNS"),
        (BACKENDS, r#"{ "address": "127.0.0.1:7", "wieght": 1 }"#, 400, "weight"),
        (
            BACKENDS,
            r#"{ "address": "127.0.0.1:7", "name": "one" }"#,
            400,
            "are called `one`",
        ),
        (BACKENDS, r#""127.0.0.1:1""#, 409, "is in the configuration already"),
        (BACKENDS, r#""${HOME}""#, 400, "HOME"),
        (
            "/api/v1/pools/apl/backends",
            r#""127.0.0.1:7""#,
            404,
            "did you mean \"api\"?",
        ),
        (ROUTES, r#"{ "pool": "api" }"#, 400, "needs a name"),
        (
            ROUTES,
            r#"{ "name": "shop", "pool": "api" }"#,
            409,
            "is in the configuration already",
        ),
        (ROUTES, r#"{ "name": "new" }"#, 400, "pool"),
        (
            ROUTES,
            r#"{ "name": "new", "pool": "apl" }"#,
            400,
            "no pool called `apl`",
        ),
        (
            ROUTES,
            r#"{ "name": "new", "pool": "api", "listeners": ["wob"] }"#,
            400,
            "no listener called `wob`",
        ),
        (
            ROUTES,
            r#"{ "name": "new", "pool": "api", "filters": [{ "kind": "deny", "cidr_file": "/etc/passwd" }] }"#,
            400,
            "files and programs are named by the configuration's own file alone",
        ),
    ] {
        let answer = fixture.post(path, body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
        assert!(detail.contains(told), "{body}: {detail}");
    }
    let as_form = [("content-type", "text/plain")];
    let form = call(
        fixture.router(None),
        Method::POST,
        BACKENDS,
        &as_form,
        r#""127.0.0.1:7""#,
    )
    .await;
    assert_eq!(form.status, 415);
    let asked = fixture
        .post(&format!("{BACKENDS}?persist=yes"), r#""127.0.0.1:7""#)
        .await;
    assert_eq!(asked.status, 400);
    assert_eq!(fixture.generation(), before);
}

#[tokio::test]
async fn what_the_file_names_is_not_removed() {
    let fixture = Fixture::new();
    for (path, status, told) in [
        (format!("{BACKENDS}/one"), 409, "in the configuration's file"),
        (format!("{BACKENDS}/127.0.0.1:1"), 409, "in the configuration's file"),
        (format!("{BACKENDS}/onne"), 404, "did you mean"),
        ("/api/v1/pools/apl/backends/one".into(), 404, "no pool"),
        (format!("{ROUTES}/shop"), 409, "in the configuration's file"),
        (format!("{ROUTES}/shopp"), 404, "did you mean"),
        (format!("{BACKENDS}/one?timeout=x"), 400, "timeout"),
        (format!("{BACKENDS}/one?timeuot=1s"), 400, "?timeout=60s"),
    ] {
        let answer = fixture.delete(&path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(
            answer.json()["detail"].as_str().expect("a detail").contains(told),
            "{path}: {}",
            answer.body
        );
    }
}

#[tokio::test]
async fn a_removed_backend_drains_first_and_leaves_nothing_behind() {
    let fixture = Fixture::new();
    assert_eq!(fixture.post(BACKENDS, r#""127.0.0.1:7""#).await.status, 201);
    let path = format!("{BACKENDS}/127.0.0.1:7");
    let removed = fixture.delete(&format!("{path}?timeout=5s")).await;
    assert_eq!(
        (removed.status, &removed.json()["state"]),
        (202, &json!("draining")),
        "{}",
        removed.body
    );
    assert_eq!(removed.json()["drain_left_ms"], 5000);
    // While it drains it cannot be made again, and can be kept.
    assert_eq!(fixture.post(BACKENDS, r#""127.0.0.1:7""#).await.status, 409);
    let tended = tokio::spawn(fixture.api.reloader.clone().tend());
    while fixture.get("/api/v1/pools/api").await.body.contains("127.0.0.1:7") {
        tokio::task::yield_now().await;
    }
    let again = fixture.post(BACKENDS, r#""127.0.0.1:7""#).await;
    assert_eq!(again.status, 201, "{}", again.body);
    assert_eq!(
        again.json()["operator"],
        json!({ "state": null, "weight": null }),
        "the drain is forgotten"
    );
    tended.abort();
}

#[tokio::test]
async fn a_route_that_is_made_is_served_until_it_is_removed() {
    let fixture = Fixture::new();
    let made = fixture
        .post(
            ROUTES,
            r#"{ "name": "new", "match": { "path": "/made" }, "pool": "api" }"#,
        )
        .await;
    assert_eq!(
        (made.status, &made.json()["origin"]),
        (201, &json!("api")),
        "{}",
        made.body
    );
    assert_eq!(made.field("location"), "/api/v1/routes/new");
    let asked = "/api/v1/explain?url=http://shop.example/made&listener=web";
    assert_eq!(fixture.get(asked).await.json()["route"], "new");
    assert_eq!(fixture.delete("/api/v1/routes/new").await.status, 204);
    assert_eq!(fixture.delete("/api/v1/routes/new").await.status, 404);
    assert_ne!(fixture.get(asked).await.json()["route"], "new");
}

#[tokio::test]
async fn what_was_made_stays_with_another_configuration_as_far_as_it_fits() {
    let fixture = Fixture::new();
    fixture.post(BACKENDS, r#""127.0.0.1:7""#).await;
    fixture
        .post("/api/v1/pools/unchecked/backends", r#""127.0.0.1:8""#)
        .await;
    fixture
        .post(
            ROUTES,
            r#"{ "name": "new", "match": { "path": "/made" }, "pool": "unchecked" }"#,
        )
        .await;
    let without = r#"
        listeners.web.bind = ["127.0.0.1:0"]
        [[routes]]
        name = "rest"
        pool = "api"
        [pools.api]
        backends = ["127.0.0.1:1"]
    "#;
    let replaced = fixture.replace(without).await;
    assert_eq!(replaced.status, 200, "{}", replaced.body);
    assert!(fixture.get("/api/v1/pools/api").await.body.contains("127.0.0.1:7"));
    let aside: Vec<bool> = (fixture.api.control.additions().iter())
        .map(|addition| addition.set_aside.is_some())
        .collect();
    assert_eq!(aside, [false, true, true]);
    // Once it fits again it is back.
    assert_eq!(fixture.replace(CONFIG).await.status, 200);
    assert!(fixture.get("/api/v1/routes").await.body.contains("\"new\""));
    assert!(
        fixture
            .get("/api/v1/pools/unchecked")
            .await
            .body
            .contains("127.0.0.1:8")
    );
    // What is set aside can be removed as well.
    assert_eq!(fixture.replace(without).await.status, 200);
    assert_eq!(
        fixture
            .delete("/api/v1/pools/unchecked/backends/127.0.0.1:8")
            .await
            .status,
        204
    );
    assert_eq!(fixture.delete("/api/v1/routes/new").await.status, 204);
    assert_eq!(fixture.api.control.additions().len(), 1);
}

#[tokio::test]
async fn only_so_many_can_be_made() {
    let fixture = Fixture::new();
    let text = |at: usize| format!("\"127.1.{}.{}:80\"", at / 256, at % 256);
    let all = (0..crate::config::ADDITIONS_MAX)
        .map(|at| crate::config::Addition::backend("api", text(at)).expect("a backend"));
    let plan = (*fixture.api.control.plan()).clone();
    fixture.api.control.adopt(plan, all.collect(), None);
    let refused = fixture.post(BACKENDS, r#""127.0.0.1:7""#).await;
    assert_eq!(refused.status, 409);
    assert!(refused.body.contains("are the most"), "{}", refused.body);
}
