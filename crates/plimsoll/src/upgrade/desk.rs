//! Where upgrades are asked for, by signal and by call, and done one after the other.

use std::io;
use std::sync::Arc;

use plimsoll_control::Control;
use plimsoll_control::admin::{AdminSockets, UpgradeCall, Upgraded};
use plimsoll_control::events::Kind;
use plimsoll_proxy::Plane;
use serde_json::json;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;

use super::old::{Failed, Successor, hand_over};
use super::{Label, Labelled};
use crate::signals::Signals;
use crate::{signals, systemd};

/// How the time ended in which this process served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to stop.
    Stopped,
    /// Another process has taken over.
    Replaced,
}

/// It.
pub(crate) struct Desk {
    successor: Successor,
    admin: AdminSockets,
    signal: Signal,
    calls: mpsc::Receiver<UpgradeCall>,
}

impl Desk {
    /// Opens it; what `admin` holds is handed over beside the listeners' sockets. It has to be called within a runtime.
    pub(crate) fn open(
        successor: Successor,
        admin: AdminSockets,
        calls: mpsc::Receiver<UpgradeCall>,
    ) -> io::Result<Desk> {
        Ok(Desk {
            successor,
            admin,
            signal: signals::upgrades()?,
            calls,
        })
    }

    /// Serves until told to stop, or until another process does.
    pub(crate) async fn until_ended(mut self, control: &Arc<Control>, plane: &Plane, signals: &mut Signals) -> Ended {
        loop {
            let call = tokio::select! {
                () = signals.stop() => return Ended::Stopped,
                _ = self.signal.recv() => None,
                Some(call) = self.calls.recv() => Some(call),
            };
            let connections = plane.connections();
            let replaced = tokio::select! {
                replaced = self.replace(control, plane) => replaced,
                // The new process finds itself alone, and ends or goes on as far as it has come.
                () = signals.stop() => return Ended::Stopped,
            };
            let told = match &replaced {
                Ok(pid) => Ok(Upgraded { pid: *pid, connections }),
                Err(failed) => Err(failed.to_string()),
            };
            // Whoever asked may have gone away.
            let _ = call.map(|call| call.send(told));
            match replaced {
                Ok(pid) => {
                    plane.replaced();
                    systemd::hand_over(pid);
                    tracing::info!(pid, connections, "another process serves: this one drains");
                    return Ended::Replaced;
                }
                Err(failed) => {
                    tracing::error!("the upgrade has failed, and this process goes on: {failed}");
                    let message = format!("the upgrade has failed: {failed}");
                    control
                        .events()
                        .tell(Kind::Upgrade, message, json!({ "result": "error" }));
                }
            }
        }
    }

    async fn replace(&self, control: &Arc<Control>, plane: &Plane) -> Result<u32, Failed> {
        let sockets = self.sockets(plane)?;
        let (successor, handed) = (self.successor.clone(), control.handed());
        let done = tokio::task::spawn_blocking(move || hand_over(&successor, &sockets, handed)).await;
        done.map_err(io::Error::other)?
    }

    fn sockets(&self, plane: &Plane) -> io::Result<Vec<Labelled>> {
        let listeners = plane.sockets()?.into_iter();
        let mut sockets: Vec<Labelled> = listeners
            .map(|(wanted, socket)| (Label::Listener(wanted), socket))
            .collect();
        let quic = plane.quic_sockets()?.into_iter();
        sockets.extend(quic.map(|(wanted, socket)| (Label::Quic(wanted), socket)));
        for (label, socket) in [(Label::Admin, &self.admin.api), (Label::Metrics, &self.admin.metrics)] {
            if let Some(socket) = socket {
                sockets.push((label, socket.try_clone()?));
            }
        }
        Ok(sockets)
    }
}
