//! The filter `forward-auth`, with services that agree, refuse, fail and are slow.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use e2e::tools::curl;
use e2e::{Backend, Plimsoll, Reply, Script, eventually};

const CONFIG: &str = r#"
    [server]
    expose_reason = true
    [listeners.web]
    bind = "@web@"
    [[routes]]
    name = "guarded"
    match = { path = "/app/*" }
    filters = [{ kind = "forward-auth", url = "http://@auth@/verify?realm=a", copy = ["x-user", "x-groups"], copy_response = ["set-cookie"], timeout = "2s" }]
    pool = "p"
    [[routes]]
    name = "little"
    match = { path = "/little/*" }
    filters = [{ kind = "forward-auth", url = "http://@auth@/verify", request_headers = ["cookie"] }]
    pool = "p"
    [[routes]]
    name = "open"
    pool = "p"
    [pools.p]
    backends = ["@one@"]
    health = false
"#;

struct Scene {
    backend: Backend,
    service: Backend,
    plimsoll: Plimsoll,
}

fn start(script: Script) -> Scene {
    let backend = Backend::named("one", Script::Echo);
    let service = Backend::named("service", script);
    let setup = Plimsoll::config(CONFIG).address("one", backend.address());
    let plimsoll = setup.address("auth", service.address()).start();
    Scene {
        backend,
        service,
        plimsoll,
    }
}

fn agrees() -> Script {
    Script::reply(200, "fine")
        .header("X-User", "ann")
        .header("set-cookie", "session=2")
}

impl Scene {
    fn ask(&self, head: &str, body: &str) -> Reply {
        self.plimsoll.exchange("web", format!("{head}\r\n{body}"))
    }
}

#[test]
fn a_service_that_agrees_says_who_it_is() {
    let scene = start(agrees());
    let reply = scene.ask(
        "POST /app/%41?q=1 HTTP/1.1\r\nhost: shop.example\r\nx-user: root\r\nX_User: root\r\nx-groups: admin\r\n\
         x-forwarded-uri: /evil\r\ncookie: session=1\r\ncontent-type: text/plain\r\naccept-encoding: br\r\ncontent-length: 5\r\n",
        "hello",
    );
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("set-cookie"), Some("session=2"));
    let seen = scene.backend.seen().pop().expect("it came");
    assert_eq!(seen.head.headers_named("x-user").collect::<Vec<_>>(), ["ann"]);
    for gone in ["x_user", "x-groups"] {
        assert_eq!(seen.head.header(gone), None, "{gone}");
    }
    assert_eq!(seen.body, b"hello");
    let asked = scene.service.seen().pop().expect("it was asked");
    assert_eq!((asked.method(), asked.target()), ("GET", "/verify?realm=a"));
    let host = scene.service.address().to_string();
    for (name, value) in [
        ("host", Some(&*host)),
        ("x-forwarded-method", Some("POST")),
        ("x-forwarded-uri", Some("/app/A?q=1")),
        ("x-forwarded-host", Some("shop.example")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("cookie", Some("session=1")),
        ("x-user", None),
        ("content-length", None),
        ("content-type", None),
        ("accept-encoding", None),
    ] {
        assert_eq!(asked.head.header(name), value, "{name}");
    }
    assert_eq!(asked.head.header("x-request-id"), seen.head.header("x-request-id"));
    assert_eq!(asked.head.headers_named("x-forwarded-uri").count(), 1);
    // A route that asks nobody, to the same backend.
    assert_eq!(
        scene.ask("GET / HTTP/1.1\r\nhost: a\r\nx-user: root\r\n", "").status,
        200
    );
    assert_eq!(scene.backend.seen().pop().expect("it came").head.header("x-user"), None);
    scene.service.assert_no_violations();
}

#[test]
fn only_the_fields_that_are_named_go_to_the_service() {
    let scene = start(agrees());
    let told = scene.ask(
        "GET /little/ HTTP/1.1\r\nhost: a\r\ncookie: s=1\r\nauthorization: Bearer x\r\nx-a: 1\r\n",
        "",
    );
    assert_eq!(told.status, 200);
    let asked = scene.service.seen().pop().expect("it was asked");
    assert_eq!(asked.head.header("cookie"), Some("s=1"));
    assert_eq!(
        (asked.head.header("authorization"), asked.head.header("x-a")),
        (None, None)
    );
}

#[test]
fn what_a_service_refuses_with_is_the_clients_answer() {
    let login = Script::reply(302, "<a href=\"/login\">log in</a>")
        .header("location", "https://id.example/login?back=%2Fapp")
        .header("set-cookie", "state=1; Secure")
        .header("set-cookie", "nonce=2")
        .header("content-type", "text/html");
    let scene = start(login);
    let reply = scene.ask("GET /app/ HTTP/1.1\r\nhost: a\r\n", "");
    assert_eq!(
        (reply.status, reply.text()),
        (302, "<a href=\"/login\">log in</a>".into())
    );
    assert_eq!(reply.header("location"), Some("https://id.example/login?back=%2Fapp"));
    assert_eq!(
        reply.head.headers_named("set-cookie").collect::<Vec<_>>(),
        ["state=1; Secure", "nonce=2"]
    );
    assert_eq!(reply.header("x-plimsoll-reason"), None);
    let url = format!("http://{}/app/", scene.plimsoll.address("web"));
    let http2 = curl(&["-i", "--http2-prior-knowledge", &url]).stdout;
    assert!(
        http2.starts_with("HTTP/2 302") && http2.contains("nonce=2") && http2.contains("log in"),
        "{http2}"
    );

    let bearer = Script::chunked(["chunked ", "words"]);
    scene.service.play(bearer);
    assert_eq!(scene.ask("GET /app/ HTTP/1.1\r\nhost: a\r\n", "").status, 200);
    scene
        .service
        .play(Script::reply(401, "who?").header("www-authenticate", "Bearer realm=\"x\""));
    let reply = scene.ask("GET /app/ HTTP/1.1\r\nhost: a\r\n", "");
    assert_eq!((reply.status, reply.text()), (401, "who?".into()));
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"x\""));
    assert_eq!(reply.header("x-plimsoll-reason"), Some("unauthorized"));
    scene.service.play(Script::status(403));
    scene
        .ask("GET /app/ HTTP/1.1\r\nhost: a\r\n", "")
        .assert_reason(403, "denied");
    let requests = scene.backend.requests();
    assert_eq!(requests, 1, "none of those that were refused");
    // A client with a body is not left hanging, and its connection is not read for another request.
    let refused = scene.ask("POST /app/ HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n", "hello");
    assert_eq!(refused.status, 403);
}

#[test]
fn without_a_services_answer_nothing_goes_on() {
    let scene = start(agrees());
    let long = format!(
        "HTTP/1.1 403 No\r\ncontent-length: {}\r\n\r\n{}",
        300 << 10,
        "x".repeat(300 << 10)
    );
    for script in [
        Script::status(500),
        Script::status(503),
        Script::close(),
        Script::reset(),
        Script::garbage(),
        Script::BytesThenClose(b"HTTP/1.1 403 No\r\ncontent-length: 100\r\n\r\nshort".to_vec()),
        Script::Hang,
        Script::reply(403, "zipped").header("content-encoding", "gzip"),
        Script::BytesThenClose(long.into_bytes()),
        Script::BytesThenClose(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(10)),
        Script::BytesThenClose(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n".to_vec()),
    ] {
        scene.service.play(script);
        let reply = scene.ask("GET /app/ HTTP/1.1\r\nhost: a\r\n", "");
        reply.assert_reason(503, "auth_unavailable");
    }
    assert_eq!(scene.backend.requests(), 0);
    let counted = scene
        .plimsoll
        .metrics()
        .sum("plimsoll_failures_total", &[("reason", "auth_unavailable")]);
    assert_eq!(counted.round() as u32, 11);
    scene.service.play(agrees());
    assert_eq!(scene.ask("GET /app/ HTTP/1.1\r\nhost: a\r\n", "").status, 200);
}

#[test]
fn a_service_that_is_down_is_told_at_once_and_found_again() {
    let mut scene = start(agrees());
    scene.service.stop();
    scene
        .ask("GET /app/ HTTP/1.1\r\nhost: a\r\n", "")
        .assert_reason(503, "auth_unavailable");
    scene.service.restart();
    assert_eq!(scene.ask("GET /app/ HTTP/1.1\r\nhost: a\r\n", "").status, 200);
}

#[test]
fn connections_to_the_service_are_used_again_and_one_that_has_ended_costs_nothing() {
    let mut scene = start(agrees());
    let mut wire = scene.plimsoll.connect("web");
    for _ in 0..20 {
        assert_eq!(wire.get("/app/").status, 200);
    }
    assert_eq!((scene.service.requests(), scene.service.connections()), (20, 1));
    scene.service.stop();
    scene.service.restart();
    assert_eq!(wire.get("/app/").status, 200);
    // The service ends each connection just after it has answered on it once.
    let once = b"HTTP/1.1 204 No Content\r\nconnection: keep-alive\r\n\r\n".to_vec();
    scene.service.play(Script::BytesThenClose(once));
    for _ in 0..20 {
        assert_eq!(wire.get("/app/").status, 200);
    }
}

#[test]
fn a_client_that_goes_away_takes_its_question_with_it() {
    let scene = start(Script::Hang);
    let mut wire = scene.plimsoll.connect("web");
    wire.send("GET /app/ HTTP/1.1\r\nhost: a\r\n\r\n");
    scene.service.wait_for_requests(1);
    drop(wire);
    eventually("the question is given up", || {
        (scene.service.open_connections() == 0).then_some(())
    });
    let counted = || {
        let metrics = scene.plimsoll.metrics();
        let count = |reason| metrics.sum("plimsoll_failures_total", &[("reason", reason)]).round() as u32;
        (count("client_closed") == 1).then(|| count("auth_unavailable"))
    };
    assert_eq!(eventually("it is counted", counted), 0);
}

/// A service in Python, which refuses whoever has no cookie.
const PYTHON: &str = r#"
import http.server
class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        known = "session=1" in self.headers.get("cookie", "")
        body = b"" if known else b"no cookie\n"
        self.send_response(200 if known else 401)
        self.send_header("content-length", str(len(body)))
        if known:
            self.send_header("X-User", self.headers["x-forwarded-uri"])
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
print(server.server_port, flush=True)
server.serve_forever()
"#;

struct Python(Child);

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_service_that_others_wrote_is_understood() {
    let spawned = Command::new("python3")
        .args(["-c", PYTHON])
        .stdout(Stdio::piped())
        .spawn();
    let mut python = Python(spawned.expect("python3 is there"));
    let mut line = String::new();
    let stdout = python.0.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("it says its port");
    let port: u16 = line.trim().parse().expect("a port");
    let backend = Backend::named("one", Script::Echo);
    let setup = Plimsoll::config(CONFIG).address("one", backend.address());
    let plimsoll = setup.address("auth", ([127, 0, 0, 1], port).into()).start();
    let url = format!("http://{}/app/x?y", plimsoll.address("web"));
    assert_eq!(curl(&[&url]).stdout, "no cookie\n");
    assert_eq!(
        curl(&["-o", "/dev/null", "-w", "%{http_code}", "-b", "session=1", &url]).stdout,
        "200"
    );
    assert_eq!(
        backend.seen().pop().expect("it came").head.header("x-user"),
        Some("/app/x?y")
    );
}

#[test]
fn explain_asks_nobody_and_says_whom_it_would() {
    let scene = start(agrees());
    let told = scene.plimsoll.admin("/api/v1/explain?url=http://a/app/x").text();
    let url = format!("asks http://{}/verify", scene.service.address());
    assert!(told.contains(&url) && !told.contains("realm=a"), "{told}");
    assert!(told.contains("the service is taken to agree"), "{told}");
    assert_eq!(scene.service.requests(), 0);
}
