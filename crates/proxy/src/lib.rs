//! The data plane: workers that accept, route, acquire, forward and respond. It decides nothing that core could decide.

mod accepting;
mod ask;
mod challenge;
mod client;
mod clock;
mod connect;
mod decisions;
mod door;
mod handshake;
mod http;
mod introduction;
mod line;
mod links;
mod log;
mod passwords;
mod plane;
mod queue;
mod quic;
mod signatures;
mod sockets;
mod tcp;
mod traces;
mod worker;

pub use clock::Clock;
pub use plane::{Challenges, Plane, Wiring};
pub use sockets::Sockets;
