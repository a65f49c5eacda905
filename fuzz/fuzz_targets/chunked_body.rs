//! Bodies: read the same however they are cut, and as a plain decoder reads them; what we frame is read back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_fuzz::arrivals;
use plimsoll_fuzz::chunks::{self, Body};
use plimsoll_http::h1::{BodyDecoder, BodyFault, Framing, Step, write_chunk_end, write_chunk_head, write_last_chunk};

/// What may never be a trailer, since it frames, routes or identifies.
const NO_TRAILERS: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "content_length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "transfer_encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

fuzz_target!(|data: &[u8]| {
    let [options, seed, bytes @ ..] = data else { return };
    match options % 8 {
        0 => until_close(bytes, *seed),
        1 => of_length(bytes, *seed, u64::from(options >> 3)),
        _ => chunked(bytes, *seed),
    }
});

fn until_close(bytes: &[u8], seed: u8) {
    let pieces = Passed::of(Framing::UntilClose, bytes, seed);
    assert_eq!((pieces.end, &*pieces.data, pieces.used), (Ok(()), bytes, bytes.len()));
}

fn of_length(bytes: &[u8], seed: u8, length: u64) {
    let pieces = Passed::of(Framing::Length(length), bytes, seed);
    let body = &bytes[..bytes.len().min(length as usize)];
    assert_eq!((&*pieces.data, pieces.used), (body, body.len()));
    assert_eq!(pieces.end.is_ok(), body.len() as u64 == length);
}

fn chunked(bytes: &[u8], seed: u8) {
    let whole = Passed::at_once(bytes);
    let pieces = Passed::of(Framing::Chunked, bytes, seed);
    assert_eq!(whole.data, pieces.data, "cut differently, it is another body");
    match (whole.end, pieces.end) {
        (Ok(()), Ok(())) => assert_eq!((&whole.trailers, whole.used), (&pieces.trailers, pieces.used)),
        // What went wrong is told by how much of it is seen.
        (Err(BodyFault::Malformed(_)), Err(BodyFault::Malformed(_))) => {}
        (whole, pieces) => assert_eq!(whole, pieces),
    }
    match (chunks::decode(bytes), whole.end) {
        (Ok(Body { data, trailers, used }), Ok(())) => {
            assert_eq!((data, trailers, used), (whole.data, whole.trailers, whole.used));
        }
        // One of them may see sooner than the other that it can come to nothing.
        (Err(_), Err(_)) => {}
        (plain, ours) => panic!("the plain decoder finds {plain:?}, ours {ours:?}"),
    }
    if pieces.end.is_ok() {
        goes_on(&pieces);
    }
}

/// What is passed on is read as the same body by whoever is next.
fn goes_on(passed: &Passed) {
    for line in passed.trailers.split(|byte| *byte == b'\n') {
        let name = String::from_utf8_lossy(line.split(|byte| *byte == b':').next().unwrap_or_default());
        assert!(
            !NO_TRAILERS.contains(&&*name.to_ascii_lowercase()),
            "{name} goes on as a trailer"
        );
    }
    // Lines are written with a space that they may not have had, and may come to be too long for the next.
    if passed.trailers.len() + 2 <= 8 << 10 {
        let expected = Body {
            data: passed.data.clone(),
            trailers: passed.trailers.clone(),
            used: passed.framed.len(),
        };
        assert_eq!(chunks::decode(&passed.framed), Ok(expected));
        let again = Passed::at_once(&passed.framed);
        assert_eq!(again.end, Ok(()), "we refuse what we sent");
        assert_eq!((&again.data, again.used), (&passed.data, passed.framed.len()));
        assert_eq!(again.trailers, passed.trailers);
    }
}

/// A body that was passed on.
struct Passed {
    data: Vec<u8>,
    trailers: Vec<u8>,
    /// As it is framed for the next: a chunk for each piece.
    framed: Vec<u8>,
    used: usize,
    end: Result<(), BodyFault>,
}

impl Passed {
    fn at_once(bytes: &[u8]) -> Passed {
        Passed::through(Framing::Chunked, bytes, std::iter::once(bytes.len()))
    }

    fn of(framing: Framing, bytes: &[u8], seed: u8) -> Passed {
        Passed::through(framing, bytes, arrivals(bytes.len(), seed))
    }

    fn through(framing: Framing, bytes: &[u8], mut arrivals: impl Iterator<Item = usize>) -> Passed {
        let mut decoder = BodyDecoder::new(framing);
        let mut passed = Passed {
            data: Vec::new(),
            trailers: Vec::new(),
            framed: Vec::new(),
            used: 0,
            end: Ok(()),
        };
        let mut have = 0;
        loop {
            match decoder.step(&bytes[passed.used..have]) {
                Ok(Step::Skip(count)) => passed.used += count,
                Ok(Step::Data(count)) => {
                    let piece = &bytes[passed.used..passed.used + count];
                    passed.data.extend_from_slice(piece);
                    write_chunk_head(&mut passed.framed, count);
                    passed.framed.extend_from_slice(piece);
                    write_chunk_end(&mut passed.framed);
                    decoder.used(count);
                    passed.used += count;
                }
                Ok(Step::More) => match arrivals.next() {
                    Some(more) => have = more,
                    None => {
                        passed.end = decoder.ended();
                        return passed;
                    }
                },
                Ok(Step::End) => {
                    assert!(decoder.is_done());
                    passed.trailers = decoder.trailers().to_vec();
                    write_last_chunk(&mut passed.framed, &passed.trailers);
                    return passed;
                }
                Err(fault) => {
                    passed.end = Err(fault);
                    return passed;
                }
            }
        }
    }
}
