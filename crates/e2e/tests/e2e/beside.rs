//! What goes wrong on one way of a request while the other goes on: a body beside an answer, and the other way round.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use e2e::{Backend, PATIENCE, eventually};

use crate::stage::{Site, Stage};

const BEGUN: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";

/// Reads until the bytes end so, or the connection does.
fn read_until(stream: &mut TcpStream, end: &[u8]) -> io::Result<()> {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(end) && stream.read(&mut byte)? > 0 {
        bytes.push(byte[0]);
    }
    Ok(())
}

/// A backend that begins its answer once it has the head, and ends it once it has the body.
fn early(mut stream: TcpStream) -> io::Result<()> {
    read_until(&mut stream, b"\r\n\r\n")?;
    stream.write_all(BEGUN)?;
    read_until(&mut stream, b"0\r\n\r\n")?;
    stream.write_all(b"0\r\n\r\n")
}

fn stage(backend: &Backend, timeouts: &str) -> Stage {
    Site::new()
        .listener(&format!("timeouts = {{ {timeouts} }}"))
        .address("one", backend.address())
        .pool("backends = [{ name = \"one\", address = \"@one@\" }]\nhealth = false")
}

/// Sends the head and the first chunk of a body, and reads the answer until the backend has said all it will for now.
fn begin(stage: &Stage, number: usize) -> e2e::Wire {
    let mut wire = stage.connect();
    wire.send(format!(
        "POST /{number} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
    ));
    let mut seen = Vec::new();
    while !seen.ends_with(b"3\r\nabc\r\n") {
        seen.extend(wire.read_bytes(1));
    }
    wire
}

#[test]
fn a_clients_faults_in_its_body_are_not_its_backends() {
    for (more, reason) in [("zz\r\n", "bad_request"), ("", "request_body_timeout")] {
        let one = Backend::tcp(early);
        let stage = stage(&one, "request_body = \"300ms\", stream_idle = \"60s\"");
        for number in 0..6 {
            let mut wire = begin(&stage, number);
            wire.send(more);
            wire.assert_closed_within(PATIENCE);
            let line = stage.logged(&format!("/{number}"));
            assert_eq!(line["reason"], reason, "{line}");
        }
        let status = stage.backend("one");
        assert_eq!(
            (&status["errors"], &status["in_flight"]),
            (&0.into(), &0.into()),
            "{status}"
        );
    }
}

#[test]
fn a_body_that_moves_keeps_a_quiet_answer_alive() {
    let one = Backend::tcp(early);
    let stage = stage(&one, "request_body = \"4s\", stream_idle = \"2s\"");
    let mut wire = begin(&stage, 1);
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(300));
        wire.send("1\r\nx\r\n");
    }
    wire.send("0\r\n\r\n");
    assert_eq!(wire.read_bytes(5), b"0\r\n\r\n");
    assert_eq!(stage.logged("/1")["reason"], serde_json::Value::Null);
}

#[test]
fn an_upgrade_before_the_request_is_whole_is_the_backends_error() {
    let one = Backend::tcp(|mut stream| {
        read_until(&mut stream, b"\r\n\r\n")?;
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")?;
        read_until(&mut stream, b"never")
    });
    let stage = stage(&one, "request_body = \"60s\"");
    let mut wire = stage.connect();
    wire.send(
        "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 100\r\n\r\nabc",
    );
    wire.reply().assert_reason(502, "backend_protocol_error");
}

#[test]
fn a_client_that_goes_away_is_noticed_behind_a_body_that_nobody_takes() {
    let one = Backend::tcp(|mut stream| {
        read_until(&mut stream, b"\r\n\r\n")?;
        // The connection's end shows as an error once somebody writes; until then it takes nothing.
        std::thread::sleep(Duration::from_secs(20));
        Ok(())
    });
    let stage = stage(&one, "request_body = \"60s\"");
    let mut wire = stage.connect();
    wire.send("PUT /left HTTP/1.1\r\nhost: a\r\ncontent-length: 50000000\r\n\r\n");
    // Until all buffers on the way are full.
    wire.socket().set_nonblocking(true).expect("it can be set");
    let piece = [b'x'; 65_536];
    eventually("nothing is taken any more", || {
        while wire.try_send(piece).is_ok() {}
        std::thread::sleep(Duration::from_millis(300));
        wire.try_send(piece).is_err().then_some(())
    });
    wire.reset();
    let line = stage.logged("/left");
    assert_eq!(
        (&line["reason"], &line["status"]),
        (&"client_closed".into(), &499.into()),
        "{line}"
    );
    assert_eq!(stage.backend("one")["errors"], 0);
}
