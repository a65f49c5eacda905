//! Requests that two readers could take apart differently: refused, the connection closed, nothing sent on.

use std::net::Shutdown;

use e2e::{Backend, PATIENCE, Plimsoll, Script};

use crate::front::{front, wait_for_failures};

/// What would be a second request if the first were read as its sender hopes.
const SECOND: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/// A POST with these field lines, a chunked body of nothing, and [`SECOND`].
fn with_fields(lines: &str) -> Vec<u8> {
    format!("POST /x HTTP/1.1\r\nhost: a\r\n{lines}\r\n0\r\n\r\n{SECOND}").into_bytes()
}

/// A request that begins with this line, and [`SECOND`].
fn with_line(line: &str) -> Vec<u8> {
    format!("{line}\r\nhost: a\r\n\r\n{SECOND}").into_bytes()
}

/// A chunked POST with this body, and [`SECOND`].
fn with_body(body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    [head, body.as_ref(), SECOND.as_bytes()].concat()
}

/// Sends `bytes`; the reply has to be a refusal with this status and reason that ends the connection.
#[track_caller]
fn assert_refused(plimsoll: &Plimsoll, bytes: &[u8], status: u16, reason: &str) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
    let mut wire = plimsoll.connect("web");
    // A refusal may come before all was sent.
    let _ = wire.try_send(bytes);
    let reply = wire
        .try_reply_to("GET")
        .unwrap_or_else(|error| panic!("no refusal ({error}) of {shown:?}"));
    assert!(
        reply.status == status && reply.reason() == Some(reason),
        "expected {status} {reason} for {shown:?}, got {reply:#?}"
    );
    assert_eq!(reply.header("connection"), Some("close"), "{shown:?}");
    let _ = wire.socket().shutdown(Shutdown::Write);
    wire.assert_closed_within(PATIENCE);
}

/// Each of these is refused as malformed, counted so, and nothing of it is a request to a backend.
#[track_caller]
fn assert_all_refused(cases: &[Vec<u8>]) {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    for bytes in cases {
        assert_refused(&plimsoll, bytes, 400, "bad_request");
    }
    wait_for_failures(&plimsoll, "bad_request", cases.len());
    assert_eq!(backend.requests(), 0, "{:#?}", backend.seen());
    backend.assert_no_violations();
    assert_eq!(plimsoll.get("web", "/").status, 200, "the others are not disturbed");
}

#[test]
fn a_content_length_that_is_not_one_number_is_refused() {
    let lines = [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5\r\ncontent-length: 5\r\n",
        "content-length: 5, 5\r\n",
        "content-length: 5,\r\n",
        "content-length: +5\r\n",
        "content-length: -5\r\n",
        "content-length: -0\r\n",
        "content-length: 0x5\r\n",
        "content-length: 5 5\r\n",
        "content-length: 5.0\r\n",
        "content-length: 5e0\r\n",
        "content-length: \"5\"\r\n",
        "content-length: five\r\n",
        "content-length:\r\n",
        "content-length: \r\n",
        "content-length:\t5\r\n",
        "content-length: 5\t\r\n",
        "content-length: 18446744073709551616\r\n",
        "content-length: 18446744073709551621\r\n",
        "content-length: 9223372036854775808\r\n",
        "content-length: 99999999999999999999999999\r\n",
        "content-length: \u{0665}\r\n",
    ];
    assert_all_refused(&lines.map(with_fields));
}

#[test]
fn a_transfer_encoding_other_than_one_chunked_is_refused() {
    let lines = [
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "content-length: 0\r\nTransfer-Encoding: chunked\r\n",
        "transfer-encoding: identity\r\ncontent-length: 5\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: identity, chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunkedx\r\n",
        "transfer-encoding: x chunked\r\n",
        "transfer-encoding: chunked;q=1\r\n",
        "transfer-encoding: \"chunked\"\r\n",
        "transfer-encoding: 'chunked'\r\n",
        "transfer-encoding: ,chunked\r\n",
        "transfer-encoding: chunked,\r\n",
        "transfer-encoding:\tchunked\r\n",
        "transfer-encoding: chunked\t\r\n",
        "transfer-encoding: \x0bchunked\r\n",
        "transfer-encoding: chunked\x0c\r\n",
        "transfer-encoding: chun\u{212a}ed\r\n",
        "transfer-encoding:\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\nTransfer-encoding: cow\r\n",
    ];
    let mut cases = lines.map(with_fields).to_vec();
    // HTTP/1.0 knows no codings (RFC 9112, section 6.1).
    cases.push(b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec());
    assert_all_refused(&cases);
}

#[test]
fn field_lines_that_are_read_in_two_ways_are_refused() {
    let lines = [
        // Obsolete folding.
        "x-a: b\r\n c\r\n",
        "x-a: b\r\n\tc\r\n",
        "x-a:\r\n transfer-encoding: chunked\r\n",
        "transfer-encoding:\r\n chunked\r\n",
        " transfer-encoding: chunked\r\n",
        // Space before the colon.
        "transfer-encoding : chunked\r\n",
        "transfer-encoding\t: chunked\r\n",
        "content-length : 5\r\n",
        "x-a : b\r\n",
        // No name, no colon, characters that no name has.
        ": b\r\n",
        "x-a\r\n",
        "x a: b\r\n",
        "x\"a: b\r\n",
        "x(a): b\r\n",
        "x@a: b\r\n",
        "x\u{e9}: b\r\n",
        "\x0btransfer-encoding: chunked\r\n",
        "transfer-encoding\x00: chunked\r\n",
        // Bare CR and bare LF.
        "x-a: b\rtransfer-encoding: chunked\r\n",
        "x-a: b\r\rtransfer-encoding: chunked\r\n",
        "x-a: b\ntransfer-encoding: chunked\r\n",
        "x-a: b\n",
        "x-a: b\r\r\n",
        "\rx-a: b\r\n",
        "\n",
        // Control characters.
        "x-a: b\x00c\r\n",
        "x-a: b\x01c\r\n",
        "x-a: b\x08c\r\n",
        "x-a: b\x1fc\r\n",
        "x-a: b\x7fc\r\n",
        // The twins that CGI-like servers cannot tell from the real ones.
        "content_length: 5\r\n",
        "Content_Length: 5\r\n",
        "transfer_encoding: chunked\r\n",
        "transfer-encoding: chunked\r\nTRANSFER_ENCODING: identity\r\n",
        // An expectation that nobody knows.
        "expect: 200-ok\r\n",
        "expect: 100-continue, x\r\n",
    ];
    assert_all_refused(&lines.map(with_fields));
}

#[test]
fn request_lines_that_do_not_follow_the_grammar_are_refused() {
    let lines = [
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/0.9",
        "GET / HTTP/1.10",
        "GET / HTTP/11",
        "GET / HTTP/1",
        "GET / HTTP/1.",
        "GET / http/1.1",
        "GET / Http/1.1",
        "GET / HTTPS/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1\t",
        "GET / HTTP/1.1 x",
        "GET /",
        "GET / ",
        "GET",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        " GET / HTTP/1.1",
        "\tGET / HTTP/1.1",
        "GE T / HTTP/1.1",
        "G\u{e9}T / HTTP/1.1",
        "GET(x) / HTTP/1.1",
        "GET / HTTP/1.1\r",
        "GET / HTTP/1.1\nx-a: b",
        "\nGET / HTTP/1.1",
        "\r\n\r\nGET / HTTP/1.1",
        "\r\n\nGET / HTTP/1.1",
        "\rGET / HTTP/1.1",
        "\0GET / HTTP/1.1",
        "PRI * HTTP/2.0",
        "{\"json\": 1}",
        "CONNECT a:443 HTTP/1.1",
        "CONNECT / HTTP/1.1",
    ];
    let mut cases = lines.map(with_line).to_vec();
    // A TLS client that came to the wrong port.
    cases.push(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec());
    assert_all_refused(&cases);
}

#[test]
fn targets_of_no_known_form_and_paths_of_two_readings_are_refused() {
    let targets = [
        "*",
        "x",
        "a:443",
        "?x",
        "#",
        "/#fragment",
        "/x?y#z",
        "/a\\b",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a%00b",
        "/a%",
        "/a%1",
        "/a%zz",
        "/\u{e9}",
        "/x?\u{e9}",
        "/a\x7fb",
        "/a\x01b",
        "/..;/a",
        "ftp://a/",
        "http://",
        "http:///x",
        "http://b/",
        "http://a:81/",
        "http://user@a/",
        "http://a#x",
    ];
    assert_all_refused(&targets.map(|target| with_line(&format!("GET {target} HTTP/1.1"))));
}

#[test]
fn a_request_that_does_not_name_one_good_host_is_refused() {
    let hosts = [
        "",
        "host: a\r\nhost: a\r\n",
        "host: a\r\nHost: b\r\n",
        "host: a, b\r\n",
        "host: a b\r\n",
        "host: a/b\r\n",
        "host: a:\r\n",
        "host: a:0\r\n",
        "host: a:x\r\n",
        "host: a:99999\r\n",
        "host: a:80:80\r\n",
        "host: :80\r\n",
        "host: user@a\r\n",
        "host: .\r\n",
        "host: a..b\r\n",
        "host: [::1\r\n",
        "host: [::g]\r\n",
        "host: a%2eb\r\n",
        "host: \u{e9}\r\n",
        "host: a?b\r\n",
        "host: a#b\r\n",
        "host: <script>\r\n",
        "host : a\r\n",
    ];
    assert_all_refused(&hosts.map(|lines| format!("GET / HTTP/1.1\r\n{lines}\r\n{SECOND}").into_bytes()));
}

#[test]
fn chunks_that_are_read_in_two_ways_are_refused() {
    let bodies: [&[u8]; 32] = [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\t\r\nhello\r\n0\r\n\r\n",
        b"5\0\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b";a=b\r\nhello\r\n0\r\n\r\n",
        b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"8000000000000000\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5;a\x01\r\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5,a\r\nhello\r\n0\r\n\r\n",
        b"0\n\n",
        b"0\r\n\n",
        b"0\r\nx: y\n\r\n",
        b"0\r\n x: y\r\n\r\n",
        b"0\r\nx : y\r\n\r\n",
        b"0\r\nx\r\n\r\n",
        b"0\r\nx: \x00\r\n\r\n",
        b"0\r\nx: a\rb\r\n\r\n",
    ];
    assert_all_refused(&bodies.map(with_body));
}

#[test]
fn floods_of_extensions_and_trailers_are_refused() {
    let line_flood = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(70_000));
    // Each line is short enough, and all of them together are not.
    let chunk_flood = format!("1;{}\r\nx\r\n", "a".repeat(200)).repeat(1_000) + "0\r\n\r\n";
    let long_trailer = format!("0\r\nx: {}\r\n\r\n", "a".repeat(70_000));
    let trailer_flood = format!("0\r\n{}\r\n", "x: y\r\n".repeat(1_000));
    let zero_flood = "0".repeat(100_000);
    assert_all_refused(&[line_flood, chunk_flood, long_trailer, trailer_flood, zero_flood].map(with_body));
}

#[test]
fn heads_above_a_limit_are_refused_with_its_reason() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let long = "a".repeat(70_000);
    for (bytes, status, reason) in [
        (format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"), 414, "uri_too_long"),
        (format!("GET /{long}"), 414, "uri_too_long"),
        (format!("{long} / HTTP/1.1\r\nhost: a\r\n\r\n"), 414, "uri_too_long"),
        (
            format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"),
            431,
            "header_too_large",
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}"),
            431,
            "header_too_large",
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(128)),
            431,
            "header_too_large",
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(9_000)),
            431,
            "header_too_large",
        ),
    ] {
        assert_refused(&plimsoll, bytes.as_bytes(), status, reason);
    }
    wait_for_failures(&plimsoll, "uri_too_long", 3);
    wait_for_failures(&plimsoll, "header_too_large", 4);
    assert_eq!(backend.requests(), 0);
    let most = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(127));
    assert_eq!(plimsoll.exchange("web", most).status, 200);
    let most = format!(
        "GET /{} HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "a".repeat(16_000),
        "b".repeat(48_000)
    );
    assert_eq!(plimsoll.exchange("web", most).status, 200);
    backend.assert_no_violations();
}
