//! What comes before the configuration is read: from then on signals mean something, and the process that this one takes
//! over from has heard of it.

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::signal::unix::Signal;

use crate::signals::{HangUps, Reopens, Signals, upgrades};
use crate::upgrade::Came;

/// A process at its start.
pub(crate) struct Start {
    /// The control plane's.
    pub(crate) runtime: Runtime,
    pub(crate) signals: Signals,
    pub(crate) hang_ups: HangUps,
    pub(crate) reopens: Reopens,
    /// What has another process take over.
    pub(crate) upgrades: Signal,
    pub(crate) came: Came,
}

impl Start {
    /// Takes the signals over: what comes while the process starts is done once it serves. Then takes in what the process
    /// before hands over: if that one dies from now on, this one has its sockets.
    pub(crate) fn new() -> anyhow::Result<Start> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (signals, hang_ups, reopens, upgrades) = {
            let _within = runtime.enter();
            let taken =
                (|| Ok::<_, std::io::Error>((Signals::new()?, HangUps::new()?, Reopens::new()?, upgrades()?)))();
            taken.context("signals cannot be waited for")?
        };
        Ok(Start {
            runtime,
            signals,
            hang_ups,
            reopens,
            upgrades,
            came: Came::receive()?,
        })
    }
}
