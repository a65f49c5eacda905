//! Sticky sessions: a client comes back to the backend that served it before.
//!
//! What ties a client to its backend is either a cookie of ours, which names the backend in a way that only we can read
//! ([`Seal`]), or something that its requests carry anyway (the application's cookie, a header, its address), which is
//! looked up in a [`Table`]. [`Pool::acquire`](crate::pool::Pool::acquire) looks at the tie before it picks.

mod seal;
mod seen;
mod table;

pub use seal::{Opened, SECRET_BYTES_MIN, SECRETS_MAX, Seal, Tag, Tags};
pub use seen::Seen;
pub use table::{ENTRIES_MAX, Table};

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::backend::Backend;
use crate::balance::hash_client;
use crate::name::BackendId;
use crate::pool::Lease;
use crate::rng::Rng;
use crate::route::Fields;
use crate::time::Now;

/// Cookies of one name that are looked at in one request. A client has one, or two when an older one had another path.
const COOKIES_MAX: usize = 4;

/// How long an entry of a table is kept after it was last used, unless the pool says otherwise.
pub const TTL: Duration = Duration::from_secs(3_600);

/// What a pool's sticky sessions are told apart by, and how long they last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What tells them apart.
    pub by: By,
    /// How long one lasts after it was last used; `None` is as long as the client's browser runs, with a cookie, and
    /// [`TTL`] otherwise.
    pub ttl: Option<Duration>,
}

/// What tells sticky sessions apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A cookie of ours.
    Cookie(Cookie),
    /// The application's cookie of this name.
    AppCookie(String),
    /// The header field of this name, in lower case.
    Header(String),
    /// The client's address; IPv6 by its /64.
    ClientIp,
}

/// How our cookie is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// The domain that it is for; the host alone when `None`.
    pub domain: Option<String>,
    /// The path that it is for.
    pub path: String,
    /// Whether it is sent over TLS alone; as the client's connection is, when `None`.
    pub secure: Option<bool>,
    /// `Strict`, `Lax` or `None`: whether it is sent with requests that other sites make (RFC 6265bis §5.4.7).
    pub same_site: &'static str,
}

impl By {
    /// What tells them apart, in words.
    pub fn text(&self) -> String {
        match self {
            By::Cookie(cookie) => format!("the cookie {}", cookie.name),
            By::AppCookie(name) => format!("the application's cookie {name}"),
            By::Header(name) => format!("the header {name}"),
            By::ClientIp => "the client's address".into(),
        }
    }
}

/// The sticky sessions of one pool.
#[derive(Debug)]
pub struct Sticky {
    /// How they are told apart.
    pub settings: Settings,
    pool: Arc<str>,
    /// Who signs the cookies.
    seal: Arc<Seal>,
    /// What is known of clients that have no cookie of ours.
    table: Arc<Table>,
}

/// What a request says of its sticky session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tie {
    /// What our cookie says.
    pub(crate) opened: Option<Opened>,
    /// Where the table may have an entry.
    pub(crate) key: Option<u64>,
    /// Its number: the one it came with, or a new one.
    id: u64,
    /// Its cookie is to be set again, though it holds.
    renew: bool,
}

impl Sticky {
    /// Sticky sessions of `pool`, with the table of those that it had `before` if they were told apart alike.
    pub fn new(pool: Arc<str>, settings: Settings, seal: Arc<Seal>, seed: u64, before: Option<&Sticky>) -> Self {
        let kept = before.filter(|before| before.settings.by == settings.by);
        Sticky {
            table: kept.map_or_else(|| Arc::new(Table::new(seed)), |before| before.table.clone()),
            settings,
            pool,
            seal,
        }
    }

    /// Whether sessions that one of them made mean the same to the other.
    pub fn is_same(&self, other: &Sticky) -> bool {
        self.settings == other.settings && self.seal == other.seal && Arc::ptr_eq(&self.table, &other.table)
    }

    /// Whether a cookie of ours tells them apart.
    pub fn is_by_cookie(&self) -> bool {
        matches!(self.settings.by, By::Cookie(_))
    }

    /// How long an entry of the table is kept after its last use.
    pub fn ttl(&self) -> Duration {
        self.settings.ttl.unwrap_or(TTL)
    }

    /// What a request with these fields, of `client`, says of its session; `wall` is the time in seconds since 1970.
    pub fn tie(&self, fields: &dyn Fields, client: IpAddr, wall: u64, rng: &mut Rng) -> Tie {
        let key = |bytes: &[u8]| Some(xxh3_64_with_seed(bytes, self.table.seed()));
        let mut tie = Tie::default();
        match &self.settings.by {
            By::Cookie(cookie) => {
                each_cookie(fields, &cookie.name, &mut |value| {
                    tie.opened = self
                        .seal
                        .open(&self.pool, value)
                        .filter(|opened| self.holds(opened, wall));
                    tie.opened.is_none()
                });
                tie.id = tie.opened.map_or_else(|| rng.bits(), |opened| opened.id);
                tie.renew = tie.opened.is_some_and(|opened| self.is_due(&opened, wall));
            }
            By::AppCookie(name) => each_cookie(fields, name, &mut |value| {
                tie.key = key(value);
                false
            }),
            By::Header(name) => fields.each(name, &mut |value| {
                tie.key = key(value);
                value.is_empty()
            }),
            By::ClientIp => tie.key = self.key_of_client(client),
        }
        tie
    }

    /// What a layer 4 connection of `client` says.
    pub fn tie_of_connection(&self, client: IpAddr) -> Tie {
        Tie {
            key: matches!(self.settings.by, By::ClientIp)
                .then(|| self.key_of_client(client))
                .flatten(),
            ..Tie::default()
        }
    }

    fn key_of_client(&self, client: IpAddr) -> Option<u64> {
        // Hashed again, so that nobody outside can tell which addresses meet in the table.
        Some(xxh3_64_with_seed(&hash_client(client).to_be_bytes(), self.table.seed()))
    }

    /// A cookie from the future was not set by a clock like ours; nodes' clocks may differ a little.
    fn holds(&self, opened: &Opened, wall: u64) -> bool {
        const SKEW: u64 = 300;
        let age = wall.saturating_sub(opened.issued);
        opened.issued <= wall + SKEW && self.settings.ttl.is_none_or(|ttl| age < ttl.as_secs().max(1))
    }

    /// Half of its time is gone, or a key signed it that signs no more.
    fn is_due(&self, opened: &Opened, wall: u64) -> bool {
        let age = wall.saturating_sub(opened.issued);
        opened.is_old_key || self.settings.ttl.is_some_and(|ttl| age * 2 >= ttl.as_secs().max(1))
    }

    /// Whether `tie` is that of a session that has begun.
    pub(crate) fn knows(&self, tie: &Tie, now: Now) -> bool {
        tie.opened.is_some() || self.find(tie, now).is_some()
    }

    /// The backend that the table has for `tie`.
    pub(crate) fn find(&self, tie: &Tie, now: Now) -> Option<BackendId> {
        self.table.find(tie.key?, self.ttl(), now)
    }

    /// From now on `tie` belongs to `backend`.
    pub(crate) fn learn(&self, tie: &Tie, backend: BackendId, now: Now) {
        if let Some(key) = tie.key {
            self.table.put(key, backend, now);
        }
    }

    /// The request of `tie` stays on `backend`.
    pub(crate) fn stayed(&self, tie: &Tie, backend: &Backend, now: Now) {
        if tie.opened.is_some() {
            backend.seen.see(tie.id, self.ttl(), now);
        }
        if let Some(key) = tie.key {
            self.table.touch(key, now);
        }
    }

    /// Learns from an answer of `backend` that the application has set its cookie.
    pub fn learn_from(&self, set_cookie: &[u8], backend: BackendId, now: Now) {
        let By::AppCookie(name) = &self.settings.by else { return };
        let pair = set_cookie.split(|byte| *byte == b';').next().unwrap_or_default();
        let Some(at) = pair.iter().position(|byte| *byte == b'=') else {
            return;
        };
        let (key, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        // An empty value takes a cookie back.
        if key == name.as_bytes() && !value.is_empty() {
            self.table
                .put(xxh3_64_with_seed(value, self.table.seed()), backend, now);
        }
    }

    /// The value of the `Set-Cookie` that the answer to the request of `tie` carries, which `lease` has served; `None`
    /// when the client has what it needs. `https` says whether the client's connection is secret.
    pub fn set_cookie(&self, tie: &Tie, lease: &Lease, https: bool, wall: u64) -> Option<String> {
        let By::Cookie(cookie) = &self.settings.by else {
            return None;
        };
        if lease.is_kept() && !tie.renew {
            return None;
        }
        let mut text = format!("{}=", cookie.name);
        self.seal.issue(lease.backend(), tie.id, wall, &mut text);
        text.push_str("; Path=");
        text.push_str(&cookie.path);
        if let Some(domain) = &cookie.domain {
            text.push_str("; Domain=");
            text.push_str(domain);
        }
        if let Some(ttl) = self.settings.ttl {
            text.push_str(&format!("; Max-Age={}", ttl.as_secs().max(1)));
        }
        text.push_str("; HttpOnly; SameSite=");
        text.push_str(cookie.same_site);
        if cookie.secure.unwrap_or(https) {
            text.push_str("; Secure");
        }
        Some(text)
    }

    /// How many sessions each of `backends` has: the table's entries, or, with a cookie of ours, an estimate of those that
    /// came back of late.
    pub fn count(&self, backend: &Backend, now: Now) -> u64 {
        match self.settings.by {
            By::Cookie(_) => backend.seen.count(self.ttl(), now),
            _ => self.table.count(backend.id, self.ttl(), now),
        }
    }

    /// Entries that the table had no more room for.
    pub fn evicted(&self) -> u64 {
        self.table.evicted()
    }
}

/// Calls `visit` for the values of the cookie `name`, until it returns false.
fn each_cookie(fields: &dyn Fields, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
    let mut left = COOKIES_MAX;
    fields.each("cookie", &mut |line| {
        for pair in line.split(|byte| *byte == b';') {
            let Some(at) = pair.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            if pair[..at].trim_ascii() != name.as_bytes() {
                continue;
            }
            left -= 1;
            if !visit(pair[at + 1..].trim_ascii()) || left == 0 {
                left = 0;
                return false;
            }
        }
        left > 0
    });
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
