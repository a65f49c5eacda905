//! Whom a rate limit lets pass, and what it tells.

use serde_json::json;

use super::super::fixtures::{KeepOne, Request, build, read};
use super::*;

fn limit(json: &Json) -> Box<dyn Filter> {
    build::<RateLimit>(json, &mut KeepOne::default())
}

fn passed(filter: &dyn Filter, requests: &[Request]) -> Vec<bool> {
    requests
        .iter()
        .map(|request| request.ask(filter).status() == 0)
        .collect()
}

#[test]
fn each_client_has_a_bucket_of_its_own_and_ipv6_by_its_64() {
    let filter = limit(&json!({ "rate": "1/s" }));
    let clients = [
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.1",
        "2001:db8::1",
        "2001:db8::2:1",
        "2001:db8:0:1::1",
    ];
    let passed = passed(&*filter, &clients.map(Request::from));
    assert_eq!(passed, [true, true, false, true, false, true]);
}

#[test]
fn keys_are_parts_of_the_request_alone_or_together() {
    let a = || Request::get().with("x-tenant", "a").with("cookie", "s=1");
    let b = || Request::get().with("x-tenant", "b").with("cookie", "s=1");
    let (none, elsewhere) = (Request::get, || Request::from("192.0.2.9").with("x-tenant", "a"));
    for (key, expected) in [
        (json!("header:X-Tenant"), [true, false, true, true, true, false]),
        (json!("cookie:s"), [true, false, false, true, true, true]),
        (json!("query:q"), [true, false, false, false, false, false]),
        (json!("path"), [true, false, false, false, false, false]),
        (json!("all"), [true, false, false, false, false, false]),
        (
            json!(["client-ip", "header:x-tenant"]),
            [true, false, true, true, true, true],
        ),
    ] {
        let filter = limit(&json!({ "rate": "1/s", "key": key }));
        let passed = passed(&*filter, &[a(), a(), b(), none(), none(), elsewhere()]);
        assert_eq!(passed, expected, "{key}");
    }
    let filter = limit(&json!({ "rate": "1/s", "key": "header:x-tenant", "without_key": "share" }));
    assert_eq!(passed(&*filter, &[a(), none(), none()]), [true, true, false]);
}

#[test]
fn who_is_refused_learns_when_to_come_back_and_what_the_limit_is() {
    let filter = limit(&json!({ "rate": "30/m", "burst": 2, "name": "login" }));
    assert!(Request::get().ask(&*filter).changes.answer.is_empty());
    Request::get().ask(&*filter);
    let refused = Request::at(1_500).ask(&*filter);
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.field("retry-after").as_deref(), Some("2"));
    assert_eq!(refused.field("ratelimit-policy").as_deref(), Some("\"login\";q=2;w=4"));
    assert_eq!(refused.field("ratelimit").as_deref(), Some("\"login\";r=0;t=2"));
    // RFC 9110 §10.2.3: whoever waits so long gets through.
    assert_eq!(Request::at(3_500).ask(&*filter).status(), 0);
}

#[test]
fn answers_say_what_is_left_when_they_are_to() {
    let always = limit(&json!({ "rate": "30/m", "announce": "always" }));
    let passed = Request::get().ask(&*always);
    assert_eq!(passed.field("ratelimit").as_deref(), Some("\"default\";r=29;t=2"));
    let never = limit(&json!({ "rate": "1/m", "announce": "never" }));
    Request::get().ask(&*never);
    let refused = Request::get().ask(&*never);
    assert_eq!(
        (refused.field("ratelimit"), refused.field("retry-after").as_deref()),
        (None, Some("60"))
    );
}

#[test]
fn a_question_takes_nothing() {
    let filter = limit(&json!({ "rate": "2/s" }));
    for _ in 0..5 {
        assert_eq!(
            Request::get().question(&*filter).said,
            "2 of 2 left for this client-ip, which gets 2/s"
        );
    }
    assert_eq!(
        passed(&*filter, &[Request::get(), Request::get(), Request::get()]),
        [true, true, false]
    );
    let refused = Request::get().question(&*filter);
    assert_eq!(refused.status(), 429);
    let keyless = limit(&json!({ "rate": "2/s", "key": "header:x" }));
    let said = Request::get().question(&*keyless).said;
    assert_eq!(said, "the request has no header:x, and is not limited");
}

#[test]
fn buckets_outlive_the_generation_of_their_filter() {
    let mut keep = KeepOne::default();
    let before = build::<RateLimit>(&json!({ "rate": "2/m" }), &mut keep);
    assert_eq!(passed(&*before, &[Request::get(), Request::get()]), [true, true]);
    let after = build::<RateLimit>(&json!({ "rate": "1/m", "max_keys": 10 }), &mut keep);
    assert_eq!(Request::get().ask(&*after).status(), 429);
}

#[test]
fn what_makes_no_limit_is_refused() {
    for (settings, wrong) in [
        (json!({}), "the key `rate` is missing"),
        (json!({ "rate": "1/s", "burst": 0 }), "a burst of 0"),
        (json!({ "rate": "1/d", "burst": 400 }), "takes more than a year"),
        (json!({ "rate": "1/s", "key": "5-tuple" }), "is not a key"),
        (json!({ "rate": "1/s", "key": [] }), "one to 8 parts"),
        (json!({ "rate": "1/s", "scope": "cluster" }), "not built yet"),
        (json!({ "rate": "1/s", "name": "a\"b" }), "cannot stand in a header"),
        (json!({ "rate": "1/s", "max_keys": 0 }), "out of range"),
    ] {
        let told = read::<RateLimit>(&settings).unwrap_err().join("; ");
        assert!(told.contains(wrong), "{settings}: {told}");
    }
}
