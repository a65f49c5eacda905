//! Where the access log goes: a file that is moved away, syslog, and fewer lines.

use std::net::UdpSocket;
use std::time::Duration;

use e2e::{Backend, PATIENCE, Plimsoll, Script, eventually};

fn start(log: &str) -> (Backend, Plimsoll) {
    let one = Backend::start(Script::Echo);
    let config = format!(
        "listeners.web = {{ bind = [\"@web@\"] }}\n[[routes]]\nmatch = {{ path = \"/api/*\" }}\npool = \"api\"\n\
         [pools.api]\nbackends = [\"@one@\"]\nhealth = false\n[log]\n{log}\n"
    );
    let plimsoll = Plimsoll::config(&config).address("one", one.address()).start();
    (one, plimsoll)
}

fn read(plimsoll: &Plimsoll, name: &str) -> String {
    std::fs::read_to_string(plimsoll.scratch().path().join(name)).unwrap_or_default()
}

#[test]
fn a_file_that_is_renamed_is_begun_anew_and_a_signal_has_it_done_at_once() {
    let (_one, plimsoll) = start("access = \"access.log\"");
    let path = |name: &str| plimsoll.scratch().path().join(name);
    plimsoll.get("web", "/api/first");
    eventually("the first line", || {
        read(&plimsoll, "access.log").contains("/api/first").then_some(())
    });
    std::fs::rename(path("access.log"), path("access.log.1")).expect("renamed");
    // Lines until then go on where they went; none is lost.
    eventually("a new file", || {
        plimsoll.get("web", "/api/second");
        read(&plimsoll, "access.log").contains("/api/second").then_some(())
    });
    assert!(read(&plimsoll, "access.log.1").contains("/api/first"));
    std::fs::rename(path("access.log"), path("access.log.2")).expect("renamed");
    plimsoll.signal("USR1");
    eventually("it is there without a line to write", || {
        path("access.log").exists().then_some(())
    });
    assert_eq!(plimsoll.metrics().sum("plimsoll_access_log_dropped_total", &[]), 0.0);
}

#[test]
fn lines_go_to_syslog_as_they_are() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    server.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let address = server.local_addr().expect("bound");
    let (_one, plimsoll) = start(&format!("access = \"syslog:{address}\""));
    plimsoll.get("web", "/api/x?secret=1");
    let mut buffer = [0; 4096];
    let count = server.recv(&mut buffer).expect("a datagram");
    let text = std::str::from_utf8(&buffer[..count]).expect("text");
    let (head, line) = text.split_once(" access - ").expect("RFC 5424");
    assert!(
        head.starts_with("<134>1 ") && head.contains(&plimsoll.pid().to_string()),
        "{head}"
    );
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!((&line["path"], &line["status"]), (&"/api/x".into(), &200.into()));
}

#[test]
fn of_what_went_well_a_part_is_written_and_of_what_failed_all() {
    let (_one, mut plimsoll) = start("access = \"access.log\"\nsample_percent = 20");
    for _ in 0..200 {
        assert_eq!(plimsoll.get("web", "/api/x").status, 200);
        assert_eq!(plimsoll.get("web", "/nowhere").status, 404);
    }
    assert!(plimsoll.terminate(Duration::from_secs(20)).success());
    let log = read(&plimsoll, "access.log");
    let count = |path: &str| log.lines().filter(|line| line.contains(path)).count();
    assert_eq!(count("/nowhere"), 200);
    // 40 are expected; 6 standard deviations are 34.
    assert!((6..=74).contains(&count("/api/x")), "{}", count("/api/x"));
}
