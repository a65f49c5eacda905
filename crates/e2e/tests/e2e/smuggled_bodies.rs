//! Bodies that two readers could take apart differently, and messages without bound: refused, and nothing sent on.

use e2e::{Backend, Script};

use crate::front::{front, wait_for_failures};
use crate::refusals::{assert_all_refused, assert_refused};

/// A chunked POST with this body, and what would be a second request.
fn with_body(body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    [head, body.as_ref(), b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"].concat()
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
