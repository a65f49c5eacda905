//! Metrics: what workers counted, how backends stand, and what the process costs, as text for scrapers.
//!
//! Everything is summed when somebody asks, on the control plane's thread; a worker notices nothing but one swap of
//! its counters.

mod exposition;
mod living;
#[cfg(test)]
mod packaging_tests;
mod process;
#[cfg(test)]
mod room_tests;
mod series;
mod shares;
mod stats;
#[cfg(test)]
mod tests;
mod tls;
mod totals;
mod work;
mod write;

pub(crate) use exposition::Format;
pub(crate) use living::Living;
pub(crate) use series::Series;
pub(crate) use stats::{Page, Sort};
pub(crate) use totals::Naming;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plimsoll_core::decision::Recent;
use plimsoll_core::shift::Counted;
use plimsoll_core::telemetry::{Queued, SERIES_MAX, Telemetry};
use plimsoll_core::trace::Traces;

use self::exposition::Exposition;
use self::shares::Shares;
use self::totals::Totals;
use crate::publish::Control;

/// Room for series is made again after this, unless another configuration is served sooner.
const ROOM_PAUSE: Duration = Duration::from_secs(10);

/// Series that a pool has in one metric before anything has happened: those of its queue.
const SERIES_OF_A_POOL: usize = Queued::ALL.len();

/// Sums what is counted.
pub struct Metrics {
    control: Arc<Control>,
    telemetry: Arc<Telemetry>,
    totals: Mutex<Totals>,
    /// Lines of the access log that found no room or could not be written.
    access_dropped: Arc<AtomicU64>,
    /// The decisions that workers keep.
    decisions: Arc<Recent>,
    /// The traces that are told.
    traces: Arc<Traces>,
    /// Connections to the admin API that found no place.
    pub(crate) admin_refused: AtomicU64,
    /// What each backend had got a while ago.
    shares: Mutex<Shares>,
}

impl Metrics {
    /// Sums what workers count in `telemetry`; nobody else may take from it. `access_dropped` is the access log's count
    /// of lost lines; decisions and traces are those that workers keep.
    pub fn new(
        control: Arc<Control>,
        telemetry: Arc<Telemetry>,
        access_dropped: Arc<AtomicU64>,
        (decisions, traces): (Arc<Recent>, Arc<Traces>),
    ) -> Self {
        Metrics {
            control,
            telemetry,
            totals: Mutex::default(),
            access_dropped,
            decisions,
            traces,
            admin_refused: AtomicU64::new(0),
            shares: Mutex::default(),
        }
    }

    /// Client connections that are open.
    pub(crate) fn connections(&self) -> u64 {
        self.collect().connections()
    }

    /// What `pools` have done for `route` since the start.
    pub(crate) fn worked(&self, route: &str, pools: &[&str]) -> Counted {
        let totals = self.collect();
        let mut counted = Counted::default();
        for pool in pools {
            if let Some(sum) = totals.work.ways.get(&[route.into(), (*pool).into()]) {
                counted.durations.add(&sum.durations);
                counted.errors += sum.errors;
            }
        }
        counted
    }

    /// Counts a request of 10 ms, as a worker would.
    #[cfg(test)]
    pub(crate) fn count(&self, key: plimsoll_core::telemetry::RequestKey) {
        let took = std::time::Duration::from_millis(10);
        self.telemetry.shard(0).request(key, took, None);
    }

    /// Everything, as text.
    pub(crate) fn text(&self, format: Format) -> String {
        let mut out = Exposition::new(format);
        {
            let totals = self.collect();
            write::work(&mut out, &totals, &|now| self.control.wall_time(now));
            tls::handshakes(&mut out, &totals);
        }
        write::pools(&mut out, &self.control);
        write::node(&mut out, self);
        tls::certificates(&mut out, &self.control);
        tls::trust(&mut out, &self.control);
        process::write(&mut out, self.control.started());
        out.finish()
    }

    /// The sums with everything that was counted until now.
    fn collect(&self) -> MutexGuard<'_, Totals> {
        // A panic while adding loses counts, not the counters.
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = self.telemetry.take();
        self.make_room(&mut totals, taken.widest());
        self.control.with_names(|names| totals.add(taken, names));
        totals.expect(&self.control.snapshot().load());
        totals
    }

    /// Gives up series of what is served no more when there may be no room for `more`. They are kept for as long as
    /// there is room, so that a scraper hears the last of them, and so that they go on if they come back.
    fn make_room(&self, totals: &mut Totals, more: usize) {
        let snapshot = self.control.snapshot().load();
        let (generation, now) = (snapshot.generation, self.control.now());
        let is_new = totals.expected != Some(generation);
        let of_pools = if is_new {
            SERIES_OF_A_POOL * snapshot.pools.len()
        } else {
            0
        };
        let mut widest = totals.widest();
        self.control
            .with_transitions(|transitions| widest = widest.max(transitions.len()));
        if widest + more.max(of_pools) <= SERIES_MAX {
            return;
        }
        // When all of it lives there is nothing to gain by looking again and again.
        if matches!(totals.made_room, Some((of, at)) if of == generation && now.since(at) < ROOM_PAUSE) {
            return;
        }
        totals.made_room = Some((generation, now));
        let living = Living::of(&self.control);
        totals.keep(&living);
        self.control.keep_transitions(&living);
    }
}
