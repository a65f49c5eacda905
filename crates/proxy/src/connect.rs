//! Connections to backends: made, and secured where the pool wants that.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::time::Duration;

use plimsoll_core::backend::Backend;
use plimsoll_core::name::BackendId;
use plimsoll_core::outcome::Reason;
use plimsoll_core::pool::{BackendProtocol, Pool};
use plimsoll_core::rng::IdState;
use plimsoll_core::time::Now;
use plimsoll_net::Socket;
use plimsoll_net::tls::{Offer, Terms};

use crate::introduction::{self, Introduction};
use crate::worker::Worker;

/// How often a worker says of a backend that there is no TLS with it.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Backends of which it is remembered that this was said; beyond it all are forgotten, and said once more.
const TOLD_MAX: usize = 1_024;

/// A connection that was made.
pub(crate) struct Reached {
    pub(crate) socket: Socket,
    pub(crate) terms: Terms,
    /// Whether HTTP/2 is spoken on it.
    pub(crate) h2: bool,
}

/// Why there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unreached {
    pub(crate) reason: Reason,
    /// What was wrong with TLS, in a word.
    pub(crate) cause: Option<&'static str>,
}

impl From<Reason> for Unreached {
    fn from(reason: Reason) -> Self {
        Unreached { reason, cause: None }
    }
}

/// What a backend of a pool is offered that speaks HTTP.
pub(crate) fn offer(protocol: BackendProtocol) -> Offer {
    match protocol {
        BackendProtocol::H1 => Offer::H1,
        BackendProtocol::H2 => Offer::H2,
        BackendProtocol::Auto => Offer::Either,
    }
}

/// Connects to `backend`, of `pool`, which is told for whom when it wants to know. The caller has a timer.
pub(crate) async fn connect(
    worker: &Worker,
    pool: &Pool,
    (backend, offer): (&Backend, Offer),
    introduction: Option<&Introduction>,
) -> Result<Reached, Unreached> {
    let connect = || introduction::connect(backend.address, pool.settings.send_proxy, introduction);
    let socket = match connect().await {
        Err(error) if plimsoll_net::is_shortage(&error) && worker.make_room() => connect().await,
        connected => connected,
    };
    let socket = socket.map_err(|error| connect_reason(&error))?;
    if pool.settings.tls {
        // Boxed, so that the state of a handshake does not swell every request.
        return Box::pin(secure(worker, pool, backend, socket, offer)).await;
    }
    Ok(Reached {
        socket,
        terms: Terms::PLAIN,
        h2: pool.settings.protocol == BackendProtocol::H2,
    })
}

async fn secure(
    worker: &Worker,
    pool: &Pool,
    backend: &Backend,
    mut socket: Socket,
    offer: Offer,
) -> Result<Reached, Unreached> {
    let to = backend.address;
    let failed = |cause| Unreached {
        reason: Reason::TlsFailed,
        cause: Some(cause),
    };
    let Some(origination) = worker.origination(pool.id) else {
        worker.told.tell(backend.id, worker.now(), || {
            tracing::warn!(pool = &*pool.name, backend = %to, "no TLS with a backend: nothing is there to speak it with");
        });
        return Err(failed("not_set_up"));
    };
    let fault = match socket.originate(&origination, (to, offer), &worker.blocks).await {
        Ok(h2) => {
            return Ok(Reached {
                socket,
                terms: origination.terms(),
                h2,
            });
        }
        Err(fault) => fault,
    };
    let cause = fault.cause();
    worker.told.tell(backend.id, worker.now(), || {
        tracing::warn!(pool = &*pool.name, backend = %to, cause, %fault, "no TLS with a backend");
    });
    Err(failed(cause))
}

/// What a failed connect is called. That we have no descriptor, memory or port left is no failure of the backend, and
/// must not get it ejected.
fn connect_reason(error: &io::Error) -> Reason {
    if plimsoll_net::is_shortage(error) {
        Reason::Overloaded
    } else {
        Reason::ConnectFailed
    }
}

/// What was said of backends of late, so that the log is not filled with one thing.
#[derive(Default)]
pub(crate) struct Told(RefCell<HashMap<BackendId, Now, IdState>>);

impl Told {
    fn tell(&self, backend: BackendId, now: Now, say: impl FnOnce()) {
        let mut told = self.0.borrow_mut();
        if told.get(&backend).is_some_and(|last| now.since(*last) < TELL_EVERY) {
            return;
        }
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(backend, now);
        say();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_said_once_in_a_while() {
        let (told, mut said) = (Told::default(), Vec::new());
        for (backend, at_ms) in [(1, 0), (1, 29_999), (2, 29_999), (1, 30_000), (2, 30_000)] {
            told.tell(BackendId(backend), Now::from_millis(at_ms), || {
                said.push((backend, at_ms));
            });
        }
        assert_eq!(said, [(1, 0), (2, 29_999), (1, 30_000)]);
        for backend in 10..10 + u32::try_from(TOLD_MAX).expect("few") {
            told.tell(BackendId(backend), Now::from_millis(30_001), || {});
        }
        assert!(told.0.borrow().len() <= TOLD_MAX);
    }
}
