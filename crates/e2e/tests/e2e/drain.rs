//! Draining a backend: what it has goes on until the deadline, what is left then is cut and counted, and who waits is told
//! when it can be stopped.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use e2e::frames::{END_STREAM, Frames, kind};
use e2e::{Backend, Output, PATIENCE, Plimsoll, Script, Wire, eventually, run_command, stays};
use serde_json::Value;

use crate::http2_streams::scripted;

const CHAT: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

/// Two backends of the pools `api` (http) and `raw` (tcp); `more` are further lines of `api`.
fn two(server: &str, more: &str) -> ([Backend; 2], Plimsoll) {
    let serve = |name| {
        let scripts = [
            ("/chat", Script::WebSocket),
            ("/hang", Script::Hang),
            ("/", Script::Echo),
        ];
        Backend::named(name, Script::by_path(scripts))
    };
    let backends = [serve("a"), serve("b")];
    let text = text(server, more);
    let plimsoll = Plimsoll::config(&text)
        .address("a", backends[0].address())
        .address("b", backends[1].address())
        .start();
    (backends, plimsoll)
}

fn text(server: &str, more: &str) -> String {
    let members = "[{ name = \"a\", address = \"@a@\" }, { name = \"b\", address = \"@b@\" }]";
    format!(
        "[server]\n{server}\n[listeners.web]\nbind = [\"@web@\"]\npool = \"api\"\n\
         [listeners.raw]\nbind = [\"@raw@\"]\nprotocol = \"tcp\"\npool = \"raw\"\n\
         [pools.api]\npolicy = \"round-robin\"\nhealth = false\nbackends = {members}\n{more}\n\
         [pools.raw]\npolicy = \"round-robin\"\nhealth = false\nbackends = {members}\n"
    )
}

fn backend(plimsoll: &Plimsoll, pool: &str, name: &str) -> Value {
    let pool = plimsoll.admin(&format!("/api/v1/pools/{pool}")).json();
    let mut backends = pool["backends"].as_array().cloned().unwrap_or_default();
    backends.retain(|backend| backend["name"] == name);
    backends.pop().expect("it is there")
}

fn drain(plimsoll: &Plimsoll, arguments: &[&str]) -> Output {
    let admin = plimsoll.address("admin").to_string();
    run_command(plimsoll.scratch(), &[&["drain", "--admin", &admin], arguments].concat())
}

fn counted(plimsoll: &Plimsoll, reason: &str) -> f64 {
    plimsoll.metrics().sum("plimsoll_failures_total", &[("reason", reason)])
}

/// Open WebSockets, half of them on each backend.
fn chats(plimsoll: &Plimsoll, count: usize) -> Vec<Wire> {
    let chat = |_| {
        let mut wire = plimsoll.connect("web");
        wire.send(CHAT);
        assert_eq!(wire.reply().status, 101);
        wire
    };
    (0..count).map(chat).collect()
}

/// Whether what is sent comes back.
fn lives(wire: &mut Wire) -> bool {
    wire.try_send("echo").is_ok() && wire.try_read_bytes(4).is_ok_and(|heard| heard == b"echo")
}

#[test]
fn what_is_left_at_the_deadline_is_cut_and_counted_and_whoever_waits_is_told() {
    let (_backends, plimsoll) = two("workers = 1", "");
    let mut sockets = chats(&plimsoll, 8);
    let mut raw: Vec<Wire> = (0..4).map(|_| plimsoll.connect("raw")).collect();
    for wire in &mut raw {
        assert_eq!(wire.get("/").status, 200);
    }
    let began = Instant::now();
    let (chat, bytes) = thread::scope(|scope| {
        let chat = scope.spawn(|| drain(&plimsoll, &["api/a", "--wait", "--timeout", "2s"]));
        let bytes = scope.spawn(|| drain(&plimsoll, &["raw/a", "--wait", "--timeout", "2s"]));
        eventually("both drain", || {
            let drains = |pool| backend(&plimsoll, pool, "a")["state"] == "draining";
            (drains("api") && drains("raw")).then_some(())
        });
        assert!(sockets.iter_mut().all(lives), "all go on");
        (chat.join().expect("it ends"), bytes.join().expect("it ends"))
    });
    assert!(began.elapsed() >= Duration::from_secs(2), "not before the deadline");
    assert_eq!((chat.code, bytes.code), (Some(0), Some(0)), "{chat:?} {bytes:?}");
    assert!(chat.stderr.contains("left: 4 in flight"), "{}", chat.stderr);
    assert!(
        chat.stdout.contains("4 cut at the deadline; it can be stopped"),
        "{}",
        chat.stdout
    );
    assert!(bytes.stdout.contains("2 cut at the deadline"), "{}", bytes.stdout);
    assert_eq!(
        sockets.iter_mut().filter_map(|wire| lives(wire).then_some(())).count(),
        4
    );
    assert_eq!(counted(&plimsoll, "drain_deadline"), 6.0);
    let drained = backend(&plimsoll, "api", "a");
    assert_eq!(
        (&drained["cut"], &drained["errors"]),
        (&4.into(), &0.into()),
        "{drained:#}"
    );
    assert_eq!(backend(&plimsoll, "api", "b")["cut"], 0);
}

#[test]
fn what_was_not_answered_at_the_deadline_is_sent_elsewhere_where_that_is_safe() {
    let slow = Backend::named("a", Script::Hang);
    let quick = Backend::named("b", Script::Echo);
    let plimsoll = Plimsoll::config(
        "server.workers = 1\nlisteners.web = { bind = [\"@web@\"], pool = \"api\" }\n[pools.api]\nhealth = false\npolicy = \"round-robin\"\n\
         backends = [{ name = \"a\", address = \"@a@\" }, { name = \"b\", address = \"@b@\" }]\n",
    )
    .address("a", slow.address())
    .address("b", quick.address())
    .start();
    let mut asked: Vec<Wire> = (0..4).map(|_| plimsoll.connect("web")).collect();
    for (number, wire) in asked.iter_mut().enumerate() {
        let method = if number < 2 { "GET" } else { "POST" };
        wire.send(format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"));
        // In their turn.
        eventually("it is under way", || {
            (slow.requests() + quick.requests() == number + 1).then_some(())
        });
    }
    let waited = drain(&plimsoll, &["api/a", "--wait", "--timeout", "500ms"]);
    assert_eq!(waited.code, Some(0), "{waited:?}");
    let answered: Vec<bool> = asked
        .iter_mut()
        .map(|wire| wire.try_reply_to("GET").is_ok_and(|reply| reply.status == 200))
        .collect();
    assert_eq!(answered.iter().filter(|answered| **answered).count(), 3, "{answered:?}");
    assert!(answered[0] && answered[1], "both that may be repeated: {answered:?}");
    assert_eq!(
        counted(&plimsoll, "drain_deadline"),
        1.0,
        "the other was with the backend"
    );
    assert_eq!(backend(&plimsoll, "api", "a")["cut"], 1);
}

#[test]
fn connections_to_a_draining_backend_are_not_kept() {
    let (backends, plimsoll) = two("", "");
    let h2 = scripted(&[], |frames, frame| {
        if frame.kind == kind::HEADERS {
            frames.answer(frame.stream, 200, &[], END_STREAM)?;
        }
        Ok(true)
    });
    let over_h2 = Plimsoll::config(
        "listeners.web = { bind = [\"@web@\"], pool = \"api\" }\n[pools.api]\nprotocol = \"h2\"\nhealth = false\n\
         backends = [{ name = \"a\", address = \"@a@\" }]\n",
    )
    .address("a", h2.address())
    .start();
    for (plimsoll, backend) in [(&plimsoll, &backends[0]), (&over_h2, &h2)] {
        for _ in 0..8 {
            assert_eq!(plimsoll.get("web", "/").status, 200);
        }
        assert!(backend.open_connections() > 0, "they are kept for the next ones");
        assert_eq!(drain(plimsoll, &["api/a"]).code, Some(0));
        eventually("they are closed", || (backend.open_connections() == 0).then_some(()));
    }
}

#[test]
fn a_stream_that_goes_on_and_on_is_reset_at_the_deadline_and_its_connection_serves_others() {
    let call = scripted(&[], |frames, frame| {
        if frame.kind == kind::HEADERS {
            // A call that streams: the head, a message, and no end.
            frames.answer(frame.stream, 200, &[("content-type", "application/grpc")], 0)?;
            frames.send(kind::DATA, 0, frame.stream, b"\0\0\0\0\x02hi")?;
        }
        Ok(true)
    });
    let other = Backend::named("b", Script::Echo);
    let plimsoll = Plimsoll::config(
        "server.workers = 1\nlisteners.web = { bind = [\"@web@\"], pool = \"rest\" }\n\
         [[routes]]\nname = \"calls\"\nmatch.path = \"/call\"\npool = \"calls\"\n\
         [pools.calls]\nprotocol = \"h2\"\nhealth = false\nbackends = [{ name = \"a\", address = \"@a@\" }]\n\
         [pools.rest]\nhealth = false\nbackends = [\"@b@\"]\n",
    )
    .address("a", call.address())
    .address("b", other.address())
    .start();
    let mut client = Frames::connect(plimsoll.address("web"));
    client.request(
        1,
        "POST",
        "/call",
        &[("content-type", "application/grpc"), ("te", "trailers")],
        0,
    );
    assert_eq!(client.wait_for(1, kind::DATA).payload, b"\0\0\0\0\x02hi");
    let waited = drain(&plimsoll, &["calls/a", "--wait", "--timeout", "500ms"]);
    assert!(
        waited.code == Some(0) && waited.stdout.contains("1 cut at the deadline"),
        "{waited:?}"
    );
    client.wait_for(1, kind::RST_STREAM);
    client.request(3, "GET", "/", &[], END_STREAM);
    assert_eq!(client.wait_for(3, kind::HEADERS).stream, 3);
    assert_eq!(counted(&plimsoll, "drain_deadline"), 1.0);
    let drained = backend(&plimsoll, "calls", "a");
    assert_eq!(
        (&drained["errors"], &drained["connections"]),
        (&0.into(), &0.into()),
        "{drained:#}"
    );
}

#[test]
fn a_drain_that_is_undone_cuts_nothing() {
    let (_backends, plimsoll) = two("workers = 1", "drain_timeout = \"900ms\"");
    let mut sockets = chats(&plimsoll, 4);
    assert_eq!(drain(&plimsoll, &["api"]).code, Some(0));
    let left = backend(&plimsoll, "api", "a")["drain_left_ms"].as_u64();
    assert!(left.is_some_and(|left| left <= 900), "the pool's own: {left:?}");
    let ready = plimsoll.admin_send("PATCH", "/api/v1/pools/api/backends/a", r#"{"state": "ready"}"#);
    assert_eq!(ready.status, 200);
    eventually("those of the other are cut", || {
        (counted(&plimsoll, "drain_deadline") == 2.0).then_some(())
    });
    stays(Duration::from_millis(500), "the others live", || {
        sockets.iter_mut().filter_map(|wire| lives(wire).then_some(())).count() == 2
    });
}

#[test]
fn a_backend_that_a_reload_takes_away_has_the_same_time() {
    let (_backends, mut plimsoll) = two("workers = 1", "drain_timeout = \"1s\"");
    let mut sockets = chats(&plimsoll, 4);
    let without =
        text("workers = 1", "drain_timeout = \"1s\"").replacen("{ name = \"a\", address = \"@a@\" }, ", "", 1);
    plimsoll.rewrite_config(&without);
    let began = Instant::now();
    let reply = plimsoll.admin_send("POST", "/api/v1/reload", "");
    assert_eq!(reply.status, 200, "{reply:#?}");
    assert!(sockets.iter_mut().all(lives), "they have their time");
    for _ in 0..4 {
        assert_eq!(plimsoll.get("web", "/").json()["backend"], "b");
    }
    eventually("what is left is cut", || {
        (counted(&plimsoll, "drain_deadline") == 2.0).then_some(())
    });
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(
        sockets.iter_mut().filter_map(|wire| lives(wire).then_some(())).count(),
        2
    );
}

#[test]
fn a_node_says_that_it_drains_before_it_does() {
    let (_backends, mut plimsoll) = two("drain_delay = \"1500ms\"\ndrain_timeout = \"3s\"", "");
    let mut kept = plimsoll.connect("web");
    assert_eq!(kept.get("/").status, 200);
    let began = Instant::now();
    plimsoll.signal("TERM");
    eventually("readyz turns", || {
        (plimsoll.admin("/readyz").status == 503).then_some(())
    });
    let mut served = 0;
    while Wire::try_connect(plimsoll.address("web")).is_ok_and(|mut wire| {
        let sent = wire.try_send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        sent.is_ok() && wire.try_reply_to("GET").is_ok_and(|reply| reply.status == 200)
    }) {
        served += 1;
    }
    assert!(
        served > 0 && began.elapsed() >= Duration::from_millis(1_500),
        "{served}"
    );
    assert_eq!(plimsoll.wait_for_exit(PATIENCE).code(), Some(0));
}

/// A client of a stateful application: asks again and again with the cookie that it was given.
struct Session {
    wire: Wire,
    cookie: Option<String>,
    /// Where its state is.
    home: Option<String>,
}

impl Session {
    fn ask(&mut self, plimsoll: std::net::SocketAddr, number: usize) -> Result<String, String> {
        let cookie = self
            .cookie
            .as_ref()
            .map_or(String::new(), |cookie| format!("cookie: {cookie}\r\n"));
        let method = if number.is_multiple_of(2) { "GET" } else { "POST" };
        let head = format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n{cookie}\r\n");
        self.wire.try_send(head).map_err(|error| error.to_string())?;
        let reply = self.wire.try_reply_to(method).map_err(|error| error.to_string())?;
        if reply.status != 200 {
            return Err(format!("{} {}", reply.status, reply.text()));
        }
        if let Some(set) = reply.header("set-cookie") {
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        if reply.header("connection") == Some("close") {
            self.wire = Wire::try_connect(plimsoll).map_err(|error| error.to_string())?;
        }
        Ok(reply.json()["backend"].as_str().unwrap_or_default().to_owned())
    }
}

/// Asks until told to stop: how each of the failures looked, and when sessions moved from where.
fn session(
    web: std::net::SocketAddr,
    (stop, done): (&AtomicBool, &AtomicUsize),
    moves: &Mutex<Vec<(String, Instant)>>,
) -> Vec<String> {
    let (mut failed, mut number) = (Vec::new(), 0);
    let mut session = Session {
        wire: Wire::connect(web),
        cookie: None,
        home: None,
    };
    while !stop.load(SeqCst) {
        number += 1;
        match session.ask(web, number) {
            Ok(home) => {
                if let Some(before) = session.home.replace(home.clone()).filter(|before| *before != home) {
                    moves.lock().expect("nobody panics").push((before, Instant::now()));
                }
                done.fetch_add(1, SeqCst);
            }
            Err(why) => {
                failed.push(why);
                session.wire = Wire::connect(web);
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    failed
}

#[test]
fn a_rolling_deploy_of_a_stateful_application_shows_no_error_and_moves_no_session_early() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let mut backends: Vec<Backend> = ["a", "b", "c"].map(|name| Backend::named(name, Script::Echo)).into();
    let plimsoll = Plimsoll::config(
        "listeners.web = { bind = [\"@web@\"], pool = \"shop\" }\n[pools.shop]\nsticky = { cookie = \"shop\" }\n\
         health = { http = \"/healthz\", interval = \"200ms\" }\n\
         backends = [{ name = \"a\", address = \"@a@\" }, { name = \"b\", address = \"@b@\" }, { name = \"c\", address = \"@c@\" }]\n",
    )
    .address("a", backends[0].address())
    .address("b", backends[1].address())
    .address("c", backends[2].address())
    .start();
    let web = plimsoll.address("web");
    let (stop, done, moves) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::default());
    let mut began: Vec<(String, Instant)> = Vec::new();
    let failed: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..24)
            .map(|_| scope.spawn(|| session(web, (&stop, &done), &moves)))
            .collect();
        eventually("all have begun", || (done.load(SeqCst) > 200).then_some(()));
        for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
            let aim = format!("shop/{name}");
            began.push((name.to_owned(), Instant::now()));
            let waited = drain(&plimsoll, &[&aim, "--wait", "--timeout", "2s"]);
            if waited.code != Some(0) {
                stop.store(true, SeqCst);
                panic!("{waited:?}");
            }
            backends[at].stop();
            backends[at].restart();
            let path = format!("/api/v1/pools/shop/backends/{name}");
            plimsoll.admin_send("PATCH", &path, r#"{"state": "ready"}"#);
            plimsoll.wait_for_state("shop", name, "healthy");
        }
        stop.store(true, SeqCst);
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("it ends"))
            .collect()
    });
    assert_eq!(failed, Vec::<String>::new(), "of {}", done.load(SeqCst));
    let moves = moves.into_inner().expect("nobody panicked");
    assert!(!moves.is_empty(), "sessions of those that were stopped have moved");
    for (from, at) in moves {
        // The last drain of it that had begun by then.
        let drain = began.iter().rfind(|(name, begun)| *name == from && *begun < at);
        let held = drain.map(|(_, begun)| at - *begun);
        assert!(held.is_some_and(|held| held >= TIMEOUT), "from {from} after {held:?}");
    }
    assert_eq!(counted(&plimsoll, "drain_deadline"), 0.0);
}
