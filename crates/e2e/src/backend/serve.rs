//! The threads of a scripted backend, and what they share with the test.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufReader, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::RECORDED_MAX;
use super::exchange::Exchange;
use super::script::Script;
use crate::message::Request;

/// A connection's thread needs little; thousands of them should fit.
const STACK_BYTES: usize = 256 * 1024;

pub(super) type TcpScript = dyn Fn(TcpStream) -> io::Result<()> + Send + Sync;

enum Behaviour {
    Http(Mutex<Arc<Script>>),
    Tcp(Box<TcpScript>),
}

pub(super) struct Shared {
    name: String,
    behaviour: Behaviour,
    stopped: AtomicBool,
    accepted: AtomicUsize,
    requests: AtomicUsize,
    recorded: Mutex<VecDeque<Request>>,
    violations: Mutex<Vec<String>>,
    /// Open connections by number, so that stopping can close them.
    open: Mutex<HashMap<usize, TcpStream>>,
}

impl Shared {
    pub(super) fn http(name: String, script: Script) -> Shared {
        Shared::new(name, Behaviour::Http(Mutex::new(Arc::new(script))))
    }

    pub(super) fn tcp(script: Box<TcpScript>) -> Shared {
        Shared::new(String::new(), Behaviour::Tcp(script))
    }

    fn new(name: String, behaviour: Behaviour) -> Shared {
        Shared {
            name,
            behaviour,
            stopped: AtomicBool::new(true),
            accepted: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            recorded: Mutex::default(),
            violations: Mutex::default(),
            open: Mutex::default(),
        }
    }

    pub(super) fn play(&self, script: Script) {
        match &self.behaviour {
            Behaviour::Http(current) => *locked(current) = Arc::new(script),
            Behaviour::Tcp(_) => panic!("a TCP backend plays no HTTP script"),
        }
    }

    pub(super) fn request_count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(super) fn seen(&self) -> Vec<Request> {
        locked(&self.recorded).iter().cloned().collect()
    }

    pub(super) fn forget(&self) {
        locked(&self.recorded).clear();
        self.requests.store(0, Ordering::SeqCst);
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(super) fn open(&self) -> usize {
        locked(&self.open).len()
    }

    pub(super) fn violations(&self) -> Vec<String> {
        locked(&self.violations).clone()
    }

    pub(super) fn reopen(&self) {
        self.stopped.store(false, Ordering::SeqCst);
    }

    /// Makes the accepting thread end, and every connection with it.
    pub(super) fn stop(&self, listening_at: SocketAddr) {
        self.stopped.store(true, Ordering::SeqCst);
        // The thread sits in accept(2); one connection wakes it.
        let _ = TcpStream::connect_timeout(&listening_at, Duration::from_secs(1));
        for stream in locked(&self.open).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Counts a request; how many came before it.
    fn record(&self, request: &Request) -> usize {
        let mut recorded = locked(&self.recorded);
        if recorded.len() == RECORDED_MAX {
            recorded.pop_front();
        }
        recorded.push_back(request.clone());
        self.requests.fetch_add(1, Ordering::SeqCst)
    }
}

pub(super) fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
        let Ok(handle) = stream.try_clone() else { continue };
        locked(&shared.open).insert(number, handle);
        let for_thread = Arc::clone(shared);
        let spawned = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            // How a connection ends is the test's business; errors here are the expected outcome of many.
            let _ = connection(stream, &for_thread);
            locked(&for_thread.open).remove(&number);
        });
        if spawned.is_err() {
            locked(&shared.open).remove(&number);
        }
    }
}

fn connection(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let current = match &shared.behaviour {
        Behaviour::Http(current) => current,
        Behaviour::Tcp(script) => return script(stream),
    };
    let mut answering = stream.try_clone()?;
    let mut stream = BufReader::new(stream);
    loop {
        let proceed = || answering.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        let request = match Request::read(&mut stream, proceed) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) => {
                if error.kind() == ErrorKind::InvalidData {
                    locked(&shared.violations).push(error.to_string());
                }
                return Err(error);
            }
        };
        let number = shared.record(&request);
        let script = Arc::clone(&locked(current));
        if !Exchange::new(&request, &shared.name, number, &mut stream).play(&script)? {
            return Ok(());
        }
        if request
            .head
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
        {
            return Ok(());
        }
    }
}

/// A test that panicked while it held the lock has failed already; the rest may still look.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::{Backend, Script};
    use crate::client::Wire;

    #[test]
    fn a_backend_plays_counts_stops_and_comes_back() {
        let mut backend = Backend::named("a", Script::InTurn(vec![Script::status(503), Script::Echo]));
        let mut wire = Wire::connect(backend.address());
        assert_eq!(wire.get("/x").status, 503);
        assert_eq!(wire.get("/y?z=1").json()["target"], "/y?z=1");
        assert_eq!(
            (backend.requests(), backend.connections(), backend.requests_to("/y")),
            (2, 1, 1)
        );
        backend.stop();
        wire.assert_closed_within(crate::PATIENCE);
        assert!(Wire::try_connect(backend.address()).is_err());
        backend.restart();
        assert_eq!(Wire::connect(backend.address()).get("/").status, 200);
    }

    #[test]
    fn scripts_end_a_connection_as_they_say() {
        let backend = Backend::start(Script::by_path([
            ("/reset", Script::reset()),
            ("/close", Script::close()),
            ("/short", Script::wrong_length(10, "abc")),
            ("/chunks", Script::chunked(["ab", "c"])),
        ]));
        let reply = |path: &str| {
            let mut wire = Wire::connect(backend.address());
            wire.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
            wire.try_reply_to("GET")
        };
        assert_eq!(reply("/reset").unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(reply("/close").unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
        assert_eq!(reply("/short").unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
        assert_eq!(reply("/chunks").unwrap().text(), "abc");
        assert_eq!(reply("/else").unwrap().status, 404);
        backend.assert_no_violations();
    }

    #[test]
    fn an_unreachable_backend_lets_nobody_connect() {
        let unreachable = Backend::unreachable();
        let patience = std::time::Duration::from_millis(200);
        let error = std::net::TcpStream::connect_timeout(&unreachable.address(), patience).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    }
}
