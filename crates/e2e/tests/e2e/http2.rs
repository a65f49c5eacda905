//! HTTP/2 from clients, by prior knowledge: requests, bodies, trailers, cancellation and ends, over clients that we did
//! not write and over single frames.

use std::process::Command;
use std::time::Duration;

use e2e::frames::{self, END_STREAM, Frames, kind};
use e2e::{Backend, PATIENCE, Script, eventually, tools};

use crate::front::{front, memory_kib, wait_for_failures};

fn curl(url: &str, more: &[&str]) -> String {
    let mut arguments = vec!["--http2-prior-knowledge"];
    arguments.extend(more);
    arguments.push(url);
    let output = tools::curl(&arguments);
    assert_eq!(output.code, Some(0), "{output:?}");
    output.stdout
}

/// A backend that answers with the length of the body that it got.
fn measuring() -> Script {
    Script::custom(|exchange| {
        let length = exchange.request.body.len().to_string();
        exchange.reply(200, &[], length.as_bytes()).map(|()| true)
    })
}

#[test]
fn a_request_is_forwarded_and_answered() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().log("access = \"access.log\"").before(backend.address());
    let url = format!("http://{}/a/../b?c=d", plimsoll.address("web"));
    let echo = curl(
        &url,
        &["--path-as-is", "-b", "one=1", "-H", "x-forwarded-for: 192.0.2.1"],
    );
    let echo: serde_json::Value = serde_json::from_str(&echo).expect("JSON");
    assert_eq!((&echo["method"], &echo["target"]), (&"GET".into(), &"/b?c=d".into()));
    let field = |name: &str| {
        let fields = echo["headers"].as_array().expect("fields");
        let found = fields.iter().find(|field| field[0] == name);
        found.map(|field| field[1].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(field("host"), Some(plimsoll.address("web").to_string()));
    assert_eq!(field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(field("cookie").as_deref(), Some("one=1"));
    assert!(field("x-request-id").is_some_and(|id| id.len() == 32));
    let head = curl(&url, &["--head", "-w", "%{http_version}"]);
    assert!(
        head.starts_with("HTTP/2 200") && head.ends_with('2') && !head.contains("connection"),
        "{head}"
    );
    let line = eventually("both are logged", || {
        let log = plimsoll.scratch().read("access.log");
        log.lines().nth(1).map(str::to_owned)
    });
    assert!(line.contains("\"protocol\":\"HTTP/2\""), "{line}");
}

#[test]
fn what_we_answer_ourselves_is_answered_here_too() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .route("match = { path = \"/known\" }")
        .listener("health_path = \"/ready\"")
        .before(backend.address());
    let base = format!("http://{}", plimsoll.address("web"));
    let unknown = curl(&format!("{base}/unknown"), &["-i"]);
    assert!(
        unknown.starts_with("HTTP/2 404") && unknown.contains("x-plimsoll-reason: no_route"),
        "{unknown}"
    );
    assert_eq!(curl(&format!("{base}/ready"), &[]), "ready\n");
    let bad = curl(&format!("{base}/%00"), &["-o", "/dev/null", "-w", "%{http_code}"]);
    assert_eq!(bad, "400");
    backend.play(Script::reset());
    let lost = curl(&format!("{base}/known"), &["-X", "POST", "-i"]);
    assert!(
        lost.starts_with("HTTP/2 502") && lost.contains("backend_reset"),
        "{lost}"
    );
}

#[test]
fn bodies_of_any_length_go_up() {
    let backend = Backend::start(measuring());
    let plimsoll = front().before(backend.address());
    let url = format!("http://{}/up", plimsoll.address("web"));
    for size in [0, 1, 65_535, 3_000_000] {
        plimsoll.scratch().write("body", vec![b'x'; size]);
        let file = plimsoll.scratch().path().join("body").display().to_string();
        assert_eq!(
            curl(&url, &["--data-binary", &format!("@{file}")]),
            size.to_string(),
            "with a length"
        );
        let output = tools::run(
            Command::new("sh").args([
                "-c",
                &format!("cat {file} | curl -s --http2-prior-knowledge -T - {url}"),
            ]),
            Duration::from_secs(30),
        );
        assert_eq!(output.stdout, size.to_string(), "without a length");
    }
    backend.assert_no_violations();
}

#[test]
fn trailers_come_through_both_ways() {
    let backend = Backend::start(Script::Chunked {
        chunks: vec![b"abc".to_vec(), b"def".to_vec()],
        pause: Duration::from_millis(20),
        trailers: vec![("x-sum".into(), "6".into())],
    });
    let plimsoll = front().before(backend.address());
    plimsoll.scratch().write("body", "up");
    let url = format!("http://{}/", plimsoll.address("web"));
    let file = plimsoll.scratch().path().join("body").display().to_string();
    let output = tools::run(
        Command::new("nghttp").args([
            "-v",
            "-d",
            &file,
            "--no-content-length",
            "--trailer",
            "x-up: 2",
            "-H",
            "te: trailers",
            &url,
        ]),
        PATIENCE,
    );
    assert!(
        ["abc", "def", "x-sum: 6"]
            .iter()
            .all(|part| output.stdout.contains(part)),
        "{}",
        output.stdout
    );
    let seen = backend.seen();
    assert_eq!(seen[0].body, b"up");
    assert_eq!(seen[0].trailers, [("x-up".to_owned(), "2".to_owned())]);
}

#[test]
fn streams_of_one_connection_are_balanced_one_by_one() {
    let (one, two) = (Backend::start(Script::Echo), Backend::start(Script::Echo));
    let plimsoll = e2e::Plimsoll::config(
        "listeners.web = { bind = [\"@web@\"], pool = \"api\" }\n\
         pools.api = { backends = [\"@one@\", \"@two@\"], policy = \"round-robin\" }",
    )
    .address("one", one.address())
    .address("two", two.address())
    .start();
    let output = tools::run(
        Command::new("h2load").args(["-n2000", "-c5", "-m10", &format!("http://{}/", plimsoll.address("web"))]),
        Duration::from_secs(60),
    );
    assert!(
        output.stdout.contains("2000 succeeded, 0 failed, 0 errored"),
        "{}",
        output.stdout
    );
    let (one, two) = (one.requests_to("/"), two.requests_to("/"));
    assert!(one.abs_diff(two) < 200, "{one} and {two}");
}

#[test]
fn a_stream_that_is_reset_cancels_its_request_and_no_other() {
    let backend = Backend::start(Script::by_path([
        ("/hang", Script::Hang),
        ("/", Script::after(Duration::from_millis(500), Script::Echo)),
    ]));
    let plimsoll = front().before(backend.address());
    let mut client = Frames::connect(plimsoll.address("web"));
    client.request(1, "GET", "/hang", &[], END_STREAM);
    client.request(3, "GET", "/", &[], END_STREAM);
    backend.wait_for_requests(2);
    client
        .send(kind::RST_STREAM, 0, 1, &8u32.to_be_bytes())
        .expect("it is taken");
    eventually("the backend's connection is closed", || {
        (backend.open_connections() == 1).then_some(())
    });
    wait_for_failures(&plimsoll, "client_closed", 1);
    assert_eq!(frames::status(&client.wait_for(3, kind::HEADERS).payload), Some(200));
}

#[test]
fn a_client_that_does_not_read_holds_no_more_than_its_buffers() {
    let backend = Backend::start(Script::reply(200, vec![b'x'; 32 << 20]));
    let plimsoll = front().before(backend.address());
    let before = memory_kib(&plimsoll, "VmRSS");
    // Windows wide open, and nothing is read: what is held is bounded by us.
    let mut client = Frames::with_settings(plimsoll.address("web"), &[(4, 0x7fff_ffff)]);
    client
        .send(kind::WINDOW_UPDATE, 0, 0, &0x7000_0000u32.to_be_bytes())
        .expect("it is taken");
    for stream in 0..20 {
        client.request(stream * 2 + 1, "GET", "/", &[], END_STREAM);
    }
    backend.wait_for_requests(20);
    std::thread::sleep(Duration::from_secs(1));
    let grown = memory_kib(&plimsoll, "VmHWM").saturating_sub(before);
    println!("20 streams of 32 MiB made it grow by {grown} KiB");
    assert!(grown < 20 * 1024, "{grown} KiB");
}

#[test]
fn a_slow_backend_slows_the_client_down() {
    // It reads the head alone.
    let backend = Backend::tcp(|mut stream| {
        std::io::Read::read(&mut stream, &mut [0; 4096])?;
        std::thread::sleep(Duration::from_secs(5));
        Ok(())
    });
    let plimsoll = front().before(backend.address());
    let mut client = Frames::connect(plimsoll.address("web"));
    client.wait_for(0, kind::SETTINGS);
    client.send(kind::SETTINGS, 1, 0, &[]).expect("an answer is taken");
    client.request(1, "PUT", "/", &[], 0);
    // The windows that we are given, of the stream and of the connection: what goes beyond is a fault (RFC 9113 §6.9.1).
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
    assert!(sent < 16 << 20, "{sent}");
}

#[test]
fn a_drain_lets_streams_end_and_takes_no_more() {
    let backend = Backend::start(Script::after(Duration::from_millis(800), Script::Echo));
    let mut plimsoll = front().server("drain_timeout = \"1s\"").before(backend.address());
    let mut client = Frames::connect(plimsoll.address("web"));
    client.request(1, "GET", "/", &[], END_STREAM);
    backend.wait_for_requests(1);
    plimsoll.signal("TERM");
    assert_eq!(frames::status(&client.wait_for(1, kind::HEADERS).payload), Some(200));
    assert_eq!(client.goaway(), Some(0));
    assert_eq!(plimsoll.wait_for_exit(PATIENCE).code(), Some(0));
}

#[test]
fn a_connection_that_has_served_its_requests_ends_gracefully() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .listener("keepalive_requests = 3\ntimeouts = { idle = \"60s\" }")
        .before(backend.address());
    let mut client = Frames::connect(plimsoll.address("web"));
    for stream in [1, 3, 5] {
        client.request(stream, "GET", "/", &[], END_STREAM);
        client.wait_for(stream, kind::HEADERS);
    }
    assert_eq!(client.goaway(), Some(0));
    // And an idle one in its time.
    let plimsoll = front()
        .listener("timeouts = { idle = \"300ms\" }")
        .before(backend.address());
    let mut client = Frames::connect(plimsoll.address("web"));
    client.request(1, "GET", "/", &[], END_STREAM);
    assert_eq!(client.goaway(), Some(0));
}

#[test]
fn an_answer_is_whole_though_its_connection_is_to_end() {
    const SIZE: usize = 3_000_000;
    let backend = Backend::start(Script::reply(200, vec![b'x'; SIZE]));
    let plimsoll = front().listener("keepalive_requests = 1").before(backend.address());
    let mut client = Frames::with_settings(plimsoll.address("web"), &[(4, 4 << 20)]);
    client
        .send(kind::WINDOW_UPDATE, 0, 0, &(4u32 << 20).to_be_bytes())
        .expect("it is taken");
    client.request(1, "GET", "/", &[], END_STREAM);
    // Slower than we are served, and with something to say all the time.
    let mut got = 0;
    loop {
        let frame = client
            .read()
            .unwrap_or_else(|error| panic!("after {got} bytes: {error}"));
        if frame.kind == kind::DATA {
            got += frame.payload.len();
            let _ = client.send(kind::WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes());
            std::thread::sleep(Duration::from_millis(2));
        }
        if frame.kind == kind::DATA && frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert_eq!(got, SIZE);
}

#[test]
fn our_own_replies_wait_for_clients_that_do_not_take_them() {
    let backend = Backend::start(Script::Echo);
    let body = "x".repeat(200_000);
    let plimsoll = front()
        .tables(&format!(
            "[[routes]]\nname = \"long\"\nmatch = {{ path = \"/long\" }}\nrespond = {{ body = \"{body}\" }}"
        ))
        .before(backend.address());
    let before = memory_kib(&plimsoll, "VmRSS");
    let stuck: Vec<_> = (0..5)
        .map(|_| {
            let mut client = Frames::with_settings(plimsoll.address("web"), &[(4, 0)]);
            for stream in 0..100 {
                client.request(stream * 2 + 1, "GET", "/long", &[], END_STREAM);
            }
            client.wait_for(199, kind::HEADERS);
            client
        })
        .collect();
    let grown = memory_kib(&plimsoll, "VmHWM").saturating_sub(before);
    println!("500 replies of 200 KB made it grow by {grown} KiB");
    assert!(grown < 25_000, "{grown} KiB");
    drop(stuck);
}

#[test]
fn a_head_has_to_come_in_time() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .listener("timeouts = { request_header = \"300ms\", idle = \"60s\" }")
        .before(backend.address());
    let whole = frames::encode(
        kind::HEADERS,
        frames::END_HEADERS | END_STREAM,
        1,
        &frames::head(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
        ]),
    );
    let mut client = Frames::connect(plimsoll.address("web"));
    client.wait_for(0, kind::SETTINGS);
    client.wire.send(&whole[..20]);
    while client.read().is_ok() {}
    wait_for_failures(&plimsoll, "request_header_timeout", 1);
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_connection_too_many_is_told_so_on_every_stream() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().server("max_connections = 2").before(backend.address());
    let mut kept: Vec<_> = (0..2).map(|_| Frames::connect(plimsoll.address("web"))).collect();
    for client in &mut kept {
        client.request(1, "GET", "/", &[], END_STREAM);
        client.wait_for(1, kind::HEADERS);
    }
    let mut late = Frames::connect(plimsoll.address("web"));
    late.request(1, "GET", "/", &[], END_STREAM);
    late.request(3, "GET", "/", &[], END_STREAM);
    assert_eq!(late.goaway(), Some(0));
    // What was sent before it could know is told the same.
    let refused = || {
        plimsoll
            .metrics()
            .sum("plimsoll_failures_total", &[("reason", "overloaded")])
    };
    eventually("it is refused", || (refused() >= 1.0).then_some(()));
    assert_eq!(backend.requests(), 2);
}
