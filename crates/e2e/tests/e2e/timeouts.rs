//! Every phase has its end: heads, bodies, answers, tries, whole requests, and silence.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use e2e::{Backend, PATIENCE, Script, eventually};

use crate::front::{front, memory_kib, wait_for_failures};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn a_head_that_does_not_come_to_its_end_gets_408() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .listener("timeouts = { request_header = \"300ms\" }")
        .before(backend.address());
    for part in ["G", "GET / HTTP/1.1\r\nhost: a\r\n", "\r"] {
        let mut wire = plimsoll.connect("web");
        wire.send(part);
        wire.reply().assert_reason(408, "request_header_timeout");
        wire.assert_closed_within(PATIENCE);
    }
    // Behind a request that was answered, too.
    let mut wire = plimsoll.connect("web");
    wire.send(format!("{GET}GET /second"));
    assert_eq!(wire.reply().status, 200);
    wire.reply().assert_reason(408, "request_header_timeout");
    wire.assert_closed_within(PATIENCE);
    wait_for_failures(&plimsoll, "request_header_timeout", 4);
    assert_eq!(backend.requests(), 1);
}

#[test]
fn dripping_does_not_prolong_a_heads_time() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .listener("timeouts = { request_header = \"300ms\" }")
        .before(backend.address());
    let mut wire = plimsoll.connect("web");
    wire.send("GET / HTTP/1.1\r\nx: ");
    let head = "x".repeat(10_000);
    // Ten seconds of bytes, were they taken; it fails as soon as the other side is gone.
    assert!(wire.drip(head, Duration::from_millis(1)).is_err());
    wait_for_failures(&plimsoll, "request_header_timeout", 1);
}

#[test]
fn a_client_that_says_nothing_is_closed_without_a_word() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .listener("timeouts = { request_header = \"200ms\", idle = \"200ms\" }")
        .before(backend.address());
    plimsoll.connect("web").assert_closed_within(PATIENCE);
    let mut wire = plimsoll.connect("web");
    assert_eq!(wire.get("/").status, 200);
    wire.assert_closed_within(PATIENCE);
    assert!(plimsoll.metrics().text().lines().all(|line| {
        // Nothing failed: connections end so every day.
        !line.starts_with("plimsoll_failures_total") || line.ends_with(" 0")
    }));
}

#[test]
fn between_requests_the_idle_timeout_counts_and_not_the_heads() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .listener("timeouts = { request_header = \"100ms\", idle = \"1m\" }")
        .before(backend.address());
    let mut wire = plimsoll.connect("web");
    assert_eq!(wire.get("/").status, 200);
    assert!(wire.is_idle_for(Duration::from_millis(400)));
    assert_eq!(wire.get("/").status, 200);
}

#[test]
fn a_body_that_stops_coming_gets_408_and_its_backend_no_whole_request() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .listener("timeouts = { request_body = \"1s\" }")
        .before(backend.address());
    for body in [
        "content-length: 10\r\n\r\nhalf",
        "transfer-encoding: chunked\r\n\r\n5\r\nhal",
        "content-length: 1\r\n\r\n",
    ] {
        let mut wire = plimsoll.connect("web");
        wire.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{body}"));
        wire.reply().assert_reason(408, "request_body_timeout");
        wire.assert_closed_within(PATIENCE);
    }
    wait_for_failures(&plimsoll, "request_body_timeout", 3);
    eventually("the backend's connections end", || {
        (backend.open_connections() == 0).then_some(())
    });
    assert_eq!(backend.requests(), 0);
    // A body that comes slowly and does not stop is no failure.
    let mut wire = plimsoll.connect("web");
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n");
    wire.drip("0123456789", Duration::from_millis(150))
        .expect("each byte is taken");
    assert_eq!(wire.reply().json()["body"], "0123456789");
}

#[test]
fn an_answer_that_does_not_begin_gets_504_and_the_connection_goes_on() {
    let backend = Backend::start(Script::by_path([("/hang", Script::Hang), ("/", Script::Echo)]));
    let response = front()
        .pool("timeouts = { response_header = \"1s\" }")
        .before(backend.address());
    let request = front()
        .route("timeout = \"1s\"\nretry = { attempts = 0 }")
        .before(backend.address());
    let per_try = front()
        .route("retry = { attempts = 0, per_try_timeout = \"1s\" }")
        .before(backend.address());
    for (plimsoll, reason) in [
        (&response, "response_timeout"),
        (&request, "request_timeout"),
        (&per_try, "response_timeout"),
    ] {
        let mut wire = plimsoll.connect("web");
        wire.get("/hang").assert_reason(504, reason);
        assert_eq!(wire.get("/").status, 200);
        wait_for_failures(plimsoll, reason, 1);
    }
    eventually("the hanging connections end", || {
        (backend.open_connections() <= 3).then_some(())
    });
}

#[test]
fn a_try_that_takes_too_long_is_followed_by_another() {
    let backend = Backend::start(Script::InTurn(vec![Script::Hang, Script::Echo]));
    let plimsoll = front()
        .route("retry = { attempts = 1, on = [\"timeout\"], per_try_timeout = \"1s\" }")
        .before(backend.address());
    assert_eq!(plimsoll.get("web", "/").status, 200);
    assert_eq!(backend.requests(), 2);
}

#[test]
fn a_client_that_sends_slowly_does_not_use_up_its_backends_time() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .route("retry = { attempts = 0, per_try_timeout = \"1s\" }")
        .pool("timeouts = { response_header = \"1s\" }")
        .before(backend.address());
    let mut wire = plimsoll.connect("web");
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n");
    wire.drip("0123456789", Duration::from_millis(150))
        .expect("each byte is taken");
    assert_eq!(wire.reply().json()["body"], "0123456789");
}

#[test]
fn a_route_without_an_answer_in_time_says_request_timeout_whatever_it_waited_for() {
    let unreachable = Backend::unreachable();
    let plimsoll = front()
        .route("timeout = \"300ms\"\nretry = { attempts = 0 }")
        .before(unreachable.address());
    plimsoll.get("web", "/").assert_reason(504, "request_timeout");
    let mut wire = plimsoll.connect("web");
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    wire.reply().assert_reason(504, "request_timeout");
}

#[test]
fn answers_that_have_begun_may_take_as_long_as_they_move() {
    let backend = Backend::start(Script::Chunked {
        chunks: vec![b"part".to_vec(); 8],
        pause: Duration::from_millis(250),
        trailers: Vec::new(),
    });
    let plimsoll = front()
        .listener("timeouts = { stream_idle = \"1500ms\", request_header = \"200ms\", idle = \"200ms\" }")
        .route("timeout = \"1s\"\nretry = { attempts = 0, per_try_timeout = \"1s\" }")
        .pool("timeouts = { response_header = \"1s\" }")
        .before(backend.address());
    assert_eq!(plimsoll.get("web", "/").text(), "part".repeat(8));
}

#[test]
fn an_answer_that_stops_half_way_is_cut_and_never_looks_whole() {
    let begun = |framing: &str| Script::Bytes(format!("HTTP/1.1 200 OK\r\n{framing}\r\n").into_bytes());
    let backend = Backend::start(Script::by_path([
        ("/length", begun("content-length: 10\r\n\r\nhalf")),
        ("/chunked", begun("transfer-encoding: chunked\r\n\r\n4\r\nhalf")),
        ("/open", begun("\r\nhalf")),
    ]));
    let plimsoll = front()
        .listener("timeouts = { stream_idle = \"300ms\" }")
        .before(backend.address());
    for path in ["/length", "/chunked", "/open"] {
        let mut wire = plimsoll.connect("web");
        wire.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        let error = wire.try_reply_to("GET").expect_err("half an answer");
        assert!(
            matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
            "{error}"
        );
    }
    // An HTTP/1.0 client knows the end of an open answer by the end of the connection alone: it has to be a reset.
    let mut wire = plimsoll.connect("web");
    wire.send("GET /open HTTP/1.0\r\n\r\n");
    let (_, end) = wire.read_to_end();
    assert_eq!(end.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    wait_for_failures(&plimsoll, "response_timeout", 4);
}

/// Sends without an end, until the other side is gone.
fn endless(mut stream: TcpStream) -> std::io::Result<()> {
    let _ = stream.read(&mut [0; 1024])?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    let chunk = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
    loop {
        stream.write_all(&chunk)?;
    }
}

#[test]
fn a_client_that_stops_reading_is_cut_and_holds_no_more_than_its_buffers() {
    let backend = Backend::tcp(endless);
    let plimsoll = front()
        .listener("timeouts = { stream_idle = \"700ms\" }")
        .before(backend.address());
    let before = memory_kib(&plimsoll, "VmHWM");
    let mut wires: Vec<_> = (0..20).map(|_| plimsoll.connect("web")).collect();
    for wire in &mut wires {
        wire.send(GET);
    }
    wait_for_failures(&plimsoll, "idle_timeout", wires.len());
    let grown = memory_kib(&plimsoll, "VmHWM") - before;
    assert!(grown < 16 << 10, "{} clients made it grow by {grown} KiB", wires.len());
    eventually("the backend's connections end", || {
        (backend.open_connections() == 0).then_some(())
    });
    for wire in &mut wires {
        // What was sent before can be read, and then there is no doubt that it was cut.
        assert!(wire.read_to_end().1.is_err());
    }
}

#[test]
fn a_client_that_goes_away_takes_its_request_along() {
    let hanging = Backend::start(Script::Hang);
    let plimsoll = front().before(hanging.address());
    let mut wire = plimsoll.connect("web");
    wire.send(GET);
    hanging.wait_for_requests(1);
    drop(wire);
    eventually("the backend's connection ends", || {
        (hanging.open_connections() == 0).then_some(())
    });
    wait_for_failures(&plimsoll, "client_closed", 1);
    // Also with a reset, with requests sent ahead, and in the middle of an upload.
    let mut wire = plimsoll.connect("web");
    wire.send(GET.repeat(3));
    hanging.wait_for_requests(2);
    wire.reset();
    wait_for_failures(&plimsoll, "client_closed", 2);
    let mut wire = plimsoll.connect("web");
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    eventually("the upload begins", || (hanging.open_connections() == 1).then_some(()));
    drop(wire);
    wait_for_failures(&plimsoll, "client_closed", 3);
    eventually("the backend's connection ends", || {
        (hanging.open_connections() == 0).then_some(())
    });
    assert_eq!(hanging.requests(), 2);
    // And in the middle of a download.
    let endless = Backend::tcp(endless);
    let plimsoll = front().before(endless.address());
    let mut wire = plimsoll.connect("web");
    wire.send(GET);
    wire.read_bytes(100_000);
    drop(wire);
    eventually("the backend's connection ends", || {
        (endless.open_connections() == 0).then_some(())
    });
    wait_for_failures(&plimsoll, "client_closed", 1);
}
