//! The certificates of listeners: read, judged, watched and published beside the snapshot. What cannot be used is told,
//! and the last good one stays.

mod clients;
mod ending;
mod own;
mod read;
mod stapled;
mod trust;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use plimsoll_core::name::NameId;
use plimsoll_net::tls::{Facts, Termination};

pub use own::OwnPair;
pub(crate) use read::{Which, read_clients, read_pair, read_staple};
pub(crate) use stapled::unfit;
pub(crate) use trust::{next_end, no_list, nobody_vouches, words};

use crate::acme::{Acme, AcmeStatus};
use crate::config::TlsPlan;
use crate::files::FileStatus;
use crate::handed::HandedTickets;
use ending::Ending;

/// TLS as it ends at listeners, by their numbers.
pub type Terminations = ArcSwap<HashMap<NameId, Arc<Termination>>>;

/// How a certificate stands.
#[derive(Clone, Debug)]
pub struct CertificateStatus {
    /// The listener that shows it.
    pub listener: Arc<str>,
    /// Where it was read from.
    pub path: PathBuf,
    /// What is used; `None` when nothing can be.
    pub facts: Option<Facts>,
    /// The kind of its key.
    pub key: Option<&'static str>,
    /// When that was read.
    pub loaded_at: Option<SystemTime>,
    /// What is wrong with what the files hold now.
    pub error: Option<String>,
    /// How it stands with what its authority says of it, where that is shown with it.
    pub staple: Option<StapleStatus>,
    /// How it stands with the authority that it is asked for at.
    pub acme: Option<AcmeStatus>,
}

/// How an OCSP response stands.
#[derive(Clone, Debug)]
pub struct StapleStatus {
    /// Its file.
    pub path: PathBuf,
    /// Until when what was read holds.
    pub ends: Option<SystemTime>,
    /// Why it is not shown.
    pub error: Option<String>,
}

/// How a file stands that says who vouches for clients, or what was revoked.
#[derive(Clone, Debug)]
pub(crate) struct TrustStatus {
    /// The listener that asks clients.
    pub listener: Arc<str>,
    /// The file.
    pub file: FileStatus,
    /// When the next of what it holds ends, or the last did when all is over.
    pub ends: Option<SystemTime>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Certificates {
    endings: Mutex<Vec<Ending>>,
    acme: Acme,
    published: Arc<Terminations>,
    /// What the process before has left of tickets.
    handed: Vec<HandedTickets>,
}

/// A listener where TLS ends.
pub(crate) struct Wanted<'w> {
    pub(crate) id: NameId,
    pub(crate) name: Arc<str>,
    pub(crate) plan: &'w TlsPlan,
}

impl Certificates {
    /// None yet, after a process that has left these tickets.
    pub(crate) fn after(handed: Vec<HandedTickets>) -> Self {
        Certificates {
            handed,
            ..Certificates::default()
        }
    }

    /// What the process that takes over needs to open the tickets of this one.
    pub(crate) fn tickets(&self) -> Vec<HandedTickets> {
        self.lock().iter().filter_map(Ending::tickets).collect()
    }

    /// What workers read.
    pub(crate) fn terminations(&self) -> &Arc<Terminations> {
        &self.published
    }

    /// Those that are asked for.
    pub(crate) fn acme(&self) -> &Acme {
        &self.acme
    }

    /// From now on TLS ends at these listeners, and at no others. What was read for one that stays as it is, is kept.
    pub(crate) fn adopt(&self, wanted: &[Wanted<'_>]) {
        self.acme
            .adopt(wanted.iter().filter_map(|listener| listener.plan.acme.as_ref()));
        let mut endings = self.lock();
        let mut before = std::mem::take(&mut *endings);
        for listener in wanted {
            let was = before.iter().position(|ending| ending.is_of(listener.id));
            let was = was.map(|at| before.swap_remove(at));
            endings.push(Ending::begin(listener, was, &self.acme, &self.handed));
        }
        // Handshakes that came just before their listener was taken away are finished.
        self.publish(before.iter().chain(&*endings));
    }

    /// Reads what has changed, and publishes what can be used of it.
    pub(crate) fn look(&self) {
        let mut endings = self.lock();
        let changed = endings
            .iter_mut()
            .filter_map(|ending| ending.look().then_some(()))
            .count();
        if changed > 0 {
            self.publish(&*endings);
        }
    }

    /// How they stand, in the order of the listeners and of their certificates.
    pub(crate) fn status(&self) -> Vec<CertificateStatus> {
        self.lock().iter().flat_map(Ending::status).collect()
    }

    /// How the files stand that say who vouches for clients, and what was revoked.
    pub(crate) fn trust(&self) -> Vec<TrustStatus> {
        self.lock().iter().flat_map(Ending::clients).collect()
    }

    fn publish<'e>(&self, endings: impl IntoIterator<Item = &'e Ending>) {
        let map = endings.into_iter().filter_map(Ending::published).collect();
        self.published.store(Arc::new(map));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Ending>> {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
