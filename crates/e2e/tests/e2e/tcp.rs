//! Layer 4: bytes both ways, half-close, resets, timeouts, and backends that cannot be reached.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use e2e::{Backend, PATIENCE, Plimsoll, Script, Setup, eventually, tools};
use serde_json::Value;

use crate::stage::attempts;

/// A listener `db` with these lines, and a pool of these lines behind it.
fn relay(listener: &str, pool: &str) -> Setup {
    Plimsoll::config(&format!(
        r#"
        [server]
        workers = 1
        [log]
        access = "./access.log"
        [listeners.db]
        bind = ["@db@"]
        protocol = "tcp"
        pool = "db"
        {listener}
        [pools.db]
        {pool}
        "#
    ))
}

fn relay_to(backend: SocketAddr, listener: &str) -> Plimsoll {
    relay(
        listener,
        "backends = [{ name = \"one\", address = \"@one@\" }]\nhealth = false",
    )
    .address("one", backend)
    .start()
}

fn failures(plimsoll: &Plimsoll, reason: &str) -> f64 {
    plimsoll.metrics().sum("plimsoll_failures_total", &[("reason", reason)])
}

/// The access log's only line, once it is there.
#[track_caller]
fn logged(plimsoll: &Plimsoll) -> Value {
    let line = eventually("the connection is logged", || {
        let text = plimsoll.scratch().read("access.log");
        text.ends_with('\n').then_some(text)
    });
    serde_json::from_str(line.trim_end()).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[track_caller]
fn assert_ends_with(plimsoll: &Plimsoll, reason: &str) -> Value {
    let line = logged(plimsoll);
    assert_eq!(line["reason"], reason, "{line}");
    assert_eq!(failures(plimsoll, reason), 1.0);
    line
}

#[test]
fn either_side_may_finish_first() {
    let (told, heard) = mpsc::channel();
    let backend = Backend::tcp(move |mut stream| {
        stream.write_all(b"all I have")?;
        stream.shutdown(Shutdown::Write)?;
        let mut rest = String::new();
        stream.read_to_string(&mut rest)?;
        told.send(rest).map_err(|_| ErrorKind::BrokenPipe.into())
    });
    let plimsoll = relay_to(backend.address(), "");
    let mut wire = plimsoll.connect("db");
    let (bytes, end) = wire.read_to_end();
    assert_eq!((bytes.as_slice(), end.is_ok()), (&b"all I have"[..], true));
    // The other direction goes on for as long as the client likes.
    wire.drip("and what I have", Duration::from_millis(5))
        .expect("it is taken");
    wire.half_close();
    assert_eq!(heard.recv_timeout(PATIENCE).as_deref(), Ok("and what I have"));
    let line = logged(&plimsoll);
    assert_eq!(
        (&line["reason"], &line["bytes_in"], &line["bytes_out"]),
        (&Value::Null, &15.into(), &10.into()),
        "{line}"
    );
    // Whoever reads lines finds all fields in all of them, and nobody answers with a status here.
    for field in crate::access_log::FIELDS {
        assert!(line.get(field).is_some(), "{field} of {line}");
    }
    let attempt = &line["attempts"][0];
    assert_eq!((&line["status"], &attempt["status"]), (&Value::Null, &Value::Null));
    assert!(
        attempt.get("status").is_some() && attempt.get("error").is_none(),
        "{line}"
    );
}

#[test]
fn a_connection_without_a_byte_either_way_is_closed() {
    let backend = Backend::tcp_echo();
    let plimsoll = relay_to(backend.address(), "timeouts = { idle = \"400ms\" }");
    let mut wire = plimsoll.connect("db");
    // Bytes keep it open beyond its timeout.
    wire.drip("0123456789", Duration::from_millis(80)).expect("it is open");
    assert_eq!(wire.read_bytes(10), b"0123456789");
    wire.assert_closed_within(PATIENCE);
    eventually("the backend's side is closed, too", || {
        (backend.open_connections() == 0).then_some(())
    });
    assert_ends_with(&plimsoll, "idle_timeout");
}

#[test]
fn a_backend_that_refuses_is_followed_by_the_next_one() {
    let (gone, echo) = (Backend::refusing(), Backend::tcp_echo());
    let plimsoll = relay(
        "",
        r#"policy = "round-robin"
        backends = [{ name = "gone", address = "@gone@" }, { name = "echo", address = "@echo@" }]
        health = false
        outlier = false"#,
    )
    .address("gone", gone.address())
    .address("echo", echo.address())
    .start();
    for _ in 0..10 {
        let mut wire = plimsoll.connect("db");
        wire.send("ping");
        assert_eq!(wire.read_bytes(4), b"ping");
    }
    eventually("both ways are logged", || {
        let log = plimsoll.scratch().read("access.log");
        let lines: Vec<_> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let twice = lines
            .iter()
            .map(attempts)
            .filter(|tried| tried.len() == 2)
            .collect::<Vec<_>>();
        assert!(
            twice
                .iter()
                .all(|tried| tried[0] == ("gone".into(), "connect_failed".into())),
            "{twice:?}"
        );
        (lines.len() == 10 && !twice.is_empty()).then_some(())
    });
    assert_eq!(failures(&plimsoll, "connect_failed"), 0.0);
}

#[test]
fn a_client_whom_no_backend_takes_is_closed_with_a_reason() {
    let (first, second) = (Backend::refusing(), Backend::refusing());
    let plimsoll = relay("", "backends = [\"@first@\", \"@second@\"]\nhealth = false")
        .address("first", first.address())
        .address("second", second.address())
        .start();
    plimsoll.connect("db").assert_closed_within(PATIENCE);
    let line = assert_ends_with(&plimsoll, "connect_failed");
    assert_eq!(attempts(&line).len(), 2, "{line}");
}

#[test]
fn a_backend_that_cannot_be_reached_is_given_up_in_time() {
    let nowhere = Backend::unreachable();
    let plimsoll = relay(
        "",
        "backends = [\"@nowhere@\"]\nhealth = false\ntimeouts = { connect = \"300ms\" }",
    )
    .address("nowhere", nowhere.address())
    .start();
    plimsoll.connect("db").assert_closed_within(PATIENCE);
    assert_ends_with(&plimsoll, "connect_timeout");
}

#[test]
fn a_pool_without_a_healthy_backend_takes_nobody() {
    let gone = Backend::refusing();
    let plimsoll = relay(
        "",
        "backends = [\"@gone@\"]\nhealth = { interval = \"100ms\" }\npanic_threshold = 0",
    )
    .address("gone", gone.address())
    .start();
    plimsoll.wait_for_state("db", &gone.address().to_string(), "unhealthy");
    plimsoll.connect("db").assert_closed_within(PATIENCE);
    assert_ends_with(&plimsoll, "no_healthy_backend");
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once() {
    let echo = Backend::tcp_echo();
    for limit in ["connections", "requests"] {
        let pool = format!("backends = [\"@echo@\"]\nhealth = false\nlimits = {{ {limit} = 2, queue = 0 }}");
        let plimsoll = relay("", &pool).address("echo", echo.address()).start();
        let mut taken: Vec<_> = (0..2).map(|_| plimsoll.connect("db")).collect();
        for wire in &mut taken {
            wire.send("ping");
            assert_eq!(wire.read_bytes(4), b"ping");
        }
        plimsoll.connect("db").assert_closed_within(PATIENCE);
        assert_ends_with(&plimsoll, "pool_full");
        drop(taken);
        eventually("there is room again", || {
            let wire = plimsoll.connect("db");
            let mut bytes = [0; 4];
            wire.socket().write_all(b"ping").ok()?;
            wire.socket().read_exact(&mut bytes).ok()
        });
    }
}

#[test]
fn a_clients_reset_reaches_the_backend_as_one() {
    let (told, heard) = mpsc::channel();
    let backend = Backend::tcp(move |mut stream| {
        let mut bytes = Vec::new();
        let ended = stream.read_to_end(&mut bytes).map_err(|error| error.kind());
        told.send((bytes, ended)).map_err(|_| ErrorKind::BrokenPipe.into())
    });
    let plimsoll = relay_to(backend.address(), "");
    let mut wire = plimsoll.connect("db");
    wire.send("half of it");
    eventually("the bytes are through", || {
        let pool = plimsoll.admin("/api/v1/pools/db").json();
        (pool["backends"][0]["connections"] == 1).then_some(())
    });
    wire.reset();
    let (bytes, ended) = heard.recv_timeout(PATIENCE).expect("the backend's connection ends");
    assert!(b"half of it".starts_with(&bytes), "{bytes:?}");
    assert_eq!(ended, Err(ErrorKind::ConnectionReset));
    assert_ends_with(&plimsoll, "client_closed");
}

#[test]
fn a_backends_reset_reaches_the_client_as_one() {
    let backend = Backend::tcp(|mut stream| {
        stream.write_all(b"half of it")?;
        let _ = stream.read(&mut [0])?;
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))
    });
    let plimsoll = relay_to(backend.address(), "");
    let mut wire = plimsoll.connect("db");
    assert_eq!(wire.read_bytes(10), b"half of it");
    wire.send("!");
    let (_, end) = wire.read_to_end();
    assert!(end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    assert_ends_with(&plimsoll, "backend_reset");
}

#[test]
fn the_last_words_of_a_backend_that_takes_no_more_arrive() {
    let backend = Backend::tcp(|mut stream| {
        let _ = stream.read(&mut [0; 16])?;
        stream.write_all(b"not so much")
    });
    let plimsoll = relay_to(backend.address(), "");
    for _ in 0..20 {
        let wire = plimsoll.connect("db");
        let mut sending: &TcpStream = wire.socket();
        // Until the end of it is noticed, which closing with unread bytes makes a reset.
        sending.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let mut sent = 0usize;
        while sent < 64 << 20 && sending.write(&[b'x'; 16_384]).is_ok_and(|count| count > 0) {
            sent += 16_384;
        }
        let mut words = Vec::new();
        let _ = wire.socket().read_to_end(&mut words);
        assert_eq!(String::from_utf8_lossy(&words), "not so much");
    }
}

#[test]
fn much_goes_both_ways_at_once() {
    const SIZE: usize = 64 << 20;
    let echo = Backend::tcp_echo();
    let plimsoll = relay_to(echo.address(), "");
    let wire = plimsoll.connect("db");
    let pattern: Vec<u8> = (0..1_000_003u32).map(|n| u8::try_from(n % 251).unwrap_or(0)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut socket = wire.socket();
            let mut sent = 0;
            while sent < SIZE {
                let at = sent % pattern.len();
                let count = (pattern.len() - at).min(SIZE - sent);
                socket.write_all(&pattern[at..at + count]).expect("all of it is taken");
                sent += count;
            }
            socket.shutdown(Shutdown::Write).expect("the end is told");
        });
        let mut socket = wire.socket();
        let (mut got, mut bytes) = (0, vec![0; 1 << 16]);
        loop {
            let count = socket.read(&mut bytes).expect("all of it comes back");
            if count == 0 {
                break;
            }
            for byte in &bytes[..count] {
                assert!(*byte == pattern[got % pattern.len()], "at {got}");
                got += 1;
            }
        }
        assert_eq!(got, SIZE);
    });
    let line = logged(&plimsoll);
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&SIZE.into(), &SIZE.into()),
        "{line}"
    );
}

#[test]
fn a_protocol_of_others_passes_through() {
    let http = Backend::start(Script::reply(200, "as it is"));
    let plimsoll = relay_to(http.address(), "");
    let load = tools::wrk(plimsoll.address("db"), "/", 8, Duration::from_secs(1));
    assert!(
        load.requests > 10 && load.socket_errors == 0 && load.bad_statuses == 0,
        "{load:?}"
    );
    let seen = http.seen().remove(0);
    assert_eq!(seen.head.header("x-forwarded-for"), None, "nobody looked inside");
}

#[test]
fn a_server_that_answers_and_resets_is_well() {
    let one = Backend::tcp(|mut stream| {
        stream.read_exact(&mut [0])?;
        stream.write_all(b"bye\n")
        // And closed with what is unread, which the kernel makes a reset of.
    });
    let plimsoll = relay_to(one.address(), "");
    for _ in 0..12 {
        let mut stream = TcpStream::connect(plimsoll.address("db")).expect("it is accepted");
        stream.write_all(b"QUIT\n").expect("it is taken");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer == b"bye\n", "{answer:?}");
    }
    let pool = plimsoll.admin("/api/v1/pools/db").json();
    assert_eq!(pool["backends"][0]["errors"], 0, "{pool}");
}
