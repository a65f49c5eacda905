//! A check by a program: it is told whom to check, and its exit code says how that went.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::{Probe, ProbeError, Probing, Target, Way};
use crate::config::ExecCheck;

/// Programs that run at once; more wait for their turn.
pub(super) const PROGRAMS_MAX: usize = 16;

/// The bytes of each of a program's outputs that are kept. What comes beyond is read and thrown away, so that a program
/// that says much can go on.
const OUTPUT_MAX: usize = 4 << 10;

/// How long a program's last words may take to come after it has ended: what it has started may hold its outputs open.
const LAST_WORDS: Duration = Duration::from_millis(100);

static PROGRAMS: Semaphore = Semaphore::const_new(PROGRAMS_MAX);

/// A turn to run a program, once there is one: the time that is waited for it is no fault of the backend's.
pub(super) async fn turn() -> Option<SemaphorePermit<'static>> {
    PROGRAMS.acquire().await.ok()
}

/// Passes when the program exits with 0.
pub(super) struct Exec {
    check: ExecCheck,
    pool: String,
    name: String,
}

impl Exec {
    /// Runs the program of `check` for `target`.
    pub(super) fn new(check: &ExecCheck, target: &Target) -> Self {
        Exec {
            check: check.clone(),
            pool: target.pool.to_string(),
            name: target.name.to_string(),
        }
    }

    async fn run(&self, to: SocketAddr) -> Result<(), ProbeError> {
        let (mut child, mut group) = self.start(to).map_err(|error| {
            let error_is_ours = plimsoll_net::is_shortage(&error) || error.kind() == io::ErrorKind::WouldBlock;
            let program = self.check.program.display();
            if error_is_ours {
                ProbeError::Shortage(format!("{program}: {error}"))
            } else {
                ProbeError::Unexpected(format!("the program {program} cannot be run: {error}"))
            }
        })?;
        let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        let outputs = async { tokio::join!(keep(&mut out, &mut said), keep(&mut err, &mut complained)) };
        let ended = {
            tokio::pin!(outputs);
            tokio::select! {
                ended = child.wait() => {
                    group.0 = None;
                    // Whatever still holds the outputs open is not waited for.
                    let _ = tokio::time::timeout(LAST_WORDS, outputs).await;
                    ended
                }
                _ = &mut outputs => child.wait().await.inspect(|_| group.0 = None),
            }
        };
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                let text = if said.trim_ascii().is_empty() { complained } else { said };
                Err(ProbeError::Unexpected(told(status, &text)))
            }
            Err(error) => Err(ProbeError::Shortage(error.to_string())),
        }
    }

    /// Starts the program, in a process group of its own.
    fn start(&self, to: SocketAddr) -> io::Result<(Child, Group)> {
        let child = Command::new(&self.check.program)
            .args(&self.check.arguments)
            // What our own environment holds may be secrets of the configuration's.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("PLIMSOLL_BACKEND_ADDRESS", to.to_string())
            .env("PLIMSOLL_BACKEND_HOST", to.ip().to_string())
            .env("PLIMSOLL_BACKEND_PORT", to.port().to_string())
            .env("PLIMSOLL_BACKEND_POOL", &self.pool)
            .env("PLIMSOLL_BACKEND_NAME", &self.name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok((child, Group(leader)))
    }
}

impl Probe for Exec {
    fn probe(&self, way: Way, _deadline: Instant) -> Probing<'_> {
        Box::pin(self.run(way.to))
    }
}

/// The process group of a program that has not ended yet: killed when it is given up. As long as its leader was not
/// waited for, its number is nobody else's.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // One that has just ended needs no more.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Reads an output to its end, and keeps the first bytes.
async fn keep(output: &mut Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(output) = output else { return };
    let mut piece = [0; 1024];
    while let Ok(count @ 1..) = output.read(&mut piece).await {
        let room = OUTPUT_MAX - into.len();
        into.extend_from_slice(&piece[..count.min(room)]);
    }
}

/// The first line of what it said, and how it ended.
fn told(status: ExitStatus, output: &[u8]) -> String {
    let how = match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    };
    let mut lines = output.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    match lines.find(|line| !line.is_empty()) {
        Some(line) => format!("{how}: {}", super::plain(line)),
        None => how,
    }
}

/// Why a program cannot be run, as far as can be seen from here.
pub(crate) fn cannot_run(program: &Path) -> Option<&'static str> {
    let judge = |path: &Path| match std::fs::metadata(path) {
        Err(_) => Some("is not there"),
        Ok(found) if !found.is_file() => Some("is no file"),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => Some("is not executable"),
        Ok(_) => None,
    };
    if program.components().count() > 1 || program.is_absolute() {
        return judge(program);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| judge(&directory.join(program)).is_none());
    (!found).then_some("is in no directory of PATH")
}
