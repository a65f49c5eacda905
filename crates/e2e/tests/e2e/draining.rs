//! SIGTERM: what is idle leaves early, what is under way comes to its end, what does not is cut at the deadline.

use std::time::{Duration, Instant};

use e2e::{Backend, PATIENCE, Plimsoll, Script, Wire, eventually};

use crate::front::front;

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// Sends SIGTERM and waits until the listener is closed.
fn begin_drain(plimsoll: &Plimsoll) {
    plimsoll.signal("TERM");
    eventually("the listener is closed", || {
        Wire::try_connect(plimsoll.address("web")).is_err().then_some(())
    });
}

#[test]
fn idle_connections_leave_in_the_first_half_and_the_rest_is_cut_at_the_deadline() {
    let backend = Backend::start(Script::by_path([("/hang", Script::Hang), ("/", Script::Echo)]));
    let mut plimsoll = front()
        .server("drain_timeout = \"3s\"")
        .log("access = \"access.log\"")
        .before(backend.address());
    let mut idle: Vec<_> = (0..30).map(|_| plimsoll.connect("web")).collect();
    for wire in idle.iter_mut().skip(1) {
        assert_eq!(wire.get("/").status, 200);
    }
    let mut hanging = plimsoll.connect("web");
    hanging.send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
    backend.wait_for_requests(30);
    let begun = Instant::now();
    begin_drain(&plimsoll);
    // Each is watched by a thread of its own: looked at one after the other, an early one hides behind a late one.
    let mut left: Vec<_> = std::thread::scope(|scope| {
        let watchers: Vec<_> = idle
            .iter_mut()
            .map(|wire| {
                scope.spawn(move || {
                    wire.assert_closed_within(PATIENCE);
                    begun.elapsed()
                })
            })
            .collect();
        watchers
            .into_iter()
            .map(|watcher| watcher.join().expect("it left"))
            .collect()
    });
    left.sort();
    assert!(
        hanging.is_idle_for(Duration::from_millis(1)),
        "idle ones leave before the deadline"
    );
    let (bytes, _) = hanging.read_to_end();
    assert_eq!(bytes, b"", "cut, with nothing that looks like an answer");
    assert!(begun.elapsed() >= Duration::from_secs(3), "not before the deadline");
    // They left one after the other: not all of them at once, and not at the deadline.
    let (first, last) = (left[0], left[left.len() - 1]);
    assert!(last - first > Duration::from_millis(200), "{left:?}");
    assert_eq!(plimsoll.wait_for_exit(PATIENCE).code(), Some(0));
    let log = plimsoll.scratch().read("access.log");
    assert!(
        log.lines()
            .any(|line| line.contains("\"/hang\"") && line.contains("\"drain_deadline\"")),
        "{log}"
    );
}

#[test]
fn a_request_under_way_is_answered_and_its_connection_closed() {
    let backend = Backend::start(Script::after(Duration::from_millis(400), Script::Echo));
    let mut plimsoll = front().before(backend.address());
    let mut wires: Vec<_> = (0..5).map(|_| plimsoll.connect("web")).collect();
    for wire in &mut wires {
        wire.send(GET);
    }
    backend.wait_for_requests(5);
    begin_drain(&plimsoll);
    for wire in &mut wires {
        let reply = wire.reply();
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
        wire.assert_closed_within(PATIENCE);
    }
    assert_eq!(plimsoll.wait_for_exit(PATIENCE).code(), Some(0));
}

#[test]
fn a_connection_that_is_still_there_is_served_once_more() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .server("drain_timeout = \"20s\"")
        .listener("health_path = \"/ready\"")
        .before(backend.address());
    let mut wires: Vec<_> = (0..20).map(|_| plimsoll.connect("web")).collect();
    for wire in &mut wires {
        assert_eq!(wire.get("/ready").status, 200);
    }
    begin_drain(&plimsoll);
    assert_eq!(plimsoll.admin("/readyz").status, 503);
    // Some were closed by now; most have more than a second left.
    let mut served = 0;
    for (number, wire) in wires.iter_mut().enumerate() {
        let path = if number % 2 == 0 { "/" } else { "/ready" };
        let sent = wire.try_send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        let Ok(reply) = sent.and_then(|()| wire.try_reply_to("GET")) else {
            continue;
        };
        assert_eq!(reply.header("connection"), Some("close"));
        if path == "/" {
            assert_eq!(reply.status, 200);
        } else {
            reply.assert_reason(503, "draining");
        }
        wire.assert_closed_within(PATIENCE);
        served += 1;
    }
    assert!(served > 5, "{served}");
}

#[test]
fn a_download_and_a_websocket_go_on_while_there_is_time() {
    let backend = Backend::start(Script::by_path([
        ("/chat", Script::WebSocket),
        (
            "/",
            Script::Chunked {
                chunks: vec![b"part".to_vec(); 8],
                pause: Duration::from_millis(100),
                trailers: Vec::new(),
            },
        ),
    ]));
    let mut plimsoll = front().server("drain_timeout = \"20s\"").before(backend.address());
    let mut chat = plimsoll.connect("web");
    chat.send("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(chat.reply().status, 101);
    let mut download = plimsoll.connect("web");
    download.send(GET);
    backend.wait_for_requests(2);
    begin_drain(&plimsoll);
    assert_eq!(download.reply().text(), "part".repeat(8));
    chat.send("still here");
    assert_eq!(chat.read_bytes(10), b"still here");
    drop(chat);
    drop(download);
    assert_eq!(plimsoll.wait_for_exit(PATIENCE).code(), Some(0));
}

#[test]
fn sigint_drains_as_well() {
    let backend = Backend::start(Script::Echo);
    let mut plimsoll = front().before(backend.address());
    assert_eq!(plimsoll.get("web", "/").status, 200);
    plimsoll.signal("INT");
    assert_eq!(plimsoll.wait_for_exit(PATIENCE).code(), Some(0));
}
