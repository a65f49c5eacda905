//! Another configuration for a running process: by call, command, signal and watching; what is wrong changes nothing.

use std::fs;
use std::time::{Duration, Instant};

use e2e::frames::{END_STREAM, Frames, kind};
use e2e::{Backend, PATIENCE, Plimsoll, Script, Wire, eventually, run_command, stays};
use serde_json::{Value, json};

const ONE: &str = r#"
    [listeners.web]
    bind = ["@web@"]
    pool = "api"
    [pools.api]
    backends = [{ name = "one", address = "@one@" }]
    health = false
"#;

/// What a client of the route `all` is told when nobody else answers.
pub(crate) fn answering(body: &str) -> String {
    format!("{ONE}\n[[routes]]\nname = \"all\"\nmatch = {{ path = \"/said\" }}\nrespond = {{ body = \"{body}\" }}\n")
}

pub(crate) fn start(text: &str) -> (Backend, Plimsoll) {
    let one = Backend::start(Script::Echo);
    let plimsoll = Plimsoll::config(text).address("one", one.address()).start();
    (one, plimsoll)
}

pub(crate) fn reload(plimsoll: &Plimsoll) -> e2e::Reply {
    plimsoll.admin_send("POST", "/api/v1/reload", "")
}

#[track_caller]
fn reloaded(plimsoll: &mut Plimsoll, text: &str) -> Value {
    plimsoll.rewrite_config(text);
    let reply = reload(plimsoll);
    assert_eq!(reply.status, 200, "{reply:#?}");
    reply.json()
}

pub(crate) fn status(plimsoll: &Plimsoll) -> Value {
    plimsoll.admin("/api/v1/status").json()
}

pub(crate) fn command(plimsoll: &Plimsoll, arguments: &[&str]) -> e2e::Output {
    let admin = plimsoll.address("admin").to_string();
    run_command(plimsoll.scratch(), &[arguments, &["--admin", &admin]].concat())
}

#[test]
fn it_is_asked_for_by_signal_call_and_command() {
    let (_one, mut plimsoll) = start(&answering("first"));
    assert_eq!(plimsoll.get("web", "/said").text(), "first");
    plimsoll.rewrite_config(&answering("second"));
    plimsoll.signal("HUP");
    eventually("the second is served", || {
        (plimsoll.get("web", "/said").text() == "second").then_some(())
    });
    assert_eq!(reloaded(&mut plimsoll, &answering("third"))["generation"], 3);
    assert_eq!(plimsoll.get("web", "/said").text(), "third", "from the answer on");
    plimsoll.rewrite_config(&answering("fourth"));
    let judged = command(&plimsoll, &["reload", "--dry-run"]);
    assert_eq!(judged.code, Some(0), "{judged:?}");
    assert_eq!(plimsoll.get("web", "/said").text(), "third");
    let done = command(&plimsoll, &["reload"]);
    assert!(
        done.code == Some(0) && done.stdout.contains("generation 4 is served"),
        "{done:?}"
    );
    assert_eq!(plimsoll.get("web", "/said").text(), "fourth");
    let status = status(&plimsoll);
    assert_eq!(
        (&status["generation"], &status["last_reload"]["result"]),
        (&json!(4), &json!("ok"))
    );
    let metrics = plimsoll.metrics();
    assert_eq!(metrics.sum("plimsoll_reloads_total", &[("result", "ok")]), 3.0);
    assert_eq!(metrics.sum("plimsoll_generation", &[]), 4.0);
}

#[test]
fn what_is_wrong_changes_nothing_and_says_why_everywhere() {
    let (_one, mut plimsoll) = start(&answering("first"));
    plimsoll.rewrite_config(&(answering("second") + "[pools.other]\npolcy = \"random\"\nbackends = [\"nobody\"]\n"));
    let reply = reload(&plimsoll);
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (422, Some("application/problem+json"))
    );
    let problem = reply.json();
    let errors = problem["errors"].as_array().expect("a list");
    assert!(errors.len() >= 2, "all of them at once: {problem:#}");
    assert!(
        errors
            .iter()
            .all(|error| error["line"].is_u64() && error["file"].is_string()),
        "{problem:#}"
    );
    let refused = command(&plimsoll, &["reload"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    assert!(
        refused.stderr.contains("polcy") && refused.stderr.contains("policy"),
        "{}",
        refused.stderr
    );
    plimsoll.signal("HUP");
    eventually("three were refused", || {
        (plimsoll.metrics().sum("plimsoll_reloads_total", &[("result", "error")]) == 3.0).then_some(())
    });
    let status = status(&plimsoll);
    assert_eq!(
        (&status["generation"], &status["last_reload"]["result"]),
        (&json!(1), &json!("error"))
    );
    assert!(
        status["last_reload"]["errors"].to_string().contains("polcy"),
        "{status:#}"
    );
    assert!(plimsoll.stderr().contains("polcy"));
    let shown = command(&plimsoll, &["status"]);
    assert!(shown.stdout.contains("the last reload was refused"), "{}", shown.stdout);
    assert_eq!(plimsoll.get("web", "/said").text(), "first");
    reloaded(&mut plimsoll, &answering("third"));
    assert_eq!(plimsoll.get("web", "/said").text(), "third");
}

#[test]
fn a_port_that_is_taken_refuses_the_whole_change() {
    let (_one, mut plimsoll) = start(&answering("first"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound");
    let more = format!("[listeners.more]\nbind = [\"@more@\", \"{address}\"]\npool = \"api\"\n");
    plimsoll.rewrite_config(&(answering("second") + &more));
    let reply = reload(&plimsoll);
    assert_eq!(reply.status, 409, "{reply:#?}");
    assert!(reply.text().contains(&address.to_string()), "{}", reply.text());
    assert_eq!(command(&plimsoll, &["reload"]).code, Some(3));
    assert_eq!(plimsoll.get("web", "/said").text(), "first");
    assert!(
        Wire::try_connect(plimsoll.address("more")).is_err(),
        "not even the one that is free"
    );
    drop(taken);
    assert_eq!(reload(&plimsoll).status, 200);
    assert_eq!(plimsoll.get("more", "/said").text(), "second");
}

#[test]
fn an_include_that_is_gone_is_an_error_unless_a_pattern_named_it() {
    let (_one, mut plimsoll) = start(ONE);
    let more = |body: &str| {
        format!("[[routes]]\nname = \"more\"\nmatch.path = \"/more\"\nrespond = {{ body = \"{body}\" }}\n")
    };
    plimsoll.scratch().write("conf.d/more.toml", more("one"));
    let by_name = format!("include = [\"conf.d/more.toml\"]\n{ONE}");
    reloaded(&mut plimsoll, &by_name);
    assert_eq!(plimsoll.get("web", "/more").text(), "one");
    fs::remove_file(plimsoll.scratch().path().join("conf.d/more.toml")).expect("it is there");
    let reply = reload(&plimsoll);
    assert_eq!(reply.status, 422);
    assert!(reply.text().contains("conf.d/more.toml"), "{}", reply.text());
    assert_eq!(plimsoll.get("web", "/more").text(), "one", "it is served as it was");
    reloaded(&mut plimsoll, &by_name.replace("more.toml", "*.toml"));
    assert_ne!(plimsoll.get("web", "/more").text(), "one");
}

#[test]
fn what_takes_a_restart_is_said_and_the_rest_is_done() {
    let (_one, mut plimsoll) = start(&format!("server.workers = 2\n{}", answering("first")));
    let said = reloaded(
        &mut plimsoll,
        &format!(
            "server.workers = 3\nserver.user = \"nobody\"\nlog.level = \"debug\"\n{}",
            answering("second")
        ),
    );
    let told = said["needs_restart"].to_string();
    assert!(
        told.contains("[server] workers: 2 run, 3")
            && told.contains("[log] level")
            && told.contains("[server] user: nobody else was named"),
        "{said:#}"
    );
    assert_eq!(plimsoll.get("web", "/said").text(), "second");
    let status = status(&plimsoll);
    assert_eq!(
        (&status["workers"], &status["configuration"]["needs_restart"]),
        (&json!(2), &said["needs_restart"])
    );
    assert!(
        command(&plimsoll, &["status"])
            .stdout
            .contains("takes a restart: [server] workers")
    );
    let said = reloaded(&mut plimsoll, &format!("server.workers = 2\n{}", answering("third")));
    assert_eq!(said["needs_restart"], json!([]));
}

#[test]
fn a_watched_file_is_read_again_however_it_is_replaced() {
    let text = |body: &str| {
        format!(
            "server.watch = true\ninclude = [\"conf.d/*.toml\"]\n{}",
            answering(body)
        )
    };
    let one = Backend::start(Script::Echo);
    let mut plimsoll = Plimsoll::config(&text("first"))
        .address("one", one.address())
        .file("conf.d/of-no-interest", "")
        .start();
    let serves = |plimsoll: &Plimsoll, path: &str, body: &str| {
        eventually(&format!("{path} says {body}"), || {
            (plimsoll.get("web", path).text() == body).then_some(())
        });
    };
    plimsoll.rewrite_config(&text("written in place"));
    serves(&plimsoll, "/said", "written in place");
    // As editors do it.
    let file = plimsoll.config_file();
    let new = fs::read_to_string(&file)
        .expect("it is there")
        .replace("written in place", "renamed");
    fs::write(file.with_extension("new"), new).expect("it can be written");
    fs::rename(file.with_extension("new"), &file).expect("it can be renamed");
    serves(&plimsoll, "/said", "renamed");
    // A file that a pattern finds, and its end.
    let more = "[[routes]]\nname = \"more\"\nmatch.path = \"/more\"\nrespond = { body = \"more\" }\n";
    plimsoll.scratch().write("conf.d/more.toml", more);
    serves(&plimsoll, "/more", "more");
    // What is wrong is told once, and what is right again is served.
    plimsoll.scratch().write("conf.d/more.toml", "routes = 1\n");
    eventually("it is refused", || {
        (status(&plimsoll)["last_reload"]["result"] == "error").then_some(())
    });
    stays(Duration::from_millis(1_500), "it is not read again and again", || {
        plimsoll.metrics().sum("plimsoll_reloads_total", &[("result", "error")]) == 1.0
    });
    plimsoll
        .scratch()
        .write("conf.d/more.toml", more.replace("\"more\" }", "\"mended\" }"));
    serves(&plimsoll, "/more", "mended");
    fs::remove_file(plimsoll.scratch().path().join("conf.d/more.toml")).expect("it is there");
    eventually("the route is gone", || {
        (plimsoll.get("web", "/more").text() != "mended").then_some(())
    });
}

#[test]
fn a_link_that_is_swapped_is_seen_as_in_a_volume_of_kubernetes() {
    let route =
        |body: &str| format!("[[routes]]\nname = \"r\"\nmatch.path = \"/said\"\nrespond = {{ body = \"{body}\" }}\n");
    let one = Backend::start(Script::Echo);
    let mut plimsoll = Plimsoll::config(ONE)
        .address("one", one.address())
        .file("..2026_1/routes.toml", route("old"))
        .file("..2026_2/routes.toml", route("new"))
        .start();
    let directory = plimsoll.scratch().path().to_path_buf();
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, directory.join(at)).expect("a link can be made");
    link("..2026_1", "..data");
    fs::create_dir(directory.join("volume")).expect("it can be made");
    link("../..data/routes.toml", "volume/routes.toml");
    let watching = format!("server.watch = true\ninclude = [\"volume/*.toml\"]\n{ONE}");
    reloaded(&mut plimsoll, &watching);
    assert_eq!(plimsoll.get("web", "/said").text(), "old");
    link("..2026_2", "..data_tmp");
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).expect("it can be swapped");
    eventually("the new ones are served", || {
        (plimsoll.get("web", "/said").text() == "new").then_some(())
    });
}

/// `PUT /api/v1/config`.
pub(crate) fn put(plimsoll: &Plimsoll, kind: &str, query: &str, body: &str) -> e2e::Reply {
    let (admin, length) = (plimsoll.address("admin"), body.len());
    let head = format!("PUT /api/v1/config{query} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n");
    let fields = format!("content-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
    plimsoll.exchange("admin", head + &fields + body)
}

/// A whole document before the backend `one`.
fn document(plimsoll: &Plimsoll, one: &Backend, more: &str) -> String {
    format!(
        "[listeners.web]\nbind = \"{}\"\npool = \"api\"\n[[routes]]\nmatch.path = \"/said\"\nrespond.body = \"put\"\n\
         [pools.api]\nbackends = [\"{}\"]\n{more}",
        plimsoll.address("web"),
        one.address()
    )
}

#[test]
fn a_document_may_be_put_instead_of_the_file() {
    let (one, plimsoll) = start(&answering("first"));
    let web = plimsoll.address("web");
    let whole = document(&plimsoll, &one, "");
    let judged = put(&plimsoll, "application/toml", "?dry_run=true", &whole);
    assert_eq!(judged.status, 200, "{judged:#?}");
    assert_eq!(judged.json()["dry_run"], true);
    assert_eq!(plimsoll.get("web", "/said").text(), "first");
    let slip = put(&plimsoll, "application/toml", "?dryrun=true", &whole);
    assert_eq!(slip.status, 400, "no slip does the real thing");
    let reply = put(&plimsoll, "application/toml", "", &whole);
    assert_eq!(reply.status, 200, "{reply:#?}");
    assert_eq!(plimsoll.get("web", "/said").text(), "put");
    assert_eq!(status(&plimsoll)["configuration"]["from"], "api");
    let json = json!({
        "listeners": { "web": { "bind": web.to_string(), "pool": "api" } },
        "pools": { "api": { "backends": [one.address().to_string()] } },
        "routes": [{ "match": { "path": "/said" }, "respond": { "body": "json" } }],
    });
    let reply = put(&plimsoll, "application/json", "", &json.to_string());
    assert_eq!(reply.status, 200, "{reply:#?}");
    assert_eq!(plimsoll.get("web", "/said").text(), "json");
    let yaml = format!(
        "listeners: {{ web: {{ bind: \"{web}\", pool: api }} }}\npools: {{ api: {{ backends: [\"{}\"] }} }}\n\
         routes: [{{ match: {{ path: /said }}, respond: {{ body: yaml }} }}]\n",
        one.address()
    );
    let reply = put(&plimsoll, "application/yaml", "", &yaml);
    assert_eq!(reply.status, 200, "{reply:#?}");
    assert_eq!(plimsoll.get("web", "/said").text(), "yaml");
    assert_eq!(put(&plimsoll, "text/plain", "", &whole).status, 415);
    assert_eq!(reload(&plimsoll).status, 200, "the file is still there");
    assert_eq!(plimsoll.get("web", "/said").text(), "first");
}

#[test]
fn a_document_over_the_network_names_no_files_programs_or_secrets() {
    let (one, plimsoll) = start(&answering("first"));
    let listener = |more: &str| format!("[listeners.more]\nbind = \"127.0.0.1:0\"\npool = \"api\"\n{more}");
    for (more, says) in [
        ("health = { exec = [\"/bin/true\"] }".to_owned(), "program"),
        ("tls = { ca = \"/etc/passwd\" }".to_owned(), "files"),
        ("[error_pages]\n404 = { file = \"/etc/page.html\" }".to_owned(), "files"),
        ("[server]\nsecret_files = [\"/etc/passwd\"]".to_owned(), "files"),
        ("[admin]\ntoken_file = \"/etc/passwd\"".to_owned(), "files"),
        ("[log]\naccess = \"/tmp/x.log\"".to_owned(), "files"),
        (
            listener("filters = [{ kind = \"deny\", cidr_file = \"/etc/passwd\" }]"),
            "files",
        ),
        (
            listener("tls = { certificates = [{ cert = \"/a\", key = \"/b\" }] }"),
            "files",
        ),
        ("sticky = { cookie = \"${HOME}\" }".to_owned(), "HOME"),
    ] {
        let reply = put(&plimsoll, "application/toml", "", &document(&plimsoll, &one, &more));
        assert_eq!(reply.status, 400, "{more}: {reply:#?}");
        let text = reply.text();
        assert!(
            text.contains(says) && reply.json()["errors"].is_array(),
            "{more}: {text}"
        );
    }
    let including = format!("include = [\"/etc/*.toml\"]\n{}", document(&plimsoll, &one, ""));
    assert_eq!(put(&plimsoll, "application/toml", "", &including).status, 400);
    let unchanged = plimsoll.get("web", "/said");
    assert_eq!(unchanged.text(), "first", "what was refused changed nothing");
}

#[test]
fn what_operators_have_set_survives() {
    let text = |weights: (u32, u32), more: &str| {
        format!(
            "[listeners.web]\nbind = [\"@web@\"]\n[[routes]]\nname = \"canary\"\n\
             split = [{{ pool = \"api\", weight = {} }}, {{ pool = \"next\", weight = {} }}]\n{more}\n\
             [pools.api]\nbackends = [{{ name = \"one\", address = \"@one@\" }}, {{ name = \"two\", address = \"@one2@\" }}]\nhealth = false\n\
             [pools.next]\nbackends = [\"@one@\"]\nhealth = false\n",
            weights.0, weights.1
        )
    };
    let second = Backend::start(Script::Echo);
    let one = Backend::start(Script::Echo);
    let mut plimsoll = Plimsoll::config(&text((1, 0), ""))
        .address("one", one.address())
        .address("one2", second.address())
        .start();
    let set = |path: &str, body: &str| assert_eq!(plimsoll.admin_send("PATCH", path, body).status, 200, "{path}");
    set(
        "/api/v1/pools/api/backends/one",
        r#"{"weight": 7, "state": "drain", "timeout": "1h"}"#,
    );
    set(
        "/api/v1/routes/canary",
        r#"{"split": [{"pool": "api", "weight": 30}, {"pool": "next", "weight": 70}], "maintenance": true}"#,
    );
    let shares = |plimsoll: &Plimsoll| plimsoll.admin("/api/v1/routes").json()[0].clone();
    let backend = |plimsoll: &Plimsoll| plimsoll.admin("/api/v1/pools/api").json()["backends"].clone();
    let (before, drained) = (shares(&plimsoll), backend(&plimsoll)[0]["drains_until"].clone());
    reloaded(&mut plimsoll, &text((5, 5), "timeout = \"9s\""));
    let after = shares(&plimsoll);
    assert_eq!(
        (&after["split"], &after["operator"]),
        (&before["split"], &before["operator"])
    );
    assert_eq!(after["operator"]["split"][1], json!({ "pool": "next", "weight": 70 }));
    assert!(
        after["maintenance"] == true && after["timeout_ms"] == 9_000,
        "{after:#}"
    );
    let kept = backend(&plimsoll)[0].clone();
    assert_eq!(kept["operator"], json!({ "state": "drain", "weight": 7 }));
    assert_eq!((&kept["state"], &kept["drains_until"]), (&json!("draining"), &drained));
    // One that a reload takes away and another brings back.
    let without = text((5, 5), "").replace("{ name = \"one\", address = \"@one@\" }, ", "");
    reloaded(&mut plimsoll, &without);
    reloaded(&mut plimsoll, &without);
    assert_eq!(backend(&plimsoll)[0]["name"], "two");
    reloaded(&mut plimsoll, &text((5, 5), ""));
    assert_eq!(
        backend(&plimsoll)[0]["operator"],
        json!({ "state": "drain", "weight": 7 })
    );
    // Undone, the file holds.
    let undo = r#"{"split": null, "maintenance": null}"#;
    assert_eq!(plimsoll.admin_send("PATCH", "/api/v1/routes/canary", undo).status, 200);
    let file = shares(&plimsoll);
    assert_eq!(file["split"][0]["weight"], 5, "{file:#}");
    assert_eq!(file["operator"], json!({ "maintenance": null, "split": null }));
}

#[test]
fn a_listener_that_is_taken_away_lets_its_connections_end() {
    let text = |more: &str| format!("server.drain_timeout = \"4s\"\n{ONE}\n{more}");
    let more = "[listeners.gone]\nbind = [\"@gone@\"]\npool = \"api\"\n[listeners.raw]\nbind = [\"@raw@\"]\nprotocol = \"tcp\"\npool = \"api\"\n";
    let backend = Backend::start(Script::by_path([
        ("/slow", Script::after(Duration::from_millis(600), Script::Echo)),
        ("/hang", Script::Hang),
        ("/", Script::Echo),
    ]));
    let mut plimsoll = Plimsoll::config(&text(more)).address("one", backend.address()).start();
    let mut kept = plimsoll.connect("web");
    assert_eq!(kept.get("/").status, 200);
    let mut idle: Vec<Wire> = (0..12).map(|_| plimsoll.connect("gone")).collect();
    for wire in &mut idle {
        assert_eq!(wire.get("/").status, 200);
    }
    let mut raw = plimsoll.connect("raw");
    assert_eq!(raw.get("/").status, 200);
    let mut busy = plimsoll.connect("gone");
    busy.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut hanging = plimsoll.connect("gone");
    hanging.send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut streams = Frames::connect(plimsoll.address("gone"));
    streams.request(1, "GET", "/slow", &[], END_STREAM);
    backend.wait_for_requests(17);
    let began = Instant::now();
    reloaded(&mut plimsoll, &text(""));
    for name in ["gone", "raw"] {
        assert!(Wire::try_connect(plimsoll.address(name)).is_err(), "{name} is closed");
    }
    assert_eq!(raw.get("/").status, 200, "a relay goes on");
    let reply = busy.reply();
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert_eq!(streams.wait_for(1, kind::HEADERS).stream, 1);
    assert_eq!(streams.goaway(), Some(0), "it is told to go, without an error");
    let mut served = 0;
    for wire in &mut idle {
        let sent = wire.try_send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        if let Ok(reply) = sent.and_then(|()| wire.try_reply_to("GET")) {
            assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
            served += 1;
        }
    }
    assert!(served > 0, "those that have not left yet are served once more");
    let (bytes, _) = hanging.read_to_end();
    assert!(
        bytes.is_empty() && began.elapsed() >= Duration::from_secs(4),
        "cut at the deadline, not before"
    );
    raw.assert_closed_within(PATIENCE);
    assert_eq!(kept.get("/").status, 200, "nobody else was touched");
    eventually("both are counted", || {
        let counted = plimsoll
            .metrics()
            .sum("plimsoll_failures_total", &[("reason", "drain_deadline")]);
        (counted == 2.0).then_some(())
    });
}

#[test]
fn a_listener_under_another_name_keeps_its_socket() {
    let (_one, mut plimsoll) = start(ONE);
    let address = plimsoll.address("web");
    let mut old = plimsoll.connect("web");
    assert_eq!(old.get("/").status, 200);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let failed = std::thread::scope(|scope| {
        let knocking = scope.spawn(|| {
            let mut failed = Vec::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let asked = Wire::try_connect(address).and_then(|mut wire| {
                    wire.try_send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
                    wire.try_reply_to("GET")
                });
                match asked {
                    Ok(reply) if reply.status == 200 => {}
                    other => failed.push(format!("{other:?}")),
                }
            }
            failed
        });
        for name in ["front", "web", "front", "web"] {
            reloaded(
                &mut plimsoll,
                &ONE.replace("listeners.web", &format!("listeners.{name}")),
            );
        }
        // The same with one address more.
        reloaded(&mut plimsoll, &ONE.replace("\"@web@\"", "\"@web@\", \"@more@\""));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        knocking.join().expect("it ends")
    });
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(
        old.get("/").header("connection"),
        Some("close"),
        "who came in by the old name is asked to come again"
    );
    // With all addresses of this machine, and back: other sockets, at the same port.
    let port = address.port();
    for bind in [format!("\"0.0.0.0:{port}\""), "\"@web@\"".to_owned()] {
        reloaded(&mut plimsoll, &ONE.replace("\"@web@\"", &bind));
        eventually("it is served", || {
            let reply = Wire::try_connect(address).and_then(|mut wire| {
                wire.try_send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
                wire.try_reply_to("GET")
            });
            reply.is_ok_and(|reply| reply.status == 200).then_some(())
        });
    }
}

#[test]
fn a_listener_that_becomes_another_kind_serves_both_for_a_while() {
    let (_one, mut plimsoll) = start(ONE);
    let mut old = plimsoll.connect("web");
    assert_eq!(old.get("/").status, 200);
    reloaded(
        &mut plimsoll,
        &ONE.replace("pool = \"api\"", "protocol = \"tcp\"\npool = \"api\""),
    );
    assert_eq!(old.get("/").header("connection"), Some("close"));
    let mut new = plimsoll.connect("web");
    let reply = new.get("/");
    assert_eq!(reply.status, 200);
    assert!(
        !reply.text().contains("x-forwarded-for"),
        "bytes are passed on as they are"
    );
}

#[test]
fn many_reloads_at_once_end_with_the_last_file() {
    let (_one, mut plimsoll) = start(&answering("0"));
    let address = plimsoll.address("admin");
    let post = move || {
        let mut wire = Wire::connect(address);
        wire.send(format!(
            "POST /api/v1/reload HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ));
        wire.reply().status
    };
    for round in 1..=5 {
        plimsoll.rewrite_config(&answering(&round.to_string()));
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..20).map(|_| scope.spawn(post)).collect();
            plimsoll.signal("HUP");
            for call in calls {
                assert_eq!(call.join().expect("it ends"), 200);
            }
        });
        assert_eq!(
            plimsoll.get("web", "/said").text(),
            round.to_string(),
            "after the last answer"
        );
    }
    let generation = status(&plimsoll)["generation"].as_u64().expect("a number");
    assert!(generation < 60, "they were taken together: {generation}");
}
