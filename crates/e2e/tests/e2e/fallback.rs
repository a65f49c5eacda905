//! Pools that take over where none of another's backends can serve.

use std::io::{Read, Write};
use std::net::TcpStream;

use e2e::tools::curl;
use e2e::{Backend, PATIENCE, Plimsoll, Script, Setup, eventually};
use serde_json::Value;

/// The pool `api`, with these lines, and `sorry` behind it.
fn site(api: &str, more: &str) -> Setup {
    Plimsoll::config(&format!(
        r#"
        [server]
        workers = 1
        [log]
        access = "./access.log"
        [listeners.web]
        bind = "@web@"
        [[routes]]
        name = "all"
        match = {{ path = "/*" }}
        pool = "api"
        [pools.api]
        fallback = "sorry"
        {api}
        [pools.sorry]
        backends = [{{ name = "s", address = "@sorry@" }}]
        health = false
        {more}
        "#
    ))
}

const QUICK: &str = "health = { tcp = true, interval = \"100ms\", timeout = \"100ms\", fall = 1, rise = 1 }";

fn logged(plimsoll: &Plimsoll, path: &str) -> Value {
    eventually(&format!("{path} is logged"), || {
        let text = plimsoll.scratch().read("access.log");
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().find(|line| line["path"] == path)
    })
}

fn state(plimsoll: &Plimsoll, backend: &str, state: &str) {
    let path = format!("/api/v1/pools/api/backends/{backend}");
    let reply = plimsoll.admin_send("PATCH", &path, &format!("{{\"state\": \"{state}\"}}"));
    assert_eq!(reply.status, 200, "{reply:#?}");
}

fn went_over(plimsoll: &Plimsoll, pool: &str, to: &str, reason: &str) -> f64 {
    let labels = [("pool", pool), ("to", to), ("reason", reason)];
    plimsoll.metrics().sum("plimsoll_fallbacks_total", &labels)
}

/// A request on HTTP/2; the body of its answer.
fn over_http2(plimsoll: &Plimsoll, path: &str) -> String {
    let url = format!("http://{}{path}", plimsoll.address("web"));
    curl(&["-s", "--http2-prior-knowledge", &url]).stdout
}

#[test]
fn a_fallback_takes_over_when_no_backend_is_healthy_and_gives_back() {
    let (mut api, sorry) = (
        Backend::named("api", Script::Echo),
        Backend::named("sorry", Script::Echo),
    );
    let plimsoll = site(
        &format!("backends = [{{ name = \"a\", address = \"@api@\" }}]\n{QUICK}"),
        "",
    )
    .address("api", api.address())
    .address("sorry", sorry.address())
    .start();
    assert_eq!(plimsoll.get("web", "/before").json()["backend"], "api");
    assert_eq!(logged(&plimsoll, "/before")["fallback"], Value::Null);

    api.stop();
    plimsoll.wait_for_state("api", "a", "unhealthy");
    assert_eq!(plimsoll.get("web", "/one").json()["backend"], "sorry");
    assert!(over_http2(&plimsoll, "/two").contains("\"backend\":\"sorry\""));
    for path in ["/one", "/two"] {
        let line = logged(&plimsoll, path);
        assert_eq!((&line["pool"], &line["backend"]), (&"sorry".into(), &"s".into()));
        let from = serde_json::json!({ "from": "api", "reason": "no_healthy_backend" });
        assert_eq!((&line["fallback"], &line["status"]), (&from, &200.into()));
    }
    eventually("both are counted", || {
        (went_over(&plimsoll, "api", "sorry", "no_healthy_backend") == 2.0).then_some(())
    });
    let told = plimsoll.admin("/api/v1/explain?url=http://a/x").json();
    assert_eq!((&told["pool"], &told["backend"]), (&"sorry".into(), &"s".into()));
    let steps = told["steps"].as_array().expect("steps");
    let says = |subject: &str, what: &str| {
        let said =
            |step: &&Value| step["subject"] == subject && step["why"].as_str().is_some_and(|why| why.contains(what));
        assert!(steps.iter().any(|step| said(&step)), "{subject}: {what}: {told:#}");
    };
    says("api", "No backend of the pool is healthy. `sorry` takes over");
    says("a", "");
    assert_eq!(plimsoll.admin("/api/v1/pools/api").json()["fallback"], "sorry");

    api.restart();
    plimsoll.wait_for_state("api", "a", "healthy");
    assert_eq!(plimsoll.get("web", "/after").json()["backend"], "api");
}

#[test]
fn a_pool_that_is_merely_full_asks_nobody_else() {
    let (api, sorry) = (Backend::named("api", Script::Hang), Backend::start(Script::Echo));
    let plimsoll = site(
        "backends = [\"@api@\"]\nhealth = false\nlimits = { requests = 1, queue = 0 }",
        "",
    )
    .address("api", api.address())
    .address("sorry", sorry.address())
    .start();
    let mut first = plimsoll.connect("web");
    first.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    api.wait_for_requests(1);
    plimsoll.get("web", "/").assert_reason(503, "pool_full");
    assert_eq!(sorry.requests(), 0);
}

#[test]
fn a_drained_pool_keeps_its_sessions_and_sends_everybody_else_to_the_fallback() {
    let (api, sorry) = (
        Backend::named("api", Script::Echo),
        Backend::named("sorry", Script::Echo),
    );
    let pool =
        "backends = [{ name = \"a\", address = \"@api@\" }]\nhealth = false\nsticky = { header = \"x-session\" }";
    let plimsoll = site(pool, "")
        .address("api", api.address())
        .address("sorry", sorry.address())
        .start();
    let by = |session: &str| {
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-session: {session}\r\n\r\n");
        plimsoll.exchange("web", request).json()["backend"].clone()
    };
    assert_eq!(by("old"), "api");
    state(&plimsoll, "a", "drain");
    assert_eq!((by("old"), by("new")), ("api".into(), "sorry".into()));
    state(&plimsoll, "a", "maintenance");
    assert_eq!((by("old"), by("new")), ("sorry".into(), "sorry".into()));
    eventually("each of them is counted", || {
        (went_over(&plimsoll, "api", "sorry", "no_backend") == 3.0).then_some(())
    });
    state(&plimsoll, "a", "ready");
    assert_eq!(by("new"), "api");
}

#[test]
fn fallbacks_have_fallbacks_and_the_key_of_the_pool_that_serves_counts() {
    let spares = [
        Backend::named("x", Script::Echo),
        Backend::named("y", Script::Echo),
        Backend::named("z", Script::Echo),
    ];
    let gone = Backend::refusing();
    let more = format!(
        "fallback = \"spare\"\n[pools.spare]\nbackends = [\"@x@\", \"@y@\", \"@z@\"]\nhealth = false\n\
         policy = {{ kind = \"maglev\", key = \"header:x-user\" }}\n[pools.unused]\nbackends = [\"@x@\"]\n{QUICK}\n"
    );
    let mut setup = site(
        "backends = [{ name = \"a\", address = \"@gone@\" }]\nhealth = false",
        &more,
    )
    .address("gone", gone.address())
    .address("sorry", gone.address());
    for (name, spare) in ["x", "y", "z"].into_iter().zip(&spares) {
        setup = setup.address(name, spare.address());
    }
    let plimsoll = setup.start();
    let reply = plimsoll.get("web", "/");
    reply.assert_reason(502, "connect_failed");
    state(&plimsoll, "a", "maintenance");
    let sorry = plimsoll.admin_send(
        "PATCH",
        "/api/v1/pools/sorry/backends/s",
        "{\"state\": \"maintenance\"}",
    );
    assert_eq!(sorry.status, 200);
    let mut seen = Vec::new();
    for user in 0..30 {
        let ask = || {
            let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-user: {user}\r\n\r\n");
            plimsoll.exchange("web", request).json()["backend"].clone()
        };
        let (once, again) = (ask(), ask());
        assert_eq!(once, again, "a user stays with one backend");
        seen.push(once.as_str().expect("a name").to_owned());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["x", "y", "z"], "and there are several");
    assert!(went_over(&plimsoll, "api", "spare", "no_backend") >= 59.0);

    // None of the chain can serve: the reply is about the pool that was asked.
    for name in ["x", "y", "z"] {
        let path = format!("/api/v1/pools/spare/backends/{}", plimsoll.address(name));
        assert_eq!(
            plimsoll.admin_send("PATCH", &path, "{\"state\": \"drain\"}").status,
            200
        );
    }
    plimsoll.get("web", "/none").assert_reason(503, "no_backend");
    assert_eq!(logged(&plimsoll, "/none")["pool"], "api");
}

#[test]
fn when_every_fallback_is_ill_too_the_first_pool_is_tried_all_the_same() {
    let (mut api, mut sorry) = (Backend::named("api", Script::Echo), Backend::start(Script::Echo));
    let checked = "health = { exec = [\"./probe\"], interval = \"100ms\", timeout = \"100ms\", fall = 1, rise = 1 }";
    let plimsoll = site(
        &format!("backends = [{{ name = \"a\", address = \"@api@\" }}]\n{checked}"),
        "",
    )
    .program("probe", "#!/bin/sh\n[ ! -e \"${0%/*}/ill\" ]\n")
    .address("api", api.address())
    .address("sorry", sorry.address())
    .start();
    plimsoll.scratch().write("ill", "");
    plimsoll.wait_for_state("api", "a", "unhealthy");
    let put_away = plimsoll.admin_send("PATCH", "/api/v1/pools/sorry/backends/s", "{\"state\": \"drain\"}");
    assert_eq!(put_away.status, 200);
    // Its check says that it is ill, and it answers.
    assert_eq!(plimsoll.get("web", "/").json()["backend"], "api");
    api.stop();
    sorry.stop();
    plimsoll.get("web", "/").assert_reason(502, "connect_failed");
}

#[test]
fn a_tcp_connection_goes_over_too() {
    let (mut one, two) = (Backend::tcp_echo(), Backend::tcp_echo());
    let plimsoll = Plimsoll::config(&format!(
        "[log]\naccess = \"./access.log\"\n[listeners.db]\nbind = \"@db@\"\nprotocol = \"tcp\"\npool = \"one\"\n\
         [pools.one]\nbackends = [{{ name = \"1\", address = \"@one@\" }}]\nfallback = \"two\"\n{QUICK}\n\
         [pools.two]\nbackends = [\"@two@\"]\nhealth = false\n"
    ))
    .address("one", one.address())
    .address("two", two.address())
    .start();
    one.stop();
    plimsoll.wait_for_state("one", "1", "unhealthy");
    let mut stream = TcpStream::connect(plimsoll.address("db")).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    stream.write_all(b"ping").expect("it takes bytes");
    let mut echoed = [0; 4];
    stream.read_exact(&mut echoed).expect("the other pool echoes");
    assert_eq!(&echoed, b"ping");
    drop(stream);
    let line: Value = eventually("it is logged", || {
        let text = plimsoll.scratch().read("access.log");
        text.lines().find_map(|line| serde_json::from_str(line).ok())
    });
    assert_eq!(line["pool"], "two");
    assert_eq!(line["fallback"]["from"], "one");
    let told = plimsoll
        .admin(&format!("/api/v1/explain?url=tcp://{}", plimsoll.address("db")))
        .json();
    assert_eq!(told["pool"], "two", "{told:#}");
    eventually("it is counted", || {
        (went_over(&plimsoll, "one", "two", "no_healthy_backend") == 1.0).then_some(())
    });
}
