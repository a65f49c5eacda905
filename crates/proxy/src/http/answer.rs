//! The answer of a backend: its head and body passed on, or the connection relayed once it is upgraded.

use std::cell::Cell;

use plimsoll_core::filter::Chosen;
use plimsoll_core::grpc::Code;
use plimsoll_core::outcome::{Failure, Outcome, Reason};
use plimsoll_core::pool::Lease;
use plimsoll_core::time::Now;
use plimsoll_http::h1::{Framing, HeadOut, Method, ResponseHead};
use plimsoll_net::{Relayed, relay};

use super::accept::Next;
use super::downstream::{Downstream, Upgraded};
use super::exchange::{Answer, Exchange};
use super::fault::Fault;
use super::forward::Forward;
use super::respond::{after, may_go_on};
use super::route::Request;
use super::upstream::Upstream;
use crate::client::Client;
use crate::log::{Attempt, Finished};
use crate::worker::Pinned;

/// How a forward ended.
pub(super) enum Ended {
    /// The client was answered, wholly or in part.
    Answered(Next),
    /// Nothing was sent to it yet, and this is why.
    Refused(Reason),
}

/// Whether the client's connection goes on, for all that is known before the answer.
#[derive(Clone, Copy)]
pub(super) struct Goes<'c> {
    on: bool,
    client: Option<&'c Client>,
}

impl<'c> Goes<'c> {
    /// There is no connection.
    pub(super) fn nowhere() -> Self {
        Goes {
            on: false,
            client: None,
        }
    }

    /// What is known from the request, the connection and the node.
    pub(super) fn of(client: &'c Client, pinned: &Pinned, request: &Request) -> Self {
        Goes {
            on: request.keep_alive && may_go_on(client, pinned, request.started),
            client: Some(client),
        }
    }

    /// Whether it goes on by now: a drain may have begun meanwhile.
    fn still(self) -> bool {
        self.on && self.client.is_some_and(|client| !client.is_draining())
    }
}

impl Forward<'_> {
    /// Reads the answer's head of `length` bytes and writes it for the client, who is not sent it yet: it may still be
    /// thrown away for another try. The answer, and whether the client's connection goes on after it.
    pub(super) fn read_head<D: Downstream>(
        &self,
        exchange: &mut Exchange<'_, D>,
        (upstream, length): (&Upstream, usize),
        (lease, goes): (&Lease, Goes<'_>),
    ) -> Result<(Answer, bool), Fault> {
        // RFC 9112 §9.3: what is left of a request when its answer begins stands in the way of the next one.
        let keep_alive = goes.still() && exchange.upload.is_read();
        let method = if self.request.is_head {
            Method::Head
        } else {
            Method::Other
        };
        let now = self.worker.now();
        let date = self.worker.date(now);
        exchange.out.reserve(length + 256);
        let chosen = Chosen {
            name: lease.name(),
            address: Some(lease.backend().address),
        };
        let alt_svc = goes.client.and_then(Client::alt_svc);
        let to = HeadOut {
            client_minor: self.request.minor,
            keep_alive,
            date: date.1.as_bytes(),
            edits: self.request.changes.as_ref().map(|changes| (&changes.answer, chosen)),
            alt_svc: alt_svc.as_deref(),
        };
        let report = (self.pool.settings.orca).then(|| (&lease.backend().report, now));
        let adjust = |head: &ResponseHead<'_>| self.bring_back(head, lease);
        let answer = exchange.write_head((length, upstream.is_ended()), method, &to, (report, adjust))?;
        // Before the whole request was sent there is nobody who could tell its body from what the upgraded connection
        // carries (RFC 9110 §7.8 has the server read it first).
        if answer.status == 101 && !(self.request.upgrade && exchange.upload.is_sent()) {
            return Err(Fault::Backend(Failure::sent(Reason::BackendProtocolError)));
        }
        // RFC 8441 §5: its client would take any 2xx for the WebSocket that it asked for. That it asked for one where
        // there is none is not held against the backend.
        if self.request.tunnel && (200..300).contains(&answer.status) {
            return Err(Fault::Client(Reason::BackendProtocolError));
        }
        exchange.answer.consume(length);
        Ok((answer, keep_alive))
    }

    /// Passes on the answer whose head has been written.
    pub(super) async fn answer<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_, D>,
        lease: Lease,
        (upstream, answer): (Upstream, Answer),
        keep_alive: bool,
        begun: Now,
    ) -> Ended {
        let latency = self.worker.now().since(begun);
        self.finished.answered(answer.status, latency);
        let is_second = self.is_second;
        let sent = self.sent(&lease, begun);
        let attempt = || {
            let attempt = Attempt::answered(&lease, answer.status, latency).sent(sent);
            if is_second { attempt.second() } else { attempt }
        };
        if answer.status >= 500 {
            self.finished.attempt_failed(attempt());
        } else {
            self.finished.attempted(attempt);
        }
        if answer.status == 101 {
            return self.upgraded(exchange, lease, upstream, latency).await;
        }
        self.body(exchange, lease, (upstream, answer), latency, keep_alive)
            .await
    }

    async fn body<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_, D>,
        lease: Lease,
        (mut upstream, answer): (Upstream, Answer),
        latency: std::time::Duration,
        keep_alive: bool,
    ) -> Ended {
        exchange.bytes_out += answer.head_bytes as u64;
        let withhold = |lines: &[u8]| {
            let report = self.pool.settings.orca.then(|| &lease.backend().report);
            report?.take_lines(lines, self.worker.now())
        };
        let streamed = exchange.stream(&mut upstream, &answer, &withhold).await;
        let clean = match streamed {
            Ok(clean) => clean,
            // The body's first bytes were wrong: the client has none of it yet, and gets to know why.
            Err(Fault::Backend(failure)) if !exchange.told => {
                self.conclude_after(lease, Outcome::Failed(failure), latency, self.worker.now());
                return Ended::Refused(failure.reason);
            }
            // As little as of a body of the client's that turns out to be none.
            Err(Fault::Client(reason)) if !exchange.told && reason.status() != 0 => {
                return Ended::Refused(reason);
            }
            Err(fault) => return Ended::Answered(self.cut(lease, fault, latency)),
        };
        let now = self.worker.now();
        if let Upstream::H1(kept) = upstream
            && clean
            && answer.reusable
            && self.pool.settings.send_proxy.is_none()
            && exchange.upload.is_sent()
        {
            self.worker.keep(kept, self.pool.settings.idle_timeout);
        }
        self.finished.ended = Some(now);
        let status = as_http(exchange.grpc).unwrap_or(answer.status);
        self.conclude_after(lease, Outcome::Answered(status), latency, now);
        if !exchange.upload.is_read() {
            // What the client still sends is not wanted any more: it gets to read the answer, and then the end.
            return Ended::Answered(Next::Linger);
        }
        let goes_on = keep_alive && answer.framing_out != Framing::UntilClose;
        Ended::Answered(after(self.request, goes_on))
    }

    /// The answer cannot be completed. The client must not take what it has for the whole.
    fn cut(&mut self, lease: Lease, fault: Fault, latency: std::time::Duration) -> Next {
        let of_drain = self.of_drain(&lease, fault);
        if matches!(of_drain, Fault::Cut) && !matches!(fault, Fault::Cut) {
            lease.backend().leaving.count_cut();
        }
        let fault = of_drain;
        if let Fault::Backend(failure) = fault {
            self.conclude_after(lease, Outcome::Failed(failure), latency, self.worker.now());
        }
        self.finished.cut(fault.reason());
        Next::Abort
    }

    /// A WebSocket: bytes both ways until one side ends.
    async fn upgraded<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_, D>,
        lease: Lease,
        mut upstream: Upstream,
        latency: std::time::Duration,
    ) -> Ended {
        // What the backend sent behind its head goes first.
        exchange.out.extend_from_slice(exchange.answer.unread());
        exchange.answer.consume(exchange.answer.len());
        let flushed = exchange.client.begin().is_ok() && exchange.flush().await.is_ok();
        let (forth, back) = (Cell::new(0), Cell::new(0));
        let relayed = if flushed {
            let idle = exchange.limits.timeouts.stream_idle;
            let (blocks, timer) = (&self.worker.blocks, exchange.timer);
            let pending = (blocks.buffer(), blocks.buffer());
            let mut client = Upgraded(&mut *exchange.client);
            relay(&mut client, &mut upstream, pending, timer, idle, (&forth, &back)).await
        } else {
            Relayed::Closed
        };
        match relayed {
            Relayed::Idle if exchange.timer.is_expired() => self.finished.cut(Reason::DrainDeadline),
            Relayed::Idle => self.finished.cut(Reason::IdleTimeout),
            Relayed::Cut => self.finished.cut(self.worker.links.reason(lease.backend())),
            Relayed::FirstFailed(_) => self.finished.cut(Reason::ClientClosed),
            Relayed::SecondFailed(_) => self.finished.cut(Reason::BackendReset),
            Relayed::Closed => {}
        }
        exchange.upload.body_bytes += forth.get();
        exchange.bytes_out += back.get();
        self.conclude_after(lease, Outcome::Answered(101), latency, self.worker.now());
        Ended::Answered(Next::Close)
    }
}

/// What a status of gRPC says of the backend's health, in the words of HTTP.
pub(super) fn as_http(grpc: Option<u8>) -> Option<u16> {
    let code = Code::numbered(grpc.filter(|number| *number > 0)?);
    Some(code.unwrap_or(Code::Unknown).http_status())
}

impl Finished {
    fn answered(&mut self, status: u16, latency: std::time::Duration) {
        self.status = status;
        self.first_byte = Some(latency);
    }
}
