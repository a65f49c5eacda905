//! Every version of HTTP from clients to backends that speak HTTP/2, over clients and servers that we did not write.

use std::process::Command;
use std::time::Duration;

use e2e::{Foreign, Plimsoll, tools};

use crate::front::{front, memory_kib};

const VERSIONS: [&str; 3] = ["--http1.0", "--http1.1", "--http2-prior-knowledge"];

fn curl(arguments: &[&str]) -> String {
    let output = tools::curl(arguments);
    assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
    output.stdout
}

fn before(backend: &Foreign) -> Plimsoll {
    front().pool("protocol = \"h2\"").before(backend.address())
}

/// A body that shows when any part of it is missing or moved.
fn body(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at / 251 + at % 251) as u8).collect()
}

/// Fetches a file by each version, and compares it.
fn fetch_by_each_version(plimsoll: &Plimsoll, name: &str, content: &[u8]) {
    let got = plimsoll.scratch().path().join("got").display().to_string();
    for version in VERSIONS {
        let url = format!("http://{}/{name}", plimsoll.address("web"));
        let status = curl(&[version, "-o", &got, "-w", "%{http_code}", &url]);
        assert_eq!(status, "200", "{version}");
        assert!(std::fs::read(&got).is_ok_and(|got| got == content), "{version} {name}");
        let head = curl(&[version, "--head", &url]);
        let length = format!("content-length: {}\r\n", content.len());
        assert!(head.contains(" 200") && head.contains(&length), "{version}: {head}");
    }
}

#[test]
fn answers_of_any_length_come_down() {
    let (none, small, large) = (body(0), body(10), body(3_000_000));
    let files = [("none", &*none), ("small", &*small), ("large", &*large)];
    for backend in [Foreign::nghttpd(&files, &[]), Foreign::nginx(&files, "")] {
        let plimsoll = before(&backend);
        for (name, content) in files {
            fetch_by_each_version(&plimsoll, name, content);
        }
        let missing = format!("http://{}/missing", plimsoll.address("web"));
        for version in VERSIONS {
            let status = curl(&[version, "-o", "/dev/null", "-w", "%{http_code}", &missing]);
            assert_eq!(status, "404", "{version}");
        }
    }
}

#[test]
fn bodies_of_any_length_go_up_and_come_back() {
    let backend = Foreign::nghttpd(&[], &["--echo-upload"]);
    let plimsoll = before(&backend);
    let url = format!("http://{}/", plimsoll.address("web"));
    let got = plimsoll.scratch().path().join("got").display().to_string();
    for size in [1, 65_535, 65_536, 3_000_000] {
        let content = body(size);
        plimsoll.scratch().write("body", &content);
        let file = plimsoll.scratch().path().join("body").display().to_string();
        for version in VERSIONS {
            curl(&[version, "--data-binary", &format!("@{file}"), "-o", &got, &url]);
            assert!(std::fs::read(&got).is_ok_and(|got| got == content), "{version} {size}");
        }
        for version in &VERSIONS[1..] {
            let piped = format!("cat {file} | curl -s {version} -T - {url} -o {got}");
            let output = tools::run(Command::new("sh").args(["-c", &piped]), Duration::from_secs(30));
            assert_eq!(output.code, Some(0), "{output:?}");
            assert!(
                std::fs::read(&got).is_ok_and(|got| got == content),
                "{version} {size} without a length"
            );
        }
    }
}

#[test]
fn haproxy_is_a_backend_too() {
    let backend = Foreign::haproxy(
        " http-request return status 204 if { path /none }\n \
         http-request return status 200 content-type text/plain lf-string \"%[req.hdr(host)] %[path] %[req.ver]\"",
    );
    let plimsoll = before(&backend);
    let address = plimsoll.address("web").to_string();
    for version in VERSIONS {
        assert_eq!(
            curl(&[version, &format!("http://{address}/a/b")]),
            format!("{address} /a/b 2.0"),
            "{version}"
        );
        let none = curl(&[version, "-i", &format!("http://{address}/none")]);
        assert!(
            none.contains(" 204") && !none.contains("content-length"),
            "{version}: {none}"
        );
    }
}

fn h2load(plimsoll: &Plimsoll, options: &[&str], path: &str) -> String {
    let mut command = Command::new("h2load");
    command
        .args(options)
        .arg(format!("http://{}{path}", plimsoll.address("web")));
    tools::run(&mut command, Duration::from_secs(90)).stdout
}

#[test]
fn many_streams_share_few_connections() {
    let backend = Foreign::nghttpd(&[("small", b"hello")], &[]);
    let plimsoll = before(&backend);
    let said = h2load(&plimsoll, &["-n4000", "-c10", "-m20"], "/small");
    assert!(said.contains("4000 succeeded, 0 failed, 0 errored"), "{said}");
    let said = h2load(&plimsoll, &["--h1", "-n2000", "-c50"], "/small");
    assert!(said.contains("2000 succeeded, 0 failed, 0 errored"), "{said}");
    let made = plimsoll
        .metrics()
        .sum("plimsoll_backend_connections_total", &[("reused", "false")]);
    // At most 200 streams at once, of which nghttpd allows 100 on a connection, on each of several workers.
    assert!(made <= 40.0, "{made} connections");
}

#[test]
fn a_backend_that_ends_its_connections_loses_nothing() {
    let backend = Foreign::nginx(&[("small", b"hello")], "keepalive_requests 50;");
    let plimsoll = before(&backend);
    for options in [["-n4000", "-c5", "-m20"], ["--h1", "-n1000", "-c20"]] {
        let said = h2load(&plimsoll, &options, "/small");
        assert!(said.contains(" 0 failed, 0 errored"), "{said}");
        assert!(said.contains(" 0 3xx, 0 4xx, 0 5xx"), "{said}");
    }
    let errors = plimsoll.metrics().sum("plimsoll_failures_total", &[]);
    assert_eq!(errors, 0.0);
}

#[test]
fn a_client_that_does_not_read_holds_no_more_than_its_buffers() {
    let backend = Foreign::nghttpd(&[("large", &body(32 << 20))], &[]);
    let plimsoll = before(&backend);
    let before = memory_kib(&plimsoll, "VmRSS");
    let mut client = e2e::Frames::with_settings(plimsoll.address("web"), &[(4, 0x7fff_ffff)]);
    client
        .send(e2e::frames::kind::WINDOW_UPDATE, 0, 0, &0x7000_0000u32.to_be_bytes())
        .expect("it is taken");
    for stream in 0..20 {
        client.request(stream * 2 + 1, "GET", "/large", &[], e2e::frames::END_STREAM);
    }
    client.wait_for(1, e2e::frames::kind::HEADERS);
    std::thread::sleep(Duration::from_secs(1));
    let grown = memory_kib(&plimsoll, "VmHWM").saturating_sub(before);
    println!("20 streams of 32 MiB made it grow by {grown} KiB");
    assert!(grown < 20 * 1024, "{grown} KiB");
    // And others are served meanwhile, on the same connection to the backend.
    let url = format!("http://{}/large", plimsoll.address("web"));
    let size = curl(&["-o", "/dev/null", "-w", "%{size_download}", &url]);
    assert_eq!(size, (32 << 20).to_string());
}
