//! Which calls there are, and who may make them.

use axum::http::Method;

use super::super::token::Token;
use super::super::{openapi, router};
use super::{Fixture, call};

#[tokio::test]
async fn every_call_but_the_probes_wants_the_token_and_our_host() {
    let fixture = Fixture::new();
    let token = "0123456789abcdef";
    let shown = [("authorization", "Bearer 0123456789abcdef")];
    let page = call(fixture.router(Some(token)), Method::GET, "/", &[], "").await;
    assert_eq!(page.status, 200, "the page asks for the token itself");
    assert!(page.field("content-security-policy").starts_with("default-src 'none'"));
    let foreign = [("origin", "http://evil.example")];
    assert_eq!(
        call(fixture.router(None), Method::GET, "/", &foreign, "").await.status,
        403
    );
    for path in [
        "/metrics",
        "/api/v1/status",
        "/api/v1/pools/api",
        "/nowhere",
        "/api/v1/events?last=none",
    ] {
        let bare = call(fixture.router(Some(token)), Method::GET, path, &[], "").await;
        assert_eq!(bare.status, 401, "{path}");
        assert!(bare.field("www-authenticate").starts_with("Bearer"));
        let known = call(fixture.router(Some(token)), Method::GET, path, &shown, "").await;
        assert_ne!(known.status, 401, "{path}");
        let foreign = [shown[0], ("origin", "http://evil.example")];
        let foreign = call(fixture.router(Some(token)), Method::GET, path, &foreign, "").await;
        assert_eq!(foreign.status, 403, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        let foreign = [("origin", "http://evil.example")];
        let answer = call(fixture.router(Some(token)), Method::GET, path, &foreign, "").await;
        assert!(matches!(answer.status, 200 | 503), "{path}");
    }
}

#[tokio::test]
async fn a_token_that_reads_changes_nothing() {
    let fixture = Fixture::new();
    let token = |text: &str| Some(Token::parse(text).expect("a token"));
    let router = || fixture.guarded(token("0123456789abcdef-writes"), token("0123456789abcdef-reads"));
    let path = "/api/v1/pools/api/backends/one";
    for (shown, read, changed) in [
        ("Bearer 0123456789abcdef-writes", 200, 200),
        ("Bearer 0123456789abcdef-reads", 200, 403),
        ("Bearer 0123456789abcdef-guess", 401, 401),
    ] {
        let fields = [("authorization", shown), ("content-type", "application/json")];
        assert_eq!(
            call(router(), Method::GET, "/api/v1/pools", &fields, "").await.status,
            read,
            "{shown}"
        );
        let change = call(router(), Method::PATCH, path, &fields, r#"{"weight": 2}"#).await;
        assert_eq!(change.status, changed, "{shown}");
        let stats = call(router(), Method::GET, "/api/v1/stats", &fields, "").await;
        if read == 200 {
            assert_eq!(stats.json()["may_write"], changed == 200, "{shown}");
        }
    }
}

#[tokio::test]
async fn the_description_tells_what_is_there_and_nothing_else() {
    let fixture = Fixture::new();
    fixture.check(0, true);
    fixture.check(1, true);
    super::decisions::keep(&fixture, "7", None);
    let description = fixture.get("/api/v1/openapi.json").await.json();
    assert_eq!(description, openapi::describe());
    let paths = description["paths"].as_object().expect("paths");
    for (path, calls) in paths {
        let mut path = path
            .replace("{pool}", "api")
            .replace("{address}", "one")
            .replace("{route}", "canary")
            .replace("{request_id}", "7");
        if path == "/api/v1/events" {
            // It does not end; its question is refused where it is wrong.
            assert_eq!(
                call(fixture.router(None), Method::GET, "/api/v1/events?last=x", &[], "")
                    .await
                    .status,
                400
            );
            continue;
        }
        if path == "/api/v1/explain" {
            path.push_str("?url=http://shop.example/&listener=web");
        }
        for method in calls.as_object().expect("methods").keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            let json = [("content-type", "application/json")];
            let body = if path.contains("routes") {
                r#"{"split": [{"pool": "api"}]}"#
            } else {
                r#"{"weight": 1}"#
            };
            let answer = call(fixture.router(None), method.clone(), &path, &json, body).await;
            // There is no file to be read again here, and what a backend is told is no configuration.
            // Nor is a shift under way, or somebody there who could hand over.
            // What is made here has tests of its own.
            let refused = ["/reload", "/config", "/shift", "/upgrade"]
                .iter()
                .any(|end| path.ends_with(end))
                || method == Method::DELETE
                || path.starts_with("/api/v1") && method == Method::POST;
            let told = &calls[method.as_str().to_lowercase()]["responses"][answer.status.to_string()];
            assert!(
                told.is_object() && (refused || answer.status == 200),
                "{method} {path}: {}",
                answer.body
            );
            let other = call(fixture.router(None), Method::TRACE, &path, &[], "").await;
            assert_eq!(other.status, 405, "{path}");
            assert!(
                other.field("allow").contains(method.as_str()),
                "{path}: {}",
                other.field("allow")
            );
        }
    }
    let text = description.to_string();
    for (at, _) in text.match_indices("#/components/schemas/") {
        let name: String = text[at + 21..].chars().take_while(|c| c.is_alphanumeric()).collect();
        assert!(description["components"]["schemas"][&name].is_object(), "{name}");
    }
}

#[tokio::test]
async fn the_address_for_scrapers_serves_metrics_and_probes_alone() {
    let fixture = Fixture::new();
    let router = router::scraped(fixture.api.clone());
    for (path, status) in [
        ("/metrics", 200),
        ("/healthz", 200),
        ("/readyz", 503),
        ("/", 404),
        ("/api/v1/pools", 404),
    ] {
        let named = [("host", "lb-1.example")];
        assert_eq!(
            call(router.clone(), Method::GET, path, &named, "").await.status,
            status,
            "{path}"
        );
    }
}
