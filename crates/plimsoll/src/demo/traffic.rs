//! The demo's clients: requests that come when they come (open loop), over real sockets, whether or not the ones before
//! were answered. Latency counts from when a request was due, so that a slow answer hides no other one.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use plimsoll_core::rng::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::backends::find;
use super::scene::BACKENDS;
use super::tally::{Sample, Tally};

/// Requests under way; what comes beyond counts as an error.
const IN_FLIGHT_MAX: usize = 1_024;

/// The longest that a client waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// The row that requests are counted in while a policy settles: none.
const NO_ROW: usize = usize::MAX;

/// The clients, on a thread of their own.
pub(super) struct Traffic {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    to: SocketAddr,
    tally: Mutex<Tally>,
    row: AtomicUsize,
    in_flight: AtomicUsize,
    paused: AtomicBool,
    stopped: AtomicBool,
    /// Connections that wait for the next request, the last one used on top.
    idle: Mutex<Vec<TcpStream>>,
}

impl Traffic {
    /// Starts sending `per_second` requests to `to`, at random moments that follow from `seed`.
    pub(super) fn start(to: SocketAddr, per_second: f64, rows: usize, seed: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            to,
            tally: Mutex::new(Tally::new(rows)),
            row: AtomicUsize::new(NO_ROW),
            in_flight: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            idle: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sending = shared.clone();
        let thread = std::thread::Builder::new()
            .name("traffic".into())
            .spawn(move || runtime.block_on(send(sending, per_second, seed)))?;
        Ok(Traffic {
            shared,
            thread: Some(thread),
        })
    }

    /// Counts what is sent from now on in `row`.
    pub(super) fn count_in(&self, row: Option<usize>) {
        self.shared.row.store(row.unwrap_or(NO_ROW), Relaxed);
    }

    /// What was measured.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.shared.tally()
    }

    /// Sends nothing more; what is under way may still be answered.
    pub(super) fn pause(&self) {
        self.shared.paused.store(true, Relaxed);
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Relaxed)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It looks at the flag at least every LOOK; a panic there has already been printed.
            let _ = thread.join();
        }
    }
}

/// How often the sender looks whether it shall stop, when no request is due.
const LOOK: Duration = Duration::from_millis(20);

async fn send(shared: Arc<Shared>, per_second: f64, seed: u64) {
    let mut rng = Rng::seeded(seed);
    let mut due = Instant::now();
    while !shared.stopped.load(Relaxed) {
        let now = Instant::now();
        let wait = if shared.paused.load(Relaxed) {
            LOOK
        } else {
            due.saturating_duration_since(now)
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait.min(LOOK)).await;
            continue;
        }
        let row = shared.row.load(Relaxed);
        let row = (row != NO_ROW).then_some(row);
        if shared.in_flight.fetch_add(1, Relaxed) < IN_FLIGHT_MAX {
            tokio::spawn(request(shared.clone(), due, row));
        } else {
            shared.done(due, row, None);
        }
        // A Poisson process: the gaps are exponentially distributed.
        due += Duration::from_secs_f64(-(1.0 - rng.unit()).ln() / per_second);
    }
}

async fn request(shared: Arc<Shared>, due: Instant, row: Option<usize>) {
    let answered = tokio::time::timeout(PATIENCE, shared.ask()).await;
    shared.done(due, row, answered.ok().and_then(Result::ok).flatten());
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self, due: Instant, row: Option<usize>, backend: Option<usize>) {
        self.in_flight.fetch_sub(1, Relaxed);
        let at = Instant::now();
        let latency = at - due;
        self.tally().record(row, Sample { at, latency, backend });
    }

    /// Sends one request; which backend answered it, or `None` when it was no backend.
    async fn ask(&self) -> io::Result<Option<usize>> {
        loop {
            let kept = self.idle().pop();
            let (mut stream, reused) = match kept {
                Some(stream) => (stream, true),
                None => (TcpStream::connect(self.to).await?, false),
            };
            let _ = stream.set_nodelay(true);
            match exchange(&mut stream, self.to).await {
                Ok(backend) => {
                    self.idle().push(stream);
                    return Ok(backend);
                }
                // It was closed while it was idle; a new one is in no such race.
                Err(_) if reused => {}
                Err(error) => return Err(error),
            }
        }
    }
}

async fn exchange(stream: &mut TcpStream, to: SocketAddr) -> io::Result<Option<usize>> {
    let request = format!("GET / HTTP/1.1\r\nhost: {to}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::with_capacity(512);
    loop {
        if let Some((status, body)) = answer(&bytes) {
            let by = |name: &str| body.trim_ascii_end() == name.as_bytes();
            let backend = BACKENDS.iter().position(|spec| by(spec.name));
            return Ok(backend.filter(|_| status == 200));
        }
        if bytes.len() > ANSWER_BYTES_MAX || stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The status and the body of a complete answer with a Content-Length.
fn answer(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let end = find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length: usize = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    })?;
    let body = &bytes[end + 4..];
    body.get(..length).map(|body| (status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_it_is_complete() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx: y\r\n\r\nslow\n";
        assert_eq!(answer(whole), Some((200, &b"slow\n"[..])));
        assert_eq!(answer(&whole[..whole.len() - 1]), None);
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\n"), None);
        let refused = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(answer(refused), Some((503, &b""[..])));
    }
}
