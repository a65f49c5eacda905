//! The streams that a client has opened in its direction alone.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use plimsoll_http::h3::{Code, Kind, Opened, UniFault, UniStream};
use quinn::{ReadError, RecvStream};

use super::Ties;

/// The most bytes that are taken from one at once.
const READ_MAX: usize = 4 << 10;

/// How often one is read before others have their turn.
const READS_MAX: usize = 16;

/// Those that are open, whose number QUIC bounds.
#[derive(Default)]
pub(super) struct Unis {
    streams: Vec<(RecvStream, UniStream)>,
    opened: Opened,
}

impl Unis {
    pub(super) fn add(&mut self, stream: RecvStream) {
        self.streams.push((stream, UniStream::default()));
    }

    /// Reads what has come on them. What is wrong with one is told to the connection.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, ties: &Ties) {
        let Unis { streams, opened } = self;
        ties.guard.borrow_mut().pass(ties.worker.now().millis());
        streams.retain_mut(|(stream, uni)| match poll_one(cx, (stream, uni), opened, ties) {
            Ok(stays) => stays,
            Err(UniFault::Unknown) => {
                // §6.2: it is not read. A browser opens one to see that nobody minds.
                let _ = stream.stop(Code::STREAM_CREATION_ERROR.0.into());
                ties.count(Kind::Stream);
                false
            }
            Err(UniFault::Connection(code)) => {
                ties.fail(code);
                false
            }
        });
    }
}

/// Whether it stays open.
fn poll_one(
    cx: &mut Context<'_>,
    (stream, uni): (&mut RecvStream, &mut UniStream),
    opened: &mut Opened,
    ties: &Ties,
) -> Result<bool, UniFault> {
    for _ in 0..READS_MAX {
        // Made anew each time: what wakes it is kept by the stream.
        match pin!(stream.read_chunk(READ_MAX, true)).poll(cx) {
            Poll::Pending => return Ok(true),
            Poll::Ready(Ok(Some(chunk))) => uni.see(&chunk.bytes, opened, &mut ties.guard.borrow_mut())?,
            Poll::Ready(Ok(None) | Err(ReadError::Reset(_))) => {
                uni.ended()?;
                ties.count(Kind::Stream);
                return Ok(false);
            }
            // The connection is gone, which is seen elsewhere.
            Poll::Ready(Err(_)) => return Ok(false),
        }
    }
    cx.waker().wake_by_ref();
    Ok(true)
}
