//! Backends that do to each request what its `x-case` says, or serve it well, and count what comes.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::frames::{END_STREAM, Frame, Frames, kind};
use e2e::message::read_head;
use e2e::{Backend, PATIENCE};

use super::cells::Fault;

/// The length of an answer.
pub(super) const ANSWER: usize = 10_000;

/// A body that shows when any part of it is missing or moved.
pub(super) fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| b'a' + ((at / 251 + at % 251) % 26) as u8).collect()
}

/// What came to the backends of a test.
#[derive(Default)]
pub(super) struct Arrivals {
    /// Heads, by case: at the faulty backend, and at the good one.
    heads: Mutex<HashMap<usize, [u32; 2]>>,
    /// Bodies that came to the good one and were not as the client sent them.
    wrong: Mutex<Vec<String>>,
}

impl Arrivals {
    pub(super) fn of(&self, case: usize) -> [u32; 2] {
        let heads = self.heads.lock().expect("nobody panics with it");
        heads.get(&case).copied().unwrap_or_default()
    }

    pub(super) fn total(&self) -> u32 {
        let heads = self.heads.lock().expect("nobody panics with it");
        heads.values().flatten().sum()
    }

    pub(super) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().expect("nobody panics with it").clone()
    }

    fn note(&self, case: &Case, good: bool) {
        let mut heads = self.heads.lock().expect("nobody panics with it");
        heads.entry(case.number).or_default()[usize::from(good)] += 1;
    }

    fn judge(&self, case: &Case, body: &[u8]) {
        if body != pattern(case.size) {
            let what = format!("case {}: {} bytes of {}", case.number, body.len(), case.size);
            self.wrong.lock().expect("nobody panics with it").push(what);
        }
    }
}

/// What `x-case` says: a digit for the fault, five for the number, and the length of the body.
struct Case {
    fault: Fault,
    number: usize,
    size: usize,
}

impl Case {
    fn read(digits: &str) -> Case {
        let number = |from: usize, to: usize| digits[from..to].parse::<usize>().expect("digits");
        Case {
            fault: Fault::ALL[number(0, 1)],
            number: number(1, 6),
            size: number(6, digits.len()),
        }
    }
}

/// Begins like [`Case::read`] has it.
pub(super) fn digits(fault: Fault, number: usize, size: usize) -> String {
    let fault = Fault::ALL.iter().position(|other| *other == fault);
    format!("{}{number:05}{size}", fault.expect("it is one of all"))
}

/// A backend that speaks HTTP/1.1.
pub(super) fn h1(arrivals: &Arc<Arrivals>, good: bool) -> Backend {
    let arrivals = arrivals.clone();
    Backend::tcp(move |stream| {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream);
        while let Some(head) = read_head(&mut reader)? {
            let case = Case::read(head.header("x-case").unwrap_or("0000000"));
            arrivals.note(&case, good);
            if case.fault == Fault::ResetInUpload && !good {
                return reset(&mut reader, case.size.min(512));
            }
            let length = head
                .header("content-length")
                .map_or(0, |length| length.parse().expect("a number"));
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let is_head = head.first_line.starts_with("HEAD ");
            if good {
                arrivals.judge(&case, &body);
                answer(reader.get_mut(), "200 OK", "good", if is_head { 0 } else { ANSWER })?;
            } else if !spoil(&mut reader, case.fault, is_head)? {
                return Ok(());
            }
        }
        Ok(())
    })
}

/// Plays a fault once the request has come; whether the connection goes on.
fn spoil(reader: &mut BufReader<TcpStream>, fault: Fault, is_head: bool) -> io::Result<bool> {
    let stream = reader.get_mut();
    match fault {
        // To HEAD that is a whole answer: the connection would be kept, and break under the next request.
        Fault::ResetAfterHead | Fault::ResetInBody | Fault::HalfAnswer if is_head => {
            answer(stream, "200 OK\r\nconnection: close", "bad", 0)?;
        }
        Fault::ResetAfterHead => answer(stream, "200 OK", "bad", 0)?,
        Fault::ResetInBody | Fault::HalfAnswer => answer(stream, "200 OK", "bad", ANSWER / 2)?,
        Fault::Silence => return io::copy(stream, &mut io::sink()).map(|_| false),
        Fault::Unavailable => {
            stream.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nx-from: bad\r\nconnection: close\r\n\r\n")?;
            return Ok(false);
        }
        Fault::UnavailableAndKept => {
            stream.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nx-from: bad\r\n\r\n")?;
            return Ok(true);
        }
        _ => {}
    }
    if fault == Fault::HalfAnswer {
        return Ok(false);
    }
    reset(reader, 0).map(|()| false)
}

/// A head that promises [`ANSWER`] bytes, and so many of them.
fn answer(stream: &mut TcpStream, status: &str, from: &str, sent: usize) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {ANSWER}\r\nx-from: {from}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), &pattern(ANSWER)[..sent]].concat())
}

/// Takes so many bytes, and has the connection reset once the caller lets go of it.
fn reset(reader: &mut BufReader<TcpStream>, taken: usize) -> io::Result<()> {
    reader.read_exact(&mut vec![0; taken])?;
    socket2::SockRef::from(reader.get_ref()).set_linger(Some(Duration::ZERO))
}

const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;

/// No compression by what came before; as much of every body as there is; and many streams.
const SETTINGS: &[(u16, u32)] = &[(1, 0), (4, 0x7fff_ffff), (3, 1_000)];

/// A backend that speaks HTTP/2, and to which nothing happens but on single streams.
pub(super) fn h2(arrivals: &Arc<Arrivals>, good: bool) -> Backend {
    let arrivals = arrivals.clone();
    Backend::tcp(move |stream| {
        let mut frames = Frames::accept(stream, SETTINGS)?;
        frames.send(kind::WINDOW_UPDATE, 0, 0, &0x7000_0000u32.to_be_bytes())?;
        let mut under_way: HashMap<u32, (Case, Vec<u8>)> = HashMap::new();
        loop {
            let frame = frames.read()?;
            let stream = frame.stream;
            match (frame.kind, frame.flags) {
                (kind::SETTINGS, 0) => frames.send(kind::SETTINGS, 1, 0, &[])?,
                (kind::PING, 0) => frames.send(kind::PING, 1, 0, &frame.payload)?,
                (kind::HEADERS, _) => {
                    let case = Case::read(&case_in(&frame.payload));
                    arrivals.note(&case, good);
                    if case.fault == Fault::RefusedStream && !good {
                        frames.reset(stream, REFUSED_STREAM)?;
                    } else {
                        under_way.insert(stream, (case, Vec::new()));
                    }
                }
                (kind::DATA, _) => {
                    if let Some((_, body)) = under_way.get_mut(&stream) {
                        body.extend(&frame.payload);
                    }
                }
                _ => continue,
            }
            if let Some((case, body)) = under_way.get(&stream)
                && is_due(&frame, case, good)
            {
                if good {
                    arrivals.judge(case, body);
                    answer_on(&mut frames, stream, "good", ANSWER, END_STREAM)?;
                } else {
                    spoil_stream(&mut frames, stream, case.fault)?;
                }
                under_way.remove(&stream);
            }
        }
    })
}

/// Whether a stream has come so far as its fault waits for.
fn is_due(frame: &Frame, case: &Case, good: bool) -> bool {
    let early = case.fault == Fault::ResetInUpload && !good && frame.kind == kind::DATA;
    early || frame.flags & END_STREAM != 0
}

fn spoil_stream(frames: &mut Frames, stream: u32, fault: Fault) -> io::Result<()> {
    match fault {
        Fault::Silence => return Ok(()),
        Fault::ResetAfterHead => answer_on(frames, stream, "bad", 0, 0)?,
        Fault::ResetInBody => answer_on(frames, stream, "bad", ANSWER / 2, 0)?,
        Fault::HalfAnswer => return answer_on(frames, stream, "bad", ANSWER / 2, END_STREAM),
        Fault::Unavailable | Fault::UnavailableAndKept => {
            return frames.answer(stream, 503, &[("x-from", "bad")], END_STREAM);
        }
        _ => {}
    }
    frames.reset(stream, INTERNAL_ERROR)
}

fn answer_on(frames: &mut Frames, stream: u32, from: &str, sent: usize, flags: u8) -> io::Result<()> {
    let length = ANSWER.to_string();
    frames.answer(stream, 200, &[("content-length", &length), ("x-from", from)], 0)?;
    if sent > 0 {
        frames.send(kind::DATA, flags, stream, &pattern(ANSWER)[..sent])?;
    }
    Ok(())
}

/// `x-case` as the Huffman code of RFC 7541 (appendix B) has it, behind its length.
const NAME: [u8; 6] = [0x85, 0xf2, 0xb1, 0x06, 0x82, 0xff];

/// The digits in the field `x-case` of a head that is compressed by its own code alone.
fn case_in(block: &[u8]) -> String {
    let at = block.windows(NAME.len()).position(|part| part == NAME);
    let value = &block[at.unwrap_or_else(|| panic!("there is no x-case in {block:02x?}")) + NAME.len()..];
    let length = usize::from(value[0] & 0x7f);
    let bits: Vec<u8> = value[1..=length]
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let (mut digits, mut at) = (String::new(), 0);
    // 0 to 2 have the codes 0 to 2 of five bits, 3 to 9 have 25 to 31 of six; what is left are ones.
    let code = |at: usize, length: usize| {
        let bits = bits.get(at..at + length)?;
        Some(bits.iter().fold(0, |code, bit| code << 1 | bit))
    };
    loop {
        match (code(at, 5), code(at, 6)) {
            (Some(short @ 0..=2), _) => {
                digits.push(char::from(b'0' + short));
                at += 5;
            }
            (_, Some(long @ 25..=31)) => {
                digits.push(char::from(b'3' + long - 25));
                at += 6;
            }
            _ => return digits,
        }
    }
}

#[test]
fn digits_are_read_from_a_compressed_head() {
    // x-case: 0123456789, encoded by hand.
    let codes: [(u8, usize); 10] = [
        (0, 5),
        (1, 5),
        (2, 5),
        (25, 6),
        (26, 6),
        (27, 6),
        (28, 6),
        (29, 6),
        (30, 6),
        (31, 6),
    ];
    let mut bits: Vec<u8> = codes
        .iter()
        .flat_map(|(code, length)| (0..*length).rev().map(move |bit| code >> bit & 1))
        .collect();
    bits.resize(bits.len().next_multiple_of(8), 1);
    let bytes: Vec<u8> = bits
        .chunks(8)
        .map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit))
        .collect();
    let block = [
        &[0x40][..],
        &NAME,
        &[0x80 | u8::try_from(bytes.len()).expect("short")],
        &bytes,
    ]
    .concat();
    assert_eq!(case_in(&block), "0123456789");
}
