//! Clients and tools that we did not write. `./test` installs what is missing; a test that needs one
//! fails without it, because a test that silently does not run proves nothing.

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::plimsoll::Output;

/// How long a tool may take beyond the time that it was asked to work.
const GRACE: Duration = Duration::from_secs(30);

/// `curl` with these arguments, quiet, and 20 seconds at most.
#[track_caller]
pub fn curl(arguments: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*"])
        .args(arguments);
    run(&mut command, GRACE)
}

/// `python3 -c SCRIPT ARGUMENTS…`
#[track_caller]
pub fn python(script: &str, arguments: &[&str], patience: Duration) -> Output {
    run(Command::new("python3").args(["-c", script]).args(arguments), patience)
}

/// A Python that has the packages which the tests import, where `./test` puts it; or else any.
pub fn python_with_packages() -> PathBuf {
    let ours = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools/python/bin/python3"));
    if ours.is_file() { ours } else { PathBuf::from("python3") }
}

/// A Python with a script of `tests/e2e/python/`; modules from PyPI are those that `./test` installs.
pub fn python_script(name: &str) -> Command {
    let mut command = Command::new(python_with_packages());
    command.arg("-u").arg(script("python", name));
    command
}

/// A program that comes with a package of Python's; one that `./test` installs.
pub fn python_program(name: &str) -> Command {
    Command::new(python_with_packages().with_file_name(name))
}

/// Node with a script of `tests/e2e/node/`; modules from npm are those that `./test` installs.
pub fn node_script(name: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(script("node", name));
    command.env(
        "NODE_PATH",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools/node_modules"),
    );
    command
}

fn script(language: &str, name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/e2e", language, name]
        .iter()
        .collect()
}

/// What `wrk` counted.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Replies that came whole.
    pub requests: u64,
    /// Errors of sockets (connect, read, write, timeout).
    pub socket_errors: u64,
    /// Replies whose status was neither 2xx nor 3xx.
    pub bad_statuses: u64,
}

/// `wrk` with one thread and this many connections for this long.
#[track_caller]
pub fn wrk(to: SocketAddr, path: &str, connections: usize, span: Duration) -> Load {
    let mut command = Command::new("wrk");
    command.args([
        "-t1",
        "-c",
        &connections.to_string(),
        "-d",
        &format!("{}s", span.as_secs().max(1)),
    ]);
    command.arg(format!("http://{to}{path}"));
    let output = run(&mut command, span + GRACE);
    let requests = number_before(&output.stdout, " requests in ");
    assert!(requests.is_some(), "wrk said: {output:?}");
    let line = |start: &str| {
        output
            .stdout
            .lines()
            .find_map(|line| line.trim().strip_prefix(start))
            .unwrap_or_default()
    };
    let socket_errors = line("Socket errors:")
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse::<u64>().ok());
    Load {
        requests: requests.unwrap_or_default(),
        socket_errors: socket_errors.sum(),
        bad_statuses: line("Non-2xx or 3xx responses:").trim().parse().unwrap_or_default(),
    }
}

fn number_before(text: &str, marker: &str) -> Option<u64> {
    text.split(marker)
        .next()?
        .split_whitespace()
        .last()?
        .parse()
        .ok()
        .filter(|_| text.contains(marker))
}

/// Sends a signal, by its name without `SIG`, to one process.
pub fn signal(pid: u32, name: &str) {
    // The shell's own kill: the program of that name is missing on small systems.
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()])
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "cannot send SIG{name} to {pid}"
    );
}

/// Whether there is a process with this id that has not ended.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // What follows the name in parentheses is the state; Z has ended and not been waited for.
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

/// Runs a command to its end; panics when it cannot be started, or takes longer than `patience`.
#[track_caller]
pub fn run(command: &mut Command, patience: Duration) -> Output {
    let program = command.get_program().to_string_lossy().into_owned();
    let spawned = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => panic!("cannot start {program}: {error} (./test installs what the tests need)"),
    };
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if started.elapsed() > patience {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{program} took longer than {patience:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |reader: std::thread::JoinHandle<String>| reader.join().expect("a reading thread does not panic");
    Output {
        code: status.code(),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

/// Pipes are read while the command runs, or it would stop when they are full.
fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, Script};

    #[test]
    fn curl_and_wrk_reach_a_backend() {
        let backend = Backend::start(Script::reply(200, "hello"));
        assert_eq!(curl(&[&format!("http://{}/", backend.address())]).stdout, "hello");
        let load = wrk(backend.address(), "/", 2, Duration::from_secs(1));
        assert!(
            load.requests > 10 && load.socket_errors == 0 && load.bad_statuses == 0,
            "{load:?}"
        );
        backend.play(Script::status(500));
        let load = wrk(backend.address(), "/", 2, Duration::from_secs(1));
        assert!(load.bad_statuses > 10, "{load:?}");
    }

    #[test]
    #[should_panic(expected = "sleep took longer")]
    fn a_command_that_does_not_end_is_ended() {
        run(Command::new("sleep").arg("60"), Duration::from_millis(100));
    }
}
