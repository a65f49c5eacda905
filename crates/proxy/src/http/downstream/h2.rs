//! The client's side of a request on a stream of an HTTP/2 connection.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode};
use plimsoll_http::h1::{Framing, HeadOut, ResponseHead};
use plimsoll_http::h2::{response, trailer_lines, trailers};
use plimsoll_net::{Buffer, Timer};

use super::{Downstream, Stream, Unspeakable, framing_on_stream};
use crate::client::{LINGER, LINGER_BYTES_MAX};
use crate::http::Pieces;
use crate::http::upload::{Upload, UploadFault};

/// The most bytes that are put into one piece of an answer: two frames.
const PIECE_MAX: usize = 32 << 10;

/// A request on a stream.
pub(crate) struct H2 {
    respond: SendResponse<Bytes>,
    body: RecvStream,
    /// What has come of the body and was not taken yet.
    pending: Bytes,
    /// The lines of the trailers, once the body has ended.
    ended: Option<Vec<u8>>,
    /// A head that was taken and not sent; whether nothing follows it.
    head: Option<(Response<()>, bool)>,
    /// Where the answer's body goes, once its head was sent.
    send: Option<SendStream<Bytes>>,
    /// The lines of the answer's trailers, once it is to end.
    ending: Option<Vec<u8>>,
    done: bool,
    /// What a WebSocket that is asked for has to be granted with: its client cannot judge what we have asked.
    accept: Option<[u8; 28]>,
    pieces: Rc<Pieces>,
}

impl H2 {
    pub(crate) fn new(
        (respond, body): (SendResponse<Bytes>, RecvStream),
        accept: Option<[u8; 28]>,
        pieces: Rc<Pieces>,
    ) -> Self {
        H2 {
            pieces,
            respond,
            accept,
            ended: body.is_end_stream().then(Vec::new),
            body,
            pending: Bytes::new(),
            head: None,
            send: None,
            ending: None,
            done: false,
        }
    }

    fn send_head(&mut self) -> io::Result<()> {
        if let Some((head, last)) = self.head.take() {
            self.send = Some(self.respond.send_response(head, last).map_err(gone)?);
            self.done = last;
        }
        Ok(())
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.send {
            Some(send) => send.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        }
    }
}

impl Stream for H2 {
    fn take_reply<'f>(&mut self, status: u16, fields: &mut dyn Iterator<Item = (&'f str, &'f [u8])>, nothing: bool) {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in fields {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
                head.headers_mut().append(name, value);
            }
        }
        self.head = Some((head, nothing));
        self.ending = Some(Vec::new());
    }

    fn abort(&mut self) {
        match &mut self.send {
            Some(send) => send.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }

    /// A stream that is reset instead (RFC 9113 §8.1) loses its answer in some clients, and what is still on its way to
    /// such a stream counts as an error.
    async fn hear_out(&mut self, timer: &Timer) {
        if !self.done || self.ended.is_some() {
            return;
        }
        let (mut heard, until) = (self.pending.len(), timer.after(LINGER));
        let hearing = poll_fn(|cx| {
            while self.ended.is_none() && heard < LINGER_BYTES_MAX {
                if ready!(self.poll_more(cx)).is_err() {
                    break;
                }
                let count = self.pending.len();
                heard += count;
                self.pending.clear();
                if self.body.flow_control().release_capacity(count).is_err() {
                    break;
                }
            }
            Poll::Ready(())
        });
        // What takes longer is reset.
        let _ = timer.within(until, hearing).await;
    }
}

fn gone(error: h2::Error) -> io::Error {
    error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
}

impl Downstream for H2 {
    /// A connection may have a hundred answers under way.
    const ANSWER_MAX: usize = 64 << 10;

    fn gather(&mut self, upload: &mut Upload) -> Result<bool, UploadFault> {
        while upload.has_room() {
            if self.pending.is_empty() {
                let Some(trailers) = &self.ended else { return Ok(true) };
                upload.end(trailers);
                break;
            }
            let count = upload.add(&self.pending);
            self.pending.advance(count);
            // Only what was taken makes room in the client's window: a slow backend slows the client down.
            if self.body.flow_control().release_capacity(count).is_err() {
                return Err(UploadFault::ClientGone);
            }
        }
        Ok(false)
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadFault>> {
        let gone = Poll::Ready(Err(UploadFault::ClientGone));
        match ready!(self.body.poll_data(cx)) {
            Some(Ok(data)) => self.pending = data,
            Some(Err(_)) => return gone,
            None => match ready!(self.body.poll_trailers(cx)) {
                Ok(trailers) => self.ended = Some(trailers.as_ref().map(trailer_lines).unwrap_or_default()),
                Err(_) => return gone,
            },
        }
        Poll::Ready(Ok(()))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_reset(cx)
    }

    fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_reset(cx).is_ready()
    }

    fn write_head(
        &mut self,
        _: &mut Vec<u8>,
        head: &ResponseHead<'_>,
        to: &HeadOut<'_>,
    ) -> Result<Framing, Unspeakable> {
        let framing = framing_on_stream(head, self.accept.as_ref().map(|accept| &accept[..]))?;
        let last = framing == Framing::None;
        let shared = self.pieces.copy(head.bytes, &[]);
        self.head = Some((response(head, to, &shared).map_err(|_| Unspeakable)?, last));
        Ok(framing)
    }

    fn write_interim(&mut self, _: &mut Vec<u8>, head: &ResponseHead<'_>, to: &HeadOut<'_>) -> Result<(), Unspeakable> {
        let shared = self.pieces.copy(head.bytes, &[]);
        let head = response(head, to, &shared).map_err(|_| Unspeakable)?;
        // A client that has gone is noticed elsewhere.
        let _ = self.respond.send_informational(head);
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        self.send_head()
    }

    fn forget_head(&mut self) {
        self.head = None;
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, out: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        self.send_head()?;
        let Some(send) = &mut self.send else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let wanted = (out.len() + body.len()).min(PIECE_MAX);
        send.reserve_capacity(wanted);
        let mut room = send.capacity();
        while room == 0 {
            room = match ready!(send.poll_capacity(cx)) {
                Some(room) => room.map_err(gone)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        let count = wanted.min(room);
        let first = out.len().min(count);
        let piece = self.pieces.copy(&out[..first], &body[..count - first]);
        let whole = count == out.len() + body.len();
        let last = whole && self.ending.as_ref().is_some_and(Vec::is_empty);
        send.send_data(piece, last).map_err(gone)?;
        self.done = last;
        Poll::Ready(Ok(count))
    }

    fn end(&mut self, _: &mut Vec<u8>, _: Framing, trailers: &[u8]) {
        self.ending = Some(trailers.to_vec());
    }

    fn poll_ended(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send_head()?;
        if self.done {
            return Poll::Ready(Ok(()));
        }
        self.done = true;
        let Some(send) = &mut self.send else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let ended = match self.ending.take() {
            Some(lines) if !lines.is_empty() => send.send_trailers(trailers(&lines)),
            _ => send.send_data(Bytes::new(), true),
        };
        Poll::Ready(ended.map_err(gone))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut Buffer) -> Poll<io::Result<usize>> {
        while self.pending.is_empty() {
            if self.ended.is_some() {
                return Poll::Ready(Ok(0));
            }
            if ready!(self.poll_more(cx)).is_err() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        let room = into.room();
        let count = room.len().min(self.pending.len());
        room[..count].copy_from_slice(&self.pending[..count]);
        self.pending.advance(count);
        into.filled(count);
        self.body.flow_control().release_capacity(count).map_err(gone)?;
        Poll::Ready(Ok(count))
    }

    fn shutdown_write(&mut self) {
        if let Some(send) = &mut self.send {
            // When it fails the stream is gone already, which the next read tells.
            let _ = send.send_data(Bytes::new(), true);
        }
    }
}
