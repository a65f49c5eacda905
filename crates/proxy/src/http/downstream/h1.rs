//! The client's side of a request on an HTTP/1.1 connection.

use std::io;
use std::task::{Context, Poll};

use plimsoll_http::h1::{BodyDecoder, Framing, HeadOut, ResponseHead, Step, write_last_chunk, write_response_head};
use plimsoll_net::{Buffer, GROWN_MAX, Socket};

use super::{Downstream, Unspeakable};
use crate::http::upload::{Upload, UploadFault};

/// A request on an HTTP/1.1 connection.
pub(crate) struct H1<'c> {
    socket: &'c mut Socket,
    /// What the client has sent and we have not used.
    input: &'c mut Buffer,
    decoder: BodyDecoder,
}

impl<'c> H1<'c> {
    /// A request whose body is framed so, and begins in `input`.
    pub(crate) fn new(socket: &'c mut Socket, input: &'c mut Buffer, framing: Framing) -> Self {
        H1 {
            socket,
            input,
            decoder: BodyDecoder::new(framing),
        }
    }
}

impl Downstream for H1<'_> {
    const ANSWER_MAX: usize = GROWN_MAX;

    fn gather(&mut self, upload: &mut Upload) -> Result<bool, UploadFault> {
        while upload.has_room() {
            let step = self.decoder.step(self.input.unread());
            match step.map_err(|_| UploadFault::ClientBody)? {
                Step::Skip(count) => self.input.consume(count),
                Step::More => return Ok(true),
                Step::Data(count) => {
                    let count = upload.add(&self.input.unread()[..count]);
                    self.decoder.used(count);
                    self.input.consume(count);
                }
                Step::End => {}
            }
            // A body of a known length ends with its last byte, and one more step would wait for another.
            if self.decoder.is_done() {
                upload.end(self.decoder.trailers());
            }
        }
        Ok(false)
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadFault>> {
        if self.input.is_full() {
            self.input.grow(GROWN_MAX);
        }
        match self.socket.poll_fill(cx, self.input) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => Poll::Ready(Err(UploadFault::ClientGone)),
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Requests that the client sends ahead are read, up to a buffer full, to see its end behind them.
        while !self.input.is_full() {
            match self.socket.poll_fill(cx, self.input) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    fn is_gone(&mut self, _: &mut Context<'_>) -> bool {
        self.socket.is_over()
    }

    fn write_head(
        &mut self,
        out: &mut Vec<u8>,
        head: &ResponseHead<'_>,
        to: &HeadOut<'_>,
    ) -> Result<Framing, Unspeakable> {
        Ok(write_response_head(out, head, to))
    }

    fn write_interim(
        &mut self,
        out: &mut Vec<u8>,
        head: &ResponseHead<'_>,
        to: &HeadOut<'_>,
    ) -> Result<(), Unspeakable> {
        // RFC 9110 §15.2: an HTTP/1.0 client is not sent any.
        if to.client_minor == 1 {
            write_response_head(out, head, to);
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// It stands in what is to be written, which the caller clears.
    fn forget_head(&mut self) {}

    fn poll_write(&mut self, cx: &mut Context<'_>, out: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        self.socket.poll_write_both(cx, out, body)
    }

    fn end(&mut self, out: &mut Vec<u8>, framing: Framing, trailers: &[u8]) {
        if framing == Framing::Chunked {
            write_last_chunk(out, trailers);
        }
    }

    fn poll_ended(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut Buffer) -> Poll<io::Result<usize>> {
        // What it sent behind its head goes first.
        if !self.input.is_empty() {
            let count = into.take_from(self.input);
            self.input.release();
            return Poll::Ready(Ok(count));
        }
        self.socket.poll_fill(cx, into)
    }

    fn shutdown_write(&mut self) {
        self.socket.shutdown_write();
    }
}
