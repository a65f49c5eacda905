//! Which version of HTTP is spoken to backends within TLS: what is offered, what they choose, and that they change their
//! mind.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use e2e::{Backend, Foreign, Plimsoll, Script, Wire, eventually, haproxy_command, tools};

use crate::front::one;
use crate::http2_websockets::{TALK, echoing};
use crate::tls_stage::{assert_no_tls, authority, both, logging, trusting, wrapping};

/// nginx within TLS, which says what was spoken and on which connection; `listen` is added to its address.
fn nginx(authority: &e2e::Authority, listen: &str) -> Foreign {
    Foreign::nginx_of(&[], |port, directory| {
        for name in ["api.pem", "api.key"] {
            std::fs::copy(authority.file(name), directory.join(name)).expect("it can be copied");
        }
        let root = directory.display();
        format!(
            "server {{ listen 127.0.0.1:{port} ssl {listen}; ssl_certificate {root}/api.pem; \
             ssl_certificate_key {root}/api.key; return 200 \"$server_protocol $connection $scheme\"; }}"
        )
    })
}

fn speaking(authority: &e2e::Authority, protocol: &str, more: &str) -> String {
    format!("protocol = \"{protocol}\"\n{}\n{more}", trusting(authority, ""))
}

/// The version that the backend says is spoken to it.
#[track_caller]
fn spoken(plimsoll: &Plimsoll) -> String {
    let reply = plimsoll.get("web", "/");
    assert_eq!(reply.status, 200, "{}: {}", reply.text(), plimsoll.stderr());
    reply.text().split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn the_backend_chooses_where_it_may_and_is_told_what_to_speak_where_not() {
    let authority = authority();
    let (newer, older) = (nginx(&authority, "http2"), nginx(&authority, ""));
    for (server, protocol, says) in [
        (&newer, "auto", "HTTP/2.0"),
        (&newer, "h2", "HTTP/2.0"),
        (&newer, "h1", "HTTP/1.1"),
        (&older, "auto", "HTTP/1.1"),
        (&older, "h1", "HTTP/1.1"),
    ] {
        let plimsoll = logging(&speaking(&authority, protocol, "")).before(server.address());
        // Again on what was kept.
        for _ in 0..2 {
            assert_eq!(spoken(&plimsoll), says, "{protocol}");
        }
        assert!(plimsoll.get("web", "/").text().ends_with(" https"), "{protocol}");
        let told = if says == "HTTP/2.0" { "h2" } else { "h1" };
        assert_eq!(one(&plimsoll)["protocol"], told);
    }
    let plimsoll = logging(&speaking(&authority, "h2", "")).before(older.address());
    assert_no_tls(&plimsoll, &plimsoll.get("web", "/"), "no_shared_protocol");
}

/// `openssl s_server`, which answers HTTP/1.0 and chooses no protocol unless it is told to.
fn s_server(authority: &e2e::Authority, more: &'static [&'static str]) -> Foreign {
    Foreign::start(|port, directory| {
        for name in ["api.pem", "api.key", "ca.pem"] {
            std::fs::copy(authority.file(name), directory.join(name)).expect("it can be copied");
        }
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-www", "-cert", "api.pem", "-key", "api.key"]);
        command.args(["-accept", &format!("127.0.0.1:{port}")]).args(more);
        command
    })
}

#[test]
fn a_backend_that_chooses_nothing_is_spoken_to_in_http_1() {
    let authority = authority();
    let server = s_server(&authority, &[]);
    for protocol in ["auto", "h1"] {
        let plimsoll = logging(&speaking(&authority, protocol, "")).before(server.address());
        let reply = plimsoll.get("web", "/");
        assert_eq!(reply.status, 200, "{protocol}: {}", plimsoll.stderr());
        assert!(reply.text().contains("s_server"), "{protocol}: {}", reply.text());
    }
    let plimsoll = logging(&speaking(&authority, "h2", "")).before(server.address());
    assert_no_tls(&plimsoll, &plimsoll.get("web", "/"), "no_shared_protocol");
    // One that refuses what it is offered.
    let server = s_server(&authority, &["-alpn", "other/1"]);
    let plimsoll = logging(&speaking(&authority, "h1", "")).before(server.address());
    plimsoll.get("web", "/").assert_reason(502, "tls_failed");
}

#[test]
fn many_who_come_before_the_backend_has_chosen_share_its_choice() {
    let authority = authority();
    let server = nginx(&authority, "http2");
    let plimsoll = logging(&speaking(&authority, "auto", ""))
        .server("workers = 2")
        .before(server.address());
    let mut clients: Vec<Wire> = (0..40).map(|_| plimsoll.connect("web")).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    let answers: BTreeSet<String> = clients.iter_mut().map(|client| client.reply().text()).collect();
    assert!(
        answers.iter().all(|answer| answer.starts_with("HTTP/2.0 ")),
        "{answers:?}"
    );
    assert!(answers.len() <= 2, "a connection a worker: {answers:?}");
}

/// HAProxy at `port` that hands on to `backend` and chooses from these protocols.
fn choosing(pair: &str, backend: SocketAddr, alpn: &str, (port, directory): (u16, &std::path::Path)) -> Command {
    std::fs::write(directory.join("both.pem"), pair).expect("it can be written");
    let crt = directory.join("both.pem").display().to_string();
    let alpn = if alpn.is_empty() {
        String::new()
    } else {
        format!("alpn {alpn}")
    };
    haproxy_command(
        directory,
        &format!(
            "frontend all\n bind 127.0.0.1:{port} ssl crt {crt} {alpn}\n http-request set-header x-version %[req.ver]\n \
             default_backend there\nbackend there\n server one {backend}\n"
        ),
    )
}

#[test]
fn a_backend_that_changes_its_mind_is_followed() {
    let authority = authority();
    let (pair, backend) = (both(&authority, "api"), Backend::start(Script::Echo));
    let to = backend.address();
    let mut server = Foreign::start(|port, directory| choosing(&pair, to, "h2,http/1.1", (port, directory)));
    let plimsoll = logging(&speaking(&authority, "auto", ""))
        .route("retry = { attempts = 3 }")
        .before(server.address());
    let version = || {
        let post = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        let reply = plimsoll.exchange("web", post);
        assert_eq!(reply.status, 200, "{}: {}", reply.text(), plimsoll.stderr());
        let told = reply.json();
        assert_eq!(told["body"], "hi");
        let headers = told["headers"].as_array().expect("a list");
        let version = headers.iter().find(|pair| pair[0] == "x-version").expect("it is told");
        version[1].as_str().expect("text").to_owned()
    };
    assert_eq!(version(), "2.0");
    for (alpn, wanted) in [("", "1.1"), ("h2,http/1.1", "2.0"), ("http/1.1", "1.1"), ("h2", "2.0")] {
        server.replace(|port, directory| choosing(&pair, to, alpn, (port, directory)));
        assert_eq!(version(), wanted, "{alpn}");
        assert_eq!(version(), wanted, "{alpn}");
    }
    backend.assert_no_violations();
}

#[test]
fn a_body_is_framed_for_each_backend_that_it_is_tried_on() {
    let authority = authority();
    let good = Backend::start(Script::Echo);
    let bad = Backend::start(Script::status(503));
    let (newer, older) = (
        wrapping(&authority, "api", bad.address(), "alpn h2"),
        wrapping(&authority, "api", good.address(), ""),
    );
    // From HTTP/2 to HTTP/1.1 and the other way round.
    for (first, second) in [(&newer, &older), (&older, &newer)] {
        let (from_bad, from_good) = if std::ptr::eq(first, &newer) {
            (503, 200)
        } else {
            (200, 503)
        };
        let config = format!(
            "[listeners.web]\nbind = [\"@web@\"]\n[[routes]]\npool = \"api\"\nretry = {{ attempts = 1, on = [\"503\"] }}\n\
             [pools.api]\nhealth = false\noutlier = false\nprotocol = \"auto\"\n{}\n\
             backends = [{{ address = \"@first@\", priority = 0 }}, {{ address = \"@second@\", priority = 1 }}]\n",
            trusting(&authority, "")
        );
        let plimsoll = Plimsoll::config(&config)
            .address("first", first.address())
            .address("second", second.address())
            .start();
        bad.play(if from_bad == 503 {
            Script::status(503)
        } else {
            Script::Echo
        });
        good.play(if from_good == 503 {
            Script::status(503)
        } else {
            Script::Echo
        });
        for body in ["2\r\nhi\r\n6\r\n there\r\n0\r\n\r\n", "0\r\n\r\n"] {
            let head = "PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
            let reply = plimsoll.exchange("web", format!("{head}{body}"));
            assert_eq!(reply.status, 200, "{body}: {}: {}", reply.text(), plimsoll.stderr());
            let wanted = if body.starts_with('0') { "" } else { "hi there" };
            assert_eq!(reply.json()["body"], wanted);
        }
    }
    good.assert_no_violations();
    bad.assert_no_violations();
}

#[test]
fn websockets_go_through_tls_in_both_versions() {
    let (authority, server) = (authority(), echoing());
    for (alpn, protocol) in [("alpn h2,http/1.1", "h1"), ("alpn h2,http/1.1", "auto"), ("", "auto")] {
        let haproxy = wrapping(&authority, "api", server.address(), alpn);
        let plimsoll = logging(&speaking(&authority, protocol, "")).before(haproxy.address());
        let mut command = Command::new(tools::python_with_packages());
        command.args(["-c", TALK, &plimsoll.address("web").to_string()]);
        let output = tools::run(&mut command, Duration::from_secs(30));
        assert_eq!(output.stdout, "all came back\n", "{alpn} {protocol}: {output:?}");
        assert_eq!(one(&plimsoll)["errors"], 0);
    }
}

#[test]
fn a_backend_whose_streams_take_no_websockets_is_asked_for_them_in_http_1() {
    let (authority, server) = (authority(), echoing());
    let nginx = Foreign::nginx_of(&[], |port, directory| {
        for name in ["api.pem", "api.key"] {
            std::fs::copy(authority.file(name), directory.join(name)).expect("it can be copied");
        }
        let (root, to) = (directory.display(), server.address());
        format!(
            "server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {root}/api.pem; ssl_certificate_key {root}/api.key;
             location = / {{ return 200 $server_protocol; }}
             location /chat {{ proxy_pass http://{to}; proxy_http_version 1.1;
              proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }} }}"
        )
    });
    // The connection that shows it is made by the WebSocket itself, and by a request before it.
    for before in [0, 1] {
        let plimsoll = logging(&speaking(&authority, "auto", "")).before(nginx.address());
        for _ in 0..before {
            assert_eq!(spoken(&plimsoll), "HTTP/2.0");
        }
        for _ in 0..2 {
            let mut command = Command::new(tools::python_with_packages());
            command.args(["-c", TALK, &plimsoll.address("web").to_string()]);
            let output = tools::run(&mut command, Duration::from_secs(30));
            assert_eq!(output.stdout, "all came back\n", "{output:?}: {}", plimsoll.stderr());
        }
        assert_eq!(spoken(&plimsoll), "HTTP/2.0");
        assert_eq!(one(&plimsoll)["errors"], 0);
    }
}

#[test]
fn a_mirror_may_speak_another_version_than_the_pool() {
    let authority = authority();
    let (primary, shadow) = (Backend::start(Script::Echo), Backend::start(Script::Echo));
    let server = wrapping(&authority, "api", shadow.address(), "alpn h2");
    let tables = format!(
        "[pools.shadow]\nbackends = [\"{}\"]\nhealth = false\n{}\n",
        server.address(),
        speaking(&authority, "auto", "")
    );
    let plimsoll = logging("")
        .route("mirror = { pool = \"shadow\" }")
        .tables(&tables)
        .before(primary.address());
    let post = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(plimsoll.exchange("web", post).json()["body"], "hello");
    let copy = eventually("the copy has come", || shadow.seen().into_iter().next());
    assert_eq!(copy.body, b"hello");
}

/// nghttpd within TLS, which serves the files of its directory.
fn nghttpd(authority: &e2e::Authority) -> Foreign {
    Foreign::start(|port, directory| {
        for name in ["api.pem", "api.key"] {
            std::fs::copy(authority.file(name), directory.join(name)).expect("it can be copied");
        }
        std::fs::write(directory.join("big"), vec![b'x'; 1 << 20]).expect("it can be written");
        let mut command = Command::new("nghttpd");
        command.args(["--address=127.0.0.1", "-d"]).arg(directory);
        command.args([&port.to_string(), "api.key", "api.pem"]);
        command
    })
}

const GRPC: &str = r#"
import sys
from concurrent import futures
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

server = grpc.server(futures.ThreadPoolExecutor(4))
servicer = health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
servicer.set("shop.Orders", health_pb2.HealthCheckResponse.SERVING)
pair = (open("api.key", "rb").read(), open("api.pem", "rb").read())
server.add_secure_port(sys.argv[1], grpc.ssl_server_credentials([pair]))
server.start()
server.wait_for_termination()
"#;

const CALL: &str = r#"
import sys
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    asked = health_pb2.HealthCheckRequest(service="shop.Orders")
    print(health_pb2_grpc.HealthStub(channel).Check(asked, timeout=20).status)
"#;

#[test]
fn servers_of_http_2_alone_and_of_grpc_are_spoken_to_within_tls() {
    let authority = authority();
    let server = nghttpd(&authority);
    for protocol in ["h2", "auto"] {
        let plimsoll = logging(&speaking(&authority, protocol, "")).before(server.address());
        let reply = plimsoll.get("web", "/big");
        assert!(
            reply.status == 200 && reply.body.len() == 1 << 20,
            "{protocol}: {}",
            plimsoll.stderr()
        );
        assert_eq!(one(&plimsoll)["protocol"], "h2");
    }
    let server = Foreign::start(|port, directory| {
        for name in ["api.pem", "api.key"] {
            std::fs::copy(authority.file(name), directory.join(name)).expect("it can be copied");
        }
        let mut command = Command::new(tools::python_with_packages());
        command.args(["-u", "-c", GRPC, &format!("127.0.0.1:{port}")]);
        command
    });
    let config = format!(
        "[listeners.web]\nbind = [\"@web@\"]\npool = \"api\"\n\
         [pools.api]\nbackends = [{{ name = \"it\", address = \"@it@\" }}]\n\
         health = {{ grpc = \"shop.Orders\", interval = \"300ms\" }}\n{}\n",
        speaking(&authority, "h2", "")
    );
    let plimsoll = Plimsoll::config(&config).address("it", server.address()).start();
    plimsoll.wait_for_state("api", "it", "healthy");
    let mut command = Command::new(tools::python_with_packages());
    command.args(["-c", CALL, &plimsoll.address("web").to_string()]);
    let output = tools::run(&mut command, Duration::from_secs(40));
    assert_eq!(output.stdout, "1\n", "{output:?}");
}
