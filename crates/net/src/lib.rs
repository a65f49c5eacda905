//! Bytes: listening, connecting, buffers, deadlines and relays. It knows no pool and no HTTP.

mod buffer;
mod connect;
mod cut;
mod descriptors;
mod handover;
mod hello;
mod inherit;
mod listen;
mod memory;
mod privileges;
mod proxy_header;
pub mod quic;
mod relay;
mod socket;
mod timer;
pub mod tls;

pub use buffer::{BLOCK, Blocks, Buffer, GROWN_MAX};
pub use connect::{connect, is_shortage};
pub use cut::Cut;
pub use descriptors::raise_limit;
pub use handover::{HANDED_BYTES_MAX, HANDED_DESCRIPTORS_MAX, HandoverListener, HandoverStream};
pub use hello::{
    ALPN_NAMES_MAX, Alert, HELLO_BYTES_MAX, HELLO_RECORDS_MAX, HELLO_WIRE_MAX, Hello, HelloFault, HelloScan,
};
pub use inherit::{HandedSocket, activated};
pub use listen::{BACKLOG, is_ours, listen};
pub use memory::give_back_memory;
pub use privileges::{Identity, IdentityFault, Privileges};
pub use proxy_header::{
    PROXY_HEADER_BYTES_MAX, ProxiedEnds, ProxyFault, ProxyHeader, UNIQUE_ID_BYTES_MAX, Unintroduced, Vouched,
    read_proxy_header, write_proxy_v1, write_proxy_v2,
};
pub use relay::{Cuttable, End, Relayed, relay};
pub use socket::Socket;
pub use timer::{Deadline, Elapsed, Lapse, TICK, Timer, Timers};
