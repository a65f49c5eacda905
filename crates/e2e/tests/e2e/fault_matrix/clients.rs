//! curl: several of it, each of which sends a part of the cells, one after the other.

use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

use e2e::{Plimsoll, tools};

use super::backends::{ANSWER, digits, pattern};
use super::cells::{Cell, Got, SIZES};

/// Requests under way at once.
pub(super) const LANES: usize = 16;

/// How long all of them together may take.
const PATIENCE: Duration = Duration::from_secs(200);

/// Sends each of the cells once, in this version of HTTP; what the client got of each.
pub(super) fn send(plimsoll: &Plimsoll, version: &str, cells: &[Cell]) -> Vec<Got> {
    for size in SIZES {
        plimsoll.scratch().write(&format!("body-{size}"), pattern(size));
    }
    let numbered: Vec<(usize, &Cell)> = cells.iter().enumerate().collect();
    let told: Vec<String> = std::thread::scope(|scope| {
        let lane = |lane: usize| {
            let own: Vec<_> = numbered.iter().copied().skip(lane).step_by(LANES).collect();
            scope.spawn(move || curl(plimsoll, version, lane, &own))
        };
        let lanes: Vec<_> = (0..LANES).map(lane).collect();
        let told = lanes.into_iter().map(|lane| lane.join().expect("curl runs to its end"));
        told.collect()
    });
    let mut got = vec![None; cells.len()];
    for line in told.iter().flat_map(|told| told.lines()) {
        let parts: Vec<&str> = line.split(',').collect();
        let number: usize = parts[0].parse().unwrap_or_else(|_| panic!("curl says {line}"));
        let body = std::fs::read(plimsoll.scratch().path().join(format!("got-{number}"))).unwrap_or_default();
        got[number] = Some(judge(&cells[number], &parts[1..], &body));
    }
    let missing = got.iter().filter(|got| got.is_none()).count();
    assert_eq!(missing, 0, "curl tells nothing of {missing} transfers: {told:?}");
    got.into_iter().flatten().collect()
}

/// One lane; a line for each transfer.
fn curl(plimsoll: &Plimsoll, version: &str, lane: usize, cells: &[(usize, &Cell)]) -> String {
    let blocks: Vec<String> = cells
        .iter()
        .map(|(number, cell)| block(plimsoll, version, *number, cell))
        .collect();
    let config = (plimsoll.scratch()).write(&format!("curl-{lane}.conf"), blocks.join("next\n"));
    let mut curl = Command::new("curl");
    curl.args(["--no-progress-meter", "--noproxy", "*", "-K"]).arg(config);
    tools::run(&mut curl, PATIENCE).stdout
}

/// What curl is told of a transfer.
fn block(plimsoll: &Plimsoll, version: &str, number: usize, cell: &Cell) -> String {
    let (method, size, path) = (cell.method.name, cell.size, plimsoll.scratch().path().display());
    let address = plimsoll.address("web");
    // curl 7.88 breaks on a connection of HTTP/2 by prior knowledge that it uses again: a host of its own for each.
    let (host, connect) = if version.starts_with("http2") {
        (format!("c{number}.example"), format!("connect-to = \"::{address}\"\n"))
    } else {
        (address.to_string(), String::new())
    };
    let url = format!("http://{host}/{}/{}", cell.word.path(), cell.fault.pool());
    let case = digits(cell.fault, number, size);
    let mut block = format!(
        "url = \"{url}\"\n{connect}{version}\nheader = \"x-case: {case}\"\nheader = \"expect:\"\noutput = \"{path}/got-{number}\"\n\
         max-time = 60\nwrite-out = \"%{{stdout}}{number},%{{http_code}},%{{exitcode}},%header{{x-from}},\
         %header{{x-plimsoll-reason}}\\n\"\n"
    );
    let _ = match method {
        "HEAD" => writeln!(block, "head"),
        _ => writeln!(block, "request = \"{method}\""),
    };
    if size > 0 {
        let _ = writeln!(block, "data-binary = \"@{path}/body-{size}\"");
    }
    if cell.method.keyed {
        let _ = writeln!(block, "header = \"idempotency-key: \\\"k{number}\\\"\"");
    }
    block
}

/// What a client has got by its status, exit code, `x-from`, reason and body.
fn judge(cell: &Cell, told: &[&str], body: &[u8]) -> Got {
    let is_whole = if cell.method.name == "HEAD" {
        // Its head stands there.
        body.starts_with(b"HTTP/")
    } else {
        body == pattern(ANSWER)
    };
    let context = || format!("{cell}: {told:?}, {} bytes", body.len());
    match (told[0], told[1], told[2], told[3]) {
        ("200", "0", "good" | "bad", "") if is_whole => Got::Whole,
        // What was taken for whole, and is not: the worst that there is.
        ("200", "0", ..) => panic!("truncated and not told: {}", context()),
        ("200", _, "bad", "") => Got::Broken,
        // A stream that is reset before its head was written tells the same by less; so does a request that cannot be sent.
        ("000", "55" | "92", "", "") => Got::Broken,
        ("503", "0", "bad", "") => Got::TheirUnavailable,
        ("502", "0", "", "backend_reset") => Got::Ours(502, "backend_reset"),
        ("502", "0", "", "connect_failed") => Got::Ours(502, "connect_failed"),
        ("504", "0", "", "response_timeout") => Got::Ours(504, "response_timeout"),
        _ => Got::Else(context()),
    }
}
