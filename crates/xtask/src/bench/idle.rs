//! Connections that have been served once and then say nothing.

use std::net::{SocketAddr, TcpStream};

use super::load::{ANY_HOST, open_and_get};
use super::machine::Machine;
use crate::Fault;

/// As many as the promise about them speaks of.
const WANTED: u64 = 8_000;

/// How many this machine lets us open: this process, and the proxy, each need one descriptor for
/// each, and some for themselves.
pub(crate) fn count(machine: &Machine) -> usize {
    let affordable = WANTED.min(machine.descriptors.saturating_sub(1_000));
    usize::try_from(affordable).unwrap_or(usize::MAX)
}

/// Opens `count` connections, each served once.
pub(crate) fn open(to: SocketAddr, count: usize) -> Result<Vec<TcpStream>, Fault> {
    let mut open = Vec::with_capacity(count);
    for number in 0..count {
        let stream = open_and_get(to, "/small", ANY_HOST);
        open.push(stream.ok_or_else(|| format!("connection {number} was not served"))?);
    }
    Ok(open)
}
