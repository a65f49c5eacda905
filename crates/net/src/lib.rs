//! Bytes: listening, connecting, buffers, deadlines and relays. It knows no pool and no HTTP.

mod buffer;
mod connect;
mod cut;
mod descriptors;
mod hello;
mod listen;
mod relay;
mod socket;
mod timer;
pub mod tls;

pub use buffer::{BLOCK, Blocks, Buffer, GROWN_MAX};
pub use connect::{connect, is_shortage};
pub use cut::Cut;
pub use descriptors::raise_limit;
pub use hello::{
    ALPN_NAMES_MAX, Alert, HELLO_BYTES_MAX, HELLO_RECORDS_MAX, HELLO_WIRE_MAX, Hello, HelloFault, HelloScan,
};
pub use listen::{BACKLOG, is_ours, listen};
pub use relay::{Cuttable, End, Relayed, relay};
pub use socket::Socket;
pub use timer::{Deadline, Elapsed, TICK, Timer, Timers};
