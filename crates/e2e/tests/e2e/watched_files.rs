//! Files that filters read, while they change.

use std::path::Path;

use e2e::{Backend, Plimsoll, Scratch, Script, eventually, run_command};

const CONFIG: &str = r#"
    [server]
    trusted_proxies = ["127.0.0.1/32"]
    [listeners.web]
    bind = "@web@"
    filters = [
      { kind = "deny", cidr_file = "lists/bans.txt" },
      { kind = "map", file = "tenants.map", key = "{request.host}", set = "x-tenant" },
    ]
    [[routes]]
    name = "staff"
    match = { path = "/staff" }
    filters = [{ kind = "allow", cidr = "10.0.0.0/8", cidr_file = "staff.txt" }]
    pool = "p"
    [[routes]]
    name = "beta"
    match = { path = "/*", headers = { x-tenant = "beta" } }
    respond = { status = 200, body = "beta of {request.header.x-tenant}" }
    [[routes]]
    name = "rest"
    pool = "p"
    [pools.p]
    backends = ["@one@"]
    health = false
"#;

fn start() -> (Backend, Plimsoll) {
    let backend = Backend::named("one", Script::Echo);
    let plimsoll = Plimsoll::config(CONFIG)
        .address("one", backend.address())
        .file("lists/bans.txt", "# nobody yet\n")
        .file("staff.txt", "192.0.2.0/28\n")
        .file("tenants.map", "a.example one\nb.example beta\n")
        .start();
    (backend, plimsoll)
}

fn asked(plimsoll: &Plimsoll, client: &str, host: &str, path: &str) -> e2e::Reply {
    let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nx-forwarded-for: {client}\r\nX_Tenant: eve\r\n\r\n");
    plimsoll.exchange("web", head)
}

fn file<'j>(status: &'j serde_json::Value, name: &str) -> &'j serde_json::Value {
    let files = status["files"].as_array().expect("a list");
    let ends = |file: &&serde_json::Value| file["path"].as_str().is_some_and(|path| path.ends_with(name));
    files.iter().find(ends).expect("the file is listed")
}

/// As `mv` does it, and whoever wants no half-written file to be seen.
fn replace(directory: &Path, name: &str, text: &str) {
    let new = directory.join(format!("{name}.new"));
    std::fs::write(&new, text).expect("it can be written");
    std::fs::rename(&new, directory.join(name)).expect("it can be renamed");
}

#[test]
fn who_is_banned_changes_with_the_file_and_a_bad_file_changes_nothing() {
    let (_backend, plimsoll) = start();
    let status = || plimsoll.admin("/api/v1/status").json();
    let ban = |text: &str| replace(plimsoll.scratch().path(), "lists/bans.txt", text);
    assert_eq!(asked(&plimsoll, "203.0.113.9", "a.example", "/").status, 200);
    assert_eq!(file(&status(), "bans.txt")["entries"], 0);

    let mut many: String = (0..100_000_u32)
        .map(|at| format!("10.{}.{}.{}\n", at >> 16, at >> 8 & 255, at & 255))
        .collect();
    many.push_str("203.0.113.0/24 # since yesterday\n2001:db8::/32\n");
    ban(&many);
    eventually("the client is banned", || {
        (asked(&plimsoll, "203.0.113.9", "a.example", "/").status == 403).then_some(())
    });
    asked(&plimsoll, "2001:db8::7", "a.example", "/").assert_reason(403, "denied");
    asked(&plimsoll, "10.0.77.7", "a.example", "/").assert_reason(403, "denied");
    assert_eq!(asked(&plimsoll, "198.51.100.1", "a.example", "/").status, 200);
    assert_eq!(file(&status(), "bans.txt")["entries"], 100_002);

    ban("203.0.113.0/24\n203.0.113/24\n");
    let error = eventually("the bad line is told", || {
        file(&status(), "bans.txt")["error"].as_str().map(str::to_owned)
    });
    assert!(
        error.contains("bans.txt:2: \"203.0.113/24\" is not a network"),
        "{error}"
    );
    assert!(plimsoll.stderr().contains("bans.txt:2"), "it is in the log");
    asked(&plimsoll, "10.0.77.7", "a.example", "/").assert_reason(403, "denied");

    // As editors do it: the same file, truncated and written again.
    std::fs::write(plimsoll.scratch().path().join("lists/bans.txt"), "").expect("it can be written");
    eventually("nobody is banned", || {
        (asked(&plimsoll, "203.0.113.9", "a.example", "/").status == 200).then_some(())
    });
    assert_eq!(file(&status(), "bans.txt")["error"], serde_json::Value::Null);
}

#[test]
fn a_file_allows_beside_the_configuration() {
    let (_backend, plimsoll) = start();
    assert_eq!(asked(&plimsoll, "10.1.2.3", "a.example", "/staff").status, 200);
    assert_eq!(asked(&plimsoll, "192.0.2.15", "a.example", "/staff").status, 200);
    asked(&plimsoll, "192.0.2.16", "a.example", "/staff").assert_reason(403, "denied");
}

#[test]
fn a_map_sets_a_field_that_routes_and_backends_see() {
    let (backend, plimsoll) = start();
    let sent = |host: &str| {
        assert_eq!(asked(&plimsoll, "198.51.100.1", host, "/").status, 200);
        let seen = backend.seen().pop().expect("it came");
        assert_eq!(seen.head.header("x_tenant"), None, "what the client sent never stays");
        seen.head.header("x-tenant").map(str::to_owned)
    };
    assert_eq!(sent("A.Example:80").as_deref(), Some("one"));
    assert_eq!(sent("c.example"), None);
    assert_eq!(
        asked(&plimsoll, "198.51.100.1", "b.example", "/").text(),
        "beta of beta"
    );
    replace(plimsoll.scratch().path(), "tenants.map", "c.example beta\n");
    eventually("the host goes elsewhere", || {
        (asked(&plimsoll, "198.51.100.1", "c.example", "/").text() == "beta of beta").then_some(())
    });
}

#[test]
fn check_names_the_bad_line_of_each_file() {
    let scratch = Scratch::new();
    scratch.write(
        "plimsoll.toml",
        "include = [\"sub/*.toml\"]\n[listeners.web]\nbind = \"127.0.0.1:0\"\npool = \"p\"\nfilters = [\"staff\"]\n\
         [pools.p]\nbackends = [\"127.0.0.1:1\"]\n",
    );
    scratch.write(
        "sub/staff.toml",
        "[filters.staff]\nchain = [\n{ kind = \"allow\", cidr_file = \"a.txt\" },\n{ kind = \"deny\", cidr_file = \"gone.txt\" },\n\
         { kind = \"map\", file = \"m.map\", key = \"{route}\", set = \"x-m\" }]\n",
    );
    scratch.write("sub/a.txt", "10.0.0.0/8\n\nexample.com\n");
    scratch.write("sub/m.map", "a 1\nb\n");
    let checked = run_command(&scratch, &["check", "-c", "plimsoll.toml"]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    for says in [
        "a.txt:3: \"example.com\" is not a network",
        "gone.txt: cannot be opened: No such file",
        "m.map:2: the key `b` has no value",
    ] {
        assert!(checked.stderr.contains(says), "{says}: {}", checked.stderr);
    }
}
