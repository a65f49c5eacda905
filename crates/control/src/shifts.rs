//! Gradual shifts of splits: who is under way, what it is judged by, and how it ended.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plimsoll_core::health::State;
use plimsoll_core::shift::{Limit, Shift, Step, WINDOW};
use plimsoll_core::time::Now;
use plimsoll_core::words;
use serde_json::{Value, json};

use crate::events::Kind;
use crate::handed::HandedShift;
use crate::metrics::Metrics;
use crate::publish::{Control, SplitFault};

/// How often a shift is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How long the backends of the pools that grow may take to become healthy.
const HEALTHY_WAIT_MAX: Duration = Duration::from_secs(600);

/// What somebody wants of a route's split.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// The weights in the end; a pool that is left out gets nothing.
    pub(crate) to: Vec<(String, u32)>,
    /// How long it may take to get there.
    pub(crate) over: Duration,
    /// What takes it back.
    pub(crate) limits: Vec<Limit>,
    /// Whether it begins only once every backend of the pools that grow is healthy.
    pub(crate) when_healthy: bool,
}

words! {
    /// Where a shift stands.
    pub(crate) enum Stand {
        /// Backends are not healthy yet.
        Waiting = "waiting",
        /// Under way.
        Shifting = "shifting",
        /// The weights are what was asked for.
        Done = "done",
        /// They are what they were, since it did badly.
        WentBack = "went_back",
        /// They are what they were, since an operator said so.
        Cancelled = "cancelled",
        /// Somebody else has changed the split meanwhile.
        Replaced = "replaced",
        /// The backends did not become healthy.
        GaveUp = "gave_up",
    }
}

/// One shift, the last of its route.
struct Entry {
    /// Its number among the process's shifts.
    id: u64,
    wish: Wish,
    pools: Vec<String>,
    /// The weights in the end, pool by pool.
    after: Vec<u32>,
    /// Those that were set last: others mean that somebody else has set them.
    set: Vec<u32>,
    before: Vec<u32>,
    /// Whether those were the configuration's.
    was_configured: bool,
    asked: Now,
    /// How old it was by then, in a process before this one.
    age: Duration,
    /// How long it had gone on there; `None` when it waited for backends.
    gone: Option<Duration>,
    shift: Option<Shift>,
    stand: Stand,
    why: Option<String>,
}

/// The shifts of all routes.
pub struct Shifts {
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    entries: Mutex<BTreeMap<String, Entry>>,
    begun: AtomicU64,
}

impl Shifts {
    /// Those that the process before has begun, if there are any.
    pub fn new(control: Arc<Control>, metrics: Arc<Metrics>) -> Arc<Self> {
        let now = control.now();
        let handed = control.take_shifts().into_iter();
        let entries: BTreeMap<String, Entry> = handed
            .map(|(route, handed)| (route, Entry::continuing(handed, now)))
            .collect();
        let begun = entries.values().map(|entry| entry.id).max();
        Arc::new(Shifts {
            control,
            metrics,
            entries: Mutex::new(entries),
            begun: AtomicU64::new(begun.unwrap_or_default()),
        })
    }

    /// Those that are under way, for the process that takes over.
    pub(crate) fn handed(&self) -> BTreeMap<String, HandedShift> {
        let (entries, now) = (self.lock(), self.control.now());
        let under_way = entries.iter().filter(|(_, entry)| entry.is_under_way());
        under_way
            .map(|(route, entry)| (route.clone(), entry.handed(now)))
            .collect()
    }

    /// Looks after them until it is dropped.
    pub async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look();
        }
    }

    /// Begins to shift the split of `route` as `wish` says; one that is under way there ends.
    ///
    /// # Errors
    /// There is no such split, or it cannot be so.
    pub(crate) fn begin(&self, route: &str, wish: Wish) -> Result<(), SplitFault> {
        let named: Vec<(&str, u32)> = wish.to.iter().map(|(pool, weight)| (pool.as_str(), *weight)).collect();
        let now = self.control.split_with(route, &named)?;
        let (pools, (before, after)): (Vec<String>, (Vec<u32>, Vec<u32>)) = now
            .into_iter()
            .map(|(pool, before, after)| (pool, (before, after)))
            .unzip();
        let words = told(&pools, &after);
        let message = format!("an operator shifts the route {route} to {words}");
        let details = json!({ "route": route, "shift": "begun", "over_s": wish.over.as_secs() });
        self.control.events().tell(Kind::Operator, message, details);
        tracing::info!(route, to = words, over = ?wish.over, "an operator shifts a split");
        let mut entries = self.lock();
        if let Some(other) = entries.get_mut(route).filter(|entry| entry.is_under_way()) {
            let why = "another shift has begun".to_owned();
            self.end(route, other, Stand::Replaced, Some(why));
        }
        let entry = Entry {
            id: self.begun.fetch_add(1, Relaxed) + 1,
            wish,
            pools,
            after,
            set: before.clone(),
            before,
            was_configured: self.control.split_of(route).is_none(),
            asked: self.control.now(),
            age: Duration::ZERO,
            gone: None,
            shift: None,
            stand: Stand::Waiting,
            why: None,
        };
        entries.insert(route.to_owned(), entry);
        drop(entries);
        self.look();
        Ok(())
    }

    /// Takes the shift of `route` back; false when there is none under way.
    pub(crate) fn cancel(&self, route: &str) -> bool {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(route).filter(|entry| entry.is_under_way()) else {
            return false;
        };
        let before = entry.before.clone();
        self.set(route, entry, before);
        self.end(route, entry, Stand::Cancelled, None);
        true
    }

    /// How the last shift of `route` stands, if there was one.
    pub(crate) fn status(&self, route: &str) -> Option<Value> {
        let entries = self.lock();
        let entry = entries.get(route)?;
        let now = self.control.now();
        let progress = entry.shift.as_ref().map_or(0.0, |shift| shift.progress(now));
        let parts = |weights: &[u32]| -> Vec<Value> {
            let both = entry.pools.iter().zip(weights);
            both.map(|(pool, weight)| json!({ "pool": pool, "weight": weight }))
                .collect()
        };
        Some(json!({
            "id": entry.id,
            "state": entry.stand.word(),
            "why": entry.why,
            "percent": (progress * 100.0).round(),
            "before": parts(&entry.before),
            "to": parts(&entry.after),
            "over_s": entry.wish.over.as_secs(),
            "abort_if": entry.wish.limits.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "watched_s": if entry.wish.limits.is_empty() { 0 } else { WINDOW.as_secs() },
        }))
    }

    /// Takes every shift on that is under way.
    pub(crate) fn look(&self) {
        if !self.control.is_ours() {
            return;
        }
        let mut entries = self.lock();
        for (route, entry) in entries.iter_mut().filter(|(_, entry)| entry.is_under_way()) {
            self.take_on(route, entry);
        }
    }

    fn take_on(&self, route: &str, entry: &mut Entry) {
        let stands = self.control.split(route);
        let is_ours = stands.is_some_and(|split| {
            split.iter().map(|(pool, weight)| (pool.as_str(), *weight)).eq(entry
                .pools
                .iter()
                .map(String::as_str)
                .zip(entry.set.iter().copied()))
        });
        if !is_ours {
            let why = "the split was changed meanwhile".to_owned();
            return self.end(route, entry, Stand::Replaced, Some(why));
        }
        let growing = Shift::growing(&entry.before, &entry.after);
        let grows: Vec<&str> = (entry.pools.iter().zip(growing))
            .filter_map(|(pool, grows)| grows.then_some(pool.as_str()))
            .collect();
        let now = self.control.now();
        if entry.shift.is_none() && entry.gone.is_none() {
            if entry.wish.when_healthy
                && let Some(ill) = self.first_ill(&grows)
            {
                entry.why = Some(format!("{ill} is not healthy"));
                if entry.age + now.since(entry.asked) > HEALTHY_WAIT_MAX {
                    let why = entry.why.take();
                    self.end(route, entry, Stand::GaveUp, why);
                }
                return;
            }
            (entry.stand, entry.why) = (Stand::Shifting, None);
        }
        let counted = self.metrics.worked(route, &grows);
        let gone = entry.gone.unwrap_or_default();
        let shift = entry.shift.get_or_insert_with(|| {
            let Wish { over, limits, .. } = &entry.wish;
            let (before, after) = (entry.before.clone(), entry.after.clone());
            Shift::begin(before, after, *over, limits.clone(), counted, now).after(gone)
        });
        match shift.step(counted, now) {
            Step::Weights(weights) => self.set(route, entry, weights),
            Step::Done(weights) => {
                self.set(route, entry, weights);
                self.end(route, entry, Stand::Done, None);
            }
            Step::Back(weights, why) => {
                self.set(route, entry, weights);
                self.end(route, entry, Stand::WentBack, Some(why));
            }
        }
    }

    /// A backend of `pools` that is not healthy, or a pool without any.
    fn first_ill(&self, pools: &[&str]) -> Option<String> {
        pools.iter().find_map(|name| {
            let pool = self.control.pool(name)?;
            let ill = pool.backends.iter().find(|backend| backend.state != State::Healthy);
            match ill {
                Some(backend) => Some(format!("{name}/{}", backend.name)),
                None => pool
                    .backends
                    .is_empty()
                    .then(|| format!("{name}, which has no backend,")),
            }
        })
    }

    fn set(&self, route: &str, entry: &mut Entry, weights: Vec<u32>) {
        if entry.set == weights {
            return;
        }
        let named: Vec<(&str, u32)> = (entry.pools.iter().map(String::as_str).zip(weights.iter().copied())).collect();
        // The route has just been seen with these pools; if it is gone by now, the next look finds that out.
        if self.control.set_split(route, &named).is_ok() {
            entry.set = weights;
        }
    }

    fn end(&self, route: &str, entry: &mut Entry, stand: Stand, why: Option<String>) {
        if matches!(stand, Stand::WentBack | Stand::Cancelled) && entry.was_configured {
            // A route that is gone by now has no weights to undo.
            let _ = self.control.reset_split(route);
        }
        let because = why.as_ref().map_or(String::new(), |why| format!(": {why}"));
        let what = match stand {
            Stand::Done => format!("the route {route} has shifted to {}", told(&entry.pools, &entry.after)),
            Stand::WentBack | Stand::Cancelled => {
                let before = told(&entry.pools, &entry.before);
                format!("the route {route} went back to {before}{because}")
            }
            _ => format!("the shift of the route {route} ended where it was{because}"),
        };
        tracing::info!(route, state = stand.word(), why, "a shift has ended");
        let details = json!({ "route": route, "shift": stand.word(), "why": why });
        self.control.events().tell(Kind::Operator, what, details);
        (entry.stand, entry.why) = (stand, why);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// As the process before has begun it.
    fn continuing(handed: HandedShift, now: Now) -> Self {
        // What it was judged by was read by that one; of a later version it may be something else.
        let limits = handed.limits.iter().filter_map(|text| Limit::parse(text).ok());
        Entry {
            id: handed.id,
            wish: Wish {
                to: handed.to,
                over: handed.over,
                limits: limits.collect(),
                when_healthy: handed.when_healthy,
            },
            pools: handed.pools,
            after: handed.after,
            set: handed.set,
            before: handed.before,
            was_configured: handed.was_configured,
            asked: now,
            age: handed.age,
            stand: match handed.gone {
                Some(_) => Stand::Shifting,
                None => Stand::Waiting,
            },
            gone: handed.gone,
            shift: None,
            why: None,
        }
    }

    fn handed(&self, now: Now) -> HandedShift {
        HandedShift {
            id: self.id,
            to: self.wish.to.clone(),
            over: self.wish.over,
            limits: self.wish.limits.iter().map(ToString::to_string).collect(),
            when_healthy: self.wish.when_healthy,
            pools: self.pools.clone(),
            before: self.before.clone(),
            after: self.after.clone(),
            set: self.set.clone(),
            was_configured: self.was_configured,
            gone: self.shift.as_ref().map(|shift| shift.elapsed(now)).or(self.gone),
            age: self.age + now.since(self.asked),
        }
    }

    fn is_under_way(&self) -> bool {
        matches!(self.stand, Stand::Waiting | Stand::Shifting)
    }
}

/// `blue 95, green 5`.
fn told(pools: &[String], weights: &[u32]) -> String {
    let both = pools.iter().zip(weights);
    let parts: Vec<String> = both.map(|(pool, weight)| format!("{pool} {weight}")).collect();
    parts.join(", ")
}
