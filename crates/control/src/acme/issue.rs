//! One certificate that is asked for: what is held of it, what is remembered, and what is done about it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use plimsoll_net::tls::Pair;

use super::answers::Answers;
use super::schedule::{self, Failure, Held, Memory, Why};
use super::storage::Directory;
use super::stored::{self, Places};
use super::{Store, pair};
use crate::config::AcmePlan;

/// What became of tries, in the order in which they are counted.
pub(super) const RESULTS: [&str; 4] = ["issued", "refused", "unreachable", "failed"];

/// How a certificate that is asked for stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeStatus {
    /// `pending`: there is none yet; `ordering`: it is being asked for; `issued`; `failing`: the last try has failed, and
    /// what was given before, if anything, is shown.
    pub state: &'static str,
    /// The names.
    pub domains: Vec<String>,
    /// The authority.
    pub directory: String,
    /// How it is shown that the names are ours.
    pub challenge: &'static str,
    /// When the next try is made; `None` while one is.
    pub next_try: Option<SystemTime>,
    /// Tries in a row that have failed.
    pub failures: u32,
    /// Why the last one has, in the authority's words where there are any.
    pub error: Option<String>,
    /// How many tries of this process ended how.
    pub results: Vec<(&'static str, u64)>,
}

/// A certificate that is asked for.
pub(crate) struct Issue {
    pub(super) plan: AcmePlan,
    pub(super) places: Places,
    pub(super) store: Arc<dyn Store>,
    pub(super) answers: Answers,
    standing: Mutex<Standing>,
    warned: AtomicBool,
}

#[derive(Default)]
struct Standing {
    /// What was read last, and what it was taken for.
    certificate: Option<Vec<u8>>,
    memory_read: Option<Vec<u8>>,
    pair: Option<Arc<Pair>>,
    loaded_at: Option<SystemTime>,
    /// What is wrong with what is kept.
    error: Option<String>,
    memory: Memory,
    ordering: bool,
    results: [u64; RESULTS.len()],
}

/// What the listeners that show it want to know.
pub(crate) struct Shown {
    pub(crate) pair: Option<Arc<Pair>>,
    pub(crate) loaded_at: Option<SystemTime>,
    pub(crate) error: Option<String>,
}

impl Issue {
    pub(super) fn new(plan: &AcmePlan, answers: &Answers) -> Issue {
        let directory = Directory::at(plan.storage.clone());
        if directory.is_open_to_others() {
            let storage = plan.storage.display();
            tracing::warn!(%storage, "others than its owner may look where keys are kept: chmod 700");
        }
        let issue = Issue {
            plan: plan.clone(),
            places: Places::of(plan),
            store: Arc::new(directory),
            answers: answers.clone(),
            standing: Mutex::default(),
            warned: AtomicBool::new(false),
        };
        issue.look();
        issue
    }

    /// What is shown of it now.
    pub(crate) fn shown(&self) -> Shown {
        let standing = self.standing();
        Shown {
            pair: standing.pair.clone(),
            loaded_at: standing.loaded_at,
            error: standing.error.clone(),
        }
    }

    /// Where it is kept, for people.
    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.plan.storage.join(&self.places.certificate)
    }

    pub(crate) fn status(&self) -> AcmeStatus {
        let now = SystemTime::now();
        let standing = self.standing();
        let (next, _) = standing.due(now, &self.plan);
        AcmeStatus {
            state: match (standing.ordering, standing.memory.failures, &standing.pair) {
                (true, ..) => "ordering",
                (false, 1.., _) => "failing",
                (false, 0, None) => "pending",
                (false, 0, Some(_)) => "issued",
            },
            domains: self.plan.domains.clone(),
            directory: self.plan.directory.clone(),
            challenge: self.plan.challenge.word(),
            next_try: (!standing.ordering).then_some(next),
            failures: standing.memory.failures,
            error: standing.memory.error.clone(),
            results: RESULTS.into_iter().zip(standing.results).collect(),
        }
    }

    /// Reads what is kept, as far as it has changed: another process may have put something there.
    pub(super) fn look(&self) {
        let certificate = self.store.get(&self.places.certificate);
        let memory = self.store.get(&self.places.memory);
        let mut standing = self.standing();
        match certificate {
            Ok(None) if standing.certificate.is_some() => {
                // It is shown until there is another, which is asked for.
                standing.certificate = None;
                standing.wrong(format!("{} is there no longer", self.path().display()));
            }
            Ok(None) if standing.pair.is_none() => {
                drop(standing);
                let sibling = self.sibling();
                standing = self.standing();
                if let Some(sibling) = sibling {
                    standing.take(sibling);
                }
            }
            Ok(Some(bytes)) if standing.certificate.as_ref() != Some(&bytes) => {
                self.read(&mut standing, &bytes);
                standing.certificate = Some(bytes);
            }
            Ok(_) => {}
            Err(error) => standing.wrong(format!("{} cannot be read: {error}", self.path().display())),
        }
        if let Ok(bytes) = memory
            && bytes != standing.memory_read
            && !standing.ordering
        {
            let read = bytes.as_deref().map(|bytes| {
                stored::read(bytes).unwrap_or_else(|| {
                    tracing::warn!(name = self.places.memory, "what was remembered cannot be read");
                    Memory::default()
                })
            });
            standing.memory = read.unwrap_or_default();
            standing.memory_read = bytes;
        }
    }

    fn read(&self, standing: &mut Standing, bytes: &[u8]) {
        let path = self.path().display().to_string();
        let read =
            pair(bytes).and_then(
                |pair| match self.plan.domains.iter().find(|name| !pair.facts.names.contains(name)) {
                    Some(name) => Err(format!("is not for {name}")),
                    None => Ok(pair),
                },
            );
        match read {
            Ok(pair) => {
                let (names, ends) = (
                    pair.facts.names.join(", "),
                    humantime::format_rfc3339_seconds(pair.facts.not_after),
                );
                tracing::info!(path, names, %ends, "a certificate was read");
                standing.take(Arc::new(pair));
            }
            Err(why) => standing.wrong(format!("{path} {why}")),
        }
    }

    /// The certificate of the same authority that is for the most of the wanted names: better than none, until there is
    /// one for all of them.
    fn sibling(&self) -> Option<Arc<Pair>> {
        let now = SystemTime::now();
        let names = self.store.list().ok()?;
        let siblings = names.iter().filter(|name| self.places.is_sibling(name));
        let pairs = siblings.filter_map(|name| pair(&self.store.get(name).ok()??).ok());
        let wanted = |pair: &Pair| {
            let names = &pair.facts.names;
            self.plan.domains.iter().filter(|name| names.contains(name)).count()
        };
        let usable = pairs.filter(|pair| !pair.facts.is_expired(now) && wanted(pair) > 0);
        usable.max_by_key(wanted).map(Arc::new)
    }

    /// When the next try is to be made, and why.
    pub(super) fn due(&self, now: SystemTime) -> (SystemTime, Why) {
        self.standing().due(now, &self.plan)
    }

    /// What is held, and what is remembered.
    pub(super) fn known(&self) -> (Option<Held>, Memory) {
        let standing = self.standing();
        (standing.held(), standing.memory.clone())
    }

    /// The certificate that is replaced, in DER.
    pub(super) fn pair(&self) -> Option<Arc<Pair>> {
        self.standing().pair.clone()
    }

    /// A try is under way, until this is dropped.
    pub(super) fn ordering(&self) -> Under<'_> {
        self.standing().ordering = true;
        Under(self)
    }

    /// A try has ended so.
    pub(super) fn count(&self, failure: Option<Failure>) {
        let at = match failure {
            None => 0,
            Some(Failure::Refused) => 1,
            Some(Failure::Unreachable) => 2,
            Some(Failure::Other) => 3,
        };
        self.standing().results[at] += 1;
    }

    /// Remembers this from now on, also through restarts if it can be kept.
    pub(super) async fn remember(&self, memory: Memory) {
        let bytes = stored::write(&memory);
        // Kept before it is shown: what has been seen holds through a restart.
        let put = super::put(&self.store, &self.places.memory, bytes.clone()).await;
        let kept = match &put {
            Ok(()) => Some(bytes),
            Err(_) => self.store.get(&self.places.memory).ok().flatten(),
        };
        {
            let mut standing = self.standing();
            standing.memory = memory;
            standing.memory_read = kept;
        }
        if let Err(fault) = put
            && !self.warned.swap(true, Relaxed)
        {
            tracing::error!(
                error = fault.told,
                "what is remembered about a certificate cannot be kept"
            );
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    fn take(&mut self, pair: Arc<Pair>) {
        self.pair = Some(pair);
        self.loaded_at = Some(SystemTime::now());
        self.error = None;
    }

    /// Something is wrong with what is kept, which is told once.
    fn wrong(&mut self, error: String) {
        if self.error.as_ref() != Some(&error) {
            tracing::error!(error, "what is kept of a certificate cannot be used");
        }
        self.error = Some(error);
    }

    fn held(&self) -> Option<Held> {
        let facts = &self.pair.as_ref()?.facts;
        // What is not kept is asked for again, though it is shown while there is no other.
        (self.error.is_none()).then(|| Held {
            not_before: facts.not_before,
            not_after: facts.not_after,
            names: facts.names.clone(),
            fingerprint: facts.fingerprint.clone(),
        })
    }

    fn due(&self, now: SystemTime, plan: &AcmePlan) -> (SystemTime, Why) {
        schedule::due(now, &plan.domains, self.held().as_ref(), &self.memory)
    }
}

/// A try that is under way.
pub(super) struct Under<'i>(&'i Issue);

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.0.standing().ordering = false;
    }
}
