//! `Expect: 100-continue`, and the other interim answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};

use e2e::{Backend, PATIENCE, Script, tools};

use crate::front::front;

const EXPECTING: &str = "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";

/// Reads until `end` has come.
fn read_until(stream: &mut TcpStream, end: &[u8]) -> std::io::Result<Vec<u8>> {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(end) && stream.read(&mut byte)? > 0 {
        bytes.push(byte[0]);
    }
    Ok(bytes)
}

/// A backend that answers an expecting head with `answer` at once, and then reads on to the end.
fn answering_at_once(answer: &'static str) -> Backend {
    Backend::tcp(move |mut stream| {
        let head = read_until(&mut stream, b"\r\n\r\n")?;
        assert!(head.windows(20).any(|part| part == b"expect: 100-continue"));
        stream.write_all(answer.as_bytes())?;
        std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
    })
}

#[test]
fn the_backends_100_reaches_the_client_and_then_its_answer() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    for _ in 0..2 {
        wire.send(EXPECTING);
        assert_eq!(wire.read_bytes(25), b"HTTP/1.1 100 Continue\r\n\r\n");
        wire.send("body");
        assert_eq!(wire.reply().json()["body"], "body");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_client_that_does_not_wait_for_100_gets_its_answer() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    for _ in 0..2 {
        wire.send(format!("{EXPECTING}body"));
        let reply = wire.reply();
        assert_eq!(
            (reply.json()["body"].as_str(), reply.interim),
            (Some("body"), vec![100])
        );
    }
}

#[test]
fn a_backend_that_ignores_the_expectation_gets_the_body_that_comes_anyway() {
    let backend = Backend::tcp(|mut stream| {
        read_until(&mut stream, b"\r\n\r\n")?;
        let body = read_until(&mut stream, b"body")?;
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())?;
        stream.write_all(&body)
    });
    let plimsoll = front().before(backend.address());
    let url = format!("http://{}/", plimsoll.address("web"));
    let arguments = [
        "--expect100-timeout",
        "0.1",
        "--header",
        "expect: 100-continue",
        "--data",
        "body",
        &url,
    ];
    let output = tools::curl(&arguments);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "body"), "{output:?}");
}

#[test]
fn a_refusal_instead_of_100_reaches_the_client_and_ends_the_connection() {
    for (answer, status) in [
        ("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno", 417),
        (
            "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\ncontent-length: 2\r\n\r\nno",
            401,
        ),
    ] {
        let backend = answering_at_once(answer);
        let plimsoll = front().before(backend.address());
        let mut wire = plimsoll.connect("web");
        wire.send(EXPECTING);
        let reply = wire.reply();
        assert_eq!((reply.status, reply.text().as_str()), (status, "no"));
        // The client may send the body or not: nobody can tell where the next request would begin.
        assert_eq!(reply.header("connection"), Some("close"));
        wire.assert_closed_within(PATIENCE);
    }
}

#[test]
fn curl_keeps_its_body_when_the_expectation_is_refused() {
    let backend = answering_at_once("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno");
    let plimsoll = front().before(backend.address());
    let url = format!("http://{}/", plimsoll.address("web"));
    let arguments = [
        "--header",
        "expect: 100-continue",
        "--expect100-timeout",
        "10",
        "--data",
        "body",
        &url,
    ];
    let output = tools::curl(&[&arguments[..], &["--write-out", " %{http_code} %{size_upload}"]].concat());
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(0), "no 401 0"),
        "{output:?}"
    );
}

#[test]
fn an_http_1_0_client_sees_no_interim_answer_and_its_expectation_stays_here() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    wire.send("POST /x HTTP/1.0\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\nbody");
    let reply = wire.reply();
    assert_eq!((reply.status, reply.interim.len()), (200, 0));
    assert_eq!(backend.seen()[0].head.header("expect"), None);
    backend.play(Script::Bytes(
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_vec(),
    ));
    let reply = plimsoll.exchange("web", "GET / HTTP/1.0\r\n\r\n");
    assert_eq!((reply.text().as_str(), reply.interim.len()), ("hi", 0));
}

#[test]
fn early_hints_are_passed_on_with_their_fields_before_the_answer_comes() {
    let (seen, hints_seen) = mpsc::channel::<()>();
    let hints_seen = Mutex::new(hints_seen);
    let backend = Backend::start(Script::custom(move |exchange| {
        exchange.send("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n")?;
        exchange.send("HTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\n\r\n")?;
        let _ = hints_seen.lock().expect("no panic").recv_timeout(PATIENCE);
        exchange.reply(200, &[], b"hi").map(|()| true)
    }));
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n\
                 HTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&wire.read_bytes(hints.len())), hints);
    seen.send(()).expect("the backend waits");
    assert_eq!(wire.reply().text(), "hi");
}

#[test]
fn a_backend_that_never_comes_to_its_answer_is_given_up() {
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000);
    let backend = Backend::start(Script::Bytes(interim.into_bytes()));
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let reply = wire.reply();
    reply.assert_reason(502, "backend_protocol_error");
    assert!(reply.interim.len() < 100, "{}", reply.interim.len());
}
