//! Windows of flow control (RFC 9113 §5.2), abused.

use e2e::frames::{END_STREAM, Frames, kind};
use e2e::{Backend, Foreign, Plimsoll, Script};

use super::{beside, under_attack};
use crate::front::{front, wait_for_failures};
use crate::http2_streams::h2;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const ENHANCE_YOUR_CALM: u32 = 11;

/// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 §6.5.2).
const INITIAL_WINDOW: u16 = 4;

/// Streams that a client may have open.
const STREAMS: u32 = 100;

fn large(listener: &str) -> (Backend, Plimsoll) {
    let backend = Backend::start(Script::by_path([
        ("/large", Script::reply(200, vec![b'x'; 4 << 20])),
        ("/", Script::Echo),
    ]));
    let plimsoll = front().listener(listener).before(backend.address());
    (backend, plimsoll)
}

/// Asks for something large on as many streams as there may be, with room for this much of each.
fn starve(plimsoll: &Plimsoll, room: u32) -> Frames {
    let mut client = Frames::with_settings(plimsoll.address("web"), &[(INITIAL_WINDOW, room)]);
    for number in 0..STREAMS {
        client.request(number * 2 + 1, "GET", "/large", &[], END_STREAM);
    }
    client
}

/// Reads until a frame of this kind has come for each stream.
#[track_caller]
fn wait_for_each(client: &mut Frames, kind: u8) {
    for _ in 0..STREAMS {
        while client.read().expect("one comes for every stream").kind != kind {}
    }
}

#[test]
fn windows_that_stay_shut_hold_little_and_not_for_ever() {
    let (_backend, plimsoll) = large("timeouts = { stream_idle = \"1s\" }");
    under_attack(&plimsoll, "shut windows", || {
        let mut clients = [starve(&plimsoll, 0), starve(&plimsoll, 0)];
        for client in &mut clients {
            wait_for_each(client, kind::RST_STREAM);
        }
        u64::from(2 * STREAMS)
    });
    wait_for_failures(&plimsoll, "idle_timeout", 200);
}

#[test]
fn a_window_that_opens_by_single_bytes_is_cut_off() {
    let (_backend, plimsoll) = large("");
    let mut code = None;
    under_attack(&plimsoll, "tiny windows", || {
        let mut client = starve(&plimsoll, 1);
        wait_for_each(&mut client, kind::HEADERS);
        let mut sent = 0;
        // The attacker reads what comes, or it would be the one who is too slow.
        client.wire.socket().set_nonblocking(true).expect("a socket can be so");
        let update = e2e::frames::encode(kind::WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes());
        let batch = update.repeat(100);
        let (mut at, mut waste) = (0, [0; 1 << 16]);
        while sent < 400_000 {
            match std::io::Write::write(&mut client.wire.socket(), &batch[at..]) {
                Ok(count) => at += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
            if at == batch.len() {
                (at, sent) = (0, sent + 100);
            }
            match std::io::Read::read(&mut client.wire.socket(), &mut waste) {
                Ok(0) => break,
                Ok(count) => {
                    // GOAWAY is their last word.
                    let goaway = waste[..count]
                        .windows(9)
                        .rposition(|bytes| bytes[3] == kind::GOAWAY && bytes[4..] == [0; 5]);
                    code = goaway.and_then(|at| waste.get(at + 16)).copied().or(code);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        sent
    });
    assert!(code.is_none_or(|code| u32::from(code) == ENHANCE_YOUR_CALM), "{code:?}");
    wait_for_failures(&plimsoll, "http2_abuse", 1);
}

/// Answers of small frames that one client does not take, on connections to the backend that others use too.
#[test]
fn what_is_not_taken_does_not_cost_others_their_connection_to_the_backend() {
    let backend = Foreign::python_script("http2_chatter.py", &[]);
    let plimsoll = h2().server("workers = 1").before(backend.address());
    under_attack(&plimsoll, "small frames that are not taken", || {
        let mut client = Frames::with_settings(plimsoll.address("web"), &[(INITIAL_WINDOW, 0)]);
        for number in 0..STREAMS {
            client.request(number * 2 + 1, "GET", "/chatter", &[], END_STREAM);
        }
        wait_for_each(&mut client, kind::HEADERS);
        // What is asked now is answered behind what was said before, on the same connection: half a million frames.
        for _ in 0..3 {
            assert_eq!(plimsoll.get("web", "/other").status, 200);
        }
        u64::from(STREAMS) * (128 << 10) / 25
    });
    let metrics = plimsoll.metrics();
    assert_eq!(
        metrics.sum("plimsoll_failures_total", &[("reason", "backend_protocol_error")]),
        0.0
    );
    let made = metrics.sum("plimsoll_backend_connections_total", &[("reused", "false")]);
    assert!(made <= 2.0, "{made} connections");
}

#[test]
fn a_window_that_overflows_ends_what_it_is_of() {
    let (_backend, plimsoll) = large("");
    let most = 0x7fff_ffff_u32.to_be_bytes();
    under_attack(&plimsoll, "windows that overflow", || {
        // A stream's ends the stream.
        let mut client = starve(&plimsoll, 0);
        for _ in 0..2 {
            client.send(kind::WINDOW_UPDATE, 0, 1, &most).expect("it is taken");
        }
        let reset = client.wait_for(1, kind::RST_STREAM);
        assert_eq!(reset.payload, FLOW_CONTROL_ERROR.to_be_bytes());
        // The connection's ends the connection.
        client.send(kind::WINDOW_UPDATE, 0, 0, &most).expect("it is taken");
        assert_eq!(client.goaway(), Some(FLOW_CONTROL_ERROR));
        // And so do settings that make every stream's overflow.
        let mut client = Frames::connect(plimsoll.address("web"));
        client.request(1, "POST", "/", &[], 0);
        client
            .send(kind::WINDOW_UPDATE, 0, 1, &0x7fff_0000_u32.to_be_bytes())
            .expect("it is taken");
        client
            .send(
                kind::SETTINGS,
                0,
                0,
                &[&INITIAL_WINDOW.to_be_bytes()[..], &most].concat(),
            )
            .expect("it is taken");
        assert_eq!(client.goaway(), Some(FLOW_CONTROL_ERROR));
        5
    });
    wait_for_failures(&plimsoll, "bad_request", 2);
}

/// What is sent beyond a window, or on a stream that nobody has opened, is not held for anybody.
#[test]
fn data_beyond_a_window_ends_the_connection() {
    let silent = Backend::tcp(|_| {
        std::thread::sleep(e2e::PATIENCE);
        Ok(())
    });
    let calm = Backend::start(Script::Echo);
    let plimsoll = beside(&silent, &calm, "{}");
    under_attack(&plimsoll, "data beyond the window", || {
        let mut client = Frames::connect(plimsoll.address("web"));
        client.send(kind::DATA, 0, 1, b"x").expect("it is taken");
        assert_eq!(client.goaway(), Some(PROTOCOL_ERROR));
        let mut client = Frames::connect(plimsoll.address("web"));
        client.request(1, "POST", "/", &[], 0);
        let mut sent = 1;
        while client.send(kind::DATA, 0, 1, &[0; 16_000]).is_ok() && sent < 10_000 {
            sent += 1;
        }
        assert!(client.goaway().is_none_or(|code| code == FLOW_CONTROL_ERROR));
        sent
    });
    wait_for_failures(&plimsoll, "bad_request", 2);
}
