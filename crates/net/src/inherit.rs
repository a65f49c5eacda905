//! Listening sockets that somebody else has made: the process before, or whoever started this one.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::io::FdFlags;
use socket2::{SockRef, Type};

/// A listening socket that was handed to this process.
#[derive(Debug)]
pub struct HandedSocket {
    /// The address that it was to have; port 0 where it was to have any.
    pub wanted: SocketAddr,
    /// It.
    pub socket: TcpListener,
}

impl HandedSocket {
    /// The socket behind `descriptor`, which was to have the address `wanted`; where that is not known, the one that it
    /// has.
    ///
    /// # Errors
    /// It is no TCP socket that listens.
    pub fn new(descriptor: OwnedFd, wanted: Option<SocketAddr>) -> io::Result<HandedSocket> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let socket = TcpListener::from(descriptor);
        let looked_at = SockRef::from(&socket);
        if looked_at.r#type()? != Type::STREAM || !looked_at.is_listener()? {
            return Err(wrong("is no stream socket that listens"));
        }
        let address = looked_at.local_addr()?.as_socket();
        let address = address.ok_or_else(|| wrong("is no TCP socket"))?;
        // As our own are: whoever accepts must not wait, and what is accepted inherits the other.
        looked_at.set_nonblocking(true)?;
        looked_at.set_tcp_nodelay(true)?;
        Ok(HandedSocket {
            wanted: wanted.unwrap_or(address),
            socket,
        })
    }

    /// Whether other sockets can be bound beside it, one a worker.
    pub fn shares_port(&self) -> bool {
        SockRef::from(&self.socket).reuse_port().unwrap_or(false)
    }
}

/// The first descriptor that systemd hands over (sd_listen_fds(3)).
const ACTIVATED_FIRST: RawFd = 3;

/// Descriptors that systemd may hand over.
const ACTIVATED_MAX: usize = 1_024;

/// What systemd has opened for this process (socket activation, sd_listen_fds(3)). Only the first call gets it.
pub fn activated() -> Vec<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let of = |name: &str| std::env::var(name).ok();
    let count = activated_count(of("LISTEN_PID"), of("LISTEN_FDS"), std::process::id());
    if count == 0 || TAKEN.swap(true, Relaxed) {
        return Vec::new();
    }
    let descriptors = (ACTIVATED_FIRST..).take(count);
    descriptors.filter_map(take).collect()
}

/// How many there are for the process `pid`.
fn activated_count(for_pid: Option<String>, count: Option<String>, pid: u32) -> usize {
    let is_ours = for_pid.is_some_and(|text| text.parse() == Ok(pid));
    let count = count.and_then(|text| text.parse().ok()).filter(|_| is_ours);
    count.unwrap_or(0).min(ACTIVATED_MAX)
}

/// Takes possession of a descriptor that whoever started this process has left open for it, and keeps it from those that
/// we start.
#[expect(
    unsafe_code,
    reason = "a number becomes a descriptor: only the one who started us knows that it is one"
)]
fn take(descriptor: RawFd) -> Option<OwnedFd> {
    // SAFETY: the call only asks whether it is open, and changes its flags if it is.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC).ok()?;
    // SAFETY: it is open, nobody in this process has opened it, and it is taken once.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpStream, UdpSocket};
    use std::os::fd::IntoRawFd;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_tcp_sockets_that_listen_are_taken() {
        let listener = crate::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let descriptor = take(listener.into_raw_fd()).unwrap();
        let handed = HandedSocket::new(descriptor, None).unwrap();
        assert_eq!(handed.wanted, address);
        assert!(handed.shares_port());
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let directory = std::env::temp_dir().join(format!("plimsoll-inherit-{}", std::process::id()));
        let unix = UnixListener::bind(&directory).unwrap();
        std::fs::remove_file(&directory).unwrap();
        for (descriptor, why) in [
            (OwnedFd::from(udp), "no stream socket"),
            (OwnedFd::from(client), "no stream socket that listens"),
            (OwnedFd::from(unix), "no TCP socket"),
        ] {
            let error = HandedSocket::new(descriptor, None).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let alone = TcpListener::bind("127.0.0.1:0").unwrap();
        let alone = HandedSocket::new(alone.into(), None).unwrap();
        assert!(!alone.shares_port());
    }

    #[test]
    fn what_is_for_another_process_is_not_taken() {
        let of = |pid: &str, count: &str| activated_count(Some(pid.into()), Some(count.into()), 7);
        assert_eq!(of("7", "2"), 2);
        for (pid, count) in [("8", "2"), ("7", "x"), ("7", "-1"), ("", "2")] {
            assert_eq!(of(pid, count), 0, "{pid} {count}");
        }
        assert_eq!(of("7", "99999999"), ACTIVATED_MAX);
        assert_eq!(activated_count(None, Some("2".into()), 7), 0);
        assert_eq!(take(987_654).map(drop), None, "nobody has opened it");
    }
}
