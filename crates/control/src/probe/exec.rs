//! A check by a program: it is told whom to check, and its exit code says how that went.

use std::io;
use std::net::SocketAddr;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::{Probe, ProbeError, Probing, Target, Way};
use crate::config::Program;
use crate::program;

/// Programs that run at once; more wait for their turn.
pub(super) const PROGRAMS_MAX: usize = 16;

static PROGRAMS: Semaphore = Semaphore::const_new(PROGRAMS_MAX);

/// A turn to run a program, once there is one: the time that is waited for it is no fault of the backend's.
pub(super) async fn turn() -> Option<SemaphorePermit<'static>> {
    PROGRAMS.acquire().await.ok()
}

/// Passes when the program exits with 0.
pub(super) struct Exec {
    check: Program,
    pool: String,
    name: String,
}

impl Exec {
    /// Runs the program of `check` for `target`.
    pub(super) fn new(check: &Program, target: &Target) -> Self {
        Exec {
            check: check.clone(),
            pool: target.pool.to_string(),
            name: target.name.to_string(),
        }
    }

    async fn run(&self, to: SocketAddr) -> Result<(), ProbeError> {
        let mut command = program::command(&self.check);
        command
            .env("PLIMSOLL_BACKEND_ADDRESS", to.to_string())
            .env("PLIMSOLL_BACKEND_HOST", to.ip().to_string())
            .env("PLIMSOLL_BACKEND_PORT", to.port().to_string())
            .env("PLIMSOLL_BACKEND_POOL", &self.pool)
            .env("PLIMSOLL_BACKEND_NAME", &self.name);
        let ended = program::run(&mut command).await.map_err(|error| {
            let error_is_ours = plimsoll_net::is_shortage(&error) || error.kind() == io::ErrorKind::WouldBlock;
            let program = self.check.program.display();
            if error_is_ours {
                ProbeError::Shortage(format!("{program}: {error}"))
            } else {
                ProbeError::Unexpected(format!("the program {program} cannot be run: {error}"))
            }
        })?;
        ended.failure().map_or(Ok(()), |why| Err(ProbeError::Unexpected(why)))
    }
}

impl Probe for Exec {
    fn probe(&self, way: Way, _deadline: Instant) -> Probing<'_> {
        Box::pin(self.run(way.to))
    }
}
