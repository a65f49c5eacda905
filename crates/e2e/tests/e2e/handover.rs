//! Upgrade: another process takes over, and nobody notices.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use e2e::{Backend, PATIENCE, Plimsoll, Script, eventually, eventually_within, tools};

use crate::front::front;
use crate::http3;
use crate::tls::{s_client_says, secured, shop};

/// A process that runs a copy of the binary, before a backend that echoes and drips.
pub(crate) fn replaceable(backend: &Backend, more: &str) -> Plimsoll {
    let text = format!(
        r#"
        [server]
        workers = 2
        drain_timeout = "20s"
        {more}
        [listeners.web]
        bind = ["@web@"]
        protocol = "http"
        [[routes]]
        name = "all"
        pool = "api"
        [pools.api]
        backends = ["{}"]
        "#,
        backend.address()
    );
    Plimsoll::config(&text).own_binary().start()
}

/// Puts a script in the place of the binary.
pub(crate) fn replace_binary(plimsoll: &Plimsoll, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let (new, place) = ("another", plimsoll.scratch().path().join("plimsoll"));
    let written = plimsoll.scratch().write(new, script);
    std::fs::set_permissions(&written, std::fs::Permissions::from_mode(0o755)).expect("it can be made executable");
    std::fs::rename(written, place).expect("it takes the place of the binary");
}

#[test]
fn nothing_is_lost_when_another_process_takes_over() {
    let backend = Backend::start(Script::by_path([
        (
            "/slow",
            Script::Drip {
                bytes: format!("HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n{}", "x".repeat(60)).into(),
                pause: Duration::from_millis(80),
            },
        ),
        ("/chat", Script::WebSocket),
        ("/", Script::Echo),
    ]));
    let mut plimsoll = replaceable(&backend, "");
    let address = plimsoll.address("web");
    let mut slow = plimsoll.connect("web");
    slow.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut chat = plimsoll.connect("web");
    chat.send(crate::upgrade::HANDSHAKE);
    assert_eq!(chat.reply().status, 101);
    let (stop, first) = (AtomicBool::new(false), plimsoll.pid());
    let loads: Vec<tools::Load> = std::thread::scope(|scope| {
        // Kept connections, and one for each request.
        let kept = scope.spawn(|| tools::wrk(address, "/", 20, Duration::from_secs(8)));
        let fresh = scope.spawn(|| {
            let mut served = 0;
            while !stop.load(Relaxed) {
                let mut wire = e2e::Wire::try_connect(address).expect("never refused");
                wire.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
                assert_eq!(wire.reply().status, 200);
                served += 1;
            }
            served
        });
        for _ in 0..3 {
            plimsoll.upgrade();
        }
        let kept = kept.join().expect("wrk ends");
        stop.store(true, Relaxed);
        assert!(fresh.join().expect("never refused") > 100);
        vec![kept]
    });
    for load in loads {
        assert!(load.requests > 100, "{load:?}");
        assert_eq!((load.socket_errors, load.bad_statuses), (0, 0), "{load:?}");
    }
    // What was under way at the first one is still there, and comes to its end.
    chat.send("still here");
    assert_eq!(chat.read_bytes(10), b"still here");
    assert_eq!(slow.reply().body.len(), 60);
    drop(chat);
    assert_eq!(
        plimsoll.wait_for_exit(PATIENCE).code(),
        Some(0),
        "{first} ends when all is done"
    );
    assert_eq!(plimsoll.get("web", "/").status, 200);
}

#[test]
fn the_health_of_backends_and_what_operators_set_go_over() {
    let (well, ill) = (Backend::start(Script::Echo), Backend::refusing());
    let text = format!(
        r#"
        [server]
        workers = 1
        [listeners.web]
        bind = ["@web@"]
        protocol = "http"
        [[routes]]
        name = "all"
        pool = "api"
        [pools.api]
        backends = [
          {{ name = "well", address = "{}" }},
          {{ name = "ill", address = "{}" }},
          {{ name = "out", address = "127.0.0.9:1" }},
        ]
        health = {{ http = "/", interval = "1h", timeout = "1s" }}
        "#,
        well.address(),
        ill.address()
    );
    let mut plimsoll = Plimsoll::config(&text).start();
    plimsoll.wait_for_state("api", "ill", "unhealthy");
    plimsoll.wait_for_state("api", "well", "healthy");
    let path = |backend: &str| format!("/api/v1/pools/api/backends/{backend}");
    for (backend, change) in [("out", r#"{"state":"maintenance"}"#), ("well", r#"{"weight":7}"#)] {
        assert_eq!(plimsoll.admin_send("PATCH", &path(backend), change).status, 200);
    }
    let closed = plimsoll.admin_send("PATCH", "/api/v1/routes/all", r#"{"maintenance":true}"#);
    assert_eq!(closed.status, 200);
    let checked = well.requests();
    plimsoll.upgrade();
    let pool = plimsoll.admin("/api/v1/pools/api").json();
    let told: Vec<String> = pool["backends"]
        .as_array()
        .expect("backends")
        .iter()
        .map(|backend| format!("{} {} {}", backend["name"], backend["state"], backend["weight"]))
        .collect();
    assert_eq!(
        told,
        [
            r#""well" "healthy" 7"#,
            r#""ill" "unhealthy" 1"#,
            r#""out" "maintenance" 1"#
        ]
    );
    assert_eq!(plimsoll.get("web", "/").status, 503, "the route is still closed");
    let opened = plimsoll.admin_send("PATCH", "/api/v1/routes/all", r#"{"maintenance":null}"#);
    assert_eq!(opened.status, 200);
    assert_eq!(plimsoll.get("web", "/").status, 200);
    // It is checked again, but nobody has waited for it.
    eventually("the new process checks for itself", || {
        (well.requests() > checked + 1).then_some(())
    });
}

#[test]
fn a_new_process_that_fails_leaves_the_old_one_serving() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = replaceable(&backend, "");
    let says = |what: &str| {
        eventually_within(PATIENCE * 2, what, || plimsoll.stderr().contains(what).then_some(()));
        assert_eq!(plimsoll.get("web", "/").status, 200);
        assert_eq!(plimsoll.serving_pid(), plimsoll.pid());
        assert_eq!(plimsoll.admin("/readyz").status, 200);
    };
    replace_binary(&plimsoll, "#!/bin/sh\nexit 7\n");
    plimsoll.signal("USR2");
    says("exit status: 7");
    // It is there, and never calls: somebody ends it.
    replace_binary(&plimsoll, "#!/bin/sh\necho $$ >stuck\nexec sleep 600\n");
    plimsoll.signal("USR2");
    let stuck = eventually("it has begun", || {
        plimsoll.scratch().read("stuck").trim().parse::<u32>().ok()
    });
    tools::signal(stuck, "KILL");
    says("signal: 9");
    std::fs::remove_file(plimsoll.scratch().path().join("plimsoll")).expect("it is there");
    plimsoll.signal("USR2");
    says("cannot be started");
}

#[test]
fn a_configuration_that_is_wrong_keeps_the_old_process() {
    let backend = Backend::start(Script::Echo);
    let mut plimsoll = replaceable(&backend, "");
    plimsoll.rewrite_config("[listeners.web]\nbind = [\"@web@\"]\nprotocol = \"htpp\"\n");
    let refused = tools::run(
        Command::new(e2e::plimsoll_binary()).args(["upgrade", "--admin", &plimsoll.address("admin").to_string()]),
        PATIENCE,
    );
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("exit status: 1"), "{refused:?}");
    assert!(
        plimsoll.stderr().contains("did you mean \"http\"?"),
        "the new one has said why"
    );
    assert_eq!(plimsoll.get("web", "/").status, 200);
    assert_eq!(plimsoll.serving_pid(), plimsoll.pid());
}

#[test]
fn the_command_says_who_serves_now_and_listeners_may_come_and_go() {
    let backend = Backend::start(Script::Echo);
    let mut plimsoll = replaceable(&backend, "");
    let text = format!(
        r#"
        [server]
        workers = 3
        [listeners.web]
        bind = ["@web@"]
        protocol = "http"
        [listeners.more]
        bind = ["@more@"]
        protocol = "http"
        [[routes]]
        name = "all"
        pool = "api"
        [pools.api]
        backends = ["{}"]
        "#,
        backend.address()
    );
    plimsoll.rewrite_config(&text);
    let first = plimsoll.pid();
    let said = tools::run(
        Command::new(e2e::plimsoll_binary()).args(["upgrade", "--admin", &plimsoll.address("admin").to_string()]),
        PATIENCE,
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    let second = plimsoll.wait_for_successor(first);
    assert!(said.stdout.contains(&second.to_string()), "{said:?}");
    assert_eq!(plimsoll.get("more", "/").status, 200);
    // With fewer workers than sockets each of these is still looked after.
    plimsoll.rewrite_config(&text.replace("workers = 3", "workers = 1"));
    plimsoll.upgrade();
    for _ in 0..30 {
        assert_eq!(plimsoll.get("web", "/").status, 200);
    }
    assert_eq!(plimsoll.wait_for_exit(PATIENCE).code(), Some(0));
}

#[test]
fn sessions_of_tls_are_taken_up_by_the_process_that_takes_over() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let mut plimsoll = secured(&authority, "").before(backend.address());
    let ask = "GET / HTTP/1.1\\r\\nhost: shop.test\\r\\nconnection: close\\r\\n\\r\\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let asked = |plimsoll: &Plimsoll, session: &str| {
            let more = [version, "-ign_eof", "-servername", "shop.test", session, "session"];
            s_client_says(&authority, plimsoll, ask, &more).stdout
        };
        let first = asked(&plimsoll, "-sess_out");
        assert!(first.contains("New, TLSv1"), "{first}");
        plimsoll.upgrade();
        let again = asked(&plimsoll, "-sess_in");
        assert!(again.contains("Reused, TLSv1"), "{version}: {again}");
    }
}

/// What of `/proc/PID/status` begins with `key:`.
fn status_of(pid: u32, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.expect("a line").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn root_is_given_up_but_for_ports_below_1024_and_so_it_stays() {
    let root = std::fs::metadata("/proc/self").expect("procfs is mounted");
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&root),
        0,
        "this test has to run as root"
    );
    let backend = Backend::start(Script::Echo);
    // 127.3.x.y: nobody else listens there.
    let text = format!(
        r#"
        [server]
        user = "nobody"
        [listeners.web]
        bind = ["127.3.0.{}:80"]
        protocol = "http"
        [[routes]]
        name = "all"
        pool = "api"
        [pools.api]
        backends = ["{}"]
        "#,
        std::process::id() % 250 + 1,
        backend.address()
    );
    let setup = Plimsoll::config(&text);
    let mut plimsoll = setup.start();
    for _ in 0..2 {
        let pid = plimsoll.serving_pid();
        assert_eq!(status_of(pid, "Uid"), "65534 65534 65534 65534");
        assert_eq!(status_of(pid, "Groups"), "");
        assert_eq!(
            status_of(pid, "CapEff"),
            "0000000000000400",
            "CAP_NET_BIND_SERVICE alone"
        );
        assert_eq!(status_of(pid, "CapPrm"), "0000000000000400");
        assert_eq!(status_of(pid, "NoNewPrivs"), "1");
        plimsoll.upgrade();
    }
}

#[test]
fn a_user_that_is_not_there_is_told_before_anything_is_bound() {
    let text = "[server]\nuser = \"ghost\"\n[listeners.web]\nbind = [\"@web@\"]\nprotocol = \"http\"\n";
    let mut plimsoll = Plimsoll::config(text).spawn();
    assert_eq!(plimsoll.wait_for_exit(PATIENCE).code(), Some(1));
    let said = plimsoll.stderr();
    assert!(said.contains("there is no user `ghost` in /etc/passwd"), "{said}");
}

#[test]
fn systemd_is_told_who_serves_and_that_all_is_well() {
    let backend = Backend::start(Script::Echo);
    let directory = e2e::Scratch::new();
    let path = directory.path().join("notify");
    let heard = UnixDatagram::bind(&path).expect("a socket");
    heard.set_read_timeout(Some(PATIENCE)).expect("a time");
    let hear = |what: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = heard
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if said.lines().any(|line| line.starts_with(what)) {
                return said;
            }
        }
    };
    let mut plimsoll = front()
        .setup(backend.address())
        .environment("NOTIFY_SOCKET", &path.display().to_string())
        .environment("WATCHDOG_USEC", "200000")
        .start();
    hear("READY=1");
    hear("WATCHDOG=1");
    let after = plimsoll.upgrade();
    assert!(hear("MAINPID=").contains(&format!("MAINPID={after}")));
    hear("WATCHDOG=1");
    tools::signal(after, "TERM");
    hear("STOPPING=1");
}

#[test]
fn sockets_that_systemd_has_opened_are_taken() {
    let backend = Backend::start(Script::Echo);
    // systemd's own tool for trying this out: it opens, waits for the first client, and becomes the program.
    let setup = front().setup(backend.address());
    let mut plimsoll = setup.through(&["systemd-socket-activate", "-l", "@web@"]).spawn();
    eventually("the first client is served", || {
        let mut wire = e2e::Wire::try_connect(plimsoll.address("web")).ok()?;
        Some(wire.get("/").status).filter(|status| *status == 200)
    });
    assert!(
        plimsoll.stderr().contains("socket was handed over"),
        "{}",
        plimsoll.stderr()
    );
    plimsoll.upgrade();
    assert_eq!(plimsoll.get("web", "/").status, 200);
    assert_eq!(plimsoll.wait_for_exit(PATIENCE).code(), Some(0));
}

#[test]
fn http3_is_spoken_by_the_process_that_takes_over() {
    let authority = http3::authority();
    let backend = Backend::start(Script::Echo);
    let mut plimsoll = http3::speaking(&authority, "")
        .server("workers = 2")
        .before(backend.address());
    for _ in 0..3 {
        let answer = http3::play(&plimsoll, &authority, &["ask", "GET", "/"]);
        assert_eq!(answer["status"], 200, "{answer}");
        plimsoll.upgrade();
        // On either worker, with clients that change their port.
        let moved = http3::play(&plimsoll, &authority, &["rebind", "8"]);
        assert_eq!(moved["fine"], 16, "{moved}");
    }
}
