//! Answers compressed for clients that take them so.

use std::io::Write;
use std::time::Duration;

use e2e::{Backend, Plimsoll, Reply, Script, tools};

fn serve(script: Script) -> (Backend, Plimsoll) {
    let backend = Backend::named("one", script);
    let plimsoll = Plimsoll::config(
        r#"
        [listeners.web]
        bind = "@web@"
        [[routes]]
        filters = [{ kind = "compress" }]
        pool = "p"
        [pools.p]
        backends = ["@one@"]
        health = false
    "#,
    )
    .address("one", backend.address())
    .start();
    (backend, plimsoll)
}

fn text() -> String {
    (0..2_000)
        .map(|line| format!("line {line} of a text that repeats itself\n"))
        .collect()
}

fn html(etag: &str) -> Script {
    Script::reply(200, text())
        .header("content-type", "text/html")
        .header("etag", etag)
        .header("accept-ranges", "bytes")
}

fn ask(plimsoll: &Plimsoll, method: &str, accept: &str) -> Reply {
    let mut wire = plimsoll.connect("web");
    wire.send(format!(
        "{method} / HTTP/1.1\r\nhost: a\r\naccept-encoding: {accept}\r\n\r\n"
    ));
    wire.reply_to(method)
}

/// What `command` makes of `input`.
fn piped(command: &str, input: &[u8]) -> Vec<u8> {
    use std::process::{Command, Stdio};
    let (program, argument) = command.split_once(' ').expect("a program and its argument");
    let mut child = Command::new(program)
        .arg(argument)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("./test installs it");
    let mut stdin = child.stdin.take().expect("it was piped");
    let input = input.to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    writing.join().expect("no panic").expect("it reads");
    assert!(output.status.success(), "{command} takes it");
    output.stdout
}

#[test]
fn every_coding_comes_out_as_it_was_and_its_head_says_so() {
    let (_backend, plimsoll) = serve(html("\"strong\""));
    for (accept, decode) in [("gzip", "gzip -d"), ("br", "brotli -d"), ("zstd", "zstd -d")] {
        let reply = ask(&plimsoll, "GET", accept);
        assert_eq!(reply.header("content-encoding"), Some(accept));
        assert_eq!(reply.header("vary"), Some("accept-encoding"));
        assert_eq!(reply.header("etag"), Some("W/\"strong\""));
        assert_eq!(
            (reply.header("content-length"), reply.header("accept-ranges")),
            (None, None)
        );
        assert!(reply.body.len() * 5 < text().len(), "{accept}: {}", reply.body.len());
        assert_eq!(piped(decode, &reply.body), text().into_bytes(), "{accept}");
        let head = ask(&plimsoll, "HEAD", accept);
        assert_eq!(head.header("content-encoding"), Some(accept));
        assert_eq!(head.header("content-length"), None);
    }
    let plain = ask(&plimsoll, "GET", "identity");
    assert_eq!((plain.text(), plain.header("content-encoding")), (text(), None));
    assert_eq!(plain.header("vary"), Some("accept-encoding"));
    assert_eq!(plain.header("etag"), Some("\"strong\""));
}

#[test]
fn curl_reads_what_it_asks_for_over_both_versions() {
    let (_backend, plimsoll) = serve(html("W/\"weak\""));
    let url = format!("http://{}/", plimsoll.address("web"));
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let output = tools::curl(&[version, "--compressed", "-D", "-", &url]);
        let (head, body) = output.stdout.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains("content-encoding: "), "{version}: {head}");
        assert!(head.contains("etag: W/\"weak\""), "{version}: {head}");
        assert_eq!(body, text(), "{version}");
    }
}

#[test]
fn what_is_coded_small_or_a_picture_goes_as_it_is() {
    let (backend, plimsoll) = serve(Script::Echo);
    let cases = [
        html("\"x\"").header("content-encoding", "br"),
        html("\"x\"").header("cache-control", "no-transform"),
        Script::reply(200, text()).header("content-type", "image/png"),
        Script::reply(200, "short").header("content-type", "text/plain"),
        Script::reply(206, text())
            .header("content-type", "text/plain")
            .header("content-range", "bytes 0-1/2"),
    ];
    for script in cases {
        backend.play(script);
        let reply = ask(&plimsoll, "GET", "gzip, br, zstd");
        assert!(reply.header("content-length").is_some(), "{:?}", reply.head);
        assert_ne!(reply.header("content-encoding"), Some("gzip"));
    }
}

#[test]
fn a_stream_of_events_is_not_held_back() {
    let script = Script::custom(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: one\n\n")?;
        // Nothing more is said until the client has gone.
        while exchange.read(&mut [0; 64])? > 0 {}
        Ok(false)
    });
    let (_backend, plimsoll) = serve(script);
    let url = format!("http://{}/", plimsoll.address("web"));
    // It ends when it has what it waits for, which it could not if that was held back.
    let script = r#"
import socket, sys, zlib
from urllib.parse import urlparse
at = urlparse(sys.argv[1])
link = socket.create_connection((at.hostname, at.port), 15)
link.sendall(b"GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n")
data = b""
while True:
    data += link.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    out, rest = b"", body
    decoder = zlib.decompressobj(31)
    while b"\r\n" in rest:
        size, rest = rest.split(b"\r\n", 1)
        out += decoder.decompress(rest[:int(size, 16)])
        rest = rest[int(size, 16) + 2:]
    if b"data: one" in out:
        print("seen")
        break
"#;
    let output = tools::python(script, &[&url], Duration::from_secs(30));
    assert!(output.stdout.contains("seen"), "{}", output.stdout);
}
