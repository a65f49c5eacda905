//! Backends that speak HTTP/2 by single frames: what becomes of a request when its stream or connection ends early.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use e2e::frames::{END_STREAM, Frame, Frames, kind};
use e2e::{Backend, PATIENCE, Plimsoll, eventually, tools};

use crate::front::{Front, front, one, wait_for_failures};

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

/// A backend that does this with each frame, settings apart; false closes the connection.
pub(crate) fn scripted(
    settings: &'static [(u16, u32)],
    on: impl Fn(&mut Frames, &Frame) -> io::Result<bool> + Send + Sync + 'static,
) -> Backend {
    Backend::tcp(move |stream| {
        let mut frames = Frames::accept(stream, settings)?;
        loop {
            let frame = frames.read()?;
            match (frame.kind, frame.flags) {
                (kind::SETTINGS, 0) => frames.send(kind::SETTINGS, 1, 0, &[])?,
                (kind::PING, 0) => frames.send(kind::PING, 1, 0, &frame.payload)?,
                _ if !on(&mut frames, &frame)? => return Ok(()),
                _ => {}
            }
        }
    })
}

/// Answers with a short body.
fn hello(frames: &mut Frames, stream: u32) -> io::Result<bool> {
    frames.answer(stream, 200, &[], 0)?;
    frames.send(kind::DATA, END_STREAM, stream, b"hello")?;
    Ok(true)
}

pub(crate) fn h2() -> Front {
    front().pool("protocol = \"h2\"")
}

/// `curl` with these arguments: the answer with its head.
pub(crate) fn curl(plimsoll: &Plimsoll, arguments: &[&str]) -> String {
    let url = format!("http://{}/", plimsoll.address("web"));
    let output = tools::curl(&[&["-i", &url], arguments].concat());
    output.stdout
}

/// How often something has happened.
pub(crate) fn counter() -> (Arc<AtomicU32>, Arc<AtomicU32>) {
    let counter = Arc::new(AtomicU32::new(0));
    (counter.clone(), counter)
}

#[test]
fn a_refused_stream_is_tried_again_whatever_its_method() {
    let (count, seen) = counter();
    let backend = scripted(&[], move |frames, frame| match frame.kind {
        kind::HEADERS if count.fetch_add(1, Ordering::Relaxed) == 0 => {
            frames.reset(frame.stream, REFUSED_STREAM).map(|()| true)
        }
        kind::DATA if frame.flags == END_STREAM && frame.stream > 1 => hello(frames, frame.stream),
        _ => Ok(true),
    });
    let plimsoll = h2().route("").before(backend.address());
    let answer = curl(&plimsoll, &["-d", "body"]);
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
        "{answer}"
    );
    assert_eq!(seen.load(Ordering::Relaxed), 2);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_stream_beyond_the_last_of_a_farewell_goes_elsewhere_and_is_no_failure() {
    let (count, seen) = counter();
    let backend = scripted(&[], move |frames, frame| match frame.kind {
        kind::HEADERS if count.fetch_add(1, Ordering::Relaxed) == 0 => frames.part(0, NO_ERROR).map(|()| true),
        kind::HEADERS => hello(frames, frame.stream),
        _ => Ok(true),
    });
    // No retries: this is none.
    let plimsoll = h2().before(backend.address());
    let answer = curl(&plimsoll, &["-d", "body"]);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!((seen.load(Ordering::Relaxed), backend.connections()), (2, 2));
    assert_eq!(plimsoll.metrics().sum("plimsoll_failures_total", &[]), 0.0);
    assert_eq!(one(&plimsoll)["errors"], 0);
}

#[test]
fn what_a_farewell_includes_is_answered_and_nothing_new_is_sent_there() {
    let backend = scripted(&[], |frames, frame| {
        if frame.kind == kind::HEADERS {
            frames.part(frame.stream, NO_ERROR)?;
            std::thread::sleep(Duration::from_millis(300));
            return hello(frames, frame.stream);
        }
        Ok(true)
    });
    let plimsoll = h2().server("workers = 1").before(backend.address());
    for connections in 1..4 {
        let answer = curl(&plimsoll, &[]);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(backend.connections(), connections);
    }
    eventually("connections end behind their last stream", || {
        (backend.open_connections() == 0).then_some(())
    });
}

#[test]
fn a_reset_ends_its_stream_and_no_other() {
    let backend = scripted(&[], |frames, frame| match (frame.kind, frame.stream) {
        (kind::HEADERS, 3) => {
            frames.reset(3, INTERNAL_ERROR)?;
            hello(frames, 1)
        }
        _ => Ok(true),
    });
    let plimsoll = h2().server("workers = 1").before(backend.address());
    let mut client = Frames::connect(plimsoll.address("web"));
    client.request(1, "GET", "/", &[], END_STREAM);
    // One behind the other, or they could come in any order.
    std::thread::sleep(Duration::from_millis(100));
    client.request(3, "GET", "/", &[], END_STREAM);
    let mut ends = Vec::new();
    while ends.len() < 2 {
        let frame = client.read().expect("both are answered");
        if frame.kind == kind::HEADERS {
            ends.push((frame.stream, e2e::frames::status(&frame.payload)));
        }
    }
    ends.sort_unstable();
    assert_eq!(ends, [(1, Some(200)), (3, None)]);
    wait_for_failures(&plimsoll, "backend_reset", 1);
    assert_eq!(backend.open_connections(), 1);
}

#[test]
fn a_connection_that_dies_takes_its_streams_with_it() {
    let (count, _) = counter();
    let backend = scripted(&[], move |frames, frame| match frame.kind {
        kind::HEADERS => match count.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(true),
            1 => Ok(false),
            _ => hello(frames, frame.stream),
        },
        _ => Ok(true),
    });
    let plimsoll = h2().server("workers = 1").before(backend.address());
    let mut client = Frames::connect(plimsoll.address("web"));
    client.request(1, "POST", "/", &[], END_STREAM);
    client.request(3, "POST", "/", &[], END_STREAM);
    let mut heads = 0;
    while heads < 2 {
        heads += usize::from(client.read().expect("both are answered").kind == kind::HEADERS);
    }
    wait_for_failures(&plimsoll, "backend_reset", 2);
    assert!(curl(&plimsoll, &[]).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_client_that_goes_away_cancels_its_stream_alone() {
    let ((heads, asked), (count, cancelled)) = (counter(), counter());
    let backend = scripted(&[], move |frames, frame| match (frame.kind, frame.stream) {
        (kind::HEADERS, 1..=3) => {
            heads.fetch_add(1, Ordering::Relaxed);
            Ok(true)
        }
        (kind::HEADERS, stream) => hello(frames, stream),
        (kind::RST_STREAM, _) => {
            assert_eq!(frame.payload, CANCEL.to_be_bytes());
            count.fetch_add(1, Ordering::Relaxed);
            Ok(true)
        }
        _ => Ok(true),
    });
    let plimsoll = h2().server("workers = 1").before(backend.address());
    let mut old = plimsoll.connect("web");
    old.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut new = Frames::connect(plimsoll.address("web"));
    new.request(1, "GET", "/", &[], END_STREAM);
    eventually("both are under way", || {
        (asked.load(Ordering::Relaxed) == 2).then_some(())
    });
    drop(old);
    new.reset(1, CANCEL).expect("it is taken");
    eventually("both are cancelled", || {
        (cancelled.load(Ordering::Relaxed) == 2).then_some(())
    });
    wait_for_failures(&plimsoll, "client_closed", 2);
    assert!(curl(&plimsoll, &[]).starts_with("HTTP/1.1 200"));
    assert_eq!(backend.connections(), 1);
}

#[test]
fn an_answer_that_comes_before_the_request_has_gone_is_whole() {
    // RFC 9113 §8.1: it answers, and does not want the rest.
    let backend = scripted(&[], |frames, frame| {
        if frame.kind == kind::HEADERS {
            frames.answer(frame.stream, 413, &[("content-length", "5")], 0)?;
            frames.send(kind::DATA, END_STREAM, frame.stream, b"large")?;
            frames.reset(frame.stream, NO_ERROR)?;
        }
        Ok(true)
    });
    let plimsoll = h2().before(backend.address());
    plimsoll.scratch().write("body", vec![b'x'; 2_000_000]);
    let file = format!("@{}", plimsoll.scratch().path().join("body").display());
    let answer = curl(&plimsoll, &["--data-binary", &file]);
    assert!(answer.contains(" 413") && answer.ends_with("large"), "{answer}");
    let mut client = Frames::connect(plimsoll.address("web"));
    client.request(1, "POST", "/", &[], 0);
    let data = client.wait_for(1, kind::DATA);
    assert_eq!((&*data.payload, data.flags), (&b"large"[..], END_STREAM));
    assert_eq!(client.wait_for(1, kind::RST_STREAM).payload, NO_ERROR.to_be_bytes());
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    for (code, length) in [(NO_ERROR, None), (INTERNAL_ERROR, None), (CANCEL, Some("9"))] {
        let backend = scripted(&[], move |frames, frame| {
            if frame.kind == kind::HEADERS {
                let length: Vec<_> = length.iter().map(|length| ("content-length", *length)).collect();
                frames.answer(frame.stream, 200, &length, 0)?;
                frames.send(kind::DATA, 0, frame.stream, b"hello")?;
                std::thread::sleep(Duration::from_millis(200));
                frames.reset(frame.stream, code)?;
            }
            Ok(true)
        });
        let plimsoll = h2().before(backend.address());
        let url = format!("http://{}/", plimsoll.address("web"));
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let output = tools::curl(&[version, &url]);
            assert_ne!(output.code, Some(0), "{version} {code}: {output:?}");
        }
        wait_for_failures(&plimsoll, "backend_reset", 2);
    }
}

#[test]
fn interim_answers_and_trailers_come_through() {
    let backend = scripted(&[], |frames, frame| {
        if frame.kind == kind::HEADERS {
            frames.answer(frame.stream, 103, &[("link", "</style.css>")], 0)?;
            frames.answer(frame.stream, 200, &[("trailer", "x-sum")], 0)?;
            frames.send(kind::DATA, 0, frame.stream, b"hello")?;
            let sum = e2e::frames::head(&[("x-sum", "5"), ("content-length", "1")]);
            frames.send(kind::HEADERS, e2e::frames::END_HEADERS | END_STREAM, frame.stream, &sum)?;
        }
        Ok(true)
    });
    let plimsoll = h2().before(backend.address());
    let mut wire = plimsoll.connect("web");
    wire.send("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n");
    let reply = wire.reply();
    assert_eq!((reply.interim, reply.status), (vec![103], 200));
    assert_eq!(reply.body, b"hello");
    assert_eq!(reply.trailers, [("x-sum".to_owned(), "5".to_owned())]);
    let url = format!("http://{}/", plimsoll.address("web"));
    let said = tools::run(std::process::Command::new("nghttp").args(["-v", &url]), PATIENCE).stdout;
    for part in [
        ":status: 103",
        "link: </style.css>",
        ":status: 200",
        "hello",
        "x-sum: 5",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn trailers_and_expectations_go_up() {
    let (count, seen) = counter();
    let backend = scripted(&[], move |frames, frame| match frame.kind {
        // The request, of which the head alone comes before 100.
        kind::HEADERS if frame.flags & END_STREAM == 0 => frames.answer(frame.stream, 100, &[], 0).map(|()| true),
        kind::HEADERS => {
            // Whatever it is compressed to, it is the one field of a section of its own.
            assert!(!frame.payload.is_empty());
            count.fetch_add(1, Ordering::Relaxed);
            hello(frames, frame.stream)
        }
        _ => Ok(true),
    });
    let plimsoll = h2().before(backend.address());
    let mut wire = plimsoll.connect("web");
    wire.send(
        "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\ntrailer: x-up\r\n\r\n",
    );
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(wire.read_bytes(interim.len()), interim);
    wire.send("3\r\nabc\r\n0\r\nx-up: 1\r\n\r\n");
    assert_eq!(wire.reply().body, b"hello");
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}
