//! A request through every floor: listen, parse, match, pick, forward, answer.

use std::time::Duration;

use e2e::{Backend, PATIENCE, Plimsoll, Script, eventually, tools};

const ONE_ROUTE: &str = r#"
    [listeners.web]
    bind = ["@web@"]
    protocol = "http"

    [[routes]]
    name = "api"
    match = { path = "/api/*" }
    pool = "api"

    [pools.api]
    backends = ["@first@", "@second@"]
    health = false
"#;

/// Two echoing backends behind [`ONE_ROUTE`].
fn with_two_backends() -> (Backend, Backend, Plimsoll) {
    let first = Backend::named("first", Script::Echo);
    let second = Backend::named("second", Script::Echo);
    let plimsoll = Plimsoll::config(ONE_ROUTE)
        .address("first", first.address())
        .address("second", second.address())
        .start();
    (first, second, plimsoll)
}

#[test]
fn a_request_reaches_a_backend_and_its_answer_comes_back() {
    let (first, second, plimsoll) = with_two_backends();
    let body = "a=1&b=2";
    let reply = plimsoll.exchange(
        "web",
        format!(
            "POST /api/orders?id=7 HTTP/1.1\r\nhost: shop.example\r\ncontent-length: {}\r\nx-custom: kept\r\n\r\n{body}",
            body.len()
        ),
    );
    assert_eq!(reply.status, 200);
    assert_eq!(reply.reason(), None);
    let echoed = reply.json();
    assert_eq!(echoed["method"], "POST");
    assert_eq!(echoed["target"], "/api/orders?id=7");
    assert_eq!(echoed["body"], body);
    assert_eq!(first.requests() + second.requests(), 1);
    let seen = [first.seen(), second.seen()].concat().remove(0);
    assert_eq!(seen.head.header("host"), Some("shop.example"));
    assert_eq!(seen.head.header("x-custom"), Some("kept"));
    assert_eq!(seen.head.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.head.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.head.header("x-forwarded-host"), Some("shop.example"));
    assert!(seen.head.header("x-request-id").is_some_and(|id| !id.is_empty()));
}

#[test]
fn a_connection_serves_many_requests_and_both_backends_get_some() {
    let (first, second, plimsoll) = with_two_backends();
    let mut wire = plimsoll.connect("web");
    for number in 0..100 {
        assert_eq!(wire.get(&format!("/api/{number}")).status, 200);
    }
    assert_eq!(first.requests() + second.requests(), 100);
    assert!(
        first.requests() > 10 && second.requests() > 10,
        "{} and {}",
        first.requests(),
        second.requests()
    );
    first.assert_no_violations();
    second.assert_no_violations();
}

#[test]
fn a_request_without_a_route_gets_404_and_says_so() {
    let (first, second, plimsoll) = with_two_backends();
    plimsoll.get("web", "/elsewhere").assert_reason(404, "no_route");
    plimsoll.get("web", "/apix").assert_reason(404, "no_route");
    assert_eq!(first.requests() + second.requests(), 0);
}

#[test]
fn curl_gets_its_answer() {
    let (_first, _second, plimsoll) = with_two_backends();
    let url = format!("http://{}/api/curl", plimsoll.address("web"));
    let output = tools::curl(&["--fail", &url]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("/api/curl"), "{output:?}");
}

#[test]
fn proxy_serves_without_a_configuration_file() {
    let backend = Backend::start(Script::Echo);
    let to = backend.address().to_string();
    let plimsoll = Plimsoll::command(&["proxy", "--listen", "@web@", "--to", &to]).start();
    let reply = plimsoll.get("web", "/anything");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["target"], "/anything");
}

#[test]
fn proxy_relays_tcp() {
    let backend = Backend::tcp_echo();
    let to = backend.address().to_string();
    let plimsoll = Plimsoll::command(&["proxy", "--tcp", "--listen", "@db@", "--to", &to]).start();
    let mut wire = plimsoll.connect("db");
    wire.send("ping");
    assert_eq!(wire.read_bytes(4), b"ping");
    wire.send("last words");
    wire.half_close();
    let (rest, end) = wire.read_to_end();
    assert_eq!(rest, b"last words");
    assert!(end.is_ok(), "{end:?}");
}

#[test]
fn sigterm_ends_an_idle_process_with_code_0() {
    let (_first, _second, mut plimsoll) = with_two_backends();
    assert_eq!(plimsoll.get("web", "/api/").status, 200);
    let status = plimsoll.terminate(PATIENCE);
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn a_request_in_flight_at_sigterm_is_answered() {
    let slow = Backend::start(Script::after(
        Duration::from_millis(700),
        Script::reply(200, "slow but whole"),
    ));
    let idle = Backend::start(Script::after(
        Duration::from_millis(700),
        Script::reply(200, "slow but whole"),
    ));
    let mut plimsoll = Plimsoll::config(ONE_ROUTE)
        .address("first", slow.address())
        .address("second", idle.address())
        .start();
    let mut wire = plimsoll.connect("web");
    wire.send("GET /api/slow HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the request reaches a backend", || {
        (slow.requests() + idle.requests() == 1).then_some(())
    });
    plimsoll.signal("TERM");
    let reply = wire.reply();
    assert_eq!((reply.status, reply.text().as_str()), (200, "slow but whole"));
    assert_eq!(plimsoll.wait_for_exit(PATIENCE).code(), Some(0));
}
