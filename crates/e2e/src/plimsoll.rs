//! A running `plimsoll` process, to its end.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::binary::plimsoll_binary;
use crate::client::Wire;
use crate::message::Reply;
use crate::metrics::Metrics;
use crate::scratch::Scratch;
use crate::setup::Setup;
use crate::wait::{eventually, eventually_within};
use crate::{PATIENCE, tools};

pub(crate) const CONFIG: &str = "plimsoll.toml";
pub(crate) const STDOUT: &str = "stdout.log";
pub(crate) const STDERR: &str = "stderr.log";

/// What a copy of the binary is called that lies beside the configuration.
pub(crate) const BINARY: &str = "plimsoll";

/// A process that serves. Dropping it kills it; a test that panicked prints its log first.
pub struct Plimsoll {
    child: Child,
    setup: Setup,
    ended: Option<ExitStatus>,
    /// Processes that have taken over, by their ids: they are nobody's children once the first one has ended.
    successors: Vec<u32>,
}

/// What a command that ends by itself said.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Plimsoll {
    pub(crate) fn new(child: Child, setup: Setup) -> Plimsoll {
        Plimsoll {
            child,
            setup,
            ended: None,
            successors: Vec::new(),
        }
    }

    /// `plimsoll run -c FILE` with this configuration.
    pub fn config(text: &str) -> Setup {
        Setup::new(Some(text.to_owned()), &["run"])
    }

    /// `plimsoll ARGUMENTS…`, for the other commands that serve (`proxy`, `demo`).
    pub fn command(arguments: &[&str]) -> Setup {
        Setup::new(None, arguments)
    }

    /// The address that `@name@` stands for.
    #[track_caller]
    pub fn address(&self, name: &str) -> SocketAddr {
        match self.setup.addresses.get(name) {
            Some(address) => *address,
            None => panic!("the configuration has no @{name}@"),
        }
    }

    /// A new connection to `@name@`.
    #[track_caller]
    pub fn connect(&self, name: &str) -> Wire {
        Wire::connect(self.address(name))
    }

    /// One GET to `@name@` on a connection of its own.
    #[track_caller]
    pub fn get(&self, name: &str, path: &str) -> Reply {
        self.connect(name).get(path)
    }

    /// Sends these bytes to `@name@` on a connection of its own and reads one reply.
    #[track_caller]
    pub fn exchange(&self, name: &str, bytes: impl AsRef<[u8]>) -> Reply {
        let mut wire = self.connect(name);
        wire.send(bytes);
        wire.reply()
    }

    /// One GET to the admin API.
    #[track_caller]
    pub fn admin(&self, path: &str) -> Reply {
        let address = self.address("admin");
        self.exchange(
            "admin",
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"),
        )
    }

    /// One request with a JSON body to the admin API.
    #[track_caller]
    pub fn admin_send(&self, method: &str, path: &str, body: &str) -> Reply {
        let address = self.address("admin");
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        let fields = format!("content-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        self.exchange("admin", head + &fields + body)
    }

    /// One scrape.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let reply = self.admin("/metrics");
        assert_eq!(reply.status, 200, "{reply:#?}");
        Metrics::new(reply.text())
    }

    /// Waits until the backend with this name or address in this pool is in this state.
    #[track_caller]
    pub fn wait_for_state(&self, pool: &str, backend: &str, state: &str) {
        eventually(&format!("{pool}/{backend} is {state}"), || {
            let pool = self.admin(&format!("/api/v1/pools/{pool}")).json();
            let backends = pool["backends"].as_array()?;
            let found = backends
                .iter()
                .find(|entry| entry["name"] == backend || entry["address"] == backend)?;
            (found["state"] == state).then_some(())
        });
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.setup.scratch.read(STDERR)
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.setup.scratch.read(STDOUT)
    }

    /// The directory that holds the configuration and that the process runs in.
    pub fn scratch(&self) -> &Scratch {
        &self.setup.scratch
    }

    /// Where the configuration is.
    pub fn config_file(&self) -> PathBuf {
        self.setup.scratch.path().join(CONFIG)
    }

    /// Replaces the configuration's text; names stand for the same addresses as before. Nothing
    /// reads it until it is told to.
    pub fn rewrite_config(&mut self, text: &str) {
        self.setup.write_config(text);
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name without `SIG`: `TERM`, `HUP`, `USR2`.
    pub fn signal(&self, name: &str) {
        tools::signal(self.pid(), name);
    }

    /// The process that serves now, as it says itself: another one after an upgrade.
    #[track_caller]
    pub fn serving_pid(&self) -> u32 {
        let status = self.admin("/api/v1/status").json();
        let pid = status["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        pid.unwrap_or_else(|| panic!("no pid: {status}"))
    }

    /// Has the process that serves handed over to another (SIGUSR2), and returns that one's id once it serves.
    #[track_caller]
    pub fn upgrade(&mut self) -> u32 {
        let before = self.serving_pid();
        tools::signal(before, "USR2");
        self.wait_for_successor(before)
    }

    /// Waits until another process than `before` serves.
    #[track_caller]
    pub fn wait_for_successor(&mut self, before: u32) -> u32 {
        let after = eventually("another process serves", || {
            // The first one's last answers may be cut, as its connection is.
            let mut wire = Wire::try_connect(self.address("admin")).ok()?;
            let host = self.address("admin");
            let head = format!("GET /api/v1/status HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            wire.try_send(head).ok()?;
            let status = wire.try_reply_to("GET").ok()?.json();
            let pid = u32::try_from(status["pid"].as_u64()?).ok()?;
            (pid != before).then_some(pid)
        });
        self.successors.push(after);
        after
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn wait_for_exit(&mut self, patience: Duration) -> ExitStatus {
        eventually_within(patience, "plimsoll ends", || self.try_exit())
    }

    /// SIGTERM, and the wait for its end.
    #[track_caller]
    pub fn terminate(&mut self, patience: Duration) -> ExitStatus {
        self.signal("TERM");
        self.wait_for_exit(patience)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        for pid in self.successors.drain(..).filter(|pid| tools::is_alive(*pid)) {
            tools::signal(pid, "KILL");
        }
        if self.try_exit().is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }

    fn try_exit(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
        }
        self.ended
    }

    /// Ready is what `/readyz` says; a command without a known admin address is ready when all
    /// addresses that were claimed for it accept.
    #[track_caller]
    pub fn wait_until_ready(&mut self) {
        let started = Instant::now();
        loop {
            if let Some(status) = self.try_exit() {
                panic!("plimsoll ended with {status} before it was ready");
            }
            if self.is_ready() {
                return;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "plimsoll was not ready within {PATIENCE:?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_ready(&self) -> bool {
        match self.setup.addresses.get("admin") {
            Some(admin) => Wire::try_connect(*admin).is_ok_and(|mut wire| {
                let asked = wire.try_send(format!(
                    "GET /readyz HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n"
                ));
                asked
                    .and_then(|()| wire.try_reply_to("GET"))
                    .is_ok_and(|reply| reply.status == 200)
            }),
            None => self
                .setup
                .ports
                .iter()
                .all(|port| TcpStream::connect(port.address()).is_ok()),
        }
    }
}

impl Drop for Plimsoll {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- plimsoll's stdout ----\n{}", self.stdout());
            eprintln!("---- plimsoll's stderr ----\n{}\n----", self.stderr());
        }
    }
}

/// Runs `plimsoll ARGUMENTS…` to its end, in `scratch`; panics when it takes longer than [`PATIENCE`].
#[track_caller]
pub fn run_command(scratch: &Scratch, arguments: &[&str]) -> Output {
    let mut command = Command::new(plimsoll_binary());
    command.args(arguments).current_dir(scratch.path());
    tools::run(&mut command, PATIENCE)
}
