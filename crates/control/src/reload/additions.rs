//! Additions: backends and routes that the admin API makes join what is served, and leave it, one change after the other
//! and never beside a reload.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_core::name::BackendId;
use plimsoll_core::time::Now;

use super::{NotReloaded, Reloader, internal};
use crate::config::{ADDITIONS_BYTES_MAX, ADDITIONS_MAX, Addition, What, join_all, join_fitting};
use crate::events::Kind;
use crate::publish::Control;

/// Between two looks at what is to be removed once it has drained.
const LOOK: Duration = Duration::from_millis(100);

/// How long what is cut at a drain's deadline may take to be gone, until its backend is removed all the same.
const GONE_AFTER: Duration = Duration::from_secs(5);

/// How a change of the additions went.
type Changed = Result<(), NotReloaded>;

/// What is to be done about a backend that drains, to be removed.
enum Due {
    Later,
    Removal,
    /// Somebody has made it ready again.
    Nothing,
}

impl Reloader {
    /// Serves `addition` as well.
    ///
    /// # Errors
    /// Nothing has changed, and why.
    pub(crate) async fn add(self: &Arc<Self>, addition: Addition) -> Changed {
        self.amend(move |this| this.join(addition)).await
    }

    /// Serves the addition `what` no more.
    ///
    /// # Errors
    /// Nothing has changed, and why.
    pub(crate) async fn remove(self: &Arc<Self>, what: What) -> Changed {
        self.amend(move |this| this.part(&what)).await
    }

    /// Removes the backend `what` once it has drained, which somebody has it do.
    pub(crate) async fn remove_drained(self: &Arc<Self>, what: What) -> Changed {
        let change = move |this: &Self| {
            this.control.set_leaving(&what, true);
            Ok(())
        };
        self.amend(change).await?;
        self.leaving.notify_one();
        Ok(())
    }

    /// Makes a change when it is its turn, whether or not its caller waits for that.
    async fn amend(self: &Arc<Self>, change: impl FnOnce(&Self) -> Changed + Send + 'static) -> Changed {
        let this = self.clone();
        let amending = tokio::spawn(async move {
            let _turn = this.turn.lock().await;
            let amending = {
                let this = this.clone();
                tokio::task::spawn_blocking(move || match this.control.is_draining() {
                    true => Err(NotReloaded::Draining),
                    false => change(&this),
                })
            };
            amending.await.unwrap_or_else(|error| Err(internal(&error)))
        });
        amending.await.unwrap_or_else(|error| Err(internal(&error)))
    }

    fn join(&self, addition: Addition) -> Changed {
        let mut additions = self.control.additions();
        if let Some(before) = additions.iter().find(|before| before.what == addition.what) {
            return Err(NotReloaded::Conflict(format!("{}{}", before.what, standing(before))));
        }
        if self.is_served(&addition.what) {
            let what = &addition.what;
            return Err(NotReloaded::Conflict(format!("{what} is in the configuration already")));
        }
        additions.push(addition);
        let bytes: usize = additions.iter().map(|addition| addition.text.len()).sum();
        if additions.len() > ADDITIONS_MAX || bytes > ADDITIONS_BYTES_MAX {
            return Err(NotReloaded::Full);
        }
        self.serve(additions, false)
    }

    fn part(&self, what: &What) -> Changed {
        let mut additions = self.control.additions();
        additions.retain(|addition| addition.what != *what);
        let left = match what {
            What::Backend { pool, address } => self.control.pool(pool).and_then(|status| {
                let found = status.backends.into_iter().map(|backend| backend.backend);
                let mut found = found.filter(|backend| backend.address == *address);
                Some((pool, found.next()?.id))
            }),
            What::Route { .. } => None,
        };
        self.serve(additions, true)?;
        if let Some((pool, backend)) = left {
            self.control.forget(pool, backend);
        }
        Ok(())
    }

    /// Whether the configuration has `what` already.
    fn is_served(&self, what: &What) -> bool {
        let plan = self.control.plan();
        match what {
            What::Route { name } => plan.routes.iter().any(|route| route.name == *name),
            What::Backend { pool, address } => {
                let pool = plan.pool_index(pool).map(|at| &plan.pools[at]);
                pool.is_some_and(|pool| pool.backends.iter().any(|backend| backend.address == *address))
            }
        }
    }

    /// Serves the configuration with these additions. After one has left, others may fit again.
    fn serve(&self, mut additions: Vec<Addition>, has_left: bool) -> Changed {
        let served = self.control.plan();
        let (base, is_file) = self.base().clone();
        let secrets = served.secrets.clone();
        let joined = if has_left {
            join_fitting(&base, &mut additions, &secrets)
        } else {
            join_all(&base, &additions, secrets)
        };
        let mut plan = joined.map_err(|refused| NotReloaded::invalid(&refused))?.plan;
        self.started.keep_fixed(&mut plan, &served, is_file);
        self.publish(plan, additions, None)?;
        Ok(())
    }

    /// Removes backends that are to be removed as soon as they have drained. It never ends.
    pub async fn tend(self: Arc<Self>) {
        loop {
            while self.look_at_leaving().await {
                tokio::time::sleep(LOOK).await;
            }
            self.leaving.notified().await;
        }
    }

    /// Whether there is more to wait for.
    async fn look_at_leaving(self: &Arc<Self>) -> bool {
        let mut waits = false;
        // What is handed over stays as it is; who takes over goes on with it.
        let Some(_unchanged) = self.control.still_ours().await else {
            return false;
        };
        if self.control.is_draining() {
            return false;
        }
        for addition in self.control.additions().into_iter().filter(|one| one.leaving) {
            let What::Backend { pool, address } = &addition.what else {
                continue;
            };
            match self.due(pool, *address) {
                Due::Later => waits = true,
                Due::Nothing => {
                    let what = addition.what.clone();
                    let keep = move |this: &Self| {
                        this.control.set_leaving(&what, false);
                        Ok(())
                    };
                    let _ = self.amend(keep).await;
                }
                Due::Removal => match self.remove(addition.what.clone()).await {
                    Ok(()) => {
                        let message = format!("{pool}/{address} has drained, and is removed");
                        tracing::info!(pool, backend = %address, "a backend has drained, and is removed");
                        let details = serde_json::json!({ "pool": pool, "backend": address, "change": "removed" });
                        self.control.events().tell(Kind::Operator, message, details);
                    }
                    Err(why) => {
                        tracing::error!(pool, backend = %address, %why, "a backend cannot be removed");
                        waits = true;
                    }
                },
            }
        }
        waits
    }

    fn due(&self, pool: &str, address: std::net::SocketAddr) -> Due {
        let now = self.control.now();
        let Some(status) = self.control.pool(pool) else {
            return Due::Removal;
        };
        let Some(backend) = status.backends.iter().find(|one| one.backend.address == address) else {
            return Due::Removal;
        };
        let Some(until) = backend.drains_until else {
            return match backend.operator.withdrawn {
                None => Due::Nothing,
                // In maintenance it has no deadline.
                Some(_) => due(backend.backend.load.in_flight(), 0, now, now),
            };
        };
        let sticky = status.sticky.as_ref();
        let sessions = sticky.map_or(0, |sticky| u64::from(sticky.count(&backend.backend, now) > 0));
        due(backend.backend.load.in_flight(), sessions, until, now)
    }

    pub(super) fn base(&self) -> std::sync::MutexGuard<'_, (crate::config::Base, bool)> {
        self.base.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Control {
    /// What was made by the API.
    pub(crate) fn additions(&self) -> Vec<Addition> {
        self.state().additions.clone()
    }

    /// Notes whether the backend of an addition drains, to be removed then.
    pub(crate) fn set_leaving(&self, what: &What, leaving: bool) {
        let mut state = self.state();
        let found = state.additions.iter_mut().find(|addition| addition.what == *what);
        found.into_iter().for_each(|addition| addition.leaving = leaving);
    }

    /// What operators have set of a backend that has left is not kept for it, should it come back.
    pub(crate) fn forget(&self, pool: &str, backend: BackendId) {
        if let Some(living) = self.state().pools.get_mut(pool) {
            living.membership.forget(backend);
        }
    }
}

/// What is due at `now` of a backend with this much work, which drains until `until`.
fn due(in_flight: u32, sessions: u64, until: Now, now: Now) -> Due {
    let is_over = until <= now;
    match (in_flight, sessions) {
        (0, 0) => Due::Removal,
        (0, _) if is_over => Due::Removal,
        _ if until + GONE_AFTER <= now => Due::Removal,
        _ => Due::Later,
    }
}

/// Why another addition like `before` cannot be made.
fn standing(before: &Addition) -> String {
    match &before.set_aside {
        Some(why) => format!(" was made before, and is set aside: {why}; DELETE it first"),
        None if before.leaving => {
            " is being removed: wait until it has drained, or PATCH it with {\"state\": \"ready\"} to keep it".into()
        }
        None => " was made before; DELETE it first to make another one".into(),
    }
}
