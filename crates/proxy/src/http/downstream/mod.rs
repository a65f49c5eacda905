//! The client's side of an exchange, whatever version of HTTP it speaks.

mod h1;
mod h2;
mod h3;
mod nobody;

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use plimsoll_http::h1::{Framing, HeadOut, ResponseHead};
use plimsoll_net::{Buffer, End, Timer};

use super::upload::{Upload, UploadFault};

pub(crate) use h1::H1;
pub(crate) use h2::{H2, Link, Place};
pub(crate) use h3::{H3, HeadEnd, Stopped};
pub(crate) use nobody::Nobody;

/// A backend's head that the client's version of HTTP cannot carry.
#[derive(Debug)]
pub(crate) struct Unspeakable;

/// The client's side of one request and its answer.
pub(crate) trait Downstream {
    /// The most bytes that the buffer of an answer for it grows to.
    const ANSWER_MAX: usize;

    /// Moves what is here of the request's body to `upload`; true when it needs more from the client.
    fn gather(&mut self, upload: &mut Upload) -> Result<bool, UploadFault>;

    /// Ready when more of the body has come.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadFault>>;

    /// Sees, once the request was read, whether the client has gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether the client has gone, as far as can be told without reading what it sent.
    fn is_gone(&mut self, cx: &mut Context<'_>) -> bool;

    /// Takes the head of an answer, to be written in front of what follows it in `out`; how the body is framed there.
    fn write_head(
        &mut self,
        out: &mut Vec<u8>,
        head: &ResponseHead<'_>,
        to: &HeadOut<'_>,
    ) -> Result<Framing, Unspeakable>;

    /// Takes an interim answer (1xx), likewise.
    fn write_interim(
        &mut self,
        out: &mut Vec<u8>,
        head: &ResponseHead<'_>,
        to: &HeadOut<'_>,
    ) -> Result<(), Unspeakable>;

    /// Sends the head that was taken last, unless it stands in `out`.
    fn begin(&mut self) -> io::Result<()>;

    /// Forgets the head that was taken last and not written yet.
    fn forget_head(&mut self);

    /// Writes some of `out`, and of `body` behind it.
    fn poll_write(&mut self, cx: &mut Context<'_>, out: &[u8], body: &[u8]) -> Poll<io::Result<usize>>;

    /// The answer ends behind what is in `out`, with these trailer lines, when its framing has a place for them.
    fn end(&mut self, out: &mut Vec<u8>, framing: Framing, trailers: &[u8]);

    /// Ready once the end has been written.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads, once the request has been granted an upgrade, what the client says then; 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut Buffer) -> Poll<io::Result<usize>>;

    /// Says that nothing more will be written on an upgraded connection.
    fn shutdown_write(&mut self);
}

/// The client's side of a request that has a stream to itself.
pub(crate) trait Stream: Downstream {
    /// Takes the head of an answer of our own, behind which there may be `nothing`.
    fn take_reply<'f>(&mut self, status: u16, fields: &mut dyn Iterator<Item = (&'f str, &'f [u8])>, nothing: bool);

    /// Ends the stream in the middle, so that the client does not take what it has for the whole.
    fn abort(&mut self);

    /// Lets a client come to the end of what it was saying when its answer was complete, and throws that away.
    async fn hear_out(&mut self, timer: &Timer);

    /// Sends the answer whose head was taken, with this body.
    async fn send_reply(&mut self, body: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while sent < body.len() {
            sent += poll_fn(|cx| self.poll_write(cx, &body[sent..], &[])).await?;
        }
        poll_fn(|cx| self.poll_ended(cx)).await
    }
}

/// How the body behind an answer's head is framed on a stream, whose end is the body's; a WebSocket has to be granted as
/// the key was that stood for it.
fn framing_on_stream(head: &ResponseHead<'_>, accept: Option<&[u8]>) -> Result<Framing, Unspeakable> {
    let is_switch = head.status == 101;
    if is_switch && head.first("sec-websocket-accept") != accept {
        return Err(Unspeakable);
    }
    let is_last = !is_switch && matches!(head.framing, Framing::None | Framing::Length(0));
    Ok(if is_last { Framing::None } else { Framing::UntilClose })
}

/// The client's end of an upgraded connection.
pub(crate) struct Upgraded<'d, D>(pub(crate) &'d mut D);

impl<D: Downstream> End for Upgraded<'_, D> {
    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut Buffer) -> Poll<io::Result<usize>> {
        self.0.poll_read(cx, buffer)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes, &[])
    }

    fn shutdown_write(&mut self) {
        self.0.shutdown_write();
    }
}
