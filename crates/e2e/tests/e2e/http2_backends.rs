//! Connections to backends that speak HTTP/2: how many there are, how they end, and what a hostile backend gets.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use e2e::frames::{self, END_HEADERS, END_STREAM, Frames, kind};
use e2e::{Backend, Foreign, PATIENCE, Plimsoll, Script, eventually, tools};

use crate::front::{front, memory_kib, one, wait_for_failures};
use crate::http2_streams::{counter, curl, h2, scripted};

/// A backend that answers nothing.
fn silent(settings: &'static [(u16, u32)]) -> Backend {
    scripted(settings, |_, _| Ok(true))
}

fn ask(plimsoll: &Plimsoll, requests: u32) -> Frames {
    let mut client = Frames::connect(plimsoll.address("web"));
    for number in 0..requests {
        client.request(number * 2 + 1, "GET", "/", &[], END_STREAM);
    }
    client
}

#[test]
fn another_connection_is_made_when_all_are_full() {
    const STREAMS: &[(u16, u32)] = &[(3, 2)];
    let backend = silent(STREAMS);
    let plimsoll = h2().server("workers = 1").before(backend.address());
    let _client = ask(&plimsoll, 6);
    eventually("three connections with two streams each", || {
        (backend.connections() == 3).then_some(())
    });
    assert_eq!(one(&plimsoll)["connections"], 3);
}

#[test]
fn requests_stand_in_line_when_there_may_be_no_more_connections() {
    const STREAMS: &[(u16, u32)] = &[(3, 1)];
    let (count, seen) = counter();
    let backend = scripted(STREAMS, move |frames, frame| {
        if frame.kind == kind::HEADERS {
            count.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
            frames.answer(frame.stream, 200, &[], END_STREAM)?;
        }
        Ok(true)
    });
    let plimsoll = h2()
        .server("workers = 2")
        .pool("protocol = \"h2\"\nlimits = { connections = 1 }")
        .before(backend.address());
    let mut clients: Vec<_> = (0..4).map(|_| ask(&plimsoll, 5)).collect();
    for client in &mut clients {
        let mut answers = 0;
        while answers < 5 {
            let frame = client.read().expect("all are answered");
            if frame.kind == kind::HEADERS {
                assert_eq!(frames::status(&frame.payload), Some(200), "{:?}", plimsoll.metrics());
                answers += 1;
            }
        }
    }
    assert_eq!(seen.load(Ordering::Relaxed), 20);
}

#[test]
fn an_idle_connection_is_closed_in_its_time() {
    let backend = Foreign::nghttpd(&[("small", b"hello")], &[]);
    let plimsoll = h2()
        .pool("protocol = \"h2\"\ntimeouts = { idle = \"300ms\" }")
        .before(backend.address());
    curl(&plimsoll, &[]);
    let connections = || one(&plimsoll)["connections"].clone();
    eventually("it is closed", || (connections() == 0).then_some(()));
    assert!(curl(&plimsoll, &[]).starts_with("HTTP/1.1 404"));
}

#[test]
fn a_slow_backend_slows_the_client_down() {
    // Windows as they are at first, and no updates.
    let backend = silent(&[]);
    let plimsoll = h2().before(backend.address());
    let mut client = Frames::connect(plimsoll.address("web"));
    client.wait_for(0, kind::SETTINGS);
    client.send(kind::SETTINGS, 1, 0, &[]).expect("an answer is taken");
    client.request(1, "PUT", "/", &[], 0);
    let (mut sent, mut windows) = (0u64, [262_144i64, 65_535]);
    client
        .wire
        .socket()
        .set_read_timeout(Some(Duration::from_millis(700)))
        .expect("it can be set");
    loop {
        while windows.iter().all(|window| *window >= 16_384) {
            client.send(kind::DATA, 0, 1, &[b'x'; 16_384]).expect("it is taken");
            windows = windows.map(|window| window - 16_384);
            sent += 16_384;
        }
        let Ok(frame) = client.read() else { break };
        assert_ne!(frame.kind, kind::RST_STREAM, "{frame:?}");
        if frame.kind == kind::WINDOW_UPDATE {
            let more = u32::from_be_bytes(frame.payload[..4].try_into().expect("four bytes"));
            windows[usize::from(frame.stream == 0)] += i64::from(more);
        }
    }
    println!("{sent} bytes were taken");
    assert!(sent < 1 << 20, "{sent}");
}

#[test]
fn a_backend_that_speaks_no_http_2_is_told_apart() {
    let backend = Backend::tcp(|mut stream| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")?;
        std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
    });
    let plimsoll = h2().before(backend.address());
    let answer = curl(&plimsoll, &[]);
    assert!(
        answer.starts_with("HTTP/1.1 502") && answer.contains("backend_protocol_error"),
        "{answer}"
    );
    let backend = Backend::start(Script::Echo);
    let plimsoll = h2().before(backend.address());
    let answer = curl(&plimsoll, &[]);
    assert!(answer.contains("backend_reset"), "it closes: {answer}");
    // And one that says nothing at all.
    let backend = Backend::tcp(|mut stream| std::io::copy(&mut stream, &mut std::io::sink()).map(drop));
    let plimsoll = h2()
        .pool("protocol = \"h2\"\ntimeouts = { connect = \"300ms\" }")
        .before(backend.address());
    let answer = curl(&plimsoll, &[]);
    assert!(
        answer.starts_with("HTTP/1.1 504") && answer.contains("connect_timeout"),
        "{answer}"
    );
    let mut backend = Backend::refusing();
    let plimsoll = h2().before(backend.address());
    let answer = curl(&plimsoll, &[]);
    assert!(answer.contains("connect_failed"), "{answer}");
    backend.stop();
}

#[test]
fn answers_that_break_the_rules_are_the_backends_error() {
    let answers: [&[(&str, &str)]; 4] = [
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "200"), ("content-length", "5"), ("content-length", "5")],
        &[(":status", "200"), ("transfer_encoding", "chunked")],
        &[(":status", "101")],
    ];
    for answer in answers {
        let backend = scripted(&[], move |frames, frame| {
            if frame.kind == kind::HEADERS {
                let head = frames::head(answer);
                frames.send(kind::HEADERS, END_HEADERS, frame.stream, &head)?;
            }
            Ok(true)
        });
        let plimsoll = h2().before(backend.address());
        let told = curl(&plimsoll, &[]);
        assert!(told.contains("backend_protocol_error"), "{answer:?}: {told}");
    }
}

#[test]
fn floods_of_a_backend_end_its_connection_and_hold_nothing() {
    type Flood = fn(u32) -> Vec<u8>;
    let floods: [(&str, Flood); 5] = [
        ("pings", |_| frames::encode(kind::PING, 0, 0, &[0; 8])),
        ("settings", |_| frames::encode(kind::SETTINGS, 0, 0, &[])),
        ("window updates", |_| {
            frames::encode(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])
        }),
        ("pushes", |number| {
            let fields = [
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "a"),
                (":path", "/"),
            ];
            let promised = (number * 2 + 2).to_be_bytes().to_vec();
            let payload = [promised, frames::head(&fields)].concat();
            frames::encode(kind::PUSH_PROMISE, END_HEADERS, 1, &payload)
        }),
        ("interim answers", |_| {
            frames::encode(kind::HEADERS, END_HEADERS, 1, &frames::head(&[(":status", "103")]))
        }),
    ];
    for (what, next) in floods {
        let backend = scripted(&[], move |frames, frame| {
            if frame.kind == kind::HEADERS {
                for number in 0..2_000_000 {
                    frames.wire.try_send(next(number))?;
                }
            }
            Ok(true)
        });
        let plimsoll = h2().before(backend.address());
        let before = memory_kib(&plimsoll, "VmRSS");
        let told = curl(&plimsoll, &[]);
        assert!(told.contains("backend_protocol_error"), "{what}: {told}");
        let grown = memory_kib(&plimsoll, "VmHWM").saturating_sub(before);
        println!("{what} made it grow by {grown} KiB");
        assert!(grown < 16 << 10, "{what}: {grown} KiB");
    }
}

#[test]
fn heads_and_trailers_of_answers_are_bounded() {
    let backend = scripted(&[], |frames, frame| {
        if frame.kind == kind::HEADERS {
            // 1,000 fields of 120 bytes: a head in several frames.
            let value = "x".repeat(110);
            let fields: Vec<_> = std::iter::once((":status", "200"))
                .chain((0..1_000).map(|_| ("x-long", &*value)))
                .collect();
            let block = frames::head(&fields);
            let mut parts = block.chunks(16_384).peekable();
            let mut sort = kind::HEADERS;
            while let Some(part) = parts.next() {
                let flags = if parts.peek().is_none() { END_HEADERS } else { 0 };
                frames.send(sort, flags, frame.stream, part)?;
                sort = kind::CONTINUATION;
            }
        }
        Ok(true)
    });
    let plimsoll = h2().before(backend.address());
    let told = curl(&plimsoll, &[]);
    assert!(told.contains("backend_protocol_error"), "{told}");
    let backend = scripted(&[], |frames, frame| {
        if frame.kind == kind::HEADERS {
            frames.answer(frame.stream, 200, &[], 0)?;
            let fields: Vec<_> = (0..100).map(|_| ("x-trailer", "1")).collect();
            let block = frames::head(&fields);
            frames.send(kind::HEADERS, END_HEADERS | END_STREAM, frame.stream, &block)?;
        }
        Ok(true)
    });
    let plimsoll = h2().before(backend.address());
    curl(&plimsoll, &[]);
    wait_for_failures(&plimsoll, "backend_protocol_error", 1);
}

#[test]
fn streams_are_balanced_one_by_one() {
    let backends: Vec<_> = (0..3).map(|_| Foreign::nghttpd(&[("small", b"hello")], &[])).collect();
    let plimsoll = Plimsoll::config(
        "listeners.web = { bind = [\"@web@\"], pool = \"api\" }\n\
         pools.api = { backends = [\"@one@\", \"@two@\", \"@three@\"], policy = \"round-robin\", protocol = \"h2\" }",
    )
    .address("one", backends[0].address())
    .address("two", backends[1].address())
    .address("three", backends[2].address())
    .start();
    let url = format!("http://{}/small", plimsoll.address("web"));
    let said = tools::run(
        std::process::Command::new("h2load").args(["-n900", "-c1", "-m10", &url]),
        Duration::from_secs(60),
    );
    assert!(said.stdout.contains("900 succeeded, 0 failed"), "{}", said.stdout);
    for backend in &backends {
        let address = backend.address().to_string();
        let sent = plimsoll
            .metrics()
            .sum("plimsoll_requests_total", &[("backend", &address)]);
        assert_eq!(sent, 300.0, "{address}");
    }
}

#[test]
fn explain_says_which_version_a_backend_is_spoken_to_in() {
    let plimsoll = h2().before(Backend::refusing().address());
    let config = plimsoll.config_file().display().to_string();
    let url = format!("http://{}/", plimsoll.address("web"));
    let told = e2e::run_command(plimsoll.scratch(), &["explain", "-c", &config, &url]);
    assert!(told.stdout.contains("HTTP/2"), "{}", told.stdout);
}

/// What a peer that is gone without a word is noticed by.
#[test]
#[ignore = "soak: a backend may be silent for 30 s before it is pinged"]
fn a_backend_that_is_gone_without_a_word_is_noticed() {
    let backend = Backend::tcp(|stream| {
        let mut frames = Frames::accept(stream, &[])?;
        frames.wait_for(1, kind::HEADERS);
        // From here on it reads nothing and says nothing.
        std::thread::sleep(Duration::from_secs(90));
        frames.wire.socket().flush()
    });
    let plimsoll = front()
        .pool("protocol = \"h2\"\ntimeouts = { response_header = \"80s\", idle = \"55s\" }")
        .before(backend.address());
    let started = std::time::Instant::now();
    let url = format!("http://{}/", plimsoll.address("web"));
    let output = tools::run(
        std::process::Command::new("curl").args(["-si", "--max-time", "75", &url]),
        PATIENCE + Duration::from_secs(75),
    );
    assert!(output.stdout.contains("backend_reset"), "{output:?}");
    assert!(started.elapsed() > Duration::from_secs(35), "{:?}", started.elapsed());
}

#[test]
fn a_check_is_asked_in_the_version_that_the_backend_is_spoken_to_in() {
    let (well, ill) = (
        Foreign::nghttpd(&[("healthz", b"fine")], &[]),
        Foreign::nghttpd(&[], &[]),
    );
    let plimsoll = Plimsoll::config(
        "listeners.web = { bind = [\"@web@\"], pool = \"api\" }\n\
         [pools.api]\nbackends = [{ name = \"ill\", address = \"@ill@\" }, { name = \"well\", address = \"@well@\" }]\n\
         protocol = \"h2\"\nhealth = { http = \"/healthz\", interval = \"100ms\", fall = 1, rise = 1 }",
    )
    .address("well", well.address())
    .address("ill", ill.address())
    .start();
    plimsoll.wait_for_state("api", "well", "healthy");
    plimsoll.wait_for_state("api", "ill", "unhealthy");
    assert_eq!(one(&plimsoll)["cause"], "checks fail: status 404");
}
