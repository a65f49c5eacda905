//! A worker: a thread that owns its connections, from accept to close.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, Cache};
use plimsoll_core::backend::Place;
use plimsoll_core::balance::client_bytes;
use plimsoll_core::decision::Ration;
use plimsoll_core::filter::Changes;
use plimsoll_core::limit::{Held, Room, Shedding};
use plimsoll_core::name::NameId;
use plimsoll_core::outcome::Reason;
use plimsoll_core::pool::{AcquireCx, Lease, Pool, Refusal, ViewReader};
use plimsoll_core::rng::{Rng, SeededState};
use plimsoll_core::snapshot::{Listener, PoolIndex, Service, Snapshot};
use plimsoll_core::telemetry::Shard;
use plimsoll_core::time::Now;
use plimsoll_http::reuse::{self, ReuseCache};
use plimsoll_net::tls::{Origination, Termination, Terms};
use plimsoll_net::{Blocks, Timers};
use tokio::sync::mpsc;

use crate::accepting::Accepting;
use crate::ask::Services;
use crate::client::Connection;
use crate::connect::Told;
use crate::door::Doors;
use crate::line::Lines;
use crate::links::Links;
use crate::passwords::Remembered;
use crate::plane::{Message, Shared, Wanted};
use crate::quic::Endpoints;
use crate::{handshake, http, introduction, tcp};

/// How often idle connections to backends are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// How often a worker looks how late it is, where it may refuse work for it, and where it only tells.
const PULSE: Duration = Duration::from_millis(10);
const SLOW_PULSE: Duration = Duration::from_millis(100);

/// What the runtime's timers are late by when nothing keeps them.
const ROUNDING: Duration = Duration::from_millis(1);

/// How often a draining worker looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// How long connections that are cut may take to be written to the access log.
const CUT_PATIENCE: Duration = Duration::from_secs(1);

/// Rooms for what filters do to a request, of some 500 bytes each, that are kept for the next ones.
const CHANGES_KEPT_MAX: usize = 256;

/// Connections above their limit that are let in all the same, to be told so in an answer. Any more are closed at once,
/// so that no crowd of silent ones takes the descriptors that backends, checks and operators need.
pub(crate) const REFUSED_MAX: u32 = 64;

/// A worker's own state. Nothing of it is shared with another thread but through [`Shared`].
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) timers: Rc<Timers>,
    pub(crate) blocks: Rc<Blocks>,
    pub(crate) reuse: RefCell<ReuseCache>,
    /// How many connections that has at the most, as the newest generation has it.
    idle_max: Cell<usize>,
    pub(crate) trunks: http::Trunks,
    pub(crate) runners: http::Runners,
    pub(crate) pieces: Rc<http::Pieces>,
    pub(crate) lines: Rc<Lines>,
    pub(crate) links: Links,
    pub(crate) told: Told,
    pub(crate) rng: RefCell<Rng>,
    /// Copies of requests that are on their way to mirrors.
    pub(crate) mirrored: Rc<Cell<usize>>,
    /// Handshakes of TLS that are under way.
    pub(crate) handshakes: Rc<Cell<usize>>,
    /// Answers that are being compressed.
    pub(crate) coded: Rc<Cell<usize>>,
    /// Room for what filters do to the next requests.
    #[expect(
        clippy::vec_box,
        reason = "what is kept is handed out as it is, for as long as a request lasts"
    )]
    changes: RefCell<Vec<Box<Changes>>>,
    pub(crate) remembered: Remembered,
    pub(crate) services: Services,
    pub(crate) quic: Endpoints,
    shedding: Cell<Shedding>,
    /// How many decisions may still be kept.
    pub(crate) ration: Ration,
    snapshot: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    pinned: RefCell<Rc<Pinned>>,
    pub(crate) doors: Doors,
    drain: Cell<Option<Drain>>,
    date: RefCell<(Now, String)>,
    pub(crate) accepting: RefCell<HashMap<SocketAddr, Vec<Accepting>>>,
}

/// A snapshot as one worker uses it; whoever holds it goes on with its generation.
pub(crate) struct Pinned {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Of the pools that were asked so far.
    readers: RefCell<Vec<Option<ViewReader>>>,
}

/// The end of a worker's work, or of a listener's.
#[derive(Clone, Copy)]
pub(crate) struct Drain {
    pub(crate) begun: Now,
    pub(crate) deadline: Now,
}

/// A connection on its way from the worker that accepted it to the one that will serve it.
pub(crate) struct Handed {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) listener: NameId,
}

/// The body of a worker's thread.
pub(crate) fn run(index: usize, shared: Arc<Shared>, inbox: mpsc::Receiver<Message>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default());
    match runtime {
        Ok(runtime) => runtime.block_on(Rc::new(Worker::new(index, shared)).work(inbox)),
        Err(error) => tracing::error!(worker = index, %error, "a worker cannot start its runtime"),
    }
}

impl Worker {
    fn new(index: usize, shared: Arc<Shared>) -> Self {
        let rng = Rng::seeded(shared.wiring.seed ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let snapshot = shared.wiring.snapshot.load_full();
        Worker {
            index,
            timers: Timers::new(),
            blocks: Rc::default(),
            reuse: RefCell::default(),
            idle_max: Cell::new(0),
            trunks: http::Trunks::default(),
            runners: http::Runners::default(),
            pieces: Rc::default(),
            lines: Rc::default(),
            links: Links::default(),
            told: Told::default(),
            pinned: RefCell::new(Rc::new(Pinned::new(snapshot))),
            doors: Doors::default(),
            snapshot: RefCell::new(Cache::new(shared.wiring.snapshot.clone())),
            rng: RefCell::new(rng),
            drain: Cell::new(None),
            changes: RefCell::default(),
            mirrored: Rc::default(),
            handshakes: Rc::default(),
            coded: Rc::default(),
            remembered: Remembered::default(),
            services: Services::default(),
            quic: Endpoints::default(),
            shedding: Cell::default(),
            ration: Ration::default(),
            date: RefCell::new((shared.wiring.clock.now(), httpdate::fmt_http_date(SystemTime::now()))),
            accepting: RefCell::default(),
            shared,
        }
    }

    async fn work(self: Rc<Self>, mut inbox: mpsc::Receiver<Message>) {
        tokio::task::spawn_local(self.timers.clone().run());
        tokio::task::spawn_local(self.clone().sweep());
        tokio::task::spawn_local(self.clone().watch_lateness());
        self.reconcile().await;
        loop {
            match inbox.recv().await {
                None => return,
                Some(Message::Reconcile(followed)) => {
                    self.reconcile().await;
                    drop(followed);
                }
                Some(Message::Serve(handed)) => self.serve_handed(handed),
                Some(Message::Shed(wanted)) => self.shed(wanted),
                Some(Message::Grant(place)) => self.lines.grant(place),
                Some(Message::Cut(backend, why)) => self.links.cut(backend, why),
                Some(Message::Drain(deadline)) => {
                    self.begin_drain(deadline);
                    break;
                }
            }
        }
        self.finish(inbox).await;
    }

    /// Serves until nothing is left or the deadline has come; what is left then is cut, counted and logged.
    async fn finish(self: &Rc<Self>, mut inbox: mpsc::Receiver<Message>) {
        let deadline = self.drain.get().map_or(Now::START, |drain| drain.deadline);
        // Whoever has accepted a connection just before his own drain begins keeps it from here on.
        inbox.close();
        while let Ok(message) = inbox.try_recv() {
            if let Message::Serve(handed) = message {
                self.serve_handed(handed);
            }
        }
        while self.carried() > 0 && self.now() < deadline {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        let cut = self.carried();
        if cut > 0 {
            tracing::warn!(
                worker = self.index,
                connections = cut,
                "still open at the drain deadline, and cut"
            );
        }
        // What is under way sees that its time is up, and says so; what does not see it in time is counted here.
        self.timers.expire_all();
        let last = self.now() + CUT_PATIENCE;
        while self.carried() > 0 && self.now() < last {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        for _ in 0..self.carried() {
            self.shard().failure(Reason::DrainDeadline);
        }
        self.quic.end().await;
    }

    fn begin_drain(self: &Rc<Self>, deadline: Now) {
        self.drain.set(Some(Drain {
            begun: self.now(),
            deadline,
        }));
        for (address, accepting) in self.accepting.borrow_mut().drain() {
            accepting.iter().for_each(|accepting| accepting.task.abort());
            self.shared.forget(address);
        }
        if self.shared.replaced.load(Relaxed) {
            self.quic.close();
            let worker = self.clone();
            tokio::task::spawn_local(async move { worker.quic.end().await });
        }
        self.timers.wake_all();
    }

    pub(crate) fn serve(self: &Rc<Self>, stream: tokio::net::TcpStream, peer: SocketAddr, listener: NameId) {
        let Some(door) = self.doors.find(listener, &self.pin()) else {
            return;
        };
        let pinned = door.pin(self);
        let Some(found) = pinned.listener(listener) else { return };
        let most = pinned.snapshot.node.max_connections;
        if self.shared.connections.load(Relaxed) >= most.saturating_add(REFUSED_MAX) {
            return self.shard().failure(Reason::Overloaded);
        }
        if found.proxy_protocol.is_some() {
            let connection = Connection::new(self.clone(), stream, (peer, None), door, most);
            tokio::task::spawn_local(introduction::serve(connection));
            return;
        }
        let Ok(held) = self.hold_place(&pinned, found, peer) else {
            return self.shard().failure(Reason::ConcurrencyLimited);
        };
        self.begin(Connection::new(self.clone(), stream, (peer, held), door, most), found);
    }

    /// Serves a connection whose client is known.
    pub(crate) fn begin(&self, connection: Connection, listener: &Listener) {
        if let Some(terms) = listener.tls {
            tokio::task::spawn_local(handshake::serve(connection, terms));
            return;
        }
        match listener.service {
            Service::Http(_) => {
                tokio::task::spawn_local(http::accept::serve(connection));
            }
            Service::Tcp(_) | Service::Passthrough(_) => {
                tokio::task::spawn_local(tcp::accept::serve(connection));
            }
        }
    }

    /// A place among the connections of `peer` at a listener that limits them; an error when it has as many as it may.
    /// Whoever has too many is not told so: that would cost more than a connection costs him.
    pub(crate) fn hold_place(
        &self,
        pinned: &Pinned,
        listener: &Listener,
        peer: SocketAddr,
    ) -> Result<Option<Held>, ()> {
        let Some(most) = listener.max_connections_per_client else {
            return Ok(None);
        };
        if pinned.snapshot.node.trusts(peer.ip()) {
            return Ok(None);
        }
        let clients = &self.shared.clients;
        let (bytes, count) = client_bytes(peer.ip());
        let mut key = SeededState(clients.seed()).build_hasher();
        key.write(&listener.id.0.to_be_bytes());
        key.write(&bytes[..count]);
        match clients.hold(key.finish(), most) {
            Room::Taken(held) => Ok(Some(held)),
            Room::Unknown => Ok(None),
            Room::Full(_) => Err(()),
        }
    }

    /// Gives a place up for another worker's request, unless one of our own has waited longer for it.
    fn shed(&self, wanted: Wanted) {
        if self
            .lines
            .first_since(wanted.backend)
            .is_none_or(|own| own > wanted.since)
        {
            let place = if self.trunks.knows(wanted.backend) {
                self.trunks.shed_or_owe(wanted.backend, wanted.by)
            } else {
                self.reuse.borrow_mut().shed_or_owe(wanted.backend, wanted.by)
            };
            place.into_iter().for_each(|place| self.grant(wanted.by, place));
        }
    }

    /// Keeps a connection to a backend for the next request, for `idle` at the most.
    pub(crate) fn keep(&self, kept: reuse::Upstream, idle: Duration) {
        let times = (self.now(), idle);
        let owed = self.reuse.borrow_mut().put(kept, times, self.idle_max.get());
        if let Some((other, place)) = owed {
            self.grant(other, place);
        }
    }

    /// Takes over how many connections may be kept: a quarter of those that the descriptors allow for, half of which are
    /// clients'.
    pub(crate) fn bound_idle(&self, snapshot: &Snapshot) {
        let most = snapshot.node.max_connections as usize / 2;
        self.idle_max.set(most / self.shared.workers().max(1));
    }

    /// Descriptors have run out: connections that only wait are closed for those that work; whether there were any.
    pub(crate) fn make_room(&self) -> bool {
        self.reuse.borrow_mut().shed_oldest(2) > 0
    }

    /// Hands a place among a backend's connections to another worker.
    pub(crate) fn grant(&self, worker: usize, place: Place) {
        // A full inbox: the place is free for whoever looks next.
        let _ = self.shared.send(worker, Message::Grant(place));
    }

    async fn sweep(self: Rc<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            self.reuse.borrow_mut().sweep(self.now());
            self.trunks.sweep();
            self.links.sweep();
            self.services.sweep(self.now());
        }
    }

    /// Looks how late the loop is: a task that is to be woken at a time stands in line with all that is ready then.
    async fn watch_lateness(self: Rc<Self>) {
        loop {
            let allowed = self.pin().snapshot.node.shed_after;
            let pulse = if allowed.is_some() { PULSE } else { SLOW_PULSE };
            let due = self.now() + pulse;
            tokio::time::sleep(pulse).await;
            let now = self.now();
            let mut shedding = self.shedding.get();
            // The runtime's clock rounds up to the next millisecond.
            shedding.observe(now.since(due).saturating_sub(ROUNDING), allowed, now);
            self.shedding.set(shedding);
            self.shared.wiring.telemetry.tell_late(self.index, shedding.standing());
            self.shared.beat(self.index, now);
        }
    }

    /// Whether this request or connection is to be refused, since the worker is late for everything.
    pub(crate) fn sheds(&self) -> bool {
        self.shedding.get().refuses(&mut self.rng.borrow_mut())
    }

    /// The newest snapshot, to be kept for as long as a request lasts.
    pub(crate) fn pin(&self) -> Rc<Pinned> {
        let mut cache = self.snapshot.borrow_mut();
        let newest = cache.load();
        let mut pinned = self.pinned.borrow_mut();
        if !Arc::ptr_eq(newest, &pinned.snapshot) {
            let before = std::mem::replace(&mut *pinned, Rc::new(Pinned::new(newest.clone())));
            self.doors.follow(&before, &pinned, self.now());
        }
        pinned.clone()
    }

    /// TLS as it ends at `listener` now.
    pub(crate) fn termination(&self, listener: NameId) -> Option<Arc<Termination>> {
        self.shared.wiring.terminations.load().get(&listener).cloned()
    }

    /// TLS with the backends of a pool, as it is to be now.
    pub(crate) fn origination(&self, pool: NameId) -> Option<Arc<Origination>> {
        self.shared.wiring.originations.load().get(&pool).cloned()
    }

    /// Under what a connection to a backend of `pool` has to have been made to be used now.
    pub(crate) fn terms(&self, pool: &Pool) -> Terms {
        if !pool.settings.tls {
            return Terms::PLAIN;
        }
        let originations = self.shared.wiring.originations.load();
        originations
            .get(&pool.id)
            .map_or(Terms::NONE, |origination| origination.terms())
    }

    /// This worker's counts.
    pub(crate) fn shard(&self) -> MutexGuard<'_, Shard> {
        self.shared.wiring.telemetry.shard(self.index)
    }

    /// The time.
    pub(crate) fn now(&self) -> Now {
        self.shared.wiring.clock.now()
    }

    /// Random bytes, for what has to be unlike and not secret.
    pub(crate) fn random(&self) -> [u8; 16] {
        let mut rng = self.rng.borrow_mut();
        (u128::from(rng.bits()) << 64 | u128::from(rng.bits())).to_be_bytes()
    }

    /// Room for what filters do to a request.
    pub(crate) fn take_changes(&self) -> Box<Changes> {
        self.changes.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps the room of what filters have done to a request that has ended.
    pub(crate) fn keep_changes(&self, changes: Option<Box<Changes>>) {
        let Some(mut changes) = changes else { return };
        let mut kept = self.changes.borrow_mut();
        if kept.len() < CHANGES_KEPT_MAX {
            changes.clear();
            kept.push(changes);
        }
    }

    /// The value of a `Date` field; made anew once a second.
    pub(crate) fn date(&self, now: Now) -> std::cell::Ref<'_, (Now, String)> {
        if now.since(self.date.borrow().0) >= Duration::from_secs(1) {
            *self.date.borrow_mut() = (now, httpdate::fmt_http_date(SystemTime::now()));
        }
        self.date.borrow()
    }

    /// How this node's work is to end, when it is being shut down.
    pub(crate) fn drain(&self) -> Option<Drain> {
        self.drain.get()
    }

    /// Whether this node is being shut down.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.get().is_some()
    }

    /// Client connections that this worker carries.
    pub(crate) fn carried(&self) -> u32 {
        self.shared.carried[self.index].load(Relaxed)
    }
}

impl Pinned {
    fn new(snapshot: Arc<Snapshot>) -> Self {
        let mut readers = Vec::new();
        readers.resize_with(snapshot.pools.len(), || None);
        Pinned {
            snapshot,
            readers: RefCell::new(readers),
        }
    }

    /// The listener `id`, unless this generation has none such.
    pub(crate) fn listener(&self, id: NameId) -> Option<&Arc<Listener>> {
        self.snapshot.listeners.iter().find(|listener| listener.id == id)
    }

    /// A lease on a backend of the pool at `pool`.
    pub(crate) fn acquire(&self, pool: PoolIndex, cx: &mut AcquireCx<'_>) -> Result<Lease, Refusal> {
        let mut readers = self.readers.borrow_mut();
        let reader = readers[pool].get_or_insert_with(|| self.snapshot.pools[pool].reader(cx.rng));
        reader.acquire(cx)
    }
}
