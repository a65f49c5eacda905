//! Tests of the streams of one direction.

use proptest::prelude::*;

use super::*;

fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame_head(&mut out, kind, payload.len() as u64);
    out.extend_from_slice(payload);
    out
}

/// What becomes of a stream that comes byte by byte, and all at once.
fn seen(stream: &[u8]) -> Result<(), UniFault> {
    let at_once = UniStream::default().see(stream, &mut Opened::default(), &mut Guard::default());
    let (mut uni, mut opened, mut guard) = (UniStream::default(), Opened::default(), Guard::default());
    let by_bytes = stream
        .iter()
        .try_for_each(|byte| uni.see(&[*byte], &mut opened, &mut guard));
    assert_eq!(at_once, by_bytes);
    at_once
}

fn control(frames: &[Vec<u8>]) -> Result<(), UniFault> {
    seen(&[vec![0], frames.concat()].concat())
}

#[test]
fn what_browsers_say_is_fine() {
    let ours = opening(65_536);
    assert_eq!(seen(&ours), Ok(()));
    let mut goaway = ours;
    write_goaway(&mut goaway, 8);
    write_nothing(&mut goaway);
    assert_eq!(seen(&goaway), Ok(()));
    // A setting and a frame that mean nothing, a priority (RFC 9218 §7), pushes that are allowed.
    let settings = frame(SETTINGS, b"\x01\x50\x00\x07\x40\x64\x40\x5f\x01");
    let priority = frame(0xf0700, b"\x00u=1");
    assert_eq!(
        control(&[settings, frame(0x21, b"grease"), priority, frame(MAX_PUSH_ID, b"\x08")]),
        Ok(())
    );
}

#[test]
fn control_streams_are_judged_by_the_standard() {
    let after = |frames: &[Vec<u8>]| [frame(SETTINGS, b""), frames.concat()];
    let first = |payload: &[u8]| [frame(SETTINGS, payload), Vec::new()];
    for (frames, code) in [
        ([frame(GOAWAY, b"\0"), Vec::new()], Code::MISSING_SETTINGS),
        (after(&[frame(SETTINGS, b"")]), Code::FRAME_UNEXPECTED),
        (after(&[frame(DATA, b"")]), Code::FRAME_UNEXPECTED),
        (after(&[frame(HEADERS, b"")]), Code::FRAME_UNEXPECTED),
        (after(&[frame(0x8, b"1234")]), Code::FRAME_UNEXPECTED),
        (after(&[frame(CANCEL_PUSH, b"\0")]), Code::ID_ERROR),
        (after(&[frame(GOAWAY, b"\0\0")]), Code::FRAME_ERROR),
        (after(&[frame(GOAWAY, b"")]), Code::FRAME_ERROR),
        (after(&[frame(GOAWAY, b"\x04"), frame(GOAWAY, b"\x08")]), Code::ID_ERROR),
        (
            after(&[frame(MAX_PUSH_ID, b"\x08"), frame(MAX_PUSH_ID, b"\x04")]),
            Code::ID_ERROR,
        ),
        (first(b"\x02\x00"), Code::SETTINGS_ERROR),
        (first(b"\x06\x00\x06\x00"), Code::SETTINGS_ERROR),
        (first(b"\x08\x02"), Code::SETTINGS_ERROR),
        (first(b"\x06"), Code::FRAME_ERROR),
        (first(&[0x40; 2000]), Code::EXCESSIVE_LOAD),
    ] {
        assert_eq!(control(&frames), Err(UniFault::Connection(code)), "{frames:?}");
    }
}

#[test]
fn streams_of_qpack_say_nothing_of_a_table() {
    assert_eq!(seen(b"\x02\x20\x20"), Ok(()));
    for said in [&b"\x02\x21"[..], b"\x02\xc1\x00", b"\x02\x41a\x01b", b"\x02\x00"] {
        assert_eq!(seen(said), Err(UniFault::Connection(Code::ENCODER_STREAM_ERROR)));
    }
    assert_eq!(seen(b"\x03\x44\x7f\xff\x01\x40"), Ok(()));
    for said in [
        &b"\x03\x80"[..],
        b"\x03\x01",
        b"\x03\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ] {
        assert_eq!(seen(said), Err(UniFault::Connection(Code::DECODER_STREAM_ERROR)));
    }
}

#[test]
fn there_is_one_stream_of_each_kind_and_none_may_end() {
    let (mut opened, mut guard) = (Opened::default(), Guard::default());
    let mut first = UniStream::default();
    assert_eq!(first.ended(), Ok(()));
    assert_eq!(first.see(b"\x03", &mut opened, &mut guard), Ok(()));
    assert_eq!(first.ended(), Err(Code::CLOSED_CRITICAL_STREAM));
    let second = UniStream::default().see(b"\x03", &mut opened, &mut guard);
    assert_eq!(second, Err(UniFault::Connection(Code::STREAM_CREATION_ERROR)));
    assert_eq!(
        seen(b"\x01\x00"),
        Err(UniFault::Connection(Code::STREAM_CREATION_ERROR))
    );
    assert_eq!(seen(b"\x40\x41\x00"), Err(UniFault::Unknown));
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(stream in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = seen(&stream);
    }
}
