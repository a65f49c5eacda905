//! The client's side of a request on a stream of an HTTP/2 connection.
//!
//! Nothing here waits by itself: whatever the codec learns of a stream wakes its seat, and whoever sits there looks again.

use std::cell::{RefCell, RefMut};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use plimsoll_http::h1::{Framing, HeadOut, ResponseHead};
use plimsoll_http::h2::{Code, Connection, write_answer, write_own, write_trailers};
use plimsoll_net::{Buffer, Timer};

use super::{Downstream, Stream, Unspeakable, framing_on_stream};
use crate::client::{LINGER, LINGER_BYTES_MAX};
use crate::http::upload::{Upload, UploadFault};
use crate::worker::Worker;

/// A connection, as its streams and whoever drives it know it.
pub(crate) struct Link {
    pub(crate) frames: RefCell<Connection>,
    pub(crate) worker: Rc<Worker>,
}

/// A stream's place on its connection, which is another's once this is dropped.
pub(crate) struct Place {
    pub(crate) link: Rc<Link>,
    pub(crate) seat: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.link.frames.borrow_mut().release(self.seat);
    }
}

/// A request on a stream.
pub(crate) struct H2 {
    place: Place,
    /// A head that was taken and not sent; whether nothing follows it.
    head: Vec<u8>,
    has_head: Option<bool>,
    /// The lines of the answer's trailers, once it is to end.
    ending: Option<Vec<u8>>,
    done: bool,
    /// What a WebSocket that is asked for has to be granted with: its client cannot judge what we have asked.
    accept: Option<[u8; 28]>,
}

impl H2 {
    pub(crate) fn new(place: Place) -> Self {
        H2 {
            place,
            head: Vec::new(),
            has_head: None,
            ending: None,
            done: false,
            accept: None,
        }
    }

    /// It asks to become a WebSocket, which has to be granted so.
    pub(crate) fn accept_with(&mut self, accept: [u8; 28]) {
        self.accept = Some(accept);
    }

    /// Heads of answers may be written here.
    pub(crate) fn write_into(&mut self, room: Vec<u8>) {
        self.head = room;
        self.head.clear();
    }

    fn frames(&self) -> RefMut<'_, Connection> {
        self.place.link.frames.borrow_mut()
    }

    fn is_gone_now(&self) -> bool {
        self.place.link.frames.borrow().is_gone(self.place.seat)
    }

    fn send_head(&mut self) -> io::Result<()> {
        if self.is_gone_now() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if let Some(last) = self.has_head.take() {
            self.frames().send_section(self.place.seat, &self.head, last);
            self.head.clear();
            self.done = last;
        }
        Ok(())
    }
}

impl Drop for H2 {
    fn drop(&mut self) {
        let room = std::mem::take(&mut self.head);
        self.place.link.worker.blocks.give_scratch(room);
    }
}

impl Stream for H2 {
    fn take_reply<'f>(&mut self, status: u16, fields: &mut dyn Iterator<Item = (&'f str, &'f [u8])>, nothing: bool) {
        self.head.clear();
        write_own(&mut self.head, status, fields);
        self.has_head = Some(nothing);
        self.ending = Some(Vec::new());
    }

    fn abort(&mut self) {
        self.frames().reset(self.place.seat, Code::INTERNAL_ERROR);
    }

    /// A stream that is reset instead (RFC 9113 §8.1) loses its answer in some clients, and what is still on its way to
    /// such a stream counts as an error.
    async fn hear_out(&mut self, timer: &Timer) {
        let seat = self.place.seat;
        if !self.done || self.frames().has_ended(seat) {
            return;
        }
        let (mut heard, until) = (0, timer.after(LINGER));
        let hearing = poll_fn(|_| {
            let mut frames = self.frames();
            let count = frames.body(seat).len();
            frames.took(seat, count);
            heard += count;
            if frames.has_ended(seat) || frames.is_gone(seat) || heard >= LINGER_BYTES_MAX {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        // What takes longer is reset.
        let _ = timer.within(until, hearing).await;
    }
}

impl Downstream for H2 {
    /// A connection may have a hundred answers under way.
    const ANSWER_MAX: usize = 64 << 10;

    fn gather(&mut self, upload: &mut Upload) -> Result<bool, UploadFault> {
        let seat = self.place.seat;
        let mut frames = self.frames();
        while upload.has_room() {
            let body = frames.body(seat);
            if !body.is_empty() {
                let count = upload.add(body);
                frames.took(seat, count);
            } else if frames.has_ended(seat) {
                upload.end(frames.trailers(seat));
                break;
            } else if frames.is_gone(seat) {
                return Err(UploadFault::ClientGone);
            } else {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn poll_more(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UploadFault>> {
        let (frames, seat) = (self.frames(), self.place.seat);
        if frames.is_gone(seat) {
            return Poll::Ready(Err(UploadFault::ClientGone));
        }
        if frames.body(seat).is_empty() && !frames.has_ended(seat) {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if self.is_gone_now() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn is_gone(&mut self, _: &mut Context<'_>) -> bool {
        self.is_gone_now()
    }

    fn write_head(
        &mut self,
        _: &mut Vec<u8>,
        head: &ResponseHead<'_>,
        to: &HeadOut<'_>,
    ) -> Result<Framing, Unspeakable> {
        let framing = framing_on_stream(head, self.accept.as_ref().map(|accept| &accept[..]))?;
        self.head.clear();
        write_answer(&mut self.head, head, to).map_err(|_| Unspeakable)?;
        self.has_head = Some(framing == Framing::None);
        Ok(framing)
    }

    fn write_interim(&mut self, _: &mut Vec<u8>, head: &ResponseHead<'_>, to: &HeadOut<'_>) -> Result<(), Unspeakable> {
        let mut section = Vec::new();
        write_answer(&mut section, head, to).map_err(|_| Unspeakable)?;
        self.frames().send_section(self.place.seat, &section, false);
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        self.send_head()
    }

    fn forget_head(&mut self) {
        self.has_head = None;
    }

    fn poll_write(&mut self, _: &mut Context<'_>, out: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        self.send_head()?;
        let ends = self.ending.as_ref().is_some_and(Vec::is_empty);
        let sent = self.frames().send_data(self.place.seat, out, body, ends);
        match sent {
            Some(count) => {
                self.done = ends && count == out.len() + body.len();
                Poll::Ready(Ok(count))
            }
            None => Poll::Pending,
        }
    }

    fn end(&mut self, _: &mut Vec<u8>, _: Framing, trailers: &[u8]) {
        self.ending = Some(trailers.to_vec());
    }

    fn poll_ended(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        self.send_head()?;
        if !std::mem::replace(&mut self.done, true) {
            match self.ending.take() {
                Some(lines) if !lines.is_empty() => {
                    let mut section = Vec::new();
                    write_trailers(&mut section, &lines);
                    self.frames().send_section(self.place.seat, &section, true);
                }
                _ => self.frames().send_end(self.place.seat),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut Buffer) -> Poll<io::Result<usize>> {
        let reset = |_| io::Error::from(io::ErrorKind::ConnectionReset);
        ready!(self.poll_more(cx)).map_err(reset)?;
        let seat = self.place.seat;
        let mut frames = self.frames();
        let (room, body) = (into.room(), frames.body(seat));
        let count = room.len().min(body.len());
        room[..count].copy_from_slice(&body[..count]);
        into.filled(count);
        frames.took(seat, count);
        Poll::Ready(Ok(count))
    }

    fn shutdown_write(&mut self) {
        self.frames().send_end(self.place.seat);
        self.done = true;
    }
}
