//! Streams of HTTP/3: the same however they are cut; whatever a request's head says is one head of HTTP/1.1, in which
//! nothing stands that concerns a connection.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use plimsoll_fuzz::arrivals;
use plimsoll_http::h1::{FieldRoom, Framing, parse_request};
use plimsoll_http::h2::Follows;
use plimsoll_http::h3::{
    Code, Guard, Opened, RequestFrames, Step, UniFault, UniStream, read_section, read_trailers, write_trailers,
};

/// The most that a head may have here.
const HEAD_MAX: usize = 4096;

/// What makes a WebSocket of a head that asks for one.
const KEY: &[u8; 24] = b"dGhlIHNhbXBsZSBub25jZQ==";

fuzz_target!(|data: &[u8]| {
    let [kind, seed, bytes @ ..] = data else { return };
    match kind % 3 {
        0 => request(bytes, *seed),
        1 => uni(bytes, *seed),
        _ => {
            head(bytes);
            trailers(bytes);
        }
    }
});

/// What a request's stream was found to be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    sections: Vec<Vec<u8>>,
    body: Vec<u8>,
    idle: usize,
}

fn follow(pieces: impl Iterator<Item = Bytes>) -> Result<Told, Code> {
    let (mut frames, mut told) = (RequestFrames::default(), Told::default());
    for mut piece in pieces {
        loop {
            match frames.step(&mut piece)? {
                Step::More => break,
                Step::Idle => told.idle += 1,
                Step::Section(_) => told.sections.push(Vec::new()),
                Step::Part(part) => told.sections.last_mut().expect("it has begun").extend_from_slice(&part),
                Step::SectionEnd => {}
                Step::Data(count) => {
                    told.body.extend_from_slice(&piece.split_to(count));
                    frames.used(count);
                }
            }
        }
        assert!(piece.is_empty(), "what is no data is taken");
    }
    frames.ended().map(|()| told).map_err(|(code, _)| code)
}

fn request(bytes: &[u8], seed: u8) {
    let whole = follow(std::iter::once(Bytes::copy_from_slice(bytes)));
    let mut before = 0;
    let pieces = arrivals(bytes.len(), seed).map(|have| {
        let piece = Bytes::copy_from_slice(&bytes[before..have]);
        before = have;
        piece
    });
    assert_eq!(whole, follow(pieces), "cut differently, it is another one");
    if let Ok(told) = whole {
        told.sections.iter().take(1).for_each(|section| head(section));
        told.sections.iter().skip(1).for_each(|section| trailers(section));
    }
}

fn uni(bytes: &[u8], seed: u8) {
    let see = |pieces: &mut dyn Iterator<Item = &[u8]>| -> Result<(), UniFault> {
        let (mut stream, mut opened, mut guard) = (UniStream::default(), Opened::default(), Guard::default());
        pieces.try_for_each(|piece| stream.see(piece, &mut opened, &mut guard))
    };
    let mut before = 0;
    let mut pieces = arrivals(bytes.len(), seed).map(|have| {
        let piece = &bytes[before..have];
        before = have;
        piece
    });
    assert_eq!(see(&mut std::iter::once(bytes)), see(&mut pieces));
}

fn head(section: &[u8]) {
    let mut text = Vec::new();
    let Ok(head) = read_section(section, &mut text, HEAD_MAX) else { return };
    let follows = if head.is_websocket { Follows::WebSocket(KEY) } else { Follows::Nothing };
    if head.finish(&mut text, follows).is_err() {
        return;
    }
    let end = text.windows(4).position(|four| four == b"\r\n\r\n");
    assert_eq!(end, Some(text.len() - 4), "it is one head, and no more than one");
    let mut room = FieldRoom::new();
    let Ok(read) = parse_request(&text, &mut room, 128) else { return };
    assert_ne!(read.framing, Framing::Chunked, "nobody said that a body follows");
    assert_eq!(read.upgrade_websocket, head.is_websocket);
    let of_connection = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
    let count = read.fields.iter().filter(|field| of_connection.contains(&field.name)).count();
    assert_eq!(count, if head.is_websocket { 2 } else { 0 });
}

fn trailers(section: &[u8]) {
    let Ok(lines) = read_trailers(section) else { return };
    let mut frame = Vec::new();
    write_trailers(&mut frame, &lines);
    let again = follow(std::iter::once(Bytes::from([&b"\x01\x00"[..], &frame].concat())));
    let Ok(Told { sections, .. }) = again else { panic!("we refuse what we wrote") };
    let again = read_trailers(&sections[1]).expect("we read what we wrote");
    let trimmed = |lines: &[u8]| lines.iter().filter(|byte| !matches!(byte, b' ' | b'\t')).copied().collect::<Vec<u8>>();
    assert_eq!(trimmed(&lines), trimmed(&again));
}
