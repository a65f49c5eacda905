//! What clients of HTTP/2 may not say.

use e2e::frames::{self, END_STREAM, Frames, kind};
use e2e::{Backend, Script};

use crate::front::front;

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
