//! Passwords held against their hashes, which are made to take long: apart from the workers, few at a time, and with a
//! bounded line of those that wait. What turned out to be right is remembered for a while.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use plimsoll_core::filter::Password;
use plimsoll_core::time::Now;
use tokio::sync::Semaphore;

/// Passwords that may be under way at once, waiting ones included: at 50 ms each on one thread, the last waits for 13 s.
const WAITING_MAX: usize = 256;

/// Those of one client; IPv6 by its /64. What guesses passwords leaves room for the others.
const WAITING_OF_CLIENT_MAX: usize = 32;

/// Threads that hash at once.
const HASHING_MAX: usize = 4;

/// Passwords that a worker remembers to be right, and for how long. A line that is changed in the file is another hash,
/// and with it another password to remember.
const REMEMBERED_MAX: usize = 4_096;
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// A password with its hash, as it is remembered: under a key that is this process's own, so that what is in memory
/// says nothing of the password.
type Tag = [u8; 32];

/// What all workers share.
pub(crate) struct Passwords {
    hashing: Arc<Semaphore>,
    waiting: Mutex<HashMap<IpAddr, usize>>,
    key: hmac::Key,
}

/// What one worker knows to be right.
#[derive(Default)]
pub(crate) struct Remembered(RefCell<HashMap<Tag, Now>>);

/// A place in the line, given up with it.
struct Place<'p> {
    passwords: &'p Passwords,
    client: IpAddr,
}

impl Passwords {
    /// Nobody waits. A core at least is left to the workers where there are several.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(crate) fn new() -> std::io::Result<Self> {
        let mut secret = [0; 32];
        let random = SystemRandom::new().fill(&mut secret);
        random.map_err(|_| std::io::Error::other("the system has no randomness"))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Passwords {
            hashing: Arc::new(Semaphore::new((cores / 2).clamp(1, HASHING_MAX))),
            waiting: Mutex::default(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
        })
    }

    /// Whether the password is the one that was hashed; `None` when too many wait for that to be known.
    pub(crate) async fn verify(
        &self,
        password: Password,
        remembered: &Remembered,
        now: impl Fn() -> Now,
    ) -> Option<bool> {
        let tag = self.tag(&password);
        if remembered.knows(&tag, now()) {
            return Some(true);
        }
        let _place = self.line_up(password.client)?;
        let permit = self.hashing.clone().acquire_owned().await.ok()?;
        // Several requests show one password at first, and the first of them has learnt that it is right.
        if remembered.knows(&tag, now()) {
            return Some(true);
        }
        let hashing = tokio::task::spawn_blocking(move || {
            // A thread that goes on for nobody is still one that hashes.
            let _permit = permit;
            is_right(&password)
        });
        let right = hashing.await.ok()?;
        if right {
            remembered.remember(tag, now());
        }
        Some(right)
    }

    fn tag(&self, password: &Password) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        // A hash has no NUL: what is before it cannot be taken for what is behind.
        context.update(password.hash.as_bytes());
        context.update(&[0]);
        context.update(&password.shown.0);
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    fn line_up(&self, client: IpAddr) -> Option<Place<'_>> {
        let client = network_of(client);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = waiting.values().sum();
        let own = waiting.get(&client).copied().unwrap_or_default();
        if all >= WAITING_MAX || own >= WAITING_OF_CLIENT_MAX {
            return None;
        }
        waiting.insert(client, own + 1);
        Some(Place {
            passwords: self,
            client,
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.passwords.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.client);
            }
        }
    }
}

impl Remembered {
    fn knows(&self, tag: &Tag, now: Now) -> bool {
        let since = self.0.borrow().get(tag).copied();
        since.is_some_and(|since| now.since(since) < REMEMBERED_FOR)
    }

    fn remember(&self, tag: Tag, now: Now) {
        let mut known = self.0.borrow_mut();
        if known.len() >= REMEMBERED_MAX {
            known.retain(|_, since| now.since(*since) < REMEMBERED_FOR);
        }
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(tag, now);
    }
}

/// Who counts as one client.
fn network_of(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// What cannot be read is no hash of anything.
fn is_right(password: &Password) -> bool {
    let (shown, hash) = (&password.shown.0, &*password.hash);
    if hash.starts_with("$argon2") {
        return PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(shown, &hash).is_ok());
    }
    bcrypt::verify(shown, hash).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use plimsoll_core::filter::Secret;

    use super::*;

    fn password(shown: &str, hash: &str) -> Password {
        Password {
            shown: Secret(shown.into()),
            hash: hash.into(),
            client: [192, 0, 2, 1].into(),
        }
    }

    /// By Python's bcrypt and argon2-cffi, and by htpasswd, of `s3cret`.
    const HASHES: [&str; 3] = [
        "$2b$04$mCfm1ptkD9tcipK/LkxYc.pZ4VdNPr/UBa694qFm/JXWBOgDURZ/y",
        "$argon2id$v=19$m=64,t=1,p=1$z4+ZsOqen6FAp6znUe07DQ$nZ8dL0CucGRS9sXgkgW9oYR6TmBxZWyV+Ld+T3TUWr8",
        "$2y$04$tNltNlsjnXMVGXKjikhbluWJiUv.jI2EYoh9oSPCybIls39n2.H4.",
    ];

    #[test]
    fn hashes_that_others_made_are_understood() {
        for hash in HASHES {
            assert!(is_right(&password("s3cret", hash)), "{hash}");
            for wrong in ["S3cret", "", "s3cret\0", "s3cret "] {
                assert!(!is_right(&password(wrong, hash)), "{hash} {wrong}");
            }
        }
        assert!(!is_right(&password("s3cret", "$2b$04$short")) && !is_right(&password("s3cret", "$argon2id$v=19$x")));
    }

    #[tokio::test]
    async fn what_is_right_is_remembered_for_a_while_and_what_is_wrong_is_not() {
        let (passwords, remembered) = (Passwords::new().unwrap(), Remembered::default());
        let verify = |shown: &'static str, at: u64| {
            passwords.verify(password(shown, HASHES[0]), &remembered, move || Now::from_millis(at))
        };
        assert_eq!(verify("s3cret", 0).await, Some(true));
        assert_eq!(verify("guess", 0).await, Some(false));
        assert_eq!(remembered.0.borrow().len(), 1);
        // Nobody hashes any more; what is remembered is known all the same, until it is old.
        passwords.hashing.close();
        assert_eq!(verify("s3cret", 59_999).await, Some(true));
        assert_eq!(verify("guess", 0).await, None);
        assert_eq!(verify("s3cret", 60_000).await, None);
        assert!(passwords.waiting.lock().unwrap().is_empty());
    }

    #[test]
    fn the_line_is_bounded_for_each_client_and_for_all() {
        let passwords = Passwords::new().unwrap();
        let mut line: Vec<_> = (0..40)
            .filter_map(|_| passwords.line_up([192, 0, 2, 1].into()))
            .collect();
        assert_eq!(line.len(), WAITING_OF_CLIENT_MAX);
        line.extend((0..40).filter_map(|host| passwords.line_up(format!("2001:db8::{host}").parse().unwrap())));
        assert_eq!(line.len(), 2 * WAITING_OF_CLIENT_MAX);
        line.extend((0..=255).filter_map(|host| passwords.line_up([10, 0, 0, host].into())));
        assert_eq!(line.len(), WAITING_MAX);
        line.clear();
        assert!(passwords.line_up([192, 0, 2, 1].into()).is_some());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let remembered = Remembered::default();
        for at in 0..10_000_u64 {
            let mut tag = [0; 32];
            tag[..8].copy_from_slice(&at.to_be_bytes());
            remembered.remember(tag, Now::from_millis(at));
            assert!(remembered.knows(&tag, Now::from_millis(at)));
        }
        assert!(remembered.0.borrow().len() <= REMEMBERED_MAX);
    }
}
