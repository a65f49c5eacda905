//! The request on its way to a backend: its head and body, framed by us, kept for a retry while that is possible.

use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use plimsoll_http::h1::{BodyDecoder, Framing, Step, write_chunk_end, write_chunk_head, write_last_chunk};
use plimsoll_net::{Deadline, Timer};

use super::downstream::Downstream;
use super::upstream::{Deaf, Outgoing, Upstream};

/// The most bytes of a body that are kept to be sent again; a longer one is sent and not retried.
pub(crate) const REPLAY_MAX: usize = 64 << 10;

/// What such a body may take up with its framing: one in tiny chunks is not worth keeping.
const FRAMED_MAX: usize = 2 * REPLAY_MAX;

/// Bytes that are framed before they are written.
const BATCH: usize = 64 << 10;

/// A request on its way.
#[derive(Clone)]
pub(crate) struct Upload {
    /// Whether its body comes in chunks over HTTP/1.1.
    in_chunks: bool,
    /// Whether it is framed in chunks now.
    chunked: bool,
    sending: Vec<u8>,
    written: usize,
    head: usize,
    /// The head, once it is not kept to be sent again: who looks for a failure wants to know what was asked.
    past_head: Box<[u8]>,
    replayable: bool,
    complete: bool,
    /// The lines of its trailers, when they go apart from its bytes.
    trailers: Vec<u8>,
    /// All of it has been sent.
    sent: bool,
    /// Nothing more can be sent: the backend does not take it. Its answer may still come.
    pub(crate) broken: bool,
    /// Whether a byte has moved since the deadline was set.
    moved: bool,
    stalls_at: Option<Deadline>,
    /// Bytes of the body that came from the client.
    pub(crate) body_bytes: u64,
    /// How many there may be.
    body_max: u64,
    /// Its Host is the backend's address.
    names_backend: bool,
    /// Where the id of the span that asks stands in its head.
    span_at: Option<usize>,
}

/// Why a request cannot be sent on.
#[derive(Debug)]
pub(crate) enum UploadFault {
    /// The client went away.
    ClientGone,
    /// The client's body is malformed.
    ClientBody,
    /// The client's body is longer than it may be.
    TooLarge,
    /// The backend does not take it.
    Backend,
    /// It cannot be told in the version of HTTP that is spoken to the backend.
    Unspeakable,
}

impl From<Deaf> for UploadFault {
    fn from(deaf: Deaf) -> Self {
        match deaf {
            Deaf::Gone => UploadFault::Backend,
            Deaf::Unspeakable => UploadFault::Unspeakable,
        }
    }
}

impl Upload {
    /// A request with this head, and a body framed so.
    pub(crate) fn new(head: Vec<u8>, framing: Framing) -> Self {
        Upload {
            in_chunks: framing == Framing::Chunked,
            chunked: framing == Framing::Chunked,
            complete: matches!(framing, Framing::None | Framing::Length(0)),
            head: head.len(),
            sending: head,
            written: 0,
            past_head: Box::default(),
            trailers: Vec::new(),
            sent: false,
            replayable: true,
            broken: false,
            moved: false,
            stalls_at: None,
            body_bytes: 0,
            body_max: u64::MAX,
            names_backend: false,
            span_at: None,
        }
    }

    /// The same; if `names_backend`, with the address of the backend that it goes to as its Host.
    pub(crate) fn naming_backend(mut self, names_backend: bool) -> Self {
        self.names_backend = names_backend;
        self
    }

    /// The same, whose head says at `span_at` in which span it asks.
    pub(crate) fn in_span_at(mut self, span_at: Option<usize>) -> Self {
        self.span_at = span_at;
        self
    }

    /// It asks in this span next.
    pub(crate) fn ask_in(&mut self, span: u64) {
        let Some(at) = self.span_at.filter(|_| !self.is_begun()) else {
            return;
        };
        let digits = format!("{span:016x}");
        if let Some(place) = self.sending.get_mut(at..at + digits.len()) {
            place.copy_from_slice(digits.as_bytes());
        }
    }

    /// Its head, as it goes upstream.
    pub(crate) fn head(&self) -> &[u8] {
        let kept = self.sending.get(..self.head).unwrap_or_default();
        if kept.is_empty() { &self.past_head } else { kept }
    }

    /// It goes to the backend at `address` next.
    pub(crate) fn go_to(&mut self, address: SocketAddr) {
        if !self.names_backend || self.is_begun() {
            return;
        }
        // Behind the request line, since we have put it there.
        let line_after = |from: usize| {
            self.sending[from..]
                .windows(2)
                .position(|pair| pair == b"\r\n")
                .map(|at| from + at)
        };
        let Some(start) = line_after(0).map(|end| end + b"\r\nhost: ".len()) else {
            return;
        };
        let Some(end) = line_after(start) else { return };
        let host = address.to_string();
        let (was, is) = (end - start, host.len());
        self.head = self.head + is - was;
        // What says in which span it asks stands behind.
        self.span_at = self.span_at.map(|at| at + is - was);
        self.sending.splice(start..end, host.into_bytes());
    }

    /// From now on it goes over HTTP/2, which frames a body by its stream, or over HTTP/1.1. What has been framed for the
    /// other is framed anew: all of it is here, or nobody would send it again.
    pub(crate) fn speak(&mut self, h2: bool) {
        let chunked = self.in_chunks && !h2;
        if std::mem::replace(&mut self.chunked, chunked) == chunked || !self.replayable {
            return;
        }
        let framed = self.sending.split_off(self.head);
        if !chunked {
            return self.unframe(&framed);
        }
        if !framed.is_empty() {
            write_chunk_head(&mut self.sending, framed.len());
            self.sending.extend_from_slice(&framed);
            write_chunk_end(&mut self.sending);
        }
        if self.complete {
            write_last_chunk(&mut self.sending, &std::mem::take(&mut self.trailers));
        }
    }

    /// Takes the body out of the chunks that we have put it into.
    fn unframe(&mut self, mut framed: &[u8]) {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        while let Ok(step) = decoder.step(framed) {
            let count = match step {
                Step::Skip(count) => count,
                Step::Data(count) => {
                    self.sending.extend_from_slice(&framed[..count]);
                    decoder.used(count);
                    count
                }
                Step::End => {
                    self.trailers = decoder.trailers().to_vec();
                    return;
                }
                Step::More => return,
            };
            framed = &framed[count..];
        }
    }

    /// The same once more, when all of it was kept.
    pub(crate) fn again(mut self) -> Option<Self> {
        (self.complete && self.restart()).then_some(self)
    }

    /// The same for a second backend beside the first one, when all of it has come and was kept.
    pub(crate) fn copy(&self) -> Option<Self> {
        (self.complete && self.replayable).then(|| {
            let mut copy = self.clone();
            copy.restart();
            copy
        })
    }

    /// The same with a body of so many bytes at the most.
    pub(crate) fn at_most(mut self, body_max: Option<u64>) -> Self {
        self.body_max = body_max.unwrap_or(u64::MAX);
        self
    }

    /// The vector that its bytes were kept in.
    pub(crate) fn into_scratch(self) -> Vec<u8> {
        self.sending
    }

    /// Whether all of the client's request has been taken from it.
    pub(crate) fn is_read(&self) -> bool {
        self.complete
    }

    /// When it has to have moved on: `patience` after it last did.
    pub(crate) fn stalls_at(&mut self, timer: &Timer, patience: Duration) -> Deadline {
        self.take_moved();
        *self.stalls_at.get_or_insert_with(|| timer.after(patience))
    }

    /// Whether anything has moved since the last time that this was asked.
    pub(crate) fn take_moved(&mut self) -> bool {
        let moved = std::mem::take(&mut self.moved);
        if moved {
            self.stalls_at = None;
        }
        moved
    }

    /// The answer has moved, while the request is under way: the client may be waiting for it.
    pub(crate) fn touch(&mut self) {
        self.moved = true;
    }

    /// Whether the backend is slow to take what is here of it, so that no more is read from the client.
    pub(crate) fn is_backed_up(&self) -> bool {
        !self.complete && !self.broken && self.written < self.sending.len()
    }

    /// Whether it waits for the client to send more of it.
    pub(crate) fn is_starved(&self) -> bool {
        !self.complete && !self.broken && self.written == self.sending.len()
    }

    /// Whether all of it has been sent.
    pub(crate) fn is_sent(&self) -> bool {
        self.sent
    }

    /// Whether the backend may have seen any of it.
    pub(crate) fn is_begun(&self) -> bool {
        self.written > 0 || !self.replayable
    }

    /// Whether it can be sent to another backend from its beginning: all of it is there, and it is none too long of which
    /// something was sent. How much has come by chance before a backend fails makes no difference.
    pub(crate) fn is_replayable(&self) -> bool {
        self.replayable && (self.written == 0 || !self.is_long())
    }

    fn is_long(&self) -> bool {
        self.body_bytes > REPLAY_MAX as u64 || self.sending.len() - self.head.min(self.sending.len()) > FRAMED_MAX
    }

    /// Begins again for another backend; false when what was sent is no longer there.
    pub(crate) fn restart(&mut self) -> bool {
        let again = self.is_replayable();
        self.written = 0;
        self.sent = false;
        self.broken = false;
        self.stalls_at = None;
        again
    }

    /// Moves what can be moved now; ready once all is sent.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut impl Downstream,
        backend: &mut Upstream,
    ) -> Poll<Result<(), UploadFault>> {
        loop {
            self.make_room();
            // What is at hand goes into the same write as the head.
            let starved = match client.gather(self) {
                Ok(starved) => starved,
                Err(fault) => return Poll::Ready(Err(fault)),
            };
            if self.body_bytes > self.body_max {
                return Poll::Ready(Err(UploadFault::TooLarge));
            }
            while self.written < self.sending.len() {
                let part = Outgoing {
                    bytes: &self.sending[self.written..],
                    head: self.head.saturating_sub(self.written),
                    last: self.complete && self.trailers.is_empty(),
                };
                self.written += ready!(backend.poll_write(cx, part))?;
                self.moved = true;
            }
            if self.complete {
                backend.end(&self.trailers)?;
                self.sent = true;
                return Poll::Ready(Ok(()));
            }
            self.make_room();
            if starved {
                ready!(client.poll_more(cx))?;
                self.moved = true;
            }
        }
    }

    /// Whether more of the body can be taken now.
    pub(crate) fn has_room(&self) -> bool {
        !self.complete && self.sending.len() - self.written < BATCH
    }

    /// Takes some of `data`, the next part of the body, and frames it; how much.
    pub(crate) fn add(&mut self, data: &[u8]) -> usize {
        let data = &data[..data.len().min(BATCH)];
        if self.chunked {
            write_chunk_head(&mut self.sending, data.len());
        }
        self.sending.extend_from_slice(data);
        if self.chunked {
            write_chunk_end(&mut self.sending);
        }
        self.body_bytes += data.len() as u64;
        data.len()
    }

    /// The body is complete, with these trailer lines.
    pub(crate) fn end(&mut self, trailers: &[u8]) {
        match (self.complete, self.chunked) {
            (true, _) => {}
            (false, true) => write_last_chunk(&mut self.sending, trailers),
            (false, false) => self.trailers = trailers.to_vec(),
        }
        self.complete = true;
    }

    /// Drops what was sent once there is too much of it to be kept for a retry: also when some is not sent yet, since where
    /// more always comes before all is sent nothing would ever be dropped. What is left is moved at most once for each byte
    /// that was sent.
    fn make_room(&mut self) {
        let is_most_sent = self.written >= self.head && self.written * 2 >= self.sending.len();
        if is_most_sent && (self.is_long() || !self.replayable) {
            if self.replayable {
                self.past_head = self.sending[..self.head.min(self.sending.len())].into();
            }
            self.replayable = false;
            self.sending.drain(..self.written);
            self.written = 0;
            self.head = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_sent_again_up_to_a_length_and_no_further() {
        for (length, again) in [
            (0, true),
            (REPLAY_MAX, true),
            (REPLAY_MAX + 1, false),
            (2 * REPLAY_MAX, false),
        ] {
            for framing in [Framing::Length(length as u64), Framing::Chunked] {
                let mut upload = Upload::new(b"HEAD\r\n\r\n".to_vec(), framing);
                let body = vec![b'x'; length];
                body.chunks(BATCH)
                    .for_each(|part| assert_eq!(upload.add(part), part.len()));
                upload.end(b"");
                assert!(upload.is_replayable(), "{length}: nothing was sent");
                upload.written = upload.sending.len();
                assert_eq!(upload.is_replayable(), again, "{length} {framing:?}");
                assert_eq!(upload.restart(), again, "{length} {framing:?}");
            }
        }
    }

    #[test]
    fn a_body_of_which_some_is_always_left_is_not_gathered() {
        let part = vec![b'x'; BATCH];
        let mut upload = Upload::new(b"HEAD\r\n\r\n".to_vec(), Framing::Length(u64::MAX));
        for _ in 0..1_000 {
            while upload.has_room() {
                upload.add(&part);
            }
            // As much as a backend takes that is a little slower.
            upload.written += BATCH / 2;
            upload.make_room();
            assert!(upload.sending.len() <= 4 * BATCH, "{}", upload.sending.len());
        }
        assert!(!upload.is_replayable() && !upload.restart());
    }

    fn sent(upload: &Upload) -> (&str, &str) {
        let text = std::str::from_utf8(&upload.sending).expect("text");
        (text, std::str::from_utf8(&upload.trailers).expect("text"))
    }

    #[test]
    fn a_body_that_goes_over_another_version_is_framed_anew() {
        let mut upload = Upload::new(b"HEAD\r\n\r\n".to_vec(), Framing::Chunked);
        upload.speak(true);
        upload.speak(false);
        upload.add(b"hello ");
        upload.add(b"world");
        assert_eq!(sent(&upload).0, "HEAD\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n");
        upload.speak(true);
        assert_eq!(sent(&upload), ("HEAD\r\n\r\nhello world", ""));
        upload.end(b"a: b\r\n");
        assert_eq!(sent(&upload), ("HEAD\r\n\r\nhello world", "a: b\r\n"));
        upload.speak(false);
        let framed = "HEAD\r\n\r\nb\r\nhello world\r\n0\r\na: b\r\n\r\n";
        assert_eq!(sent(&upload), (framed, ""));
        upload.speak(true);
        assert_eq!(sent(&upload), ("HEAD\r\n\r\nhello world", "a: b\r\n"));
    }

    #[test]
    fn an_empty_body_and_one_of_known_length_go_over_both() {
        let mut empty = Upload::new(b"H".to_vec(), Framing::Chunked);
        empty.end(b"");
        assert_eq!(sent(&empty).0, "H0\r\n\r\n");
        empty.speak(true);
        assert_eq!(sent(&empty).0, "H");
        empty.speak(false);
        assert_eq!(sent(&empty).0, "H0\r\n\r\n");
        let mut known = Upload::new(b"H".to_vec(), Framing::Length(3));
        known.add(b"abc");
        known.speak(true);
        assert_eq!(sent(&known).0, "Habc");
    }
}
