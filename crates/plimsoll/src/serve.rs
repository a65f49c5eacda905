//! The wiring of the two planes.

use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::Context;
use plimsoll_control::admin::{Admin, Api};
use plimsoll_control::config::{ListenerPlan, Loaded, Origins, Plan, ServicePlan};
use plimsoll_control::{Control, Metrics, Reloader, Started, Suspects, access, drive};
use plimsoll_core::decision::Recent;
use plimsoll_core::telemetry::Telemetry;
use plimsoll_core::upcall::AccessLog;
use plimsoll_proxy::{Clock, Plane, Wiring};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use crate::signals::{HangUps, Reopens, Signals};
use crate::stderr::Stderr;

/// Serves what `loaded` says until SIGTERM or SIGINT, and then lets what is under way come to its end.
pub(crate) fn serve(loaded: &Loaded) -> anyhow::Result<()> {
    serve_while(&loaded.plan, loaded.sources.origins(), async |serving| {
        serving.signals.stop().await;
        Ok(())
    })
}

/// What can be reached while the two planes serve.
pub(crate) struct Serving<'s> {
    pub(crate) control: &'s Arc<Control>,
    pub(crate) plane: &'s Plane,
    pub(crate) signals: &'s mut Signals,
}

/// Wires the two planes as `plan` says, which was read from `origins`, and serves while `meanwhile` goes on; then lets what
/// is under way come to its end.
pub(crate) fn serve_while(
    plan: &Plan,
    origins: Origins,
    meanwhile: impl AsyncFnOnce(Serving<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    log_to_stderr(plan.log.level)?;
    let (plan, connections_max) = &within_descriptors(plan);
    let clock = Clock::start();
    let seed = seed();
    let workers_default = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = plan.workers.unwrap_or(workers_default);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // What can be taken by somebody else comes before the first connection is accepted.
    let admin = Admin::bind(&plan.admin)?;
    let dropped = Arc::default();
    let (access, writer) = match access::open(&plan.log.access, Arc::clone(&dropped))? {
        Some((ring, writer)) => (Arc::new(ring) as Arc<dyn AccessLog>, Some(writer)),
        None => (Arc::new(NoLog) as Arc<dyn AccessLog>, None),
    };
    let (mut signals, hang_ups, reopens) = take_signals(&runtime).context("signals cannot be waited for")?;
    let telemetry = Arc::new(Telemetry::new(workers));
    let decisions = Arc::new(Recent::new(workers));
    let control = Control::new(plan, move || clock.now(), seed);
    let (suspects, ring) = Suspects::ring();
    let plane = Plane::start(Wiring {
        snapshot: control.snapshot().clone(),
        terminations: control.terminations(),
        challenges: control.handshakes(),
        proofs: control.proofs(),
        originations: control.originations().clone(),
        telemetry: telemetry.clone(),
        alarms: Arc::new(suspects),
        access,
        decisions: decisions.clone(),
        clock,
        seed,
        workers,
    })?;
    let started = started(plan, origins, (workers, workers_default), *connections_max);
    let reloader = Reloader::new(control.clone(), plane.followers(), started);
    let api = Api {
        control: control.clone(),
        reloader: reloader.clone(),
        metrics: Arc::new(Metrics::new(control.clone(), telemetry, dropped, decisions.clone())),
        decisions,
        workers,
    };
    tell_what_is_served(plan, &plane, &admin, workers);
    serve_admin(admin, api)?;
    let drained = runtime.block_on(async {
        tokio::spawn(drive(control.clone(), ring, plane.cuts()));
        tokio::spawn(reopens.reopen(writer.as_ref().map(access::Writer::reopener)));
        tokio::spawn(hang_ups.reload(reloader.clone()));
        tokio::spawn(reloader.watch());
        let ended = meanwhile(Serving {
            control: &control,
            plane: &plane,
            signals: &mut signals,
        })
        .await;
        drain(&control, plane, &mut signals).await.and(ended)
    });
    // Whoever did not want to wait is not made to.
    runtime.shutdown_background();
    if let Some(writer) = writer {
        writer.finish();
    }
    tracing::info!("stopped");
    drained
}

/// What this process cannot change any more.
fn started(
    plan: &Plan,
    origins: Origins,
    (workers, workers_default): (usize, usize),
    connections_max: Option<u32>,
) -> Started {
    Started {
        origins,
        workers,
        workers_default,
        connections_max,
        admin: plan.admin.clone(),
        log: plan.log.clone(),
    }
}

/// Serves the admin API on a thread of its own: a scrape of ten thousand backends delays neither a request nor a check.
/// The thread ends with the process.
fn serve_admin(admin: Admin, api: Api) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || {
        if let Err(error) = runtime.block_on(admin.serve(api)) {
            tracing::error!(%error, "the admin API cannot be served");
        }
    };
    let thread = std::thread::Builder::new().name("admin".into()).spawn(serve);
    thread.map(drop).context("the admin API's thread cannot be started")
}

fn take_signals(runtime: &tokio::runtime::Runtime) -> std::io::Result<(Signals, HangUps, Reopens)> {
    let _within = runtime.enter();
    Ok((Signals::new()?, HangUps::new()?, Reopens::new()?))
}

/// Lets what is under way come to its end, for the drain's timeout at the most, or until told to stop again.
async fn drain(control: &Control, plane: Plane, signals: &mut Signals) -> anyhow::Result<()> {
    control.begin_drain();
    let timeout = control.plan().node.drain_timeout;
    tracing::info!(at_most = ?timeout, connections = plane.connections(), "draining");
    plane.drain(timeout);
    let joined = tokio::task::spawn_blocking(move || plane.join());
    tokio::select! {
        joined = joined => joined.context("a worker could not be waited for"),
        () = signals.stop() => {
            tracing::warn!("told to stop again: what is under way is cut");
            Ok(())
        }
    }
}

/// Descriptors that are kept for listeners, logs, checks and the admin API.
const DESCRIPTORS_RESERVED: u64 = 256;

/// `[server] max_connections` when it is left out.
const MAX_CONNECTIONS_DEFAULT: u32 = 100_000;

/// Connections that are enough for whoever has not asked for a number.
const ROOMY: u32 = 4_096;

/// The plan with no more connections than the descriptor limit allows, each of which may need another one to a backend;
/// and how many that are.
fn within_descriptors(plan: &Plan) -> (Plan, Option<u32>) {
    let mut plan = plan.clone();
    let mut most = None;
    if let Some(limit) = plimsoll_net::raise_limit() {
        let room = u32::try_from(limit.saturating_sub(DESCRIPTORS_RESERVED) / 2)
            .unwrap_or(u32::MAX)
            .max(1);
        most = Some(room);
        let asked = plan.node.max_connections;
        if asked > room {
            let says = "max_connections is clamped: raise the descriptor limit (ulimit -n, LimitNOFILE=)";
            // The default asks for more than most limits allow, and nobody wrote it: a warning only where it is tight.
            if asked == MAX_CONNECTIONS_DEFAULT && room >= ROOMY {
                tracing::info!(asked, allowed = room, descriptors = limit, "{says}");
            } else {
                tracing::warn!(asked, allowed = room, descriptors = limit, "{says}");
            }
            plan.node.max_connections = room;
        }
    }
    (plan, most)
}

/// What is said goes to standard error; standard output is for results and for the access log.
fn log_to_stderr(level: &str) -> anyhow::Result<()> {
    let level: tracing::level_filters::LevelFilter = level.parse().context("the log level")?;
    // Libraries tell what clients do, as often as those do it: theirs is for debugging alone.
    let theirs = if level >= tracing::level_filters::LevelFilter::DEBUG {
        level
    } else {
        tracing::level_filters::LevelFilter::OFF
    };
    let ours = Targets::new().with_default(theirs).with_target("plimsoll", level);
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_writer(|| Stderr)
        .log_internal_errors(false)
        .finish()
        .with(ours);
    tracing::subscriber::set_global_default(log).context("the log")
}

fn tell_what_is_served(plan: &Plan, plane: &Plane, admin: &Admin, workers: usize) {
    for ListenerPlan {
        name,
        bind,
        service,
        tls,
        http3,
        ..
    } in &plan.listeners
    {
        let protocol = match (service, tls) {
            (ServicePlan::Http(_), None) => "http",
            (ServicePlan::Http(_), Some(_)) if http3.is_some() => "https and HTTP/3",
            (ServicePlan::Http(_), Some(_)) => "https",
            (ServicePlan::Tcp(_), None) => "tcp",
            (ServicePlan::Tcp(_), Some(_)) => "tcp in TLS",
            (ServicePlan::Passthrough(_), _) => "tls",
        };
        for wanted in bind {
            let address = plane.local_address(*wanted).unwrap_or(*wanted);
            tracing::info!(listener = name, %address, protocol, "listening");
        }
    }
    match (admin.address(), admin.socket()) {
        (Some(address), _) => {
            let dashboard = format_args!("http://{address}/");
            tracing::info!(%address, %dashboard, "the admin API is listening");
        }
        (None, Some(path)) => tracing::info!(path = %path.display(), "the admin API is listening on a unix socket"),
        (None, None) => tracing::info!("the admin API is off"),
    }
    if let Some(address) = admin.metrics_address() {
        tracing::info!(%address, "metrics are served");
    }
    let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
    let (routes, pools) = (plan.routes.len(), plan.pools.len());
    tracing::info!(version, pid, workers, routes, pools, "plimsoll serves");
}

struct NoLog;
impl AccessLog for NoLog {
    fn write(&self, _line: Vec<u8>) {}
}

/// Randomness from the process's start: hash tables' seeds, random choices. Nothing secret hangs on it.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
