//! What goes over HTTP/1.1 and HTTP/2 goes over them within TLS: many streams, WebSockets, gRPC, idle connections.

use std::process::Command;
use std::time::Duration;

use e2e::{Backend, Foreign, Plimsoll, Script, eventually, tools};

use crate::front::{Front, front, memory_kib};
use crate::tls::{secured, shop};

#[track_caller]
fn python(script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(tools::python_with_packages());
    let output = tools::run(command.args(["-c", script]).args(arguments), Duration::from_secs(60));
    assert_eq!(output.code, Some(0), "{output:?}");
    output.stdout
}

/// A front with TLS and a pool of HTTP/2.
fn to_h2(authority: &e2e::Authority) -> Front {
    let pair = authority.pair("shop");
    front()
        .pool("protocol = \"h2\"")
        .listener(&format!("tls = {{ certificates = [{pair}] }}"))
}

#[test]
fn many_streams_share_a_connection() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let plimsoll = secured(&authority, "").before(backend.address());
    let url = format!("https://{}/", plimsoll.address("web"));
    for options in [
        &["-n3000", "-c5", "-m20"][..],
        &["-n1000", "-c5", "-m1", "--npn-list=http/1.1"],
    ] {
        let output = tools::run(Command::new("h2load").args(options).arg(&url), Duration::from_secs(90));
        let count = &options[0][2..];
        assert!(
            output
                .stdout
                .contains(&format!("{count} succeeded, 0 failed, 0 errored")),
            "{output:?}"
        );
        assert!(output.stdout.contains("TLS Protocol: TLSv1.3"), "{output:?}");
    }
    backend.assert_no_violations();
}

const TALK: &str = r#"
import ssl, sys
from websockets.sync.client import connect

context = ssl.create_default_context(cafile=sys.argv[2])
context.check_hostname = False
with connect("wss://" + sys.argv[1] + "/chat", max_size=None, ssl_context=context) as socket:
    for size in (0, 5, 125, 70000, 3000000):
        socket.send("x" * size)
        assert socket.recv() == "x" * size, size
print("all came back")
"#;

const ECHO: &str = r#"
import sys
from websockets.sync.server import serve

def echo(socket):
    for message in socket:
        socket.send(message)

serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=None).serve_forever()
"#;

#[test]
fn a_websocket_talks_within_tls() {
    let authority = shop();
    let server = Foreign::start(|port, _| {
        let mut command = Command::new(tools::python_with_packages());
        command.args(["-c", ECHO, &port.to_string()]);
        command
    });
    let plimsoll = secured(&authority, "").before(server.address());
    let to = plimsoll.address("web").to_string();
    assert_eq!(python(TALK, &[&to, &authority.named("ca.pem")]), "all came back\n");
}

const CALL: &str = r#"
import grpc, sys
credentials = grpc.ssl_channel_credentials(open(sys.argv[2], "rb").read())
options = (("grpc.ssl_target_name_override", "shop.test"), ("grpc.max_receive_message_length", -1))
with grpc.secure_channel(sys.argv[1], credentials, options) as channel:
    call = channel.unary_unary("/test.Echo/Unary")
    for number in range(100):
        assert call(b"hello %d" % number, timeout=10) == b"hello %d" % number
    assert len(call(b"x" * 2000000, timeout=30)) == 2000000
    both = channel.stream_stream("/test.Echo/Both")
    assert list(both(iter([b"a", b"b", b"c"]), timeout=10)) == [b"a", b"b", b"c"]
print("all were answered")
"#;

const SERVER: &str = r#"
import grpc, sys
from concurrent import futures

class Echo(grpc.GenericRpcHandler):
    def service(self, call):
        if call.method.endswith("/Both"):
            return grpc.stream_stream_rpc_method_handler(lambda messages, _: messages)
        return grpc.unary_unary_rpc_method_handler(lambda message, _: message)

server = grpc.server(futures.ThreadPoolExecutor(4), options=(("grpc.max_receive_message_length", -1),))
server.add_generic_rpc_handlers((Echo(),))
server.add_insecure_port("127.0.0.1:" + sys.argv[1])
server.start()
server.wait_for_termination()
"#;

#[test]
fn calls_of_grpc_come_through_within_tls() {
    let authority = shop();
    let server = Foreign::start(|port, _| {
        let mut command = Command::new(tools::python_with_packages());
        command.args(["-c", SERVER, &port.to_string()]);
        command
    });
    let plimsoll = to_h2(&authority).before(server.address());
    let to = plimsoll.address("web").to_string();
    assert_eq!(python(CALL, &[&to, &authority.named("ca.pem")]), "all were answered\n");
}

/// Connections that have asked once and stay, told of by a line; until the input ends.
const IDLE: &str = r#"
import socket, ssl, sys
host, port = sys.argv[1].split(":")
context = ssl.create_default_context(cafile=sys.argv[2])
context.check_hostname = False
held = []
for _ in range(int(sys.argv[3])):
    plain = context.wrap_socket(socket.create_connection((host, int(port)), 20))
    plain.sendall(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n")
    assert plain.recv(65536).startswith(b"HTTP/1.1 200")
    held.append(plain)
sys.stdin.read()
"#;

#[test]
fn an_idle_connection_costs_little_memory() {
    let authority = shop();
    let backend = Backend::start(Script::reply(200, "x"));
    let plimsoll = secured(&authority, "").before(backend.address());
    let count = e2e::scaled("idle connections", 500, 4);
    let (to, ca) = (plimsoll.address("web").to_string(), authority.named("ca.pem"));
    let hold = |plimsoll: &Plimsoll, before: f64| {
        let mut child = Command::new("python3")
            .args(["-c", IDLE, &to, &ca, &count.to_string()])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("python can be started");
        e2e::eventually_within(Duration::from_secs(60), "all are there", || {
            let asked = plimsoll.metrics().sum("plimsoll_requests_total", &[]);
            (asked >= before + count as f64).then_some(())
        });
        (child.stdin.take(), child)
    };
    // Once for what stays with the process: blocks, tables, the allocator's arenas.
    let (input, mut child) = hold(&plimsoll, 0.0);
    drop(input);
    child.wait().expect("it ends");
    eventually("all are gone", || {
        (plimsoll.metrics().sum("plimsoll_connections", &[]) == 0.0).then_some(())
    });
    let (first, mut first_child) = hold(&plimsoll, count as f64);
    let before = memory_kib(&plimsoll, "VmRSS");
    let (second, mut second_child) = hold(&plimsoll, 2.0 * count as f64);
    let grown = memory_kib(&plimsoll, "VmRSS").saturating_sub(before);
    println!("{} bytes for each of {count}", grown * 1024 / count);
    // The budget is 9 KB; the rest is the allocator's and this machine's.
    assert!(
        grown * 1024 / count <= 14 << 10,
        "{grown} KiB for {count} idle connections"
    );
    drop((first, second));
    first_child.wait().expect("it ends");
    second_child.wait().expect("it ends");
}
