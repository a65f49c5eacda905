//! The control plane's loop: probes, suspicions from workers, and the passing of time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_core::name::{BackendId, NameId};
use plimsoll_core::upcall::{Alarms, Cuts};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::acme;
use crate::certificates::Certificates;
use crate::files::{self, Files};
use crate::probe::{self, Target};
use crate::publish::Control;

/// Suspicions that may wait for the control plane; what comes beyond is dropped, and the next failure brings another.
const SUSPECTS_MAX: usize = 1024;

/// The longest time between two looks, whatever nobody says.
const LOOK: Duration = Duration::from_secs(1);

/// The workers' end of the ring of suspected backends.
pub struct Suspects(mpsc::Sender<(NameId, BackendId)>);

impl Suspects {
    /// The ring: what workers are handed, and what [`drive`] reads.
    pub fn ring() -> (Self, mpsc::Receiver<(NameId, BackendId)>) {
        let (sender, receiver) = mpsc::channel(SUSPECTS_MAX);
        (Suspects(sender), receiver)
    }
}

impl Alarms for Suspects {
    fn suspect(&self, pool: NameId, backend: BackendId) {
        // A full ring has more to say than can be acted on at once.
        let _ = self.0.try_send((pool, backend));
    }
}

/// The shortest time between two looks: what happens meanwhile is looked at together.
const REST: Duration = Duration::from_millis(5);

/// Runs the control plane until it is dropped. `cuts` ends connections that the workers hold.
pub async fn drive(control: Arc<Control>, suspects: mpsc::Receiver<(NameId, BackendId)>, cuts: Arc<dyn Cuts>) {
    tokio::join!(
        follow(control.clone(), suspects, cuts),
        watch(control.clone()),
        acme::drive(control)
    );
}

/// Looks after the files that are named, and the URLs.
async fn watch(control: Arc<Control>) {
    let files = |control: &Control| control.state().filters.files().clone();
    let certificates = |control: &Control| control.state().certificates.clone();
    tokio::join!(
        again_and_again(&control, files, Files::look),
        again_and_again(&control, files, Files::fetch),
        again_and_again(&control, certificates, Certificates::look),
    );
}

/// Looks once a second. Apart, since a file may be on a disk that sleeps, a hundred thousand lines take their time, and
/// whoever is asked takes its own.
async fn again_and_again<T: Send + Sync + 'static>(control: &Control, find: fn(&Control) -> Arc<T>, look: fn(&T)) {
    loop {
        let files = find(control);
        if let Err(error) = tokio::task::spawn_blocking(move || look(&files)).await {
            tracing::error!(%error, "files could not be looked at");
        }
        control.state().originations.settle();
        control.tell_certificates();
        tokio::time::sleep(files::LOOK).await;
    }
}

/// Follows what happens to backends and what is published.
async fn follow(control: Arc<Control>, mut suspects: mpsc::Receiver<(NameId, BackendId)>, cuts: Arc<dyn Cuts>) {
    let mut probes: HashMap<Target, JoinHandle<()>> = HashMap::new();
    let mut generation = 0;
    loop {
        let newest = control.snapshot().load().generation;
        if newest != generation {
            generation = newest;
            reconcile(&control, &mut probes);
        }
        control.discard_retired();
        let next = [control.tick(), control.cut(&*cuts)].into_iter().flatten().min();
        let wait = next.map_or(LOOK, |at| at.since(control.now()).min(LOOK));
        tokio::select! {
            Some((pool, backend)) = suspects.recv() => control.suspect(pool, backend),
            () = control.changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
        tokio::time::sleep(REST).await;
    }
}

/// One task for each backend that is to be checked, and none for any other.
fn reconcile(control: &Arc<Control>, probes: &mut HashMap<Target, JoinHandle<()>>) {
    let wanted = control.targets();
    let mut before = std::mem::take(probes);
    for target in wanted {
        let running = before.remove(&target);
        let task = running.unwrap_or_else(|| tokio::spawn(probe::watch(control.clone(), target.clone())));
        probes.insert(target, task);
    }
    before.into_values().for_each(|task| task.abort());
}
