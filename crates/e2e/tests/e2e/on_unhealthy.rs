//! What becomes of the connections to a backend that becomes unhealthy.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use e2e::{Backend, PATIENCE, Plimsoll, Script, Setup, eventually, stays, tools};
use serde_json::Value;

/// A pool of `a` and `b`, of which each is unhealthy while a file of its name is there; `b` is a spare.
fn site(listener: &str, pool: &str, a: &Backend, b: &Backend) -> Setup {
    Plimsoll::config(&format!(
        "[log]\naccess = \"./access.log\"\n[listeners.it]\nbind = [\"@it@\"]\npool = \"api\"\n{listener}\n\
         [pools.api]\nbackends = [{{ name = \"a\", address = \"@a@\" }}, \
         {{ name = \"b\", address = \"@b@\", priority = 1 }}]\n{pool}\n\
         health = {{ exec = [\"./probe\"], interval = \"100ms\", timeout = \"100ms\", fall = 1, rise = 1 }}\n"
    ))
    .program("probe", "#!/bin/sh\n[ ! -e \"${0%/*}/$PLIMSOLL_BACKEND_NAME\" ]\n")
    .address("a", a.address())
    .address("b", b.address())
}

fn logged(plimsoll: &Plimsoll) -> Vec<Value> {
    let text = plimsoll.scratch().read("access.log");
    let lines = text.lines().filter(|line| line.ends_with('}'));
    lines
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

/// A connection that has been served, over and over, until it is served by `a`.
fn held(plimsoll: &Plimsoll, a: &Backend) -> TcpStream {
    eventually("a connection is with a", || {
        let mut stream = TcpStream::connect(plimsoll.address("it")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(b"ping").ok()?;
        stream.read_exact(&mut [0; 4]).ok()?;
        (a.open_connections() > 0).then_some(stream)
    })
}

const TCP: &str = "protocol = \"tcp\"";

#[test]
fn a_tcp_connection_to_a_backend_that_fails_is_cut_when_asked_to() {
    for (pool, reads) in [
        ("on_unhealthy = \"close\"", false),
        ("on_unhealthy = \"keep\"", true),
        ("", true),
    ] {
        let (a, b) = (Backend::tcp_echo(), Backend::tcp_echo());
        let plimsoll = site(TCP, pool, &a, &b).start();
        let mut stream = held(&plimsoll, &a);
        plimsoll.scratch().write("a", "");
        plimsoll.wait_for_state("api", "a", "unhealthy");
        if reads {
            stays(Duration::from_millis(200), "it is still relayed", || {
                stream.write_all(b"pong").is_ok() && stream.read_exact(&mut [0; 4]).is_ok()
            });
            continue;
        }
        let error = stream
            .read(&mut [0])
            .expect_err("the client learns that this is no end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        eventually("the backend's side has ended", || {
            (a.open_connections() == 0).then_some(())
        });
        let line = eventually("it is logged", || {
            logged(&plimsoll)
                .into_iter()
                .find(|line| line["reason"] == "backend_unhealthy")
        });
        assert_eq!(line["backend"], "a");
        let metrics = plimsoll.metrics();
        assert_eq!(
            metrics.sum("plimsoll_failures_total", &[("reason", "backend_unhealthy")]),
            1.0
        );
        // The next one is with the other, and is left alone when a is well again and fails again.
        let mut other = held(&plimsoll, &b);
        std::fs::remove_file(plimsoll.scratch().path().join("a")).expect("it is there");
        plimsoll.wait_for_state("api", "a", "healthy");
        plimsoll.scratch().write("a", "");
        plimsoll.wait_for_state("api", "a", "unhealthy");
        other.write_all(b"pong").expect("it is open");
        other.read_exact(&mut [0; 4]).expect("it is served");
    }
}

#[test]
fn a_client_that_waits_for_an_answer_learns_of_the_cut() {
    let silent = Backend::tcp(|mut stream| std::io::copy(&mut stream, &mut std::io::sink()).map(drop));
    let b = Backend::tcp_echo();
    let plimsoll = site(TCP, "on_unhealthy = \"close\"", &silent, &b).start();
    let address = plimsoll.address("it");
    // It sends more than anybody reads, and then waits.
    let script = "import socket, sys\n\
        s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n\
        s.sendall(b'x' * 100000)\n\
        try:\n    print('ended', s.recv(1))\nexcept OSError as error:\n    print(type(error).__name__)\n";
    let output = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            tools::python(
                script,
                &[&address.ip().to_string(), &address.port().to_string()],
                PATIENCE,
            )
        });
        eventually("the client is with a", || (silent.open_connections() > 0).then_some(()));
        plimsoll.scratch().write("a", "");
        client.join().expect("the client ends")
    });
    assert_eq!(output.stdout.trim(), "ConnectionResetError", "{output:?}");
}

#[test]
fn a_websocket_is_cut_and_a_request_under_way_is_sent_elsewhere_where_that_is_safe() {
    let a = Backend::named(
        "a",
        Script::by_path([("/chat", Script::WebSocket), ("/", Script::Hang)]),
    );
    let b = Backend::named("b", Script::Echo);
    let plimsoll = site("", "on_unhealthy = \"close\"", &a, &b).start();
    let mut chat = plimsoll.connect("it");
    chat.send(
        "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n",
    );
    assert_eq!(chat.reply().status, 101);
    let (mut get, mut post) = (plimsoll.connect("it"), plimsoll.connect("it"));
    get.send("GET /safe HTTP/1.1\r\nhost: a\r\n\r\n");
    post.send("POST /unsafe HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
    eventually("both are with a", || {
        (a.requests_to("/safe") + a.requests_to("/unsafe") == 2).then_some(())
    });
    plimsoll.scratch().write("a", "");
    assert_eq!(get.reply().json()["backend"], "b");
    post.reply().assert_reason(502, "backend_reset");
    let (bytes, _) = chat.read_to_end();
    assert_eq!(bytes, b"");
    eventually("it is logged", || {
        let lines = logged(&plimsoll);
        lines
            .into_iter()
            .find(|line| line["path"] == "/chat" && line["reason"] == "backend_unhealthy")
    });
}
