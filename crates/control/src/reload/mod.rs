//! Reload: another configuration, compiled aside, judged as a whole, and swapped in at once. What is wrong with it is told,
//! and then nothing has changed.
//!
//! One reload goes on at a time. Whoever asks for the file to be read while one is under way is served by the next, as are
//! all others who ask until that begins: it is the last state of the file that counts.

mod additions;
mod fixed;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll_core::document::{Fault, Json};
use plimsoll_core::upcall::{Address, Follow};
use serde_json::json;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::config::{
    self, ADDITIONS_BYTES_MAX, ADDITIONS_MAX, Addition, Base, Format, Loaded, Origin, Plan, Refused, Sources,
};
use crate::events::Kind;
use crate::publish::{Control, Serving};
pub use fixed::Started;
use watch::Footprint;

/// Documents that may be read over the network at once: each may have as many bytes as a file.
const DOCUMENTS_MAX: usize = 4;

/// What a reload has changed.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// The generation that is served now; for a trial, the one that is still served.
    pub generation: u64,
    /// What will hurt.
    pub warnings: Vec<String>,
    /// What it says that takes a restart, and is not so until then.
    pub needs_restart: Vec<String>,
}

/// Why nothing has changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotReloaded {
    /// The configuration is wrong.
    #[error("the configuration has {} faults: nothing has changed", told.len())]
    Invalid {
        /// All that is wrong, each in one line.
        told: Vec<String>,
        /// The same for machines, with their places.
        faults: Json,
    },
    /// An address cannot be had.
    #[error("{0}: nothing has changed")]
    Unbound(String),
    /// It has no listener, and there are some.
    #[error(
        "the configuration has no listener, and {0} are served: a file that was cut short, or is not written yet? \
         Nothing has changed; to serve nothing, stop the process"
    )]
    Nothing(usize),
    /// There is no file to be read again.
    #[error("this process was started without a configuration file: there is nothing to read again")]
    NoFile,
    /// There is something like it already.
    #[error("{0}")]
    Conflict(String),
    /// No more can be made.
    #[error(
        "{ADDITIONS_MAX} backends and routes, or {} MiB of them, are the most that the API makes: write them into the file",
        ADDITIONS_BYTES_MAX >> 20
    )]
    Full,
    /// The node is being shut down.
    #[error("this node is being shut down: nothing has changed")]
    Draining,
    /// An error of our own.
    #[error("an error of our own, which is in the log: {0}")]
    Internal(String),
}

impl NotReloaded {
    /// What is wrong, each in one line.
    pub fn told(&self) -> Vec<String> {
        match self {
            NotReloaded::Invalid { told, .. } => told.clone(),
            other => vec![other.to_string()],
        }
    }

    fn invalid(refused: &Refused) -> Self {
        NotReloaded::Invalid {
            told: lines(&refused.faults, &refused.sources),
            faults: config::render::json(&refused.faults, &refused.sources),
        }
    }
}

/// How a reload went.
type Result = std::result::Result<Reloaded, NotReloaded>;

/// Reloads a running process.
pub struct Reloader {
    control: Arc<Control>,
    plane: Arc<dyn Follow>,
    started: Started,
    /// Reloads of the file that have begun.
    begun: AtomicU64,
    /// Whose turn it is, and how the last reload of the file went, with its number.
    turn: tokio::sync::Mutex<Option<(u64, Result)>>,
    footprint: Mutex<Footprint>,
    documents: Semaphore,
    /// What is served without additions, and whether that is the file.
    base: Mutex<(Base, bool)>,
    /// Wakes whoever removes backends that have drained.
    leaving: Notify,
}

/// What was judged, and can be served.
struct Judged {
    plan: Plan,
    base: Base,
    additions: Vec<Addition>,
    reloaded: Reloaded,
}

/// What a reload takes.
enum Source {
    File(PathBuf),
    Body(Format, String),
}

impl Reloader {
    /// What reloads `control` and `plane`, of a process that was `started` so from `base`.
    pub fn new(control: Arc<Control>, plane: Arc<dyn Follow>, started: Started, base: Base) -> Arc<Self> {
        let footprint = Footprint::of(&started.origins);
        Arc::new(Reloader {
            control,
            plane,
            begun: AtomicU64::new(0),
            turn: tokio::sync::Mutex::default(),
            footprint: Mutex::new(footprint),
            documents: Semaphore::new(DOCUMENTS_MAX),
            base: Mutex::new((base, true)),
            leaving: Notify::new(),
            started,
        })
    }

    /// A place for a document that is to be read, for as long as that and its judgement take; `None` when there are too many.
    pub(crate) fn take_document(&self) -> Option<SemaphorePermit<'_>> {
        self.documents.try_acquire().ok()
    }

    /// Reads the file again and serves what it says.
    ///
    /// # Errors
    /// Nothing has changed, and why.
    pub async fn reload(self: &Arc<Self>) -> Result {
        let before = self.begun.load(SeqCst);
        let this = self.clone();
        // On a task of its own: who asked may go away, and then the next must not begin before this has ended.
        let reloading = tokio::spawn(async move {
            let mut turn = this.turn.lock().await;
            if let Some((number, result)) = &*turn
                && *number > before
            {
                return result.clone();
            }
            let path = this.started.file().ok_or(NotReloaded::NoFile)?;
            let number = this.begun.fetch_add(1, SeqCst) + 1;
            let result = this.run(Source::File(path), false).await;
            *turn = Some((number, result.clone()));
            result
        });
        reloading.await.unwrap_or_else(|error| Err(internal(&error)))
    }

    /// Whether the file could be served as it is now. Nothing changes.
    ///
    /// # Errors
    /// It could not, and why.
    pub async fn judge(self: &Arc<Self>) -> Result {
        let path = self.started.file().ok_or(NotReloaded::NoFile)?;
        self.run(Source::File(path), true).await
    }

    /// Serves what `text` says, or only judges it in a `trial`.
    ///
    /// # Errors
    /// Nothing has changed, and why.
    pub async fn replace(self: &Arc<Self>, format: Format, text: String, trial: bool) -> Result {
        let this = self.clone();
        let replacing = tokio::spawn(async move {
            let _turn = this.turn.lock().await;
            this.run(Source::Body(format, text), trial).await
        });
        replacing.await.unwrap_or_else(|error| Err(internal(&error)))
    }

    /// Reads, judges, and unless this is a trial publishes, on a thread where that may take its time.
    async fn run(self: &Arc<Self>, source: Source, trial: bool) -> Result {
        let this = self.clone();
        let run = tokio::task::spawn_blocking(move || {
            let from = match source {
                Source::File(_) => Origin::File,
                Source::Body(..) => Origin::Api,
            };
            let judged = this.judged(source).and_then(|judged| {
                if trial {
                    Ok(judged.reloaded)
                } else {
                    this.take(judged, from)
                }
            });
            if !trial {
                this.tell(&judged, from);
            }
            judged
        });
        run.await.unwrap_or_else(|error| Err(internal(&error)))
    }

    /// What `source` says, as far as this process can serve it.
    fn judged(&self, source: Source) -> std::result::Result<Judged, NotReloaded> {
        if self.control.is_draining() {
            return Err(NotReloaded::Draining);
        }
        let is_file = matches!(source, Source::File(_));
        let loaded = match source {
            Source::File(path) => self.load(&path),
            Source::Body(format, text) => config::parse_foreign(format, &text),
        };
        let loaded = loaded.map_err(|refused| NotReloaded::invalid(&refused))?;
        let (base, mut additions) = (loaded.base(), self.control.additions());
        let Loaded {
            mut plan,
            warnings,
            sources,
            ..
        } = loaded.with(&mut additions);
        let served = self.control.plan().listeners.len();
        if plan.listeners.is_empty() && served > 0 {
            return Err(NotReloaded::Nothing(served));
        }
        let needs_restart = self.started.keep_fixed(&mut plan, &self.control.plan(), is_file);
        let reloaded = Reloaded {
            generation: self.control.snapshot().load().generation,
            warnings: lines(&warnings, &sources),
            needs_restart,
        };
        Ok(Judged {
            plan,
            base,
            additions,
            reloaded,
        })
    }

    /// Serves what was judged.
    fn take(&self, judged: Judged, from: Origin) -> Result {
        let Judged {
            plan,
            base,
            additions,
            reloaded,
        } = judged;
        for addition in &additions {
            if let Some(why) = &addition.set_aside {
                tracing::warn!("{}, which was made by the API, is set aside: {why}", addition.what);
            }
        }
        let serving = Serving {
            from,
            needs_restart: reloaded.needs_restart.clone(),
        };
        let generation = self.publish(plan, additions, Some(serving))?;
        *self.base() = (base, from == Origin::File);
        Ok(Reloaded { generation, ..reloaded })
    }

    fn load(&self, path: &Path) -> std::result::Result<Loaded, Refused> {
        // The stamps are older than the text, never younger.
        let before = self.footprint().again();
        let loaded = config::load(path, &|name| std::env::var(name).ok());
        let (origins, used) = match &loaded {
            Ok(loaded) => (loaded.sources.origins(), true),
            Err(refused) => (refused.sources.origins(), false),
        };
        self.footprint().read(&before, origins, used);
        loaded
    }

    /// Binds what is new, so that a port that is taken refuses the change and not half of it; then swaps, once.
    fn publish(
        &self,
        plan: Plan,
        additions: Vec<Addition>,
        serving: Option<Serving>,
    ) -> std::result::Result<u64, NotReloaded> {
        let addresses = plan.listeners.iter().flat_map(|listener| {
            let of = |address: &std::net::SocketAddr| Address {
                listener: &listener.name,
                address: *address,
                http3: listener.http3.is_some(),
            };
            listener.bind.iter().map(of)
        });
        let addresses: Vec<Address<'_>> = addresses.collect();
        self.plane.bind(&addresses).map_err(NotReloaded::Unbound)?;
        let generation = self.control.adopt(plan, additions, serving);
        self.plane.follow();
        Ok(generation)
    }

    /// Says in the log and in the status how it went.
    fn tell(&self, result: &Result, from: Origin) {
        match result {
            Ok(reloaded) => {
                let plan = self.control.plan();
                let (listeners, routes, pools) = (plan.listeners.len(), plan.routes.len(), plan.pools.len());
                let generation = reloaded.generation;
                tracing::info!(
                    generation,
                    from = from.word(),
                    listeners,
                    routes,
                    pools,
                    "the configuration was reloaded"
                );
                let details = json!({
                    "result": "ok", "from": from.word(), "generation": generation,
                    "needs_restart": reloaded.needs_restart,
                });
                let message = format!("the configuration was reloaded: generation {generation}");
                self.control.events().tell(Kind::Reload, message, details);
                for warning in &reloaded.warnings {
                    tracing::warn!("{warning}");
                }
                for key in &reloaded.needs_restart {
                    tracing::warn!("{key}: it takes a restart, and stays as it was until then");
                }
            }
            Err(refused) => {
                let told = refused.told();
                tracing::error!(
                    from = from.word(),
                    "the configuration was not reloaded, and nothing has changed"
                );
                for error in &told {
                    tracing::error!("{error}");
                }
                let details = json!({ "result": "error", "from": from.word(), "errors": told });
                let message = format!("the configuration was not reloaded: {}", told.join("; "));
                self.control.events().tell(Kind::Reload, message, details);
                self.control.refuse(told, from);
            }
        }
    }

    fn footprint(&self) -> MutexGuard<'_, Footprint> {
        self.footprint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn internal(error: &tokio::task::JoinError) -> NotReloaded {
    tracing::error!(%error, "a reload has failed in the middle");
    NotReloaded::Internal(error.to_string())
}

/// Each fault in one line, with its place.
fn lines(faults: &[Fault], sources: &Sources) -> Vec<String> {
    let line = |fault: &Fault| {
        let at = sources.position(fault.span);
        let help = fault.help.as_ref().map_or(String::new(), |help| format!(" ({help})"));
        format!("{}:{}:{}: {}{help}", at.file, at.line, at.column, fault.message)
    };
    faults.iter().map(line).collect()
}
