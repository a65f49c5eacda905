//! Metrics: what workers counted, how backends stand, and what the process costs, as text for scrapers.
//!
//! Everything is summed when somebody asks, on the control plane's thread; a worker notices nothing but one swap of
//! its counters.

mod exposition;
#[cfg(test)]
mod packaging_tests;
mod process;
mod series;
mod shares;
mod stats;
#[cfg(test)]
mod tests;
mod tls;
mod totals;
mod write;

pub(crate) use exposition::Format;
pub(crate) use series::Series;
pub(crate) use stats::{Page, Sort};
pub(crate) use totals::Naming;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll_core::decision::Recent;
use plimsoll_core::shift::Counted;
use plimsoll_core::telemetry::Telemetry;
use plimsoll_core::trace::Traces;

use self::exposition::Exposition;
use self::shares::Shares;
use self::totals::Totals;
use crate::publish::Control;

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
            if let Some(durations) = totals.durations.find(&[route.into(), (*pool).into()]) {
                counted.durations.add(durations);
            }
        }
        let failed = totals
            .requests
            .iter()
            .filter(|([_, of, pool, _, code], _)| **of == *route && pools.contains(&&**pool) && code.starts_with('5'));
        counted.errors = failed.map(|(_, count)| *count).sum();
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
        self.control.with_names(|names| totals.add(taken, names));
        totals.expect(&self.control.snapshot().load());
        totals
    }
}
