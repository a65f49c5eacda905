use super::*;

/// Decodes `bytes`, which arrive in pieces of `piece` bytes.
fn decode(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<u8>, usize), BodyFault> {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    let (mut body, mut used, mut have) = (Vec::new(), 0, 0);
    loop {
        match decoder.step(&bytes[used..have])? {
            Step::Skip(count) => used += count,
            Step::Data(count) => {
                body.extend_from_slice(&bytes[used..used + count]);
                decoder.used(count);
                used += count;
            }
            Step::More if have == bytes.len() => return decoder.ended().map(|()| (body, Vec::new(), used)),
            Step::More => have = (have + piece).min(bytes.len()),
            Step::End => return Ok((body, decoder.trailers().to_vec(), used)),
        }
    }
}

#[test]
fn chunks_are_read_however_they_are_cut() {
    let bytes = b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-Sum: 1\r\nContent-Length: 3\r\n\r\nGET";
    for piece in 1..=bytes.len() {
        let (body, trailers, used) = decode(bytes, piece).unwrap();
        assert_eq!(body, b"hello world");
        assert_eq!(trailers, b"X-Sum: 1\r\n", "what frames is no trailer");
        assert_eq!(&bytes[used..], b"GET");
    }
}

#[test]
fn malformed_chunks_are_refused() {
    for bytes in [
        &b"5\nhello\r\n0\r\n\r\n"[..],
        b"-5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5;\x01\r\nhello\r\n0\r\n\r\n",
        b"\r\n",
        b"g\r\n",
        b"0\r\nX: 1\n\r\n\r\n",
        b"0\r\n X: folded\r\n\r\n",
        b"5;aaaa\rbbbb\r\nhello\r\n0\r\n\r\n",
        b"5\r;a\r\nhello\r\n0\r\n\r\n",
        b"5 \x0c;a\r\nhello\r\n0\r\n\r\n",
    ] {
        for piece in [1, bytes.len()] {
            assert!(
                matches!(decode(bytes, piece), Err(BodyFault::Malformed(_))),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
    let long = [&b"5;"[..], &[b'a'; 300], b"\r\nhello\r\n0\r\n\r\n"].concat();
    assert!(decode(&long, 1).is_err() && decode(&long, long.len()).is_err());
    assert_eq!(decode(b"5\r\nhel", 2), Err(BodyFault::Truncated));
}

#[test]
fn chunk_lines_are_bounded_in_proportion_to_their_data() {
    let chunks = |extension: usize, size: usize, count: usize| {
        let chunk = format!("{size:x};{}\r\n{}\r\n", "e".repeat(extension), "d".repeat(size));
        decode((chunk.repeat(count) + "0\r\n\r\n").as_bytes(), 4096)
    };
    assert!(chunks(200, 1, 1_000).is_err());
    // Bytes one by one, and chunks that are signed (as in S3's uploads), are no flood.
    assert!(chunks(0, 1, 20_000).is_ok());
    assert!(chunks(90, 8 << 10, 1_000).is_ok());
}

#[test]
fn a_length_ends_where_it_says() {
    let mut decoder = BodyDecoder::new(Framing::Length(3));
    assert_eq!(decoder.step(b"abcd"), Ok(Step::Data(3)));
    decoder.used(3);
    assert_eq!(decoder.step(b"d"), Ok(Step::End));
    let mut decoder = BodyDecoder::new(Framing::Length(3));
    assert_eq!(decoder.ended(), Err(BodyFault::Truncated));
    assert!(BodyDecoder::new(Framing::Length(0)).is_done());
}
