//! A process that the benchmark started: pinned, watched, and ended by its id.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::Fault;

/// How long a process has to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// A running process, ended with its children when dropped.
pub(crate) struct Running {
    child: Child,
    log: std::path::PathBuf,
}

/// Processor time, in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    pub(crate) user_us: f64,
    pub(crate) system_us: f64,
}

/// A program with its arguments.
pub(crate) struct Launch {
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
}

impl Launch {
    /// A program with its arguments.
    pub(crate) fn new<const N: usize>(program: &str, arguments: [&str; N]) -> Launch {
        Launch {
            program: program.to_owned(),
            arguments: arguments.map(str::to_owned).to_vec(),
        }
    }

    /// The command, pinned to these cores; `taskset` replaces itself, so the id stays the program's.
    pub(crate) fn command(&self, cores: Option<&str>) -> Command {
        let mut command = match cores {
            Some(cores) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cores]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command.args(&self.arguments).stdin(Stdio::null());
        command
    }
}

impl Running {
    /// Starts it with its output in a log in `scratch`.
    pub(crate) fn start(launch: &Launch, cores: Option<&str>, scratch: &Path) -> Result<Running, Fault> {
        let log = scratch.join(format!("process-{}.log", seed()));
        let file = File::create(&log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let copy = file.try_clone().map_err(|error| error.to_string())?;
        let child = launch.command(cores).stdout(file).stderr(copy).spawn();
        let child = child.map_err(|error| format!("cannot start {}: {error}", launch.program))?;
        Ok(Running { child, log })
    }

    /// Waits until `ready`; fails when the process ends before, or at the deadline.
    pub(crate) fn wait_until(&mut self, patience: Duration, mut ready: impl FnMut() -> bool) -> Result<(), Fault> {
        let deadline = Instant::now() + patience;
        loop {
            if ready() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("ended with {status}: {}", self.last_words()));
            }
            if Instant::now() > deadline {
                return Err(format!("did not serve within {patience:?}: {}", self.last_words()));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Processor time of the process, its threads and its children so far.
    pub(crate) fn cpu(&self) -> Cpu {
        let tick_us = 1e6 / ticks_per_second();
        let mut total = Cpu {
            user_us: 0.0,
            system_us: 0.0,
        };
        for pid in self.family() {
            let Some(fields) = stat(pid) else { continue };
            let ticks = |index: usize| {
                fields
                    .get(index)
                    .and_then(|field| field.parse::<f64>().ok())
                    .unwrap_or(0.0)
            };
            total.user_us += ticks(UTIME) * tick_us;
            total.system_us += ticks(STIME) * tick_us;
        }
        total
    }

    /// Resident memory of the process and its children, in bytes.
    pub(crate) fn resident_bytes(&self) -> f64 {
        self.family().into_iter().filter_map(resident_bytes).sum()
    }

    /// The process and everything that descends from it.
    fn family(&self) -> Vec<u32> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let parent = stat(pid).and_then(|fields| fields.get(PPID)?.parse().ok());
            children.entry(parent.unwrap_or(0)).or_default().push(pid);
        }
        let mut family = vec![self.child.id()];
        let mut next = 0;
        while let Some(pid) = family.get(next) {
            let born = children.get(pid).cloned().unwrap_or_default();
            family.extend(born);
            next += 1;
        }
        family
    }

    fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let family = self.family();
        signal("TERM", &family[..1]);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        signal("KILL", &family);
        let _ = self.child.wait();
    }
}

/// Fields of `/proc/PID/stat`, counted from the state that follows the name (proc(5)).
const PPID: usize = 1;
const UTIME: usize = 11;
const STIME: usize = 12;

fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold spaces and parentheses itself.
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn resident_bytes(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .split_whitespace()
        .next()?;
    kib.parse::<f64>().ok().map(|kib| kib * 1024.0)
}

fn ticks_per_second() -> f64 {
    static TICKS: OnceLock<f64> = OnceLock::new();
    *TICKS.get_or_init(|| super::machine::said("getconf", &["CLK_TCK"]).parse().unwrap_or(100.0))
}

fn signal(name: &str, pids: &[u32]) {
    let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
    let script = format!("kill -s {name} {} 2>/dev/null", pids.join(" "));
    let _ = Command::new("sh").args(["-c", &script]).status();
}

/// A number that differs from call to call and from process to process.
pub(crate) fn seed() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    std::process::id()
        .wrapping_mul(7919)
        .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed))
}
