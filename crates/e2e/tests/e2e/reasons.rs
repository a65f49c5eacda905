//! Every reason is produced, and is the same word wherever anybody looks: in the reply, the metric, the access log, the
//! span, the decision that `explain` tells, and the book.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use e2e::frames::{Frames, kind};
use e2e::{Authority, Backend, PATIENCE, Plimsoll, Reply, Script, Wire, eventually, run_command, tools};
use serde_json::Value;

use crate::http3;
use crate::traces::{Collector, attribute};

/// Where a reason is seen, besides metric, log, decision and book.
#[derive(Clone, Copy)]
enum Seen {
    /// In the reply, with this status, and in the request's span.
    Reply(u16),
    /// In the request's span: there is nobody to be answered, or no way to.
    Broken,
    /// Nowhere else: it is a connection's.
    Connection,
}

/// How a reason comes about.
struct Row {
    reason: &'static str,
    seen: Seen,
    how: How,
}

enum How {
    /// On the stage; with the reply, where one is read here.
    Here(fn(&Stage) -> Option<Reply>),
    /// By the test of this module that is called so.
    Elsewhere,
    /// Not at all: why.
    Never(&'static str),
}

use How::{Elsewhere, Here, Never};
use Seen::{Broken, Connection, Reply as Replied};

const fn row(reason: &'static str, seen: Seen, how: How) -> Row {
    Row { reason, seen, how }
}

/// All of them. The last one ends the stage.
const TABLE: &[Row] = &[
    row("no_route", Replied(404), Here(|stage| stage.get("/nowhere"))),
    row(
        "bad_request",
        Replied(400),
        Here(|stage| stage.say("GET / HTTP/1.1\r\n\r\n")),
    ),
    row(
        "header_too_large",
        Replied(431),
        Here(|stage| {
            stage.say(&format!(
                "GET / HTTP/1.1\r\nhost: a\r\nx-a: {}\r\n\r\n",
                "a".repeat(70_000)
            ))
        }),
    ),
    row(
        "uri_too_long",
        Replied(414),
        Here(|stage| stage.say(&format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(20_000)))),
    ),
    row(
        "body_too_large",
        Replied(413),
        Here(|stage| stage.say("POST /small HTTP/1.1\r\nhost: a\r\ncontent-length: 9000\r\n\r\n")),
    ),
    row(
        "request_header_timeout",
        Replied(408),
        Here(|stage| stage.say("GET /slow HTTP/1.1\r\nhost")),
    ),
    row(
        "rate_limited",
        Replied(429),
        Here(|stage| {
            assert_eq!(stage.get("/rated").map(|reply| reply.status), Some(200));
            stage.get("/rated")
        }),
    ),
    row("denied", Replied(403), Here(|stage| stage.get("/denied"))),
    row("unauthorized", Replied(401), Here(|stage| stage.get("/staff"))),
    row("no_backend", Replied(503), Here(|stage| stage.get("/weightless"))),
    row(
        "no_healthy_backend",
        Replied(503),
        Here(|stage| {
            stage.plimsoll.wait_for_state("sick", "dead", "unhealthy");
            stage.get("/sick")
        }),
    ),
    row(
        "pool_full",
        Replied(503),
        Here(|stage| stage.after_one_that_hangs("/full")),
    ),
    row(
        "queue_timeout",
        Replied(503),
        Here(|stage| stage.after_one_that_hangs("/queued")),
    ),
    row("connect_failed", Replied(502), Here(|stage| stage.get("/dead"))),
    row("connect_timeout", Replied(504), Here(|stage| stage.get("/far"))),
    row("tls_failed", Replied(502), Here(|stage| stage.get("/untrusted"))),
    row("backend_reset", Replied(502), Here(|stage| stage.get("/api/reset"))),
    row(
        "backend_protocol_error",
        Replied(502),
        Here(|stage| stage.get("/api/garbage")),
    ),
    row(
        "response_timeout",
        Replied(504),
        Here(|stage| stage.get("/silent/hang")),
    ),
    row("request_timeout", Replied(504), Here(|stage| stage.get("/late/hang"))),
    row(
        "request_body_timeout",
        Replied(408),
        Here(|stage| stage.say("POST /api/ HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nx")),
    ),
    row("misdirected", Replied(421), Here(Stage::misdirected)),
    row(
        "concurrency_limited",
        Replied(429),
        Here(|stage| stage.after_one_that_hangs("/crowded/hang")),
    ),
    row("auth_unavailable", Replied(503), Here(|stage| stage.get("/vouched"))),
    row(
        "client_closed",
        Broken,
        Here(|stage| {
            stage.hang("/api/hang").reset();
            None
        }),
    ),
    row(
        "client_tls_failed",
        Connection,
        Here(|stage| {
            let mut wire = stage.plimsoll.connect("secure");
            wire.send("this is no ClientHello\r\n\r\n");
            let _ = wire.read_to_end();
            None
        }),
    ),
    row("http3_abuse", Connection, Elsewhere),
    row(
        "http2_abuse",
        Connection,
        Here(|stage| {
            let mut client = Frames::connect(stage.plimsoll.address("web"));
            for _ in 0..200 {
                // It is cut off somewhere on the way.
                let _ = client.send(kind::SETTINGS, 0, 0, &[]);
            }
            assert_eq!(client.goaway(), Some(11));
            None
        }),
    ),
    row(
        "idle_timeout",
        Connection,
        Here(|stage| {
            let _ = stage.plimsoll.connect("db").read_to_end();
            None
        }),
    ),
    row(
        "backend_unhealthy",
        Connection,
        Here(|stage| {
            let mut held = TcpStream::connect(stage.plimsoll.address("cut")).expect("it listens");
            held.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
            held.write_all(b"ping")
                .and_then(|()| held.read_exact(&mut [0; 4]))
                .expect("it is relayed");
            stage.plimsoll.scratch().write("ill", "");
            assert!(!matches!(held.read(&mut [0]), Ok(1..)), "it is cut");
            None
        }),
    ),
    row(
        "drain_deadline",
        Broken,
        Here(|stage| {
            let mut hung = stage.hang("/leaving/hang");
            let call = "/api/v1/pools/leaving/backends/one";
            let drained = stage
                .plimsoll
                .admin_send("PATCH", call, r#"{ "state": "drain", "timeout": "100ms" }"#);
            assert_eq!(drained.status, 200, "{drained:?}");
            let _ = hung.read_to_end();
            None
        }),
    ),
    row("maintenance", Replied(503), Here(|stage| stage.get("/closed"))),
    row("fault_injected", Replied(503), Here(|stage| stage.get("/faulty"))),
    row("overloaded", Replied(503), Elsewhere),
    row(
        "internal",
        Replied(500),
        Never("it is an error of our own: whoever finds a way to produce it has found a bug"),
    ),
    row(
        "draining",
        Replied(503),
        Here(|stage| {
            let mut wire = stage.plimsoll.connect("web");
            assert_eq!(wire.get("/ready").status, 200);
            stage.plimsoll.signal("TERM");
            eventually("it drains", || {
                (stage.plimsoll.admin("/readyz").status == 503).then_some(())
            });
            Some(wire.get("/ready"))
        }),
    ),
];

const CONFIG: &str = r#"
    [server]
    drain_delay = "60s"
    [log]
    access = "access.log"
    [tracing]
    otlp = "@collector@"
    sample = "0%"
    [listeners.web]
    bind = ["@web@"]
    health_path = "/ready"
    timeouts = { request_header = "300ms", request_body = "300ms" }
    [listeners.secure]
    bind = ["@secure@"]
    tls = { certificates = [@pairs@] }
    [listeners.db]
    bind = ["@db@"]
    protocol = "tcp"
    pool = "db"
    timeouts = { idle = "300ms" }
    [listeners.cut]
    bind = ["@cut@"]
    protocol = "tcp"
    pool = "cut"
    [pools.db]
    backends = ["@tcp@"]
    health = false
    [pools.cut]
    backends = ["@tcp@"]
    on_unhealthy = "close"
    health = { exec = ["./probe"], interval = "100ms", timeout = "100ms", fall = 1, rise = 1 }
"#;

/// A route to a path, what it does to requests, and its pool, of one backend unless that says otherwise.
const ROUTES: &[(&str, &str, &str)] = &[
    ("api", "", ""),
    ("small", r#"filters = [{ kind = "body-limit", size = "1KiB" }]"#, ""),
    ("rated", r#"filters = [{ kind = "rate-limit", rate = "1/h" }]"#, ""),
    ("denied", r#"filters = [{ kind = "deny", cidr = ["127.0.0.0/8"] }]"#, ""),
    ("staff", r#"filters = [{ kind = "basic-auth", file = "users" }]"#, ""),
    (
        "weightless",
        "",
        r#"backends = [{ name = "one", address = "@one@", weight = 0 }]"#,
    ),
    ("full", "", "limits = { requests = 1, queue = 0 }"),
    (
        "queued",
        "",
        r#"limits = { requests = 1, queue = 9, queue_timeout = "100ms" }"#,
    ),
    ("dead", "", r#"backends = ["@dead@"]"#),
    ("far", "", "backends = [\"@far@\"]\ntimeouts = { connect = \"200ms\" }"),
    ("untrusted", "", "tls = {}"),
    ("silent", "", r#"timeouts = { response_header = "200ms" }"#),
    ("late", r#"timeout = "200ms""#, ""),
    (
        "crowded",
        r#"filters = [{ kind = "concurrency-limit", limit = 1 }]"#,
        "",
    ),
    (
        "vouched",
        r#"filters = [{ kind = "forward-auth", url = "http://@dead@/" }]"#,
        "",
    ),
    ("leaving", "", ""),
    ("closed", "maintenance = true", ""),
    (
        "faulty",
        r#"filters = [{ kind = "fault", percent = 100, abort = 503 }]"#,
        "",
    ),
];

fn config(collector: &Collector, authority: &Authority) -> String {
    let pairs = format!("{}, {}", authority.pair("shop"), authority.pair("other"));
    let mut text = CONFIG
        .replace("@collector@", &collector.url())
        .replace("@pairs@", &pairs);
    for (name, route, pool) in ROUTES {
        let backends = if pool.contains("backends") {
            ""
        } else {
            r#"backends = [{ name = "one", address = "@one@" }]"#
        };
        text += &format!(
            "[[routes]]\nname = \"{name}\"\nmatch = {{ path = \"/{name}/*\" }}\npool = \"{name}\"\n\
             retry = {{ attempts = 0 }}\n{route}\n\
             [pools.{name}]\n{backends}\n{pool}\nhealth = false\noutlier = false\n"
        );
    }
    text + "[[routes]]\nname = \"sick\"\nmatch = { path = \"/sick\" }\npool = \"sick\"\n\
            [pools.sick]\nbackends = [{ name = \"dead\", address = \"@dead@\" }]\npanic_threshold = 0\n\
            health = { tcp = true, interval = \"100ms\", timeout = \"100ms\" }\n"
}

struct Stage {
    collector: Collector,
    one: Backend,
    authority: Authority,
    plimsoll: Plimsoll,
}

impl Stage {
    fn get(&self, path: &str) -> Option<Reply> {
        Some(self.plimsoll.get("web", path))
    }

    fn say(&self, head: &str) -> Option<Reply> {
        Some(self.plimsoll.exchange("web", head))
    }

    /// A request to a path on which the backend never answers, once it is there.
    fn hang(&self, path: &str) -> Wire {
        let before = self.one.requests();
        let mut wire = self.plimsoll.connect("web");
        wire.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        self.one.wait_for_requests(before + 1);
        wire
    }

    fn after_one_that_hangs(&self, path: &str) -> Option<Reply> {
        let _hung = self.hang(&format!("{}/hang", path.trim_end_matches("/hang")));
        self.get(path)
    }

    fn misdirected(&self) -> Option<Reply> {
        let (port, ca) = (self.plimsoll.address("secure").port(), self.authority.named("ca.pem"));
        let to = format!("shop.test:{port}:127.0.0.1");
        let url = format!("https://shop.test:{port}/api/");
        let arguments = [
            "--http1.1",
            "-i",
            "--cacert",
            &ca,
            "--resolve",
            &to,
            "-H",
            "host: other.test",
            &url,
        ];
        let output = tools::curl(&arguments);
        Some(Reply::read(&mut output.stdout.as_bytes(), "GET").expect("a reply"))
    }
}

/// Panics unless the reason is found wherever it belongs.
#[track_caller]
fn assert_alike(plimsoll: &Plimsoll, collector: Option<&Collector>, row: &Row, reply: Option<&Reply>) {
    let Row { reason, seen, .. } = row;
    if let Replied(status) = seen {
        let reply = reply.unwrap_or_else(|| panic!("{reason}: no reply"));
        reply.assert_reason(*status, reason);
    }
    eventually(&format!("{reason} is counted"), || {
        let count = plimsoll.metrics().sum("plimsoll_failures_total", &[("reason", reason)]);
        (count >= 1.0).then_some(())
    });
    let line = eventually(&format!("{reason} is logged"), || {
        let log = plimsoll.scratch().read("access.log");
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().find(|line| line["reason"] == *reason)
    });
    assert_eq!(
        matches!(seen, Connection),
        line["method"].is_null() && line["trace_id"].is_null() && line["status"].is_null(),
        "{line}"
    );
    let admin = plimsoll.address("admin").to_string();
    let told = eventually(&format!("{reason} is explained"), || {
        let told = run_command(plimsoll.scratch(), &["explain", "--reason", reason, "--admin", &admin]);
        (told.code == Some(0)).then_some(told.stdout)
    });
    assert!(told.contains(reason), "{told}");
    let kept = plimsoll.admin(&format!("/api/v1/decisions?reason={reason}")).text();
    assert!(
        kept.contains(&format!("\"reason\":\"{reason}\"")),
        "the dashboard lists it: {kept}"
    );
    if let (Some(collector), Replied(_) | Broken) = (collector, seen) {
        let span = eventually(&format!("the span of {reason} is told"), || {
            let spans = collector.spans();
            spans
                .into_iter()
                .find(|span| attribute(span, "plimsoll.reason") == *reason)
        });
        assert_eq!(attribute(&span, "error.type"), *reason, "{span:#}");
    }
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/why-503.md");
    let book = fs::read_to_string(book).expect("the book has the page");
    assert!(
        book.contains(&format!("`{reason}`")),
        "docs/why-503.md does not know {reason}"
    );
}

#[test]
fn every_reason_is_produced_and_is_the_same_word_everywhere() {
    let collector = Collector::start();
    let authority = crate::tls::shop();
    authority.issue("other", &["other.test"]);
    let hang = |path: &str| (path.to_owned(), Script::Hang);
    let mut scripts: Vec<_> = ["/api", "/silent", "/late", "/crowded", "/leaving", "/full", "/queued"]
        .iter()
        .map(|path| hang(&format!("{path}/hang")))
        .collect();
    scripts.push(("/api/reset".to_owned(), Script::reset()));
    scripts.push(("/api/garbage".to_owned(), Script::garbage()));
    scripts.push(("/".to_owned(), Script::Echo));
    let (one, tcp) = (Backend::start(Script::ByPath(scripts)), Backend::tcp_echo());
    let far = Backend::unreachable();
    let plimsoll = Plimsoll::config(&config(&collector, &authority))
        .file(
            "users",
            "ann:$2y$05$abcdefghijklmnopqrstuuPwwN8cM0rtxzRZ9WzDqJkZQY7cwcBpW\n",
        )
        .program("probe", "#!/bin/sh\n[ ! -e \"${0%/*}/ill\" ]\n")
        .address("one", one.address())
        .address("tcp", tcp.address())
        .address("far", far.address())
        .start();
    let stage = Stage {
        collector,
        one,
        authority,
        plimsoll,
    };
    let metrics = stage.plimsoll.metrics();
    let known: BTreeSet<String> = (metrics.text().lines())
        .filter_map(|line| {
            line.strip_prefix("plimsoll_failures_total{reason=\"")?
                .split('"')
                .next()
        })
        // A retry that was not made is counted beside the reason for which it would have been.
        .filter(|reason| *reason != "retry_budget_spent")
        .map(str::to_owned)
        .collect();
    let rows: BTreeSet<String> = TABLE.iter().map(|row| row.reason.to_owned()).collect();
    assert_eq!(known, rows, "each reason has a row");
    for row in TABLE {
        match &row.how {
            Here(produce) => {
                let reply = produce(&stage);
                assert_alike(&stage.plimsoll, Some(&stage.collector), row, reply.as_ref());
            }
            Elsewhere => {}
            Never(why) => {
                let count = metrics.sum("plimsoll_failures_total", &[("reason", row.reason)]);
                assert_eq!(count, 0.0, "{}: {why}", row.reason);
            }
        }
    }
}

#[track_caller]
fn named(reason: &str) -> &'static Row {
    TABLE.iter().find(|row| row.reason == reason).expect("it has a row")
}

#[test]
fn overloaded_is_the_same_word_everywhere() {
    let (collector, backend) = (Collector::start(), Backend::start(Script::Echo));
    let text = format!(
        "server.max_connections = 3\nlog.access = \"access.log\"\ntracing = {{ otlp = \"{}\" }}\n\
         listeners.web = {{ bind = [\"@web@\"], pool = \"api\" }}\n\
         pools.api = {{ backends = [\"@one@\"], health = false }}\n",
        collector.url()
    );
    let plimsoll = Plimsoll::config(&text).address("one", backend.address()).start();
    let mut held: Vec<Wire> = (0..3).map(|_| plimsoll.connect("web")).collect();
    held.iter_mut().for_each(|wire| assert_eq!(wire.get("/").status, 200));
    let reply = plimsoll.get("web", "/one-more");
    assert_alike(&plimsoll, Some(&collector), named("overloaded"), Some(&reply));
}

#[test]
fn http3_abuse_is_the_same_word_everywhere() {
    let (authority, backend) = (http3::authority(), Backend::start(Script::Echo));
    let plimsoll = http3::speaking(&authority, "").before(backend.address());
    http3::play(&plimsoll, &authority, &["broken"]);
    assert_alike(&plimsoll, None, named("http3_abuse"), None);
}
