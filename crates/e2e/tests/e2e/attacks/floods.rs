//! Frames that cost their sender less than us, as many as fit.

use e2e::frames::{self, END_HEADERS, END_STREAM, Frames, kind};
use e2e::{Backend, Plimsoll, Script};

use super::{beside, under_attack};
use crate::front::{front, wait_for_failures};

const ENHANCE_YOUR_CALM: u32 = 11;

/// Frames of one flood at most: beyond every limit.
const FRAMES_MAX: u32 = 400_000;

/// Makes the frames of a flood, by their number.
type Flood = Box<dyn FnMut(u32) -> Vec<u8>>;

/// Sends what `next` makes until nothing is taken any more, many frames at once as an attacker would; how many, and the
/// code that the connection ends with.
fn flood(plimsoll: &Plimsoll, next: &mut Flood) -> (u64, Option<u32>) {
    let mut client = Frames::connect(plimsoll.address("web"));
    let mut sent = 0;
    while sent < FRAMES_MAX {
        let batch: Vec<u8> = (sent..sent + 50).flat_map(&mut *next).collect();
        if client.wire.try_send(batch).is_err() {
            break;
        }
        sent += 50;
    }
    (sent.into(), client.goaway())
}

fn head(method: &str) -> Vec<u8> {
    frames::head(&[
        (":method", method),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ])
}

/// One request whose body is these frames.
fn body(frame: Vec<u8>) -> Flood {
    Box::new(move |number| match number {
        0 => frames::encode(kind::HEADERS, END_HEADERS, 1, &head("POST")),
        _ => frame.clone(),
    })
}

fn always(kind: u8, stream: u32, payload: &'static [u8]) -> Flood {
    Box::new(move |_| frames::encode(kind, 0, stream, payload))
}

fn rapid_resets() -> Flood {
    Box::new(|number| {
        let stream = number * 2 + 1;
        [
            frames::encode(kind::HEADERS, END_HEADERS | END_STREAM, stream, &head("GET")),
            frames::encode(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat()
    })
}

/// One head that does not end.
fn continuations(fields: usize) -> Flood {
    let more = frames::head(&vec![("x-more", "x"); fields]);
    Box::new(move |number| match number {
        0 => frames::encode(kind::HEADERS, 0, 1, &head("GET")),
        _ => frames::encode(kind::CONTINUATION, 0, 1, &more),
    })
}

#[test]
fn floods_are_cut_off() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    // DATA, padded with all but nothing (RFC 9113 §6.1).
    let padded = frames::encode(kind::DATA, 8, 1, &[0]);
    let floods: Vec<(&str, Flood)> = vec![
        ("settings", always(kind::SETTINGS, 0, &[])),
        ("pings", always(kind::PING, 0, &[0; 8])),
        ("priorities", always(kind::PRIORITY, 1, &[0, 0, 0, 3, 1])),
        ("unknown frames", always(0x77, 0, &[0; 8])),
        (
            "small updates of a window",
            always(kind::WINDOW_UPDATE, 0, &[0, 0, 0, 1]),
        ),
        ("updates of a window", always(kind::WINDOW_UPDATE, 0, &[0, 0, 0x10, 0])),
        ("rapid resets", rapid_resets()),
        ("empty data", body(frames::encode(kind::DATA, 0, 1, &[]))),
        ("padding", body(padded)),
        ("small continuations", continuations(1)),
        ("large continuations", continuations(1_600)),
    ];
    for (cut, (name, mut next)) in floods.into_iter().enumerate() {
        let mut code = None;
        under_attack(&plimsoll, name, || {
            let (sent, ended) = flood(&plimsoll, &mut next);
            code = ended;
            sent
        });
        // The last words may be lost in the reset that follows when the client goes on sending.
        assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{name}: {code:?}");
        wait_for_failures(&plimsoll, "http2_abuse", cut + 1);
    }
}

/// A body that nobody takes yet, since its request waits in its pool's queue: what came of it must not be held in thousands
/// of pieces.
#[test]
fn a_body_of_tiny_frames_that_nobody_takes_is_cut_off() {
    let backend = Backend::start(Script::Hang);
    let calm = Backend::start(Script::Echo);
    let plimsoll = beside(&backend, &calm, "{ requests = 1, queue_timeout = '10m' }");
    let mut first = Frames::connect(plimsoll.address("web"));
    first.request(1, "GET", "/", &[], END_STREAM);
    backend.wait_for_requests(1);
    let mut code = None;
    under_attack(&plimsoll, "tiny frames of data", || {
        let (sent, ended) = flood(&plimsoll, &mut body(frames::encode(kind::DATA, 0, 1, b"x")));
        code = ended;
        sent
    });
    assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{code:?}");
    wait_for_failures(&plimsoll, "http2_abuse", 1);
}

/// A head that is 4 KB in the table and a byte on the wire, thousands of times (CVE-2016-6581, "HPACK bomb").
#[test]
fn heads_that_swell_are_bounded_and_cut_off() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let value = "x".repeat(3_900);
    let swelling = move |number: u32| {
        let stream = number * 2 + 1;
        let mut block = head("GET");
        if number == 0 {
            // A literal that is remembered (RFC 7541 §6.2.1), with its length in more than seven bits (§5.1).
            block.extend([0x40, 1, b'x', 0x7f]);
            let mut rest = value.len() - 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).expect("seven bits") | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).expect("seven bits"));
            block.extend(value.as_bytes());
        }
        // What was remembered last is entry 62.
        block.resize(16_000, 0x80 | 62);
        frames::encode(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block)
    };
    let mut code = None;
    under_attack(&plimsoll, "heads that swell", || {
        let (sent, ended) = flood(&plimsoll, &mut (Box::new(swelling) as Flood));
        code = ended;
        // Each head is as many fields as it has bytes.
        sent * 16_000
    });
    assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{code:?}");
    wait_for_failures(&plimsoll, "http2_abuse", 1);
}
