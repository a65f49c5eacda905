//! Descriptors and messages between the process that serves and the one that takes over from it, over a Unix socket
//! (unix(7)).
//!
//! The socket stands in the abstract namespace under a name that nobody can guess, and besides, whoever calls has to be
//! the very process that was started, of the same user.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// Descriptors that go with one message; the kernel takes 253 (SCM_MAX_FD).
pub const HANDED_DESCRIPTORS_MAX: usize = 128;

/// The longest message. The health of a hundred thousand backends is some twenty megabytes.
pub const HANDED_BYTES_MAX: usize = 64 << 20;

/// Callers that may be turned away while the right one is waited for.
const STRANGERS_MAX: usize = 64;

/// Pause between two looks whether somebody has called.
const LOOK: Duration = Duration::from_millis(5);

/// Where the process that takes over may call.
#[derive(Debug)]
pub struct HandoverListener {
    socket: UnixListener,
    name: String,
}

/// One end of the conversation.
#[derive(Debug)]
pub struct HandoverStream(UnixStream);

impl HandoverListener {
    /// Listens under a name of its own.
    ///
    /// # Errors
    /// There is no descriptor left, no randomness, or no abstract namespace.
    pub fn open() -> io::Result<HandoverListener> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("there is no randomness"))?;
        let name = format!("plimsoll-{:032x}", u128::from_be_bytes(random));
        let socket = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        Ok(HandoverListener { socket, name })
    }

    /// What [`HandoverStream::connect`] has to be told.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for the process `pid` of our own user to call, for `patience` at the most, while `goes_on` says that it may
    /// still come. Others are turned away.
    ///
    /// # Errors
    /// Nobody came in time, or nobody will.
    pub fn accept(
        &self,
        pid: u32,
        patience: Duration,
        mut goes_on: impl FnMut() -> io::Result<()>,
    ) -> io::Result<HandoverStream> {
        let deadline = Instant::now() + patience;
        let mut strangers = 0;
        while Instant::now() < deadline {
            match self.socket.accept() {
                Ok((stream, _)) if is_ours(&stream, pid)? => {
                    stream.set_nonblocking(false)?;
                    return Ok(HandoverStream(stream));
                }
                Ok(_) if strangers < STRANGERS_MAX => strangers += 1,
                Ok(_) => return Err(io::Error::new(io::ErrorKind::PermissionDenied, "only strangers call")),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    goes_on()?;
                    std::thread::sleep(LOOK);
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "it did not call in time"))
    }
}

/// Whether the caller is the process `pid` and runs as we do (SO_PEERCRED).
fn is_ours(stream: &UnixStream, pid: u32) -> io::Result<bool> {
    let caller = socket_peercred(stream)?;
    let same_user = caller.uid == rustix::process::geteuid();
    Ok(same_user && u32::try_from(caller.pid.as_raw_nonzero().get()) == Ok(pid))
}

impl HandoverStream {
    /// Calls the process that hands over under `name`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(name: &str) -> io::Result<HandoverStream> {
        UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(HandoverStream)
    }

    /// How long one message may be waited for; `None` is for ever.
    ///
    /// # Errors
    /// The time is none.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(patience)?;
        self.0.set_write_timeout(patience)
    }

    /// Whether the other side says something, or hangs up, within `patience`.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn says_something(&self, patience: Duration) -> io::Result<bool> {
        let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
        let mut sockets = [PollFd::new(&self.0, PollFlags::IN)];
        Ok(poll(&mut sockets, Some(&patience))? > 0)
    }

    /// Sends a message, with descriptors of which the other side gets copies.
    ///
    /// # Errors
    /// The other side is gone or does not read, or the message is too long.
    pub fn send(&mut self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if message.len() > HANDED_BYTES_MAX || descriptors.len() > HANDED_DESCRIPTORS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
        }
        let length = u32::try_from(message.len()).map_err(io::Error::other)?.to_be_bytes();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED_DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        // A stream socket that is empty takes four bytes as one.
        let sent = sendmsg(&self.0, &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL)?;
        self.0.write_all(&length[sent..])?;
        self.0.write_all(message)
    }

    /// Waits for a message.
    ///
    /// # Errors
    /// The other side is gone ([`UnexpectedEof`](io::ErrorKind::UnexpectedEof)), silent, or talks nonsense.
    pub fn receive(&mut self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let mut length = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED_DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let slices = &mut [IoSliceMut::new(&mut length)];
        let received = recvmsg(&self.0, slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let descriptors: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.read_exact(&mut length[received.bytes..])?;
        let bytes = u32::from_be_bytes(length) as usize;
        if bytes > HANDED_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
        }
        let mut message = Vec::new();
        let read = Read::by_ref(&mut self.0).take(bytes as u64).read_to_end(&mut message)?;
        if read < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((message, descriptors))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn both() -> (HandoverStream, HandoverStream) {
        let listener = HandoverListener::open().expect("a name");
        let there = HandoverStream::connect(listener.name()).expect("it listens");
        let here = listener
            .accept(std::process::id(), PATIENCE, || Ok(()))
            .expect("we are who we are");
        for stream in [&there, &here] {
            stream.set_patience(Some(PATIENCE)).expect("a time");
        }
        (here, there)
    }

    #[test]
    fn sockets_go_over_with_all_that_waits_in_them() {
        let (mut here, mut there) = both();
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = socket.local_addr().expect("bound");
        let _waits = TcpStream::connect(address).expect("it listens");
        let many = vec![socket.as_fd(); HANDED_DESCRIPTORS_MAX];
        here.send(b"these", &many).expect("sent");
        here.send(b"", &[]).expect("sent");
        drop(socket);
        let (message, mut descriptors) = there.receive().expect("received");
        assert_eq!(
            (&message[..], descriptors.len()),
            (&b"these"[..], HANDED_DESCRIPTORS_MAX)
        );
        let socket = TcpListener::from(descriptors.remove(0));
        assert_eq!(socket.local_addr().expect("bound"), address);
        assert!(socket.accept().is_ok(), "what waited was not lost");
        let (message, descriptors) = there.receive().expect("received");
        assert!(message.is_empty() && descriptors.is_empty());
    }

    #[test]
    fn long_messages_go_over_whole_and_an_end_in_their_middle_is_none() {
        let (mut here, mut there) = both();
        let long: Vec<u8> = (0..3_000_000_u32).map(|byte| byte as u8).collect();
        let sent = long.clone();
        let sender = std::thread::spawn(move || {
            here.send(&sent, &[]).expect("sent");
            here.0.write_all(&100_u32.to_be_bytes()).expect("sent");
            here.0.write_all(b"half").expect("sent");
        });
        assert!(there.receive().expect("received").0 == long);
        sender.join().expect("sent");
        let error = there.receive().expect_err("cut off");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn nonsense_and_what_is_too_long_are_errors() {
        let (mut here, mut there) = both();
        here.0.write_all(&u32::MAX.to_be_bytes()).expect("sent");
        assert_eq!(
            there.receive().expect_err("too long").kind(),
            io::ErrorKind::InvalidData
        );
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let many = vec![socket.as_fd(); HANDED_DESCRIPTORS_MAX + 1];
        assert!(here.send(b"", &many).is_err());
    }

    #[test]
    fn another_process_is_turned_away() {
        let listener = HandoverListener::open().expect("a name");
        let _stranger = HandoverStream::connect(listener.name()).expect("it listens");
        let mut looks = 0;
        let refused = listener.accept(std::process::id() + 1, PATIENCE, || {
            looks += 1;
            if looks < 3 {
                Ok(())
            } else {
                Err(io::Error::other("it has ended"))
            }
        });
        assert_eq!(refused.expect_err("not let in").to_string(), "it has ended");
    }
}
