//! `plimsoll status`: how a running process and its pools stand.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Failure, Target};
use super::text;

/// Show how a running process and its pools stand.
#[derive(Args)]
pub(crate) struct Status {
    #[command(flatten)]
    target: Target,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Exit code 0; 1 or 2 when the token file or the address is none; 3 when the process cannot be reached or refuses.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        super::answer(self.ask())
    }

    fn ask(&self) -> Result<String, Failure> {
        let client = self.target.client()?;
        let (status, pools) = (client.get("/api/v1/status")?, client.get("/api/v1/pools")?);
        Ok(if self.json {
            format!("{:#}\n", json!({ "status": status, "pools": pools }))
        } else {
            page(&status, &pools)
        })
    }
}

/// What a person reads.
fn page(status: &Value, pools: &Value) -> String {
    let mut page = summary(status);
    for pool in list(pools) {
        page.push('\n');
        let panic = if pool["panicking"] == true {
            "; too few are healthy, so health is ignored"
        } else {
            ""
        };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "pool {} ({}{panic})", text(&pool["name"]), text(&pool["policy"]));
        page.push_str(&tls(&pool["tls"]));
        page.push_str(&table(list(&pool["backends"])));
    }
    page
}

/// What is not as it should be about TLS with a pool's backends.
fn tls(tls: &Value) -> String {
    let mut lines = String::new();
    if tls["danger_accept_invalid_certs"] == true {
        lines.push_str("  DANGER: whoever answers for a backend is believed (danger_accept_invalid_certs)\n");
    }
    if !tls["error"].is_null() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            lines,
            "  TLS with backends cannot be set up anew: {}",
            text(&tls["error"])
        );
    }
    lines
}

fn summary(status: &Value) -> String {
    let stands = match (status["draining"] == true, status["ready"] == true) {
        (true, _) => "draining",
        (false, true) => "ready",
        (false, false) => "waiting for the first health checks",
    };
    let uptime = span(status["uptime_s"].as_u64().unwrap_or_default());
    let mut summary = format!(
        "plimsoll {}, {stands}: generation {}, up {uptime}, {} workers, {} connections\n",
        text(&status["version"]),
        text(&status["generation"]),
        text(&status["workers"]),
        text(&status["connections"]),
    );
    let before = &status["before"];
    if before.is_object() {
        let (pid, connections) = (text(&before["pid"]), text(&before["connections"]));
        let _ = writeln!(
            summary,
            "the process before the upgrade ({pid}) drains: {connections} connections"
        );
    }
    for key in list(&status["configuration"]["needs_restart"]) {
        let _ = writeln!(summary, "takes a restart: {}", text(key));
    }
    let reload = &status["last_reload"];
    if reload["result"] == "error" {
        let _ = writeln!(summary, "the last reload was refused at {}:", text(&reload["at"]));
        for error in list(&reload["errors"]) {
            let _ = writeln!(summary, "  {}", text(error));
        }
    }
    summary
}

/// The names of the columns, and whether each holds numbers.
const COLUMNS: [(&str, bool); 9] = [
    ("BACKEND", false),
    ("ADDRESS", false),
    ("STATE", false),
    ("WEIGHT", true),
    ("IN FLIGHT", true),
    ("REQUESTS", true),
    ("ERRORS", true),
    ("LATENCY", true),
    ("CAUSE", false),
];

fn table(backends: &[Value]) -> String {
    let head = COLUMNS.map(|(name, _)| name.to_owned());
    let rows: Vec<[String; COLUMNS.len()]> = std::iter::once(head).chain(backends.iter().map(row)).collect();
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default())
        .collect();
    let mut table = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, width), (_, number)) in row.iter().zip(&widths).zip(COLUMNS) {
            let _ = if number {
                write!(line, "  {cell:>width$}")
            } else {
                write!(line, "  {cell:<width$}")
            };
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

fn row(backend: &Value) -> [String; COLUMNS.len()] {
    let weight = match (backend["weight"].as_f64(), backend["effective_weight"].as_f64()) {
        // In a slow start.
        (Some(weight), Some(effective)) if effective > 0.0 && effective < weight => format!("{effective:.1}/{weight}"),
        _ => text(&backend["weight"]),
    };
    let latency = backend["latency_ms"].as_f64();
    [
        text(&backend["name"]),
        text(&backend["address"]),
        text(&backend["state"]),
        weight,
        match &backend["load_line"] {
            Value::Null => text(&backend["in_flight"]),
            line => format!("{}/{line}", text(&backend["in_flight"])),
        },
        text(&backend["requests"]),
        text(&backend["errors"]),
        latency.map_or("-".into(), |millis| format!("{millis:.1} ms")),
        text(&backend["cause"]),
    ]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// `1d 2h`, `3m 4s`: the two largest units.
fn span(seconds: u64) -> String {
    let units = [
        ("d", seconds / 86_400),
        ("h", seconds / 3_600 % 24),
        ("m", seconds / 60 % 60),
        ("s", seconds % 60),
    ];
    let first = units
        .iter()
        .position(|(_, count)| *count > 0)
        .unwrap_or(units.len() - 1);
    let parts: Vec<String> = units[first..]
        .iter()
        .take(2)
        .map(|(unit, count)| format!("{count}{unit}"))
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lines_up_and_tells_what_matters() {
        let status = json!({
            "version": "0.1.0", "generation": 3, "uptime_s": 3_725, "workers": 2, "connections": 17,
            "ready": true, "draining": false,
            "last_reload": { "at": "2026-01-01T00:00:00.000Z", "result": "error", "errors": ["line 3: no"] },
        });
        let backend = |name: &str, state: &str, effective: f64, latency: Value| {
            json!({
                "name": name, "address": "10.0.0.1:8080", "weight": 2, "effective_weight": effective, "state": state,
                "cause": "checks\u{1b}[2J pass", "in_flight": 4, "load_line": 16, "requests": 1_234, "errors": 5, "latency_ms": latency,
            })
        };
        let pools = json!([{
            "name": "api", "policy": "maglev", "panicking": true,
            "tls": { "danger_accept_invalid_certs": true, "error": "me.pem: has expired" },
            "backends": [backend("a-long-name", "healthy", 0.4, json!(1.534)), backend("b", "draining", 0.0, json!(null))],
        }]);
        assert_eq!(
            page(&status, &pools),
            "plimsoll 0.1.0, ready: generation 3, up 1h 2m, 2 workers, 17 connections\n\
             the last reload was refused at 2026-01-01T00:00:00.000Z:\n  line 3: no\n\n\
             pool api (maglev; too few are healthy, so health is ignored)\n  \
             DANGER: whoever answers for a backend is believed (danger_accept_invalid_certs)\n  \
             TLS with backends cannot be set up anew: me.pem: has expired\n  \
             BACKEND      ADDRESS        STATE     WEIGHT  IN FLIGHT  REQUESTS  ERRORS  LATENCY  CAUSE\n  \
             a-long-name  10.0.0.1:8080  healthy    0.4/2       4/16      1234       5   1.5 ms  checks[2J pass\n  \
             b            10.0.0.1:8080  draining       2       4/16      1234       5        -  checks[2J pass\n"
        );
    }

    #[test]
    fn spans_have_two_units() {
        for (seconds, written) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (3_600, "1h 0m"),
            (200_000, "2d 7h"),
        ] {
            assert_eq!(span(seconds), written);
        }
    }
}
