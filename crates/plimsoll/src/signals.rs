//! The signals that a serving process listens to.

use std::sync::Arc;

use plimsoll_control::Reloader;
use plimsoll_control::access::Reopener;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that mean something to us.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes them over; it has to be called within a runtime.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Ready on SIGTERM or SIGINT.
    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// SIGUSR1, which begins the access log anew where its file is called now.
pub(crate) struct Reopens(Signal);

impl Reopens {
    /// Takes it over; it has to be called within a runtime.
    pub(crate) fn new() -> std::io::Result<Self> {
        signal(SignalKind::user_defined1()).map(Reopens)
    }

    /// Has it done whenever it comes.
    pub(crate) async fn reopen(mut self, log: Option<Reopener>) {
        while self.0.recv().await.is_some() {
            match &log {
                Some(log) => log.reopen(),
                None => tracing::warn!("SIGUSR1: there is no access log to be begun anew"),
            }
        }
    }
}

/// Tells another process of ours to stop, with SIGTERM.
pub(crate) fn stop(pid: u32) {
    let process = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let told = process.map(|process| rustix::process::kill_process(process, rustix::process::Signal::TERM));
    if let Some(Err(error)) = told {
        tracing::warn!(pid, %error, "the new process cannot be told to stop");
    }
}

/// SIGUSR2, which has another process take over.
pub(crate) fn upgrades() -> std::io::Result<Signal> {
    signal(SignalKind::user_defined2())
}

/// SIGHUP, which reads the configuration again.
pub(crate) struct HangUps(Signal);

impl HangUps {
    /// Takes it over; it has to be called within a runtime.
    pub(crate) fn new() -> std::io::Result<Self> {
        signal(SignalKind::hangup()).map(HangUps)
    }

    /// Reloads whenever it comes. Those that come while a reload is under way are one, and are answered by the next.
    pub(crate) async fn reload(mut self, reloader: Arc<Reloader>) {
        while self.0.recv().await.is_some() {
            // How it went is told where it is done.
            if let Err(error @ plimsoll_control::NotReloaded::NoFile) = reloader.reload().await {
                tracing::warn!("SIGHUP: {error}");
            }
        }
    }
}
