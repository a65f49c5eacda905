//! Clients that we did not write.

use std::time::Duration;

use e2e::{Backend, Plimsoll, Script, tools};

use crate::front::front;

fn echoing() -> (Backend, Plimsoll, String) {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let url = format!("http://{}", plimsoll.address("web"));
    (backend, plimsoll, url)
}

#[test]
fn curl_speaks_to_us_in_every_way_it_can() {
    let (backend, _plimsoll, url) = echoing();
    for arguments in [
        &["--http1.0", "/a"][..],
        &["--http1.1", "/b"],
        &["--http2", "/upgrade-is-not-offered"],
        &["--raw", "/c"],
        &["--data", "x=1", "/d"],
        &["--header", "transfer-encoding: chunked", "--data", "x=1", "/e"],
        &["--header", "expect: 100-continue", "--data", "x=1", "/f"],
        &["--http1.0", "--data", "x=1", "/g"],
        &["--request", "DELETE", "/h"],
        &["--path-as-is", "/x/../i?y"],
        &["--request-target", "*", "--request", "OPTIONS", "/"],
        &["--range", "0-1", "/j"],
        &["--compressed", "/k"],
        &["--form", "field=value", "/l"],
        &["--globoff", "/m[1]{2}"],
    ] {
        let (path, options) = arguments.split_last().expect("a path");
        let to = format!("{url}{path}");
        let output = tools::curl(&[&["--fail"], options, &[&to]].concat());
        assert!(
            output.code == Some(0) && output.stdout.contains("\"target\""),
            "{arguments:?}: {output:?}"
        );
    }
    backend.assert_no_violations();
    assert!(
        backend
            .seen()
            .iter()
            .all(|request| request.head.header("upgrade").is_none())
    );
}

#[test]
fn curl_reuses_its_connection_and_sees_head_and_errors() {
    let (_backend, plimsoll, url) = echoing();
    let (a, b, c) = (format!("{url}/a"), format!("{url}/b"), format!("{url}/c"));
    let output = tools::curl(&[
        "--write-out",
        "%{num_connects} ",
        "--output",
        "/dev/null",
        &a,
        "--output",
        "/dev/null",
        &b,
    ]);
    assert_eq!(output.stdout, "1 0 ", "{output:?}");
    let output = tools::curl(&["--head", &a]);
    assert!(output.stdout.starts_with("HTTP/1.1 200"), "{output:?}");
    let output = tools::curl(&["--header", "host: a b", "--write-out", "%{http_code}", &c]);
    assert!(output.stdout.ends_with("400"), "{output:?}");
    let proxy = plimsoll.address("web").to_string();
    let output = tools::curl(&["--proxy", &proxy, "--noproxy", "", "http://shop.example/abs?x"]);
    assert!(output.stdout.contains("\"target\":\"/abs?x\""), "{output:?}");
    let output = tools::curl(&[
        "--proxy",
        &proxy,
        "--noproxy",
        "",
        "--proxytunnel",
        "http://shop.example/",
    ]);
    assert!(
        output.code != Some(0) && output.stderr.contains("400"),
        "CONNECT is refused: {output:?}"
    );
}

const PYTHON: &str = r#"
import http.client, json, sys
host, port = sys.argv[1].split(":")
connection = http.client.HTTPConnection(host, int(port), timeout=10)
def ask(method, path, body=None, headers={}, **options):
    connection.request(method, path, body, headers, **options)
    answer = connection.getresponse()
    text = answer.read()
    return answer, (json.loads(text) if text else None)
socket = None
for number in range(50):
    answer, echo = ask("GET", f"/{number}")
    assert answer.status == 200 and echo["target"] == f"/{number}", echo
    assert socket in (None, connection.sock), "a new connection"
    socket = connection.sock
answer, echo = ask("PUT", "/put", b"x" * 1000)
assert echo["body"] == "x" * 1000
answer, echo = ask("POST", "/chunks", (part for part in [b"one ", b"two"]), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
assert echo["body"] == "one two", echo
answer, echo = ask("HEAD", "/head")
assert answer.status == 200 and echo is None and int(answer.headers["content-length"]) > 0
assert socket is connection.sock, "a new connection"
answer, echo = ask("GET", "/last", headers={"Connection": "close"})
assert answer.status == 200 and answer.will_close
print("fine")
"#;

#[test]
fn pythons_http_client_keeps_one_connection() {
    let (backend, plimsoll, _) = echoing();
    let address = plimsoll.address("web").to_string();
    let output = tools::python(PYTHON, &[&address], Duration::from_secs(30));
    assert_eq!(output.stdout, "fine\n", "{output:?}");
    backend.assert_no_violations();
}

#[test]
fn wrk_meets_no_error() {
    let (backend, plimsoll, _) = echoing();
    let load = tools::wrk(plimsoll.address("web"), "/", 20, Duration::from_secs(1));
    assert!(
        load.requests > 100 && load.socket_errors == 0 && load.bad_statuses == 0,
        "{load:?}"
    );
    backend.assert_no_violations();
}

#[test]
fn ab_gets_every_answer_with_and_without_keep_alive() {
    let (_backend, plimsoll, _) = echoing();
    let url = format!("http://{}/", plimsoll.address("web"));
    for options in [&["-k"][..], &[]] {
        let mut command = std::process::Command::new("ab");
        // Lengths differ with the request's id and address.
        command
            .args(["-q", "-l", "-n", "300", "-c", "10"])
            .args(options)
            .arg(&url);
        let output = tools::run(&mut command, Duration::from_secs(30));
        assert!(output.stdout.contains("Failed requests:        0"), "{output:?}");
        assert!(!output.stdout.contains("Non-2xx"), "{output:?}");
        let kept = output
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("Keep-Alive requests:"));
        assert_eq!(kept.map(str::trim), options.first().map(|_| "300"), "{output:?}");
    }
}
