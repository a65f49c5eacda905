//! Load from `wrk` and `h2load`, and single requests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::backends::write;
use super::process::Launch;
use super::workload::Workload;
use crate::Fault;

/// The host that requests of a configuration without routes ask for.
pub(crate) const ANY_HOST: &str = "bench.example";

/// The host of one route.
pub(crate) fn host_of(route: usize) -> String {
    format!("route-{route}.bench.example")
}

/// What `wrk` counted.
pub(crate) struct Load {
    pub(crate) requests: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Loads a proxy for `span`; fails when a reply was not what it should be.
pub(crate) fn wrk(
    to: SocketAddr,
    workload: &Workload,
    routes: usize,
    (connections, cookie): (usize, Option<&str>),
    span: Duration,
    (cores, scratch): (Option<&str>, &Path),
) -> Result<Load, Fault> {
    let seconds = format!("{}s", span.as_secs().max(1));
    let connections = connections.to_string();
    let url = format!("http://{to}{}", workload.path);
    let mut launch = Launch::new("wrk", ["-t", "1", "-c", &connections, "-d", &seconds, "--latency"]);
    if workload.close {
        launch
            .arguments
            .extend(["-H".to_owned(), "Connection: close".to_owned()]);
    }
    if let Some(cookie) = cookie {
        launch.arguments.extend(["-H".to_owned(), format!("Cookie: {cookie}")]);
    }
    if routes > 1 {
        let script = scratch.join(format!("routes-{routes}.lua"));
        write(&script, &rotating_hosts(routes, workload.path))?;
        launch.arguments.extend(["-s".to_owned(), script.display().to_string()]);
    } else {
        launch.arguments.extend(["-H".to_owned(), format!("Host: {ANY_HOST}")]);
    }
    launch.arguments.push(url);
    let output = launch
        .command(cores)
        .output()
        .map_err(|error| format!("cannot start wrk: {error}"))?;
    read_wrk(&String::from_utf8_lossy(&output.stdout))
}

/// Connections of `h2load`, and streams on each.
const HTTP2_CONNECTIONS: &str = "16";
const HTTP2_STREAMS: &str = "10";

/// Loads a proxy over HTTP/2 for `span`.
pub(crate) fn h2load(to: SocketAddr, workload: &Workload, span: Duration, cores: Option<&str>) -> Result<Load, Fault> {
    let seconds = span.as_secs().max(1).to_string();
    let url = format!("http://{to}{}", workload.path);
    let launch = Launch::new(
        "h2load",
        [
            "-t",
            "1",
            "-c",
            HTTP2_CONNECTIONS,
            "-m",
            HTTP2_STREAMS,
            "-D",
            &seconds,
            &url,
        ],
    );
    let output = launch
        .command(cores)
        .output()
        .map_err(|error| format!("cannot start h2load: {error}"))?;
    read_h2load(&String::from_utf8_lossy(&output.stdout))
}

/// `requests: 5 total, 5 started, 5 done, 5 succeeded, 0 failed, 0 errored, 0 timeout`; what was under way when the time
/// was over is started and not done.
fn read_h2load(text: &str) -> Result<Load, Fault> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("requests: "))
        .unwrap_or_default();
    let count = |what: &str| {
        let part = line.split(", ").find(|part| part.ends_with(what))?;
        part.split_whitespace().next()?.parse::<f64>().ok()
    };
    match (count(" succeeded"), count(" failed")) {
        (Some(requests), Some(0.0)) if requests > 0.0 => Ok(Load {
            requests,
            p50_us: f64::NAN,
            p99_us: f64::NAN,
        }),
        _ => Err(format!("h2load says: {line}")),
    }
}

/// Whether a GET over HTTP/2 is answered with 200 now.
pub(crate) fn answers_http2(to: SocketAddr, path: &str) -> bool {
    let url = format!("http://{to}{path}");
    let output = Launch::new("h2load", ["-n", "1", &url]).command(None).output();
    output.is_ok_and(|output| read_h2load(&String::from_utf8_lossy(&output.stdout)).is_ok())
}

/// A script for wrk that asks for one route's host after the other.
fn rotating_hosts(routes: usize, path: &str) -> String {
    let last = routes - 1;
    let host = host_of(0).replacen('0', "\" .. route .. \"", 1);
    format!(
        "local requests, turn = {{}}, 0
function init()
    for route = 0, {last} do
        requests[route] = wrk.format(\"GET\", \"{path}\", {{ Host = \"{host}\" }})
    end
end
function request()
    turn = (turn + 1) % {routes}
    return requests[turn]
end
"
    )
}

fn read_wrk(text: &str) -> Result<Load, Fault> {
    let after = |marker: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(marker))
            .map(str::trim)
    };
    for trouble in ["Socket errors:", "Non-2xx or 3xx responses:"] {
        if let Some(counts) = after(trouble) {
            return Err(format!("wrk says: {trouble} {counts}"));
        }
    }
    let requests = text
        .split_once(" requests in ")
        .and_then(|(before, _)| before.split_whitespace().last());
    let requests: Option<f64> = requests.and_then(|count| count.parse().ok());
    let quantile = |marker| after(marker).and_then(micros).unwrap_or(f64::NAN);
    match requests {
        Some(requests) if requests > 0.0 => Ok(Load {
            requests,
            p50_us: quantile("50%"),
            p99_us: quantile("99%"),
        }),
        _ => Err(format!("wrk served nothing: {}", text.replace('\n', " "))),
    }
}

/// wrk's times: `93.00us`, `1.20ms`, `2.01s`.
fn micros(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    units
        .into_iter()
        .find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

/// Whether a GET is answered with 200 now.
pub(crate) fn answers(to: SocketAddr, path: &str, host: &str) -> bool {
    open_and_get(to, path, host).is_some()
}

/// Connects, sends one GET, and returns the kept connection when the answer was 200.
pub(crate) fn open_and_get(to: SocketAddr, path: &str, host: &str) -> Option<TcpStream> {
    get(to, path, host).map(|(stream, _)| stream)
}

/// The cookie that a client is given on a GET, as it sends it back.
pub(crate) fn given_cookie(to: SocketAddr, path: &str) -> Result<String, Fault> {
    let (_, answer) = get(to, path, ANY_HOST).ok_or("a request for a cookie was not answered")?;
    let cookie = cookie_in(&String::from_utf8_lossy(&answer));
    cookie.ok_or_else(|| "an answer on a typical route sets no cookie".to_owned())
}

fn cookie_in(answer: &str) -> Option<String> {
    let value = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("set-cookie").then_some(value)
    });
    Some(value?.split(';').next()?.trim().to_owned())
}

/// Connects, sends one GET, and returns the kept connection and the answer when that was 200.
fn get(to: SocketAddr, path: &str, host: &str) -> Option<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
        .ok()?;
    let mut answer = Vec::new();
    let mut bytes = [0; 2048];
    // The small response's body ends in the 160 bytes that only it consists of.
    while !answer.ends_with(b"xxxxxxxx") {
        let count = stream.read(&mut bytes).ok().filter(|count| *count > 0)?;
        answer.extend_from_slice(&bytes[..count]);
        if answer.len() > 12 && !answer.starts_with(b"HTTP/1.1 200") {
            return None;
        }
    }
    Some((stream, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_read_as_it_writes() {
        let text = "Running 4s test\n  Latency Distribution\n     50%   93.00us\n     75%    1.00ms\n     99%    1.50ms\n  \
                    80134 requests in 4.00s, 25.0MB read\nRequests/sec:  20033\n";
        let load = read_wrk(text).unwrap();
        assert_eq!((load.requests, load.p50_us, load.p99_us), (80134.0, 93.0, 1500.0));
        assert!(read_wrk("  5 requests in 1s\n  Non-2xx or 3xx responses: 5\n").is_err());
    }

    #[test]
    fn a_cookie_is_sent_back_without_its_attributes() {
        let answer = "HTTP/1.1 200 OK\r\ndate: now\r\nSet-Cookie: bench=b0; path=/; HttpOnly\r\n\r\nbody";
        assert_eq!(cookie_in(answer).as_deref(), Some("bench=b0"));
        assert_eq!(cookie_in("HTTP/1.1 200 OK\r\n\r\n"), None);
    }

    #[test]
    fn h2load_is_read_as_it_writes() {
        let text =
            "finished in 1.00s\nrequests: 300 total, 310 started, 300 done, 300 succeeded, 0 failed, 0 errored\n";
        assert_eq!(read_h2load(text).unwrap().requests, 300.0);
        assert!(read_h2load("requests: 3 total, 3 started, 3 done, 2 succeeded, 1 failed\n").is_err());
        assert!(read_h2load("").is_err());
    }

    #[test]
    fn hosts_in_the_script_are_those_of_the_routes() {
        assert!(rotating_hosts(10, "/small").contains("\"route-\" .. route .. \".bench.example\""));
    }
}
