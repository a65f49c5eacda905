//! WebSockets over every pair of versions of HTTP, and an outside suite's cases, by clients and servers that we did not
//! write.

use std::time::Duration;

use e2e::{Foreign, Plimsoll, tools};

use crate::front::front;
use crate::http2_streams::h2;

/// What `node/websocket_client.js` goes through.
const CASES: [&str; 5] = ["messages", "many_at_once", "fragments_and_pings", "closing", "breaking"];

/// Node's `ws` as the server, over this version.
fn server(version: &str) -> Foreign {
    Foreign::node("websocket_server.js", &[version])
}

fn before(server: &Foreign, version: &str) -> Plimsoll {
    match version {
        "1" => front().before(server.address()),
        _ => h2().before(server.address()),
    }
}

#[test]
fn messages_pings_and_ends_come_through_every_pair() {
    for upstream in ["1", "2"] {
        let server = server(upstream);
        let plimsoll = before(&server, upstream);
        for client in ["1", "2"] {
            let mut command = tools::node_script("websocket_client.js");
            command.args([&plimsoll.address("web").to_string(), client]);
            let output = tools::run(&mut command, Duration::from_secs(90));
            let passed: Vec<&str> = output.stdout.lines().collect();
            assert_eq!(passed, CASES, "{client} to {upstream}: {output:?}");
        }
    }
}

/// The cases of the Autobahn suite but for those of speed (9) and of compression, which are many of the same (12, 13).
const AUTOBAHN: [&str; 6] = ["-x", "9.*", "-x", "12.*", "-x", "13.*"];

#[track_caller]
fn autobahn_passes(way: &str, plimsoll: &Plimsoll) {
    let mut command = tools::python_program("kosoku");
    command
        .args(AUTOBAHN)
        .args(["-p", "8", "-o"])
        .arg(plimsoll.scratch().path().join("autobahn"));
    command.arg(format!("ws://{}", plimsoll.address("web")));
    let output = tools::run(&mut command, Duration::from_secs(150));
    assert_eq!(output.code, Some(0), "{way}: {output:?}");
    assert!(output.stdout.contains("247 cases passed"), "{way}: {output:?}");
}

#[test]
fn autobahns_cases_pass_over_http_1_1() {
    let server = server("1");
    autobahn_passes("1 to 1", &before(&server, "1"));
}

#[test]
fn autobahns_cases_pass_over_http_2() {
    for upstream in ["1", "2"] {
        // The suite's client speaks HTTP/1.1: a second Plimsoll stands between, that of HTTP/2.
        let server = server(upstream);
        let second = before(&server, upstream);
        let first = h2().before(second.address("web"));
        autobahn_passes(&format!("1 to 2 to {upstream}"), &first);
    }
}
