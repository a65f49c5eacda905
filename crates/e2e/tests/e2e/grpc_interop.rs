//! gRPC's interoperability cases, as their public description has them, by clients and servers of two implementations.

use std::time::Duration;

use e2e::{Foreign, tools};

use crate::http2_streams::h2;

const CASES: [&str; 14] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "custom_metadata",
    "status_code_and_message",
    "special_status_message",
    "unimplemented_method",
    "unimplemented_service",
    "cancel_after_begin",
    "cancel_after_first_response",
    "timeout_on_sleeping_server",
];

#[track_caller]
fn all_cases_pass_before(server: &Foreign) {
    let plimsoll = h2().before(server.address());
    for mut client in [
        tools::python_script("grpc_interop_client.py"),
        tools::node_script("grpc_interop_client.js"),
    ] {
        client.arg(plimsoll.address("web").to_string());
        let output = tools::run(&mut client, Duration::from_secs(90));
        let passed: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(passed, CASES, "{client:?}: {output:?}");
    }
}

#[test]
fn all_cases_pass_before_grpcio() {
    all_cases_pass_before(&Foreign::python_script("grpc_interop_server.py", &[]));
}

#[test]
fn all_cases_pass_before_grpc_js() {
    all_cases_pass_before(&Foreign::node("grpc_interop_server.js", &[]));
}

/// A thousand calls a second on one connection, each cancelled when its deadline passes, and 200 MB with a ping at every
/// round trip.
#[test]
fn a_client_that_works_hard_is_not_taken_for_an_attacker() {
    let server = Foreign::python_script("grpc_interop_server.py", &[]);
    let plimsoll = h2().before(server.address());
    let mut client = tools::python_script("grpc_hard_worker.py");
    client.arg(plimsoll.address("web").to_string());
    let output = tools::run(&mut client, Duration::from_secs(120));
    let told: serde_json::Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(
        told["codes"],
        serde_json::json!({ "DEADLINE_EXCEEDED": 5000 }),
        "{output:?}"
    );
    assert_eq!(told["size"], 200 << 20, "{output:?}");
    let metrics = plimsoll.metrics();
    assert_eq!(metrics.sum("plimsoll_connections_total", &[("listener", "web")]), 1.0);
    assert_eq!(
        metrics.sum("plimsoll_failures_total", &[("reason", "http2_abuse")]),
        0.0
    );
}
