//! QUIC at listeners: endpoints that follow the snapshot, clients that are let in or not, and their handshakes.

mod sockets;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use plimsoll_core::name::NameId;
use plimsoll_core::outcome::Reason;
use plimsoll_core::snapshot::{HttpService, Listener, Service, TlsTerms};
use plimsoll_http::h3::Code;
use plimsoll_net::quic::{QuicTerms, quic_cause, quic_endpoint};
use plimsoll_net::tls::{Agreed, Termination, Version};
use quinn::crypto::rustls::HandshakeData;
use quinn::rustls::pki_types::CertificateDer;
use quinn::{Connection, Endpoint, Incoming, ServerConfig};

use crate::client::Client;
use crate::handshake::{UnderWay, client_tls};
use crate::http;
use crate::log;
use crate::worker::{Pinned, REFUSED_MAX, Worker};

pub(crate) use sockets::QuicSockets;

/// Handshakes that a worker is in the middle of, beyond which a client has to prove its address before anything is done
/// for it (RFC 9000 §8.1.2): that costs a round trip, and sees to it that nobody fills the places of others by packets
/// that seem to come from everywhere.
const UNPROVEN_MAX: usize = 64;

/// Requests that a client may have under way on a connection, as on one of HTTP/2.
const STREAMS_MAX: u32 = 100;

/// Streams of one direction at a time: there are three that mean something.
const UNI_STREAMS_MAX: u32 = 8;

/// What a client may send ahead of us on one stream, and on all together, as on one of HTTP/2.
const WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// What we hold of answers on a connection that its client has not acknowledged: what is under way on a fast line with a
/// long round trip.
const SEND_MAX: u64 = 1 << 20;

/// How much longer than without a request a client may be silent altogether: without one it is told to go first.
const SILENCE: Duration = Duration::from_secs(5);

/// How long clients' last words may take to leave when the worker ends.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// H3_NO_ERROR (RFC 9114 §8.1).
const NO_ERROR: u32 = 0x100;

/// A worker's endpoints, by the address that they were asked for.
#[derive(Default)]
pub(crate) struct Endpoints {
    bound: RefCell<HashMap<SocketAddr, Rc<Bound>>>,
    /// What answers over TCP say of it, by listener.
    adverts: RefCell<Vec<(NameId, Rc<[u8]>)>>,
}

/// An endpoint at an address.
struct Bound {
    endpoint: Endpoint,
    local: SocketAddr,
    /// Whose connections these are now.
    listener: Cell<NameId>,
    /// Whether its listener still is there.
    wanted: Cell<bool>,
    /// How connections are accepted, for as long as what it was made of is the same.
    server: RefCell<Option<Server>>,
}

/// How connections are accepted.
#[derive(Clone)]
struct Server {
    termination: Arc<Termination>,
    terms: QuicTerms,
    config: Arc<ServerConfig>,
}

impl Endpoints {
    /// Speaks QUIC where the snapshot says, and takes nobody in anywhere else. What is under way there goes on.
    pub(crate) fn reconcile(&self, worker: &Rc<Worker>, pinned: &Pinned) {
        let speaking = || {
            pinned
                .snapshot
                .listeners
                .iter()
                .filter(|listener| listener.http3.is_some())
        };
        let wanted: HashMap<SocketAddr, NameId> = speaking()
            .flat_map(|listener| listener.bind.iter().map(|address| (*address, listener.id)))
            .collect();
        for (address, bound) in self.bound.borrow().iter() {
            let keep = wanted.contains_key(address);
            if bound.wanted.replace(keep) && !keep {
                worker.shared.quic_sockets.retire(*address);
                tokio::task::spawn_local(leave(worker.clone(), *address, bound.clone()));
            }
        }
        for (address, listener) in wanted {
            if let Some(bound) = self.bound.borrow().get(&address) {
                bound.listener.set(listener);
                continue;
            }
            let Some(bound) = bind(worker, address, listener) else {
                continue;
            };
            tokio::task::spawn_local(accept(worker.clone(), bound.clone()));
            self.bound.borrow_mut().insert(address, bound);
        }
        let adverts = speaking().map(|listener| (listener.id, self.advert_of(listener)));
        *self.adverts.borrow_mut() = adverts.collect();
    }

    /// How answers over TCP tell that the listener can be had over HTTP/3 (RFC 7838 §3).
    pub(crate) fn advert(&self, listener: NameId) -> Option<Rc<[u8]>> {
        let adverts = self.adverts.borrow();
        let found = adverts.iter().find(|(id, _)| *id == listener)?;
        Some(found.1.clone())
    }

    fn advert_of(&self, listener: &Listener) -> Rc<[u8]> {
        let bound = self.bound.borrow();
        let ours = listener.bind.iter().filter_map(|address| bound.get(address));
        let told = listener.http3.and_then(|http3| http3.port);
        let mut ports: Vec<u16> = ours.map(|bound| told.unwrap_or(bound.local.port())).collect();
        ports.sort_unstable();
        ports.dedup();
        let seconds = listener.http3.map_or(0, |http3| http3.max_age.as_secs());
        let each = ports.iter().map(|port| format!("h3=\":{port}\"; ma={seconds}"));
        each.collect::<Vec<_>>().join(", ").into_bytes().into()
    }

    /// Ends all connections at once.
    pub(crate) fn close(&self) {
        for bound in self.bound.borrow().values() {
            bound.endpoint.close(NO_ERROR.into(), b"another process serves");
        }
    }

    /// Lets what was said last go out.
    pub(crate) async fn end(&self) {
        let endpoints: Vec<Endpoint> = (self.bound.borrow_mut().drain())
            .map(|(_, bound)| bound.endpoint.clone())
            .collect();
        let gone = async {
            for endpoint in &endpoints {
                endpoint.wait_idle().await;
            }
        };
        // A client that does not answer is not waited for.
        let _ = tokio::time::timeout(LAST_WORDS, gone).await;
    }
}

fn bind(worker: &Worker, address: SocketAddr, listener: NameId) -> Option<Rc<Bound>> {
    let socket = worker.shared.quic_sockets.fetch(address, worker.index)?;
    let local = socket.local_addr().ok()?;
    let place = (worker.index, worker.shared.workers());
    match quic_endpoint(socket, place, &worker.shared.quic_secrets) {
        Ok(endpoint) => Some(Rc::new(Bound {
            endpoint,
            local,
            listener: Cell::new(listener),
            wanted: Cell::new(true),
            server: RefCell::default(),
        })),
        Err(error) => {
            tracing::error!(%address, %error, "a socket of QUIC cannot be used");
            None
        }
    }
}

/// Ends an endpoint whose listener is gone once its connections are, unless the listener has come back.
async fn leave(worker: Rc<Worker>, address: SocketAddr, bound: Rc<Bound>) {
    bound.endpoint.wait_idle().await;
    if bound.wanted.get() || worker.quic.bound.borrow_mut().remove(&address).is_none() {
        return;
    }
    bound.endpoint.close(0u32.into(), b"");
    worker.shared.quic_sockets.leave(address);
}

/// What connections of a listener keep to.
fn terms(service: &HttpService) -> QuicTerms {
    QuicTerms {
        streams_max: STREAMS_MAX,
        uni_streams_max: UNI_STREAMS_MAX,
        stream_window: WINDOW,
        window: CONNECTION_WINDOW,
        send_max: SEND_MAX,
        silence_max: service.timeouts.idle + SILENCE,
    }
}

impl Bound {
    /// How a connection is accepted now: certificates come and go without a reload.
    fn server(&self, worker: &Worker, service: &HttpService) -> Option<Server> {
        let (termination, terms) = (worker.termination(self.listener.get())?, terms(service));
        let mut kept = self.server.borrow_mut();
        let is_of_now = |server: &&Server| Arc::ptr_eq(&server.termination, &termination) && server.terms == terms;
        if let Some(server) = kept.as_ref().filter(is_of_now) {
            return Some(server.clone());
        }
        let config = terms.server(&termination, &worker.shared.quic_secrets)?;
        let server = Server {
            config: Arc::new(config),
            termination,
            terms,
        };
        *kept = Some(server.clone());
        Some(server)
    }
}

async fn accept(worker: Rc<Worker>, bound: Rc<Bound>) {
    while let Some(incoming) = bound.endpoint.accept().await {
        let_in(&worker, &bound, incoming);
    }
}

/// Begins a client's handshake, or turns it away. Whoever is refused hears so at once, and comes over TCP.
fn let_in(worker: &Rc<Worker>, bound: &Bound, incoming: Incoming) {
    let pinned = worker.pin();
    let id = bound.listener.get();
    let Some(door) = worker.doors.find(id, &pinned) else {
        return incoming.refuse();
    };
    let found = pinned
        .listener(id)
        .filter(|_| bound.wanted.get() && !worker.is_draining());
    let Some((listener, Service::Http(service), Some(tls))) = found.map(|found| (found, &found.service, found.tls))
    else {
        return incoming.refuse();
    };
    let most = pinned.snapshot.node.max_connections;
    if worker.shared.connections.load(Relaxed) >= most.saturating_add(REFUSED_MAX) {
        incoming.refuse();
        return worker.shard().failure(Reason::Overloaded);
    }
    // Who may have only so many connections is counted by an address that is its own.
    let crowded = worker.handshakes.get() >= UNPROVEN_MAX || listener.max_connections_per_client.is_some();
    if crowded && !incoming.remote_address_validated() && incoming.may_retry() {
        // It fails for those alone that were looked at just now.
        let _ = incoming.retry();
        return;
    }
    let peer = incoming.remote_address();
    let Ok(held) = worker.hold_place(&pinned, listener, peer) else {
        incoming.refuse();
        return worker.shard().failure(Reason::ConcurrencyLimited);
    };
    let client = Client::new(worker.clone(), (peer, held), door, most);
    let refused = match (bound.server(worker, service), UnderWay::begin(&worker.handshakes)) {
        (Some(server), Some(under_way)) => {
            let handshake = Handshake {
                client,
                local: bound.local,
                terms: tls,
                server,
                under_way,
            };
            tokio::task::spawn_local(handshake.serve(incoming));
            return;
        }
        (None, _) => "no_certificate_of_ours",
        (_, None) => "too_many",
    };
    incoming.refuse();
    log::handshake_failed(&client, refused);
}

/// A handshake that begins.
struct Handshake {
    client: Client,
    local: SocketAddr,
    terms: TlsTerms,
    server: Server,
    under_way: UnderWay,
}

impl Handshake {
    /// Takes it to its end, and serves the connection to its.
    async fn serve(self, incoming: Incoming) {
        let Handshake {
            mut client,
            local,
            terms,
            server,
            under_way,
        } = self;
        let worker = client.worker.clone();
        let timer = client.timer();
        let begun = worker.now();
        let until = timer.after(terms.handshake_timeout);
        let connecting = match incoming.accept_with(server.config) {
            Ok(connecting) => connecting,
            Err(error) => return log::handshake_failed(&client, quic_cause(&error)),
        };
        let connection = match timer.within(until, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                tracing::debug!(client = %client.peer, %error, "a handshake of QUIC failed");
                return log::handshake_failed(&client, quic_cause(&error));
            }
            Err(_) if timer.is_expired() => return worker.shard().failure(Reason::DrainDeadline),
            Err(_) => return log::handshake_failed(&client, "timeout"),
        };
        drop(under_way);
        let agreed = agreed(&connection);
        let shard_version = agreed.version.word();
        match client_tls(agreed, server.termination, worker.now().since(begun)) {
            Ok(tls) => client.tls = Some(Box::new(tls)),
            Err(cause) => {
                connection.close(Code::GENERAL_PROTOCOL_ERROR.0.into(), b"");
                return log::handshake_failed(&client, cause.unwrap_or("closed"));
            }
        }
        worker.shard().handshake(client.listener, shard_version, false);
        http::serve_quic((connection, local), client, timer).await;
    }
}

/// What was agreed on. Whether an earlier handshake's keys were taken up is not told by the codec.
fn agreed(connection: &Connection) -> Agreed {
    let said = connection
        .handshake_data()
        .and_then(|said| said.downcast::<HandshakeData>().ok());
    let chain = connection.peer_identity();
    let chain = chain.and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let (name, protocol) = said.map_or((None, None), |said| (said.server_name, said.protocol));
    Agreed {
        version: Version::Tls13,
        name: name.map(|name| name.to_ascii_lowercase().into()),
        protocol,
        resumed: false,
        peer_certificate: chain.and_then(|chain| chain.first().map(|first| first.to_vec())),
    }
}
