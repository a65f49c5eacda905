//! Plimsoll in front of one backend: the configuration that most modules begin with, and what they all look at.

use std::net::SocketAddr;

use e2e::{Plimsoll, Setup, eventually};

/// One listener `web`, one route `all`, one pool `api` with the backend `one`; each table may be added to.
#[derive(Default)]
pub(crate) struct Front {
    server: String,
    log: String,
    listener: String,
    route: String,
    pool: String,
    tables: String,
}

/// A front without additions: no health check, and a failure is not tried again.
pub(crate) fn front() -> Front {
    Front {
        route: "retry = { attempts = 0 }".into(),
        ..Front::default()
    }
}

impl Front {
    /// Adds lines to `[server]`.
    pub(crate) fn server(mut self, lines: &str) -> Front {
        self.server = lines.into();
        self
    }

    /// Adds lines to `[log]`.
    pub(crate) fn log(mut self, lines: &str) -> Front {
        self.log = lines.into();
        self
    }

    /// Adds lines to `[listeners.web]`.
    pub(crate) fn listener(mut self, lines: &str) -> Front {
        self.listener = lines.into();
        self
    }

    /// Replaces what the route says beside its name and pool.
    pub(crate) fn route(mut self, lines: &str) -> Front {
        self.route = lines.into();
        self
    }

    /// Adds lines to `[pools.api]`.
    pub(crate) fn pool(mut self, lines: &str) -> Front {
        self.pool = lines.into();
        self
    }

    /// Adds whole tables.
    pub(crate) fn tables(mut self, lines: &str) -> Front {
        self.tables = lines.into();
        self
    }

    /// Starts it before the backend at this address.
    #[track_caller]
    pub(crate) fn before(self, backend: SocketAddr) -> Plimsoll {
        self.setup(backend).start()
    }

    /// How it is to be started before the backend at this address.
    pub(crate) fn setup(self, backend: SocketAddr) -> Setup {
        let Front {
            server,
            log,
            listener,
            route,
            pool,
            tables,
        } = self;
        let text = format!(
            r#"
            [server]
            {server}
            [log]
            {log}
            [listeners.web]
            bind = ["@web@"]
            protocol = "http"
            {listener}
            [[routes]]
            name = "all"
            pool = "api"
            {route}
            [pools.api]
            backends = [{{ name = "one", address = "@one@" }}]
            health = false
            {pool}
            {tables}
            "#
        );
        Plimsoll::config(&text).address("one", backend)
    }
}

/// Waits until this many failures of this reason are counted, and panics when there are more.
#[track_caller]
pub(crate) fn wait_for_failures(plimsoll: &Plimsoll, reason: &str, count: usize) {
    let counted = eventually(&format!("{count} failures with reason {reason}"), || {
        let counted = plimsoll.metrics().sum("plimsoll_failures_total", &[("reason", reason)]);
        (counted >= count as f64).then_some(counted)
    });
    assert_eq!(counted, count as f64, "failures with reason {reason}");
}

/// What the admin API says of the backend `one` of the pool `api`.
#[track_caller]
pub(crate) fn one(plimsoll: &Plimsoll) -> serde_json::Value {
    plimsoll.admin("/api/v1/pools/api").json()["backends"][0].clone()
}

/// A figure of `/proc/PID/status`, in KiB: `VmRSS` is the memory that is used now, `VmHWM` the most that ever was.
#[track_caller]
pub(crate) fn memory_kib(plimsoll: &Plimsoll, figure: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", plimsoll.pid())).expect("a process has a status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    number.unwrap_or_else(|| panic!("no {figure} in {status}"))
}
