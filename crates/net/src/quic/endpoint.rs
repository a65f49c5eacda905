//! A worker's endpoint at an address, and what connections there are to keep to.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hkdf, hmac, rand};
use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, ValidationTokenConfig,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::ids::Ids;
use crate::tls::{Termination, nobody};

/// Room for packets that wait for a worker, or for the network, as far as the kernel grants it (`net.core.rmem_max`,
/// `net.core.wmem_max`): all connections of a worker share a socket.
const SOCKET_BUFFER: usize = 4 << 20;

/// Connections of which the first packet has come and that nobody has looked at yet, and what is held of their next ones.
/// A worker looks at each turn.
const INCOMING_MAX: usize = 1_024;
const INCOMING_BYTES_MAX: u64 = 64 << 10;
const INCOMING_BYTES_TOTAL_MAX: u64 = 16 << 20;

/// The longest flight of a handshake: a client's chain of certificates.
const HANDSHAKE_BYTES_MAX: usize = 64 << 10;

/// Binds a worker's socket at `address`, which all of them share (`SO_REUSEPORT`).
///
/// # Errors
/// The address is in use by somebody else, is not of this machine, or needs a privilege.
pub fn listen_quic(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // As those of TCP, beside which they stand.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // What the kernel does not grant is no error.
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Whether `address` can be bound by us alone, over UDP.
///
/// # Errors
/// As [`listen_quic`].
pub fn is_ours_quic(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())
}

/// What makes tokens that a client's address is proved with, and the packets that tell clients of connections that we
/// know no more: drawn once a process, the same for all of its workers.
#[derive(Clone)]
pub struct QuicSecrets {
    token: Arc<hkdf::Prk>,
    reset: Arc<hmac::Key>,
}

impl QuicSecrets {
    /// New ones.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn new() -> io::Result<QuicSecrets> {
        let mut drawn = [0; 64];
        rand::fill(&mut drawn).map_err(|_| io::Error::other("there is no randomness"))?;
        let (token, reset) = drawn.split_at(32);
        Ok(QuicSecrets {
            token: Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(token)),
            reset: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset)),
        })
    }
}

/// What connections are to keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuicTerms {
    /// Streams of both directions that the client may have open.
    pub streams_max: u32,
    /// Streams of one direction.
    pub uni_streams_max: u32,
    /// Bytes that it may send ahead of us on one stream.
    pub stream_window: u32,
    /// Bytes that it may send ahead of us on all together.
    pub window: u32,
    /// Bytes that we hold of what it has not acknowledged.
    pub send_max: u64,
    /// How long it may be silent.
    pub silence_max: Duration,
}

impl QuicTerms {
    /// How connections are accepted under them where TLS ends so; `None` where no QUIC is spoken.
    pub fn server(&self, termination: &Termination, secrets: &QuicSecrets) -> Option<ServerConfig> {
        let mut server = ServerConfig::new(termination.quic()?, secrets.token.clone());
        // A client's address is proved anew each time that this is asked for: who has shown it once may be gone.
        let mut tokens = ValidationTokenConfig::default();
        tokens.sent(0);
        server.validation_token_config(tokens);
        server.transport_config(Arc::new(self.transport()));
        Some(server)
    }

    fn transport(&self) -> TransportConfig {
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(self.streams_max.into())
            .max_concurrent_uni_streams(self.uni_streams_max.into())
            .stream_receive_window(self.stream_window.into())
            .receive_window(self.window.into())
            .send_window(self.send_max)
            .max_idle_timeout(IdleTimeout::try_from(self.silence_max).ok())
            .crypto_buffer_size(HANDSHAKE_BYTES_MAX)
            // Datagrams (RFC 9221) are not spoken.
            .datagram_receive_buffer_size(None);
        transport
    }
}

/// The endpoint of `worker`, of so many `workers`, on its socket. How a connection is accepted is said for each, since
/// certificates change; what the endpoint itself does with a first packet needs none.
///
/// # Errors
/// The socket cannot be used.
pub fn quic_endpoint(
    socket: UdpSocket,
    (worker, workers): (usize, usize),
    secrets: &QuicSecrets,
) -> io::Result<Endpoint> {
    let mut config = EndpointConfig::new(secrets.reset.clone());
    config.cid_generator(move || Box::new(Ids { worker, workers }));
    let nobody = nobody().map_err(io::Error::other)?;
    let mut server = ServerConfig::new(nobody, secrets.token.clone());
    server.max_incoming(INCOMING_MAX);
    server.incoming_buffer_size(INCOMING_BYTES_MAX);
    server.incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
    Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime))
}
