//! Answers that end badly once they have begun, and lengths that lie: the client can always tell.

use std::io::ErrorKind;
use std::time::Duration;

use e2e::{Backend, Script, eventually};

use crate::stage::{Site, Stage};

const ALONE: &str = r#"backends = [{ name = "bad", address = "@bad@" }]
    health = false
    outlier = false"#;

fn scripted(scripts: impl IntoIterator<Item = (String, Script)>) -> (Backend, Stage) {
    let mut all: Vec<_> = scripts.into_iter().collect();
    all.push(("/well".to_owned(), Script::reply(200, "well")));
    all.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    let bad = Backend::named("bad", Script::ByPath(all));
    let stage = Site::new()
        .listener("timeouts = { stream_idle = \"500ms\" }")
        .address("bad", bad.address())
        .pool(ALONE);
    (bad, stage)
}

/// What a client is sent of an answer that its backend does not finish, and the end of it.
#[track_caller]
fn assert_cut(stage: &mut Stage, path: &str, version: &str, reason: &str) {
    let before = stage.failures(reason);
    let mut wire = stage.connect();
    wire.send(format!(
        "GET {path} HTTP/1.{version}\r\nhost: a\r\nconnection: close\r\n\r\n"
    ));
    let (bytes, end) = wire.read_to_end();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 200 "), "{path}: {text}");
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    assert!(body.contains("begun"), "{path}: what has come is passed on: {text}");
    assert!(!body.ends_with("0\r\n\r\n"), "{path}: it must not look whole: {text}");
    assert!(
        end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset),
        "{path}: the connection is reset: {text}"
    );
    let line = stage.logged(path);
    assert_eq!(
        (line["status"].as_u64(), line["reason"].as_str()),
        (Some(200), Some(reason)),
        "{line}"
    );
    stage.assert_failures(reason, before + 1.0);
    stage.assert_bystander_undisturbed();
}

#[test]
fn a_backend_that_dies_in_the_middle_of_its_answer_cuts_the_client_off() {
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegun";
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n";
    let until_close = "HTTP/1.1 200 OK\r\n\r\nbegun";
    let large = format!("{length}{}", "x".repeat(900));
    let cases = [
        ("/a-length-that-is-not-reached", Script::BytesThenClose(length.into())),
        ("/a-length-nearly-reached", Script::BytesThenClose(large.into())),
        ("/a-length-and-a-reset", Script::BytesThenReset(length.into())),
        ("/chunks-without-the-last", Script::BytesThenClose(chunks.into())),
        ("/chunks-and-a-reset", Script::BytesThenReset(chunks.into())),
        (
            "/half-a-chunk",
            Script::BytesThenClose(format!("{chunks}9\r\nhalf").into()),
        ),
        (
            "/no-end-of-the-trailers",
            Script::BytesThenClose(format!("{chunks}0\r\nx-a: 1\r\n").into()),
        ),
        ("/until-close-and-a-reset", Script::BytesThenReset(until_close.into())),
    ];
    let cases10 = cases.clone().map(|(path, script)| (format!("{path}/1.0"), script));
    let (_bad, mut stage) = scripted(
        cases
            .clone()
            .map(|(path, script)| (path.to_owned(), script))
            .into_iter()
            .chain(cases10),
    );
    for (path, _) in &cases {
        assert_cut(&mut stage, path, "1", "backend_reset");
        // A client of HTTP/1.0 has nothing but the connection's end to tell a whole answer by.
        assert_cut(&mut stage, &format!("{path}/1.0"), "0", "backend_reset");
    }
}

#[test]
fn chunks_that_are_malformed_cut_the_client_off() {
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n";
    // In two parts, so that the good one is on its way before the bad one comes.
    let then = |rest: &str| {
        let rest = rest.to_owned();
        Script::custom(move |exchange| {
            exchange.send(chunks)?;
            std::thread::sleep(Duration::from_millis(30));
            exchange.send(&rest)?;
            Ok(false)
        })
    };
    let cases = [
        ("/no-number", then("xyz\r\nabc\r\n0\r\n\r\n")),
        ("/a-negative-size", then("-1\r\n\r\n0\r\n\r\n")),
        ("/a-size-beyond-64-bits", then("11111111111111111\r\nabc")),
        ("/a-size-that-wraps", then("ffffffffffffffff\r\nabc")),
        ("/a-chunk-longer-than-its-size", then("3\r\nabcdef\r\n0\r\n\r\n")),
        (
            "/an-endless-extension",
            then(&format!("3;{}\r\nabc\r\n0\r\n\r\n", "e".repeat(300))),
        ),
        ("/a-bare-lf", then("3\nabc\r\n0\r\n\r\n")),
        (
            "/endless-trailers",
            then(&format!("0\r\nx-a: {}\r\n\r\n", "t".repeat(9_000))),
        ),
        ("/malformed-trailers", then("0\r\nno colon\r\n\r\n")),
    ];
    let (_bad, mut stage) = scripted(cases.clone().map(|(path, script)| (path.to_owned(), script)));
    for (path, _) in cases {
        assert_cut(&mut stage, path, "1", "backend_protocol_error");
    }
}

#[test]
fn a_body_that_is_malformed_from_its_first_byte_on_is_answered_with_the_reason() {
    let (_bad, mut stage) = scripted([(
        "/no-number".to_owned(),
        Script::BytesThenClose(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n".to_vec()),
    )]);
    stage.get("/no-number").assert_reason(502, "backend_protocol_error");
    stage.assert_failures("backend_protocol_error", 1.0);
    stage.assert_bystander_undisturbed();
}

#[test]
fn a_backend_that_stops_in_the_middle_of_its_answer_is_given_up() {
    let stuck = |bytes: &'static str| {
        Script::custom(move |exchange| {
            exchange.send(bytes)?;
            while exchange.read(&mut [0; 64])? > 0 {}
            Ok(false)
        })
    };
    let (bad, mut stage) = scripted([
        (
            "/length".to_owned(),
            stuck("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegun"),
        ),
        (
            "/chunks".to_owned(),
            stuck("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n"),
        ),
        ("/until-close".to_owned(), stuck("HTTP/1.1 200 OK\r\n\r\nbegun")),
    ]);
    for path in ["/length", "/chunks", "/until-close"] {
        assert_cut(&mut stage, path, "1", "response_timeout");
    }
    eventually("its connections are closed", || {
        (bad.open_connections() == 0).then_some(())
    });
}

#[test]
fn bytes_behind_an_answer_reach_no_client() {
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    let with_poison = |head: &str, body: &str| Script::Bytes(format!("HTTP/1.1 {head}\r\n\r\n{body}{poison}").into());
    let (bad, mut stage) = scripted([
        (
            "/length".to_owned(),
            with_poison("200 OK\r\ncontent-length: 5", "begun"),
        ),
        ("/zero".to_owned(), with_poison("200 OK\r\ncontent-length: 0", "")),
        (
            "/chunks".to_owned(),
            with_poison("200 OK\r\ntransfer-encoding: chunked", "5\r\nbegun\r\n0\r\n\r\n"),
        ),
        ("/204".to_owned(), with_poison("204 No Content", "")),
        (
            "/204-with-a-length".to_owned(),
            with_poison("204 No Content\r\ncontent-length: 5", "begun"),
        ),
        (
            "/304".to_owned(),
            with_poison("304 Not Modified\r\ncontent-length: 5", "begun"),
        ),
        ("/head".to_owned(), with_poison("200 OK\r\ncontent-length: 5", "begun")),
    ]);
    for (path, method, status, body) in [
        ("/length", "GET", 200, "begun"),
        ("/zero", "GET", 200, ""),
        ("/chunks", "GET", 200, "begun"),
        ("/204", "GET", 204, ""),
        ("/204-with-a-length", "GET", 204, ""),
        ("/304", "GET", 304, ""),
        ("/head", "HEAD", 200, ""),
    ] {
        let before = bad.connections();
        let mut wire = stage.connect();
        // Pipelined, so that the next request is there before anything else can happen.
        wire.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\n\r\nGET /well HTTP/1.1\r\nhost: a\r\n\r\n"
        ));
        let reply = wire.reply_to(method);
        assert_eq!((reply.status, reply.text().as_str()), (status, body), "{path}");
        assert_eq!(wire.reply().text(), "well", "after {path}");
        assert!(bad.connections() > before, "{path}: the connection is not used again");
    }
    stage.assert_bystander_undisturbed();
}

#[test]
fn an_answer_that_nobody_asked_for_reaches_no_client() {
    let (bad, stage) = scripted([(
        "/late".to_owned(),
        Script::custom(|exchange| {
            exchange.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nbegun")?;
            std::thread::sleep(Duration::from_millis(50));
            exchange.send("HTTP/1.1 408 Request Timeout\r\ncontent-length: 6\r\nconnection: close\r\n\r\npoison")?;
            Ok(false)
        }),
    )]);
    let mut wire = stage.connect();
    assert_eq!(wire.get("/late").text(), "begun");
    eventually("the backend has closed", || (bad.open_connections() == 0).then_some(()));
    for _ in 0..3 {
        assert_eq!(wire.get("/well").text(), "well");
    }
}

#[test]
fn an_answer_before_the_request_is_complete_reaches_the_client() {
    // It answers as soon as it has the head, does not read the body, and closes.
    let tcp = Backend::tcp(|stream| {
        use std::io::{Read, Write};
        let mut stream = stream;
        let _ = stream.read(&mut [0; 512])?;
        stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 8\r\nconnection: close\r\n\r\ntoo much")?;
        std::thread::sleep(Duration::from_millis(200));
        Ok(())
    });
    let stage = Site::new().address("bad", tcp.address()).pool(ALONE);
    let mut wire = stage.connect();
    wire.send("POST /large HTTP/1.1\r\nhost: a\r\ncontent-length: 10000000\r\n\r\n");
    wire.send(vec![b'x'; 100_000]);
    let reply = wire.reply();
    assert_eq!((reply.status, reply.text().as_str()), (413, "too much"));
    assert_eq!(reply.reason(), None);
    wire.assert_closed_within(e2e::PATIENCE);
}
