//! One request and its answer between a client and a backend: both directions driven by one task.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::str::FromStr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use plimsoll_core::filter::{Compression, Edits};
use plimsoll_core::orca::{self, Report};
use plimsoll_core::outcome::{Failure, Reason};
use plimsoll_core::time::Now;
use plimsoll_http::h1::{FieldRoom, Framing, HeadOut, HeadScan, Method, ResponseHead, Scanned, parse_response};
use plimsoll_net::{Buffer, Deadline, Timer};

use super::accept::sooner;
use super::compress::{self, Coder};
use super::downstream::Downstream;
use super::fault::{Fault, Limits, malformed};
use super::hedge::Hedging;
use super::upload::{Upload, UploadFault};
use super::upstream::{Lost, Upstream};

/// Interim answers (1xx) before the final one, beyond which the backend is not believed to come to an end.
const INTERIM_MAX: usize = 16;

/// How often a client is looked at that is not read from.
const LOOK: Duration = Duration::from_secs(1);

/// One request and its answer.
pub(crate) struct Exchange<'c, D> {
    pub(crate) client: &'c mut D,
    pub(crate) timer: &'c Timer,
    pub(crate) upload: Upload,
    /// What the backend has sent and we have not used.
    pub(crate) answer: Buffer,
    /// The last read filled the whole buffer: the next one is worth a larger one.
    pub(crate) hungry: bool,
    /// What the client is to be sent before what stands in `answer`.
    pub(crate) out: Vec<u8>,
    pub(crate) bytes_out: u64,
    /// Whether the client has been sent any of the final answer.
    pub(crate) told: bool,
    /// Whether this is a call of gRPC, and the status that it ended with.
    pub(crate) is_call: bool,
    pub(crate) grpc: Option<u8>,
    /// How the answer may be compressed, and how many are being now.
    pub(crate) compression: Option<(&'c Compression, Rc<Cell<usize>>)>,
    /// What compresses it, once its head has said that it is worth it.
    pub(crate) coder: Option<Box<Coder>>,
    pub(crate) limits: Limits<'c>,
    /// The second attempt beside this one, while its route wants one.
    pub(crate) hedging: Option<Box<Hedging<'c>>>,
    /// When to look whether a client is still there that is not read from.
    pub(crate) look_at: Option<Deadline>,
    /// What a backend did not like of our TLS, in a word.
    pub(crate) denied: Option<&'static str>,
}

/// The head of an answer, once it is written to [`Exchange::out`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// As the backend frames its body.
    pub(crate) framing: Framing,
    /// As we frame it for the client.
    pub(crate) framing_out: Framing,
    /// Whether the backend's connection may be used again.
    pub(crate) reusable: bool,
    /// Bytes of its head that are not in [`Exchange::out`]: HTTP/2 writes it otherwise.
    pub(crate) head_bytes: usize,
    /// The backend asks to be left alone for a while (RFC 9110 §10.2.3).
    pub(crate) retry_after: bool,
}

impl<D: Downstream> Exchange<'_, D> {
    /// Sends the request and waits for the final answer's head; it is left at the front of [`answer`](Self::answer).
    /// Interim answers are passed on as they come.
    pub(crate) async fn send(
        &mut self,
        backend: &mut Upstream,
        reused: bool,
        client_minor: u8,
    ) -> Result<usize, Fault> {
        let mut silent = true;
        let mut per_try = None;
        for _ in 0..INTERIM_MAX {
            let length = self.await_head(backend, reused, &mut silent, &mut per_try).await?;
            let status = status_of(&self.answer.unread()[..length]);
            if !(100..200).contains(&status) || status == 101 {
                return Ok(length);
            }
            self.pass_interim(length, client_minor).await?;
        }
        Err(Fault::Backend(Failure::sent(Reason::BackendProtocolError)))
    }

    async fn await_head(
        &mut self,
        backend: &mut Upstream,
        reused: bool,
        silent: &mut bool,
        per_try: &mut Option<Deadline>,
    ) -> Result<usize, Fault> {
        let mut scan = HeadScan::default();
        let mut sent_at = None;
        poll_fn(|cx| {
            self.poll_upload(cx, backend)?;
            loop {
                if !self.answer.is_empty() {
                    *silent = false;
                    let head = self.limits.head;
                    match scan.look(self.answer.unread(), head.request_line, head.head_bytes) {
                        Ok(Scanned::Head(length)) => return Poll::Ready(Ok(length)),
                        Ok(Scanned::More) => {}
                        Err(_) => return Poll::Ready(Err(self.broken(Reason::BackendProtocolError))),
                    }
                }
                if self.answer.is_full() {
                    self.answer.grow(D::ANSWER_MAX);
                }
                match backend.poll_fill(cx, &mut self.answer) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    Poll::Ready(ended) => {
                        let lost = ended.err().unwrap_or(Lost::Connection);
                        return Poll::Ready(Err(self.lost(lost, reused && *silent)));
                    }
                }
            }
            // Last, since most of the times that the task is woken the answer is there.
            if self.upload.is_read() {
                self.poll_client(cx)?;
            }
            // A try's time runs once the request is there: a client that is slow to send it is no backend's fault.
            if self.upload.is_read() && per_try.is_none() {
                *per_try = self.limits.per_try.map(|span| self.timer.after(span));
            }
            let (until, fault) = self.head_deadline(&mut sent_at);
            let until = sooner(sooner(sooner(until, *per_try), self.limits.deadline), self.limits.call);
            self.poll_late(cx, until)
                .map(|gone| Err(gone.unwrap_or_else(|| self.late(fault))))
        })
        .await
    }

    /// While the request is on its way, its next part has to move in time; once it is sent, the answer has to come.
    fn head_deadline(&mut self, sent_at: &mut Option<Deadline>) -> (Deadline, Reason) {
        if self.upload.is_sent() || self.upload.broken {
            let until = *sent_at.get_or_insert_with(|| self.timer.after(self.limits.response_header));
            return (until, Reason::ResponseTimeout);
        }
        let patience = self.body_patience();
        (self.upload.stalls_at(self.timer, patience), Reason::RequestBodyTimeout)
    }

    /// Moves the request on.
    fn poll_upload(&mut self, cx: &mut Context<'_>, backend: &mut Upstream) -> Result<(), Fault> {
        if self.upload.broken || self.upload.is_sent() {
            return Ok(());
        }
        match self.upload.poll(cx, self.client, backend) {
            Poll::Pending | Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(UploadFault::ClientGone)) => return Err(Fault::ClientGone),
            Poll::Ready(Err(UploadFault::ClientBody | UploadFault::Unspeakable)) => {
                return Err(Fault::Client(Reason::BadRequest));
            }
            Poll::Ready(Err(UploadFault::TooLarge)) => return Err(Fault::Client(Reason::BodyTooLarge)),
            // It may have answered before it closed: that answer is read first.
            Poll::Ready(Err(UploadFault::Backend)) => self.upload.broken = true,
        }
        Ok(())
    }

    /// Sees whether the client, whose request was read, is still there, and nobody has answered it before this backend.
    pub(super) fn poll_client(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        if let Some(hedging) = &mut self.hedging
            && hedging.poll(cx, &self.upload).is_ready()
        {
            return Err(Fault::Overtaken);
        }
        match self.client.poll_gone(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(Fault::ClientGone),
        }
    }

    /// Ready once `until` has passed. A backend that is slow to take the request keeps us from reading what the client
    /// sends, and with it from seeing its end: it is looked for now and then, and is then the fault.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>, until: Deadline) -> Poll<Option<Fault>> {
        loop {
            self.look_at = if self.upload.is_backed_up() {
                self.look_at.or_else(|| Some(self.timer.after(LOOK)))
            } else {
                None
            };
            ready!(self.timer.poll_elapsed(cx, sooner(until, self.look_at)));
            if self.timer.is_expired() || self.timer.is_past(until) {
                return Poll::Ready(None);
            }
            self.look_at = None;
            if self.client.is_gone(cx) {
                return Poll::Ready(Some(Fault::ClientGone));
            }
        }
    }

    async fn pass_interim(&mut self, length: usize, client_minor: u8) -> Result<(), Fault> {
        self.take_interim(length, client_minor)?;
        self.answer.consume(length);
        self.flush().await.map_err(|_| Fault::ClientGone)
    }

    /// Apart from what awaits, which would hold the room for fields all the while.
    fn take_interim(&mut self, length: usize, client_minor: u8) -> Result<(), Fault> {
        let mut room = FieldRoom::new();
        let head = read_head(&self.answer.unread()[..length], &mut room, Method::Other)?;
        let to = HeadOut {
            client_minor,
            keep_alive: true,
            date: b"",
            edits: None,
            alt_svc: None,
        };
        let taken = self.client.write_interim(&mut self.out, &head, &to);
        taken.map_err(|_| malformed())
    }

    /// Reads the head of `length` bytes at the front of the answer, which may have `ended` with it, and writes it for the
    /// client, behind what is in `out`. What the backend reports of its load goes to `report`, and
    /// `adjust` may want other changes of its fields than `to` has. The answer's bytes stay until the caller consumes
    /// them.
    pub(crate) fn write_head(
        &mut self,
        (length, ended): (usize, bool),
        method: Method,
        to: &HeadOut<'_>,
        (report, adjust): (Option<(&Report, Now)>, impl FnOnce(&ResponseHead<'_>) -> Option<Edits>),
    ) -> Result<Answer, Fault> {
        let mut room = FieldRoom::new();
        let mut head = read_head(&self.answer.unread()[..length], &mut room, method)?;
        if let Some((report, now)) = report {
            for field in orca::FIELDS {
                if let Some(value) = head.withhold(field) {
                    // What is no report is worth no more than none.
                    let _ = report.take(field, value, now);
                }
            }
        }
        if ended && head.framing == Framing::UntilClose {
            head.framing = Framing::Length(0);
        }
        self.grpc = None;
        if self.is_call {
            self.grpc = head.first("grpc-status").and_then(number);
        }
        let chosen = to.edits.map(|(_, chosen)| chosen).unwrap_or_default();
        let adjusted = adjust(&head);
        let to = &HeadOut {
            edits: adjusted.as_ref().map(|edits| (edits, chosen)).or(to.edits),
            ..*to
        };
        let (before, framing) = (self.out.len(), head.framing);
        let (coder, edits) = match &self.compression {
            Some((compression, count)) => compress::begin((compression, count), &mut head, method, to),
            None => (None, None),
        };
        self.coder = coder;
        let to = HeadOut {
            edits: match (&edits, to.edits) {
                (Some(edits), _) => Some((edits, chosen)),
                (None, edits) => edits,
            },
            ..*to
        };
        let framing_out = self
            .client
            .write_head(&mut self.out, &head, &to)
            .map_err(|_| malformed())?;
        Ok(Answer {
            status: head.status,
            framing,
            framing_out,
            reusable: head.keep_alive,
            head_bytes: if self.out.len() == before { length } else { 0 },
            retry_after: head.status >= 400 && head.first("retry-after").is_some_and(|value| value != b"0"),
        })
    }

    /// Throws away what has come of an answer, for another try.
    pub(crate) fn forget_answer(&mut self) {
        self.coder = None;
        self.out.clear();
        self.grpc = None;
        self.client.forget_head();
        self.answer.consume(self.answer.len());
    }

    /// Writes all of `out` to the client.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let until = self.timer.after(self.limits.timeouts.stream_idle);
        let (client, out, mut sent) = (&mut *self.client, &self.out, 0);
        let writing = poll_fn(|cx| {
            while sent < out.len() {
                match ready!(client.poll_write(cx, &out[sent..], &[]))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => sent += count,
                }
            }
            Poll::Ready(Ok(()))
        });
        let written = self.timer.within(until, writing).await;
        self.bytes_out += self.out.len() as u64;
        self.out.clear();
        written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Moves the request on beside the answer, and sees whether the client is still there.
    pub(super) fn poll_beside(&mut self, cx: &mut Context<'_>, backend: &mut Upstream) -> Result<(), Fault> {
        self.poll_upload(cx, backend)?;
        if self.upload.is_read() {
            self.poll_client(cx)
        } else {
            Ok(())
        }
    }
}

fn read_head<'b>(bytes: &'b [u8], room: &'b mut FieldRoom<'b>, method: Method) -> Result<ResponseHead<'b>, Fault> {
    parse_response(bytes, room, method).map_err(|_| malformed())
}

/// The number that a field's value is.
pub(super) fn number<N: FromStr>(value: &[u8]) -> Option<N> {
    std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
}

/// The status of a head whose first line may be anything.
pub(super) fn status_of(head: &[u8]) -> u16 {
    match head.get(9..12) {
        Some(digits) if digits.iter().all(u8::is_ascii_digit) => digits
            .iter()
            .fold(0, |status, digit| status * 10 + u16::from(digit - b'0')),
        _ => 0,
    }
}
