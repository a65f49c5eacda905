//! Coming to a connection with a backend, while the client is watched: it may go away meanwhile.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use plimsoll_core::outcome::Reason;
use plimsoll_net::{Deadline, Socket};

use super::downstream::Downstream;
use super::exchange::Exchange;
use super::fault::Fault;
use super::upstream::{Opened, Opening};
use crate::line::Ticket;

impl<D: Downstream> Exchange<'_, D> {
    /// Connects to a backend.
    pub(crate) async fn connect(
        &mut self,
        address: SocketAddr,
        until: Deadline,
    ) -> Result<Result<Socket, Reason>, Fault> {
        let mut connecting = pin!(plimsoll_net::connect(address));
        poll_fn(|cx| {
            match connecting.as_mut().poll(cx) {
                Poll::Ready(Ok(socket)) => return Poll::Ready(Ok(Ok(socket))),
                Poll::Ready(Err(error)) => return Poll::Ready(Ok(Err(connect_reason(&error)))),
                Poll::Pending => {}
            }
            if self.upload.is_read() {
                self.poll_client(cx)?;
            }
            self.timer.poll_elapsed(cx, until).map(|_| {
                if self.timer.is_expired() {
                    Err(Fault::Cut)
                } else {
                    Ok(Err(Reason::ConnectTimeout))
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
                Poll::Ready(Ok(opened)) => return Poll::Ready(Ok((*opened).unwrap_or(Err(Reason::Internal)))),
                // Whoever made it has gone: a bug, of which the log has more.
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(Err(Reason::Internal))),
                Poll::Pending => {}
            }
            if self.upload.is_read() {
                self.poll_client(cx)?;
            }
            self.timer.poll_elapsed(cx, until).map(|_| {
                if self.timer.is_expired() {
                    Err(Fault::Cut)
                } else {
                    Ok(Err(Reason::ConnectTimeout))
                }
            })
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

/// What a failed connect is called. That we have no descriptor, memory or port left is no failure of the backend, and
/// must not get it ejected.
pub(crate) fn connect_reason(error: &io::Error) -> Reason {
    if plimsoll_net::is_shortage(error) {
        Reason::Overloaded
    } else {
        Reason::ConnectFailed
    }
}
