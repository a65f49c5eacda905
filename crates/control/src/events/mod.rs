//! What has happened: a bounded ring of events, told by every room and followed by whoever is at the admin API.
//!
//! Nobody waits for a reader. One that is slower than the ring is told how much it missed.

mod certificates;
mod follow;

pub(crate) use certificates::Known;
pub(crate) use follow::{Follower, Heard};

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use plimsoll_core::membership::Transition;
use plimsoll_core::words;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Events that are kept for whoever comes later or comes back.
pub(crate) const EVENTS_MAX: usize = 1_000;

/// Readers that may follow at once.
pub(crate) const FOLLOWERS_MAX: usize = 64;

words! {
    /// What an event is about.
    pub enum Kind {
        /// A backend changed its state.
        Health = "health",
        /// A pool began, or ceased, to ignore health because too few are healthy.
        Panic = "panic",
        /// Another configuration was loaded or refused.
        Reload = "reload",
        /// Work is being ended in order: of a backend or of this node.
        Drain = "drain",
        /// An operator changed something.
        Operator = "operator",
        /// A certificate came, went, cannot be used, or ends soon.
        Certificate = "certificate",
        /// An address moved between nodes.
        Vip = "vip",
        /// The binary was, or was not, replaced.
        Upgrade = "upgrade",
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number: one more than that of the event before.
    pub number: u64,
    /// When.
    pub at: SystemTime,
    /// What it is about.
    pub kind: Kind,
    /// What happened, in words.
    pub message: String,
    /// The same for machines: an object.
    pub details: Value,
}

/// The events of this process.
#[derive(Debug)]
pub struct Events {
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
    followers: AtomicUsize,
    /// Tells the events of this process from those of another one before it.
    epoch: u64,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    /// The number of the newest; they begin with 1.
    newest: u64,
    counts: [u64; Kind::WORDS.len()],
}

impl Default for Events {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Events {
            ring: Mutex::default(),
            newest: watch::Sender::new(0),
            followers: AtomicUsize::new(0),
            epoch: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Events {
    /// Tells what happened: a sentence for people, and an object of details for machines, without anything secret.
    pub fn tell(&self, kind: Kind, message: impl Into<String>, details: Value) {
        let mut ring = self.lock();
        ring.newest += 1;
        ring.counts[kind as usize] += 1;
        let event = Event {
            number: ring.newest,
            at: SystemTime::now(),
            kind,
            message: message.into(),
            details,
        };
        if ring.events.len() == EVENTS_MAX {
            ring.events.pop_front();
        }
        ring.events.push_back(Arc::new(event));
        let newest = ring.newest;
        drop(ring);
        // Nobody may be there to hear it.
        self.newest.send_replace(newest);
    }

    /// Tells of backends of `pool` that have changed their states, here and in the log.
    pub(crate) fn tell_transitions(&self, pool: &str, transitions: &[Transition]) {
        for transition in transitions {
            let (name, from, to) = (&*transition.name, transition.from.word(), transition.to.word());
            let cause = transition.cause.to_string();
            tracing::info!(pool, backend = name, from, to, cause, "backend changed state");
            let message = format!("{pool}/{name} is {to}, was {from}: {cause}");
            let details = json!({
                "pool": pool,
                "backend": name,
                "from": from,
                "to": to,
                "reason": transition.cause.word(),
                "cause": cause,
            });
            self.tell(Kind::Health, message, details);
        }
    }

    /// The state that a backend was in at `at`, when it has changed since and that is still kept.
    pub(crate) fn state_before(&self, pool: &str, backend: &str, at: SystemTime) -> Option<String> {
        let ring = self.lock();
        let later = ring
            .events
            .iter()
            .filter(|event| event.kind == Kind::Health && event.at > at);
        let mut own = later.filter(|event| event.details["pool"] == pool && event.details["backend"] == backend);
        own.next()?.details["from"].as_str().map(str::to_owned)
    }

    /// How many were told of each kind since the start.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.lock().counts;
        Kind::WORDS.iter().copied().zip(counts)
    }

    /// How many follow now.
    pub(crate) fn followers(&self) -> usize {
        self.followers.load(Relaxed)
    }

    /// What a reader names to go on after the event of this number.
    fn id_of(&self, number: u64) -> String {
        format!("{:x}-{number}", self.epoch)
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // A panic while telling loses an event, not the ring.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Event {
    /// As the API writes it; its details stand beside the rest.
    pub(crate) fn json(&self, id: &str) -> Value {
        let mut json = self.details.clone();
        if !json.is_object() {
            json = json!({});
        }
        json["id"] = id.into();
        json["at"] = humantime::format_rfc3339_millis(self.at).to_string().into();
        json["kind"] = self.kind.word().into();
        json["message"] = self.message.as_str().into();
        json
    }
}
