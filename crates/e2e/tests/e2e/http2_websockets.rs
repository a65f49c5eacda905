//! WebSockets where one side or both speak HTTP/2 (RFC 8441).

use std::process::Command;
use std::time::Duration;

use e2e::frames::{self, END_HEADERS, END_STREAM, Frames, kind};
use e2e::{Backend, Foreign, PATIENCE, Plimsoll, Script, eventually, tools};

use crate::front::{front, one, wait_for_failures};
use crate::http2_streams::h2;

const CANCEL: u32 = 8;

/// What is sent, and what comes back: a text of five letters, masked by a client and not by a server (RFC 6455 §5.2).
const HELLO: &[u8] = b"\x81\x85\0\0\0\0hello";
const BACK: &[u8] = b"\x81\x05hello";

/// The end, and its answer.
const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";
const CLOSED: &[u8] = b"\x88\x02\x03\xe8";

const ECHO: &str = r#"
import sys
from websockets.sync.server import serve

def echo(socket):
    for message in socket:
        socket.send(message)

serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=None).serve_forever()
"#;

pub(crate) const TALK: &str = r#"
import sys
from websockets.sync.client import connect

with connect("ws://" + sys.argv[1] + "/chat", max_size=None) as socket:
    for size in (0, 5, 125, 70000, 3000000):
        socket.send("x" * size)
        assert socket.recv() == "x" * size, size
print("all came back")
"#;

/// A server of WebSockets that sends back what it gets.
pub(crate) fn echoing() -> Foreign {
    Foreign::start(|port, _| {
        let mut command = Command::new(tools::python_with_packages());
        command.args(["-c", ECHO, &port.to_string()]);
        command
    })
}

/// HAProxy before a server: HTTP/2 with extended CONNECT on the one side, and an upgrade on the other.
fn haproxy(before: &Foreign) -> Foreign {
    Foreign::haproxy(&format!(
        " timeout tunnel 30s\n default_backend one\nbackend one\n server one {}",
        before.address()
    ))
}

/// Asks for a WebSocket on a stream; the frame of the answer's head.
fn ask(client: &mut Frames, stream: u32, path: &str) -> frames::Frame {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
        ("sec-websocket-version", "13"),
    ];
    client
        .send(kind::HEADERS, END_HEADERS, stream, &frames::head(&fields))
        .expect("a request is taken");
    client.wait_for(stream, kind::HEADERS)
}

fn granted(plimsoll: &Plimsoll) -> Frames {
    let mut client = Frames::connect(plimsoll.address("web"));
    let settings = client.wait_for(0, kind::SETTINGS);
    // SETTINGS_ENABLE_CONNECT_PROTOCOL is 8 (RFC 8441 §3).
    assert!(
        settings.payload.chunks(6).any(|one| one == [0, 8, 0, 0, 0, 1]),
        "{settings:?}"
    );
    let head = ask(&mut client, 1, "/chat");
    assert_eq!((frames::status(&head.payload), head.flags & END_STREAM), (Some(200), 0));
    client
}

/// Sends a message and reads it back; then the end.
fn talk(client: &mut Frames) {
    for (part, back) in [(HELLO, BACK), (HELLO, BACK), (CLOSE, CLOSED)] {
        client.send(kind::DATA, 0, 1, part).expect("it is taken");
        let mut got = Vec::new();
        while got.len() < back.len() {
            got.extend(client.wait_for(1, kind::DATA).payload);
        }
        assert_eq!(got, back);
    }
    loop {
        let frame = client.read().expect("the stream ends");
        if frame.stream == 1 && (frame.flags & END_STREAM != 0 || frame.kind == kind::RST_STREAM) {
            break assert_eq!(frame.kind, kind::DATA, "{frame:?}");
        }
    }
}

#[test]
fn from_http_2_to_http_1_1() {
    let server = echoing();
    let plimsoll = front().before(server.address());
    talk(&mut granted(&plimsoll));
    // One that is reset ends its backend's connection.
    let mut client = granted(&plimsoll);
    client.reset(1, CANCEL).expect("it is taken");
    eventually("nothing is in flight", || {
        (one(&plimsoll)["in_flight"] == 0).then_some(())
    });
    assert_eq!(one(&plimsoll)["errors"], 0);
}

#[test]
fn from_http_1_1_to_http_2() {
    let server = echoing();
    let haproxy = haproxy(&server);
    let plimsoll = h2().before(haproxy.address());
    let mut command = Command::new(tools::python_with_packages());
    command.args(["-c", TALK, &plimsoll.address("web").to_string()]);
    let output = tools::run(&mut command, Duration::from_secs(30));
    assert_eq!(output.stdout, "all came back\n", "{output:?}");
    assert_eq!(one(&plimsoll)["errors"], 0);
}

#[test]
fn from_http_2_to_http_2() {
    let server = echoing();
    let haproxy = haproxy(&server);
    let plimsoll = h2().before(haproxy.address());
    talk(&mut granted(&plimsoll));
    assert_eq!(one(&plimsoll)["errors"], 0);
}

#[test]
fn a_grant_without_proof_is_none() {
    let backend = Backend::start(Script::WebSocket);
    let plimsoll = front().before(backend.address());
    let mut client = Frames::connect(plimsoll.address("web"));
    assert_eq!(frames::status(&ask(&mut client, 1, "/chat").payload), None);
    wait_for_failures(&plimsoll, "backend_protocol_error", 1);
}

#[test]
fn nobody_is_told_that_there_is_a_websocket_where_there_is_none() {
    let backend = Backend::start(Script::by_path([
        ("/no", Script::status(404)),
        ("/", Script::reply(200, "a page")),
    ]));
    let plimsoll = front().before(backend.address());
    let mut client = Frames::connect(plimsoll.address("web"));
    // 502, which the static table has not.
    assert_eq!(frames::status(&ask(&mut client, 1, "/page").payload), None);
    wait_for_failures(&plimsoll, "backend_protocol_error", 1);
    assert_eq!(frames::status(&ask(&mut client, 3, "/no").payload), Some(404));
    assert_eq!(one(&plimsoll)["errors"], 0);
    // A route that offers none.
    let plimsoll = front().route("upgrade = []").before(backend.address());
    let mut client = Frames::connect(plimsoll.address("web"));
    ask(&mut client, 1, "/page");
    wait_for_failures(&plimsoll, "denied", 1);
    // Another protocol, and none.
    for protocol in [Some("connect-udp"), None] {
        let mut fields = vec![
            (":method", "CONNECT"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
        ];
        fields.extend(protocol.map(|protocol| (":protocol", protocol)));
        let mut client = Frames::connect(plimsoll.address("web"));
        client
            .send(kind::HEADERS, END_HEADERS, 1, &frames::head(&fields))
            .expect("a request is taken");
        let answer = loop {
            let frame = client.read().expect("it is answered");
            if frame.stream == 1 {
                break frame;
            }
        };
        assert!(
            answer.kind == kind::RST_STREAM || frames::status(&answer.payload) == Some(400),
            "{answer:?}"
        );
    }
}

#[test]
fn a_backend_that_knows_no_websockets_answers_as_if_nobody_had_asked() {
    let backend = Foreign::nghttpd(&[("page", b"a page")], &[]);
    let plimsoll = h2().before(backend.address());
    let mut wire = plimsoll.connect("web").patience(PATIENCE + Duration::from_secs(5));
    wire.send(
        "GET /page HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n",
    );
    let reply = wire.reply();
    assert_eq!((reply.status, reply.text().as_str()), (200, "a page"));
    let mut client = Frames::connect(plimsoll.address("web"));
    assert_eq!(frames::status(&ask(&mut client, 1, "/page").payload), None);
    wait_for_failures(&plimsoll, "backend_protocol_error", 1);
}
