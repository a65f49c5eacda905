//! The wiring of the two planes.

use std::sync::Arc;

use anyhow::Context;
use plimsoll_control::config::Plan;
use plimsoll_control::{Control, Suspects, drive};
use plimsoll_core::telemetry::Telemetry;
use plimsoll_proxy::{Clock, Plane, Wiring};
use tokio::signal::unix::{SignalKind, signal};

/// Serves what `plan` says until SIGTERM or SIGINT, and then lets what is under way come to its end.
pub fn serve(plan: &Plan) -> anyhow::Result<()> {
    let clock = Clock::start();
    let seed = seed();
    let workers = plan
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let telemetry = Arc::new(Telemetry::new(workers));
    let control = Control::new(plan, move || clock.now(), seed);
    let (suspects, ring) = Suspects::ring();
    let plane = Plane::start(Wiring {
        snapshot: control.snapshot().clone(),
        telemetry,
        alarms: Arc::new(suspects),
        access: Arc::new(NoLog),
        clock,
        seed,
        workers,
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::spawn(drive(control.clone(), ring));
        stopped().await?;
        tracing::info!("draining");
        control.begin_drain();
        plane.drain(plan.node.drain_timeout);
        tokio::task::spawn_blocking(move || plane.join())
            .await
            .context("a worker could not be waited for")
    })
}

struct NoLog;
impl plimsoll_core::upcall::AccessLog for NoLog {
    fn write(&self, _line: Vec<u8>) {}
}

/// Ready on SIGTERM or SIGINT.
async fn stopped() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Randomness from the process's start: hash tables' seeds, random choices. Nothing secret hangs on it.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
