//! The data plane as a whole: its workers' threads, and what they share.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use plimsoll_core::backend::Place;
use plimsoll_core::challenge::Proofs;
use plimsoll_core::decision::Recent;
use plimsoll_core::limit::Counts;
use plimsoll_core::name::{BackendId, NameId};
use plimsoll_core::snapshot::Snapshot;
use plimsoll_core::telemetry::Telemetry;
use plimsoll_core::time::Now;
use plimsoll_core::trace::Traces;
use plimsoll_core::upcall::{AccessLog, Address, Alarms, Cuts, Ending, Follow};
use plimsoll_net::quic::QuicSecrets;
use plimsoll_net::tls::{Origination, Termination};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::passwords::Passwords;
use crate::quic::QuicSockets;
use crate::sockets::Sockets;
use crate::worker::{self, Handed};

/// Messages that may wait for a worker; beyond it, what was to be handed over stays where it is.
const INBOX_MAX: usize = 1024;

/// Pause before a full inbox is tried again.
const INBOX_WAIT: Duration = Duration::from_millis(1);

/// How long workers may take to follow another snapshot before nobody waits for them any more. They take as long as what
/// they are in the middle of, which is milliseconds.
const FOLLOW_MAX: Duration = Duration::from_secs(10);

/// What answers whoever issues certificates and asks within TLS, by the names that are to be proved.
pub type Challenges = HashMap<Box<str>, Arc<Termination>>;

/// A worker that has shown nothing for so long stands still.
const STANDSTILL: Duration = Duration::from_secs(10);

/// What the data plane is given to work with.
pub struct Wiring {
    /// The configuration to serve, swapped by the control plane.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// TLS as it ends at listeners, likewise.
    pub terminations: Arc<ArcSwap<HashMap<NameId, Arc<Termination>>>>,
    /// What answers who issues certificates and asks within TLS, likewise.
    pub challenges: Arc<ArcSwap<Challenges>>,
    /// What answers it over plain HTTP, likewise.
    pub proofs: Arc<Proofs>,
    /// TLS with the backends of the pools that want it, likewise.
    pub originations: Arc<ArcSwap<HashMap<NameId, Arc<Origination>>>>,
    /// Where workers count; it has a shard for each.
    pub telemetry: Arc<Telemetry>,
    /// Where failing backends are told.
    pub alarms: Arc<dyn Alarms>,
    /// Where finished requests are written.
    pub access: Arc<dyn AccessLog>,
    /// Where decisions that were taken are kept; it has a ring for each worker.
    pub decisions: Arc<Recent>,
    /// Where requests wait whose traces are told; it has a ring for each worker.
    pub traces: Arc<Traces>,
    /// The process's clock.
    pub clock: Clock,
    /// From which all randomness of the data plane follows.
    pub seed: u64,
    /// How many workers there shall be.
    pub workers: usize,
}

/// A place among a backend's connections that a worker's request waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) backend: BackendId,
    /// The worker's number.
    pub(crate) by: usize,
    /// Since when the request has waited.
    pub(crate) since: Now,
}

/// What says that a worker has followed, by being dropped.
pub(crate) type Followed = std::sync::mpsc::Sender<Never>;

/// What is never sent.
#[derive(PartialEq, Eq)]
pub(crate) enum Never {}

/// What a worker is told.
pub(crate) enum Message {
    /// There is another snapshot; somebody may want to know when it is followed.
    Reconcile(Option<Followed>),
    /// Finish what is under way, until this point at the latest.
    Drain(Now),
    /// Serve this connection.
    Serve(Handed),
    /// Give up a place among a backend's connections: another worker needs it.
    Shed(Wanted),
    /// A connection was closed for the sake of this worker, whose place this is now.
    Grant(Place),
    /// End the connections to this backend.
    Cut(BackendId, Ending),
}

/// What the workers share.
pub(crate) struct Shared {
    pub(crate) wiring: Wiring,
    /// Client connections of each worker.
    pub(crate) carried: Vec<AtomicU32>,
    /// Client connections of all workers.
    pub(crate) connections: AtomicU32,
    /// Client connections of each client at listeners that limit them.
    pub(crate) clients: Arc<Counts>,
    pub(crate) draining: AtomicBool,
    pub(crate) passwords: Passwords,
    inboxes: Vec<mpsc::Sender<Message>>,
    sockets: Mutex<Sockets>,
    pub(crate) quic_sockets: Arc<QuicSockets>,
    pub(crate) quic_secrets: QuicSecrets,
    /// Whether another process has taken over.
    pub(crate) replaced: AtomicBool,
    /// When each worker has last shown that it goes on.
    pulses: Vec<AtomicU64>,
}

/// The running data plane.
pub struct Plane {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Plane {
    /// Starts the workers, with `sockets` that are bound.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(wiring: Wiring, sockets: Sockets) -> io::Result<Plane> {
        let workers = wiring.workers.max(1);
        let (inboxes, outlets): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(INBOX_MAX)).unzip();
        let now = wiring.clock.now();
        let shared = Arc::new(Shared {
            wiring,
            carried: (0..workers).map(|_| AtomicU32::new(0)).collect(),
            connections: AtomicU32::new(0),
            clients: Arc::new(Counts::new(RandomState::new().hash_one(0))),
            draining: AtomicBool::new(false),
            passwords: Passwords::new()?,
            inboxes,
            quic_sockets: sockets.quic(),
            sockets: Mutex::new(sockets),
            quic_secrets: QuicSecrets::new()?,
            replaced: AtomicBool::new(false),
            pulses: (0..workers).map(|_| AtomicU64::new(now.nanos())).collect(),
        });
        let threads = outlets
            .into_iter()
            .enumerate()
            .map(|(index, outlet)| {
                let shared = shared.clone();
                let name = format!("worker-{index}");
                std::thread::Builder::new()
                    .name(name)
                    .spawn(move || worker::run(index, shared, outlet))
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Plane { shared, threads })
    }

    /// Where the address `wanted` is really bound: another port when it asked for port 0.
    pub fn local_address(&self, wanted: SocketAddr) -> Option<SocketAddr> {
        self.shared.sockets().local_address(wanted)
    }

    /// Copies of the listening sockets, for the process that takes over: each with the address that was wanted.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn sockets(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        self.shared.sockets().copies()
    }

    /// The same of those of HTTP/3.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn quic_sockets(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        self.shared.quic_sockets.copies()
    }

    /// Another process has taken over: connections of HTTP/3 end, since all packets are that one's from here on.
    pub fn replaced(&self) {
        self.shared.replaced.store(true, Relaxed);
    }

    /// What finds out whether every worker goes on.
    pub fn liveness(&self) -> impl Fn() -> bool + use<> {
        let shared = self.shared.clone();
        move || {
            let now = shared.wiring.clock.now();
            let pulse = |pulse: &AtomicU64| Now::from_nanos(pulse.load(Relaxed));
            shared.pulses.iter().all(|last| now.since(pulse(last)) < STANDSTILL)
        }
    }

    /// Tells the workers that there is another snapshot.
    pub fn reconcile(&self) {
        self.shared.tell(|| Message::Reconcile(None));
    }

    /// What has workers follow the snapshots that are published.
    pub fn followers(&self) -> Arc<dyn Follow> {
        self.shared.clone()
    }

    /// What ends connections that the workers hold.
    pub fn cuts(&self) -> Arc<dyn Cuts> {
        self.shared.clone()
    }

    /// Says on health paths that the node is about to be shut down, while all goes on as before.
    pub fn announce_drain(&self) {
        self.shared.draining.store(true, Relaxed);
    }

    /// Stops accepting and lets what is under way go on for `timeout`. [`join`](Self::join) returns when it is over.
    pub fn drain(&self, timeout: Duration) {
        let deadline = self.shared.wiring.clock.now() + timeout;
        self.announce_drain();
        self.shared.tell(|| Message::Drain(deadline));
    }

    /// Client connections that are open.
    pub fn connections(&self) -> u32 {
        self.shared.connections.load(Relaxed)
    }

    /// What tells [how many](Self::connections) there are for as long as anybody asks.
    pub fn count(&self) -> impl Fn() -> u32 + Send + 'static {
        let shared = self.shared.clone();
        move || shared.connections.load(Relaxed)
    }

    /// Waits until every worker has ended.
    pub fn join(self) {
        for thread in self.threads {
            // A worker that panicked has said so in the log; there is nobody else to tell.
            let _ = thread.join();
        }
    }
}

impl Follow for Shared {
    fn bind(&self, wanted: &[Address<'_>]) -> Result<(), String> {
        self.sockets().bind_all(wanted)
    }

    fn follow(&self) {
        let (followed, following) = std::sync::mpsc::channel::<Never>();
        self.tell(|| Message::Reconcile(Some(followed.clone())));
        drop(followed);
        // Ends when the last of them has dropped its end.
        if following.recv_timeout(FOLLOW_MAX) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("a worker has not followed the configuration within {FOLLOW_MAX:?}, and will when it can");
        }
    }
}

impl Cuts for Shared {
    fn cut(&self, backend: BackendId, why: Ending) -> bool {
        let full = |inbox: &mpsc::Sender<Message>| {
            matches!(
                inbox.try_send(Message::Cut(backend, why)),
                Err(mpsc::error::TrySendError::Full(_))
            )
        };
        // All that can be told are, whoever cannot.
        self.inboxes.iter().filter(|inbox| full(inbox)).count() == 0
    }
}

impl Shared {
    fn tell(&self, message: impl Fn() -> Message) {
        for inbox in &self.inboxes {
            let mut message = message();
            // A full inbox is emptied within a turn of its worker's loop; one that is closed has nobody behind it.
            while let Err(mpsc::error::TrySendError::Full(back)) = inbox.try_send(message) {
                message = back;
                std::thread::sleep(INBOX_WAIT);
            }
        }
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.inboxes.len()
    }

    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sockets for `worker` at `address` that it has not fetched yet.
    pub(crate) fn fetch_sockets(&self, worker: usize, address: SocketAddr) -> Vec<TcpListener> {
        self.sockets().fetch(worker, address)
    }

    /// Forgets an address, so that it can be bound again.
    pub(crate) fn forget(&self, address: SocketAddr) {
        self.sockets().forget(address);
    }

    /// `worker` goes on.
    pub(crate) fn beat(&self, worker: usize, now: Now) {
        self.pulses[worker].store(now.nanos(), Relaxed);
    }

    /// Sends `message` to `worker`, or gives it back when its inbox is full.
    pub(crate) fn send(&self, worker: usize, message: Message) -> Result<(), Message> {
        self.inboxes[worker]
            .try_send(message)
            .map_err(mpsc::error::TrySendError::into_inner)
    }

    /// The worker that should serve a connection that `worker` accepted: itself, unless it carries more than 1.25
    /// times the mean, when it is the least loaded one.
    pub(crate) fn place(&self, worker: usize) -> usize {
        let mine = u64::from(self.carried[worker].load(Relaxed));
        let total: u64 = self.carried.iter().map(|count| u64::from(count.load(Relaxed))).sum();
        // Few connections are never worth a move; 4 × mine > 5 × mean.
        if mine < HANDOVER_MIN || 4 * mine * self.carried.len() as u64 <= 5 * total {
            return worker;
        }
        let least = self
            .carried
            .iter()
            .enumerate()
            .min_by_key(|(_, count)| count.load(Relaxed));
        least.map_or(worker, |(least, _)| least)
    }

    /// Asks the other workers for a place among a backend's connections.
    pub(crate) fn ask_to_shed(&self, wanted: Wanted) {
        for worker in (0..self.inboxes.len()).filter(|worker| *worker != wanted.by) {
            // A full inbox belongs to a worker that is busy; it is asked again.
            let _ = self.send(worker, Message::Shed(wanted));
        }
    }
}

/// Connections that a worker carries before any is handed over.
const HANDOVER_MIN: u64 = 4;
