//! Backends that do what a test tells them, on threads of the test's own process.

mod exchange;
mod script;
mod serve;

pub use exchange::Exchange;
pub use script::{CustomScript, Script};

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::message::Request;
use crate::port::Port;
use crate::wait::eventually;
use serve::{Shared, TcpScript};

/// How many requests a backend keeps for [`Backend::seen`].
pub const RECORDED_MAX: usize = 10_000;

/// A listening backend. It stops, and closes its connections, when dropped.
pub struct Backend {
    port: Port,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Backend {
    /// An HTTP/1.1 backend with a behaviour, named after its port.
    pub fn start(script: Script) -> Backend {
        Backend::named("", script)
    }

    /// An HTTP/1.1 backend that says `name` in what it echoes.
    pub fn named(name: &str, script: Script) -> Backend {
        let port = Port::free();
        let name = if name.is_empty() {
            port.number().to_string()
        } else {
            name.to_owned()
        };
        Backend::listening(port, Shared::http(name, script))
    }

    /// A TCP backend: the closure gets each connection.
    pub fn tcp(script: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Backend {
        let script: Box<TcpScript> = Box::new(script);
        Backend::listening(Port::free(), Shared::tcp(script))
    }

    /// A TCP backend that sends back what it gets, and closes when the peer has closed.
    pub fn tcp_echo() -> Backend {
        Backend::tcp(|stream| io::copy(&mut &stream, &mut &stream).map(drop))
    }

    /// A backend that nobody listens at: connections are refused. [`Backend::restart`] brings it up.
    pub fn refusing() -> Backend {
        let mut backend = Backend::start(Script::Echo);
        backend.stop();
        backend
    }

    /// A backend whose queue of connections is full: connecting to it takes until the timeout.
    pub fn unreachable() -> Unreachable {
        let port = Port::free();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        // Connections of an earlier test may still be in TIME_WAIT there, as for any server.
        socket.set_reuse_address(true).expect("SO_REUSEADDR can be set");
        socket
            .bind(&port.address().into())
            .expect("a claimed port can be bound");
        // A backlog of 0 holds one connection on Linux; whoever comes then gets no answer to its SYN.
        socket.listen(0).expect("a bound socket listens");
        let fill = (0..2)
            .filter_map(|_| TcpStream::connect_timeout(&port.address(), Duration::from_millis(200)).ok())
            .collect();
        Unreachable {
            port,
            _listener: socket.into(),
            _fill: fill,
        }
    }

    fn listening(port: Port, shared: Shared) -> Backend {
        let mut backend = Backend {
            port,
            shared: Arc::new(shared),
            accepting: None,
        };
        backend.restart();
        backend
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Changes what it does from the next request on.
    pub fn play(&self, script: Script) {
        self.shared.play(script);
    }

    /// How many requests came whole.
    pub fn requests(&self) -> usize {
        self.shared.request_count()
    }

    /// The last requests, oldest first, at most [`RECORDED_MAX`].
    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen()
    }

    /// How many of the recorded requests went to this path.
    pub fn requests_to(&self, path: &str) -> usize {
        self.seen().iter().filter(|request| request.path() == path).count()
    }

    /// Forgets the recorded requests and starts their count at 0.
    pub fn forget(&self) {
        self.shared.forget();
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.accepted()
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.open()
    }

    /// What peers sent that a strict reader of HTTP/1.1 refuses.
    pub fn violations(&self) -> Vec<String> {
        self.shared.violations()
    }

    /// Panics when a peer has sent something that a strict reader refuses.
    #[track_caller]
    pub fn assert_no_violations(&self) {
        let violations = self.violations();
        assert!(
            violations.is_empty(),
            "the backend got malformed requests: {violations:#?}"
        );
    }

    /// Waits until `count` requests came.
    pub fn wait_for_requests(&self, count: usize) {
        eventually(&format!("{count} requests at the backend"), || {
            (self.requests() >= count).then_some(())
        });
    }

    /// Stops listening and closes every connection, as a process that was killed would.
    pub fn stop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            self.shared.stop(self.port.address());
            accepting.join().expect("the accepting thread does not panic");
        }
    }

    /// Listens again at the same address.
    pub fn restart(&mut self) {
        self.stop();
        let listener = TcpListener::bind(self.port.address()).expect("a claimed port can be bound");
        let shared = Arc::clone(&self.shared);
        shared.reopen();
        self.accepting = Some(std::thread::spawn(move || serve::accept(&listener, &shared)));
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

/// See [`Backend::unreachable`].
pub struct Unreachable {
    port: Port,
    _listener: TcpListener,
    _fill: Vec<TcpStream>,
}

impl Unreachable {
    /// The address that does not answer.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }
}
