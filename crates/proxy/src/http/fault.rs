//! Why an exchange came to no good end, whose fault that was, and what bounds it.

use std::time::Duration;

use plimsoll_core::outcome::{Failure, Reason};
use plimsoll_core::pool::Pool;
use plimsoll_core::snapshot::{HttpLimits, HttpService, HttpTimeouts};
use plimsoll_net::Deadline;

use super::downstream::Downstream;
use super::exchange::Exchange;
use super::upstream::Lost;

/// What bounds an exchange.
#[derive(Clone, Copy)]
pub(crate) struct Limits<'c> {
    pub(crate) timeouts: &'c HttpTimeouts,
    pub(crate) head: &'c HttpLimits,
    /// From the request's end to the head of the answer.
    pub(crate) response_header: Duration,
    /// One try, from the request's end to the head of its answer.
    pub(crate) per_try: Option<Duration>,
    /// The whole request, until the head of the answer.
    pub(crate) deadline: Option<Deadline>,
    /// The client's own, of a call of gRPC, until its end.
    pub(crate) call: Option<Deadline>,
}

impl<'c> Limits<'c> {
    /// Those of a listener and a pool.
    pub(crate) fn of(service: &'c HttpService, pool: &Pool) -> Self {
        Limits {
            timeouts: &service.timeouts,
            head: &service.limits,
            response_header: pool.settings.response_header_timeout,
            per_try: None,
            deadline: None,
            call: None,
        }
    }
}

/// Why an exchange came to no good end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The client went away.
    ClientGone,
    /// The client sent something wrong, or too slowly.
    Client(Reason),
    /// The backend failed.
    Backend(Failure),
    /// This node has had its time to drain.
    Cut,
    /// A connection that was kept for reuse turned out to be closed: nothing of the answer came.
    Stale,
    /// The backend takes nothing more on this connection, and says that it has done nothing of this.
    Unprocessed,
    /// The backend has chosen the other version of HTTP; nothing was sent yet.
    Turned,
    /// None: the second attempt was answered first.
    Overtaken,
}

impl Fault {
    /// What it is called.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Fault::ClientGone => Reason::ClientClosed,
            Fault::Client(reason) => reason,
            Fault::Backend(failure) => failure.reason,
            Fault::Cut => Reason::DrainDeadline,
            Fault::Stale | Fault::Unprocessed => Reason::BackendReset,
            Fault::Turned => Reason::BackendProtocolError,
            Fault::Overtaken => Reason::Internal,
        }
    }

    /// The backend's failure, if it is one, with what it means for a retry.
    pub(super) fn failure(self) -> Option<Failure> {
        match self {
            Fault::Backend(failure) => Some(failure),
            Fault::Stale => Some(Failure::sent(Reason::BackendReset)),
            Fault::Unprocessed => Some(Failure::unsent(Reason::BackendReset)),
            Fault::Turned => Some(Failure::unsent(Reason::BackendProtocolError)),
            Fault::ClientGone | Fault::Client(_) | Fault::Cut | Fault::Overtaken => None,
        }
    }
}

impl<D: Downstream> Exchange<'_, D> {
    /// The fault of a deadline that has passed.
    pub(super) fn late(&self, fault: Reason) -> Fault {
        if let Some(fault) = self.over() {
            return fault;
        }
        if self
            .limits
            .deadline
            .is_some_and(|deadline| self.timer.is_past(deadline))
        {
            return if self.upload.is_starved() {
                Fault::Client(Reason::RequestTimeout)
            } else {
                Fault::Backend(Failure::last(Reason::RequestTimeout))
            };
        }
        // The body waits for the client unless there is some that the backend does not take.
        if fault == Reason::RequestBodyTimeout && self.upload.is_starved() {
            return Fault::Client(Reason::RequestBodyTimeout);
        }
        Fault::Backend(Failure::sent(Reason::ResponseTimeout))
    }

    /// The fault of everything's end: of this node's time, or of the client's own patience, which says nothing of a backend.
    pub(super) fn over(&self) -> Option<Fault> {
        if self.timer.is_expired() {
            return Some(Fault::Cut);
        }
        let call = self.limits.call?;
        (self.timer.is_past(call)).then_some(Fault::Client(Reason::RequestTimeout))
    }

    /// How long the next part of the request may take. A call of gRPC may be as quiet on its way up as on its way down.
    pub(super) fn body_patience(&self) -> Duration {
        let timeouts = self.limits.timeouts;
        if self.is_call {
            timeouts.request_body.max(timeouts.stream_idle)
        } else {
            timeouts.request_body
        }
    }

    /// What it means that the backend's side is lost; a connection that was kept and has been `silent` since was closed
    /// before.
    pub(super) fn lost(&mut self, lost: Lost, silent: bool) -> Fault {
        match lost {
            Lost::Denied(cause) => {
                self.denied = Some(cause);
                Fault::Backend(Failure::unsent(lost.reason()))
            }
            Lost::Connection if silent => Fault::Stale,
            Lost::Unprocessed => Fault::Unprocessed,
            Lost::Refused => Fault::Backend(Failure::unsent(lost.reason())),
            _ => self.broken(lost.reason()),
        }
    }

    /// The backend's failure, with what it means for a retry.
    pub(super) fn broken(&self, reason: Reason) -> Fault {
        Fault::Backend(if self.upload.is_begun() {
            Failure::sent(reason)
        } else {
            Failure::unsent(reason)
        })
    }
}

/// The backend's head is no head.
pub(super) fn malformed() -> Fault {
    Fault::Backend(Failure::sent(Reason::BackendProtocolError))
}
