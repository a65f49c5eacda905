//! Cross-origin requests, as browsers send them.

use e2e::tools::curl;
use e2e::{Backend, Plimsoll, Reply, Script};

fn serve() -> (Backend, Plimsoll) {
    let script = Script::reply(200, "hello")
        .header("access-control-allow-origin", "*")
        .header("vary", "accept")
        .header("x-total", "7");
    let backend = Backend::start(script);
    let text = r#"
        [listeners.web]
        bind = "@web@"
        [[routes]]
        filters = [
          { kind = "cors", origins = ["https://*.example.com"], methods = ["GET", "PUT"], headers = ["x-id"], expose_headers = ["x-total"], credentials = true, max_age = "10m" },
          { kind = "rate-limit", key = "header:x-id", rate = "1/h" },
        ]
        pool = "p"
        [pools.p]
        backends = ["@one@"]
        health = false
    "#;
    let plimsoll = Plimsoll::config(text).address("one", backend.address()).start();
    (backend, plimsoll)
}

fn ask(plimsoll: &Plimsoll, method: &str, fields: &str) -> Reply {
    plimsoll.exchange("web", format!("{method} / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"))
}

#[test]
fn answers_may_be_read_by_the_origins_that_are_named_and_by_no_others() {
    let (_backend, plimsoll) = serve();
    let reply = ask(&plimsoll, "GET", "origin: https://app.example.com\r\n");
    assert_eq!(reply.text(), "hello");
    let allowed: Vec<&str> = reply.head.headers_named("access-control-allow-origin").collect();
    assert_eq!(allowed, ["https://app.example.com"], "the backend's own is gone");
    assert_eq!(reply.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(reply.header("access-control-expose-headers"), Some("x-total"));
    assert_eq!(
        reply.head.headers_named("vary").collect::<Vec<_>>(),
        ["accept", "origin"]
    );
    for fields in ["origin: https://example.com.evil.example\r\n", "origin: null\r\n", ""] {
        let reply = ask(&plimsoll, "GET", fields);
        assert_eq!(
            (reply.status, reply.header("access-control-allow-origin")),
            (200, None),
            "{fields}"
        );
        assert!(
            reply.head.headers_named("vary").any(|vary| vary == "origin"),
            "{fields}"
        );
    }
    // What we say ourselves can be read, too: a script learns why it was refused.
    let limited = || ask(&plimsoll, "GET", "origin: https://app.example.com\r\nx-id: 1\r\n");
    assert_eq!(limited().status, 200);
    let refused = limited();
    refused.assert_reason(429, "rate_limited");
    assert_eq!(
        refused.header("access-control-allow-origin"),
        Some("https://app.example.com")
    );
}

#[test]
fn preflights_are_answered_before_any_backend_sees_them() {
    let (backend, plimsoll) = serve();
    let preflight = |origin: &str, method: &str| {
        let fields = format!(
            "origin: {origin}\r\naccess-control-request-method: {method}\r\naccess-control-request-headers: x-id\r\n"
        );
        ask(&plimsoll, "OPTIONS", &fields)
    };
    let reply = preflight("https://app.example.com", "PUT");
    assert_eq!((reply.status, reply.header("content-length")), (204, None));
    assert_eq!(
        reply.header("access-control-allow-origin"),
        Some("https://app.example.com")
    );
    assert_eq!(reply.header("access-control-allow-methods"), Some("GET, PUT"));
    assert_eq!(reply.header("access-control-allow-headers"), Some("x-id"));
    assert_eq!(reply.header("access-control-max-age"), Some("600"));
    preflight("https://evil.example", "PUT").assert_reason(403, "denied");
    preflight("https://app.example.com", "DELETE").assert_reason(403, "denied");
    let url = format!("http://{}/", plimsoll.address("web"));
    let arguments = [
        "--http2-prior-knowledge",
        "-i",
        "-X",
        "OPTIONS",
        "-H",
        "origin: https://b.example.com",
    ];
    let told = curl(&[&arguments[..], &["-H", "access-control-request-method: GET", &url]].concat()).stdout;
    assert!(told.starts_with("HTTP/2 204"), "{told}");
    assert!(
        told.contains("access-control-allow-origin: https://b.example.com"),
        "{told}"
    );
    assert_eq!(backend.requests(), 0);
    // An OPTIONS that is no preflight is the backend's.
    assert_eq!(
        ask(&plimsoll, "OPTIONS", "origin: https://app.example.com\r\n").text(),
        "hello"
    );
}
