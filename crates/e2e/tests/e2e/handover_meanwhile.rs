//! While another process takes over, and after: what operators do meanwhile, and what the process before still has.

use std::thread;
use std::time::Duration;

use e2e::{Backend, Output, PATIENCE, Plimsoll, Scratch, Script, eventually, run_command, stays};

use crate::handover::{replace_binary, replaceable};

fn command(plimsoll: &Plimsoll, arguments: &[&str]) -> Output {
    let admin = plimsoll.address("admin").to_string();
    run_command(&Scratch::new(), &[arguments, &["--admin", &admin]].concat())
}

/// Puts a program in the place of the binary that becomes it once `go` is there.
fn hesitate(plimsoll: &Plimsoll) {
    let binary = e2e::plimsoll_binary();
    let script = format!(
        "#!/bin/sh\necho $$ >begun\nwhile [ ! -e go ]; do sleep 0.02; done\nexec {} \"$@\"\n",
        binary.display()
    );
    replace_binary(plimsoll, &script);
}

/// The process that was started and has not become the binary yet.
fn hesitating(plimsoll: &Plimsoll) -> u32 {
    eventually("it has begun", || plimsoll.scratch().read("begun").trim().parse().ok())
}

#[test]
fn what_an_operator_sets_while_another_process_starts_is_kept() {
    let backend = Backend::start(Script::Echo);
    let mut plimsoll = replaceable(&backend, "");
    let before = plimsoll.serving_pid();
    hesitate(&plimsoll);
    plimsoll.signal("USR2");
    hesitating(&plimsoll);
    let path = format!("/api/v1/pools/api/backends/{}", backend.address());
    for change in [r#"{"weight":7}"#, r#"{"state":"drain"}"#] {
        assert_eq!(plimsoll.admin_send("PATCH", &path, change).status, 200);
    }
    plimsoll.scratch().write("go", "");
    plimsoll.wait_for_successor(before);
    let found = plimsoll.admin("/api/v1/pools/api").json()["backends"][0].clone();
    assert_eq!(
        (&found["state"], &found["weight"]),
        (&"draining".into(), &7.into()),
        "{found}"
    );
}

#[test]
fn who_is_told_to_stop_while_another_process_starts_stops() {
    let backend = Backend::start(Script::Echo);
    let mut plimsoll = replaceable(&backend, "");
    hesitate(&plimsoll);
    let admin = plimsoll.address("admin").to_string();
    let upgrading = thread::spawn(move || run_command(&Scratch::new(), &["upgrade", "--admin", &admin]));
    let other = hesitating(&plimsoll);
    plimsoll.signal("TERM");
    let refused = upgrading.join().expect("the command");
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("told to stop"), "{refused:?}");
    let exit = plimsoll.wait_for_exit(PATIENCE * 2);
    assert!(exit.success(), "{exit}");
    plimsoll.scratch().write("go", "");
    let gone = || (!std::path::Path::new(&format!("/proc/{other}")).exists()).then_some(());
    eventually("the other is ended", gone);
    assert!(std::net::TcpStream::connect(plimsoll.address("web")).is_err());
}

#[test]
fn a_new_process_whose_predecessor_is_killed_while_it_starts_serves_alone() {
    let backend = Backend::start(Script::Echo);
    let mut plimsoll = replaceable(&backend, "");
    let before = plimsoll.serving_pid();
    hesitate(&plimsoll);
    plimsoll.signal("USR2");
    hesitating(&plimsoll);
    plimsoll.signal("KILL");
    let exit = plimsoll.wait_for_exit(PATIENCE);
    assert!(!exit.success(), "{exit}");
    plimsoll.scratch().write("go", "");
    plimsoll.wait_for_successor(before);
    assert_eq!(plimsoll.get("web", "/").status, 200);
    assert!(
        plimsoll.stderr().contains("goes on alone with sockets of its own"),
        "{}",
        plimsoll.stderr()
    );
}

#[test]
fn signals_that_come_while_a_process_starts_do_not_end_it() {
    // Large enough that it takes a while to be read.
    let routes: String = (0..5_000)
        .map(|at| format!("[[routes]]\nmatch = {{ path = \"/{at}\" }}\nrespond = {{ body = \"{at}\" }}\n"))
        .collect();
    let mut plimsoll = Plimsoll::config(&format!("[listeners.web]\nbind = [\"@web@\"]\n{routes}")).spawn();
    let status = format!("/proc/{}/status", plimsoll.pid());
    eventually("it takes signals", || {
        let text = std::fs::read_to_string(&status).ok()?;
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        // SIGHUP, SIGUSR1 and SIGUSR2 are 1, 10 and 12 (signal(7)).
        [1, 10, 12]
            .iter()
            .all(|signal| caught >> (signal - 1) & 1 == 1)
            .then_some(())
    });
    let early = std::net::TcpStream::connect(plimsoll.address("web")).is_err();
    for name in ["HUP", "USR1"] {
        plimsoll.signal(name);
    }
    plimsoll.wait_until_ready();
    assert!(early, "it was not serving yet");
    eventually("the reload that was asked for is done", || {
        (plimsoll.admin("/api/v1/status").json()["generation"] == 2).then_some(())
    });
    assert_eq!(plimsoll.get("web", "/7").text(), "7");
}

#[test]
fn a_backend_can_be_stopped_once_the_process_before_has_done_with_it_too() {
    let backend = Backend::start(Script::by_path([("/chat", Script::WebSocket), ("/", Script::Echo)]));
    let mut plimsoll = replaceable(&backend, "");
    let mut held: Vec<_> = (0..2)
        .map(|_| {
            let mut wire = plimsoll.connect("web");
            wire.send("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
            assert_eq!(wire.reply().status, 101);
            wire
        })
        .collect();
    let first = plimsoll.serving_pid();
    let upgraded = command(&plimsoll, &["upgrade"]);
    assert_eq!(upgraded.code, Some(0), "{upgraded:?}");
    // At once, as a script would.
    let path = format!("/api/v1/pools/api/backends/{}", backend.address());
    let drained = plimsoll.admin_send("PATCH", &path, r#"{"state":"drain"}"#).json();
    assert_eq!(
        (&drained["in_flight"], &drained["in_flight_before"]),
        (&0.into(), &2.into()),
        "{drained}"
    );
    let status = plimsoll.admin("/api/v1/status").json();
    assert_eq!(status["before"]["pid"], first);
    // The one that takes over next knows of both.
    plimsoll.upgrade();
    let admin = plimsoll.address("admin").to_string();
    let drain = thread::spawn(move || run_command(&Scratch::new(), &["drain", "api", "--wait", "--admin", &admin]));
    stays(Duration::from_millis(800), "it waits", || !drain.is_finished());
    drop(held.pop());
    stays(Duration::from_millis(500), "it waits for the last one", || {
        !drain.is_finished()
    });
    drop(held.pop());
    let drained = drain.join().expect("the command");
    assert_eq!(drained.code, Some(0), "{drained:?}");
    assert!(
        drained.stderr.contains("in flight with the process before the upgrade"),
        "{drained:?}"
    );
    assert!(drained.stdout.contains("it can be stopped"), "{drained:?}");
    let gone = || {
        plimsoll.admin("/api/v1/status").json()["before"]
            .is_null()
            .then_some(())
    };
    eventually("nobody is left before", gone);
    let exit = plimsoll.wait_for_exit(PATIENCE * 2);
    assert!(exit.success(), "the first process has ended well: {exit}");
}

#[test]
fn a_shift_goes_on_in_the_process_that_takes_over() {
    let (blue, green) = (Backend::start(Script::Echo), Backend::start(Script::Echo));
    let text = r#"
        [listeners.web]
        bind = ["@web@"]
        [[routes]]
        name = "shop"
        split = [{ pool = "blue", weight = 100 }, { pool = "green", weight = 0 }]
        [pools.blue]
        backends = ["@blue@"]
        [pools.green]
        backends = ["@green@"]
        "#;
    let mut plimsoll = Plimsoll::config(text)
        .address("blue", blue.address())
        .address("green", green.address())
        .start();
    let admin = plimsoll.address("admin").to_string();
    let shifting = thread::spawn(move || {
        let words = [
            "shift",
            "shop",
            "green=100",
            "--over",
            "4s",
            "--abort-if",
            "p99 > 10s",
            "--admin",
            &admin,
        ];
        e2e::tools::run(
            std::process::Command::new(e2e::plimsoll_binary()).args(words),
            PATIENCE * 4,
        )
    });
    let shift = |plimsoll: &Plimsoll| plimsoll.admin("/api/v1/routes").json()[0]["shift"].clone();
    let begun = eventually("it is under way", || {
        let shift = shift(&plimsoll);
        (shift["percent"].as_f64()? > 10.0).then_some(shift)
    });
    plimsoll.upgrade();
    let after = shift(&plimsoll);
    for same in ["id", "state", "over_s", "abort_if", "before", "to"] {
        assert_eq!(after[same], begun[same], "{after}");
    }
    eventually("it goes on", || {
        (shift(&plimsoll)["percent"].as_f64()? > 50.0).then_some(())
    });
    plimsoll.upgrade();
    // It is watched for a while after its end, and can still be taken back.
    eventually("nothing goes to blue any more", || {
        let split = plimsoll.admin("/api/v1/routes").json()[0]["split"].clone();
        (split[0]["weight"] == 0).then_some(())
    });
    let back = command(&plimsoll, &["shift", "shop", "--back"]);
    assert_eq!(back.stdout, "shop: cancelled: blue 100 %, green 0 %\n", "{back:?}");
    let shifted = shifting.join().expect("the command");
    assert_eq!(shifted.code, Some(3), "{shifted:?}");
    assert!(shifted.stderr.contains("cancelled"), "{shifted:?}");
}
