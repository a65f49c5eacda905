//! The PROXY protocol: whom a connection is from, as a proxy in front says, and as we say it to backends.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use plimsoll_core::outcome::Reason;
use plimsoll_core::pool::{Pool, ProxyVersion};
use plimsoll_core::snapshot::{HttpTimeouts, Listener, ProxyTrust, Service};
use plimsoll_net::{ProxiedEnds, Socket, Unintroduced, Vouched, write_proxy_v1, write_proxy_v2};

use crate::client::{Client, Connection};
use crate::log::{self, ConnectionLog, Finished};
use crate::worker::Pinned;

/// What a backend may be told of the client of a connection that is made for it.
#[derive(Clone, Debug)]
pub(crate) struct Introduction {
    pub(crate) ends: ProxiedEnds,
    /// The protocol within TLS, when it is known.
    pub(crate) alpn: Option<Vec<u8>>,
    /// The name that it asks for in TLS.
    pub(crate) sni: Option<String>,
    /// What it is called in our log.
    pub(crate) unique_id: String,
}

impl Introduction {
    /// What is told of a client whose requests or connections are called `unique_id`, when backends of `pool` want to
    /// know; `local` is our end of its connection.
    pub(crate) fn wanted(
        pool: &Pool,
        client: &Client,
        local: impl FnOnce() -> Option<SocketAddr>,
        unique_id: impl FnOnce() -> String,
    ) -> Option<Introduction> {
        pool.settings.send_proxy?;
        let ends = ProxiedEnds {
            source: client.peer,
            destination: client.reached.or_else(local)?,
        };
        Some(Introduction {
            ends,
            alpn: None,
            sni: None,
            unique_id: unique_id(),
        })
    }
}

/// Connects, and begins with a header where one is wanted; without an `introduction` it speaks for nobody.
pub(crate) async fn connect(
    address: SocketAddr,
    version: Option<ProxyVersion>,
    introduction: Option<&Introduction>,
) -> io::Result<Socket> {
    let mut socket = plimsoll_net::connect(address).await?;
    let Some(version) = version else {
        return Ok(socket);
    };
    let mut header = Vec::with_capacity(128);
    let ends = introduction.map(|introduction| introduction.ends);
    match (version, introduction) {
        (ProxyVersion::V1, _) => write_proxy_v1(&mut header, ends),
        (ProxyVersion::V2, None) => write_proxy_v2(&mut header, None, Vouched::default()),
        (ProxyVersion::V2, Some(introduction)) => {
            let vouched = Vouched {
                alpn: introduction.alpn.as_deref(),
                authority: introduction.sni.as_deref(),
                unique_id: Some(introduction.unique_id.as_bytes()),
            };
            write_proxy_v2(&mut header, ends, vouched);
        }
    }
    socket.write_all(&header).await?;
    Ok(socket)
}

/// Takes the header off the front of a connection and goes on with whoever it is from.
pub(crate) async fn serve(mut connection: Connection) {
    let worker = connection.client.worker.clone();
    let pinned = connection.client.pin();
    let Some(listener) = pinned.listener(connection.client.listener) else {
        return;
    };
    let Some(trust) = &listener.proxy_protocol else {
        return worker.begin(connection, listener);
    };
    let mut refused = introduce(&mut connection, listener, trust).await;
    if refused.is_none() {
        // Only now it is known whose it is.
        match worker.hold_place(&pinned, listener, connection.client.peer) {
            Ok(held) => {
                connection.client.hold(held);
                return worker.begin(connection, listener);
            }
            Err(()) => refused = Some(Some(Reason::ConcurrencyLimited)),
        }
    }
    tell(&connection, &pinned, refused.flatten());
}

/// Reads the header, and believes it or not. `Some` when the connection ends here, with the reason, if that is a fault.
async fn introduce(connection: &mut Connection, listener: &Listener, trust: &ProxyTrust) -> Option<Option<Reason>> {
    let Connection { client, socket, timer } = connection;
    let deadline = timer.after(patience(&listener.service));
    let ends = match timer.within(deadline, socket.take_proxy_header()).await {
        Ok(Ok(ends)) => ends,
        // Whoever only looks whether somebody listens has done nothing wrong.
        Ok(Err(Unintroduced::Gone(false))) => return Some(None),
        Ok(Err(Unintroduced::Gone(true))) => return Some(Some(Reason::ClientClosed)),
        Ok(Err(Unintroduced::Fault(fault))) => {
            tracing::debug!(peer = %client.peer, %fault, "a connection is closed");
            return Some(Some(Reason::BadRequest));
        }
        Err(_) if timer.is_expired() => return Some(Some(Reason::DrainDeadline)),
        Err(_) => return Some(Some(Reason::RequestHeaderTimeout)),
    };
    if let Some(ends) = ends.filter(|_| trust.believes(client.peer.ip())) {
        client.peer = ends.source;
        client.reached = Some(ends.destination);
    }
    None
}

/// How long a header may take: as long as whatever a client begins with.
fn patience(service: &Service) -> Duration {
    match service {
        Service::Http(service) => service.timeouts.request_header,
        Service::Passthrough(service) => service.hello_timeout,
        Service::Tcp(_) => HttpTimeouts::default().request_header,
    }
}

/// Counts and logs a connection that ends before anybody knows whose it is.
fn tell(connection: &Connection, pinned: &Pinned, reason: Option<Reason>) {
    let client = &connection.client;
    let mut finished = Finished::new(pinned);
    if let Some(reason) = reason {
        finished.fail(reason);
        client.worker.shard().failure(reason);
    }
    if pinned.snapshot.node.access_log.is_some() {
        let log = ConnectionLog {
            protocol: "PROXY",
            ..ConnectionLog::default()
        };
        let line = log::connection_line(client, pinned, &log, &finished);
        client.worker.shared.wiring.access.write(line);
    }
}
