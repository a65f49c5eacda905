//! What seals session tickets (RFC 5077 §4, RFC 8446 §4.6.1): keys that can be handed to the process that takes over,
//! whose clients then resume what they agreed on with this one.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;

/// How long a key seals. It opens for as long again.
const KEY_AGE_MAX: Duration = Duration::from_secs(6 * 3600);

const NAME_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// A key that seals tickets.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKey {
    /// Tickets begin with it, so that whoever opens one knows by which key.
    pub name: [u8; NAME_BYTES],
    /// What nobody else may know: whoever has it reads what was recorded of TLS 1.2, and speaks for the clients.
    pub secret: [u8; SECRET_BYTES],
    /// Since when it seals.
    pub since: SystemTime,
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TicketKey")
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

/// What seals the tickets of one listener under one set of rules for clients: what was agreed on under others, with
/// somebody who might be nobody by now, is never taken up.
#[derive(Clone, Debug)]
pub struct Tickets(Arc<Ring>);

/// The key that seals, and the one that sealed before.
#[derive(Debug)]
struct Ring(RwLock<Vec<Ready>>);

/// A key with what has been computed of it.
struct Ready {
    key: TicketKey,
    cipher: RandomizedNonceKey,
}

impl fmt::Debug for Ready {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(out)
    }
}

impl Tickets {
    /// Keys of its own, drawn anew every six hours and kept for another six.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn new() -> Result<Tickets, String> {
        let first = Ready::drawn(SystemTime::now()).ok_or("there is no randomness for the keys of tickets")?;
        Ok(Tickets(Arc::new(Ring(RwLock::new(vec![first])))))
    }

    /// With the keys of the process before; those that are too old count for nothing, and with none left it is as
    /// [`new`](Self::new).
    ///
    /// # Errors
    /// There is no randomness.
    pub fn continuing(mut keys: Vec<TicketKey>) -> Result<Tickets, String> {
        let now = SystemTime::now();
        keys.retain(|key| !is_older(key, 2 * KEY_AGE_MAX, now));
        keys.sort_by_key(|key| std::cmp::Reverse(key.since));
        keys.truncate(2);
        let ready: Vec<Ready> = keys.into_iter().filter_map(Ready::of).collect();
        if ready.is_empty() {
            return Tickets::new();
        }
        Ok(Tickets(Arc::new(Ring(RwLock::new(ready)))))
    }

    /// Its keys, the one that seals first. They are secrets.
    pub fn keys(&self) -> Vec<TicketKey> {
        let ring = self.0.0.read().unwrap_or_else(PoisonError::into_inner);
        ring.iter().map(|ready| ready.key.clone()).collect()
    }

    pub(super) fn producer(&self) -> Arc<dyn ProducesTickets> {
        self.0.clone()
    }
}

impl Ready {
    fn drawn(since: SystemTime) -> Option<Ready> {
        let (mut name, mut secret) = ([0; NAME_BYTES], [0; SECRET_BYTES]);
        aws_lc_rs::rand::fill(&mut name).ok()?;
        aws_lc_rs::rand::fill(&mut secret).ok()?;
        Ready::of(TicketKey { name, secret, since })
    }

    fn of(key: TicketKey) -> Option<Ready> {
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &key.secret).ok()?;
        Some(Ready { key, cipher })
    }

    /// name, nonce, and what was sealed with its tag; the name is authenticated too.
    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let aad = Aad::from(&self.key.name);
        let nonce = self.cipher.seal_in_place_append_tag(aad, &mut sealed).ok()?;
        Some([&self.key.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, nonce: [u8; NONCE_BYTES], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let plain = self
            .cipher
            .open_in_place(nonce, Aad::from(&self.key.name), &mut opened)
            .ok()?;
        let length = plain.len();
        opened.truncate(length);
        Some(opened)
    }
}

impl Ring {
    /// Draws another key when the one that seals is old, and drops what is older still.
    fn turn(&self, now: SystemTime) {
        let is_due = |keys: &[Ready]| keys.first().is_none_or(|ready| is_older(&ready.key, KEY_AGE_MAX, now));
        if !is_due(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let Some(fresh) = Ready::drawn(now) else { return };
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another worker may have been here first.
        if is_due(&keys) {
            keys.retain(|ready| !is_older(&ready.key, 2 * KEY_AGE_MAX, now));
            keys.insert(0, fresh);
            keys.truncate(2);
        }
    }

    fn seal(&self, plain: &[u8], now: SystemTime) -> Option<Vec<u8>> {
        self.turn(now);
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.first()?.seal(plain)
    }

    fn open(&self, ticket: &[u8], now: SystemTime) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // Names are no secrets: every ticket shows one.
        let ready = keys.iter().find(|ready| ready.key.name == *name)?;
        if is_older(&ready.key, 2 * KEY_AGE_MAX, now) {
            return None;
        }
        ready.open(*nonce, sealed)
    }
}

impl ProducesTickets for Ring {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(KEY_AGE_MAX.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, SystemTime::now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, SystemTime::now())
    }
}

/// A clock that was set back makes no key old.
fn is_older(key: &TicketKey, age: Duration, now: SystemTime) -> bool {
    now.duration_since(key.since).is_ok_and(|since| since >= age)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(tickets: &Tickets) -> &Ring {
        &tickets.0
    }

    #[test]
    fn a_ticket_opens_for_as_long_again_as_its_key_seals() {
        let tickets = Tickets::new().expect("random keys");
        let start = SystemTime::now();
        let first = ring(&tickets).seal(b"agreed", start).expect("sealed");
        assert_ne!(
            first,
            ring(&tickets).seal(b"agreed", start).expect("sealed"),
            "nonces differ"
        );
        let later = start + KEY_AGE_MAX;
        let second = ring(&tickets).seal(b"anew", later).expect("sealed");
        assert_ne!(first[..NAME_BYTES], second[..NAME_BYTES], "another key");
        for (ticket, at, opened) in [
            (&first, start, Some("agreed")),
            (&first, later, Some("agreed")),
            (&first, start + 2 * KEY_AGE_MAX, None),
            (&second, start + 2 * KEY_AGE_MAX, Some("anew")),
        ] {
            let plain = ring(&tickets).open(ticket, at);
            assert_eq!(plain.as_deref(), opened.map(str::as_bytes));
        }
        ring(&tickets).seal(b"", start + 2 * KEY_AGE_MAX).expect("sealed");
        assert_eq!(tickets.keys().len(), 2, "the one that seals and the one before");
    }

    #[test]
    fn whoever_continues_opens_what_was_sealed_before() {
        let before = Tickets::new().expect("random keys");
        let now = SystemTime::now();
        let ticket = ring(&before).seal(b"agreed", now).expect("sealed");
        let after = Tickets::continuing(before.keys()).expect("keys");
        assert_eq!(ring(&after).open(&ticket, now).as_deref(), Some(&b"agreed"[..]));
        let stranger = Tickets::continuing(Vec::new()).expect("keys of its own");
        assert_eq!(ring(&stranger).open(&ticket, now), None);
        let mut old = before.keys();
        old[0].since = now - 2 * KEY_AGE_MAX;
        let fresh = Tickets::continuing(old).expect("keys of its own");
        assert_eq!(ring(&fresh).open(&ticket, now), None);
    }

    #[test]
    fn what_was_tampered_with_or_is_no_ticket_opens_to_nothing() {
        let tickets = Tickets::new().expect("random keys");
        let now = SystemTime::now();
        let ticket = ring(&tickets).seal(b"agreed", now).expect("sealed");
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(ring(&tickets).open(&changed, now), None, "byte {at}");
            assert_eq!(ring(&tickets).open(&ticket[..at], now), None, "cut at {at}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let tickets = Tickets::new().expect("random keys");
        let shown = format!("{tickets:?} {:?}", tickets.keys());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
