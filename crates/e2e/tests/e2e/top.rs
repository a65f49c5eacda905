//! `plimsoll top`: what the dashboard shows, in a terminal.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use e2e::{Backend, Plimsoll, Script, run_command, tools};

const CONFIG: &str = r#"
    listeners.web = { bind = ["@web@"], pool = "api" }
    [pools.api]
    backends = [{ name = "one", address = "@one@" }, { name = "dead", address = "@dead@" }]
    health = { interval = "200ms", fall = 1 }
"#;

fn start() -> (Backend, Plimsoll) {
    let one = Backend::start(Script::Echo);
    let plimsoll = Plimsoll::config(CONFIG).address("one", one.address()).start();
    plimsoll.wait_for_state("api", "dead", "unhealthy");
    (one, plimsoll)
}

/// Does this while requests come.
fn under_load<T>(plimsoll: &Plimsoll, then: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                plimsoll.get("web", "/");
            }
        });
        let result = then();
        over.store(true, Relaxed);
        result
    })
}

#[test]
fn without_a_terminal_a_table_is_printed_once() {
    let (_one, plimsoll) = start();
    let admin = plimsoll.address("admin").to_string();
    let table = under_load(&plimsoll, || {
        run_command(plimsoll.scratch(), &["top", "--admin", &admin])
    });
    assert_eq!(table.code, Some(0), "{table:?}");
    for words in [
        "ready",
        "POOL",
        "1 healthy  1 unhealthy",
        "one",
        "unhealthy",
        "of 1024",
        "it is unhealthy (checks fail",
    ] {
        assert!(table.stdout.contains(words), "{words}: {}", table.stdout);
    }
    assert!(!table.stdout.contains('\x1b'), "{}", table.stdout);

    let json = under_load(&plimsoll, || {
        run_command(plimsoll.scratch(), &["top", "--json", "--admin", &admin])
    });
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert!(
        json["node"]["requests_per_s"].as_f64().is_some_and(|rate| rate > 0.0),
        "{json:#}"
    );
    assert!(json["node"]["p99_ms"].is_number() && json["pool"] == "api", "{json:#}");
    assert_eq!(json["backends"].as_array().map(Vec::len), Some(2));
}

#[test]
fn in_a_terminal_it_is_live_until_it_is_interrupted_and_gives_the_terminal_back() {
    let (_one, plimsoll) = start();
    let admin = plimsoll.address("admin").to_string();
    let binary = e2e::plimsoll_binary().display().to_string();
    // A terminal of 80 by 24, whose other end is read here.
    let script = r#"
import os, pty, signal, struct, sys, fcntl, termios, time, select
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], sys.argv[1:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
out, begun, told = b"", time.time(), False
while time.time() - begun < 30:
    if select.select([fd], [], [], 0.1)[0]:
        try:
            out += os.read(fd, 65536)
        except OSError:
            break
    if not told and b"BACKEND" in out:
        os.write(fd, b"\x03")
        told = True
_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(out)
sys.exit(os.waitstatus_to_exitcode(status))
"#;
    let output = tools::python(
        script,
        &[&binary, "top", "--admin", &admin],
        std::time::Duration::from_secs(40),
    );
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.stdout.contains("\x1b[?1049h") && output.stdout.ends_with("\x1b[?25h\x1b[?1049l"),
        "{output:?}"
    );
}

#[test]
fn a_process_that_is_not_there_is_said() {
    let (_one, plimsoll) = start();
    let admin = plimsoll.address("admin").to_string();
    drop(plimsoll);
    let nobody = run_command(&e2e::Scratch::new(), &["top", "--admin", &admin]);
    assert!(
        nobody.code == Some(3) && nobody.stderr.contains("--admin"),
        "{nobody:?}"
    );
}
