//! What a running process did with a request, asked afterwards: by the API and by `plimsoll explain`.

use e2e::{Backend, Plimsoll, Script, eventually, run_command};
use serde_json::Value;

const CONFIG: &str = r#"
    server.trusted_proxies = ["127.0.0.0/8"]
    listeners.web = { bind = ["@web@"] }
    listeners.untrusting = { bind = ["@untrusting@"], protocol = "tcp", pool = "gone" }
    [[routes]]
    name = "api"
    match = { path = "/api/*" }
    pool = "api"
    [[routes]]
    name = "gone"
    match = { path = "/gone/*" }
    filters = [{ kind = "rewrite", strip_prefix = "/gone" }]
    pool = "gone"
    [pools.api]
    backends = [{ name = "one", address = "@one@" }, { name = "dead", address = "@dead@" }]
    policy = "round-robin"
    health = false
    [pools.gone]
    backends = [{ name = "nobody", address = "@dead@" }]
    health = false
"#;

fn start() -> (Backend, Plimsoll) {
    let one = Backend::start(Script::Echo);
    let plimsoll = Plimsoll::config(CONFIG).address("one", one.address()).start();
    (one, plimsoll)
}

/// Sends a GET with this id and these fields besides.
fn ask(plimsoll: &Plimsoll, path: &str, id: &str, fields: &str) -> e2e::Reply {
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: shop.example\r\nauthorization: Bearer hush\r\ncookie: a=hush\r\n\
         x-request-id: {id}\r\n{fields}connection: close\r\n\r\n"
    );
    plimsoll.exchange("web", head)
}

fn decision(plimsoll: &Plimsoll, id: &str) -> Value {
    let path = format!("/api/v1/decisions/{id}");
    // It is kept when the answer has ended, which the client may see first.
    eventually(&path, || {
        let reply = plimsoll.admin(&path);
        (reply.status == 200).then(|| reply.json())
    })
}

fn steps(decision: &Value) -> String {
    decision["steps"].to_string()
}

#[test]
fn each_failure_is_found_by_its_id_with_what_was_tried_and_without_secrets() {
    let (_one, plimsoll) = start();
    assert_eq!(ask(&plimsoll, "/gone/x?token=hush", "first", "").status, 502);
    let told = decision(&plimsoll, "first");
    assert_eq!(
        (&told["route"], &told["pool"], &told["reason"], &told["status"]),
        (&"gone".into(), &"gone".into(), &"connect_failed".into(), &502.into())
    );
    assert_eq!(
        (&told["host"], &told["method"]),
        (&"shop.example".into(), &"GET".into())
    );
    assert!(steps(&told).contains("connect_failed after"), "{told:#}");
    assert!(!told.to_string().contains("hush"), "{told:#}");

    assert_eq!(ask(&plimsoll, "/nowhere", "second", "").status, 404);
    let told = decision(&plimsoll, "second");
    assert_eq!((&told["route"], &told["reason"]), (&Value::Null, &"no_route".into()));
    assert!(
        steps(&told).contains("/gone/*"),
        "each route says why it does not match: {told:#}"
    );
}

#[test]
fn a_retry_tells_both_attempts_and_what_won() {
    let (_one, plimsoll) = start();
    let retried = eventually("a request meets the dead backend first", || {
        for at in 0..8 {
            assert_eq!(ask(&plimsoll, "/api/x", &format!("try-{at}"), "").status, 200);
        }
        let list = plimsoll.admin("/api/v1/decisions?backend=dead&pool=api").json();
        list[0]["request_id"].as_str().map(str::to_owned)
    });
    let told = decision(&plimsoll, &retried);
    let attempts = told["attempts"].as_array().expect("attempts");
    assert_eq!(
        (&attempts[0]["backend"], &attempts[0]["error"]),
        (&"dead".into(), &"connect_failed".into())
    );
    assert_eq!(
        (&attempts[1]["backend"], &attempts[1]["status"]),
        (&"one".into(), &200.into())
    );
    assert_eq!(told["backend"], "one");
}

#[test]
fn a_trusted_sender_marks_a_request_and_gets_its_decisions_id() {
    let (_one, plimsoll) = start();
    // More than a second's sample: what is marked is kept all the same.
    for at in 0..60 {
        ask(&plimsoll, "/api/x", &format!("fill-{at}"), "");
    }
    let reply = ask(&plimsoll, "/api/y", "marked", "x-plimsoll-explain: 1\r\n");
    assert_eq!(reply.header("x-plimsoll-decision"), Some("marked"), "{reply:#?}");
    let told = decision(&plimsoll, "marked");
    let stages: Vec<&str> = told["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|step| step["stage"].as_str())
        .collect();
    for stage in ["listener", "request", "route", "member", "pick", "action"] {
        assert!(stages.contains(&stage), "{stage}: {told:#}");
    }
    assert_eq!(
        ask(&plimsoll, "/api/y", "unmarked", "").header("x-plimsoll-decision"),
        None
    );
}

#[test]
fn explain_asks_a_running_process_by_id_by_reason_and_by_url() {
    let (_one, plimsoll) = start();
    assert_eq!(ask(&plimsoll, "/gone/x", "strange/ id", "").status, 502);
    decision(&plimsoll, "strange%2F%20id");
    let admin = plimsoll.address("admin").to_string();
    let explain = |arguments: &[&str]| {
        run_command(
            plimsoll.scratch(),
            &[&["explain", "--admin", &admin], arguments].concat(),
        )
    };
    for arguments in [
        &["--request-id", "strange/ id"][..],
        &["--reason", "connect_failed"],
        &["--route", "gone"],
    ] {
        let told = explain(arguments);
        assert_eq!(told.code, Some(0), "{told:?}");
        assert!(
            told.stdout
                .starts_with("listener web → route gone → pool gone → backend nobody → connect_failed"),
            "{told:?}"
        );
    }
    let json = explain(&["--request-id", "strange/ id", "--json"]);
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["request_id"], "strange/ id");
    let live = explain(&[&format!("http://{}/api/x", plimsoll.address("web"))]);
    assert!(live.code == Some(0) && live.stdout.contains("route api"), "{live:?}");
    let none = explain(&["--request-id", "nobody-knows"]);
    assert!(
        none.code == Some(3) && none.stderr.contains("x-plimsoll-explain"),
        "{none:?}"
    );
    assert_eq!(explain(&[]).code, Some(2));
}

#[test]
fn a_connection_at_layer_4_that_failed_is_kept_too() {
    let (_one, plimsoll) = start();
    let mut wire = plimsoll.connect("untrusting");
    drop(wire.try_send("hello"));
    drop(wire);
    let told = eventually("it is kept", || {
        let list = plimsoll.admin("/api/v1/decisions?pool=gone&failed=true").json();
        (list[0]["listener"] == "untrusting").then(|| list[0].clone())
    });
    assert_eq!(
        (&told["protocol"], &told["reason"]),
        (&"TCP".into(), &"connect_failed".into())
    );
}
