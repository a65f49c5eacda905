//! The message itself (RFC 8446 §4.1.2), of which two extensions are read.

use std::net::IpAddr;

use super::{Hello, HelloFault};

/// The most protocols that a client may offer. Browsers offer two or three.
pub const ALPN_NAMES_MAX: usize = 64;

/// The longest name (RFC 1035 §2.3.4, without its length bytes), and the longest label of one.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// The only type of a name (RFC 6066 §3).
const HOST_NAME: u8 = 0;

/// The extensions that are read (RFC 6066 §3, RFC 7301 §3.1).
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

/// Reads the message without its header.
pub(super) fn read(message: &[u8]) -> Result<Hello, HelloFault> {
    let mut message = Bytes(message);
    let (version, _random) = (message.take(2)?, message.take(32)?);
    if version[0] != 3 {
        return Err(HelloFault::Malformed("no version of TLS"));
    }
    if message.short()?.len() > 32 {
        return Err(HelloFault::Malformed("the id of the session is too long"));
    }
    let suites = message.long()?;
    if suites.is_empty() || suites.len() % 2 != 0 {
        return Err(HelloFault::Malformed("the cipher suites are no list"));
    }
    if message.short()?.is_empty() {
        return Err(HelloFault::Malformed("no compression method, not even none"));
    }
    let mut hello = Hello::default();
    // Before TLS 1.3 there need be no extensions (RFC 5246 §7.4.1.2).
    if message.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Bytes(message.last_long()?);
    let (mut named, mut offered) = (false, false);
    while !extensions.is_empty() {
        let (kind, content) = (extensions.number()?, extensions.long()?);
        let seen = match kind {
            SERVER_NAME => &mut named,
            ALPN => &mut offered,
            _ => continue,
        };
        // RFC 8446 §4.2.
        if std::mem::replace(seen, true) {
            return Err(HelloFault::Malformed("an extension stands there twice"));
        }
        match kind {
            SERVER_NAME => hello.sni = server_name(content)?,
            _ => hello.alpn = protocols(content)?,
        }
    }
    Ok(hello)
}

/// One name of the only type, and nothing else: RFC 6066 §3 has no use for more, and servers that met more than one would
/// not agree on which is meant.
fn server_name(content: &[u8]) -> Result<Option<String>, HelloFault> {
    let mut list = Bytes(Bytes(content).last_long()?);
    if list.take(1)?[0] != HOST_NAME {
        return Err(HelloFault::Malformed("a server name of an unknown type"));
    }
    host_name(list.last_long()?)
}

/// A name as the DNS has it, in lower case. An underscore is no letter of a host's name, and is used in some.
fn host_name(name: &[u8]) -> Result<Option<String>, HelloFault> {
    let fault = HelloFault::Malformed("the server name is no host's name");
    let text = std::str::from_utf8(name).map_err(|_| fault)?;
    if text.parse::<IpAddr>().is_ok() {
        return Ok(None);
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(known)
    };
    if text.len() > NAME_BYTES_MAX || !text.split('.').all(is_label) {
        return Err(fault);
    }
    Ok(Some(text.to_ascii_lowercase()))
}

/// At least one protocol, none of them without a name (RFC 7301 §3.1).
fn protocols(content: &[u8]) -> Result<Vec<Vec<u8>>, HelloFault> {
    let mut list = Bytes(Bytes(content).last_long()?);
    let mut names = Vec::new();
    loop {
        let name = list.short()?;
        if name.is_empty() {
            return Err(HelloFault::Malformed("a protocol has no name"));
        }
        if names.len() == ALPN_NAMES_MAX {
            return Err(HelloFault::TooLarge);
        }
        names.push(name.to_vec());
        if list.is_empty() {
            return Ok(names);
        }
    }
}

/// Bytes that are taken from the front.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], HelloFault> {
        let ended = HelloFault::Malformed("it ends within something");
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ended)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u16, HelloFault> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A vector whose length is one byte.
    fn short(&mut self) -> Result<&'b [u8], HelloFault> {
        let length = self.take(1)?[0];
        self.take(usize::from(length))
    }

    /// A vector whose length is two bytes.
    fn long(&mut self) -> Result<&'b [u8], HelloFault> {
        let length = self.number()?;
        self.take(usize::from(length))
    }

    /// The same, behind which there is nothing.
    fn last_long(&mut self) -> Result<&'b [u8], HelloFault> {
        let content = self.long()?;
        match self.is_empty() {
            true => Ok(content),
            false => Err(HelloFault::Malformed("something follows that is not announced")),
        }
    }
}
