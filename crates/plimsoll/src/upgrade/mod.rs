//! Upgrade: another process, of another binary or of the same, takes over the listening sockets and what is known of
//! backends, and this one lets what it has come to its end.
//!
//! Whoever takes over is started by whoever hands over, with the same arguments, and calls back on a socket that admits
//! nobody else. Each says a word before anything becomes irrevocable:
//!
//! | hands over ([`old`])          | takes over ([`new`])                                          |
//! |-------------------------------|---------------------------------------------------------------|
//! |                               | `Hello`: who it is                                            |
//! | `State`, then `Sockets`       | reads the configuration, binds what is new                    |
//! |                               | `Ready`: nothing that can fail is left                        |
//! | `Go`                          | accepts, on the same sockets: what waits in them is not lost  |
//! |                               | `Serving`                                                     |
//! | accepts no more, and drains   |                                                               |
//! | `Left`, again and again       | knows of a backend what the other still has there             |
//!
//! If the new process fails before it serves, the old one goes on as if nothing had been. If the old one is gone once the
//! new one is ready, the new one goes on alone.

mod desk;
mod new;
mod old;

pub(crate) use desk::{Desk, Ended};
pub(crate) use new::{Came, Given, Inherited};
pub(crate) use old::Successor;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use plimsoll_control::{Handed, Left};
use serde::{Deserialize, Serialize};

/// The variable that tells a process where to call.
const CALL: &str = "PLIMSOLL_HANDOVER";

/// What both sides have to speak. It changes with the order or the meaning of what is said, not with what is added.
const PROTOCOL: u32 = 1;

/// How long a process may take to start and call.
const START_MAX: Duration = Duration::from_secs(20);

/// How long it may take to get ready: ten thousand routes take a second.
const READY_MAX: Duration = Duration::from_secs(60);

/// How long a word may take that needs no work.
const WORD_MAX: Duration = Duration::from_secs(10);

/// How often a process that was replaced says what it still has.
const LEFT_EVERY: Duration = Duration::from_millis(200);

/// What one side says to the other.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Hello {
        protocol: u32,
        version: String,
    },
    /// How everything stands, and how many sockets follow.
    State {
        protocol: u32,
        sockets: usize,
        handed: Box<Handed>,
    },
    /// The descriptors that come with this are these.
    Sockets(Vec<Label>),
    Ready,
    Go,
    Serving,
    /// What this process still has under way, until it hangs up.
    Left(Box<Left>),
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Label {
    /// A listener accepts on it; the address is the one that it was to have.
    Listener(SocketAddr),
    /// A listener speaks HTTP/3 on it, at the address that it was to have; in the order of the workers.
    Quic(SocketAddr),
    /// The admin API.
    Admin,
    /// Metrics alone.
    Metrics,
}

/// A socket that goes from one process to another.
pub(crate) type Labelled = (Label, OwnedFd);

fn spell(word: &Word) -> std::io::Result<Vec<u8>> {
    serde_json::to_vec(word).map_err(std::io::Error::other)
}

fn read(message: &[u8]) -> std::io::Result<Word> {
    serde_json::from_slice(message).map_err(std::io::Error::other)
}
