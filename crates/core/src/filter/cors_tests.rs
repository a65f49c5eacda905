//! Who may read answers, and what preflights are told.

use serde_json::json;

use super::super::fixtures::{Asking, KeepOne, Request, build, read};
use super::*;

fn cors(json: &Json) -> Box<dyn Filter> {
    build::<Cors>(json, &mut KeepOne::default())
}

fn preflight(origin: &'static str, method: &'static str, fields: &'static str) -> Request {
    let asked = Request::get().with(ORIGIN, origin).with(REQUEST_METHOD, method);
    let asked = if fields.is_empty() {
        asked
    } else {
        asked.with(REQUEST_HEADERS, fields)
    };
    Request {
        method: "OPTIONS",
        ..asked
    }
}

fn told(asking: &Asking) -> Option<String> {
    asking.field(ALLOW_ORIGIN)
}

#[test]
fn origins_are_exact_or_below_a_suffix_or_matched_as_a_whole() {
    let filter = cors(&json!({ "origins": [
        "https://App.example.com", "https://*.shop.example", "http://*.dev.example:3000", { "regex": "https://pr-[0-9]+\\.example\\.com" },
    ] }));
    for (origin, allowed) in [
        ("https://app.example.com", true),
        ("http://app.example.com", false),
        ("https://app.example.com:8443", false),
        ("https://app.example.com.evil.example", false),
        ("https://evil.example/https://app.example.com", false),
        ("https://a.shop.example", true),
        ("https://a.b.shop.example", true),
        ("https://shop.example", false),
        ("https://.shop.example", false),
        ("https://evilshop.example", false),
        ("https://evil.example/.shop.example", false),
        ("https://evil.example?.shop.example", false),
        ("https://user@x.shop.example", false),
        ("http://x.dev.example:3000", true),
        ("http://x.dev.example", false),
        ("https://pr-12.example.com", true),
        ("https://pr-12.example.com.evil", false),
        ("https://x/https://pr-1.example.com", false),
        ("null", false),
        ("", false),
    ] {
        let asking = Request::get().with(ORIGIN, origin).ask(&*filter);
        assert_eq!(told(&asking), allowed.then(|| origin.to_owned()), "{origin}");
        assert_eq!(asking.field("vary").as_deref(), Some("origin"));
        assert!(
            asking.changes.answer.removes(ALLOW_ORIGIN),
            "a backend's own does not stand beside it"
        );
    }
    let none = Request::get().ask(&*filter);
    assert_eq!((told(&none), none.field("vary").as_deref()), (None, Some("origin")));
}

#[test]
fn everybody_is_told_the_same_when_everybody_may() {
    let filter = cors(&json!({ "origins": ["*"], "expose_headers": ["x-total", "etag"] }));
    let asking = Request::get().with(ORIGIN, "null").ask(&*filter);
    assert_eq!((told(&asking).as_deref(), asking.field("vary")), (Some("*"), None));
    assert_eq!(asking.field(EXPOSE).as_deref(), Some("x-total, etag"));
}

#[test]
fn preflights_are_answered_with_what_is_allowed() {
    let filter = cors(&json!({
        "origins": ["https://a.example"], "methods": ["GET", "PUT"], "headers": ["X-Id", "content-type"],
        "credentials": true, "max_age": "10m",
    }));
    let answer = preflight("https://a.example", "PUT", "x-id, Content-Type").ask(&*filter);
    assert_eq!(
        (answer.status(), told(&answer).as_deref()),
        (204, Some("https://a.example"))
    );
    for (name, value) in [
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "x-id, content-type"),
        (ALLOW_CREDENTIALS, "true"),
        ("access-control-max-age", "600"),
        (
            "vary",
            "origin, access-control-request-method, access-control-request-headers",
        ),
    ] {
        assert_eq!(answer.field(name).as_deref(), Some(value), "{name}");
    }
    for refused in [
        preflight("https://b.example", "PUT", ""),
        preflight("https://a.example", "DELETE", ""),
        preflight("https://a.example", "put", ""),
        preflight("https://a.example", "PUT", "x-other"),
    ] {
        let answer = refused.ask(&*filter);
        assert_eq!((answer.status(), told(&answer)), (403, None));
    }
    // Without the method that it is for it is an OPTIONS like any other.
    let options = Request {
        method: "OPTIONS",
        ..Request::get().with(ORIGIN, "https://a.example")
    };
    assert_eq!(options.ask(&*filter).status(), 0);
}

#[test]
fn any_method_and_field_is_what_was_asked_for_and_nothing_else_is_echoed() {
    let filter = cors(&json!({ "origins": ["*"], "methods": ["*"], "headers": ["*"] }));
    let answer = preflight("https://b.example", "PATCH", "x-a,x-b").ask(&*filter);
    assert_eq!(answer.field("access-control-allow-methods").as_deref(), Some("PATCH"));
    assert_eq!(
        answer.field("access-control-allow-headers").as_deref(),
        Some("x-a, x-b")
    );
    assert_eq!(preflight("https://b.example", "A B", "").ask(&*filter).status(), 403);
    assert_eq!(
        preflight("https://b.example", "PUT", "x<script>")
            .ask(&*filter)
            .status(),
        403
    );
}

#[test]
fn what_is_unsafe_or_never_matches_is_refused() {
    for (settings, wrong) in [
        (json!({ "origins": [] }), "names nobody"),
        (json!({ "origins": ["*"], "credentials": true }), "any page could act"),
        (json!({ "origins": ["null"] }), "not an origin"),
        (json!({ "origins": ["app.example.com"] }), "not an origin"),
        (json!({ "origins": ["https://app.example.com/"] }), "not an origin"),
        (json!({ "origins": ["https://app.example.com:443"] }), "not an origin"),
        (json!({ "origins": ["https://*"] }), "not an origin"),
        (json!({ "origins": ["https://a*.example"] }), "not an origin"),
        (json!({ "origins": [{ "regex": "(" }] }), ""),
        (
            json!({ "origins": ["https://a"], "methods": ["A B"] }),
            "neither a method",
        ),
    ] {
        let told = read::<Cors>(&settings).unwrap_err().join("; ");
        assert!(told.contains(wrong), "{settings}: {told}");
    }
}
