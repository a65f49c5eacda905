//! Coming to a connection with a backend, while the client is watched: it may go away meanwhile.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use plimsoll_core::outcome::Reason;
use plimsoll_net::Deadline;

use super::accept::sooner;
use super::downstream::Downstream;
use super::exchange::Exchange;
use super::fault::Fault;
use super::upstream::{Opened, Opening};
use crate::connect::{Reached, Unreached};
use crate::line::Ticket;

impl<D: Downstream> Exchange<'_, D> {
    /// Waits for a connection that is being made for this request.
    pub(crate) async fn connect(
        &mut self,
        connecting: impl Future<Output = Result<Reached, Unreached>>,
        until: Deadline,
    ) -> Result<Result<Reached, Unreached>, Fault> {
        let mut connecting = pin!(connecting);
        poll_fn(|cx| {
            if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
                return Poll::Ready(Ok(connected));
            }
            if self.upload.is_read() {
                self.poll_client(cx)?;
            }
            self.timer.poll_elapsed(cx, until).map(|_| {
                if self.timer.is_expired() {
                    Err(Fault::Cut)
                } else {
                    Ok(Err(Reason::ConnectTimeout.into()))
                }
            })
        })
        .await
    }

    /// Waits for a connection that is being made for whoever needs one.
    pub(crate) async fn await_opening(&mut self, mut opening: Opening, until: Deadline) -> Result<Opened, Fault> {
        let mut opened = pin!(opening.wait_for(Option::is_some));
        poll_fn(|cx| {
            match opened.as_mut().poll(cx) {
                Poll::Ready(Ok(opened)) => return Poll::Ready(Ok((*opened).unwrap_or(Err(Reason::Internal.into())))),
                // Whoever made it has gone: a bug, of which the log has more.
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(Err(Reason::Internal.into()))),
                Poll::Pending => {}
            }
            if self.upload.is_read() {
                self.poll_client(cx)?;
            }
            self.timer.poll_elapsed(cx, until).map(|_| {
                if self.timer.is_expired() {
                    Err(Fault::Cut)
                } else {
                    Ok(Err(Reason::ConnectTimeout.into()))
                }
            })
        })
        .await
    }

    /// Rests before another attempt, while the client is watched. Not by the timer, which is too coarse: it would have
    /// what failed together come back together.
    pub(crate) async fn rest(&mut self, span: Duration) -> Result<(), Fault> {
        if span.is_zero() {
            return Ok(());
        }
        let mut resting = pin!(tokio::time::sleep(span));
        let end = self.timer.after(Duration::MAX);
        poll_fn(|cx| {
            if self.upload.is_read() {
                self.poll_client(cx)?;
            }
            if resting.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            // Clients that are not read from are looked for now and then.
            self.poll_late(cx, sooner(end, self.limits.call))
                .map(|gone| Err(gone.unwrap_or_else(|| self.late(Reason::ResponseTimeout))))
        })
        .await
    }

    /// Stands in line while the client is watched: until it is called, or, as the first, for a moment.
    pub(crate) async fn wait(&mut self, ticket: &Ticket, moment: Duration, until: Deadline) -> Result<(), Fault> {
        let mut resting = pin!(ticket.is_first().then(|| tokio::time::sleep(moment)));
        poll_fn(|cx| {
            if self.upload.is_read() {
                self.poll_client(cx)?;
            }
            if ticket.poll_called(cx).is_ready() || self.timer.poll_elapsed(cx, until).is_ready() {
                return Poll::Ready(Ok(()));
            }
            match resting.as_mut().as_pin_mut() {
                Some(resting) => resting.poll(cx).map(Ok),
                None => Poll::Pending,
            }
        })
        .await
    }
}
