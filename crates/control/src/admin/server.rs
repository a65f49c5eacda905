//! The sockets of the admin API: bounded in number, in patience and in age, so that slow callers cannot pile up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

use super::places::{Place, Places};
use crate::metrics::Metrics;

/// Connections at once to one admin address; then the oldest that asks nothing makes room. Each may cost a buffer and a descriptor; people and scrapers are few.
const CONNECTIONS_MAX: u32 = 256;

/// From a connection's start, or a request's end, to the end of the next request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest head, in bytes. The HTTP library counts what it happened to read at once, which may be more or less, so
/// that the router counts for itself.
pub(super) const HEAD_BYTES_MAX: usize = 32 << 10;

/// Fields in a head.
pub(super) const FIELDS_MAX: usize = 64;

/// How far beyond these limits a head may be and still be told why it is refused. What is beyond, and what is no head
/// at all, the library answers by itself: 431, 414 or 400 without a body.
const LENIENCE: usize = 2;

/// The age at which a connection is closed once its request is answered.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(60);

/// How long that last answer may take to be read.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(30);

/// A stream whose reader has taken nothing for so long is cut; one that is read has a heartbeat more often.
const STALL_MAX: Duration = Duration::from_secs(30);

/// How often that is looked at.
const STALL_LOOK: Duration = Duration::from_secs(10);

/// How long callers may take to get their answers when another process has taken over.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What callers come in by.
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    async fn accept(&self) -> std::io::Result<Stream> {
        match self {
            Socket::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Socket::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

/// Serves `router` on `socket` until it is `retired`, and then gives callers a little time to get their answers.
pub(super) async fn serve(socket: Socket, router: Router, metrics: Arc<Metrics>, mut retired: watch::Receiver<bool>) {
    let places = Places::new(CONNECTIONS_MAX);
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            // Whoever could say so and is gone says so too.
            _ = retired.wait_for(|retired| *retired) => break,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "the admin API cannot accept");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let taken = places.take().await;
        if !matches!(taken, Some((_, false))) {
            metrics.admin_refused.fetch_add(1, Relaxed);
        }
        let Some((place, _)) = taken else { continue };
        let place = Arc::new(place);
        let router = router.clone();
        tokio::spawn(async move {
            match stream {
                Stream::Tcp(stream) => {
                    // Without it, small answers would wait for the peer's delayed acknowledgement; nothing is lost when
                    // it fails.
                    let _ = stream.set_nodelay(true);
                    converse(stream, router, &place).await;
                }
                Stream::Unix(stream) => converse(stream, router, &place).await,
            }
        });
    }
    drop(socket);
    // Streams and connections that are kept end when the process does.
    let _ = tokio::time::timeout(LEAVE_MAX, places.empty()).await;
}

/// When a stream on the connection was last asked for more, for as long as there is one: it may become older than others.
#[derive(Clone, Debug)]
pub(super) struct Liveness {
    born: Instant,
    /// Milliseconds after that; 0 is never.
    touched_ms: Arc<AtomicU64>,
}

impl Default for Liveness {
    fn default() -> Self {
        Liveness {
            born: Instant::now(),
            touched_ms: Arc::default(),
        }
    }
}

impl Liveness {
    /// The stream is being read.
    pub(super) fn touch(&self) {
        self.touched_ms.store(self.age_ms().max(1), Relaxed);
    }

    /// Whether there is a stream that is being read.
    fn streams(&self) -> bool {
        let touched = self.touched_ms.load(Relaxed);
        touched > 0 && Duration::from_millis(self.age_ms().saturating_sub(touched)) < STALL_MAX
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router, place: &Arc<Place>) {
    let liveness = Liveness::default();
    let service = service_fn(|mut request: hyper::Request<hyper::body::Incoming>| {
        let answering = place.answer();
        request.extensions_mut().insert(liveness.clone());
        let answer = TowerToHyperService::new(router.clone()).call(request);
        async move { answer.await.map(|answer| answer.map(|body| answering.by(body))) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(LENIENCE * FIELDS_MAX)
        .max_buf_size(LENIENCE * HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut patience = CONNECTION_AGE_MAX;
    loop {
        tokio::select! {
            // How a caller leaves concerns nobody.
            _ = connection.as_mut() => return,
            // It has asked nothing yet, and others want to.
            () = place.left() => return,
            () = tokio::time::sleep(patience) => {}
        }
        if !liveness.streams() {
            break;
        }
        patience = STALL_LOOK;
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(LAST_ANSWER_MAX, connection).await;
}
