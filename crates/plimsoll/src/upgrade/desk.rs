//! Where upgrades are asked for, by signal and by call, and done one after the other.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use plimsoll_control::admin::{AdminSockets, UpgradeCall, Upgraded};
use plimsoll_control::events::Kind;
use plimsoll_control::{Control, Handing, Shifts};
use plimsoll_proxy::Plane;
use serde_json::json;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;

use super::old::{Estate, Failed, Successor, Takeover, hand_over};
use super::{Label, Labelled};
use crate::signals::Signals;
use crate::{signals, systemd};

/// How the time ended in which this process served.
pub(crate) enum Ended {
    /// It was told to stop.
    Stopped,
    /// Another process has taken over.
    Replaced(Takeover),
}

/// It.
pub(crate) struct Desk {
    successor: Successor,
    admin: AdminSockets,
    signal: Signal,
    calls: mpsc::Receiver<UpgradeCall>,
    shifts: Arc<Shifts>,
}

impl Desk {
    /// It; what `admin` holds is handed over beside the listeners' sockets.
    pub(crate) fn new(
        successor: Successor,
        admin: AdminSockets,
        (signal, calls): (Signal, mpsc::Receiver<UpgradeCall>),
        shifts: Arc<Shifts>,
    ) -> Desk {
        Desk {
            successor,
            admin,
            signal,
            calls,
            shifts,
        }
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
            let mut replaced = self.replace(control, plane, signals).await;
            if let Ok((takeover, _)) = &mut replaced {
                // Before anybody is told that it serves: who drains a backend there at once has to know.
                takeover.say(&control.left(connections));
            }
            let told = match &replaced {
                Ok((takeover, _)) => Ok(Upgraded {
                    pid: takeover.pid,
                    connections,
                }),
                Err(failed) => Err(failed.to_string()),
            };
            // Whoever asked may have gone away.
            let _ = call.map(|call| call.send(told));
            match replaced {
                Ok((takeover, stopped)) => {
                    let pid = takeover.pid;
                    plane.replaced();
                    systemd::hand_over(pid);
                    tracing::info!(pid, connections, "another process serves: this one drains");
                    if stopped {
                        // It was this service that was to stop, and that is the other process by now.
                        signals::stop(pid);
                    }
                    return Ended::Replaced(takeover);
                }
                Err(Failed::Stopped) => return Ended::Stopped,
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

    /// Has another process take over; whether this one was told to stop when it was too late for that.
    async fn replace(
        &self,
        control: &Arc<Control>,
        plane: &Plane,
        signals: &mut Signals,
    ) -> Result<(Takeover, bool), Failed> {
        let sockets = self.sockets(plane)?;
        let (successor, control, shifts) = (self.successor.clone(), control.clone(), self.shifts.clone());
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = stopped.clone();
        let runtime = tokio::runtime::Handle::current();
        let mut handing_over = tokio::task::spawn_blocking(move || {
            // Operators' changes wait from when it is said how everything stands until it is known who serves.
            let held: Cell<Option<Handing>> = Cell::new(None);
            let handed = || {
                let (handed, handing) = runtime.block_on(control.hand_over());
                held.set(Some(handing));
                handed.with(&shifts)
            };
            let estate = Estate {
                sockets: &sockets,
                handed: &handed,
                stopped: &stop,
            };
            let done = hand_over(&successor, &estate);
            if let (Ok(_), Some(handing)) = (&done, held.take()) {
                handing.is_done();
            }
            done
        });
        let done = tokio::select! {
            done = &mut handing_over => done,
            () = signals.stop() => {
                stopped.store(true, Relaxed);
                // It ends at its next look, unless the other may serve by now.
                handing_over.await
            }
        };
        let stopped = stopped.load(Relaxed);
        match done.map_err(io::Error::other)? {
            Ok(takeover) => Ok((takeover, stopped)),
            Err(_) if stopped => Err(Failed::Stopped),
            Err(failed) => Err(failed),
        }
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
