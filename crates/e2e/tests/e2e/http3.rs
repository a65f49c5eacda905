//! HTTP/3 from clients, by aioquic.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use e2e::{Authority, Backend, PATIENCE, Plimsoll, Script, eventually, stays, tools};
use serde_json::{Value, json};

use crate::front::{Front, front, memory_kib, wait_for_failures};

/// An authority with a certificate for localhost, which aioquic asks for.
pub(crate) fn authority() -> Authority {
    let authority = Authority::new("Test Root");
    authority.issue("localhost", &["localhost"]);
    authority.issue("shop", &["shop.test"]);
    authority
}

/// A listener that speaks HTTP/3; `more` are further lines of its own.
pub(crate) fn speaking(authority: &Authority, more: &str) -> Front {
    let (localhost, shop) = (authority.pair("localhost"), authority.pair("shop"));
    front().log("access = \"access.log\"").listener(&format!(
        "http3 = true\ntls = {{ certificates = [{localhost}, {shop}] }}\n{more}"
    ))
}

/// Runs a scenario of the client against a port, and gives what it says.
#[track_caller]
pub(crate) fn play_at(port: u16, authority: &Authority, arguments: &[&str]) -> Value {
    let mut command = tools::python_script("http3_client.py");
    command.args([arguments[0], &port.to_string(), &authority.named("ca.pem")]);
    command.args(&arguments[1..]);
    let output = tools::run(&mut command, PATIENCE * 4);
    assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
    let line = output.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|_| panic!("{arguments:?}: {output:?}"))
}

/// Runs a scenario of the client to its end, and gives what it says.
#[track_caller]
pub(crate) fn play(plimsoll: &Plimsoll, authority: &Authority, arguments: &[&str]) -> Value {
    play_at(plimsoll.address("web").port(), authority, arguments)
}

/// A scenario that waits for us in its middle.
struct Playing {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Playing {
    fn start(plimsoll: &Plimsoll, authority: &Authority, arguments: &[&str]) -> Playing {
        let mut command = tools::python_script("http3_client.py");
        let port = plimsoll.address("web").port().to_string();
        command.args([arguments[0], &port, &authority.named("ca.pem")]);
        command
            .args(&arguments[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("python starts");
        let said = BufReader::new(child.stdout.take().expect("it is piped"));
        Playing { child, said }
    }

    /// What it says next. It gives up by itself when nothing happens.
    #[track_caller]
    fn says(&mut self) -> Value {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("it can be read");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("it said {line:?}"))
    }

    fn go_on(&mut self) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        stdin.write_all(b"\n").expect("it reads");
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends back the body that came, in chunks and with trailers when it came with some.
fn mirror() -> Script {
    Script::custom(|exchange| {
        let (body, trailers) = (exchange.request.body.clone(), exchange.request.trailers.clone());
        if trailers.is_empty() {
            return exchange.reply(200, &[], &body).map(|()| true);
        }
        let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n".to_vec();
        answer.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
        answer.extend_from_slice(&body);
        answer.extend_from_slice(b"\r\n0\r\n");
        for (name, value) in trailers {
            answer.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        answer.extend_from_slice(b"\r\n");
        exchange.send(answer).map(|()| true)
    })
}

/// Answers once so many requests have come, or once it is opened.
struct Gate {
    count: Mutex<usize>,
    opens: Condvar,
    at: usize,
}

impl Gate {
    fn at(at: usize) -> Arc<Gate> {
        Arc::new(Gate {
            count: Mutex::new(0),
            opens: Condvar::new(),
            at,
        })
    }

    fn pass(&self) {
        let mut count = self.count.lock().expect("nobody panics within");
        *count += 1;
        self.opens.notify_all();
        let waiting = self.opens.wait_timeout_while(count, PATIENCE, |count| *count < self.at);
        let waiting = waiting.expect("nobody panics within");
        assert!(!waiting.1.timed_out(), "the gate stays closed");
    }

    /// How many have come.
    fn count(&self) -> usize {
        *self.count.lock().expect("nobody panics within")
    }

    fn script(self: &Arc<Gate>) -> Script {
        let gate = self.clone();
        Script::custom(move |exchange| {
            gate.pass();
            exchange.reply(200, &[], b"passed").map(|()| true)
        })
    }
}

#[test]
fn a_request_is_served_like_any_other_and_logged() {
    let (authority, backend) = (authority(), Backend::start(Script::Echo));
    let plimsoll = speaking(&authority, "").before(backend.address());
    let answer = play(
        &plimsoll,
        &authority,
        &["ask", "GET", "/a?b=c", "[[\"cookie\", \"a=1\"], [\"cookie\", \"b=2\"]]"],
    );
    assert_eq!(answer["status"], 200, "{answer}");
    let seen = &backend.seen()[0].head;
    assert_eq!(seen.first_line, "GET /a?b=c HTTP/1.1");
    let port = plimsoll.address("web").port();
    for (name, value) in [
        ("host", format!("localhost:{port}").as_str()),
        ("cookie", "a=1; b=2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    assert!(seen.header("transfer-encoding").is_none() && seen.header("alt-svc").is_none());
    let line = crate::tls::logged(&plimsoll, "HTTP/3");
    assert_eq!(
        (&line["protocol"], &line["status"]),
        (&json!("HTTP/3"), &json!(200)),
        "{line}"
    );
    assert_eq!(line["tls"], json!({ "version": "1.3", "sni": "localhost" }), "{line}");
    let handshakes = [("version", "1.3")];
    assert_eq!(
        plimsoll.metrics().sum("plimsoll_tls_handshakes_total", &handshakes),
        1.0
    );
    // Replies of ours have their reasons.
    let refused = play(&plimsoll, &authority, &["ask", "GET", "/%zz"]);
    assert_eq!(refused["status"], 400, "{refused}");
    assert!(refused["headers"].to_string().contains("bad_request"), "{refused}");
}

#[test]
fn bodies_of_every_size_go_both_ways() {
    let (authority, backend) = (authority(), Backend::start(mirror()));
    let plimsoll = speaking(&authority, "").before(backend.address());
    play(&plimsoll, &authority, &["sizes"]);
    backend.assert_no_violations();
}

#[test]
fn trailers_go_both_ways() {
    let (authority, backend) = (authority(), Backend::start(mirror()));
    let plimsoll = speaking(&authority, "").before(backend.address());
    let answer = play(&plimsoll, &authority, &["trailers"]);
    assert_eq!(
        answer["trailers"],
        json!([["x-sum", "5"], ["x-more", "yes"]]),
        "{answer}"
    );
    assert_eq!(answer["body"], "hello");
}

#[test]
fn interim_answers_and_heads_alone_come_through() {
    let (authority, backend) = (authority(), Backend::start(Script::Echo));
    let plimsoll = speaking(&authority, "").before(backend.address());
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    backend.play(Script::Bytes(hints.into()));
    let answer = play(&plimsoll, &authority, &["ask", "GET", "/"]);
    assert_eq!(
        (&answer["interim"], &answer["body"]),
        (&json!([103]), &json!("ok")),
        "{answer}"
    );
    backend.play(Script::reply(200, "twelve bytes"));
    let answer = play(&plimsoll, &authority, &["ask", "HEAD", "/"]);
    assert_eq!(
        (&answer["status"], &answer["length"]),
        (&json!(200), &json!(0)),
        "{answer}"
    );
    assert!(
        answer["headers"].to_string().contains("[\"content-length\",\"12\"]"),
        "{answer}"
    );
    backend.play(Script::status(204));
    assert_eq!(play(&plimsoll, &authority, &["ask", "GET", "/"])["status"], 204);
}

#[test]
fn a_hundred_requests_are_under_way_at_once() {
    let (authority, gate) = (authority(), Gate::at(100));
    let backend = Backend::start(gate.script());
    let plimsoll = speaking(&authority, "").before(backend.address());
    assert_eq!(play(&plimsoll, &authority, &["held", "100"]), json!({ "fine": 100 }));
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_the_whole() {
    let breaking = Script::custom(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nsome")?;
        // So that the client has it: a stream that is reset may lose what is on its way (RFC 9000 §3.1).
        std::thread::sleep(Duration::from_millis(500));
        Ok(false)
    });
    let (authority, backend) = (authority(), Backend::start(breaking));
    let plimsoll = speaking(&authority, "").before(backend.address());
    let answer = play(&plimsoll, &authority, &["ask", "GET", "/"]);
    // H3_INTERNAL_ERROR.
    assert_eq!(
        (&answer["status"], &answer["ended"]),
        (&json!(200), &json!(0x102)),
        "{answer}"
    );
    wait_for_failures(&plimsoll, "backend_reset", 1);
}

#[test]
fn a_request_that_is_given_up_is_cancelled_and_no_other() {
    let scripts = Script::by_path([("/never", Script::Hang), ("/upload", Script::Hang), ("/", Script::Echo)]);
    let (authority, backend) = (authority(), Backend::start(scripts));
    let plimsoll = speaking(&authority, "").before(backend.address());
    let mut playing = Playing::start(&plimsoll, &authority, &["cancel"]);
    for given_up in 1..=2 {
        assert_eq!(playing.says()["cancelled"], given_up);
        wait_for_failures(&plimsoll, "client_closed", given_up);
        eventually("the backend is let go", || {
            (backend.open_connections() == 0).then_some(())
        });
        playing.go_on();
    }
    assert_eq!(playing.says()["after"], 200);
}

#[test]
fn a_client_that_takes_nothing_stops_the_backend_and_costs_little() {
    const SIZE: usize = 64 << 20;
    let sent = Arc::new(Mutex::new(0));
    let counted = sent.clone();
    let backend = Backend::start(Script::custom(move |exchange| {
        exchange.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n"))?;
        for _ in 0..SIZE >> 16 {
            exchange.send([b'x'; 1 << 16])?;
            *counted.lock().expect("nobody panics within") += 1 << 16;
        }
        Ok(true)
    }));
    let authority = authority();
    let plimsoll = speaking(&authority, "").before(backend.address());
    let before = memory_kib(&plimsoll, "VmRSS");
    let mut playing = Playing::start(&plimsoll, &authority, &["slow", &SIZE.to_string()]);
    // Its windows are full, and it gives no more.
    let held = playing.says()["held"].as_u64().expect("a number");
    assert!(held <= 70_000, "{held}");
    let sent_so_far = || *sent.lock().expect("nobody panics within");
    let stopped_at = eventually("the backend is stopped", || {
        let first = sent_so_far();
        stays(Duration::from_millis(300), "a look", || true);
        (first > 0 && sent_so_far() == first).then_some(first)
    });
    // What the kernel holds between us and the backend is a few megabytes.
    assert!(stopped_at < SIZE / 2, "{stopped_at} bytes were taken");
    let grown = memory_kib(&plimsoll, "VmRSS").saturating_sub(before);
    assert!(grown < 24 << 10, "{grown} KiB");
    playing.go_on();
    let whole = playing.says();
    assert_eq!(
        (&whole["ended"], &whole["length"]),
        (&Value::Null, &json!(SIZE)),
        "{whole}"
    );
}

#[test]
fn a_client_that_moves_is_served_on_by_its_worker() {
    let (authority, backend) = (authority(), Backend::start(mirror()));
    for workers in [1, 2, 3] {
        let plimsoll = speaking(&authority, "")
            .server(&format!("workers = {workers}"))
            .before(backend.address());
        assert_eq!(
            play(&plimsoll, &authority, &["rebind", "8"]),
            json!({ "fine": 16 }),
            "{workers}"
        );
        assert_eq!(
            play(&plimsoll, &authority, &["migrate", "3"]),
            json!({ "fine": 6 }),
            "{workers}"
        );
        // It was one connection each, wherever its packets came from.
        let opened = plimsoll
            .metrics()
            .sum("plimsoll_connections_total", &[("listener", "web")]);
        assert_eq!(opened, 2.0, "{workers}");
    }
}

#[test]
fn answers_over_tcp_tell_of_it_until_the_node_drains() {
    let (authority, gate) = (authority(), Gate::at(2));
    let scripts = Script::by_path([("/gate", gate.script()), ("/", Script::status(200))]);
    let backend = Backend::start(scripts);
    let mut plimsoll = speaking(&authority, "").before(backend.address());
    let port = plimsoll.address("web").port();
    let advert = format!("alt-svc: h3=\":{port}\"; ma=86400\r\n");
    let ask = |plimsoll: &Plimsoll, version: &str, path: &str| {
        let to = format!("localhost:{port}:127.0.0.1");
        let url = format!("https://localhost:{}{path}", plimsoll.address("web").port());
        let ca = authority.named("ca.pem");
        tools::curl(&["--cacert", &ca, "--resolve", &to, "-i", version, &url]).stdout
    };
    for version in ["--http1.1", "--http2"] {
        // Answers of a backend, and of our own.
        for path in ["/", "/%zz"] {
            let answer = ask(&plimsoll, version, path);
            assert_eq!(answer.matches(&advert).count(), 1, "{version} {path}: {answer}");
        }
        backend.play(Script::reply(200, "").header("alt-svc", "clear"));
        let theirs = ask(&plimsoll, version, "/");
        assert!(
            theirs.contains("alt-svc: clear") && !theirs.contains(&advert),
            "{theirs}"
        );
        backend.play(Script::by_path([("/gate", gate.script()), ("/", Script::status(200))]));
    }
    let answer = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&plimsoll, "--http1.1", "/gate"));
        eventually("it is asked", || (gate.count() == 1).then_some(()));
        plimsoll.signal("TERM");
        eventually("it drains", || plimsoll.stderr().contains("drain").then_some(()));
        gate.pass();
        waiting.join().expect("no panic")
    });
    assert!(answer.contains(" 200") && !answer.contains("alt-svc"), "{answer}");
    plimsoll.wait_for_exit(PATIENCE);
}

#[test]
fn the_port_and_the_time_that_clients_are_told_can_be_others() {
    let (authority, backend) = (authority(), Backend::start(Script::Echo));
    let pair = authority.pair("localhost");
    let told = front()
        .listener(&format!(
            "tls = {{ certificates = [{pair}] }}\nhttp3 = {{ port = 443, max_age = \"1h\" }}"
        ))
        .before(backend.address());
    let answer = crate::tls::curl(&authority, &told, "localhost", "/", &["-i"]).stdout;
    assert!(answer.contains("alt-svc: h3=\":443\"; ma=3600"), "{answer}");
}

#[test]
fn a_drain_tells_clients_to_go_and_finishes_what_they_asked() {
    let (authority, gate) = (authority(), Gate::at(2));
    let scripts = Script::by_path([("/gate", gate.script()), ("/", Script::Echo)]);
    let backend = Backend::start(scripts);
    let mut plimsoll = speaking(&authority, "")
        .server("drain_timeout = \"20s\"")
        .before(backend.address());
    let mut playing = Playing::start(&plimsoll, &authority, &["drain"]);
    assert_eq!(playing.says()["asked"], true);
    eventually("it is asked", || (gate.count() == 1).then_some(()));
    plimsoll.signal("TERM");
    eventually("it drains", || plimsoll.stderr().contains("drain").then_some(()));
    gate.pass();
    let ended = playing.says();
    assert_eq!(
        (&ended["ended"], &ended["status"]),
        (&Value::Null, &json!(200)),
        "{ended}"
    );
    // First that it may go, and then which streams were taken: the two that it has opened.
    assert_eq!(ended["goaways"][1], json!(8), "{ended}");
    assert!(ended["goaways"][0].as_u64() > Some(1 << 60), "{ended}");
    assert_eq!(ended["code"], 0x100, "{ended}");
    assert!(plimsoll.wait_for_exit(PATIENCE).success());
}

#[test]
fn what_is_open_at_the_drain_deadline_is_cut() {
    let scripts = Script::by_path([("/gate", Script::Hang), ("/", Script::Echo)]);
    let (authority, backend) = (authority(), Backend::start(scripts));
    let mut plimsoll = speaking(&authority, "")
        .server("drain_timeout = \"1s\"")
        .before(backend.address());
    let mut playing = Playing::start(&plimsoll, &authority, &["drain"]);
    playing.says();
    backend.wait_for_requests(2);
    plimsoll.signal("TERM");
    let ended = playing.says();
    assert_ne!(ended["ended"], Value::Null, "{ended}");
    assert!(plimsoll.wait_for_exit(PATIENCE).success());
    let line = crate::tls::logged(&plimsoll, "/gate");
    assert_eq!(line["reason"], "drain_deadline", "{line}");
}

#[test]
fn idle_connections_and_those_that_have_served_enough_are_told_to_go() {
    let (authority, backend) = (authority(), Backend::start(Script::Echo));
    let idle = speaking(&authority, "timeouts = { idle = \"1s\" }").before(backend.address());
    let ended = play(&idle, &authority, &["idle"]);
    assert_eq!(ended["code"], 0x100, "{ended}");
    assert!(ended["goaways"].is_array(), "{ended}");
    let retiring = speaking(&authority, "keepalive_requests = 5").before(backend.address());
    let ended = play(&retiring, &authority, &["retire", "100"]);
    let asked = ended["asked"].as_u64().expect("a number");
    assert!((5..60).contains(&asked) && ended["code"] == 0x100, "{ended}");
    let aging = speaking(&authority, "keepalive_age = \"1s\"").before(backend.address());
    let ended = play(&aging, &authority, &["retire", "1000"]);
    assert!(ended["goaways"].is_array() && ended["code"] == 0x100, "{ended}");
}

#[test]
fn a_websocket_is_asked_for_by_extended_connect() {
    let (authority, backend) = (authority(), crate::http2_websockets::echoing());
    let plimsoll = speaking(&authority, "").before(backend.address());
    let answer = play(&plimsoll, &authority, &["websocket"]);
    // A text of five letters, and the end (RFC 6455 §5.2).
    let expected = json!({ "status": 200, "body": "\u{81}\u{5}hello\u{88}\u{2}\u{3}\u{e8}", "ended": null });
    assert_eq!(answer, expected);
    // What grants without a proof grants nothing.
    let unproven = Backend::start(Script::WebSocket);
    let plimsoll = speaking(&authority, "").before(unproven.address());
    assert_eq!(play(&plimsoll, &authority, &["websocket"])["status"], 502);
    let plimsoll = speaking(&authority, "").route("upgrade = []").before(backend.address());
    assert_eq!(play(&plimsoll, &authority, &["websocket"])["status"], 403);
}

#[test]
fn certificates_are_chosen_by_name_and_a_connection_serves_their_hosts() {
    let (authority, backend) = (authority(), Backend::start(Script::Echo));
    let plimsoll = speaking(&authority, "").before(backend.address());
    let shop = play(&plimsoll, &authority, &["handshake", "shop.test"]);
    let home = play(&plimsoll, &authority, &["handshake", "localhost"]);
    assert_eq!((&shop["status"], &home["status"]), (&json!(200), &json!(200)));
    assert_ne!(shop["serial"], home["serial"]);
    let elsewhere = play(
        &plimsoll,
        &authority,
        &["ask", "GET", "/", "[]", "localhost", "shop.test"],
    );
    assert_eq!(elsewhere["status"], 421, "{elsewhere}");
    // CRYPTO_ERROR with no_application_protocol.
    let other = play(&plimsoll, &authority, &["handshake", "localhost", "hq-interop"]);
    assert_eq!(other["code"], 0x100 + 120, "{other}");
    let failed = [("cause", "no_shared_protocol")];
    eventually("it is counted", || {
        let failed = plimsoll.metrics().sum("plimsoll_tls_handshakes_failed_total", &failed);
        (failed == 1.0).then_some(())
    });
    let resumed = play(&plimsoll, &authority, &["early"]);
    assert_eq!(
        (&resumed["resumed"], &resumed["early"]),
        (&json!(true), &json!(false)),
        "{resumed}"
    );
}

#[test]
fn clients_have_to_show_certificates_where_that_is_asked() {
    let (authority, people) = (authority(), Authority::new("People"));
    people.issue("ann", &[]);
    let strangers = Authority::new("Strangers");
    strangers.issue("eve", &[]);
    let backend = Backend::start(Script::Echo);
    let (pair, ca) = (authority.pair("localhost"), people.named("ca.pem"));
    let plimsoll = front()
        .route("filters = [{ kind = \"headers\", request = { set = { x-subject = \"{tls.client.subject}\" } } }]")
        .listener(&format!(
            "http3 = true\ntls = {{ certificates = [{pair}], client_ca = \"{ca}\" }}"
        ))
        .before(backend.address());
    let with = |of: &Authority, name: &str| {
        let (cert, key) = (of.named(&format!("{name}.pem")), of.named(&format!("{name}.key")));
        play(&plimsoll, &authority, &["handshake", "localhost", "h3", &cert, &key])
    };
    assert_eq!(with(&people, "ann")["status"], 200);
    assert!(
        backend.seen()[0]
            .head
            .header("x-subject")
            .is_some_and(|subject| subject.contains("CN=ann"))
    );
    // certificate_required and unknown_ca, after the client thinks that all is well.
    let none = play(&plimsoll, &authority, &["handshake"]);
    assert_eq!(none["ended"], "connection 0x174", "{none}");
    let stranger = with(&strangers, "eve");
    assert_eq!(stranger["ended"], "connection 0x130", "{stranger}");
    assert_eq!(backend.requests(), 1);
    for cause in ["no_certificate", "unknown_ca"] {
        let failed = plimsoll
            .metrics()
            .sum("plimsoll_tls_handshakes_failed_total", &[("cause", cause)]);
        assert_eq!(failed, 1.0, "{cause}");
    }
}
