//! What clients of HTTP/2 may not say.

use e2e::frames::{self, END_STREAM, Frames, kind};
use e2e::{Backend, Script};

use crate::front::{front, wait_for_failures};
use crate::tls::logged;

#[test]
fn what_http_1_1_would_refuse_is_refused_here() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let many = vec![("x-one", "x"); 200];
    for (name, more) in [
        ("a Host that differs", &[("host", "b")][..]),
        ("two lengths", &[("content-length", "1"), ("content-length", "2")]),
        ("a coding by another spelling", &[("transfer_encoding", "chunked")]),
        ("too many fields", &many),
    ] {
        let mut client = Frames::connect(plimsoll.address("web"));
        client.request(1, "POST", "/", more, 0);
        // Answered by us, or by the codec.
        let frame = loop {
            let frame = client.read().expect("there is an answer");
            if frame.stream == 1 && matches!(frame.kind, kind::HEADERS | kind::RST_STREAM) {
                break frame;
            }
        };
        assert_ne!(frames::status(&frame.payload), Some(200), "{name}");
    }
    for (name, more) in [
        ("a field of the connection", &[("connection", "close")][..]),
        ("a coding", &[("transfer-encoding", "chunked")]),
        ("an upgrade", &[("upgrade", "websocket")]),
        ("upper case", &[("X-Upper", "1")]),
    ] {
        let mut client = Frames::connect(plimsoll.address("web"));
        client.request(1, "GET", "/", more, END_STREAM);
        // The codec ends the stream, or the connection.
        while let Ok(frame) = client.read() {
            assert_ne!(frame.kind, kind::HEADERS, "{name}");
            if frame.kind == kind::RST_STREAM {
                break;
            }
        }
    }
    assert_eq!(backend.requests(), 0);
}

#[test]
fn heads_that_are_too_large_are_answered_counted_and_logged() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().log("access = \"access.log\"").before(backend.address());
    let lines = || {
        plimsoll
            .scratch()
            .read("access.log")
            .matches("header_too_large")
            .count()
    };
    let longer = "x".repeat(700);
    // The last is far too large: several frames of it.
    for (count, fields) in [93, 105, 400].into_iter().enumerate() {
        let mut client = Frames::connect(plimsoll.address("web"));
        client.request(1, "GET", "/", &vec![("x-more", &*longer); fields], END_STREAM);
        let answer = client.wait_for(1, kind::HEADERS);
        assert_ne!(frames::status(&answer.payload), Some(200));
        let body = client.wait_for(1, kind::DATA).payload;
        assert!(
            String::from_utf8_lossy(&body).contains("header_too_large"),
            "{fields}: {body:?}"
        );
        wait_for_failures(&plimsoll, "header_too_large", count + 1);
        e2e::eventually("its line", || (lines() == count + 1).then_some(()));
        // And the connection goes on.
        client.request(3, "GET", "/", &[], END_STREAM);
        assert_eq!(frames::status(&client.wait_for(3, kind::HEADERS).payload), Some(200));
    }
    let line = logged(&plimsoll, "header_too_large");
    assert_eq!(
        (&line["status"], &line["reason"]),
        (&431.into(), &"header_too_large".into())
    );
    let code = plimsoll.metrics().sum("plimsoll_requests_total", &[("code", "431")]);
    assert_eq!(code, 3.0);
    assert_eq!(backend.requests(), 3);
}

#[test]
fn connections_that_are_cut_off_are_in_the_access_log() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .log("access = \"access.log\"")
        .listener("timeouts = { request_header = \"1s\" }")
        .before(backend.address());
    let mut client = Frames::connect(plimsoll.address("web"));
    for _ in 0..200 {
        let _ = client.send(kind::SETTINGS, 0, 0, &[]);
    }
    assert_eq!(client.goaway(), Some(11));
    let line = logged(&plimsoll, "http2_abuse");
    assert_eq!(line["protocol"], "HTTP/2", "{line}");
    assert_eq!(line["cause"], "too many SETTINGS frames", "{line}");
    assert_eq!(line["closed_by"], "proxy", "{line}");

    let mut client = Frames::connect(plimsoll.address("web"));
    let begun = frames::head(&[(":method", "GET")]);
    client.send(kind::HEADERS, 0, 1, &begun).expect("it is taken");
    while client.read().is_ok() {}
    let line = logged(&plimsoll, "request_header_timeout");
    assert_eq!(line["protocol"], "HTTP/2", "{line}");
    assert!(
        line["duration_ms"].as_f64().is_some_and(|took| took >= 1_000.0),
        "{line}"
    );

    let mut client = Frames::connect(plimsoll.address("web"));
    client.send(kind::DATA, 0, 0, b"for nobody").expect("it is taken");
    assert_eq!(client.goaway(), Some(1));
    drop(client);
    let line = logged(&plimsoll, "bad_request");
    assert_eq!(line["protocol"], "HTTP/2", "{line}");
}
