//! Every pair of versions of HTTP, between clients and servers that we did not write, goes through the same cases: bodies,
//! trailers, interim answers, cancellation, answers that break off, back-pressure, answers that come early.
//!
//! The cases are in `node/client.js` and `python/http2_client.py`, what they ask for in `node/server.js`.

use std::process::Command;
use std::time::Duration;

use e2e::{Foreign, tools};

use crate::front::{front, memory_kib};

/// What one client and all of its answers may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// What may be held of one stream that stands still, and what a process needs to serve at all.
const GROWN_MAX_KIB: u64 = 24 << 10;

/// Runs a case over each pair; each has a server and a Plimsoll of its own.
#[track_caller]
fn over_each_pair(case: &str) {
    for upstream in ["1", "2"] {
        for client in ["1", "2", "python"] {
            let server = Foreign::node("server.js", &[upstream]);
            let plimsoll = match upstream {
                "1" => front().before(server.address()),
                _ => front().pool("protocol = \"h2\"").before(server.address()),
            };
            let before = memory_kib(&plimsoll, "VmRSS");
            let address = plimsoll.address("web").to_string();
            let mut command = match client {
                "python" => tools::python_script("http2_client.py"),
                _ => tools::node_script("client.js"),
            };
            command.arg(address);
            if client != "python" {
                command.arg(client);
            }
            run(command.arg(case), case, &format!("{case}: from {client} to {upstream}"));
            let grown = memory_kib(&plimsoll, "VmHWM").saturating_sub(before);
            assert!(
                grown < GROWN_MAX_KIB,
                "{case}: from {client} to {upstream}: {grown} KiB"
            );
        }
    }
}

#[track_caller]
fn run(command: &mut Command, case: &str, pair: &str) {
    let output = tools::run(command, PATIENCE);
    assert_eq!(output.stdout.trim(), case, "{pair}: {output:?}");
    assert_eq!(output.code, Some(0), "{pair}: {output:?}");
}

#[test]
fn bodies_come_whole_both_ways() {
    over_each_pair("bodies");
}

#[test]
fn trailers_come_both_ways() {
    over_each_pair("trailers");
}

#[test]
fn interim_answers_come_before_the_final_one() {
    over_each_pair("interim");
}

#[test]
fn a_client_that_gives_up_cancels_its_request_at_the_server() {
    over_each_pair("cancellation");
}

#[test]
fn an_answer_that_breaks_off_passes_for_whole_with_nobody() {
    over_each_pair("breaking");
}

#[test]
fn a_client_that_does_not_read_stops_the_server() {
    over_each_pair("pressure_down");
}

#[test]
fn a_server_that_does_not_read_stops_the_client() {
    over_each_pair("pressure_up");
}

#[test]
fn small_pieces_that_nobody_takes_yet_are_no_attack() {
    over_each_pair("small_pieces");
}

#[test]
fn an_answer_that_comes_before_the_body_has_gone_is_read() {
    over_each_pair("early_answer");
}

/// The same by clients that come as programs.
#[test]
fn curl_and_nghttp_see_trailers_and_early_answers() {
    for upstream in ["1", "2"] {
        let server = Foreign::node("server.js", &[upstream]);
        let plimsoll = match upstream {
            "1" => front().before(server.address()),
            _ => front().pool("protocol = \"h2\"").before(server.address()),
        };
        let url = |path: &str| format!("http://{}{path}", plimsoll.address("web"));
        plimsoll.scratch().write("body", vec![b'x'; 8 << 20]);
        let file = plimsoll.scratch().path().join("body").display().to_string();
        // curl itself loses an answer whose stream is reset behind it (7.88, before nginx too), nghttp does not.
        let early = tools::curl(&[
            "--http1.1",
            "-T",
            &file,
            "-X",
            "POST",
            "-w",
            "%{http_code}",
            &url("/early"),
        ]);
        assert_eq!(early.stdout, "enough413", "to {upstream}: {early:?}");
        let mut nghttp = Command::new("nghttp");
        nghttp.args(["-v", "-d", &file, &url("/early")]);
        let said = tools::run(&mut nghttp, PATIENCE).stdout;
        for part in [":status: 413", "enough", "(error_code=NO_ERROR(0x00))"] {
            assert!(said.contains(part), "{part}: to {upstream}: {}", end_of(&said));
        }
        let mut nghttp = Command::new("nghttp");
        // With a length there would be no room for trailers in HTTP/1.1.
        nghttp.args(["-v", "-d", &file, "--no-content-length", "--trailer", "x-up: went up"]);
        nghttp.args(["-H", "te: trailers", &url("/echo")]);
        let said = tools::run(&mut nghttp, PATIENCE).stdout;
        for part in ["x-sum: 8388608", "x-got: went up"] {
            assert!(said.contains(part), "{part}: to {upstream}: {}", end_of(&said));
        }
    }
}

fn end_of(said: &str) -> String {
    let lines: Vec<&str> = said.lines().rev().take(30).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
