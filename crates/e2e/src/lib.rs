//! The harness of the end-to-end tests: a real `plimsoll` process, backends that behave as a script
//! tells them, and clients that send exactly the bytes a test wants.
//!
//! ```no_run
//! use e2e::{Backend, Plimsoll, Script};
//!
//! let echo = Backend::start(Script::Echo);
//! let plimsoll = Plimsoll::config(
//!     r#"
//!     [listeners.web]
//!     bind = ["@web@"]
//!     protocol = "http"
//!     [[routes]]
//!     name = "all"
//!     match = { path = "/*" }
//!     pool = "api"
//!     [pools.api]
//!     backends = ["@echo@"]
//!     "#,
//! )
//! .address("echo", echo.address())
//! .start();
//! assert_eq!(plimsoll.get("web", "/hello").status, 200);
//! ```
//!
//! A name between at-signs stands for an address of this test: one given by [`Setup::address`], or a
//! free port on loopback. What goes wrong in the harness itself panics with a message: it is only
//! ever called by tests, and a test that cannot be set up has failed.

mod authority;
pub mod backend;
mod binary;
pub mod browser;
mod client;
mod foreign;
pub mod frames;
pub mod issuer;
pub mod message;
mod metrics;
mod pebble;
mod plimsoll;
mod port;
mod scale;
mod scratch;
mod setup;
pub mod tools;
mod wait;

pub use authority::{Authority, When};
pub use backend::{Backend, Script};
pub use binary::plimsoll_binary;
pub use client::Wire;
pub use foreign::{Foreign, haproxy_command};
pub use frames::Frames;
pub use message::{Head, Reply, Request};
pub use metrics::Metrics;
pub use pebble::{Pebble, PebbleSetup};
pub use plimsoll::{Output, Plimsoll, run_command};
pub use port::Port;
pub use scale::{descriptor_limit, scaled};
pub use scratch::Scratch;
pub use setup::Setup;
pub use wait::{eventually, eventually_within, stays};

use std::time::Duration;

/// How long anything that should happen "soon" may take before the test fails. Generous, because a
/// busy two-core machine runs several of these at once; nothing waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(15);
