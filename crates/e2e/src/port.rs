//! Ports that belong to one test until it ends.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below Linux's range for outgoing connections (32768 and up), so that no client socket sits on one.
const FIRST: u16 = 10_000;
const COUNT: u16 = 22_000;

/// A TCP and UDP port on 127.0.0.1 that no other test takes while this value lives.
///
/// Asking the kernel for port 0 is not enough: Plimsoll binds with `SO_REUSEPORT`, so two tests that
/// were given the same port would share its traffic without an error. The claim is an abstract Unix
/// socket named after the port, which the kernel frees even when the test is killed.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _claim: UnixListener,
}

impl Port {
    /// Claims a free port.
    pub fn free() -> Port {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Processes that start together begin at different places.
        let start = std::process::id().wrapping_mul(7919);
        for _ in 0..COUNT {
            let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
            let offset = start.wrapping_add(step) % u32::from(COUNT);
            let number = FIRST + u16::try_from(offset).expect("an offset below COUNT fits");
            if let Some(claim) = claim(number) {
                return Port { number, _claim: claim };
            }
        }
        panic!("no free port between {FIRST} and {}", FIRST + COUNT);
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The port on 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

fn claim(number: u16) -> Option<UnixListener> {
    let name = UnixAddress::from_abstract_name(format!("plimsoll-e2e-port-{number}")).ok()?;
    let claim = UnixListener::bind_addr(&name).ok()?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
    UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
    Some(claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_claimed_once_and_free_again_after_drop() {
        let port = Port::free();
        assert!(claim(port.number()).is_none());
        let number = port.number();
        drop(port);
        assert!(claim(number).is_some());
    }
}
