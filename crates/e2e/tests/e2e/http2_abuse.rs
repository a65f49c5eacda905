//! What clients of HTTP/2 may not do: each is cut off, and nobody else notices.

use e2e::frames::{self, END_HEADERS, END_STREAM, Frames, kind};
use e2e::{Backend, Plimsoll, Script};

use crate::front::{front, wait_for_failures};

const ENHANCE_YOUR_CALM: u32 = 11;

/// Makes the frames of a flood, by their number.
type Flood = Box<dyn FnMut(u32) -> Vec<u8>>;

/// Sends frames made by `next` until nothing is taken any more; the code that the connection ends with.
fn flood(plimsoll: &Plimsoll, mut next: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
    let mut client = Frames::connect(plimsoll.address("web"));
    for number in 0..20_000 {
        if client.wire.try_send(next(number)).is_err() {
            break;
        }
    }
    client.goaway()
}

#[test]
fn floods_are_cut_off() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let mut other = Frames::connect(plimsoll.address("web"));
    let request = |stream: u32, flags: u8| {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
        ];
        frames::encode(kind::HEADERS, flags, stream, &frames::head(&fields))
    };
    let open = request(1, END_HEADERS);
    let floods: [(&str, Flood); 6] = [
        ("settings", Box::new(|_| frames::encode(kind::SETTINGS, 0, 0, &[]))),
        ("pings", Box::new(|_| frames::encode(kind::PING, 0, 0, &[0; 8]))),
        (
            "priorities",
            Box::new(|_| frames::encode(kind::PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
        ),
        (
            "rapid resets",
            Box::new(move |number| {
                let stream = number * 2 + 1;
                [
                    request(stream, END_HEADERS | END_STREAM),
                    frames::encode(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]),
                ]
                .concat()
            }),
        ),
        (
            "empty data",
            Box::new(move |number| {
                if number == 0 {
                    open.clone()
                } else {
                    frames::encode(kind::DATA, 0, 1, &[])
                }
            }),
        ),
        (
            "continuations",
            Box::new(move |number| match number {
                0 => request(1, 0),
                _ => frames::encode(kind::CONTINUATION, 0, 1, &frames::head(&[("x-more", "x")])),
            }),
        ),
    ];
    let mut cut = 0;
    for (name, next) in floods {
        let code = flood(&plimsoll, next);
        // The last words may be lost in the reset that follows when the client goes on sending.
        assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{name}: {code:?}");
        cut += 1;
        wait_for_failures(&plimsoll, "http2_abuse", cut);
    }
    other.request(1, "GET", "/", &[], END_STREAM);
    assert_eq!(frames::status(&other.wait_for(1, kind::HEADERS).payload), Some(200));
}

#[test]
fn what_http_1_1_would_refuse_is_refused_here() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let many = vec![("x-one", "x"); 200];
    for (name, more) in [
        ("a Host that differs", &[("host", "b")][..]),
        ("two lengths", &[("content-length", "1"), ("content-length", "2")]),
        ("a coding by another spelling", &[("transfer_encoding", "chunked")]),
        ("too many fields", &many),
    ] {
        let mut client = Frames::connect(plimsoll.address("web"));
        client.request(1, "POST", "/", more, 0);
        // Answered by us, or by the codec.
        let frame = loop {
            let frame = client.read().expect("there is an answer");
            if frame.stream == 1 && matches!(frame.kind, kind::HEADERS | kind::RST_STREAM) {
                break frame;
            }
        };
        assert_ne!(frames::status(&frame.payload), Some(200), "{name}");
    }
    for (name, more) in [
        ("a field of the connection", &[("connection", "close")][..]),
        ("a coding", &[("transfer-encoding", "chunked")]),
        ("an upgrade", &[("upgrade", "websocket")]),
        ("upper case", &[("X-Upper", "1")]),
    ] {
        let mut client = Frames::connect(plimsoll.address("web"));
        client.request(1, "GET", "/", more, END_STREAM);
        // The codec ends the stream, or the connection.
        while let Ok(frame) = client.read() {
            assert_ne!(frame.kind, kind::HEADERS, "{name}");
            if frame.kind == kind::RST_STREAM {
                break;
            }
        }
    }
    assert_eq!(backend.requests(), 0);
}
