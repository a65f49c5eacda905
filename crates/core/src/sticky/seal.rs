//! Our cookie: which backend it means, since when, and our signature.
//!
//! 36 bytes, in base64url (RFC 4648 §5): the time in seconds since 1970 (4), the session's number (8), the backend's tag
//! (8), and the first 128 bits of an HMAC-SHA-256 over these and the pool's name (RFC 2104; §5 has a truncated one keep at
//! least half of the hash's length and 80 bits). The tag is an HMAC, too, so that nobody can try addresses until one fits.
//! Nodes with the same secret read each other's cookies.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::backend::Backend;
use crate::name::BackendId;
use crate::rng::IdState;

/// The shortest secret, in bytes: as many as the hash has (RFC 2104 §3).
pub const SECRET_BYTES_MIN: usize = 32;

/// The most secrets. Two are needed while one takes over from the other.
pub const SECRETS_MAX: usize = 8;

const BODY: usize = 4 + 8 + TAG;
const TAG: usize = 8;
const SIGNATURE: usize = 16;
const BYTES: usize = BODY + SIGNATURE;
/// A whole number of groups of three bytes: there is no padding.
const TEXT: usize = BYTES / 3 * 4;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a cookie names a backend by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(u64);

/// Whom each tag means, under each of the secrets.
#[derive(Clone, Debug, Default)]
pub struct Tags(HashMap<Tag, BackendId, IdState>);

/// Who signs cookies, and knows them again: the first secret signs, all verify.
#[derive(Clone)]
pub struct Seal {
    keys: Vec<Hmac<Sha256>>,
    secrets: Vec<Vec<u8>>,
}

/// A cookie of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The backend that it names.
    pub tag: Tag,
    /// The session's number.
    pub id: u64,
    /// When it was set, in seconds since 1970.
    pub issued: u64,
    /// Another secret than the first signed it.
    pub is_old_key: bool,
}

impl Tags {
    /// Whom `tag` means.
    pub fn find(&self, tag: Tag) -> Option<BackendId> {
        self.0.get(&tag).copied()
    }
}

impl Seal {
    /// A seal of these secrets, [`SECRETS_MAX`] at the most.
    pub fn new(secrets: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let secrets: Vec<Vec<u8>> = secrets.into_iter().take(SECRETS_MAX).collect();
        let key = |secret: &Vec<u8>| Hmac::new_from_slice(secret).expect("an HMAC's key may have any length");
        Seal {
            keys: secrets.iter().map(key).collect(),
            secrets,
        }
    }

    /// The tags of `backends`.
    pub fn tags<'b>(&self, backends: impl Iterator<Item = &'b Backend>) -> Tags {
        let backends: Vec<&Backend> = backends.collect();
        let of = |key| backends.iter().map(move |backend| (tag(key, backend), backend.id));
        Tags(self.keys.iter().flat_map(of).collect())
    }

    /// Writes the value of a cookie for the session `id` on `backend`, set at `wall`.
    pub(super) fn issue(&self, backend: &Backend, id: u64, wall: u64, out: &mut String) {
        let Some(key) = self.keys.first() else { return };
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(&u32::try_from(wall).unwrap_or(u32::MAX).to_be_bytes());
        bytes[4..12].copy_from_slice(&id.to_be_bytes());
        bytes[12..BODY].copy_from_slice(&tag(key, backend).0.to_be_bytes());
        let signature = sign(key, &backend.pool, &bytes[..BODY]).finalize().into_bytes();
        bytes[BODY..].copy_from_slice(&signature[..SIGNATURE]);
        encode(&bytes, out);
    }

    /// What the cookie with this value says, if one of our secrets signed it for `pool`.
    pub fn open(&self, pool: &str, value: &[u8]) -> Option<Opened> {
        let bytes = decode(value)?;
        let (body, signature) = bytes.split_at(BODY);
        let by = self.keys.iter().position(|key| {
            // The comparison takes as long for every wrong signature.
            sign(key, pool, body).verify_truncated_left(signature).is_ok()
        })?;
        let number = |part: &[u8]| part.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Some(Opened {
            issued: number(&body[..4]),
            id: number(&body[4..12]),
            tag: Tag(number(&body[12..])),
            is_old_key: by > 0,
        })
    }
}

/// The parts are told apart by their lengths; the first byte says what is signed.
fn sign(key: &Hmac<Sha256>, pool: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = key.clone();
    mac.update(b"c");
    mac.update(&(pool.len() as u64).to_be_bytes());
    mac.update(pool.as_bytes());
    mac.update(body);
    mac
}

fn tag(key: &Hmac<Sha256>, backend: &Backend) -> Tag {
    let mut mac = key.clone();
    mac.update(b"b");
    mac.update(&(backend.pool.len() as u64).to_be_bytes());
    mac.update(backend.pool.as_bytes());
    let octets = match backend.address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    mac.update(&octets);
    mac.update(&backend.address.port().to_be_bytes());
    let whole = mac.finalize().into_bytes();
    Tag(whole[..TAG].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn encode(bytes: &[u8; BYTES], out: &mut String) {
    for group in bytes.chunks_exact(3) {
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for shift in [18, 12, 6, 0] {
            out.push(char::from(ALPHABET[(bits >> shift & 63) as usize]));
        }
    }
}

fn decode(text: &[u8]) -> Option<[u8; BYTES]> {
    if text.len() != TEXT {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (group, out) in text.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
        let mut bits = 0u32;
        for byte in group {
            let sextet = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'-' => 62,
                b'_' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(sextet);
        }
        out.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    Some(bytes)
}

/// Two seals are the same when they know each other's cookies and sign alike.
impl PartialEq for Seal {
    fn eq(&self, other: &Self) -> bool {
        self.secrets == other.secrets
    }
}

/// Without what is secret.
impl fmt::Debug for Seal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Seal({} secrets)", self.secrets.len())
    }
}
