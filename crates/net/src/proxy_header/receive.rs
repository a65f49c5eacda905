//! Taking a header off the front of a connection, and nothing that follows it.

use std::io;

use super::{ProxiedEnds, ProxyFault, read_proxy_header};
use crate::socket::Socket;

/// Bytes that are looked at in one go: most headers are shorter.
const LOOK_BYTES: usize = 256;

/// Why a connection was not introduced.
#[derive(Debug)]
pub enum Unintroduced {
    /// It does not begin with a header.
    Fault(ProxyFault),
    /// It ended or failed first; whether anything had come.
    Gone(bool),
}

impl Socket {
    /// Takes the header of the PROXY protocol off the front of a connection on which nothing was read yet: whom the peer
    /// speaks for, if for anybody. Without a limit in time: the caller has a timer.
    ///
    /// # Errors
    /// See [`Unintroduced`].
    pub async fn take_proxy_header(&mut self) -> Result<Option<ProxiedEnds>, Unintroduced> {
        let mut header = Vec::new();
        loop {
            let before = header.len();
            header.resize(before + LOOK_BYTES, 0);
            let seen = self.stream.peek(&mut header[before..]).await;
            let count = match seen {
                Ok(count) if count > 0 => count,
                Ok(_) | Err(_) => return Err(Unintroduced::Gone(before > 0)),
            };
            header.truncate(before + count);
            let found = read_proxy_header(&header).map_err(Unintroduced::Fault)?;
            // All that was seen is the header's, unless it ends within.
            let own = found.map_or(count, |found| found.length - before);
            self.discard(&mut header[before..before + own])
                .map_err(|_| Unintroduced::Gone(true))?;
            // Reading on has an end: what is longer than a header may be is a fault.
            if let Some(found) = found {
                return Ok(found.ends);
            }
        }
    }

    /// Reads bytes that are known to be there.
    fn discard(&mut self, mut room: &mut [u8]) -> io::Result<()> {
        while !room.is_empty() {
            match self.stream.try_read(room)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => room = &mut room[count..],
            }
        }
        Ok(())
    }
}
