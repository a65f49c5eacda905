//! QUIC (RFC 9000), which the `quinn` crate speaks: workers' sockets, and connection ids that lead back to them.
//!
//! Each worker has a socket and an endpoint of its own at an address, as it has of TCP. The kernel spreads packets over
//! the sockets by the addresses that they come from, which change while a connection lasts (RFC 9000 §9); so a small
//! program in the kernel reads the worker's number off the connection id that each packet carries instead.

mod endpoint;
mod fault;
mod ids;
mod steer;

pub use endpoint::{QuicSecrets, QuicTerms, is_ours_quic, listen_quic, quic_endpoint};
pub use fault::quic_cause;
pub use steer::steer;
