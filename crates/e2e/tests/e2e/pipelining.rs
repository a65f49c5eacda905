//! Requests on one connection: one after the other, ahead of their answers, and the last one.

use std::time::Duration;

use e2e::{Backend, PATIENCE, Script};

use crate::front::front;

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let backend = Backend::start(Script::by_path([
        ("/slow", Script::after(Duration::from_millis(50), Script::Echo)),
        ("/", Script::Echo),
    ]));
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    let targets: Vec<String> = (0..50)
        .map(|n| {
            if n % 10 == 0 {
                format!("/slow/{n}")
            } else {
                format!("/{n}")
            }
        })
        .collect();
    let bytes: String = targets
        .iter()
        .enumerate()
        .map(|(n, target)| match n % 3 {
            0 => format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"),
            1 => format!("POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody"),
            // Some clients send an empty line behind a body (RFC 9112, section 2.2).
            _ => format!(
                "\r\nPOST {target} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
            ),
        })
        .collect();
    wire.send(bytes);
    for target in &targets {
        assert_eq!(wire.reply().json()["target"], *target);
    }
    let seen: Vec<_> = backend
        .seen()
        .iter()
        .map(|request| request.target().to_owned())
        .collect();
    assert_eq!(seen, targets);
    backend.assert_no_violations();
}

#[test]
fn more_than_a_buffer_of_requests_ahead_is_answered_whole() {
    let backend = Backend::start(Script::reply(200, "ok"));
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-padding: {}\r\n\r\n", "p".repeat(5_000));
    wire.send(request.repeat(200));
    for _ in 0..200 {
        assert_eq!(wire.reply().text(), "ok");
    }
    backend.assert_no_violations();
}

#[test]
fn a_malformed_request_behind_a_good_one_is_refused_after_its_answer() {
    let backend = Backend::start(Script::after(Duration::from_millis(30), Script::Echo));
    let plimsoll = front().before(backend.address());
    for bad in [
        "GET /two HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET /two HTTP/1.1\nhost: a\n\n",
        "POST /two HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "\0",
    ] {
        backend.forget();
        let mut wire = plimsoll.connect("web");
        wire.send(format!(
            "POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok{bad}GET /three HTTP/1.1\r\nhost: a\r\n\r\n"
        ));
        assert_eq!(wire.reply().json()["target"], "/one", "{bad:?}");
        let reply = wire.reply();
        reply.assert_reason(400, "bad_request");
        wire.assert_closed_within(PATIENCE);
        assert_eq!(backend.requests(), 1, "{bad:?}");
    }
    backend.assert_no_violations();
}

#[test]
fn nothing_behind_a_request_that_says_close_is_read() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    for close in [
        "connection: close",
        "Connection: x-a , CLOSE",
        "connection: keep-alive, close",
    ] {
        backend.forget();
        let mut wire = plimsoll.connect("web");
        wire.send(format!(
            "GET /last HTTP/1.1\r\nhost: a\r\n{close}\r\n\r\nGET /beyond HTTP/1.1\r\nhost: a\r\n\r\n"
        ));
        let reply = wire.reply();
        assert_eq!(
            (reply.status, reply.header("connection")),
            (200, Some("close")),
            "{close}"
        );
        wire.assert_closed_within(PATIENCE);
        assert_eq!(backend.requests(), 1, "{close}");
    }
}

#[test]
fn a_head_is_read_however_it_is_cut() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    let bytes = "\r\nGET /cut HTTP/1.1\r\nhost: a\r\nx-a: b\r\n\r\n";
    for _ in 0..3 {
        wire.drip(bytes, Duration::from_millis(1)).expect("each byte is taken");
        assert_eq!(wire.reply().json()["target"], "/cut");
    }
}

#[test]
fn bodies_that_our_own_replies_leave_unread_are_never_taken_for_requests() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .route("match = { path = \"/known/*\" }")
        .before(backend.address());
    for framing in ["content-length: 37\r\n\r\n", "transfer-encoding: chunked\r\n\r\n25\r\n"] {
        let mut wire = plimsoll.connect("web");
        wire.send(format!(
            "POST /unknown HTTP/1.1\r\nhost: a\r\n{framing}GET /known/x HTTP/1.1\r\nhost: aa\r\n\r\n"
        ));
        let reply = wire.reply();
        reply.assert_reason(404, "no_route");
        assert_eq!(reply.header("connection"), Some("close"));
        wire.assert_closed_within(PATIENCE);
    }
    assert_eq!(backend.requests(), 0);
}
