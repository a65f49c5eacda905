//! The wiring of the two planes.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Context;
use plimsoll_control::admin::{Admin, AdminSockets, Api, UpgradeCall};
use plimsoll_control::config::{Base, ListenerPlan, Loaded, Plan, ServicePlan};
use plimsoll_control::{Control, Exporter, Metrics, Reloader, Shifts, Started, Suspects, access, drive};
use plimsoll_core::decision::Recent;
use plimsoll_core::telemetry::Telemetry;
use plimsoll_core::trace::Traces;
use plimsoll_core::upcall::AccessLog;
use plimsoll_proxy::{Clock, Plane, Wiring};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};

use crate::bound::{Bound, workers_default};
use crate::signals::{HangUps, Signals};
use crate::start::Start;
use crate::systemd;
use crate::upgrade::{Desk, Ended, Inherited, Successor};

/// Serves what `loaded` says until SIGTERM or SIGINT, and then lets what is under way come to its end.
pub(crate) fn serve(start: Start, loaded: Loaded) -> anyhow::Result<()> {
    let successor = Successor::of_this_process().context("this process's own binary")?;
    serve_while(start, loaded, async |serving| {
        let Serving {
            control,
            plane,
            signals,
            shifts,
            admin,
            upgrades,
        } = serving;
        let desk = Desk::new(successor, admin, upgrades, shifts.clone());
        Ok(desk.until_ended(control, plane, signals).await)
    })
}

/// How often it is looked whether the processes before are gone.
const BEFORE_LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// What can be reached while the two planes serve.
pub(crate) struct Serving<'s> {
    pub(crate) control: &'s Arc<Control>,
    pub(crate) plane: &'s Plane,
    pub(crate) signals: &'s mut Signals,
    shifts: &'s Arc<Shifts>,
    /// Copies of the admin API's sockets.
    admin: AdminSockets,
    /// Upgrades that are asked for by signal, and by the admin API.
    upgrades: (Signal, mpsc::Receiver<UpgradeCall>),
}

impl<'s> Serving<'s> {
    fn new(
        (control, plane): (&'s Arc<Control>, &'s Plane),
        signals: &'s mut Signals,
        (admin, upgrades): (AdminSockets, (Signal, mpsc::Receiver<UpgradeCall>)),
        shifts: &'s Arc<Shifts>,
    ) -> Self {
        Serving {
            control,
            plane,
            signals,
            shifts,
            admin,
            upgrades,
        }
    }
}

/// Wires the two planes as `loaded` says, and serves while `meanwhile` goes on; then lets what
/// is under way come to its end.
pub(crate) fn serve_while(
    start: Start,
    loaded: Loaded,
    meanwhile: impl AsyncFnOnce(Serving<'_>) -> anyhow::Result<Ended>,
) -> anyhow::Result<()> {
    let Start {
        runtime,
        mut signals,
        hang_ups,
        reopens,
        upgrades: asked,
        came,
    } = start;
    let Bound {
        plan,
        base,
        connections_max,
        workers,
        clock,
        seed,
        mut inherited,
        admin,
        control,
        sockets,
    } = Bound::new(loaded, came)?;
    let plan = &plan;
    let dropped = Arc::default();
    let (access, writer) = open_access_log(plan, &dropped)?;
    let kept = Kept::new(workers);
    let (suspects, ring) = Suspects::ring();
    inherited.as_mut().map(Inherited::ready).transpose()?;
    let told = (Arc::new(suspects), access);
    let plane = Plane::start(wiring(&control, &kept, told, (clock, seed), workers), sockets)?;
    tell_what_is_served(plan, &plane, &admin, workers);
    let started = started(plan, &base, workers, connections_max);
    let Managed {
        reloader,
        shifts,
        copies,
        calls,
        admin,
    } = Managed::start((&control, &plane), (admin, started, base), &kept, dropped)?;
    let drained = runtime.block_on(async {
        tokio::spawn(drive(control.clone(), ring, plane.cuts()));
        let exporting = Exporter::new(control.clone(), kept.traces).start();
        tokio::spawn(reopens.reopen(writer.as_ref().map(access::Writer::reopener)));
        tokio::spawn(shifts.clone().watch());
        follow_changes(hang_ups, reloader.clone());
        tokio::spawn(systemd::watch(plane.liveness()));
        announce(inherited, &control, reloader);
        let serving = Serving::new((&control, &plane), &mut signals, (copies, (asked, calls)), &shifts);
        let ended = meanwhile(serving).await;
        let left = leave(ended, admin, (&control, plane, &mut signals)).await;
        exporting.finish().await;
        left
    });
    // Whoever did not want to wait is not made to.
    runtime.shutdown_background();
    writer.into_iter().for_each(access::Writer::finish);
    tracing::info!("stopped");
    drained
}

/// What operators reach.
struct Managed {
    reloader: Arc<Reloader>,
    shifts: Arc<Shifts>,
    /// Copies of the admin API's sockets.
    copies: AdminSockets,
    /// Upgrades that are asked for there.
    calls: mpsc::Receiver<UpgradeCall>,
    admin: AdminThread,
}

impl Managed {
    fn start(
        (control, plane): (&Arc<Control>, &Plane),
        (admin, started, base): (Admin, Started, Base),
        kept: &Kept,
        dropped: Arc<AtomicU64>,
    ) -> anyhow::Result<Self> {
        let workers = started.workers;
        let reloader = Reloader::new(control.clone(), plane.followers(), started, base);
        let records = (kept.decisions.clone(), kept.traces.clone());
        let metrics = Metrics::new(control.clone(), kept.telemetry.clone(), dropped, records);
        let metrics = Arc::new(metrics);
        let shifts = Shifts::new(control.clone(), metrics.clone());
        let (upgrades, calls) = mpsc::channel(1);
        let copies = admin.sockets()?;
        let api = Api {
            control: control.clone(),
            reloader: reloader.clone(),
            metrics,
            shifts: shifts.clone(),
            decisions: kept.decisions.clone(),
            upgrades,
            workers,
        };
        Ok(Managed {
            reloader,
            shifts,
            copies,
            calls,
            admin: AdminThread::start(admin, api)?,
        })
    }
}

/// Tells whom it concerns that this process serves.
fn announce(inherited: Option<Inherited>, control: &Arc<Control>, reloader: Arc<Reloader>) {
    match inherited {
        Some(inherited) => {
            inherited.serving(control.clone());
            tokio::spawn(reloader.catch_up());
        }
        None => systemd::ready(),
    }
}

/// Reloads when somebody says so, or when files change that are watched.
fn follow_changes(hang_ups: HangUps, reloader: Arc<Reloader>) {
    tokio::spawn(hang_ups.reload(reloader.clone()));
    tokio::spawn(reloader.clone().watch());
    tokio::spawn(reloader.tend());
}

/// Where finished requests are written, and whoever writes them down, if anybody does; lines that are lost count as
/// `dropped`.
fn open_access_log(
    plan: &Plan,
    dropped: &Arc<AtomicU64>,
) -> anyhow::Result<(Arc<dyn AccessLog>, Option<access::Writer>)> {
    Ok(match access::open(&plan.log.access, Arc::clone(dropped))? {
        Some((ring, writer)) => (Arc::new(ring), Some(writer)),
        None => (Arc::new(NoLog), None),
    })
}

/// What workers keep of what they do, until somebody takes it.
struct Kept {
    telemetry: Arc<Telemetry>,
    decisions: Arc<Recent>,
    traces: Arc<Traces>,
}

impl Kept {
    fn new(workers: usize) -> Self {
        Kept {
            telemetry: Arc::new(Telemetry::new(workers)),
            decisions: Arc::new(Recent::new(workers)),
            traces: Arc::new(Traces::new(workers)),
        }
    }
}

/// What workers are given.
fn wiring(
    control: &Arc<Control>,
    kept: &Kept,
    (suspects, access): (Arc<Suspects>, Arc<dyn AccessLog>),
    (clock, seed): (Clock, u64),
    workers: usize,
) -> Wiring {
    Wiring {
        snapshot: control.snapshot().clone(),
        terminations: control.terminations(),
        challenges: control.handshakes(),
        proofs: control.proofs(),
        originations: control.originations().clone(),
        telemetry: kept.telemetry.clone(),
        alarms: suspects,
        access,
        decisions: kept.decisions.clone(),
        traces: kept.traces.clone(),
        clock,
        seed,
        workers,
    }
}

/// Ends what served, once it is drained; calls are another process's by then, where one has taken over.
async fn leave(
    ended: anyhow::Result<Ended>,
    admin: AdminThread,
    (control, plane, signals): (&Arc<Control>, Plane, &mut Signals),
) -> anyhow::Result<()> {
    let takeover = match ended {
        Ok(Ended::Replaced(takeover)) => takeover,
        other => {
            systemd::stopping();
            return drain(control, plane, signals).await.and(other.map(drop));
        }
    };
    admin.retire();
    let (connections, known) = (plane.count(), control.clone());
    tokio::spawn(takeover.go_on_saying(move || known.left(connections())));
    let drained = drain(control, plane, signals).await;
    // What those before have left is told by us alone.
    let gone = async {
        while control.before().is_some() {
            tokio::time::sleep(BEFORE_LOOK).await;
        }
    };
    tokio::select! {
        () = gone => {}
        () = tokio::time::sleep(control.plan().node.drain_timeout) => {}
        () = signals.stop() => {}
    }
    // Whoever asked for the upgrade gets its answer.
    admin.join();
    drained
}

/// What this process cannot change any more.
fn started(plan: &Plan, base: &Base, workers: usize, connections_max: Option<u32>) -> Started {
    Started {
        origins: base.origins(),
        workers,
        workers_default: workers_default(),
        connections_max,
        user: plan.user.clone(),
        admin: plan.admin.clone(),
        log: plan.log.clone(),
    }
}

/// The admin API's thread: a scrape of ten thousand backends delays neither a request nor a check. It ends with the
/// process, or when another one has taken over.
struct AdminThread {
    thread: std::thread::JoinHandle<()>,
    retired: watch::Sender<bool>,
}

impl AdminThread {
    fn start(admin: Admin, api: Api) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (retired, retires) = watch::channel(false);
        let serve = move || {
            if let Err(error) = runtime.block_on(admin.serve(api, retires)) {
                tracing::error!(%error, "the admin API cannot be served");
            }
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("admin".into()).spawn(serve);
        let thread = thread.context("the admin API's thread cannot be started")?;
        Ok(AdminThread { thread, retired })
    }

    /// Leaves calls to the process that has taken over.
    fn retire(&self) {
        let _ = self.retired.send(true);
    }

    /// Waits until those that were under way have their answers.
    fn join(self) {
        // One that panicked has said so in the log.
        let _ = self.thread.join();
    }
}

/// Lets what is under way come to its end, for the drain's timeout at the most, or until told to stop again.
async fn drain(control: &Control, plane: Plane, signals: &mut Signals) -> anyhow::Result<()> {
    control.begin_drain();
    let plan = control.plan();
    let (delay, timeout) = (plan.drain_delay, plan.node.drain_timeout);
    if !delay.is_zero() {
        tracing::info!(?delay, "readyz says that this node drains");
        plane.announce_drain();
        // Whoever says it again does not want to wait.
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = signals.stop() => {}
        }
    }
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
