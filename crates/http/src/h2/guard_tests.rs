use super::*;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
    frame.extend_from_slice(payload);
    frame
}

/// What counts a client's frames, shown bytes as a backend's are.
fn greeted() -> Guard {
    Guard {
        tally: Tally::of_client(),
        ..Guard::of_backend()
    }
}

#[test]
fn each_kind_has_its_limit_a_window() {
    for (kind, payload, most) in [
        (0, &[][..], 100),
        (3, &[0; 4], 1_000),
        (4, &[], 50),
        (6, &[0; 8], 10_000),
        (8, &[0, 0, 15, 255], 20_000),
        (8, &[0, 0, 16, 0], 200_000),
        (2, &[0; 5], 100),
        (200, &[], 100),
    ] {
        let mut guard = greeted();
        for now in [0, WINDOW_MS] {
            for _ in 0..most {
                assert_eq!(guard.see(&frame(kind, 0, payload), now), Ok(()), "{kind}");
            }
        }
        assert!(guard.see(&frame(kind, 0, payload), WINDOW_MS).is_err(), "{kind}");
    }
}

#[test]
fn data_and_heads_are_free_and_a_heads_continuations_are_few() {
    let mut guard = greeted();
    for _ in 0..10_000 {
        guard.see(&frame(0, 0, b"x"), 0).unwrap();
        guard.see(&frame(0, 1, b""), 0).unwrap();
        guard.see(&frame(1, 4, b"head"), 0).unwrap();
    }
    for _ in 0..CONTINUATIONS_MAX {
        guard.see(&frame(9, 0, b"more"), 0).unwrap();
    }
    assert!(guard.see(&frame(9, 0, b"more"), 0).is_err());
}

fn of_stream(kind: u8, payload: &[u8], id: u32) -> Vec<u8> {
    let mut bytes = frame(kind, 5, payload);
    bytes[5..9].copy_from_slice(&id.to_be_bytes());
    bytes
}

/// Opens streams at this rate, each of which is reset after so many milliseconds; how many went well.
fn resets(a_millisecond: u32, after_ms: u64, span_ms: u64) -> Result<u32, Breach> {
    let mut guard = greeted();
    let mut reset = 0;
    for now in 0..span_ms {
        let ids = |ms: u64| {
            let first = u32::try_from(ms).unwrap() * a_millisecond;
            (first..first + a_millisecond).map(|number| number * 2 + 1)
        };
        for id in ids(now) {
            guard.see(&of_stream(HEADERS, b"head", id), now)?;
        }
        for id in now.checked_sub(after_ms).into_iter().flat_map(ids) {
            guard.see(&of_stream(RST_STREAM, &[0; 4], id), now)?;
            reset += 1;
        }
    }
    Ok(reset)
}

#[test]
fn resets_of_streams_that_have_lived_are_no_attack() {
    assert_eq!(resets(1, 20, 60_000), Ok(59_980));
    assert_eq!(resets(5, 20, 10_000), Ok(49_900));
    for (a_millisecond, after_ms) in [(2, 0), (2, 9), (20, 20)] {
        let breach = resets(a_millisecond, after_ms, 10_000);
        assert_eq!(breach, Err(Breach("RST_STREAM frames")), "{a_millisecond} {after_ms}");
    }
    // After a silence all that were opened before it have lived.
    let mut guard = greeted();
    for id in 1..=100 {
        guard.see(&of_stream(HEADERS, b"head", id * 2 - 1), 5).unwrap();
    }
    for id in 1..=100 {
        guard
            .see(&of_stream(RST_STREAM, &[0; 4], id * 2 - 1), 5 + HASTE_MS)
            .unwrap();
    }
    assert_eq!(guard.tally.counts[1], 0);
    // One that was reset already is no stream that has lived, over and over.
    let again = (0..1_101).find_map(|_| guard.see(&of_stream(RST_STREAM, &[0; 4], 1), 5 + HASTE_MS).err());
    assert_eq!(again, Some(Breach("RST_STREAM frames")));
}

#[test]
fn heads_of_many_kilobytes_are_no_attack() {
    let mut guard = greeted();
    for _ in 0..10_000 {
        guard.see(&frame(HEADERS, 0, &[0; 16384]), 0).unwrap();
        guard.see(&frame(CONTINUATION, 0, &[0; 16384]), 0).unwrap();
        guard.see(&frame(CONTINUATION, 4, b"x"), 0).unwrap();
    }
}

#[test]
fn a_head_under_way_is_known() {
    let mut guard = greeted();
    let (first, last) = (frame(1, 0, b"head"), frame(9, 4, b"more"));
    guard.see(&frame(0, 0, b"data")[..10], 0).unwrap();
    assert!(!guard.is_mid_head());
    guard.see(b"ata", 0).unwrap();
    for (bytes, mid) in [
        (&first[..5], true),
        (&first[5..], true),
        (&last[..11], true),
        (&last[11..], false),
    ] {
        guard.see(bytes, 0).unwrap();
        assert_eq!(guard.is_mid_head(), mid);
    }
}

#[test]
fn frames_are_followed_however_they_are_cut() {
    let mut bytes = Vec::new();
    for _ in 0..1_001 {
        bytes.extend(frame(0, 0, &[3; 300]));
        bytes.extend(frame(8, 0, &[1; 4]));
        bytes.extend(frame(3, 0, &[0; 4]));
    }
    for piece in [1, 2, 7, 8, 9, 10, 33, 4096] {
        let mut guard = greeted();
        let breach = bytes.chunks(piece).find_map(|piece| guard.see(piece, 5).err());
        assert_eq!(breach, Some(Breach("RST_STREAM frames")), "{piece}");
    }
}
