//! Which metrics there are: their names, labels and help texts.

use std::sync::atomic::Ordering::Relaxed;

use plimsoll_core::health::State;
use plimsoll_core::outcome::Reason;
use plimsoll_core::trace::{LEFT_OUT, Traces};

use super::Metrics;
use super::exposition::{Exposition, Kind, Wall};
use super::series::Series;
use super::totals::{Totals, open};
use crate::publish::Control;

/// What workers counted.
pub(super) fn work(out: &mut Exposition, totals: &Totals, wall: Wall<'_>) {
    out.metric(
        "plimsoll_requests_total",
        Kind::Counter,
        "HTTP requests that have ended, by the status that the client got.",
    );
    for ([listener, route, pool, backend, code], count) in totals.requests.iter() {
        let labels = [
            ("listener", &**listener),
            ("route", route),
            ("pool", pool),
            ("backend", backend),
            ("code", code),
        ];
        out.sample(&labels, count);
    }
    out.metric(
        "plimsoll_request_duration_seconds",
        Kind::Histogram,
        "Time from the end of a request's head to the end of its answer.",
    );
    for ([route, pool], histogram) in totals.durations.iter() {
        let exemplars = totals.exemplars.find(&[route.clone(), pool.clone()]);
        let exemplars = exemplars.map(|exemplars| (exemplars, wall));
        out.exemplified(&[("route", route), ("pool", pool)], histogram, exemplars);
    }
    out.metric(
        "plimsoll_backend_duration_seconds",
        Kind::Histogram,
        "Time that backends took to begin their answers.",
    );
    for ([pool, backend], histogram) in totals.backend_durations.iter() {
        let exemplars = totals.backend_exemplars.find(&[pool.clone(), backend.clone()]);
        let exemplars = exemplars.map(|exemplars| (exemplars, wall));
        out.exemplified(&[("pool", pool), ("backend", backend)], histogram, exemplars);
    }
    listeners(out, totals);
    out.metric(
        "plimsoll_backend_connections_total",
        Kind::Counter,
        "Connections to backends that requests were sent on, newly made or reused.",
    );
    for ([pool, backend], counts) in totals.backend_connections.iter() {
        for (reused, count) in ["false", "true"].into_iter().zip(counts) {
            out.sample(&[("pool", pool), ("backend", backend), ("reused", reused)], count);
        }
    }
    further_attempts(out, totals);
    queues(out, totals);
    failures(out, totals);
}

/// What was sent more than once.
fn further_attempts(out: &mut Exposition, totals: &Totals) {
    out.metric(
        "plimsoll_retries_total",
        Kind::Counter,
        "Requests that were tried again, by how that went, and those whose retry the budget refused.",
    );
    for ([pool, result], count) in totals.retries.iter() {
        out.sample(&[("pool", pool), ("result", result)], count);
    }
    out.metric(
        "plimsoll_hedges_total",
        Kind::Counter,
        "Second attempts of requests that waited for their answer for too long, by what became of them.",
    );
    for ([pool, result], count) in totals.hedged.iter() {
        out.sample(&[("pool", pool), ("result", result)], count);
    }
    out.metric(
        "plimsoll_mirrored_total",
        Kind::Counter,
        "Copies of requests for mirrors, by the mirror's pool and what became of them.",
    );
    for ([pool, result], count) in totals.mirrored.iter() {
        out.sample(&[("pool", pool), ("result", result)], count);
    }
    out.metric(
        "plimsoll_fallbacks_total",
        Kind::Counter,
        "Requests and connections that another pool took over, by the pool that was asked and why it could not serve.",
    );
    for ([pool, to, reason], count) in totals.fallbacks.iter() {
        out.sample(&[("pool", pool), ("to", to), ("reason", reason)], count);
    }
}

fn queues(out: &mut Exposition, totals: &Totals) {
    out.metric(
        "plimsoll_queue_total",
        Kind::Counter,
        "Requests and connections that found every backend of their pool full, by what became of them.",
    );
    for ([pool, class, result], count) in totals.queued.iter() {
        out.sample(&[("pool", pool), ("class", class), ("result", result)], count);
    }
    out.metric(
        "plimsoll_queue_duration_seconds",
        Kind::Histogram,
        "Time that those which were served had waited for a place.",
    );
    for ([pool], histogram) in totals.queue_durations.iter() {
        out.histogram(&[("pool", pool)], histogram);
    }
}

fn listeners(out: &mut Exposition, totals: &Totals) {
    out.metric("plimsoll_connections", Kind::Gauge, "Client connections that are open.");
    for ([listener], counts) in totals.listeners.iter() {
        out.sample(&[("listener", listener)], open(counts));
    }
    out.metric(
        "plimsoll_connections_total",
        Kind::CounterBesideGauge,
        "Client connections that were accepted.",
    );
    for ([listener], counts) in totals.listeners.iter() {
        out.sample(&[("listener", listener)], counts.opened);
    }
    out.metric(
        "plimsoll_bytes_total",
        Kind::Counter,
        "Bytes from clients (in) and to clients (out).",
    );
    for ([listener], counts) in totals.listeners.iter() {
        out.sample(&[("listener", listener), ("direction", "in")], counts.bytes_in);
        out.sample(&[("listener", listener), ("direction", "out")], counts.bytes_out);
    }
}

fn failures(out: &mut Exposition, totals: &Totals) {
    out.metric(
        "plimsoll_failures_total",
        Kind::Counter,
        "Replies of our own and failed connections, by reason.",
    );
    for (reason, count) in Reason::ALL.iter().zip(&totals.failures) {
        out.sample(&[("reason", reason.word())], count);
    }
    out.sample(&[("reason", "retry_budget_spent")], totals.retry_budget_spent);
    out.metric(
        "plimsoll_dry_run_total",
        Kind::Counter,
        "Requests that a filter with dry_run would have refused, by reason.",
    );
    for (reason, count) in Reason::ALL
        .iter()
        .zip(&totals.rehearsed)
        .filter(|(_, count)| **count > 0)
    {
        out.sample(&[("reason", reason.word())], *count);
    }
    out.metric(
        "plimsoll_limit_keys_forgotten_total",
        Kind::Counter,
        "Keys of limits that were forgotten before their time, because a table was full.",
    )
    .sample(&[], totals.crowded_out);
    out.metric(
        "plimsoll_bans_total",
        Kind::Counter,
        "Clients, or other keys, that a filter has banned for a time.",
    )
    .sample(&[], totals.bans);
}

/// How pools and their backends stand.
pub(super) fn pools(out: &mut Exposition, control: &Control) {
    let mut in_flight: Series<2, 2, u64> = Series::default();
    let mut load_lines: Series<2, 2, u64> = Series::default();
    let mut states: Series<3, 2, u64> = Series::default();
    let mut panicking: Series<1, 1, u64> = Series::default();
    let mut waiting: Series<1, 1, u64> = Series::default();
    let mut sticky: Series<2, 2, u64> = Series::default();
    let mut evicted: Series<1, 1, u64> = Series::default();
    for pool in control.pools() {
        *panicking.of([pool.name.clone()]) += u64::from(pool.panicking);
        *waiting.of([pool.name.clone()]) += u64::from(pool.waiting);
        if let Some(sessions) = &pool.sticky {
            *evicted.of([pool.name.clone()]) += sessions.evicted();
            for backend in &pool.backends {
                let count = sessions.count(&backend.backend, control.now());
                *sticky.of([pool.name.clone(), backend.name.clone()]) += count;
            }
        }
        for backend in &pool.backends {
            let labels = [pool.name.clone(), backend.name.clone()];
            *in_flight.of(labels.clone()) += u64::from(backend.backend.load.in_flight());
            *load_lines.of(labels) += u64::from(backend.load_line);
            for word in State::WORDS {
                let labels = [pool.name.clone(), backend.name.clone(), (*word).into()];
                *states.of(labels) += u64::from(backend.state.word() == *word);
            }
        }
    }
    by_backend(
        out,
        "plimsoll_in_flight",
        "Requests (layer 7) or connections (layer 4) under way.",
        &in_flight,
    );
    by_backend(
        out,
        "plimsoll_load_line",
        "Requests or connections that a backend may have at once, as configured or as learned.",
        &load_lines,
    );
    out.metric(
        "plimsoll_backend_state",
        Kind::Gauge,
        "1 for the state that a backend is in, 0 for the others.",
    );
    for ([pool, backend, state], is) in states.iter() {
        out.sample(&[("pool", pool), ("backend", backend), ("state", state)], is);
    }
    out.metric(
        "plimsoll_pool_panicking",
        Kind::Gauge,
        "1 while health is ignored because too few backends are healthy.",
    );
    for ([pool], is) in panicking.iter() {
        out.sample(&[("pool", pool)], is);
    }
    stickiness(out, &sticky, &evicted);
    out.metric(
        "plimsoll_queue_waiting",
        Kind::Gauge,
        "Requests and connections that wait for a place on a backend.",
    );
    for ([pool], count) in waiting.iter() {
        out.sample(&[("pool", pool)], count);
    }
    transitions(out, control);
}

fn transitions(out: &mut Exposition, control: &Control) {
    out.metric(
        "plimsoll_health_transitions_total",
        Kind::Counter,
        "Changes of backends' states, by what they became and why.",
    );
    control.with_transitions(|transitions| {
        for ([pool, backend, to, cause], count) in transitions.iter() {
            let labels = [("pool", &**pool), ("backend", backend), ("to", to), ("cause", cause)];
            out.sample(&labels, count);
        }
    });
}

fn by_backend(out: &mut Exposition, name: &'static str, help: &'static str, values: &Series<2, 2, u64>) {
    out.metric(name, Kind::Gauge, help);
    for ([pool, backend], value) in values.iter() {
        out.sample(&[("pool", pool), ("backend", backend)], value);
    }
}

/// Sticky sessions, where pools have them.
fn stickiness(out: &mut Exposition, sessions: &Series<2, 2, u64>, evicted: &Series<1, 1, u64>) {
    out.metric(
        "plimsoll_sticky_sessions",
        Kind::Gauge,
        "Sticky sessions that a backend has; with a cookie of ours an estimate of those that came back of late.",
    );
    for ([pool, backend], count) in sessions.iter() {
        out.sample(&[("pool", pool), ("backend", backend)], count);
    }
    out.metric(
        "plimsoll_sticky_evicted_total",
        Kind::Counter,
        "Sticky sessions that were forgotten because their pool had too many.",
    );
    for ([pool], count) in evicted.iter() {
        out.sample(&[("pool", pool)], count);
    }
}

fn traces(out: &mut Exposition, traces: &Traces) {
    out.metric(
        "plimsoll_traces_exported_total",
        Kind::Counter,
        "Requests whose spans the collector of traces has taken.",
    )
    .sample(&[], traces.told());
    out.metric(
        "plimsoll_traces_dropped_total",
        Kind::Counter,
        "Requests whose spans were to be exported and were not, by why.",
    );
    for why in LEFT_OUT {
        out.sample(&[("why", why.word())], traces.left(why));
    }
}

/// What concerns the whole node.
pub(super) fn node(out: &mut Exposition, metrics: &Metrics) {
    let control = &metrics.control;
    out.metric("plimsoll_build_info", Kind::Gauge, "Always 1; the version is a label.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    out.metric("plimsoll_generation", Kind::Gauge, "Configurations published so far.")
        .sample(&[], control.snapshot().load().generation);
    let (taken, refused) = control.reloads();
    out.metric(
        "plimsoll_reloads_total",
        Kind::Counter,
        "Attempts to load another configuration.",
    )
    .sample(&[("result", "ok")], taken)
    .sample(&[("result", "error")], refused);
    out.metric(
        "plimsoll_events_total",
        Kind::Counter,
        "What has happened, by what it was about: the events of the admin API.",
    );
    for (kind, count) in control.events().counts() {
        out.sample(&[("kind", kind)], count);
    }
    out.metric(
        "plimsoll_decisions_dropped_total",
        Kind::Counter,
        "Decisions about failures that were not kept, since there were too many in a second.",
    )
    .sample(&[], metrics.decisions.dropped());
    traces(out, &metrics.traces);
    out.metric(
        "plimsoll_event_readers",
        Kind::Gauge,
        "Readers that follow the events now.",
    )
    .sample(&[], control.events().followers());
    out.metric(
        "plimsoll_worker_late_seconds",
        Kind::Gauge,
        "How long what was ready waited for its worker, at least, in the last tenth of a second.",
    );
    for (worker, late) in metrics.telemetry.lateness().enumerate() {
        out.sample(&[("worker", &worker.to_string())], late.as_secs_f64());
    }
    out.metric(
        "plimsoll_access_log_dropped_total",
        Kind::Counter,
        "Lines of the access log that found no room or could not be written.",
    )
    .sample(&[], metrics.access_dropped.load(Relaxed));
    out.metric(
        "plimsoll_admin_connections_refused_total",
        Kind::Counter,
        "Connections to the admin API that were closed because it had too many.",
    )
    .sample(&[], metrics.admin_refused.load(Relaxed));
}
