//! Where messages end, in both directions: what goes on is always framed by us.

use std::io::Read;
use std::sync::mpsc;
use std::time::Duration;

use e2e::{Backend, PATIENCE, Script, tools};

use crate::front::{front, memory_kib};

const MIB: usize = 1 << 20;

#[test]
fn chunked_requests_reach_the_backend_in_chunks_of_ours_with_their_trailers() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let bytes: &[u8] =
        b"POST /x HTTP/1.1\r\nhost: a\r\nTRANSFER-encoding:   Chunked  \r\ntrailer: x-sum\r\nte: trailers\r\n\r\n\
        5;ext=1;b=\"c\"\r\nhello\r\n00001 ;x\r\n \r\n5\r\nworld\r\n0;last\r\nx-sum:  10 \r\ncontent-length: 3\r\n\
        x-forwarded-for: 6.6.6.6\r\nhost: evil\r\n\r\n";
    let mut whole = plimsoll.connect("web");
    whole.send(bytes);
    let mut dripping = plimsoll.connect("web");
    dripping.drip(bytes, Duration::ZERO).expect("each byte is taken");
    for wire in [&mut whole, &mut dripping] {
        assert_eq!(wire.reply().json()["body"], "hello world");
        // The connection goes on, at the right byte.
        assert_eq!(wire.get("/next").json()["target"], "/next");
    }
    backend.assert_no_violations();
    for request in backend.seen().iter().filter(|request| request.path() == "/x") {
        assert_eq!(request.head.header("transfer-encoding"), Some("chunked"));
        assert_eq!(request.head.header("te"), Some("trailers"));
        assert_eq!(request.trailers, [("x-sum".to_owned(), "10".to_owned())]);
    }
}

#[test]
fn a_length_goes_on_as_a_plain_number() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    for (length, body) in [
        ("5", "hello"),
        ("0000000005", "hello"),
        ("  5  ", "hello"),
        ("0", ""),
        ("000", ""),
    ] {
        wire.send(format!(
            "PUT /x HTTP/1.1\r\nhost: a\r\ncontent-length:{length}\r\n\r\n{body}"
        ));
        assert_eq!(wire.reply().json()["body"], body, "{length:?}");
    }
    for request in backend.seen() {
        let length = request.head.header("content-length");
        assert_eq!(length, Some(request.body.len().to_string().as_str()));
    }
    backend.assert_no_violations();
}

#[test]
fn chunked_answers_reach_the_client_with_their_trailers() {
    let backend = Backend::start(Script::Chunked {
        chunks: vec![b"one ".to_vec(), vec![b'x'; 100_000], b" three".to_vec()],
        pause: Duration::from_millis(2),
        trailers: vec![("x-sum".into(), "7".into()), ("content-length".into(), "1".into())],
    });
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    for _ in 0..2 {
        let reply = wire.get("/");
        assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
        assert_eq!(reply.body.len(), 100_010);
        assert_eq!(reply.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    }
    // An HTTP/1.0 client knows no chunks: it gets the bytes, and then the end.
    wire.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
    let reply = wire.reply();
    assert_eq!(reply.body.len(), 100_010);
    assert_eq!(
        (reply.header("transfer-encoding"), reply.header("connection")),
        (None, Some("close"))
    );
    wire.assert_closed_within(PATIENCE);
}

#[test]
fn an_answer_that_ends_with_its_connection_is_chunked_for_clients_that_know_chunks() {
    let backend = Backend::start(Script::BytesThenClose(
        b"HTTP/1.1 200 OK\r\nx-a: b\r\n\r\nuntil the end".to_vec(),
    ));
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    for _ in 0..2 {
        let reply = wire.get("/");
        assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
        assert_eq!(
            (reply.text().as_str(), reply.header("connection")),
            ("until the end", None)
        );
    }
    wire.send("GET / HTTP/1.0\r\n\r\n");
    let reply = wire.reply();
    assert_eq!(
        (reply.text().as_str(), reply.header("transfer-encoding")),
        ("until the end", None)
    );
    wire.assert_closed_within(PATIENCE);
}

#[test]
fn answers_that_have_no_body_end_with_their_head_whatever_they_declare() {
    let backend = Backend::start(Script::by_path([
        (
            "/204",
            Script::Bytes(b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n".to_vec()),
        ),
        (
            "/204-chunked",
            Script::Bytes(b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n".to_vec()),
        ),
        (
            "/304",
            Script::Bytes(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: \"x\"\r\n\r\n".to_vec()),
        ),
        (
            "/head",
            Script::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_vec()),
        ),
        (
            "/head-chunked",
            Script::Bytes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec()),
        ),
        ("/head-open", Script::Bytes(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())),
        ("/empty", Script::reply(200, "")),
    ]));
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    for (method, path, status, length) in [
        ("GET", "/204", 204, None),
        ("GET", "/204-chunked", 204, None),
        ("GET", "/304", 304, Some("5")),
        ("HEAD", "/head", 200, Some("5")),
        ("HEAD", "/head-chunked", 200, None),
        ("HEAD", "/head-open", 200, None),
        ("GET", "/empty", 200, Some("0")),
        ("HEAD", "/missing", 404, Some("24")),
    ] {
        wire.send(format!("{method} {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        let reply = wire.reply_to(method);
        assert_eq!(
            (reply.status, reply.header("content-length")),
            (status, length),
            "{path}"
        );
        assert_eq!(reply.header("connection"), None, "{path}");
        if status == 204 {
            assert_eq!(reply.header("transfer-encoding"), None, "{path}");
        }
    }
    assert_eq!(backend.connections(), 1, "the backend's connection was clean each time");
}

#[test]
fn http_1_0_clients_are_served_and_kept_only_when_they_ask() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    for _ in 0..3 {
        wire.send("GET /old HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n");
        let reply = wire.reply();
        assert_eq!((reply.status, reply.header("connection")), (200, Some("keep-alive")));
        assert_eq!(reply.json()["target"], "/old");
    }
    wire.send("GET /old HTTP/1.0\r\n\r\n");
    // We answer in HTTP/1.1, of which a client might think that it goes on.
    let reply = wire.reply();
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    wire.assert_closed_within(PATIENCE);
    let mut wire = plimsoll.connect("web");
    wire.send("GET /old HTTP/1.0\r\nconnection: keep-alive, close\r\n\r\n");
    assert_eq!(wire.reply().status, 200);
    wire.assert_closed_within(PATIENCE);
    for request in backend.seen() {
        assert!(request.head.first_line.ends_with("HTTP/1.1"));
        assert_eq!(request.head.headers_named("host").count(), 1, "{:?}", request.head);
    }
    backend.assert_no_violations();
}

#[test]
fn a_download_of_100_mib_is_streamed() {
    let backend = Backend::start(Script::custom(|exchange| {
        exchange.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 100 * MIB))?;
        let part = vec![b'x'; MIB];
        (0..100).try_for_each(|_| exchange.send(&part)).map(|()| true)
    }));
    let plimsoll = front().before(backend.address());
    let before = memory_kib(&plimsoll, "VmHWM");
    let url = format!("http://{}/", plimsoll.address("web"));
    let output = tools::curl(&[
        "--fail",
        "--output",
        "/dev/null",
        "--write-out",
        "%{size_download}",
        &url,
    ]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (Some(0), "104857600"),
        "{output:?}"
    );
    let grown = memory_kib(&plimsoll, "VmHWM") - before;
    assert!(grown < 8 << 10, "grew by {grown} KiB");
}

#[test]
fn an_upload_of_100_mib_is_streamed_by_length_and_in_chunks() {
    let (sender, taken) = mpsc::channel();
    let backend = Backend::start(Script::custom(move |exchange| {
        let _ = sender.send(exchange.request.body.len());
        exchange.reply(200, &[], b"taken").map(|()| true)
    }));
    let plimsoll = front().before(backend.address());
    let before = memory_kib(&plimsoll, "VmHWM");
    let file = plimsoll.scratch().path().join("large");
    let made = std::fs::File::create(&file).and_then(|file| file.set_len(100 * MIB as u64));
    made.expect("a sparse file can be made");
    let (file, url) = (
        file.display().to_string(),
        format!("http://{}/", plimsoll.address("web")),
    );
    for extra in ["x-a: b", "transfer-encoding: chunked"] {
        let output = tools::curl(&["--fail", "--header", extra, "--upload-file", &file, &url]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), "taken"), "{output:?}");
        assert_eq!(taken.recv_timeout(PATIENCE), Ok(100 * MIB));
    }
    let grown = memory_kib(&plimsoll, "VmHWM") - before;
    assert!(grown < 8 << 10, "grew by {grown} KiB");
    backend.assert_no_violations();
}

#[test]
fn an_answer_that_comes_early_reaches_a_client_that_still_sends() {
    let backend = Backend::tcp(|mut stream| {
        let mut bytes = [0; 1024];
        let _ = stream.read(&mut bytes)?;
        std::io::Write::write_all(
            &mut stream,
            b"HTTP/1.1 413 Too Large\r\ncontent-length: 8\r\n\r\ntoo much",
        )?;
        // Takes no more of the request, and stays until the other side goes.
        std::thread::sleep(Duration::from_millis(300));
        Ok(())
    });
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    wire.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\nbegun",
        100 * MIB
    ));
    let reply = wire.reply();
    assert_eq!((reply.status, reply.text().as_str()), (413, "too much"));
    assert_eq!(
        reply.header("connection"),
        Some("close"),
        "the rest of the request is in the way"
    );
    wire.assert_closed_within(PATIENCE);
}
