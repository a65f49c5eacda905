//! Nobody: the client of a request that is sent for the backend's sake, whose answer is read and thrown away.

use std::io;
use std::task::{Context, Poll};

use plimsoll_http::h1::{Framing, HeadOut, ResponseHead};
use plimsoll_net::Buffer;

use super::{Downstream, Unspeakable};
use crate::http::upload::{Upload, UploadFault};

/// Nobody.
pub(crate) struct Nobody;

impl Downstream for Nobody {
    const ANSWER_MAX: usize = 16 << 10;

    fn gather(&mut self, _: &mut Upload) -> Result<bool, UploadFault> {
        Ok(false)
    }

    fn poll_more(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UploadFault>> {
        Poll::Ready(Err(UploadFault::ClientGone))
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn is_gone(&mut self, _: &mut Context<'_>) -> bool {
        false
    }

    fn write_head(
        &mut self,
        _: &mut Vec<u8>,
        head: &ResponseHead<'_>,
        _: &HeadOut<'_>,
    ) -> Result<Framing, Unspeakable> {
        Ok(match head.framing {
            Framing::None => Framing::None,
            _ => Framing::UntilClose,
        })
    }

    fn write_interim(&mut self, _: &mut Vec<u8>, _: &ResponseHead<'_>, _: &HeadOut<'_>) -> Result<(), Unspeakable> {
        Ok(())
    }

    fn forget_head(&mut self) {}

    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn poll_write(&mut self, _: &mut Context<'_>, out: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(out.len() + body.len()))
    }

    fn end(&mut self, _: &mut Vec<u8>, _: Framing, _: &[u8]) {}

    fn poll_ended(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut Buffer) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }

    fn shutdown_write(&mut self) {}
}
