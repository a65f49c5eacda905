//! ClientHellos of every shape at a listener that passes TLS through, and what comes instead of one.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use e2e::{Backend, PATIENCE, Plimsoll, Wire, eventually};
use serde_json::Value;

/// The longest that is read, and the most records, as the book says.
const BYTES_MAX: usize = 32 << 10;
const RECORDS_MAX: usize = 64;

/// A ClientHello in the making.
pub(crate) struct Hello(Vec<(u16, Vec<u8>)>);

impl Hello {
    /// One without extensions.
    fn new() -> Hello {
        Hello(Vec::new())
    }

    /// One that asks for this name.
    pub(crate) fn named(name: &str) -> Hello {
        let entry = [&[0], sized(name.as_bytes()).as_slice()].concat();
        Hello::new().with(0, sized(&entry))
    }

    fn with(mut self, kind: u16, content: Vec<u8>) -> Hello {
        self.0.push((kind, content));
        self
    }

    /// With a key share of this group and size (RFC 8446 §4.2.8).
    fn share(self, group: u16, size: usize) -> Hello {
        let share = [group.to_be_bytes().as_slice(), &sized(&vec![0xa5; size])].concat();
        self.with(51, sized(&share))
    }

    /// With so many bytes of padding (RFC 7685).
    fn padded(self, size: usize) -> Hello {
        self.with(21, vec![0; size])
    }

    fn message(&self) -> Vec<u8> {
        let mut extensions = Vec::new();
        for (kind, content) in &self.0 {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(sized(content));
        }
        let mut body = vec![3, 3];
        body.extend([0x5a; 32]);
        body.extend([0, 0, 4, 0x13, 0x01, 0x13, 0x02, 1, 0]);
        body.extend(sized(&extensions));
        let length = u32::try_from(body.len()).expect("it is short").to_be_bytes();
        [&[1], &length[1..], &body].concat()
    }

    /// In records of this size.
    fn records(&self, size: usize) -> Vec<u8> {
        let message = self.message();
        let each = message
            .chunks(size)
            .map(|part| [&[22, 3, 1], sized(part).as_slice()].concat());
        each.collect::<Vec<_>>().concat()
    }

    /// In as few records as it can come in.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.records(1 << 14)
    }
}

fn sized(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("it is short").to_be_bytes();
    [&length, content].concat()
}

/// A process that passes `a.example` through to `backend`, and nothing else.
fn pass(backend: SocketAddr, listener: &str) -> Plimsoll {
    Plimsoll::config(&format!(
        r#"
        [server]
        workers = 1
        [log]
        access = "./access.log"
        [listeners.tls]
        bind = ["@tls@"]
        protocol = "tls"
        {listener}
        [[routes]]
        name = "a"
        listeners = "tls"
        match = {{ sni = "a.example" }}
        pool = "a"
        [pools.a]
        backends = ["@a@"]
        health = false
        "#
    ))
    .address("a", backend)
    .start()
}

pub(crate) fn failures(plimsoll: &Plimsoll, reason: &str) -> f64 {
    plimsoll.metrics().sum("plimsoll_failures_total", &[("reason", reason)])
}

/// The access log's only line, once it is there.
#[track_caller]
pub(crate) fn logged(plimsoll: &Plimsoll) -> Value {
    let line = eventually("the connection is logged", || {
        let text = plimsoll.scratch().read("access.log");
        text.ends_with('\n').then_some(text)
    });
    serde_json::from_str(line.trim_end()).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// A backend that tells what comes in, to the end of the client's side, and then says "heard".
fn recorder() -> (Backend, Receiver<Vec<u8>>) {
    let (told, heard) = mpsc::channel();
    let backend = Backend::tcp(move |mut stream| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        stream.write_all(b"heard")?;
        let _ = told.send(bytes);
        Ok(())
    });
    (backend, heard)
}

#[test]
fn a_hello_arrives_as_it_was_sent_however_it_is_cut() {
    let (backend, heard) = recorder();
    let plimsoll = pass(backend.address(), "");
    // X25519MLKEM768's share is 1216 bytes, and makes the hello longer than most packets are.
    let plain = || Hello::named("a.example").share(0x001d, 32);
    let quantum = || Hello::named("a.example").share(0x11ec, 1216);
    let cases = [
        ("whole", plain().bytes(), usize::MAX),
        ("byte by byte", plain().bytes(), 1),
        ("post-quantum", quantum().bytes(), usize::MAX),
        ("post-quantum in packets", quantum().bytes(), 1200),
        ("two records", plain().records(60), usize::MAX),
        ("many records", quantum().records(32), 50),
        ("records byte by byte", plain().records(5), 1),
        ("as large as can be", large(BYTES_MAX).bytes(), 4000),
    ];
    for (what, mut bytes, size) in cases {
        // What a client that resumes sends without waiting: early data.
        bytes.extend([23, 3, 3, 0, 5, 1, 2, 3, 4, 5]);
        let mut wire = plimsoll.connect("tls");
        for part in bytes.chunks(size.min(bytes.len())) {
            wire.send(part);
        }
        wire.half_close();
        let got = heard
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(got == bytes, "{what}: {} bytes of {}", got.len(), bytes.len());
        assert_eq!(wire.read_to_end().0, b"heard", "{what}");
    }
}

/// One for `a.example` whose message has so many bytes.
fn large(bytes: usize) -> Hello {
    let bare = Hello::named("a.example").padded(0).message().len();
    Hello::named("a.example").padded(bytes - bare)
}

/// What a client gets that has sent these bytes, and the reason that is logged.
#[track_caller]
fn refused(bytes: &[u8]) -> (Vec<u8>, Value) {
    let backend = Backend::tcp_echo();
    let plimsoll = pass(backend.address(), "");
    let mut wire = plimsoll.connect("tls");
    wire.send(bytes);
    let (answer, end) = wire.read_to_end();
    assert!(end.is_ok(), "closed, not reset: {end:?}");
    drop(wire);
    let line = logged(&plimsoll);
    let reason = line["reason"].as_str().unwrap_or_default();
    assert_eq!(failures(&plimsoll, reason), 1.0, "{line}");
    assert_eq!(backend.connections(), 0);
    (answer, line)
}

fn alert(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
}

const DECODE_ERROR: u8 = 50;
const UNRECOGNIZED_NAME: u8 = 112;

#[test]
fn a_name_without_a_route_gets_the_alert_for_it() {
    let (answer, line) = refused(&Hello::named("b.example").bytes());
    assert_eq!(
        (answer, &line["reason"]),
        (alert(UNRECOGNIZED_NAME), &"no_route".into())
    );
    assert_eq!(
        (&line["tls"]["sni"], &line["route"]),
        (&"b.example".into(), &Value::Null),
        "{line}"
    );
    let (answer, line) = refused(&Hello::new().padded(10).bytes());
    assert_eq!(
        (answer, &line["reason"]),
        (alert(UNRECOGNIZED_NAME), &"no_route".into())
    );
    assert_eq!(line["tls"], Value::Null, "{line}");
}

#[test]
fn what_is_no_tls_gets_nothing() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n"[..],
        b"\0",
        b"SSH-2.0-x\r\n",
        &[22, 9],
    ] {
        let (answer, line) = refused(bytes);
        assert_eq!(
            (answer, &line["reason"]),
            (Vec::new(), &"bad_request".into()),
            "{bytes:?}"
        );
        assert_eq!(line["bytes_in"], bytes.len(), "{line}");
    }
}

#[test]
fn a_hello_that_follows_no_grammar_gets_the_alert_for_it() {
    let twice = Hello::named("a.example").with(0, Hello::named("a.example").0.remove(0).1);
    for hello in [
        twice,
        Hello::named("a b"),
        Hello::named(""),
        Hello::new().with(16, vec![]),
    ] {
        let (answer, line) = refused(&hello.bytes());
        assert_eq!((answer, &line["reason"]), (alert(DECODE_ERROR), &"bad_request".into()));
    }
    let (answer, line) = refused(&[22, 3, 1, 0, 0]);
    assert_eq!((answer, &line["reason"]), (alert(DECODE_ERROR), &"bad_request".into()));
}

#[test]
fn a_giant_is_refused_before_it_has_come() {
    let giant = large(BYTES_MAX + 1).bytes();
    // Its length stands in its first bytes.
    for bytes in [&giant[..9], &giant] {
        let (answer, line) = refused(bytes);
        assert_eq!(
            (answer, &line["reason"]),
            (alert(DECODE_ERROR), &"header_too_large".into())
        );
    }
    let in_crumbs = Hello::named("a.example").records(1);
    assert!(in_crumbs.len() > RECORDS_MAX * 6);
    let (answer, line) = refused(&in_crumbs);
    assert_eq!(
        (answer, &line["reason"]),
        (alert(DECODE_ERROR), &"header_too_large".into())
    );
}

#[test]
fn who_is_silent_or_slow_is_closed_in_time() {
    let backend = Backend::tcp_echo();
    let plimsoll = pass(backend.address(), "timeouts = { request_header = \"400ms\" }");
    plimsoll.connect("tls").assert_closed_within(PATIENCE);
    assert_eq!(logged(&plimsoll)["reason"], "request_header_timeout");
    // The time is the whole hello's, not each byte's.
    let mut slow = plimsoll.connect("tls");
    let bytes = Hello::named("a.example").padded(2000).bytes();
    assert!(
        slow.drip(&bytes, Duration::from_millis(20)).is_err(),
        "nobody waits so long"
    );
    eventually("both are counted", || {
        (failures(&plimsoll, "request_header_timeout") == 2.0).then_some(())
    });
    // Once the hello has come that time means nothing.
    let mut wire = plimsoll.connect("tls");
    let bytes = Hello::named("a.example").bytes();
    wire.send(&bytes);
    assert!(wire.read_bytes(bytes.len()) == bytes);
    assert!(wire.is_idle_for(Duration::from_millis(800)));
    assert_eq!(backend.connections(), 1);
}

#[test]
fn who_leaves_within_a_hello_is_told_from_who_only_looked() {
    let backend = Backend::tcp_echo();
    let plimsoll = pass(backend.address(), "");
    drop(plimsoll.connect("tls"));
    let line = logged(&plimsoll);
    assert_eq!(
        (&line["reason"], &line["bytes_in"]),
        (&Value::Null, &0.into()),
        "{line}"
    );
    let mut wire = plimsoll.connect("tls");
    wire.send(&Hello::named("a.example").bytes()[..30]);
    drop(wire);
    eventually("it is counted", || {
        (failures(&plimsoll, "client_closed") == 1.0).then_some(())
    });
    assert_eq!(plimsoll.metrics().sum("plimsoll_failures_total", &[]), 1.0);
}

#[test]
fn a_client_that_leaves_later_takes_its_backend_along() {
    let backend = Backend::tcp_echo();
    let plimsoll = pass(backend.address(), "");
    let bytes = Hello::named("a.example").bytes();
    let mut wire = plimsoll.connect("tls");
    wire.send(&bytes);
    assert!(wire.read_bytes(bytes.len()) == bytes);
    Wire::reset(wire);
    eventually("the backend's side is closed, too", || {
        (backend.open_connections() == 0).then_some(())
    });
    assert_eq!(logged(&plimsoll)["reason"], "client_closed");
}
