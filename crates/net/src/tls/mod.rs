//! TLS on either side of a connection, by rustls, whose connections are driven by hand: bytes are opened and sealed in
//! blocks that are taken when there are any and given back when there are none, so that an idle connection holds its
//! keys and nothing else.

mod asked;
mod authorities;
mod certificate;
mod clients;
mod faults;
mod handshake;
mod names;
mod originate;
mod records;
mod session;
mod socket;
mod staple;
mod terminate;
mod tickets;

pub(crate) use socket::Tls;
pub(crate) use terminate::nobody;

pub use authorities::Validity;
pub use certificate::{CHAIN_MAX, Facts, Marks, Pair, PairFault, certificates, has_key};
pub use clients::ClientRules;
pub use handshake::{Agreed, HandshakeFault, Version, refusal};
pub use originate::{Demands, Offer, Origination, Terms, Trust};
pub use staple::{Staple, Unfit};
pub use terminate::{Manners, Suite, Termination, provider};
pub use tickets::{TicketKey, Tickets};

/// The most of a peer's words that are sealed as one record (RFC 8446 §5.1).
pub(crate) const RECORD_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests;
