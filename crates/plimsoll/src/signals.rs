//! The signals that a serving process listens to.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that mean something to us.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Those whose meaning is not built yet: their default would be our death.
    hang_up: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl Signals {
    /// Takes them over; it has to be called within a runtime.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Ready on SIGTERM or SIGINT.
    pub(crate) async fn stop(&mut self) {
        loop {
            let not_built = tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => "SIGHUP: reload is not built yet",
                _ = self.user_1.recv() => "SIGUSR1: reopening the access log is not built yet",
                _ = self.user_2.recv() => "SIGUSR2: upgrading the binary is not built yet",
            };
            tracing::warn!("{not_built}; nothing changed");
        }
    }
}
