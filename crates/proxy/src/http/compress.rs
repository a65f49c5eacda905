//! Compressing an answer on its way to the client.

use std::cell::Cell;
use std::io::{self, Write};
use std::rc::Rc;

use flate2::Compression;
use flate2::write::GzEncoder;
use plimsoll_core::filter::{self, Coding, Edits, Verdict};
use plimsoll_http::field::{Class, list};
use plimsoll_http::h1::{Framing, HeadOut, Method, ResponseHead};

use super::exchange::number;

/// Answers that a worker compresses at once. An encoder holds up to a megabyte; beyond it answers go as they are.
const CODED_MAX: usize = 256;

/// Gzip's level: zlib's default costs half as much again for a few percent.
const GZIP_LEVEL: u32 = 5;

/// Brotli's quality, that of answers made on the spot (its own servers use 4 to 6), and its window: 2^18 bytes hold the
/// memory of an encoder under a megabyte.
const BROTLI_QUALITY: u32 = 4;
const BROTLI_WINDOW: u32 = 18;
const BROTLI_BUFFER: usize = 4 << 10;

/// Zstandard's level, its default, and its window of 2^18 bytes: clients need not take more than 8 MiB (RFC 8878 §3.1.1.1.2).
const ZSTD_LEVEL: i32 = 3;
const ZSTD_WINDOW: u32 = 18;

/// An answer that is being compressed.
pub(crate) struct Coder {
    encoder: Encoder,
    /// Something was taken in since the last flush.
    dirty: bool,
    _place: Place,
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

/// An answer that is compressed, counted while it is.
struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Coder {
    /// One for `coding`, unless there are as many as may be.
    pub(crate) fn begin(coding: Coding, count: &Rc<Cell<usize>>) -> Option<Box<Self>> {
        if count.get() >= CODED_MAX {
            return None;
        }
        let encoder = match coding {
            Coding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Coding::Brotli => Encoder::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER,
                BROTLI_QUALITY,
                BROTLI_WINDOW,
            ))),
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).ok()?;
                encoder.window_log(ZSTD_WINDOW).ok()?;
                Encoder::Zstd(encoder)
            }
        };
        count.set(count.get() + 1);
        Some(Box::new(Coder {
            encoder,
            dirty: false,
            _place: Place(count.clone()),
        }))
    }

    /// Takes in the next part of the body.
    pub(crate) fn add(&mut self, data: &[u8]) -> io::Result<()> {
        self.dirty = true;
        self.writer().write_all(data)
    }

    /// Has everything that was taken in come out: the client may wait for it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.dirty) {
            self.writer().flush()?;
        }
        Ok(())
    }

    /// What has come out and was not taken yet.
    pub(crate) fn coded(&mut self) -> &mut Vec<u8> {
        match &mut self.encoder {
            Encoder::Gzip(encoder) => encoder.get_mut(),
            Encoder::Brotli(encoder) => encoder.get_mut(),
            Encoder::Zstd(encoder) => encoder.get_mut(),
        }
    }

    /// The body is complete: what is left to come out.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        match self.encoder {
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Brotli(encoder) => Ok(encoder.into_inner()),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match &mut self.encoder {
            Encoder::Gzip(encoder) => encoder,
            Encoder::Brotli(encoder) => encoder,
            Encoder::Zstd(encoder) => encoder,
        }
    }
}

/// Sees whether an answer is to be compressed, and changes its head when it is: what compresses it, and the edits that
/// come with that, those that filters asked for among them.
pub(super) fn begin(
    (compression, count): (&filter::Compression, &Rc<Cell<usize>>),
    head: &mut ResponseHead<'_>,
    method: Method,
    to: &HeadOut<'_>,
) -> (Option<Box<Coder>>, Option<Edits>) {
    let length = head.first("content-length").and_then(number);
    let verdict = compression.judge(head.status, head, length);
    if verdict == Verdict::Leave || to.client_minor == 0 {
        return (None, None);
    }
    let mut edits = to.edits.map(|(edits, _)| edits.clone()).unwrap_or_default();
    let is_head = method == Method::Head;
    let coder = match verdict {
        Verdict::Code(coding) if !is_head => Coder::begin(coding, count),
        _ => None,
    };
    match verdict {
        // An answer to HEAD is like the one to GET, but for its body.
        Verdict::Code(coding) if is_head || coder.is_some() => edit(head, coding, &mut edits),
        _ => vary(head, &mut edits),
    }
    if coder.is_some() && head.framing != Framing::Chunked {
        head.framing = Framing::UntilClose;
    }
    (coder, Some(edits))
}

/// Changes the head of an answer that is compressed to `coding`: it has no length and no ranges any more, and its strong
/// validator becomes a weak one (RFC 9110 §8.8.1).
fn edit(head: &mut ResponseHead<'_>, coding: Coding, edits: &mut Edits) {
    for (field, class) in head.fields.iter().zip(head.classes.iter_mut()) {
        if *class == Class::ContentLength {
            *class = Class::HopByHop;
        }
        let strong = field.name.eq_ignore_ascii_case("etag") && !field.value.starts_with(b"W/");
        if strong {
            let mut weak = b"W/".to_vec();
            weak.extend_from_slice(field.value);
            edits.set("etag", &weak);
        }
    }
    edits.remove("accept-ranges");
    edits.set("content-encoding", coding.word().as_bytes());
    vary(head, edits);
}

/// Tells caches that the answer depends on what the client accepts.
fn vary(head: &ResponseHead<'_>, edits: &mut Edits) {
    let named = |member: &[u8]| member == b"*" || member.eq_ignore_ascii_case(b"accept-encoding");
    let mut fields = head
        .fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("vary"));
    if !fields.any(|field| list(field.value).any(named)) {
        edits.add("vary", b"accept-encoding");
    }
}
