//! The picture of a moment, and the table that is printed once.

use std::fmt::Write;

use super::rates::{Rates, Row, list};
use crate::commands::text;
use crate::terminal::{BOLD, DIM, GREEN, PLAIN, RED, YELLOW, bar};

/// Cells of a load bar.
const BAR_CELLS: usize = 20;

/// The widest name in a column; longer ones are cut.
const NAME_MAX: usize = 28;

/// Draws `rates` in so many lines, in colours or without.
pub(super) fn picture(rates: &Rates, colour: bool, lines: usize) -> String {
    let mut out = String::new();
    head(&mut out, rates);
    out.push('\n');
    table(&mut out, "POOL", &rates.pools, pool_words);
    out.push('\n');
    table(&mut out, "ROUTE", &rates.routes, |_| String::new());
    backends(&mut out, rates);
    for line in uneven(rates) {
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(out, "  {YELLOW}{line}{PLAIN}");
    }
    let failing: Vec<String> = rates
        .failures
        .iter()
        .filter(|(_, rate)| *rate > 0.0)
        .map(|(reason, rate)| format!("{reason} {}/s", number(*rate)))
        .collect();
    if !failing.is_empty() {
        let _ = writeln!(out, "\n{RED}answered by us: {}{PLAIN}", failing.join(", "));
    }
    let kept: Vec<&str> = out.lines().take(lines.saturating_sub(1)).collect();
    let cut = kept.join("\n") + "\n";
    if colour { cut } else { plain(&cut) }
}

fn head(out: &mut String, rates: &Rates) {
    let status = &rates.status;
    let (stands, paint) = match (status["draining"] == true, status["ready"] == true) {
        (true, _) => ("draining", YELLOW),
        (false, true) => ("ready", GREEN),
        (false, false) => ("waiting for the first health checks", YELLOW),
    };
    let _ = writeln!(
        out,
        "{BOLD}plimsoll {}{PLAIN}  {paint}{stands}{PLAIN}  generation {}, {} workers, {} connections",
        text(&status["version"]),
        text(&status["generation"]),
        text(&status["workers"]),
        text(&status["connections"]),
    );
    let node = &rates.node;
    let [p50, p90, p99] = node.latency_ms.map(millis);
    let errors = node.errors.unwrap_or_default();
    let paint = if errors > 0.0 { RED } else { "" };
    let _ = writeln!(
        out,
        "{BOLD}{}{PLAIN} requests/s   errors {paint}{}{PLAIN}   p50 {BOLD}{p50}{PLAIN}  p90 {BOLD}{p90}{PLAIN}  p99 {BOLD}{p99}{PLAIN}",
        number(node.rate),
        percent(node.errors),
    );
}

fn table(out: &mut String, title: &str, rows: &[Row], more: impl Fn(&Row) -> String) {
    let width = rows
        .iter()
        .map(|row| name(row).chars().count())
        .max()
        .unwrap_or(0)
        .max(title.len());
    let _ = writeln!(
        out,
        "{DIM}{title:<width$} {:>9} {:>7} {:>8} {:>8} {:>8}{PLAIN}",
        "REQ/S", "ERRORS", "P50", "P90", "P99"
    );
    for row in rows {
        let [p50, p90, p99] = row.latency_ms.map(millis);
        let paint = if row.errors.is_some_and(|errors| errors > 0.0) {
            RED
        } else {
            ""
        };
        let line = format!(
            "{:<width$} {:>9} {paint}{:>7}{PLAIN} {p50:>8} {p90:>8} {p99:>8}  {}",
            name(row),
            number(row.rate),
            percent(row.errors),
            more(row)
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

fn pool_words(row: &Row) -> String {
    let told = &row.told;
    let states = told["states"].as_object().into_iter().flatten();
    let mut words: Vec<String> = states
        .map(|(state, count)| {
            let paint = state_paint(state);
            format!("{paint}{count} {state}{PLAIN}")
        })
        .collect();
    words.push(text(&told["policy"]));
    if told["panicking"] == true {
        words.push(format!("{RED}panics{PLAIN}"));
    }
    if told["waiting"].as_u64().is_some_and(|count| count > 0) {
        words.push(format!("{YELLOW}{} wait{PLAIN}", told["waiting"]));
    }
    words.join("  ")
}

fn backends(out: &mut String, rates: &Rates) {
    let Some((pool, all)) = &rates.pool else { return };
    let shown = rates.backends.len() as u64;
    let of = if shown < *all {
        format!(", the fullest {shown} of {all}")
    } else {
        String::new()
    };
    let pool: String = pool.chars().filter(|c| !c.is_control()).collect();
    let _ = writeln!(out, "\n{BOLD}{pool}{PLAIN}{DIM}{of}{PLAIN}");
    let rows = &rates.backends;
    let width = rows
        .iter()
        .map(|row| name(row).chars().count())
        .max()
        .unwrap_or(0)
        .max(7);
    let _ = writeln!(
        out,
        "{DIM}{:<width$} {:<11} {:>7} {:>9} {:>7} {:>8} {:>8}  {:<BAR_CELLS$} {:>11}{PLAIN}",
        "BACKEND", "STATE", "SHARE", "REQ/S", "ERRORS", "P50", "P99", "LOAD", "OF ITS LINE"
    );
    for row in rows {
        let told = &row.told;
        let [p50, _, p99] = row.latency_ms.map(millis);
        let state = text(&told["state"]);
        let (carries, line) = (
            told["in_flight"].as_f64().unwrap_or(0.0),
            told["load_line"].as_f64().unwrap_or(0.0),
        );
        let filled = if line > 0.0 { carries / line } else { 1.0 };
        let water = if filled >= 1.0 {
            RED
        } else if filled >= 0.8 {
            YELLOW
        } else {
            GREEN
        };
        let _ = writeln!(
            out,
            "{:<width$} {}{state:<11}{PLAIN} {:>5} % {:>9} {:>7} {p50:>8} {p99:>8}  {water}{}{PLAIN} {:>11}",
            name(row),
            state_paint(&state),
            text(&told["share_percent"]),
            number(row.rate),
            percent(row.errors),
            bar(filled, BAR_CELLS),
            format!("{carries} of {line}"),
        );
    }
}

/// Why the work of the pool that is shown is shared out unevenly.
fn uneven(rates: &Rates) -> Vec<String> {
    let shown = rates.pool.as_ref().map(|(name, _)| name.as_str());
    let pool = rates.pools.iter().find(|row| row.told["name"].as_str() == shown);
    let findings = pool.map(|row| list(&row.told["uneven"])).unwrap_or_default();
    findings.iter().map(|finding| text(&finding["words"])).collect()
}

fn name(row: &Row) -> String {
    if row.name.is_empty() {
        return "(no route)".into();
    }
    let count = row.name.chars().count();
    if count <= NAME_MAX {
        return row.name.clone();
    }
    let kept: String = row.name.chars().take(NAME_MAX - 1).collect();
    kept + "…"
}

fn state_paint(state: &str) -> &'static str {
    match state {
        "healthy" => GREEN,
        "unhealthy" | "ejected" => RED,
        _ => YELLOW,
    }
}

fn number(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{:.1}M", value / 1e6),
        _ if value >= 1e4 => format!("{:.1}k", value / 1e3),
        _ if value >= 100.0 || value == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.1} %", share * 100.0))
}

fn millis(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(ms) if ms >= 1_000.0 => format!("{:.2} s", ms / 1e3),
        Some(ms) if ms >= 10.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{ms:.1} ms"),
    }
}

/// The text without its colours (ECMA-48 SGR).
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\x1b') {
        out.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_lines_up_and_says_what_is_wrong_without_colours() {
        let stats = |requests: u64| {
            json!({
                "now_ms": requests * 10, "buckets_ms": [10.0], "failures": { "pool_full": requests },
                "status": { "version": "0.1.0", "generation": 2, "workers": 2, "connections": 9, "ready": true },
                "routes": [{ "name": "", "requests": requests, "errors": requests / 10, "buckets": [requests, 0] }],
                "pools": [{
                    "name": "api", "requests": requests, "errors": 0, "buckets": [requests, 0], "policy": "maglev",
                    "states": { "healthy": 1, "ejected": 1 }, "panicking": true, "waiting": 3,
                    "uneven": [{ "words": "b gets 0 %, and 50 % by its weight: it is\u{1b}[2J ejected" }],
                }],
                "backends": { "pool": "api", "all": 900, "page": [{
                    "name": "a", "state": "healthy", "share_percent": 100.0, "requests": requests, "errors": 0,
                    "buckets": [requests, 0], "in_flight": 4, "load_line": 8,
                }] },
            })
        };
        let rates = Rates::between(&stats(100), &stats(300));
        let table = picture(&rates, false, usize::MAX);
        for words in [
            "plimsoll 0.1.0  ready  generation 2",
            "(no route)",
            "1 ejected  1 healthy  maglev  panics  3 wait",
            "the fullest 1 of 900",
            "██████████           ",
            "4 of 8",
            "it is[2J ejected",
            "answered by us: pool_full 100/s",
        ] {
            assert!(table.contains(words), "{words}: {table}");
        }
        assert!(!table.contains('\x1b'), "{table:?}");
        let live = picture(&rates, true, 8);
        assert!(live.lines().count() <= 8 && live.contains(RED), "{live}");
    }
}
