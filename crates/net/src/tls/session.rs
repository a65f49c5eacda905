//! One connection's TLS: what comes is opened, what goes is sealed. It does no I/O of its own, but is given what reads
//! and writes.

use std::io;
use std::rc::Rc;
use std::task::{Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};

use super::RECORD_MAX;
use super::asked::{Asked, correct, is_old};
use super::records::Records;
use crate::buffer::{Blocks, SEALED};

/// What may wait to be sent of what nobody asked us to send, in bytes: answers to a peer that makes us speak and does
/// not listen. A server's part of a handshake is some 4 KiB, and more with long chains.
const OUT_MAX: usize = 128 << 10;

/// What of a message of the handshake may wait for its end, in bytes, with what its records take up: rustls takes
/// messages of 64 KiB, and a peer could send each byte of one in a record of its own.
const SEALED_MAX: usize = 96 << 10;

/// Room for a message that rustls has to send, to begin with: most are alerts.
const MESSAGE: usize = 512;

/// Which side of the handshake is ours.
enum Role {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// Evaluates an expression for whichever role it is.
macro_rules! with {
    ($role:expr, $connection:ident => $body:expr) => {
        match $role {
            Role::Server($connection) => $body,
            Role::Client($connection) => $body,
        }
    };
}

/// TLS of one connection.
pub(crate) struct Session {
    role: Role,
    blocks: Rc<Blocks>,
    /// What came and was not opened yet.
    sealed: Records,
    /// What was opened and nobody had room for.
    opened: Vec<u8>,
    taken: usize,
    /// What is on its way out.
    out: Records,
    /// How many of the writer's bytes are sealed in `out` and were not reported as written.
    owed: usize,
    /// The peer has said that it sends no more.
    ended: bool,
    /// We have.
    said_end: bool,
    failed: bool,
    /// What came is not enough for another step.
    stalled: bool,
    /// What the client has asked for, until the handshake is over.
    pub(super) asked: Option<Asked>,
}

/// What a step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Something; another step may do more.
    Moved,
    /// It cannot go on before more has come.
    Blocked,
    /// It can seal what is given to it, and has nothing else to do before more has come.
    MaySeal,
    /// It has sealed what it was given.
    Sealed,
}

/// Seals something into the room that is given to it.
type Sealing<'s> = &'s mut dyn FnMut(&mut dyn Seals, &mut [u8]) -> Result<usize, EncryptError>;

impl Session {
    pub(super) fn server(connection: UnbufferedServerConnection, blocks: &Rc<Blocks>) -> Self {
        Session::new(Role::Server(connection), blocks)
    }

    pub(super) fn client(connection: UnbufferedClientConnection, blocks: &Rc<Blocks>) -> Self {
        Session::new(Role::Client(connection), blocks)
    }

    fn new(role: Role, blocks: &Rc<Blocks>) -> Self {
        Session {
            role,
            blocks: blocks.clone(),
            sealed: Records::default(),
            opened: Vec::new(),
            taken: 0,
            out: Records::default(),
            owed: 0,
            ended: false,
            said_end: false,
            failed: false,
            stalled: true,
            asked: None,
        }
    }

    /// Takes what was read of the connection before it was known who ends its TLS.
    pub(super) fn begin_with(&mut self, read: &[u8]) {
        if read.is_empty() {
            return;
        }
        self.sealed.room(read.len(), &self.blocks)[..read.len()].copy_from_slice(read);
        self.sealed.filled(read.len());
        self.stalled = false;
    }

    /// What was agreed on, and with whom.
    pub(super) fn state(&self) -> &rustls::CommonState {
        with!(&self.role, connection => connection)
    }

    /// Takes the handshake on as far as what is there allows; true when it is over. What is in the way out then has
    /// still to be sent.
    pub(super) fn shake(&mut self) -> Result<bool, rustls::Error> {
        let is_old = is_old(self.sealed.unread());
        loop {
            let step = self.step(&mut [], None);
            self.asked = Asked::take().or(self.asked.take());
            let step = step.map_err(|error| correct(error, self.asked.as_ref(), is_old, self.out.unread_mut()));
            if step?.1 != Step::Moved {
                return Ok(!self.state().is_handshaking());
            }
        }
    }

    /// Holds no block from now on, unless something has come already.
    pub(super) fn rest(&mut self) {
        self.sealed.release(&self.blocks);
        self.out.release(&self.blocks);
    }

    /// Opens what is there into `into`; how much, 0 being nothing for now.
    pub(crate) fn open(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut count = self.take_opened(into);
        while count < into.len() && self.may_open() {
            // A record that does not fit would have to be kept apart: it is left for the next time, unless it is the first.
            let fits = self.sealed.next_record().is_none_or(|size| size <= into.len() - count);
            if count > 0 && !fits {
                break;
            }
            count += self.step(&mut into[count..], None).map_err(broken)?.0;
        }
        Ok(count)
    }

    /// Whether a step may open something of what is there.
    fn may_open(&self) -> bool {
        !self.ended && !self.stalled && self.sealed.holds_record()
    }

    fn take_opened(&mut self, into: &mut [u8]) -> usize {
        let left = &self.opened[self.taken..];
        let count = left.len().min(into.len());
        into[..count].copy_from_slice(&left[..count]);
        self.taken += count;
        if self.taken == self.opened.len() {
            (self.opened, self.taken) = (Vec::new(), 0);
        }
        count
    }

    /// Whether there is something to read without anything more coming: bytes, or the end.
    pub(crate) fn is_readable(&self) -> bool {
        !self.opened.is_empty() || self.ended || self.failed || self.may_open()
    }

    /// Whether bytes were opened that nobody has read.
    pub(crate) fn holds_opened(&self) -> bool {
        !self.opened.is_empty()
    }

    /// Whether the peer has said that it sends no more, in order, or has broken the connection.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended || self.failed
    }

    /// Whether we have said that we send no more, or never will.
    pub(super) fn said_end(&self) -> bool {
        self.said_end
    }

    /// Never says that we send no more.
    pub(super) fn forget_end(&mut self) {
        self.said_end = true;
    }

    /// Reads and opens into `into` until there is something or nothing more comes; 0 is the end, which the peer has to
    /// announce: without that, nobody could tell a part from the whole (RFC 8446 §6.1).
    pub(crate) fn poll_fill(
        &mut self,
        into: &mut [u8],
        read: &mut dyn FnMut(&mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.open(into) {
                Ok(0) if self.ended => return Poll::Ready(Ok(0)),
                Ok(0) => {}
                opened => {
                    self.sealed.release(&self.blocks);
                    return Poll::Ready(opened);
                }
            }
            ready!(self.poll_more(read))?;
        }
    }

    /// Reads more of what is to be opened. The block is given back when there is nothing.
    pub(super) fn poll_more(
        &mut self,
        read: &mut dyn FnMut(&mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        if self.sealed.len() >= SEALED_MAX {
            self.failed = true;
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long")));
        }
        // The least that makes a next record whole, or a part of a handshake's message that spans several.
        let least = self
            .sealed
            .next_record()
            .map_or(1, |size| size.saturating_sub(self.sealed.len()));
        let room = self.sealed.room(least.max(1), &self.blocks);
        match read(room) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(count)) => {
                self.sealed.filled(count);
                self.stalled = false;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.sealed.release(&self.blocks);
                Poll::Pending
            }
        }
    }

    /// Opens all that is there, and keeps it for who reads next: whoever waits without reading sees an end behind it.
    pub(crate) fn look_ahead(&mut self) -> io::Result<()> {
        while self.may_open() {
            self.step(&mut [], None).map_err(broken)?;
        }
        self.sealed.release(&self.blocks);
        Ok(())
    }

    /// Seals a record's worth of `first` and of `second` behind it; how much that is.
    pub(crate) fn seal(&mut self, parts: &[&[u8]]) -> io::Result<usize> {
        let mut gathered = Vec::new();
        let whole = match parts {
            [one, rest @ ..] if one.len() >= RECORD_MAX || rest.iter().all(|part| part.is_empty()) => {
                &one[..one.len().min(RECORD_MAX)]
            }
            _ => {
                gathered = self.blocks.take_scratch();
                for part in parts {
                    let room = RECORD_MAX - gathered.len();
                    gathered.extend_from_slice(&part[..part.len().min(room)]);
                }
                &gathered
            }
        };
        let count = whole.len();
        let sealed = self.seal_with(&mut |traffic, room| traffic.seal(whole, room));
        if gathered.capacity() > 0 {
            self.blocks.give_scratch(gathered);
        }
        sealed.map(|()| count)
    }

    /// Seals the announcement that we send no more. What was to be sent before it has been.
    pub(crate) fn seal_end(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.said_end, true) || self.failed {
            return Ok(());
        }
        self.seal_with(&mut |traffic, room| traffic.seal_end(room))
    }

    fn seal_with(&mut self, seal: Sealing<'_>) -> io::Result<()> {
        loop {
            match self.step(&mut [], Some(&mut *seal)).map_err(broken)?.1 {
                // What came and was not read stood in the way, and is opened and kept.
                Step::Moved => {}
                Step::Sealed => return Ok(()),
                Step::Blocked | Step::MaySeal => return Err(io::ErrorKind::NotConnected.into()),
            }
        }
    }

    /// Writes what is on its way out.
    pub(crate) fn poll_flush(
        &mut self,
        write: &mut dyn FnMut(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match ready!(write(self.out.unread()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.out.consume(count),
            }
        }
        self.out.release(&self.blocks);
        Poll::Ready(Ok(()))
    }

    /// Whether anything waits to be written.
    pub(crate) fn has_out(&self) -> bool {
        !self.out.is_empty()
    }

    /// Seals and writes; how many bytes are as good as in the kernel's hands. Whoever is told so never has to come back
    /// for their sake: of a record that the kernel takes in part, the last byte counts as unwritten until all is.
    ///
    /// It is called when the kernel takes something, and with what it was called with before, less what it counted.
    pub(crate) fn poll_write(
        &mut self,
        parts: &[&[u8]],
        write: &mut dyn FnMut(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(write))?;
        let owed = std::mem::take(&mut self.owed);
        if owed > 0 {
            return Poll::Ready(Ok(owed));
        }
        let count = self.seal(parts)?;
        match self.poll_flush(write) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(count)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.owed = count.min(1);
                if count > 1 {
                    return Poll::Ready(Ok(count - 1));
                }
                Poll::Pending
            }
        }
    }

    /// One step of rustls's connection. What it opens goes to `into`, and what has no room there is kept; how much went
    /// there. Once it can, it seals with `seal`.
    fn step(&mut self, into: &mut [u8], seal: Option<Sealing<'_>>) -> Result<(usize, Step), rustls::Error> {
        if self.failed {
            return Err(rustls::Error::General("the connection is broken".into()));
        }
        if self.out.len() > OUT_MAX {
            self.failed = true;
            return Err(rustls::Error::General(
                "the peer does not read what it asked for".into(),
            ));
        }
        let incoming = self.sealed.unread_mut();
        let mut count = 0;
        let (discard, step) = with!(&mut self.role, connection => {
            let UnbufferedStatus { mut discard, state } = connection.process_tls_records(incoming);
            let step = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        discard += record.discard;
                        let fits = record.payload.len().min(into.len() - count);
                        into[count..count + fits].copy_from_slice(&record.payload[..fits]);
                        count += fits;
                        self.opened.extend_from_slice(&record.payload[fits..]);
                    }
                    Ok(Step::Moved)
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, &mut self.out, &self.blocks);
                    Ok(Step::Moved)
                }
                // It stands in `out`, in its order, and nothing overtakes it there.
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(Step::Moved)
                }
                Ok(ConnectionState::WriteTraffic(mut traffic)) => match seal {
                    None => Ok(Step::MaySeal),
                    // A block has room for a record of any size and a key update before it.
                    Some(seal) => match seal(&mut traffic, self.out.room(SEALED, &self.blocks)) {
                        Ok(count) => {
                            self.out.filled(count);
                            Ok(Step::Sealed)
                        }
                        Err(error) => Err(rustls::Error::General(error.to_string())),
                    },
                },
                Ok(ConnectionState::PeerClosed) => {
                    self.ended = true;
                    Ok(Step::Moved)
                }
                // Nobody was allowed to send any.
                Ok(ConnectionState::ReadEarlyData(_)) => Err(rustls::Error::HandshakeNotComplete),
                Ok(_) => Ok(Step::Blocked),
                Err(error) => Err(error),
            };
            (discard, step)
        });
        self.sealed.consume(discard);
        match step {
            Ok(step) => {
                self.stalled = matches!(step, Step::Blocked | Step::MaySeal);
                Ok((count, step))
            }
            Err(error) => {
                self.fail();
                Err(error)
            }
        }
    }

    /// The connection is broken: what the peer is to be told about it goes out. That ends with an alert, behind which
    /// rustls is not asked again, since it would stumble over the same bytes once more.
    fn fail(&mut self) {
        self.failed = true;
        loop {
            let before = self.out.len();
            let incoming = self.sealed.unread_mut();
            with!(&mut self.role, connection => {
                if let Ok(ConnectionState::EncodeTlsData(data)) = connection.process_tls_records(incoming).state {
                    encode(data, &mut self.out, &self.blocks);
                }
            });
            let told = &self.out.unread()[before..];
            if told.is_empty() || is_alert(told) {
                break;
            }
        }
        self.out.release(&self.blocks);
    }
}

/// Whether a record is an alert: by its type, or by its length where the type is sealed, which no other message has
/// (RFC 8446 §5.2: two bytes, the type, and a tag of 16).
fn is_alert(record: &[u8]) -> bool {
    matches!(record, [21, ..] | [23, _, _, 0, 19, ..])
}

/// Puts a message of rustls's own on its way out.
fn encode<D>(mut message: EncodeTlsData<'_, D>, out: &mut Records, blocks: &Blocks) {
    let mut least = MESSAGE;
    loop {
        match message.encode(out.room(least, blocks)) {
            Ok(count) => return out.filled(count),
            Err(EncodeError::InsufficientSize(short)) => least = short.required_size,
            Err(EncodeError::AlreadyEncoded) => return,
        }
    }
}

/// What can seal: a connection of either role.
trait Seals {
    fn seal(&mut self, bytes: &[u8], room: &mut [u8]) -> Result<usize, EncryptError>;

    fn seal_end(&mut self, room: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<D> Seals for rustls::unbuffered::WriteTraffic<'_, D> {
    fn seal(&mut self, bytes: &[u8], room: &mut [u8]) -> Result<usize, EncryptError> {
        self.encrypt(bytes, room)
    }

    fn seal_end(&mut self, room: &mut [u8]) -> Result<usize, EncryptError> {
        self.queue_close_notify(room)
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
