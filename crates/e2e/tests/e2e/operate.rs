//! What operators do with a running process: look, drain, and find out what is wrong.

use std::time::Duration;

use e2e::{Backend, PATIENCE, Plimsoll, Scratch, Script, Wire, eventually, run_command};

const ONE_BACKEND: &str = r#"
    [listeners.web]
    bind = ["@web@"]
    pool = "api"

    [pools.api]
    backends = [{ name = "one", address = "@one@" }, { name = "two", address = "@two@" }]
    health = { interval = "200ms" }
"#;

fn two_backends(more: &str) -> (Backend, Backend, Plimsoll) {
    let (one, two) = (Backend::start(Script::Echo), Backend::start(Script::Echo));
    let plimsoll = Plimsoll::config(&format!("{more}\n{ONE_BACKEND}"))
        .address("one", one.address())
        .address("two", two.address())
        .start();
    plimsoll.wait_for_state("api", "one", "healthy");
    plimsoll.wait_for_state("api", "two", "healthy");
    (one, two, plimsoll)
}

#[test]
fn a_drained_backend_gets_nothing_new_until_it_is_ready_again() {
    let (_one, _two, plimsoll) = two_backends("");
    let path = "/api/v1/pools/api/backends/one";
    let drained = plimsoll.admin_send("PATCH", path, r#"{"state": "drain"}"#);
    assert_eq!(drained.status, 200, "{drained:#?}");
    assert_eq!(drained.json()["state"], "draining");
    let requests = |backend: usize| {
        let pool = plimsoll.admin("/api/v1/pools/api").json();
        pool["backends"][backend]["requests"].as_u64().unwrap_or_default()
    };
    // The view follows within a tenth of a second; from the first request that finds it, all do.
    std::thread::sleep(Duration::from_millis(300));
    let before = requests(0);
    for _ in 0..20 {
        assert_eq!(plimsoll.get("web", "/").status, 200);
    }
    // A request is counted once it has ended, which its client may see first.
    eventually("the other one got all of them", || (requests(1) >= 20).then_some(()));
    assert_eq!(requests(0), before);
    plimsoll.admin_send("PATCH", path, r#"{"state": "ready"}"#);
    eventually("it gets work again", || {
        plimsoll.get("web", "/");
        (requests(0) > before).then_some(())
    });
}

#[test]
fn serving_goes_on_when_nothing_can_be_said_on_standard_error() {
    let (mut one, two) = (Backend::start(Script::Echo), Backend::start(Script::Echo));
    let mut plimsoll = Plimsoll::config(ONE_BACKEND)
        .address("one", one.address())
        .address("two", two.address())
        .stderr("/dev/full")
        .start();
    plimsoll.wait_for_state("api", "one", "healthy");
    // Each change of state would be told.
    one.stop();
    plimsoll.wait_for_state("api", "one", "unhealthy");
    one.restart();
    plimsoll.wait_for_state("api", "one", "healthy");
    assert_eq!(plimsoll.get("web", "/").status, 200);
    plimsoll.signal("HUP");
    plimsoll.signal("TERM");
    assert_eq!(plimsoll.wait_for_exit(PATIENCE).code(), Some(0));
}

#[test]
fn a_taken_admin_port_is_said_before_anything_is_served() {
    let (_one, _two, plimsoll) = two_backends("");
    let taken = plimsoll.address("admin").to_string();
    let arguments = [
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--to",
        "127.0.0.1:1",
        "--admin",
        &taken,
    ];
    let output = run_command(&Scratch::new(), &arguments);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stderr.contains(&format!("admin cannot bind {taken}")),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("[admin] bind"), "{}", output.stderr);
}

#[test]
fn status_shows_what_runs_and_says_what_to_type_when_nothing_does() {
    let (_one, _two, plimsoll) = two_backends("");
    let scratch = Scratch::new();
    let admin = plimsoll.address("admin").to_string();
    let shown = run_command(&scratch, &["status", "--admin", &admin]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for word in [
        "ready",
        "pool api (least-connections)",
        "one",
        "two",
        "healthy",
        "checks pass",
    ] {
        assert!(shown.stdout.contains(word), "{word}: {}", shown.stdout);
    }
    let json = run_command(&scratch, &["status", "--json", "--admin", &admin]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["pools"][0]["backends"][1]["name"], "two");

    drop(plimsoll);
    let nobody = run_command(&scratch, &["status", "--admin", &admin]);
    assert_eq!((nobody.code, nobody.stdout.as_str()), (Some(3), ""));
    assert!(
        nobody.stderr.contains(&admin) && nobody.stderr.contains("--admin"),
        "{}",
        nobody.stderr
    );
}

#[test]
fn a_token_is_wanted_where_one_is_configured() {
    let (one, token) = (Backend::start(Script::Echo), "0123456789abcdef0123456789abcdef");
    let plimsoll = Plimsoll::config(
        r#"
        listeners.web = { bind = ["@web@"], pool = "api" }
        pools.api.backends = ["@one@"]
        [admin]
        bind = "@admin@"
        token_file = "admin.token"
        "#,
    )
    .address("one", one.address())
    .file("admin.token", format!("{token}\n"))
    .start();
    assert_eq!(plimsoll.admin("/healthz").status, 200);
    assert_eq!(plimsoll.admin("/metrics").status, 401);
    assert_eq!(plimsoll.admin("/api/v1/status").status, 401);
    let admin = plimsoll.address("admin").to_string();
    let refused = run_command(plimsoll.scratch(), &["status", "--admin", &admin]);
    assert!(
        refused.code == Some(3) && refused.stderr.contains("--token-file"),
        "{refused:?}"
    );
    let shown = run_command(
        plimsoll.scratch(),
        &["status", "--admin", &admin, "--token-file", "admin.token"],
    );
    assert_eq!(shown.code, Some(0), "{shown:?}");
}

#[test]
fn the_access_log_holds_every_request_by_the_end() {
    let (_one, _two, mut plimsoll) = two_backends("log.access = \"./access.log\"");
    for at in 0..50 {
        assert_eq!(plimsoll.get("web", &format!("/{at}?secret=1")).status, 200);
    }
    assert!(plimsoll.terminate(PATIENCE).success());
    let log = plimsoll.scratch().read("access.log");
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("one JSON object a line"))
        .collect();
    assert_eq!(lines.len(), 50);
    assert!(lines.iter().all(|line| line["status"] == 200 && line["pool"] == "api"));
    assert!(!log.contains("secret"));
}

#[test]
fn an_access_log_that_cannot_be_opened_is_an_error_at_the_start() {
    let scratch = Scratch::new();
    let config = "listeners.web = { bind = [\"127.0.0.1:0\"], pool = \"api\" }\npools.api.backends = [\"127.0.0.1:1\"]\n\
                  log.access = \"/nonexistent/access.log\"\nadmin.bind = \"off\"\n";
    scratch.write("plimsoll.toml", config);
    let output = run_command(&scratch, &["run", "-c", "plimsoll.toml"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("/nonexistent/access.log"), "{}", output.stderr);
}

#[test]
fn a_log_that_is_not_there_is_not_begun_anew() {
    let (_one, _two, plimsoll) = two_backends("");
    plimsoll.signal("USR1");
    eventually("it is said", || {
        plimsoll.stderr().contains("no access log").then_some(())
    });
    assert_eq!(plimsoll.get("web", "/").status, 200);
}

#[test]
fn readyz_turns_while_a_drain_lets_work_end() {
    let (one, admin) = (Backend::start(Script::Echo), "readyz");
    let mut plimsoll = Plimsoll::config(
        "server.drain_timeout = \"3s\"\nlisteners.web = { bind = [\"@web@\"], protocol = \"tcp\", pool = \"api\" }\n\
         pools.api.backends = [\"@one@\"]\n",
    )
    .address("one", one.address())
    .start();
    let mut held: Wire = plimsoll.connect("web");
    assert_eq!(held.get("/").status, 200);
    plimsoll.signal("TERM");
    eventually(admin, || (plimsoll.admin("/readyz").status == 503).then_some(()));
    assert_eq!(plimsoll.admin("/healthz").status, 200);
    assert_eq!(plimsoll.admin("/api/v1/status").json()["draining"], true);
    drop(held);
    assert!(plimsoll.wait_for_exit(PATIENCE).success());
}
