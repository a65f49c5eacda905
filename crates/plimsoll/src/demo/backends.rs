//! The demo's backends: minimal HTTP/1.1 servers of a known speed, on a thread of their own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::scene::{SLOTS, Spec};

/// The longest request head that is read.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Starts a backend for each of `specs`, and tells where they listen. They serve until the process ends.
pub(super) fn start(specs: &'static [Spec]) -> io::Result<Vec<SocketAddr>> {
    let sockets: Vec<std::net::TcpListener> = specs
        .iter()
        .map(|_| {
            let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
        .collect::<io::Result<_>>()?;
    let addresses = sockets.iter().map(std::net::TcpListener::local_addr).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("backends".into()).spawn(move || {
        runtime.block_on(async {
            for (spec, socket) in specs.iter().zip(sockets) {
                tokio::spawn(accept(*spec, socket));
            }
            std::future::pending::<()>().await;
        });
    })?;
    addresses
}

async fn accept(spec: Spec, socket: std::net::TcpListener) -> io::Result<()> {
    let socket = TcpListener::from_std(socket)?;
    let slots = Arc::new(Slots::new(Instant::now()));
    loop {
        if let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(serve(spec, slots.clone(), stream));
        }
    }
}

async fn serve(spec: Spec, slots: Arc<Slots>, mut stream: TcpStream) -> io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = find(&bytes, b"\r\n\r\n") {
                break at + 4;
            }
            if bytes.len() > HEAD_BYTES_MAX || stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        };
        let head: Vec<u8> = bytes.drain(..end).collect();
        if !head.starts_with(b"GET ") {
            // Nobody here knows where a body would end, so the connection does.
            let refusal =
                "HTTP/1.1 405 Method Not Allowed\r\nallow: GET\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            return stream.write_all(refusal.as_bytes()).await;
        }
        if !head.starts_with(b"GET /healthz ") {
            let done = slots.work(Instant::now(), spec.service);
            tokio::time::sleep_until(done.into()).await;
        }
        stream.write_all(answer(spec).as_bytes()).await?;
    }
}

/// The answer names its backend, for people with curl and for the demo's own clients.
fn answer(spec: Spec) -> String {
    let name = spec.name;
    let length = name.len() + 1;
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n{name}\n")
}

/// Where `wanted` begins in `bytes`.
pub(super) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The slots of a backend: each works on one request at a time, first come, first served. Counted in time rather than
/// with locks, so that a timer that comes a moment late takes nothing from the capacity.
struct Slots {
    free_at: Mutex<[Instant; SLOTS]>,
}

impl Slots {
    fn new(now: Instant) -> Self {
        Slots {
            free_at: Mutex::new([now; SLOTS]),
        }
    }

    /// When a request that came at `now` will be done.
    fn work(&self, now: Instant, service: Duration) -> Instant {
        let mut slots = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let first = slots.iter_mut().min().expect("there is a slot");
        *first = (*first).max(now) + service;
        *first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_beyond_the_slots_wait_in_order() {
        let start = Instant::now();
        let slots = Slots::new(start);
        let service = Duration::from_millis(10);
        let waits: Vec<u128> = (0..=2 * SLOTS)
            .map(|_| (slots.work(start, service) - start).as_millis())
            .collect();
        assert_eq!(waits, [10, 10, 10, 10, 20, 20, 20, 20, 30]);
        let later = start + Duration::from_secs(1);
        assert_eq!(slots.work(later, service) - later, service);
    }
}
