//! Heads that two readers could take apart differently: refused, the connection closed, nothing sent on.

use crate::refusals::assert_all_refused;

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
