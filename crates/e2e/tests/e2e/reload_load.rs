//! Reloads of a living configuration under load: what a change does not concern does not notice.

use std::ops::RangeInclusive;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use e2e::frames::{END_STREAM, Frames, kind};
use e2e::{Backend, Plimsoll, Script, Wire, eventually, scaled, tools};

use crate::scale::memory_of;

/// What memory may gain by the second half of the reloads.
const GROWTH_MAX: u64 = 6 << 20;

/// The configuration after `reloads` of them: each changes a route, a weight, a pool's policy or its limits, and a listener
/// comes and goes.
fn config(reloads: usize) -> String {
    let policy = ["least-connections", "round-robin", "maglev"][reloads % 3];
    let mut text = format!(
        r#"
        server.drain_timeout = "1s"
        [listeners.web]
        bind = ["@web@"]
        [listeners.raw]
        bind = ["@raw@"]
        protocol = "tcp"
        pool = "raw"
        [[routes]]
        name = "sockets"
        match = {{ path = "/chat" }}
        pool = "sockets"
        [[routes]]
        name = "all-{}"
        timeout = "{}s"
        filters = [{{ kind = "headers", response = {{ set = {{ x-reload = "{reloads}" }} }} }}]
        pool = "api"
        [pools.api]
        policy = "{policy}"
        backends = [
          {{ name = "one", address = "@one@", weight = {} }},
          {{ name = "two", address = "@two@", max_requests = {} }},
        ]
        health = {{ interval = "1s" }}
        [pools.sockets]
        policy = "{policy}"
        backends = ["@one@"]
        health = false
        [pools.raw]
        backends = ["@echo@"]
        health = false
        "#,
        reloads % 7,
        20 + reloads % 5,
        1 + reloads % 9,
        1_000 + reloads,
    );
    if reloads % 2 == 1 {
        text.push_str("[listeners.more]\nbind = [\"@more@\"]\npool = \"api\"\n");
    }
    text
}

/// Downloads again and again, slowly, until told to stop; how many ended well, and how each of the others did not.
fn downloads(plimsoll: std::net::SocketAddr, stop: &AtomicBool, well: &AtomicUsize) -> Vec<String> {
    let mut failed = Vec::new();
    while !stop.load(SeqCst) {
        let reply = Wire::try_connect(plimsoll).and_then(|wire| {
            let mut wire = wire.patience(Duration::from_secs(60));
            wire.try_send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")?;
            wire.try_reply_to("GET")
        });
        match reply {
            Ok(reply) if reply.status == 200 && reply.body.len() == 40 * 1_000 => {
                well.fetch_add(1, SeqCst);
            }
            Ok(reply) => failed.push(format!("{} with {} bytes", reply.status, reply.body.len())),
            Err(error) => failed.push(error.to_string()),
        }
    }
    failed
}

/// `h2load` again and again until told to stop.
fn streams(web: std::net::SocketAddr, stop: &AtomicBool) -> Vec<String> {
    let mut failed = Vec::new();
    while !stop.load(SeqCst) {
        let url = format!("http://{web}/");
        let said = tools::run(
            Command::new("h2load").args(["-n2000", "-c4", "-m10", &url]),
            Duration::from_secs(60),
        );
        if !said.stdout.contains(" 0 failed, 0 errored") || !said.stdout.contains(" 0 3xx, 0 4xx, 0 5xx") {
            failed.push(said.stdout);
        }
    }
    failed
}

/// `wrk` again and again until told to stop; how many requests were answered.
fn requests(web: std::net::SocketAddr, stop: &AtomicBool) -> (u64, Vec<String>) {
    let (mut answered, mut failed) = (0, Vec::new());
    while !stop.load(SeqCst) {
        let load = tools::wrk(web, "/", 20, Duration::from_secs(2));
        answered += load.requests;
        if load.socket_errors + load.bad_statuses > 0 {
            failed.push(format!("{load:?}"));
        }
    }
    (answered, failed)
}

/// What has to live through all of it.
struct Held {
    sockets: Vec<Wire>,
    raw: Vec<Wire>,
    /// A stream whose request's body goes on and on.
    stream: Frames,
}

impl Held {
    fn open(plimsoll: &Plimsoll, many: usize) -> Held {
        let socket = |_| {
            let mut wire = plimsoll.connect("web");
            wire.send("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
            assert_eq!(wire.reply().status, 101);
            wire
        };
        let mut stream = Frames::connect(plimsoll.address("web"));
        stream.request(1, "POST", "/", &[("content-length", "5")], 0);
        Held {
            sockets: (0..many).map(socket).collect(),
            raw: (0..many).map(|_| plimsoll.connect("raw")).collect(),
            stream,
        }
    }

    fn speak(&mut self, word: &str) {
        self.sockets
            .iter_mut()
            .chain(&mut self.raw)
            .for_each(|wire| speak(wire, word));
    }

    fn finish(mut self) {
        self.speak("after all");
        let sent = self.stream.send(kind::DATA, END_STREAM, 1, b"whole");
        sent.expect("it is taken");
        let answer = self.stream.wait_for(1, kind::HEADERS);
        assert_eq!(e2e::frames::status(&answer.payload), Some(200));
    }
}

#[track_caller]
fn speak(wire: &mut Wire, word: &str) {
    wire.try_send(word).unwrap_or_else(|error| panic!("{word}: {error}"));
    let heard = wire.try_read_bytes(word.len());
    let is_echo = heard.as_ref().is_ok_and(|heard| heard == word.as_bytes());
    assert!(is_echo, "{word}: {heard:?}");
}

/// Tells the clients to stop, also when the test has failed.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Reloads while clients ask and download.
fn reload_under_load(plimsoll: &mut Plimsoll, held: &mut Held, reloads: RangeInclusive<usize>) {
    let web = plimsoll.address("web");
    let (stop, well, many) = (AtomicBool::new(false), AtomicUsize::new(0), reloads.clone().count());
    std::thread::scope(|scope| {
        let downloading: Vec<_> = (0..4).map(|_| scope.spawn(|| downloads(web, &stop, &well))).collect();
        let streaming = scope.spawn(|| streams(web, &stop));
        let asking = scope.spawn(|| requests(web, &stop));
        let stopping = Stop(&stop);
        for reload in reloads {
            plimsoll.rewrite_config(&config(reload));
            let reply = plimsoll.admin_send("POST", "/api/v1/reload", "");
            assert_eq!(reply.status, 200, "{reply:#?}");
            if reload % 2 == 1 {
                let reply = plimsoll.get("more", "/");
                assert_eq!(reply.header("x-reload"), Some(&*reload.to_string()));
            }
            let at = reload % held.raw.len();
            speak(&mut held.sockets[at], "still here");
            speak(&mut held.raw[at], "still here");
        }
        drop(stopping);
        for downloader in downloading {
            assert_eq!(downloader.join().expect("it ends"), Vec::<String>::new());
        }
        assert_eq!(streaming.join().expect("it ends"), Vec::<String>::new());
        let (answered, failed) = asking.join().expect("it ends");
        assert_eq!(failed, Vec::<String>::new());
        let downloaded = well.load(SeqCst);
        assert!(answered > 0 && downloaded > 0);
        println!("{answered} requests and {downloaded} downloads during {many} reloads");
    });
}

fn reloads_under_load(name: &str, reloads: usize, open: u64) {
    let many = usize::try_from(scaled(name, open, 6)).expect("a small number");
    let slow = Script::Chunked {
        chunks: vec![vec![b'x'; 1_000]; 40],
        pause: Duration::from_millis(50),
        trailers: Vec::new(),
    };
    let serve = || {
        let scripts = [
            ("/chat", Script::WebSocket),
            ("/slow", slow.clone()),
            ("/", Script::Echo),
        ];
        Backend::start(Script::by_path(scripts))
    };
    let (one, two, echo) = (serve(), serve(), Backend::tcp_echo());
    let mut plimsoll = Plimsoll::config(&config(0))
        .address("one", one.address())
        .address("two", two.address())
        .address("echo", echo.address())
        .start();
    let mut held = Held::open(&plimsoll, many);
    held.speak("hello");
    reload_under_load(&mut plimsoll, &mut held, 1..=reloads / 2);
    let early = memory_of(&plimsoll);
    reload_under_load(&mut plimsoll, &mut held, reloads / 2 + 1..=reloads);
    let metrics = plimsoll.metrics();
    assert_eq!(metrics.sum("plimsoll_connections", &[("listener", "raw")]), many as f64);
    held.finish();
    for reason in ["drain_deadline", "backend_reset", "no_backend", "pool_full", "internal"] {
        let failures = metrics.sum("plimsoll_failures_total", &[("reason", reason)]);
        assert_eq!(failures, 0.0, "{reason}");
    }
    let taken = metrics.sum("plimsoll_reloads_total", &[("result", "ok")]);
    assert_eq!(taken, reloads as f64);
    let late = eventually("memory returns", || {
        let late = memory_of(&plimsoll);
        (late <= early + GROWTH_MAX).then_some(late)
    });
    println!(
        "memory: {} KiB after the first half, {} KiB at the end",
        early >> 10,
        late >> 10
    );
}

#[test]
fn a_hundred_reloads_under_load_cut_nothing_and_fail_nothing() {
    reloads_under_load("a hundred reloads", 100, 300);
}

#[test]
#[ignore = "soak: a thousand reloads with thousands of connections open"]
fn a_thousand_reloads_under_load_cut_nothing_and_fail_nothing() {
    reloads_under_load("a thousand reloads", 1_000, 3_000);
}
