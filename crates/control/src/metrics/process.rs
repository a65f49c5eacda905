//! What the kernel says of this process, from `/proc`.

use std::time::{SystemTime, UNIX_EPOCH};

use super::exposition::{Exposition, Kind};

/// Parts of a second in which `/proc/self/stat` counts: the kernel shows 100 to every program, whatever its own tick
/// (`USER_HZ`, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Writes `process_*`, under the names that Prometheus' own client libraries use. What cannot be read is left out.
pub(super) fn write(out: &mut Exposition, started: SystemTime) {
    let started = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    out.metric(
        "process_start_time_seconds",
        Kind::Gauge,
        "When the process started, in seconds since 1970.",
    )
    .sample(&[], started.as_secs_f64());
    if let Some(cpu) = cpu_seconds() {
        out.metric(
            "process_cpu_seconds_total",
            Kind::Counter,
            "User and system time spent, in seconds.",
        )
        .sample(&[], cpu);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (field, name, unit, help) in [
        (
            "VmRSS",
            "process_resident_memory_bytes",
            1024,
            "Memory in use, in bytes.",
        ),
        (
            "VmSize",
            "process_virtual_memory_bytes",
            1024,
            "Address space in use, in bytes.",
        ),
        ("Threads", "process_threads", 1, "Threads."),
    ] {
        if let Some(value) = status_field(&status, field) {
            out.metric(name, Kind::Gauge, help).sample(&[], value * unit);
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // The directory that is being read is one of them.
        let open = open.count().saturating_sub(1);
        out.metric("process_open_fds", Kind::Gauge, "Open file descriptors.")
            .sample(&[], open);
    }
    if let Some(most) = most_descriptors() {
        out.metric(
            "process_max_fds",
            Kind::Gauge,
            "File descriptors that may be open at once.",
        )
        .sample(&[], most);
    }
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// The number in a line like `VmRSS:     1234 kB`.
fn status_field(status: &str, name: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

fn most_descriptors() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::exposition::Format;
    use super::*;

    #[test]
    fn the_process_tells_of_itself() {
        let mut out = Exposition::new(Format::Prometheus);
        write(&mut out, SystemTime::now());
        let text = out.finish();
        for name in [
            "process_start_time_seconds",
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_threads",
            "process_open_fds",
            "process_max_fds",
        ] {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value: f64 = value.and_then(|value| value.parse().ok()).expect(name);
            assert!(value >= 0.0, "{name} {value}");
        }
    }
}
