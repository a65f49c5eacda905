//! WebSockets from end to end, and the upgrades that nobody is offered.

use std::time::Duration;

use e2e::{Backend, PATIENCE, Plimsoll, Script, Wire, eventually};

use crate::front::{front, wait_for_failures};

pub(crate) const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";

/// A connection that has been upgraded.
fn upgraded(plimsoll: &Plimsoll) -> Wire {
    let mut wire = plimsoll.connect("web");
    wire.send(HANDSHAKE);
    let reply = wire.reply();
    assert_eq!((reply.status, reply.header("upgrade")), (101, Some("websocket")));
    assert_eq!(reply.header("connection"), Some("upgrade"));
    assert_eq!(reply.header("content-length"), None);
    wire
}

#[test]
fn bytes_go_both_ways_after_101() {
    let backend = Backend::start(Script::WebSocket);
    let plimsoll = front().before(backend.address());
    let mut wire = upgraded(&plimsoll);
    for part in [&b"\x81\x85abcdhello"[..], b"\0", &[0xff; 100_000]] {
        wire.send(part);
        assert_eq!(wire.read_bytes(part.len()), part);
    }
    let seen = &backend.seen()[0];
    assert_eq!(seen.head.header("upgrade"), Some("websocket"));
    assert_eq!(seen.head.header("connection"), Some("upgrade"));
    assert_eq!(seen.head.header("sec-websocket-version"), Some("13"));
}

#[test]
fn bytes_sent_with_the_handshake_are_not_lost() {
    let backend = Backend::start(Script::WebSocket);
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    wire.send(format!("{HANDSHAKE}early bird"));
    assert_eq!(wire.reply().status, 101);
    assert_eq!(wire.read_bytes(10), b"early bird");
}

#[test]
fn what_the_backend_sends_with_its_101_is_not_lost() {
    let accept = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nwelcome";
    let backend = Backend::start(Script::BytesThenClose(accept.into()));
    let plimsoll = front().before(backend.address());
    let mut wire = upgraded(&plimsoll);
    let (bytes, end) = wire.read_to_end();
    assert_eq!((bytes.as_slice(), end.is_ok()), (&b"welcome"[..], true));
}

#[test]
fn each_side_may_end_its_direction_first() {
    let backend = Backend::start(Script::WebSocket);
    let plimsoll = front().before(backend.address());
    let mut wire = upgraded(&plimsoll);
    wire.send("last words");
    wire.half_close();
    let (bytes, end) = wire.read_to_end();
    assert_eq!((bytes.as_slice(), end.is_ok()), (&b"last words"[..], true));
    eventually("the backend's connection ends", || {
        (backend.open_connections() == 0).then_some(())
    });
}

#[test]
fn the_end_of_one_side_ends_the_other() {
    let mut backend = Backend::start(Script::WebSocket);
    let plimsoll = front().before(backend.address());
    let wire = upgraded(&plimsoll);
    wire.reset();
    eventually("the backend's connection ends", || {
        (backend.open_connections() == 0).then_some(())
    });
    let mut wire = upgraded(&plimsoll);
    backend.stop();
    wire.assert_closed_within(PATIENCE);
}

#[test]
fn a_silent_websocket_is_closed_after_the_stream_idle_timeout() {
    let backend = Backend::start(Script::WebSocket);
    let plimsoll = front()
        .listener("timeouts = { stream_idle = \"1500ms\", idle = \"100ms\", request_header = \"100ms\" }")
        .before(backend.address());
    let mut wire = upgraded(&plimsoll);
    for _ in 0..8 {
        // Longer than any other timeout, altogether longer than its own: bytes keep it open.
        assert!(wire.is_idle_for(Duration::from_millis(250)));
        wire.send("x");
        assert_eq!(wire.read_bytes(1), b"x");
    }
    wire.assert_closed_within(PATIENCE);
    wait_for_failures(&plimsoll, "idle_timeout", 1);
    eventually("the backend's connection ends", || {
        (backend.open_connections() == 0).then_some(())
    });
}

#[test]
fn an_upgrade_that_the_backend_declines_is_an_answer_like_any_other() {
    let backend = Backend::start(Script::status(403));
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    for _ in 0..2 {
        wire.send(HANDSHAKE);
        assert_eq!(wire.reply().status, 403);
    }
    assert_eq!(wire.get("/").status, 403);
}

#[test]
fn other_upgrades_are_never_forwarded() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    for fields in [
        "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
        "connection: Upgrade\r\nupgrade: h2c\r\nhttp2_settings: AAMAAABkAAQAAP__\r\n",
        "connection: upgrade\r\nupgrade: TLS/1.0\r\n",
        "upgrade: websocket\r\n",
        "connection: upgrade\r\n",
    ] {
        wire.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"));
        assert_eq!(wire.reply().status, 200, "{fields}");
        wire.send(
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 1\r\n\r\nx",
        );
        assert_eq!(wire.reply().status, 200, "only GET can become a WebSocket");
    }
    wire.send(HANDSHAKE.replace("WebSocket", "h2c, websocket"));
    assert_eq!(wire.reply().status, 200);
    let seen = backend.seen();
    let (last, others) = seen.split_last().expect("requests came");
    assert_eq!(last.head.header("upgrade"), Some("websocket"));
    for request in others {
        for name in ["upgrade", "connection", "http2-settings", "http2_settings"] {
            assert_eq!(request.head.header(name), None, "{:?}", request.head);
        }
    }
}

#[test]
fn a_route_may_forbid_upgrades() {
    let backend = Backend::start(Script::WebSocket);
    let plimsoll = front().route("upgrade = []").before(backend.address());
    let reply = plimsoll.exchange("web", HANDSHAKE);
    assert_eq!(reply.status, 426);
    assert_eq!(backend.seen()[0].head.header("upgrade"), None);
}

#[test]
fn a_101_that_nobody_asked_for_is_the_backends_error() {
    let accept = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
    let backend = Backend::start(Script::Bytes(accept.into()));
    let plimsoll = front().before(backend.address());
    plimsoll.get("web", "/").assert_reason(502, "backend_protocol_error");
    plimsoll
        .exchange(
            "web",
            "GET / HTTP/1.0\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        )
        .assert_reason(502, "backend_protocol_error");
}
