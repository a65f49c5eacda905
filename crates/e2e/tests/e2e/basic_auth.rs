//! The filter `basic-auth`, with passwords that others hashed and clients that others wrote.

use std::process::Command;
use std::time::Duration;

use e2e::tools::{curl, run};
use e2e::{Backend, Plimsoll, Script, eventually};

const CONFIG: &str = r#"
    [server]
    trusted_proxies = ["127.0.0.1/32"]
    [log]
    access = "access.log"
    [listeners.web]
    bind = "@web@"
    [[routes]]
    name = "staff"
    match = { path = "/staff/*" }
    filters = [{ kind = "basic-auth", file = "users", realm = "Staff only", user_header = "x-user" }]
    pool = "p"
    [[routes]]
    name = "hidden"
    match = { path = "/hidden" }
    filters = [{ kind = "basic-auth", file = "users", remove_authorization = true }]
    pool = "p"
    [[routes]]
    name = "open"
    pool = "p"
    [pools.p]
    backends = ["@one@"]
    health = false
"#;

/// A line as `htpasswd -B` writes it.
fn htpasswd(user: &str, password: &str, cost: &str) -> String {
    let made = run(
        Command::new("htpasswd").args(["-nbB", "-C", cost, user, password]),
        Duration::from_secs(20),
    );
    assert_eq!(made.code, Some(0), "{made:?}");
    made.stdout.trim().to_owned() + "\n"
}

/// A line with a hash by the reference implementation of argon2.
fn argon2(user: &str, password: &str) -> String {
    let script = format!("printf %s '{password}' | argon2 saltsaltsalt -id -t 2 -m 10 -p 2 -e");
    let made = run(Command::new("sh").args(["-c", &script]), Duration::from_secs(20));
    assert_eq!(made.code, Some(0), "{made:?}");
    format!("{user}:{}\n", made.stdout.trim())
}

fn start(users: &str, config: &str) -> (Backend, Plimsoll) {
    let backend = Backend::named("one", Script::Echo);
    let setup = Plimsoll::config(config).address("one", backend.address());
    (backend, setup.file("users", users).start())
}

fn status(plimsoll: &Plimsoll, user: &str, path: &str) -> String {
    let url = format!("http://{}{path}", plimsoll.address("web"));
    curl(&["-o", "/dev/null", "-w", "%{http_code}", "-u", user, &url]).stdout
}

#[test]
fn passwords_that_others_hashed_let_in_and_no_others_do() {
    let users = htpasswd("ann", "s3cret", "5") + &argon2("bob", "tr0ub4dor:3");
    let (backend, plimsoll) = start(&users, CONFIG);
    assert_eq!(status(&plimsoll, "ann:s3cret", "/staff/x"), "200");
    let seen = backend.seen().pop().expect("it came");
    assert_eq!(seen.head.header("x-user"), Some("ann"));
    assert_eq!(seen.head.header("authorization"), Some("Basic YW5uOnMzY3JldA=="));
    assert_eq!(status(&plimsoll, "bob:tr0ub4dor:3", "/hidden"), "200");
    let seen = backend.seen().pop().expect("it came");
    assert_eq!(seen.head.header("authorization"), None);
    for wrong in [
        "ann:tr0ub4dor:3",
        "ann:",
        "bob:s3cret",
        "eve:s3cret",
        "ANN:s3cret",
        ":",
        "ann:s3cret\u{e9}",
    ] {
        assert_eq!(status(&plimsoll, wrong, "/staff/x"), "401", "{wrong}");
    }
    let huge = "x".repeat(20_000);
    for shown in [
        "",
        "authorization: Basic\r\n",
        "authorization: Basic YW5u\r\n",
        "authorization: Basic ****\r\n",
        "authorization: Basic YW5uOv8=\r\n",
        "authorization: Bearer YW5uOnMzY3JldA==\r\n",
        "authorization: Basic YW5uOnMzY3JldA==\r\nauthorization: Basic YW5uOnMzY3JldA==\r\n",
        &format!("authorization: Basic {huge}\r\n"),
    ] {
        let reply = plimsoll.exchange("web", format!("GET /staff/ HTTP/1.1\r\nhost: a\r\n{shown}\r\n"));
        reply.assert_reason(401, "unauthorized");
        let challenge = "Basic realm=\"Staff only\", charset=\"UTF-8\"";
        assert_eq!(reply.header("www-authenticate"), Some(challenge), "{shown:.60}");
    }
    assert_eq!(backend.requests(), 2);
    let log = plimsoll.scratch().read("access.log") + &plimsoll.stderr();
    assert!(!log.contains("YW5u") && !log.contains("s3cret"), "{log}");
}

#[test]
fn nobody_but_the_filter_says_who_the_user_is() {
    let config = CONFIG.replace("[\"127.0.0.1/32\"]", "[\"192.0.2.0/24\"]");
    let (backend, plimsoll) = start(&htpasswd("ann", "s3cret", "4"), &config);
    let send = |plimsoll: &Plimsoll, path: &str| {
        let spoofed = "x-user: root\r\nX_User: root\r\nX-USER: root\r\n";
        let known = "authorization: Basic YW5uOnMzY3JldA==\r\n";
        let reply = plimsoll.exchange("web", format!("GET {path} HTTP/1.1\r\nhost: a\r\n{spoofed}{known}\r\n"));
        assert_eq!(reply.status, 200);
        let seen = backend.seen().pop().expect("it came");
        assert_eq!(seen.head.header("x_user"), None);
        seen.head.headers_named("x-user").map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(send(&plimsoll, "/staff/"), ["ann"]);
    // A route without the filter, to the same backend, which believes the field.
    assert_eq!(send(&plimsoll, "/"), Vec::<String>::new());
    // A trusted proxy may have asked for the password itself.
    let (backend, plimsoll) = start(&htpasswd("ann", "s3cret", "4"), CONFIG);
    plimsoll.exchange("web", "GET / HTTP/1.1\r\nhost: a\r\nx-user: bob\r\n\r\n");
    assert_eq!(
        backend.seen().pop().expect("it came").head.header("x-user"),
        Some("bob")
    );
}

#[test]
fn a_changed_file_changes_who_is_let_in() {
    let (_backend, plimsoll) = start(&htpasswd("ann", "s3cret", "4"), CONFIG);
    assert_eq!(status(&plimsoll, "ann:s3cret", "/staff/"), "200");
    plimsoll.scratch().write("users.new", htpasswd("ann", "another", "4"));
    let at = |name: &str| plimsoll.scratch().path().join(name);
    std::fs::rename(at("users.new"), at("users")).expect("it can be renamed");
    eventually("the new password lets in", || {
        (status(&plimsoll, "ann:another", "/staff/") == "200").then_some(())
    });
    assert_eq!(
        status(&plimsoll, "ann:s3cret", "/staff/"),
        "401",
        "what was remembered is of another hash"
    );
}

#[test]
fn a_flood_of_wrong_passwords_is_bounded_and_stops_nobody_else() {
    let (backend, plimsoll) = start(&htpasswd("ann", "s3cret", "8"), CONFIG);
    let guess = |client: &str| {
        let mut wire = plimsoll.connect("web");
        wire.send(format!(
            "GET /staff/ HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {client}\r\nauthorization: Basic YW5uOndyb25n\r\n\r\n"
        ));
        wire
    };
    let mut flood: Vec<_> = (0..120).map(|_| guess("198.51.100.7")).collect();
    // Somebody else waits for those before, and is answered.
    let known = "authorization: Basic YW5uOnMzY3JldA==\r\nx-forwarded-for: 203.0.113.1\r\n";
    let request = format!("GET /staff/ HTTP/1.1\r\nhost: a\r\n{known}\r\n");
    assert_eq!(plimsoll.exchange("web", &request).status, 200);
    // What needs no password is served meanwhile.
    assert_eq!(plimsoll.get("web", "/").status, 200);
    let replies: Vec<_> = flood.iter_mut().map(|wire| wire.reply()).collect();
    let reasons = |status: u16| replies.iter().filter(|reply| reply.status == status).count();
    let (wrong, unavailable) = (reasons(401), reasons(503));
    assert_eq!(wrong + unavailable, 120);
    assert!(
        wrong >= 1 && unavailable >= 1,
        "{wrong} refused, {unavailable} turned away"
    );
    let away = replies
        .iter()
        .find(|reply| reply.status == 503)
        .expect("one was turned away");
    away.assert_reason(503, "auth_unavailable");
    assert_eq!(backend.requests(), 2);
    let metrics = plimsoll.metrics();
    for (reason, count) in [("unauthorized", wrong), ("auth_unavailable", unavailable)] {
        let counted = metrics.sum("plimsoll_failures_total", &[("reason", reason)]);
        assert_eq!(counted.round() as usize, count, "{reason}");
    }
}

#[test]
fn check_and_explain_tell_of_users_and_show_no_secret() {
    let (_backend, plimsoll) = start(&htpasswd("ann", "s3cret", "4"), CONFIG);
    let config = plimsoll.config_file().display().to_string();
    let url = "http://127.0.0.1/staff/";
    let explain = |header: &str| {
        let line = ["explain", "-c", &config, "-H", header, url];
        let said = e2e::run_command(plimsoll.scratch(), &line);
        assert!(!(said.stdout.clone() + &said.stderr).contains("YW5u"), "{said:?}");
        said.stdout
    };
    let told = explain("authorization: Basic YW5uOnMzY3JldA==");
    assert!(
        told.contains("the password is taken to be right; sets x-user"),
        "{told}"
    );
    assert!(explain("x-a: b").contains("answers 401 unauthorized: no name and password are shown"));
    plimsoll
        .scratch()
        .write("users", "ann:{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=\n");
    let checked = e2e::run_command(plimsoll.scratch(), &["check", "-c", &config]);
    assert!(
        checked.stderr.contains("users:1: is no hash by bcrypt or argon2"),
        "{checked:?}"
    );
    assert!(!checked.stderr.contains("nU4eI71"), "{checked:?}");
}
