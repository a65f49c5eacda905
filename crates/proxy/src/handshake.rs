//! TLS with a client, before anything is said within it.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use plimsoll_core::outcome::Reason;
use plimsoll_core::secured::Secured;
use plimsoll_core::snapshot::{Service, TlsTerms};
use plimsoll_net::Deadline;
use plimsoll_net::tls::{Agreed, Facts, HandshakeFault, Termination, Version};

use crate::challenge;
use crate::client::Connection;
use crate::{http, log, tcp};

/// Handshakes that a worker may be in the middle of. Each holds some 10 KB, and more if its client sends long chains;
/// what comes beyond is closed, so that those who never finish theirs take no more than that from the others.
const HANDSHAKES_MAX: usize = 4_096;

/// The protocol of HTTP/2 over TLS (RFC 9113 §3.2).
const H2: &[u8] = b"h2";

/// What is known of a client's TLS for as long as its connection lasts.
pub(crate) struct ClientTls {
    pub(crate) version: Version,
    /// What filters, templates and backends may be told.
    pub(crate) secured: Secured,
    /// How long the handshake took, until somebody has told it.
    pub(crate) took: Cell<Option<Duration>>,
    /// The certificates that it was shown one of.
    termination: Arc<Termination>,
}

impl ClientTls {
    /// Whether a request for `host` may come on this connection. A client that named nobody is not held to a name.
    pub(crate) fn covers(&self, host: &str) -> bool {
        let name = &self.secured.sni;
        name.is_empty() || self.termination.covers(name, host)
    }
}

/// Serves a connection that begins with TLS to its end.
pub(crate) async fn serve(mut connection: Connection, terms: TlsTerms) {
    // Boxed, so that the state of a handshake does not swell every idle connection.
    let speaks = match Box::pin(shake(&mut connection, terms)).await {
        Ok(speaks) => speaks,
        Err(None) => return,
        Err(Some(cause)) => return log::handshake_failed(&connection.client, cause),
    };
    match speaks {
        Speaks::Http => http::accept::serve(connection).await,
        Speaks::Http2 => Box::pin(http::serve_multiplexed(connection)).await,
        Speaks::Bytes => Box::pin(tcp::accept::serve(connection)).await,
    }
}

/// What comes within TLS.
enum Speaks {
    Http,
    Http2,
    Bytes,
}

/// A handshake under way, counted while it lives.
pub(crate) struct UnderWay(Rc<Cell<usize>>);

impl UnderWay {
    pub(crate) fn begin(count: &Rc<Cell<usize>>) -> Option<Self> {
        (count.get() < HANDSHAKES_MAX).then(|| {
            count.set(count.get() + 1);
            UnderWay(count.clone())
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Takes the handshake to its end, or says for what cause there is none; a client that went without a word, or was
/// told why in its own language, has none.
async fn shake(connection: &mut Connection, terms: TlsTerms) -> Result<Speaks, Option<&'static str>> {
    let worker = connection.client.worker.clone();
    let until = connection.timer.after(terms.handshake_timeout);
    let first = until_drained(connection, until, |connection, cx| connection.socket.poll_first(cx)).await;
    // Silence, until the end or too long, is what checks of load balancers in front of us, and of ports, look like.
    let Some(Ok(Some(first))) = first else { return Err(None) };
    let pinned = connection.client.pin();
    let service = pinned
        .listener(connection.client.listener)
        .map(|listener| &listener.service);
    let is_http = matches!(service, Some(Service::Http(_)));
    // Every record of a handshake begins with 22 (RFC 8446 §5.1), and every method of HTTP with a letter.
    if is_http && first.is_ascii_uppercase() {
        worker
            .shard()
            .handshake_failed(connection.client.listener, "plain_http");
        http::accept::refuse_plain(connection).await;
        return Err(None);
    }
    drop(pinned);
    let under_way = UnderWay::begin(&worker.handshakes).ok_or(Some("too_many"))?;
    let begun = worker.now();
    let mut read = worker.blocks.buffer();
    let challenge = challenge::asked(connection, until, &mut read).await;
    let is_challenge = challenge.is_some();
    let Some(termination) = challenge.or_else(|| worker.termination(connection.client.listener)) else {
        return Err(Some("no_certificate_of_ours"));
    };
    let agreed = {
        let Connection { socket, timer, .. } = connection;
        let accepted = socket.accept_tls(&termination, read.unread(), &worker.blocks);
        timer.within(until, accepted).await
    };
    drop((read, under_way));
    let agreed = match agreed {
        Ok(Ok(agreed)) => agreed,
        Ok(Err(HandshakeFault::Closed)) => return Err(Some("closed")),
        Ok(Err(fault)) => {
            tracing::debug!(client = %connection.client.peer, %fault, "a handshake failed");
            log::handshake_failed(&connection.client, fault.cause());
            // A client that has said more than was read would be sent a reset, and might never read the alert: with TLS
            // 1.3 the first request comes right behind a certificate that is refused.
            connection.linger(&mut worker.blocks.buffer()).await;
            return Err(None);
        }
        Err(_) if connection.timer.is_expired() => {
            worker.shard().failure(Reason::DrainDeadline);
            return Err(None);
        }
        Err(_) => return Err(Some("timeout")),
    };
    worker
        .shard()
        .handshake(connection.client.listener, agreed.version.word(), agreed.resumed);
    if is_challenge {
        // RFC 8737 §3: nothing is said within it.
        connection.socket.shutdown_write();
        connection.linger(&mut worker.blocks.buffer()).await;
        return Err(None);
    }
    let speaks = match &agreed.protocol {
        Some(protocol) if is_http && protocol == H2 => Speaks::Http2,
        _ if is_http => Speaks::Http,
        _ => Speaks::Bytes,
    };
    let took = worker.now().since(begun);
    connection.client.tls = Some(Box::new(client_tls(agreed, termination, took)?));
    Ok(speaks)
}

/// What is worth keeping of what was agreed on. A certificate that was good when its ticket was sealed may be over.
pub(crate) fn client_tls(
    agreed: Agreed,
    termination: Arc<Termination>,
    took: Duration,
) -> Result<ClientTls, Option<&'static str>> {
    let facts = agreed.peer_certificate.as_deref().map(Facts::read).transpose();
    let facts = facts.map_err(|_| Some("bad_certificate"))?;
    if facts
        .as_ref()
        .is_some_and(|facts| facts.is_expired(std::time::SystemTime::now()))
    {
        return Err(Some("expired_certificate"));
    }
    let mut secured = Secured {
        sni: agreed.name.map(String::from).unwrap_or_default(),
        ..Secured::default()
    };
    if let Some(facts) = facts {
        secured.subject = facts.subject;
        secured.issuer = facts.issuer;
        secured.fingerprint = facts.fingerprint;
        secured.names = facts.names;
        secured.names.extend(facts.identities);
    }
    Ok(ClientTls {
        version: agreed.version,
        secured,
        took: Cell::new(Some(took)),
        termination,
    })
}

/// Polls until there is something, the deadline has come, or a drain has no use for silent connections any more.
async fn until_drained<T>(
    connection: &Connection,
    until: Deadline,
    mut poll: impl FnMut(&Connection, &mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let Connection { client, timer, .. } = connection;
    let mut drain_until = None;
    poll_fn(|cx| {
        if let Poll::Ready(found) = poll(connection, cx) {
            return Poll::Ready(Some(found));
        }
        drain_until = drain_until.or_else(|| client.drain_close(timer));
        let until = drain_until.map_or(until, |drain| until.min(drain));
        timer.poll_elapsed(cx, until).map(|_| None)
    })
    .await
}
