//! The client's side of a request on a stream of an HTTP/3 connection.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use plimsoll_http::h1::{Framing, HeadOut, ResponseHead};
use plimsoll_http::h3::{
    Code, Kind, RequestFrames, SectionFault, Step, read_trailers, write_data_head, write_reply, write_response,
    write_trailers,
};
use plimsoll_net::{Buffer, Timer};
use quinn::{RecvStream, SendStream, StoppedError, VarInt, WriteError};

use super::{Downstream, Stream, Unspeakable, framing_on_stream};
use crate::client::{LINGER, LINGER_BYTES_MAX};
use crate::http::h3::Ties;
use crate::http::upload::{Upload, UploadFault};

/// The most bytes that are put into one piece of an answer, which is one frame.
const PIECE_MAX: usize = 32 << 10;

/// The most bytes that are taken from a stream at once.
const READ_MAX: usize = 64 << 10;

/// The longest section of trailers, before it is read.
const TRAILER_SECTION_MAX: u64 = 16 << 10;

pub(crate) type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>>>>;

/// A request on a stream.
pub(crate) struct H3 {
    ties: Rc<Ties>,
    send: SendStream,
    receive: RecvStream,
    frames: RequestFrames,
    /// What has come and was not used yet.
    pending: Bytes,
    /// The client has said all.
    ended: bool,
    /// The trailers, as far as they have come.
    section: Vec<u8>,
    /// The lines of the trailers, once they are whole.
    trailers: Vec<u8>,
    /// How many bytes of the body are to come still, when the head has said how many there are.
    owed: Option<u64>,
    /// The request has turned out to be malformed.
    malformed: bool,
    /// A head that was taken, and is not sent for sure.
    head: Vec<u8>,
    /// Frames' heads that go in front of what is written next.
    outgoing: Vec<u8>,
    /// How many bytes of the frame that was begun are still to be written.
    frame_left: usize,
    /// The lines of the answer's trailers, once it is to end.
    ending: Option<Vec<u8>>,
    done: bool,
    /// It is done since it was broken off.
    aborted: bool,
    /// Ready once the client does not want the answer any more, or has all of it.
    stopped: Option<Stopped>,
    /// What a WebSocket that is asked for has to be granted with: its client cannot judge what we have asked.
    accept: Option<[u8; 28]>,
}

impl H3 {
    /// A request whose head is still to come.
    pub(crate) fn new(ties: Rc<Ties>, (send, receive): (SendStream, RecvStream)) -> Self {
        H3 {
            ties,
            stopped: Some(Box::pin(send.stopped())),
            send,
            receive,
            frames: RequestFrames::default(),
            pending: Bytes::new(),
            ended: false,
            section: Vec::new(),
            trailers: Vec::new(),
            owed: None,
            malformed: false,
            head: Vec::new(),
            outgoing: Vec::new(),
            frame_left: 0,
            ending: None,
            done: false,
            aborted: false,
            accept: None,
        }
    }

    /// Reads the section of the head, of at most so many bytes.
    pub(crate) async fn read_head(&mut self, most: usize) -> Result<Vec<u8>, HeadEnd> {
        let mut section = Vec::new();
        loop {
            let step = self.frames.step(&mut self.pending).map_err(|code| self.fail(code))?;
            match step {
                Step::More if self.ended => {
                    let (code, whole) = self.frames.ended().err().unwrap_or((Code::REQUEST_INCOMPLETE, false));
                    if whole {
                        return Err(self.fail(code));
                    }
                    self.reject(code);
                    return Err(HeadEnd::Incomplete);
                }
                Step::More => poll_fn(|cx| self.poll_read_more(cx)).await.map_err(|_| HeadEnd::Gone)?,
                Step::Idle => self.ties.count(Kind::Idle),
                Step::Section(length) if length > most as u64 => return Err(HeadEnd::TooLarge),
                Step::Section(_) => {}
                Step::Part(part) => section.extend_from_slice(&part),
                Step::SectionEnd => break,
                Step::Data(_) => return Err(self.fail(Code::FRAME_UNEXPECTED)),
            }
        }
        // A request without a body mostly ends in the packet that its head ends in.
        poll_fn(|cx| Poll::Ready(self.look_ahead(cx)))
            .await
            .map_err(|_| HeadEnd::Gone)?;
        Ok(section)
    }

    /// Looks at what has come behind the head.
    fn look_ahead(&mut self, cx: &mut Context<'_>) -> Result<(), UploadFault> {
        while self.next_data()?.is_none() {
            if self.ended {
                return match self.frames.ended() {
                    Ok(()) => Ok(()),
                    Err((code, _)) => Err(self.broken(code)),
                };
            }
            if let Poll::Ready(read) = self.poll_read_more(cx) {
                read?;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Whether nothing has come behind the head, and nothing will.
    pub(crate) fn is_bodiless(&self) -> bool {
        self.ended && self.pending.is_empty() && self.trailers.is_empty()
    }

    /// The body is to have so many bytes.
    pub(crate) fn expect(&mut self, framing: Framing) {
        self.owed = match framing {
            Framing::Length(length) => Some(length),
            // A WebSocket's bytes are no body of the request.
            Framing::None | Framing::Chunked | Framing::UntilClose => None,
        };
    }

    /// It asks to become a WebSocket, which has to be granted so.
    pub(crate) fn accept_with(&mut self, accept: [u8; 28]) {
        self.accept = Some(accept);
    }

    /// The request is malformed: its stream ends with that (RFC 9114 §4.1.2).
    pub(crate) fn reject(&mut self, code: Code) {
        // They fail when the client has ended the stream already.
        let _ = self.send.reset(number(code));
        let _ = self.receive.stop(number(code));
        self.malformed = true;
        self.done = true;
    }

    /// The connection ends with this.
    pub(crate) fn fail(&mut self, code: Code) -> HeadEnd {
        self.ties.fail(code);
        HeadEnd::Gone
    }

    /// Counts what may not be done too often.
    pub(crate) fn count(&self, kind: Kind) {
        self.ties.count(kind);
    }

    /// Whether the client has given the request up: its answer was not sent to the end, for no fault of a backend.
    pub(crate) fn is_given_up(&mut self) -> bool {
        if !self.aborted {
            return !self.done;
        }
        let mut cx = Context::from_waker(Waker::noop());
        // What has come to its end is not asked again.
        self.stopped
            .take_if(|stopped| stopped.as_mut().poll(&mut cx).is_ready());
        self.stopped.is_none()
    }

    /// Whether the client has taken back the request.
    pub(crate) fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.done {
            return Poll::Pending;
        }
        if let Some(stopped) = &mut self.stopped {
            // What has come to its end is not asked again.
            let _ = ready!(stopped.as_mut().poll(cx));
            self.stopped = None;
        }
        Poll::Ready(())
    }

    /// What is ready once the client has all of an answer that is done, or does not want it.
    pub(crate) fn into_flushed(mut self) -> Option<Stopped> {
        self.stopped.take().filter(|_| self.done && !self.malformed)
    }

    fn poll_read_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadFault>> {
        // Made anew each time: what wakes it is kept by the stream.
        let polled = pin!(self.receive.read_chunk(READ_MAX, true)).poll(cx);
        match ready!(polled) {
            Ok(Some(chunk)) => self.pending = chunk.bytes,
            Ok(None) => self.ended = true,
            Err(_) => return Poll::Ready(Err(UploadFault::ClientGone)),
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what is no data off what has come; how much data is next, `None` when nothing is.
    fn next_data(&mut self) -> Result<Option<usize>, UploadFault> {
        loop {
            let step = self.frames.step(&mut self.pending);
            match step.map_err(|code| self.broken(code))? {
                Step::More => return Ok(None),
                Step::Data(count) => return Ok(Some(count)),
                Step::Idle => self.ties.count(Kind::Idle),
                Step::Section(length) if length > TRAILER_SECTION_MAX => return Err(self.spoilt()),
                Step::Section(_) => {}
                Step::Part(part) => self.section.extend_from_slice(&part),
                Step::SectionEnd => match read_trailers(&std::mem::take(&mut self.section)) {
                    Ok(lines) => self.trailers = lines,
                    Err(SectionFault::Connection(code)) => return Err(self.broken(code)),
                    Err(_) => return Err(self.spoilt()),
                },
            }
        }
    }

    /// So many bytes of the body were taken.
    fn used(&mut self, count: usize) -> Result<(), UploadFault> {
        self.frames.used(count);
        self.pending.advance(count);
        if let Some(owed) = &mut self.owed {
            *owed = owed
                .checked_sub(count as u64)
                .ok_or(UploadFault::ClientBody)
                .inspect_err(|_| {
                    self.malformed = true;
                })?;
        }
        Ok(())
    }

    /// Whether the body may end here.
    fn check_end(&mut self) -> Result<(), UploadFault> {
        if let Err((code, _)) = self.frames.ended() {
            return Err(self.broken(code));
        }
        if self.owed.is_some_and(|owed| owed > 0) {
            return Err(self.spoilt());
        }
        Ok(())
    }

    fn broken(&mut self, code: Code) -> UploadFault {
        self.ties.fail(code);
        UploadFault::ClientGone
    }

    fn spoilt(&mut self) -> UploadFault {
        self.malformed = true;
        UploadFault::ClientBody
    }

    /// Writes what there is of heads, and behind it some of `out` and `body`; how much of those.
    fn poll_send(&mut self, cx: &mut Context<'_>, out: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        self.outgoing.append(&mut self.head);
        let total = out.len() + body.len();
        if self.frame_left == 0 && total > 0 {
            self.frame_left = total.min(PIECE_MAX);
            write_data_head(&mut self.outgoing, self.frame_left);
        }
        let count = total.min(self.frame_left);
        let first = out.len().min(count);
        let pieces = &self.ties.worker.pieces;
        let mut chunks = [
            pieces.copy(&self.outgoing, &[]),
            pieces.copy(&out[..first], &body[..count - first]),
        ];
        let mut sent = 0;
        let whole = self.outgoing.len() + count;
        while sent < whole {
            let at = usize::from(chunks[0].is_empty());
            let polled = pin!(self.send.write_chunks(&mut chunks[at..])).poll(cx);
            match polled {
                Poll::Ready(written) => sent += written.map_err(gone)?.bytes,
                Poll::Pending if sent > self.outgoing.len() => break,
                Poll::Pending => {
                    self.outgoing.drain(..sent);
                    return Poll::Pending;
                }
            }
        }
        let payload = sent - self.outgoing.len();
        self.outgoing.clear();
        self.frame_left -= payload;
        Poll::Ready(Ok(payload))
    }

    /// Sends heads that wait, as far as that goes without waiting; what is left goes with what follows.
    fn push(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.outgoing.is_empty() && self.head.is_empty() {
            return Ok(());
        }
        match self.poll_send(cx, &[], &[]) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        }
    }
}

/// Why there is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadEnd {
    /// The client went away, or the connection does.
    Gone,
    /// The stream ended without one.
    Incomplete,
    /// It is longer than it may be.
    TooLarge,
}

fn number(code: Code) -> VarInt {
    code.0.into()
}

fn gone(error: WriteError) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error)
}

impl Downstream for H3 {
    /// A connection may have a hundred answers under way.
    const ANSWER_MAX: usize = 64 << 10;

    fn gather(&mut self, upload: &mut Upload) -> Result<bool, UploadFault> {
        while upload.has_room() {
            match self.next_data()? {
                Some(count) => {
                    let count = upload.add(&self.pending[..count]);
                    self.used(count)?;
                }
                None if self.ended => {
                    self.check_end()?;
                    upload.end(&self.trailers);
                    break;
                }
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadFault>> {
        self.poll_read_more(cx)
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.push(cx).is_err() {
            return Poll::Ready(());
        }
        self.poll_stopped(cx)
    }

    fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_stopped(cx).is_ready()
    }

    fn write_head(
        &mut self,
        _: &mut Vec<u8>,
        head: &ResponseHead<'_>,
        to: &HeadOut<'_>,
    ) -> Result<Framing, Unspeakable> {
        let framing = framing_on_stream(head, self.accept.as_ref().map(|accept| &accept[..]))?;
        self.head.clear();
        write_response(&mut self.head, head, to).map_err(|_| Unspeakable)?;
        Ok(framing)
    }

    fn write_interim(&mut self, _: &mut Vec<u8>, head: &ResponseHead<'_>, to: &HeadOut<'_>) -> Result<(), Unspeakable> {
        write_response(&mut self.outgoing, head, to).map_err(|_| Unspeakable)?;
        // Whether the client has gone is seen elsewhere, and what does not fit goes with what follows.
        let _ = self.push(&mut Context::from_waker(Waker::noop()));
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        self.push(&mut Context::from_waker(Waker::noop()))
    }

    fn forget_head(&mut self) {
        self.head.clear();
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, out: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, out, body)
    }

    fn end(&mut self, _: &mut Vec<u8>, _: Framing, trailers: &[u8]) {
        self.ending = Some(trailers.to_vec());
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        if let Some(lines) = self.ending.take().filter(|lines| !lines.is_empty()) {
            self.outgoing.append(&mut self.head);
            write_trailers(&mut self.outgoing, &lines);
        }
        ready!(self.poll_send(cx, &[], &[]))?;
        self.done = true;
        Poll::Ready(self.send.finish().map_err(io::Error::other))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut Buffer) -> Poll<io::Result<usize>> {
        let reset = |_| io::Error::from(io::ErrorKind::ConnectionReset);
        loop {
            if let Some(count) = self.next_data().map_err(reset)? {
                let room = into.room();
                let count = room.len().min(count);
                room[..count].copy_from_slice(&self.pending[..count]);
                into.filled(count);
                self.used(count).map_err(reset)?;
                return Poll::Ready(Ok(count));
            }
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            ready!(self.poll_read_more(cx)).map_err(reset)?;
        }
    }

    fn shutdown_write(&mut self) {
        // When it fails the stream is gone already, which the next read tells.
        let _ = self.send.finish();
        self.done = true;
    }
}

impl Stream for H3 {
    fn take_reply<'f>(&mut self, status: u16, fields: &mut dyn Iterator<Item = (&'f str, &'f [u8])>, _: bool) {
        if self.malformed {
            return self.reject(Code::MESSAGE_ERROR);
        }
        self.head.clear();
        write_reply(&mut self.head, status, fields);
        self.ending = Some(Vec::new());
    }

    fn abort(&mut self) {
        if !self.done {
            let code = if self.malformed {
                Code::MESSAGE_ERROR
            } else {
                Code::INTERNAL_ERROR
            };
            let _ = self.send.reset(number(code));
            (self.done, self.aborted) = (true, true);
        }
    }

    /// As on HTTP/2: what a client still says to a stream that has ended would be an error in some.
    async fn hear_out(&mut self, timer: &Timer) {
        if !self.done || self.ended || self.malformed {
            return;
        }
        let (mut heard, until) = (self.pending.len(), timer.after(LINGER));
        let hearing = poll_fn(|cx| {
            while !self.ended && heard < LINGER_BYTES_MAX {
                if ready!(self.poll_read_more(cx)).is_err() {
                    break;
                }
                heard += self.pending.len();
                self.pending = Bytes::new();
            }
            Poll::Ready(())
        });
        // What takes longer is stopped.
        let _ = timer.within(until, hearing).await;
    }
}

/// What is left open is ended so that neither side takes a part for the whole.
impl Drop for H3 {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.send.reset(number(Code::REQUEST_CANCELLED));
        }
        if !self.ended {
            // RFC 9114 §4.1.1: the answer stands, and the rest of the request is not needed.
            let code = if self.done {
                Code::NO_ERROR
            } else {
                Code::REQUEST_CANCELLED
            };
            let _ = self.receive.stop(number(code));
        }
    }
}
