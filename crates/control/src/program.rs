//! Programs that are run: each in a process group of its own, which ends with whoever waits for it.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use crate::config::Program;

/// The bytes of each of a program's outputs that are kept. What comes beyond is read and thrown away, so that a program
/// that says much can go on.
const OUTPUT_MAX: usize = 4 << 10;

/// How long a program's last words may take to come after it has ended: what it has started may hold its outputs open.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How a program ended.
pub(crate) struct Ended {
    status: ExitStatus,
    /// What it said on its standard output, or else on its standard error.
    said: Vec<u8>,
}

/// The command that runs `program`. What our own environment holds may be secrets of the configuration's: it gets `PATH`
/// and nothing else.
pub(crate) fn command(program: &Program) -> Command {
    let mut command = Command::new(&program.program);
    command
        .args(&program.arguments)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// Runs it to its end. Given up, it is killed, with all that it has started.
///
/// # Errors
/// It cannot be started, or not be waited for.
pub(crate) async fn run(command: &mut Command) -> io::Result<Ended> {
    let (mut child, mut group) = start(command)?;
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
    Ok(Ended {
        status: ended?,
        said: if said.trim_ascii().is_empty() { complained } else { said },
    })
}

impl Ended {
    /// What went wrong: how it ended, and the first line of what it said.
    pub(crate) fn failure(&self) -> Option<String> {
        if self.status.success() {
            return None;
        }
        let how = match self.status.code() {
            Some(code) => format!("exit code {code}"),
            None => self.status.to_string(),
        };
        let mut lines = self.said.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        Some(match lines.find(|line| !line.is_empty()) {
            Some(line) => format!("{how}: {}", crate::probe::plain(line)),
            None => how,
        })
    }
}

/// Starts the program, in a process group of its own.
fn start(command: &mut Command) -> io::Result<(Child, Group)> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    Ok((child, Group(leader)))
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
