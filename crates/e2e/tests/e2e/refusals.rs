//! Requests that have to be refused: what a refusal looks like, and what it never does.

use std::net::Shutdown;

use e2e::{Backend, PATIENCE, Plimsoll, Script};

use crate::front::{front, wait_for_failures};

/// Sends `bytes`; the reply has to be a refusal with this status and reason that ends the connection.
#[track_caller]
pub(crate) fn assert_refused(plimsoll: &Plimsoll, bytes: &[u8], status: u16, reason: &str) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
    let mut wire = plimsoll.connect("web");
    // A refusal may come before all was sent.
    let _ = wire.try_send(bytes);
    let reply = wire
        .try_reply_to("GET")
        .unwrap_or_else(|error| panic!("no refusal ({error}) of {shown:?}"));
    assert!(
        reply.status == status && reply.reason() == Some(reason),
        "expected {status} {reason} for {shown:?}, got {reply:#?}"
    );
    assert_eq!(reply.header("connection"), Some("close"), "{shown:?}");
    let _ = wire.socket().shutdown(Shutdown::Write);
    wire.assert_closed_within(PATIENCE);
}

/// Each of these is refused as malformed, counted so, and nothing of it is a request to a backend.
#[track_caller]
pub(crate) fn assert_all_refused(cases: &[Vec<u8>]) {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    for bytes in cases {
        assert_refused(&plimsoll, bytes, 400, "bad_request");
    }
    wait_for_failures(&plimsoll, "bad_request", cases.len());
    assert_eq!(backend.requests(), 0, "{:#?}", backend.seen());
    backend.assert_no_violations();
    assert_eq!(plimsoll.get("web", "/").status, 200, "the others are not disturbed");
}
