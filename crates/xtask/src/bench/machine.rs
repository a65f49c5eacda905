//! The machine that the numbers come from, and who runs where on it.

use std::process::Command;

use super::process;

/// Processor and kernel for the report, and the division of cores.
pub(crate) struct Machine {
    cores: usize,
    /// Descriptors that one process may open.
    pub(crate) descriptors: u64,
    model: String,
    kernel: String,
    /// The commit that is measured.
    pub(crate) commit: String,
    /// Seconds since the epoch.
    pub(crate) unix_time: u64,
}

impl Machine {
    /// Reads what it can; what cannot be read is "unknown" in the report.
    pub(crate) fn look() -> Machine {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let open_files = limits.lines().find(|line| line.starts_with("Max open files"));
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            descriptors: open_files
                .and_then(|line| line.split_whitespace().nth(3)?.parse().ok())
                .unwrap_or(1024),
            model: model.map_or("unknown", |(_, name)| name).trim().to_owned(),
            kernel: said("uname", &["-r"]),
            commit: said("git", &["describe", "--always", "--dirty", "--abbrev=12"]),
            unix_time: since_epoch.map_or(0, |span| span.as_secs()),
        }
    }

    /// The cores of a proxy with this many workers; `None` on a machine with one core.
    pub(crate) fn proxy_cores(&self, workers: usize) -> Option<String> {
        match (self.cores, workers) {
            (1, _) => None,
            (_, 1) => Some("0".to_owned()),
            (_, many) => Some(format!("0-{}", many.min(self.cores) - 1)),
        }
    }

    /// The cores of the load generator and the backends: those that the proxy leaves. On two cores,
    /// a proxy with two workers leaves none, and shares them.
    pub(crate) fn other_cores(&self, workers: usize) -> Option<String> {
        match self.cores {
            1 => None,
            cores if workers < cores => Some(format!("{workers}-{}", cores - 1)),
            cores => Some(format!("0-{}", cores - 1)),
        }
    }

    /// Pins this process, which opens connections in some workloads, away from the proxy.
    pub(crate) fn stay_off_the_proxys_core(&self) {
        if let Some(cores) = self.other_cores(1) {
            let _ = said("taskset", &["-a", "-p", "-c", &cores, &std::process::id().to_string()]);
        } else {
            println!("one core only: the proxy shares it with its load, and the numbers show it");
        }
    }

    /// One line for the report.
    pub(crate) fn describe(&self) -> String {
        let date = said(
            "date",
            &["-u", "+%Y-%m-%d %H:%M UTC", "-d", &format!("@{}", self.unix_time)],
        );
        format!(
            "{date}, commit {}, {} cores of {}, Linux {}",
            self.commit, self.cores, self.model, self.kernel
        )
    }
}

/// The first line, of those that are not empty, that a command printed; "unknown" when there is none.
pub(crate) fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let Ok(output) = output else {
        return "unknown".to_owned();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .next()
        .map_or_else(|| "unknown".to_owned(), |line| line.trim().to_owned())
}

/// A port on loopback that nobody uses now, below the range that outgoing connections draw from.
pub(crate) fn free_port() -> Result<u16, crate::Fault> {
    let start = process::seed();
    let candidates = (0..20_000_u32).map(|step| 10_000 + (start.wrapping_add(step) % 20_000));
    candidates
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| "no port is free".to_owned())
}
