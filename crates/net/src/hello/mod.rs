//! The ClientHello, read without an end of TLS: who is asked for, and in which protocols.
//!
//! It comes as one handshake message in one record or several (RFC 8446 §5.1), in any number of packets. What is read
//! here stays as it is: whoever forwards it forwards the bytes.

mod message;

use std::borrow::Cow;

pub use message::ALPN_NAMES_MAX;

/// The longest ClientHello, in bytes. Usual ones have 0.5 KiB, those with a post-quantum key share 1.7 KiB (X25519MLKEM768)
/// and with the largest one in use 2 KiB (ML-KEM-1024); tickets that hold a chain of client certificates take a few more.
/// OpenSSL takes 128 KiB of a handshake message that it does not know yet, rustls 64, Envoy's inspector 16.
pub const HELLO_BYTES_MAX: usize = 32 << 10;

/// The most records that one may come in: each costs a header of five bytes, and somebody who cuts it small has no good
/// reason to cut it smaller than this.
pub const HELLO_RECORDS_MAX: usize = 64;

/// The most bytes that a [`HelloScan`] asks for.
pub const HELLO_WIRE_MAX: usize = HELLO_BYTES_MAX + HELLO_RECORDS_MAX * RECORD_HEADER;

/// Type, version and length (RFC 8446 §5.1).
const RECORD_HEADER: usize = 5;

/// Type and length (RFC 8446 §4).
const MESSAGE_HEADER: usize = 4;

/// The longest record that is not encrypted (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// What of a ClientHello says where its connection goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The name that is asked for (RFC 6066 §3), in lower case and without a dot at its end. A client that writes an
    /// address there, which it may not, asks for no name.
    pub sni: Option<String>,
    /// The protocols that the client offers (RFC 7301), those that it prefers first.
    pub alpn: Vec<Vec<u8>>,
}

/// Why there is no ClientHello, and will not be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloFault {
    /// These bytes are no TLS.
    #[error("this is not TLS: {0}")]
    NotTls(&'static str),
    /// They are, and follow no grammar.
    #[error("the ClientHello is malformed: {0}")]
    Malformed(&'static str),
    /// More bytes or records than we read.
    #[error(
        "the ClientHello is longer than {HELLO_BYTES_MAX} bytes, or comes in more than {HELLO_RECORDS_MAX} records"
    )]
    TooLarge,
}

impl HelloFault {
    /// What whoever speaks TLS is told.
    pub fn alert(self) -> Option<Alert> {
        match self {
            HelloFault::NotTls(_) => None,
            HelloFault::Malformed(_) | HelloFault::TooLarge => Some(Alert::DecodeError),
        }
    }
}

/// What a client is told at the end, by its number in RFC 8446 §6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// Its ClientHello cannot be read.
    DecodeError = 50,
    /// Nobody here is called so.
    UnrecognizedName = 112,
}

impl Alert {
    /// The fatal alert as it is sent before any version has been agreed on.
    pub const fn record(self) -> [u8; 7] {
        [21, 3, 3, 0, 2, 2, self as u8]
    }
}

/// How far a ClientHello has been looked at, while its bytes come.
#[derive(Clone, Debug, Default)]
pub struct HelloScan {
    /// Where the next record begins.
    at: usize,
    /// The records before it.
    records: usize,
    /// The bytes of the message in them.
    have: usize,
    /// The bytes of the message, once its header is known.
    whole: Option<usize>,
}

impl HelloScan {
    /// Looks at all bytes that have come so far, from the first one on; `None` when it is too early to tell. What stands
    /// behind the ClientHello's last record is not looked at.
    ///
    /// # Errors
    /// See [`HelloFault`]; it is told as soon as it is sure.
    pub fn look(&mut self, bytes: &[u8]) -> Result<Option<Hello>, HelloFault> {
        while self.whole != Some(self.have) {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let Some(length) = self.record(rest)? else {
                return Ok(None);
            };
            let body = &rest[RECORD_HEADER..];
            match self.records {
                0 => self.judge(&body[..body.len().min(length)], length)?,
                _ => self.fits(length)?,
            }
            if body.len() < length {
                return Ok(None);
            }
            self.at += RECORD_HEADER + length;
            self.records += 1;
            self.have += length;
            if self.whole.is_none() && self.have >= MESSAGE_HEADER {
                self.judge(&self.message(bytes), 0)?;
            }
        }
        let message = self.message(bytes);
        message::read(&message[MESSAGE_HEADER..]).map(Some)
    }

    /// The length of the record at the front of `rest`; `None` when that is not there yet.
    fn record(&self, rest: &[u8]) -> Result<Option<usize>, HelloFault> {
        let first = self.records == 0;
        match rest {
            [kind, ..] if *kind != HANDSHAKE && first => return Err(HelloFault::NotTls("no record of a handshake")),
            [kind, ..] if *kind != HANDSHAKE => return Err(HelloFault::Malformed("another record stands within it")),
            // RFC 8446 §5.1: the minor version is to be ignored.
            [_, major, ..] if *major != 3 && first => return Err(HelloFault::NotTls("no version of TLS")),
            [_, major, ..] if *major != 3 => return Err(HelloFault::Malformed("no version of TLS in a record")),
            _ => {}
        }
        let [_, _, _, high, low, ..] = rest else {
            return Ok(None);
        };
        match usize::from(u16::from_be_bytes([*high, *low])) {
            0 => Err(HelloFault::Malformed("a record is empty")),
            length if length > RECORD_BYTES_MAX => Err(HelloFault::Malformed("a record is too long")),
            _ if self.records == HELLO_RECORDS_MAX => Err(HelloFault::TooLarge),
            length => Ok(Some(length)),
        }
    }

    /// Takes note of the message's header, as far as `start` has it; `more` bytes of it are in the record that is coming.
    fn judge(&mut self, start: &[u8], more: usize) -> Result<(), HelloFault> {
        match start {
            [kind, ..] if *kind != CLIENT_HELLO => Err(HelloFault::Malformed("another message")),
            [_, high, middle, low, ..] => {
                let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
                if length > HELLO_BYTES_MAX - MESSAGE_HEADER {
                    return Err(HelloFault::TooLarge);
                }
                self.whole = Some(MESSAGE_HEADER + length);
                self.fits(more)
            }
            _ => Ok(()),
        }
    }

    /// Whether the message ends where a record does, with `more` bytes in the record that is coming: no other may follow
    /// it before it is answered, and early data comes in records of its own.
    fn fits(&self, more: usize) -> Result<(), HelloFault> {
        match self.whole {
            Some(whole) if self.have + more > whole => Err(HelloFault::Malformed("something follows in its record")),
            _ => Ok(()),
        }
    }

    /// The message, as far as whole records have it.
    fn message<'b>(&self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        if self.records == 1 {
            return Cow::Borrowed(&bytes[RECORD_HEADER..self.at]);
        }
        let mut message = Vec::with_capacity(self.have);
        let mut rest = &bytes[..self.at];
        while let [_, _, _, high, low, body @ ..] = rest {
            let (fragment, next) = body.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            message.extend_from_slice(fragment);
            rest = next;
        }
        Cow::Owned(message)
    }
}

#[cfg(test)]
mod tests;
