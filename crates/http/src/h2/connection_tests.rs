use proptest::prelude::*;

use super::*;
use crate::h2::Follows;
use crate::h2::frame::{ACK, END_HEADERS, END_STREAM, PADDED};

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame_head(&mut bytes, payload.len(), (kind, flags), id);
    bytes.extend_from_slice(payload);
    bytes
}

/// What every client begins with.
fn greeting() -> Vec<u8> {
    [&PREFACE[..], &frame(SETTINGS, 0, 0, &[])].concat()
}

/// A request with indexed fields, `POST http://…/`, and these behind them.
fn section(more: &[(&str, &str)]) -> Vec<u8> {
    let mut section = b"\x83\x86\x84\x41\x01a".to_vec();
    for (name, value) in more {
        section.push(0);
        for text in [name, value] {
            section.push(u8::try_from(text.len()).unwrap());
            section.extend_from_slice(text.as_bytes());
        }
    }
    section
}

fn request(id: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, id, &section(&[]))
}

/// A connection, and what was told of it.
struct Told {
    connection: Connection,
    left: Vec<u8>,
    events: Vec<String>,
    /// All that was sent.
    sent: Vec<u8>,
}

impl Told {
    fn new() -> Told {
        Told {
            connection: Connection::new(1 << 10, 4 << 10),
            left: Vec::new(),
            events: Vec::new(),
            sent: Vec::new(),
        }
    }

    fn greeted() -> Told {
        let mut told = Told::new();
        told.show(&greeting());
        told.sent.clear();
        told
    }

    fn show(&mut self, bytes: &[u8]) {
        self.left.extend_from_slice(bytes);
        let mut text = Vec::new();
        loop {
            let (used, received) = self.connection.receive(&self.left, 0, &mut text);
            self.left.drain(..used);
            match received {
                Received::More => break,
                Received::Request(Opened { seat, head, is_ended }) => {
                    let head = head.and_then(|head| head.finish(&mut text, Follows::Nothing));
                    self.events
                        .push(format!("{seat} {head:?} {is_ended} {}", String::from_utf8_lossy(&text)));
                }
                other => self.events.push(format!("{other:?}")),
            }
        }
        self.sent.extend_from_slice(self.connection.pending());
        let count = self.connection.pending().len();
        self.connection.wrote(count);
    }

    fn has_sent(&self, wanted: &[u8]) -> bool {
        self.sent.windows(wanted.len()).any(|bytes| bytes == wanted)
    }
}

#[test]
fn errors_of_the_connection_end_it_with_their_code() {
    for (bytes, code) in [
        (frame(DATA, 0, 0, b"x"), Code::PROTOCOL_ERROR),
        (frame(DATA, 0, 1, b"x"), Code::PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 2, &section(&[])), Code::PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 0, &section(&[])), Code::PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS | PADDED, 1, &[9, 1]), Code::PROTOCOL_ERROR),
        (frame(CONTINUATION, 0, 1, b"x"), Code::PROTOCOL_ERROR),
        (
            [frame(HEADERS, 0, 1, b"\x82"), frame(PING, 0, 0, &[0; 8])].concat(),
            Code::PROTOCOL_ERROR,
        ),
        (frame(HEADERS, END_HEADERS, 1, b"\xff\xff"), Code::COMPRESSION_ERROR),
        (frame(PUSH_PROMISE, END_HEADERS, 1, &[0; 8]), Code::PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 1, &[0; 4]), Code::PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 1, &[0; 3]), Code::FRAME_SIZE_ERROR),
        (frame(SETTINGS, 0, 0, &[0; 5]), Code::FRAME_SIZE_ERROR),
        (frame(SETTINGS, ACK, 0, &[0; 6]), Code::FRAME_SIZE_ERROR),
        (frame(SETTINGS, 0, 1, &[]), Code::PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), Code::PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), Code::FLOW_CONTROL_ERROR),
        (frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff]), Code::PROTOCOL_ERROR),
        (frame(PING, 0, 0, &[0; 7]), Code::FRAME_SIZE_ERROR),
        (frame(PING, 0, 1, &[0; 8]), Code::PROTOCOL_ERROR),
        (frame(GOAWAY, 0, 1, &[0; 8]), Code::PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, &[0; 4]), Code::PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, &[0; 3]), Code::FRAME_SIZE_ERROR),
        (frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), Code::PROTOCOL_ERROR),
        (
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            Code::FLOW_CONTROL_ERROR,
        ),
        (vec![0, 0x40, 1, DATA, 0, 0, 0, 0, 1], Code::FRAME_SIZE_ERROR),
    ] {
        let mut told = Told::greeted();
        told.show(&bytes);
        assert!(
            told.sent.ends_with(&code.0.to_be_bytes()),
            "{bytes:?} {:?}",
            told.events
        );
        assert!(told.connection.is_over());
    }
    let mut told = Told::new();
    told.show(b"GET / HTTP/1.1\r\n\r\n");
    assert!(told.sent.ends_with(&Code::PROTOCOL_ERROR.0.to_be_bytes()));
}

#[test]
fn a_stream_that_is_malformed_ends_alone() {
    for (more, flags) in [
        (&[("connection", "close")][..], 0),
        (&[("X-Upper", "1")], 0),
        (&[("te", "gzip")], 0),
        (&[(":path", "/")], 0),
        (&[("content-length", "1")], END_STREAM),
        (&[("x-line", "a\r\nb: c")], 0),
    ] {
        let mut told = Told::greeted();
        told.show(&frame(HEADERS, END_HEADERS | flags, 1, &section(more)));
        assert!(told.events[0].starts_with("Malformed"), "{more:?} {:?}", told.events);
        assert!(told.has_sent(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 1])), "{more:?}");
        // What was on its way to it is no fault.
        told.show(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
        told.show(&request(3, END_STREAM));
        assert_eq!(told.events.len(), 2);
        assert!(told.events[1].starts_with("0 Ok"), "{:?}", told.events);
    }
}

#[test]
fn a_body_has_the_length_that_was_said_and_makes_room_once_it_is_taken() {
    let mut told = Told::greeted();
    told.show(&frame(HEADERS, END_HEADERS, 1, &section(&[("content-length", "3")])));
    told.show(&frame(DATA, PADDED, 1, b"\x02ab\0\0"));
    assert_eq!(told.connection.body(0), b"ab");
    assert!(!told.connection.has_ended(0) && !told.connection.is_gone(0));
    told.show(&frame(DATA, END_STREAM, 1, b"c"));
    assert_eq!(told.connection.body(0), b"abc");
    assert!(told.connection.has_ended(0));
    told.show(&frame(HEADERS, END_HEADERS, 3, &section(&[("content-length", "3")])));
    told.show(&frame(DATA, 0, 3, b"abcd"));
    assert!(told.connection.is_gone(1) && told.has_sent(&frame(RST_STREAM, 0, 3, &[0, 0, 0, 1])));
    told.show(&request(5, 0));
    for _ in 0..8 {
        told.show(&frame(DATA, 0, 5, &[b'x'; FRAME_MAX]));
    }
    assert!(!told.has_sent(&[0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, 5]));
    told.connection.took(2, 8 * FRAME_MAX);
    told.show(&[]);
    assert!(told.has_sent(&[0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, 5, 0, 2, 0, 0]));
}

#[test]
fn answers_keep_to_the_windows_and_take_turns() {
    let mut told = Told::greeted();
    told.show(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 5]));
    told.show(&[request(1, END_STREAM), request(3, END_STREAM)].concat());
    let connection = &mut told.connection;
    connection.send_section(0, b"\x88", false);
    assert_eq!(connection.send_data(0, b"abc", b"defg", true), Some(5));
    assert_eq!(connection.send_data(0, b"", b"fg", true), None);
    let _ = connection.take_touched();
    told.show(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]));
    assert_eq!(told.connection.take_touched()[0], 1);
    assert_eq!(told.connection.send_data(0, b"", b"fg", true), Some(2));
    told.show(&[]);
    assert!(told.has_sent(&frame(DATA, 0, 1, b"abcde")) && told.has_sent(&frame(DATA, END_STREAM, 1, b"fg")));
    // All that there is room for is one stream's; the other is called once some of it was taken.
    told.show(&frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0, 0, 0]));
    told.show(&frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0]));
    told.show(&request(5, END_STREAM));
    let large = [b'x'; OUT_MAX];
    while told.connection.send_data(1, &large, b"", false).is_some() {}
    assert_eq!(told.connection.send_data(2, &large, b"", false), None);
    let _ = told.connection.take_touched();
    told.show(&[]);
    assert_eq!(told.connection.take_touched()[0], 0b10, "who waits longest is first");
    assert_eq!(told.connection.send_data(2, &large, b"", false), None);
    assert!(told.connection.send_data(1, &large, b"", false).is_some());
    assert!(told.connection.send_data(2, &large, b"", false).is_some());
}

#[test]
fn an_end_in_order_lets_what_is_under_way_end() {
    let mut told = Told::greeted();
    told.show(&request(1, END_STREAM));
    told.connection.part();
    told.show(&request(3, END_STREAM));
    assert_eq!(told.events.len(), 2);
    told.show(&frame(PING, ACK, 0, &PARTING_PING));
    assert!(told.has_sent(&frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0])));
    // Behind the last there is nothing, and nobody is blamed for it.
    told.show(&[request(5, 0), frame(DATA, END_STREAM, 5, b"x")].concat());
    assert_eq!(told.events.len(), 2);
    for seat in 0..2 {
        assert!(!told.connection.is_over());
        told.connection.send_section(seat, b"\x88", true);
        told.connection.release(seat);
    }
    assert!(told.connection.is_over());
}

#[test]
fn a_head_that_is_under_way_outlasts_a_rest() {
    let mut told = Told::greeted();
    told.show(&frame(HEADERS, END_STREAM, 1, &section(&[])));
    told.connection.rest();
    told.show(&frame(CONTINUATION, END_HEADERS, 1, b"\x00\x01b\x01c"));
    assert!(told.events[0].contains("b: c"), "{:?}", told.events);
}

proptest! {
    /// However bytes are cut, the same comes of them, and nothing is too strange.
    #[test]
    fn pieces_are_what_the_whole_is(
        frames in prop::collection::vec((0u8..11, any::<u8>(), 0u32..12, prop::collection::vec(any::<u8>(), 0..40)), 0..12),
        fine in prop::collection::vec(0u32..6, 0..6),
        cuts in prop::collection::vec(1usize..30, 1..20),
    ) {
        let mut bytes = greeting();
        for id in fine {
            bytes.extend(request(id * 2 + 1, 0));
            bytes.extend(frame(DATA, 0, id * 2 + 1, b"body"));
        }
        for (kind, flags, id, payload) in frames {
            bytes.extend(frame(kind, flags, id, &payload));
        }
        let mut whole = Told::new();
        whole.show(&bytes);
        let mut pieces = Told::new();
        let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            pieces.show(piece);
            rest = behind;
        }
        prop_assert_eq!(&whole.events, &pieces.events);
        prop_assert_eq!(&whole.sent, &pieces.sent);
        for seat in 0..whole.connection.streams.len() {
            prop_assert_eq!(whole.connection.body(seat), pieces.connection.body(seat));
        }
    }
}
