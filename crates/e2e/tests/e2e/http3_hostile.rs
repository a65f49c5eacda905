//! Clients of HTTP/3 that break its rules, or want more than their share.

use std::net::UdpSocket;
use std::time::Duration;

use e2e::{Backend, Script, eventually};
use serde_json::{Value, json};

use crate::front::{memory_kib, wait_for_failures};
use crate::http3::{authority, play, speaking};

/// H3_MESSAGE_ERROR.
const MALFORMED: u64 = 0x10e;

#[test]
fn malformed_requests_end_their_stream_and_no_other() {
    let (authority, backend) = (authority(), Backend::start(Script::Echo));
    let plimsoll = speaking(&authority, "").before(backend.address());
    let told = play(&plimsoll, &authority, &["malformed"]);
    for (name, ended) in told.as_object().expect("a table") {
        let expected = match name.as_str() {
            // What HTTP/1.1 would refuse is answered as it is there.
            "no authority" | "plain connect" => 400,
            "nothing" | "no head" => 0x10d,
            "after" => 200,
            _ => MALFORMED,
        };
        assert_eq!(*ended, json!(expected), "{name}: {told}");
    }
    // Nothing of them came through but the beginning of bodies that turned out to be wrong.
    let gets = backend.seen().iter().filter(|seen| seen.method() == "GET").count();
    assert_eq!(gets, 1);
    assert!(
        backend
            .seen()
            .iter()
            .all(|seen| seen.head.header("host") != Some("evil"))
    );
}

#[test]
fn what_breaks_the_connections_rules_ends_it_with_the_right_word() {
    let (authority, backend) = (authority(), Backend::start(Script::Echo));
    let plimsoll = speaking(&authority, "").before(backend.address());
    let told = play(&plimsoll, &authority, &["broken"]);
    let expected = json!({
        "data first": 0x105, "settings on a request": 0x105, "frame of http/2": 0x105,
        "unreadable head": 0x200, "dynamic table": 0x200, "frame cut off": 0x106,
        "second control stream": 0x103, "push stream": 0x103, "control stream ends": 0x104,
        "second settings": 0x105, "data on control": 0x105, "cancelled push": 0x108,
        "encoder inserts": 0x201, "decoder acknowledges": 0x202,
        "many frames on control": 0x107, "many frames without data": 0x107, "many strange streams": 0x107,
    });
    assert_eq!(told, expected);
    wait_for_failures(&plimsoll, "http3_abuse", 3);
}

#[test]
fn a_client_that_opens_and_resets_again_and_again_is_cut_off() {
    let scripts = Script::by_path([("/never", Script::Hang), ("/", Script::Echo)]);
    let (authority, backend) = (authority(), Backend::start(scripts));
    let plimsoll = speaking(&authority, "").before(backend.address());
    let told = play(&plimsoll, &authority, &["resets", "6000"]);
    if told["code"].is_null() {
        // On a machine that is too slow to do it too often, it is served on.
        assert!(told["peak"].as_u64() < Some(2_000) && told["after"] == 200, "{told}");
    } else {
        assert!(told["code"] == 0x107 && told["peak"].as_u64() >= Some(900), "{told}");
        wait_for_failures(&plimsoll, "http3_abuse", 1);
    }
    eventually("nothing is left of it", || {
        (backend.open_connections() <= 1).then_some(())
    });
}

#[test]
fn heads_are_as_large_as_elsewhere_and_no_larger() {
    let (authority, backend) = (authority(), Backend::start(Script::Echo));
    let plimsoll = speaking(&authority, "").before(backend.address());
    let told = play(&plimsoll, &authority, &["large_head"]);
    let expected = json!({ "fine": 200, "large": 431, "huge": 431, "reason": "header_too_large" });
    assert_eq!(told, expected);
}

#[test]
fn addresses_have_to_be_proved_once_many_handshakes_are_under_way() {
    let (authority, backend) = (authority(), Backend::start(Script::Echo));
    let plimsoll = speaking(&authority, "").server("workers = 1").before(backend.address());
    let first = play(&plimsoll, &authority, &["connections", "2"]);
    assert_eq!(first, json!({ "fine": 2, "retried": 0 }));
    // As many as may be under way without a proof, and some more.
    let told = play(&plimsoll, &authority, &["silent_handshakes", "100"]);
    assert_eq!(told, json!({ "retried": 1, "status": 200 }));
    let opened = plimsoll
        .metrics()
        .sum("plimsoll_connections_total", &[("listener", "web")]);
    assert_eq!(
        opened,
        2.0 + 64.0 + 1.0,
        "the others were asked for a proof, and cost nothing"
    );
}

#[test]
fn who_may_have_only_so_many_connections_has_to_prove_its_address() {
    let (authority, backend) = (authority(), Backend::start(Script::Echo));
    let plimsoll = speaking(&authority, "max_connections_per_client = 2").before(backend.address());
    let told = play(&plimsoll, &authority, &["connections", "3"]);
    assert_eq!(told, json!({ "fine": 3, "retried": 3 }));
    let told = play(&plimsoll, &authority, &["crowd", "5"]);
    assert_eq!(told["connected"], 2, "{told}");
    wait_for_failures(&plimsoll, "concurrency_limited", 3);
}

#[test]
fn what_is_no_quic_and_what_answers_would_grow_by_is_not_answered() {
    let (authority, backend) = (authority(), Backend::start(Script::Echo));
    let plimsoll = speaking(&authority, "").before(backend.address());
    let to = plimsoll.address("web");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .expect("it can be set");
    let before = memory_kib(&plimsoll, "VmRSS");
    let mut seed: u64 = 0x9e37_79b9;
    for round in 0..3_000usize {
        let packet: Vec<u8> = (0..round % 1_400)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 56) as u8
            })
            .collect();
        // What the kernel has no room for is lost, as it would be elsewhere.
        let _ = socket.send_to(&packet, to);
        // A packet of version 1 that is too short for a first one (RFC 9000 §14.1).
        let _ = socket.send_to(
            &[&[0xc3, 0, 0, 0, 1, 8][..], &[round as u8; 8], &[8], &[1; 8], &[0; 40]].concat(),
            to,
        );
    }
    let (mut sent, mut came) = (0, 0);
    let mut read = [0; 2_048];
    while let Ok((count, _)) = socket.recv_from(&mut read) {
        came += count;
        sent += 1;
    }
    // Packets of unknown versions and connections are answered, with less than they had.
    assert!(came < 3_000 * 700, "{sent} answers of {came} bytes");
    assert_eq!(play(&plimsoll, &authority, &["connections", "3"])["fine"], 3);
    let grown = memory_kib(&plimsoll, "VmRSS").saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB");
}

#[test]
fn a_handshake_that_does_not_go_on_ends() {
    let (authority, backend) = (authority(), Backend::start(Script::Echo));
    let plimsoll = speaking(&authority, "timeouts = { request_header = \"1s\" }").before(backend.address());
    let told = play(&plimsoll, &authority, &["silent_handshakes", "20"]);
    assert_eq!(told["status"], 200, "{told}");
    let failed = [("cause", "timeout")];
    eventually("all have ended", || {
        let metrics = plimsoll.metrics();
        let open = metrics.sum("plimsoll_connections", &[("listener", "web")]);
        let timed_out = metrics.sum("plimsoll_tls_handshakes_failed_total", &failed);
        (open == 0.0 && timed_out >= 20.0).then_some(())
    });
    assert_ne!(told, Value::Null);
}
