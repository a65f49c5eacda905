//! What an attempt over HTTP/2 is sent on: a stream of a trunk that has room, of a new one, or the first that becomes
//! free.

use plimsoll_core::outcome::{Failure, Reason};
use plimsoll_core::pool::{BackendProtocol, Lease};
use plimsoll_core::time::Now;

use super::downstream::Downstream;
use super::exchange::Exchange;
use super::fault::Fault;
use super::forward::Forward;
use super::room::{PLACE_POLL, SHED_EVERY};
use super::upstream::{H2, Upstream, open};
use crate::plane::Wanted;

/// How often a request is sent once more because its trunk turned out to end, of which it knows that nothing came. A
/// backend that ends its connections after so many streams may do so on each of its trunks.
const RESENDS_MAX: u32 = 16;

impl Forward<'_> {
    /// One attempt on the leased backend, on a stream. A trunk that ends before it has taken the request is no failure of
    /// the backend.
    pub(super) async fn attempt_shared<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_, D>,
        lease: &Lease,
        now: Now,
    ) -> Result<(Upstream, usize), Fault> {
        exchange.upload.speak(true);
        let mut resends = 0;
        loop {
            let stream = self.await_stream(exchange, lease).await?;
            let was_idle = stream.was_idle();
            let mut upstream = Upstream::H2(Box::new(stream));
            let again = match exchange.send(&mut upstream, was_idle, self.request.minor).await {
                Err(Fault::Unprocessed) => true,
                Err(Fault::Stale) => resends == 0 && self.may_resend(lease, now),
                other => return other.map(|length| (upstream, length)),
            };
            resends += 1;
            if !again || resends > RESENDS_MAX || !exchange.upload.restart() {
                return Err(if again { Fault::Unprocessed } else { Fault::Stale });
            }
        }
    }

    /// A stream to the backend. When all trunks are full another is opened, and when there is no place for one the
    /// request stands in line.
    async fn await_stream<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_, D>,
        lease: &Lease,
    ) -> Result<H2, Fault> {
        let (backend, most) = (lease.backend(), lease.limits().connections);
        let since = self.worker.now();
        let until = self.connect_until(exchange);
        let (mut ticket, mut opened_here, mut look) = (None, false, 0u32);
        loop {
            // Who waits already comes first.
            let first = match &ticket {
                None => self.worker.lines.is_empty(backend.id),
                Some(ticket) => crate::line::Ticket::is_first(ticket),
            };
            let terms = self.worker.terms(self.pool);
            if first && let Some((way, requests)) = self.worker.trunks.take(backend.id, terms) {
                let auto = self.pool.settings.protocol == BackendProtocol::Auto;
                if auto && self.request.upgrade && !requests.is_extended_connect_protocol_enabled() {
                    return Err(Fault::Turned);
                }
                self.count_stream(lease, opened_here, since);
                return Ok(H2::new(way, requests));
            }
            if let Some(opening) = self.worker.trunks.opening(backend.id) {
                match exchange.await_opening(opening, until).await? {
                    Ok(()) => continue,
                    Err(unreached) => {
                        self.cause = unreached.cause;
                        return Err(self.unopened(exchange, unreached.reason));
                    }
                }
            }
            if self.pool.settings.protocol == BackendProtocol::Auto && backend.spoken.is_h1() {
                return Err(Fault::Turned);
            }
            let granted = ticket.as_ref().and_then(crate::line::Ticket::take_granted);
            if first && let Some(place) = granted.or_else(|| backend.place(most)) {
                open(&self.worker, self.pool, place);
                opened_here = true;
                continue;
            }
            if first && look.is_multiple_of(SHED_EVERY) {
                self.worker.shared.ask_to_shed(Wanted {
                    backend: backend.id,
                    by: self.worker.index,
                    since,
                });
            }
            look += 1;
            if exchange.timer.is_past(until) {
                return Err(self.unopened(exchange, Reason::PoolFull));
            }
            let ticket = ticket.get_or_insert_with(|| self.worker.lines.join(backend.id, since));
            exchange.wait(ticket, PLACE_POLL, until).await?;
        }
    }

    fn count_stream(&mut self, lease: &Lease, opened: bool, since: Now) {
        if opened {
            self.finished.connect = Some(self.worker.now().since(since));
        }
        let backend = lease.backend().id;
        self.worker.shard().backend_connection(self.pool.id, backend, !opened);
    }

    /// There is no stream, for this reason, unless the time is up for another.
    fn unopened<D: Downstream>(&self, exchange: &Exchange<'_, D>, reason: Reason) -> Fault {
        self.lateness(exchange)
            .unwrap_or(Fault::Backend(Failure::unsent(reason)))
    }
}
