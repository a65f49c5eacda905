//! Certificates that are asked for at an authority, and renewed, by ACME (RFC 8555): what is kept of them, who sees to
//! them, and what answers the authority meanwhile. Nothing that is served waits for any of it.

mod account;
mod answers;
mod fault;
mod issue;
mod nonces;
mod order;
mod schedule;
mod storage;
mod stored;
mod tend;
mod transport;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plimsoll_net::tls::{Pair, PairFault};
use tokio::task::JoinHandle;

use crate::config::AcmePlan;
use crate::publish::Control;
use fault::Fault;
use storage::{Storage, Turns};

pub(crate) use account::binding_key;
pub(crate) use answers::Answers;
pub use answers::Handshakes;
pub use issue::AcmeStatus;
pub(crate) use issue::{Issue, Shown};

/// Between two looks whether other certificates are wanted.
const LOOK: Duration = Duration::from_secs(1);

/// A storage whose users take turns.
trait Store: Storage + Turns {}
impl<S: Storage + Turns> Store for S {}

/// All certificates that are asked for. Those that are wanted as before stay as they are.
#[derive(Default)]
pub(crate) struct Acme {
    issues: Mutex<Vec<Arc<Issue>>>,
    answers: Answers,
}

impl Acme {
    /// What answers those who ask for proofs.
    pub(crate) fn answers(&self) -> &Answers {
        &self.answers
    }

    /// From now on these are wanted, and no others.
    pub(crate) fn adopt<'p>(&self, wanted: impl Iterator<Item = &'p AcmePlan>) {
        let mut issues = self.lock();
        let before = std::mem::take(&mut *issues);
        for plan in wanted {
            if issues.iter().any(|issue| issue.plan == *plan) {
                continue;
            }
            let kept = before.iter().find(|issue| issue.plan == *plan).cloned();
            issues.push(kept.unwrap_or_else(|| Arc::new(Issue::new(plan, &self.answers))));
        }
    }

    /// The one that `plan` wants.
    pub(crate) fn issue(&self, plan: &AcmePlan) -> Option<Arc<Issue>> {
        self.lock().iter().find(|issue| issue.plan == *plan).cloned()
    }

    fn issues(&self) -> Vec<Arc<Issue>> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Issue>>> {
        self.issues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees to all certificates that are wanted, each in a task of its own, until it is dropped.
pub(crate) async fn drive(control: Arc<Control>) {
    let mut tasks: HashMap<AcmePlan, Tending> = HashMap::new();
    loop {
        let certificates = control.state().certificates.clone();
        let mut before = std::mem::take(&mut tasks);
        for issue in certificates.acme().issues() {
            let plan = issue.plan.clone();
            // One that was given up and is wanted again begins anew.
            let running = before
                .remove(&plan)
                .filter(|running| Arc::ptr_eq(&running.issue, &issue));
            let task = running.unwrap_or_else(|| Tending {
                task: tokio::spawn(tend::tend(issue.clone())),
                issue,
            });
            tasks.insert(plan, task);
        }
        drop(before);
        tokio::time::sleep(LOOK).await;
    }
}

/// A task that ends with its owner.
struct Tending {
    issue: Arc<Issue>,
    task: JoinHandle<()>,
}

impl Drop for Tending {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A certificate with its key, both in `pem`.
fn pair(pem: &[u8]) -> Result<Pair, String> {
    Pair::read(pem, pem).map_err(|fault| match fault {
        PairFault::Chain(why) | PairFault::Key(why) => why,
    })
}

/// Keeps `bytes`, on a thread that may wait for the disk.
async fn put(store: &Arc<dyn Store>, name: &str, bytes: Vec<u8>) -> Result<(), Fault> {
    let (store, owned) = (store.clone(), name.to_owned());
    let put = tokio::task::spawn_blocking(move || store.put(&owned, &bytes)).await;
    let put = put.map_err(|error| error.to_string());
    let put = put.and_then(|put| put.map_err(|error| error.to_string()));
    put.map_err(|why| Fault::ours(format!("{name} cannot be kept: {why}")))
}
