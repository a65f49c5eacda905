//! TLS with backends: what it takes is read from files, judged before it is used, and made anew when they change. What is
//! wrong with a new text is told, and what was made of the last good ones stays.

mod read;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use plimsoll_core::filter::Wrong;
use plimsoll_core::name::NameId;
use plimsoll_net::tls::{Demands, Origination, Trust};

pub(crate) use read::{Certificates, Key, authorities, pair, read, system_roots, untimely, validities};

use crate::certificates::{next_end, nobody_vouches, words};
use crate::config::{OriginationPlan, PoolPlan};
use crate::files::Files;
use read::{PemFile, Text};

/// What workers and checks read: TLS with the backends of each pool that wants it.
pub type Published = Arc<ArcSwap<HashMap<NameId, Arc<Origination>>>>;

/// TLS with the backends of all pools.
#[derive(Default)]
pub(crate) struct Originations {
    pools: BTreeMap<NameId, Standing>,
    /// Those of the generation before, which is served until the new one is.
    leaving: HashMap<NameId, Arc<Origination>>,
    published: Published,
}

/// That of one pool.
struct Standing {
    pool: Arc<str>,
    plan: OriginationPlan,
    ca: Option<Arc<PemFile<Certificates>>>,
    own: Option<OwnFiles>,
    /// What stood in the files when this was made or was tried to be made.
    judged: Texts,
    made: Option<Arc<Origination>>,
    /// What is wrong with what stands in them now, and whether that was told.
    wrong: Option<(String, bool)>,
}

/// The files of our certificate and its key.
type OwnFiles = (Arc<PemFile<Certificates>>, Arc<PemFile<Key>>);

/// What stands in the files of a pool: those that vouch for its backends, our certificate, its key.
type Texts = [Text; 3];

/// How TLS with the backends of a pool stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsStatus {
    /// As it is configured.
    pub plan: OriginationPlan,
    /// What is wrong with what its files hold now.
    pub error: Option<String>,
}

impl Originations {
    /// What workers and checks read.
    pub(crate) fn published(&self) -> &Published {
        &self.published
    }

    /// From now on these pools speak TLS, and no other. One whose settings stay as they were keeps its connections.
    pub(crate) fn set<'p>(&mut self, pools: impl Iterator<Item = (NameId, &'p PoolPlan)>, files: &Files) {
        let mut before = std::mem::take(&mut self.pools);
        for (id, pool) in pools {
            let Some(plan) = &pool.tls else { continue };
            let standing = match before.remove(&id) {
                Some(standing) if standing.plan == *plan => standing.watched_by(files),
                _ => Standing::new(&pool.name, plan, files),
            };
            self.pools.insert(id, standing);
        }
        for standing in self.pools.values_mut() {
            standing.settle();
        }
        self.leaving = before
            .into_iter()
            .filter_map(|(id, standing)| Some((id, standing.made?)))
            .collect();
        self.publish();
    }

    /// Makes anew what has changed.
    pub(crate) fn settle(&mut self) {
        let changed = self
            .pools
            .values_mut()
            .filter_map(|standing| standing.settle().then_some(()));
        if changed.count() > 0 {
            self.publish();
        }
    }

    /// How that of the pool stands; `None` where its connections are plain.
    pub(crate) fn status(&self, pool: NameId) -> Option<TlsStatus> {
        self.pools.get(&pool).map(|standing| TlsStatus {
            plan: standing.plan.clone(),
            error: (standing.wrong.as_ref().map(|(wrong, _)| wrong.clone())).or_else(|| standing.untimely()),
        })
    }

    /// When the next of those ends who vouch for the backends of a pool, or the last did when all are over; with the pool
    /// and the file.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (&str, &Path, SystemTime, bool)> {
        self.pools.values().filter_map(|standing| {
            let (made, path) = (standing.made.as_ref()?, standing.plan.ca.as_ref()?);
            let now = SystemTime::now();
            let validities: Vec<_> = made.authorities().collect();
            let is_wrong = standing.wrong.is_some() || standing.untimely().is_some();
            let ends = next_end(validities.into_iter(), now)?;
            Some((&*standing.pool, &**path, ends, is_wrong))
        })
    }

    fn publish(&self) {
        let mut all = self.leaving.clone();
        let made = self
            .pools
            .iter()
            .filter_map(|(id, standing)| Some((*id, standing.made.clone()?)));
        all.extend(made);
        self.published.store(Arc::new(all));
    }
}

impl Standing {
    fn new(pool: &str, plan: &OriginationPlan, files: &Files) -> Self {
        if plan.believes_anyone {
            tracing::warn!(
                pool,
                "DANGER: danger_accept_invalid_certs is on: whoever answers for a backend is believed, and may read and change what is sent there"
            );
        }
        let standing = Standing {
            pool: pool.into(),
            plan: plan.clone(),
            ca: None,
            own: None,
            judged: Texts::default(),
            made: None,
            wrong: None,
        };
        standing.watched_by(files)
    }

    /// The same, with its files watched.
    fn watched_by(self, files: &Files) -> Self {
        Standing {
            ca: self.plan.ca.as_ref().map(|path| PemFile::watched(path, files)),
            own: (self.plan.own.as_ref())
                .map(|(cert, key)| (PemFile::watched(cert, files), PemFile::watched(key, files))),
            ..self
        }
    }

    /// Makes it of what stands in the files, if that is something else than before; whether it was made anew.
    fn settle(&mut self) -> bool {
        let own = self.own.as_ref();
        let texts: Texts = [
            self.ca.as_ref().and_then(|ca| ca.text()),
            own.and_then(|(cert, _)| cert.text()),
            own.and_then(|(_, key)| key.text()),
        ];
        let is_same = |(one, other): (&Text, &Text)| match (one, other) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let tried = self.made.is_some() || self.wrong.is_some();
        let is_aged = self.made.as_ref().is_some_and(|made| made.is_aged(SystemTime::now()));
        if tried && !is_aged && texts.iter().zip(&self.judged).all(is_same) {
            self.tell();
            return false;
        }
        let made = self.make(&texts);
        self.judged = texts;
        match made {
            Ok(origination) => {
                if self.made.is_some() {
                    tracing::info!(pool = &*self.pool, "TLS with backends was set up anew");
                }
                self.tell_dates(&origination);
                self.made = Some(Arc::new(origination));
                self.wrong = None;
                true
            }
            Err(wrong) => {
                // A certificate and its key are two files, of which one may have been written just now.
                self.wrong = Some((wrong, false));
                if self.made.is_none() {
                    self.tell();
                }
                false
            }
        }
    }

    /// Tells which of those who vouch may not now.
    fn tell_dates(&self, made: &Origination) {
        if self.plan.ca.is_none() {
            return;
        }
        let now = SystemTime::now();
        for authority in made.authorities().filter(|authority| !authority.holds(now)) {
            let (pool, authority) = (&*self.pool, words(authority, now));
            tracing::warn!(pool, authority, "backends are refused for whom this authority vouches");
        }
    }

    /// What is out of its time, in words.
    fn untimely(&self) -> Option<String> {
        let (made, path) = (self.made.as_ref()?, self.plan.ca.as_ref()?);
        let wrong = nobody_vouches(made.authorities(), SystemTime::now())?;
        Some(format!("{}: {wrong}", path.display()))
    }

    /// Tells what is wrong, once.
    fn tell(&mut self) {
        let Some((error, told @ false)) = &mut self.wrong else {
            return;
        };
        *told = true;
        let pool = &*self.pool;
        if self.made.is_some() {
            tracing::error!(
                pool,
                error,
                "TLS with backends cannot be set up anew: it stays as it was"
            );
        } else {
            tracing::error!(pool, error, "TLS with backends cannot be set up");
        }
    }

    fn make(&self, [ca, cert, key]: &Texts) -> Result<Origination, String> {
        let trust = match (&self.plan.ca, self.plan.believes_anyone) {
            (_, true) => Trust::Anyone,
            (None, false) => Trust::System(system_roots()?),
            (Some(path), false) => {
                let name = path.display().to_string();
                let text = ca.as_ref().ok_or_else(|| format!("{name}: cannot be read"))?;
                Trust::Authorities(authorities(text).map_err(|wrong| wrong.told(&name))?)
            }
        };
        let own = match &self.plan.own {
            None => None,
            Some((cert_path, key_path)) => {
                let unread = |path: &Path| format!("{}: cannot be read", path.display());
                let cert = cert.as_ref().ok_or_else(|| unread(cert_path))?;
                let key = key.as_ref().ok_or_else(|| unread(key_path))?;
                let told = |(of_key, wrong): (bool, Wrong)| {
                    let path = if of_key { key_path } else { cert_path };
                    wrong.told(&path.display().to_string())
                };
                let own = pair(cert, key).map_err(told)?;
                if let Some(wrong) = untimely(&own) {
                    let wrong = wrong.told(&cert_path.display().to_string());
                    // It is better than none, and worse than the one that is in use.
                    if self.made.is_some() {
                        return Err(wrong);
                    }
                    tracing::warn!(
                        pool = &*self.pool,
                        wrong,
                        "a certificate is shown to backends out of its time"
                    );
                }
                Some(own)
            }
        };
        let demands = Demands {
            name: self.plan.name.clone(),
            alpn: self.plan.alpn.clone(),
            min_version: self.plan.min_version,
            trust,
        };
        Origination::new(demands, own.as_ref(), SystemTime::now())
    }
}
