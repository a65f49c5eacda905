//! HTTP/2 (RFC 9113): the server's side of a connection, whole; towards backends, whose frames the `h2` crate reads and
//! writes, heads and trailers to and from the form in which they are judged, routed and forwarded, which is that of HTTP/1.1;
//! and what a connection may not do too often.

mod answer;
mod connection;
mod frame;
mod guard;
mod head;
mod hpack;
mod receive;
mod send;
mod static_table;
mod upstream;

pub use answer::{write_answer, write_own, write_trailers};
pub use connection::{Connection, Fault, Opened, Received, SEAT_WORDS, SEATS_MAX};
pub use frame::Code;
pub use guard::{Breach, Guard};
pub use head::{Follows, HeadError, trailers};

pub use crate::head_text::HeadText;
pub use upstream::{Asking, backend_trailers, request, write_response, write_switch};

/// What a client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
