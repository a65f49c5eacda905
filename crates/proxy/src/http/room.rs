//! What an attempt over HTTP/1.1 is sent on: a connection that is kept, a new one in a free place, or the first that becomes free.

use std::time::Duration;

use plimsoll_core::backend::Place;
use plimsoll_core::outcome::{Failure, Reason};
use plimsoll_core::pool::{BackendProtocol, Lease};
use plimsoll_core::time::Now;
use plimsoll_http::reuse::Upstream as Connection;
use plimsoll_net::Deadline;
use plimsoll_net::tls::Offer;

use super::accept::sooner;
use super::downstream::Downstream;
use super::exchange::Exchange;
use super::fault::Fault;
use super::forward::Forward;
use super::upstream::{Upstream, adopt};
use crate::connect::{connect, offer};
use crate::plane::Wanted;

/// Pause between looks at whether a place among a backend's connections has become free.
pub(super) const PLACE_POLL: Duration = Duration::from_millis(5);

/// Looks after which other workers are asked again to close an idle connection: theirs may have been busy until now.
pub(super) const SHED_EVERY: u32 = 8;

/// What a request is sent on.
enum Room {
    /// A new connection, in this place.
    Place(Place),
    /// A connection that was kept.
    Kept(Connection),
}

impl Forward<'_> {
    /// One attempt on the leased backend with a connection to itself: one that is kept, or a new one. The race is handled
    /// here:
    /// a kept connection that dies before a byte of the answer is no failure of the backend.
    pub(super) async fn attempt_alone<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_, D>,
        lease: &Lease,
        now: Now,
    ) -> Result<(Upstream, usize), Fault> {
        exchange.upload.speak(false);
        // Who waits already comes first.
        let kept = if self.worker.lines.is_empty(lease.backend().id) {
            self.take_kept(lease, now)
        } else {
            None
        };
        let room = match kept {
            Some(upstream) => Room::Kept(upstream),
            None => self.await_room(exchange, lease, true).await?,
        };
        let place = match room {
            Room::Place(place) => place,
            Room::Kept(kept) => {
                let mut upstream = Upstream::H1(kept);
                match exchange.send(&mut upstream, true, self.request.minor).await {
                    Err(Fault::Stale) if self.may_resend(lease, now) && exchange.upload.restart() => {}
                    other => return other.map(|length| (upstream, length)),
                }
                drop(upstream);
                match self.await_room(exchange, lease, false).await? {
                    Room::Place(place) => place,
                    Room::Kept(_) => return Err(Fault::Stale),
                }
            }
        };
        let mut upstream = self.connect(exchange, lease, place).await?;
        exchange
            .send(&mut upstream, false, self.request.minor)
            .await
            .map(|length| (upstream, length))
    }

    /// A connection that is kept for the backend and fit for this request.
    fn take_kept(&self, lease: &Lease, now: Now) -> Option<Connection> {
        // One client's connection is nobody else's.
        if self.pool.settings.send_proxy.is_some() {
            return None;
        }
        let backend = lease.backend().id;
        let mut reuse = self.worker.reuse.borrow_mut();
        let kept = reuse.take(backend, self.worker.terms(self.pool), now, self.request.repeatable)?;
        self.worker.shard().backend_connection(self.pool.id, backend, true);
        Some(kept)
    }

    async fn connect<D: Downstream>(
        &mut self,
        exchange: &mut Exchange<'_, D>,
        lease: &Lease,
        place: Place,
    ) -> Result<Upstream, Fault> {
        let begun = self.worker.now();
        let until = self.connect_until(exchange);
        let (backend, pool) = (lease.backend(), self.pool);
        let protocol = pool.settings.protocol;
        let cut = Some(self.worker.links.link(backend.id));
        let worker = self.worker.clone();
        // What is upgraded is HTTP/1.1, whatever else the backend speaks.
        let offer = if self.request.upgrade {
            Offer::H1
        } else {
            offer(protocol)
        };
        let connecting = connect(&worker, pool, (backend, offer), self.request.introduction.as_deref());
        let reached = match exchange.connect(connecting, until).await? {
            Ok(reached) => reached,
            Err(unreached) => {
                let late = self.lateness(exchange);
                let late = late.filter(|_| unreached.reason == Reason::ConnectTimeout);
                self.cause = unreached.cause;
                return Err(late.unwrap_or(Fault::Backend(Failure::unsent(unreached.reason))));
            }
        };
        if protocol == BackendProtocol::Auto && reached.h2 {
            backend.spoken.choose(true);
            adopt(&worker, pool, reached, (place, cut));
            return Err(Fault::Turned);
        }
        self.finished.connect = Some(worker.now().since(begun));
        worker.shard().backend_connection(pool.id, backend.id, false);
        Ok(Upstream::H1(Connection {
            socket: reached.socket.cut_by(cut),
            place,
            terms: reached.terms,
        }))
    }

    /// Until when a connection has to be there.
    pub(super) fn connect_until<D>(&self, exchange: &Exchange<'_, D>) -> Deadline {
        sooner(exchange.timer.after(self.pool.settings.connect_timeout), self.deadline)
    }

    /// A place among the backend's connections. When all are taken it stands in line for one: for one that another
    /// request of this worker has done with, if `kept` will do, or for one that was closed, idle ones being closed for
    /// its sake, our own and other workers'.
    async fn await_room<D: Downstream>(
        &self,
        exchange: &mut Exchange<'_, D>,
        lease: &Lease,
        kept: bool,
    ) -> Result<Room, Fault> {
        let (backend, most) = (lease.backend(), lease.limits().connections);
        let lines = &self.worker.lines;
        if lines.is_empty(backend.id)
            && let Some(place) = backend.place(most)
        {
            return Ok(Room::Place(place));
        }
        let since = self.worker.now();
        let ticket = lines.join(backend.id, since);
        let until = self.connect_until(exchange);
        for look in 0u32.. {
            if ticket.is_first() {
                if let Some(place) = ticket.take_granted().or_else(|| backend.place(most)) {
                    return Ok(Room::Place(place));
                }
                if kept && let Some(upstream) = self.take_kept(lease, self.worker.now()) {
                    return Ok(Room::Kept(upstream));
                }
                // What is idle here is either unfit for this request or about to be taken by it.
                if let Some(place) = self.worker.reuse.borrow_mut().shed(backend.id) {
                    return Ok(Room::Place(place));
                }
                if look % SHED_EVERY == 0 {
                    self.worker.shared.ask_to_shed(Wanted {
                        backend: backend.id,
                        by: self.worker.index,
                        since,
                    });
                }
            }
            if let Some(fault) = self.lateness(exchange) {
                return Err(fault);
            }
            if exchange.timer.is_past(until) {
                break;
            }
            exchange.wait(&ticket, PLACE_POLL, until).await?;
        }
        Err(Fault::Backend(Failure::unsent(Reason::PoolFull)))
    }
}
