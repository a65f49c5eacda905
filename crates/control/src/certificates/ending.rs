//! TLS that ends at one listener, with the files behind it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use plimsoll_core::name::NameId;
use plimsoll_net::tls::{ClientRules, Pair, Termination, Tickets};

use super::clients::LivingClients;
use super::read::read_pair;
use super::stapled::LivingStaple;
use super::{CertificateStatus, TrustStatus, Wanted, words};
use crate::acme::{Acme, Issue, Shown};
use crate::config::{PairFiles, TlsPlan};
use crate::files::Stamp;
use crate::handed::HandedTickets;

/// A listener's TLS.
pub(super) struct Ending {
    id: NameId,
    listener: Arc<str>,
    plan: TlsPlan,
    pairs: Vec<LivingPair>,
    /// The one that is asked for, and what is used of it.
    issued: Option<(Arc<Issue>, Shown)>,
    clients: Option<LivingClients>,
    tickets: Option<Tickets>,
    termination: Option<Arc<Termination>>,
}

struct LivingPair {
    files: PairFiles,
    watched: Watched,
    used: Option<Arc<Pair>>,
    staple: Option<LivingStaple>,
    loaded_at: Option<SystemTime>,
    error: Option<String>,
    /// It has ended, and that was told.
    told_end: bool,
}

impl Ending {
    /// The TLS of `wanted`; `was` is what its listener had before.
    /// `handed` is what the process before has left of tickets.
    pub(super) fn begin(wanted: &Wanted<'_>, was: Option<Ending>, acme: &Acme, handed: &[HandedTickets]) -> Ending {
        let was = match was {
            Some(was) if was.plan == *wanted.plan => return was,
            was => was,
        };
        let plan = wanted.plan.clone();
        let mut ending = Ending {
            id: wanted.id,
            listener: wanted.name.clone(),
            pairs: plan.pairs.iter().cloned().map(LivingPair::new).collect(),
            issued: plan.acme.as_ref().and_then(|plan| acme.issue(plan)).map(|issue| {
                let shown = issue.shown();
                (issue, shown)
            }),
            clients: plan.clients.clone().map(LivingClients::new),
            plan,
            tickets: None,
            termination: None,
        };
        for pair in &mut ending.pairs {
            pair.read(&wanted.name);
        }
        if let Some(clients) = &mut ending.clients {
            clients.read(&wanted.name);
        }
        // Sessions that were made under the same rules for clients go on.
        let rules = |ending: &Ending| ending.clients.as_ref().map(|clients| clients.rules().cloned());
        ending.tickets = was
            .filter(|was| rules(was) == rules(&ending))
            .and_then(|was| was.tickets)
            .or_else(|| ending.inherited(handed));
        ending.build();
        ending
    }

    /// The tickets of the process before, if the rules for clients are still those that they were made under.
    fn inherited(&self, handed: &[HandedTickets]) -> Option<Tickets> {
        let rules = self.rules_digest();
        let of = |handed: &&HandedTickets| handed.listener == *self.listener && handed.rules == rules;
        Tickets::continuing(handed.iter().find(of)?.keys()).ok()
    }

    fn rules_digest(&self) -> Option<[u8; 32]> {
        self.clients.as_ref()?.rules().map(ClientRules::digest)
    }

    /// What the process that takes over needs to open the tickets of this one.
    pub(super) fn tickets(&self) -> Option<HandedTickets> {
        let keys = self.tickets.as_ref()?.keys();
        Some(HandedTickets::new(&self.listener, self.rules_digest(), keys))
    }

    pub(super) fn is_of(&self, id: NameId) -> bool {
        self.id == id
    }

    /// Reads what has changed; whether something else is used now.
    pub(super) fn look(&mut self) -> bool {
        let listener = self.listener.clone();
        let mut changed = false;
        for pair in self.pairs.iter_mut() {
            changed |= pair.watched.has_changed() && pair.read(&listener);
            changed |= pair.look_at_staple(&listener);
        }
        for pair in &mut self.pairs {
            pair.tell_age(&listener);
        }
        if let Some((issue, shown)) = &mut self.issued {
            let before = std::mem::replace(shown, issue.shown());
            let pointer = |shown: &Shown| shown.pair.as_ref().map(Arc::as_ptr);
            changed |= pointer(&before) != pointer(shown);
        }
        if let Some(clients) = &mut self.clients
            && clients.look(&listener)
        {
            // Whoever resumes has to be judged by the new rules.
            self.tickets = None;
            changed = true;
        }
        changed && self.build()
    }

    /// Puts together what can be used; whether that is another termination than before.
    fn build(&mut self) -> bool {
        match self.put_together() {
            Ok(termination) => {
                self.termination = Some(Arc::new(termination));
                true
            }
            // That there is none yet is told by whoever asks for it.
            Err(why) if self.issued.is_some() && self.used().is_empty() => {
                tracing::warn!(listener = &*self.listener, "TLS waits for a certificate: {why}");
                false
            }
            Err(why) => {
                tracing::error!(listener = &*self.listener, "TLS stays as it was: {why}");
                false
            }
        }
    }

    fn put_together(&mut self) -> Result<Termination, String> {
        let rules = match &self.clients {
            None => None,
            // Nobody may come in just because the file that says who may could not be read.
            Some(clients) => Some(clients.rules().ok_or("nobody is known who vouches for clients")?),
        };
        let tickets = match &self.tickets {
            Some(tickets) => tickets.clone(),
            None => self.tickets.insert(Tickets::new()?).clone(),
        };
        Termination::new(self.used(), &self.plan.manners, rules, &tickets, SystemTime::now())
    }

    /// The certificates that can be used, the default first.
    fn used(&self) -> Vec<Arc<Pair>> {
        let issued = self.issued.iter().filter_map(|(_, shown)| shown.pair.clone());
        let files = self.pairs.iter().filter_map(|pair| pair.used.clone());
        files.chain(issued).collect()
    }

    pub(super) fn published(&self) -> Option<(NameId, Arc<Termination>)> {
        Some((self.id, self.termination.clone()?))
    }

    pub(super) fn status(&self) -> impl Iterator<Item = CertificateStatus> {
        let now = SystemTime::now();
        let issued = self.issued.iter().map(|(issue, shown)| CertificateStatus {
            listener: self.listener.clone(),
            path: issue.path(),
            facts: shown.pair.as_ref().map(|pair| pair.facts.clone()),
            key: shown.pair.as_ref().map(|pair| pair.key_kind()),
            loaded_at: shown.loaded_at,
            error: shown.error.clone(),
            staple: None,
            acme: Some(issue.status()),
        });
        let files = self.pairs.iter().map(move |pair| CertificateStatus {
            listener: self.listener.clone(),
            path: pair.files.certificate.clone(),
            facts: pair.used.as_ref().map(|used| used.facts.clone()),
            key: pair.used.as_ref().map(|used| used.key_kind()),
            loaded_at: pair.loaded_at,
            error: pair.error.clone().or_else(|| pair.untimely(now)),
            staple: pair.staple.as_ref().map(|staple| staple.status(now)),
            acme: None,
        });
        files.chain(issued)
    }

    pub(super) fn clients(&self) -> Vec<TrustStatus> {
        let clients = self.clients.iter();
        clients.flat_map(|clients| clients.status(&self.listener)).collect()
    }
}

impl LivingPair {
    fn new(files: PairFiles) -> Self {
        LivingPair {
            watched: Watched::new([Some(&*files.certificate), Some(&*files.key), files.ocsp.as_deref()]),
            staple: files.ocsp.clone().map(LivingStaple::new),
            files,
            used: None,
            loaded_at: None,
            error: None,
            told_end: false,
        }
    }

    /// What is wrong at `now` with the dates of what is shown.
    fn untimely(&self, now: SystemTime) -> Option<String> {
        let validity = self.used.as_ref()?.facts.validity();
        let path = self.files.certificate.display();
        (!validity.holds(now)).then(|| format!("{path}: the certificate {}", words(&validity, now)))
    }

    /// Tells, once, that what is shown has ended.
    fn tell_age(&mut self, listener: &str) {
        if self.told_end {
            return;
        }
        if let Some(error) = self.untimely(SystemTime::now()) {
            self.told_end = true;
            tracing::error!(listener, error, "a certificate is shown that is not valid now");
        }
    }

    /// Whether it is shown with other words of its authority than before, or without them.
    fn look_at_staple(&mut self, listener: &str) -> bool {
        let (Some(staple), Some(used)) = (&mut self.staple, &self.used) else {
            return false;
        };
        let Some(stapled) = staple.look(used, listener, SystemTime::now()) else {
            return false;
        };
        self.used = Some(Arc::new(stapled));
        true
    }

    /// Reads it; whether another one is used now. One that is over takes the place of none that is not.
    fn read(&mut self, listener: &str) -> bool {
        self.watched.note();
        let path = self.files.certificate.display().to_string();
        let now = SystemTime::now();
        let judged = read_pair(&self.files).map_err(|(_, why)| why).and_then(|pair| {
            let wrong = if pair.facts.is_expired(now) {
                "is over"
            } else if pair.facts.is_early(now) {
                "has not begun"
            } else {
                return Ok(pair);
            };
            match &self.used {
                None => {
                    tracing::warn!(listener, path, "the certificate {wrong}, and there is no other");
                    Ok(pair)
                }
                Some(_) => Err(format!("{path} {wrong}")),
            }
        });
        match judged {
            Ok(pair) => {
                let (names, ends) = (
                    pair.facts.names.join(", "),
                    humantime::format_rfc3339_seconds(pair.facts.not_after),
                );
                tracing::info!(listener, path, names, %ends, "a certificate was read");
                self.told_end = !pair.facts.validity().holds(now);
                if let Some(staple) = &mut self.staple {
                    staple.read(&pair);
                }
                self.used = Some(Arc::new(pair));
                self.look_at_staple(listener);
                self.loaded_at = Some(now);
                self.error = None;
                true
            }
            Err(error) => {
                let stays = if self.used.is_some() {
                    ": the one before stays"
                } else {
                    ""
                };
                tracing::error!(listener, error, "a certificate cannot be used{stays}");
                self.error = Some(error);
                false
            }
        }
    }
}

/// Files that belong together, by what the kernel says of them.
pub(super) struct Watched {
    paths: Vec<PathBuf>,
    /// What it said when they were read, and at the last look.
    read: Vec<Option<Stamp>>,
    seen: Vec<Option<Stamp>>,
}

impl Watched {
    pub(super) fn new<'p>(paths: impl IntoIterator<Item = Option<&'p Path>>) -> Self {
        Watched {
            paths: paths.into_iter().flatten().map(Path::to_owned).collect(),
            read: Vec::new(),
            seen: Vec::new(),
        }
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        let stamp = |path: &PathBuf| std::fs::metadata(path).ok().map(|found| Stamp::of(&found));
        self.paths.iter().map(stamp).collect()
    }

    /// They are about to be read as they are now.
    pub(super) fn note(&mut self) {
        self.seen = self.stamps();
        self.read.clone_from(&self.seen);
    }

    /// Whether they are others than were read, and have stayed so from one look to the next: a certificate is seldom
    /// replaced in the same moment as its key.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = self.stamps();
        let rests = now == self.seen;
        self.seen = now;
        rests && self.seen != self.read
    }
}
