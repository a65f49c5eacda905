//! Sticky sessions: a client comes back to the backend that served it, for as long as that one keeps it.

use std::collections::BTreeSet;

use e2e::{Backend, Plimsoll, Reply, Script, Setup, eventually, tools};

/// Three backends behind one pool with these lines, and the secret that signs its cookies.
struct Stage {
    backends: Vec<Backend>,
    plimsoll: Plimsoll,
}

const SECRET: &str = "a secret of forty bytes, for tests alone";

fn setup(pool: &str, backends: &[Backend]) -> Setup {
    let text = format!(
        r#"
        [server]
        secret_files = ["cookie.key"]
        [listeners.web]
        bind = ["@web@"]
        pool = "api"
        [listeners.raw]
        bind = ["@raw@"]
        protocol = "tcp"
        pool = "raw"
        [pools.api]
        policy = "round-robin"
        backends = [
          {{ name = "a", address = "@a@" }}, {{ name = "b", address = "@b@" }}, {{ name = "c", address = "@c@" }},
        ]
        health = false
        outlier = false
        {pool}
        [pools.raw]
        policy = "round-robin"
        backends = ["@a@", "@b@", "@c@"]
        health = false
        sticky = {{ client_ip = true }}
        "#
    );
    let setup = Plimsoll::config(&text).file("cookie.key", SECRET);
    let named = ["a", "b", "c"].into_iter().zip(backends);
    named.fold(setup, |setup, (name, backend)| setup.address(name, backend.address()))
}

fn stage(pool: &str) -> Stage {
    let backends: Vec<Backend> = ["a", "b", "c"].map(|name| Backend::named(name, Script::Echo)).into();
    let plimsoll = setup(pool, &backends).start();
    Stage { backends, plimsoll }
}

/// The name of the backend that has answered.
fn who(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{reply:#?}");
    reply.json()["backend"]
        .as_str()
        .expect("an echo names its backend")
        .to_owned()
}

/// The cookie that an answer sets: its name and value, and its attributes.
fn cookie(reply: &Reply) -> Option<(String, String)> {
    let set = reply.header("set-cookie")?;
    let (pair, attributes) = set.split_once("; ").expect("it has attributes");
    Some((pair.to_owned(), attributes.to_owned()))
}

fn ask(plimsoll: &Plimsoll, line: &str) -> Reply {
    let line = if line.is_empty() {
        String::new()
    } else {
        format!("{line}\r\n")
    };
    plimsoll.exchange("web", format!("GET / HTTP/1.1\r\nhost: shop.example\r\n{line}\r\n"))
}

/// A client of the backend `name`: the cookie that ties it.
fn client_of(plimsoll: &Plimsoll, name: &str) -> String {
    eventually("somebody gets that backend", || {
        let reply = ask(plimsoll, "");
        (who(&reply) == name).then(|| cookie(&reply).expect("a new client gets a cookie").0)
    })
}

fn patch(plimsoll: &Plimsoll, backend: &str, body: &str) -> Reply {
    let reply = plimsoll.admin_send("PATCH", &format!("/api/v1/pools/api/backends/{backend}"), body);
    assert_eq!(reply.status, 200, "{reply:#?}");
    reply
}

const COOKIE: &str = "sticky = { cookie = \"plimsoll\", ttl = \"1h\" }";

#[test]
fn a_cookie_brings_a_client_back_and_shows_nothing() {
    let Stage { backends, plimsoll } = stage(COOKIE);
    let mut seen = BTreeSet::new();
    // Each worker takes turns of its own, and returning clients take turns as well.
    for _ in 0..100 {
        if seen.len() == 3 {
            break;
        }
        let first = ask(&plimsoll, "");
        let (pair, attributes) = cookie(&first).expect("a new client gets a cookie");
        assert_eq!(attributes, "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
        let value = pair.strip_prefix("plimsoll=").expect("of the name that was configured");
        assert!(value.len() == 48 && !value.contains('.'), "{value}");
        for _ in 0..4 {
            let again = ask(&plimsoll, &format!("cookie: other=1; {pair}; more=2"));
            assert_eq!((who(&again), cookie(&again)), (who(&first), None));
        }
        seen.insert(who(&first));
    }
    assert_eq!(seen.len(), 3, "new ones are spread as the policy has it");
    let behind = ask(&plimsoll, "x-forwarded-proto: https");
    assert!(
        !cookie(&behind).expect("a cookie").1.contains("Secure"),
        "nobody trusts that client"
    );
    backends.iter().for_each(Backend::assert_no_violations);
}

#[test]
fn the_cookie_s_attributes_are_those_that_were_asked_for() {
    let stage = stage(
        "sticky = { cookie = \"id\", domain = \".shop.example\", path = \"/app\", secure = true, same_site = \"none\" }",
    );
    let set = ask(&stage.plimsoll, "")
        .header("set-cookie")
        .expect("a cookie")
        .to_owned();
    let rest = set.split_once("; ").expect("attributes").1;
    assert_eq!(rest, "Path=/app; Domain=shop.example; HttpOnly; SameSite=None; Secure");
}

#[test]
fn a_drain_keeps_its_sessions_until_the_deadline() {
    let Stage {
        backends: _backends,
        plimsoll,
    } = stage(COOKIE);
    let client = client_of(&plimsoll, "b");
    let line = format!("cookie: {client}");
    let drained = patch(&plimsoll, "b", r#"{"state": "drain", "timeout": "1h"}"#).json();
    assert!(drained["drains_until"].is_string(), "{drained:#}");
    eventually("new clients go elsewhere", || {
        (0..6).all(|_| who(&ask(&plimsoll, "")) != "b").then_some(())
    });
    for _ in 0..5 {
        let kept = ask(&plimsoll, &line);
        assert_eq!((who(&kept).as_str(), cookie(&kept)), ("b", None));
    }
    let told = plimsoll
        .admin(&format!("/api/v1/explain?url=http://a/&header=cookie:{client}"))
        .text();
    assert!(
        told.contains("keeps its sessions for 3") && !told.contains(&client),
        "{told}"
    );
    let pool = plimsoll.admin("/api/v1/pools/api").json();
    assert_eq!(pool["backends"][1]["sticky_sessions"], 1, "{pool:#}");
    assert_eq!(
        plimsoll.metrics().sum("plimsoll_sticky_sessions", &[("backend", "b")]),
        1.0
    );
    // The deadline comes.
    patch(&plimsoll, "b", r#"{"state": "drain", "timeout": "1ms"}"#);
    let moved = eventually("the session moves", || {
        let reply = ask(&plimsoll, &line);
        (who(&reply) != "b").then_some(reply)
    });
    let next = cookie(&moved).expect("it gets the cookie of its new backend").0;
    for _ in 0..4 {
        assert_eq!(who(&ask(&plimsoll, &format!("cookie: {next}"))), who(&moved));
    }
    patch(&plimsoll, "b", r#"{"state": "ready"}"#);
}

#[test]
fn weight_0_keeps_its_sessions() {
    let Stage {
        backends: _backends,
        plimsoll,
    } = stage(COOKIE);
    let line = format!("cookie: {}", client_of(&plimsoll, "c"));
    patch(&plimsoll, "c", r#"{"weight": 0}"#);
    eventually("new clients go elsewhere", || {
        (0..6).all(|_| who(&ask(&plimsoll, "")) != "c").then_some(())
    });
    assert_eq!(who(&ask(&plimsoll, &line)), "c");
}

#[test]
fn a_session_moves_from_a_backend_that_does_not_answer_with_the_request() {
    let Stage { mut backends, plimsoll } = stage(COOKIE);
    let line = format!("cookie: {}", client_of(&plimsoll, "a"));
    backends[0].stop();
    let moved = ask(&plimsoll, &line);
    assert_ne!(who(&moved), "a", "by the retry");
    let next = cookie(&moved).expect("it gets another cookie").0;
    backends[0].restart();
    assert_eq!(
        who(&ask(&plimsoll, &format!("cookie: {next}"))),
        who(&moved),
        "and does not go back"
    );
    patch(&plimsoll, who(&moved).as_str(), r#"{"state": "maintenance"}"#);
    let told = eventually("the view has changed", || {
        let told = plimsoll
            .admin(&format!("/api/v1/explain?url=http://a/&header=cookie:{next}"))
            .text();
        told.contains("is not to be used now: the policy picks, and the session moves")
            .then_some(told)
    });
    assert!(!told.contains(&next), "no cookie is shown");
}

#[test]
fn a_cookie_outlives_the_process_by_its_secret_and_no_other() {
    let Stage { backends, mut plimsoll } = stage(COOKIE);
    let clients = ["a", "b", "c"].map(|name| (name, client_of(&plimsoll, name)));
    plimsoll.kill();
    let again = setup(COOKIE, &backends).start();
    for (name, pair) in &clients {
        let reply = ask(&again, &format!("cookie: {pair}"));
        assert_eq!((who(&reply).as_str(), cookie(&reply)), (*name, None));
    }
    let rolled = setup(COOKIE, &backends)
        .file("cookie.key", "another secret of forty bytes, for tests ")
        .start();
    for (_, pair) in &clients {
        assert!(
            cookie(&ask(&rolled, &format!("cookie: {pair}"))).is_some(),
            "a stranger's cookie"
        );
    }
}

#[test]
fn what_is_no_cookie_of_ours_is_ignored() {
    let Stage {
        backends: _backends,
        plimsoll,
    } = stage(COOKIE);
    let good = client_of(&plimsoll, "a");
    let mut forged = good.clone();
    let last = forged.pop().expect("it has a last character");
    forged.push(if last == 'A' { 'B' } else { 'A' });
    let long = format!("plimsoll={}", "A".repeat(8_000));
    for line in [
        &*forged,
        &long,
        "plimsoll=",
        "plimsoll=a",
        "plimsoll=\"\"",
        "plimsoll",
        "plimsoll=127.0.0.1:80",
    ] {
        let reply = ask(&plimsoll, &format!("cookie: {line}"));
        assert!(cookie(&reply).is_some(), "{line}");
    }
    let reply = ask(&plimsoll, &format!("cookie: {forged}; {good}"));
    assert_eq!(
        (who(&reply).as_str(), cookie(&reply)),
        ("a", None),
        "the good one among them counts"
    );
}

#[test]
fn the_cookies_of_an_application_are_learnt() {
    let Stage { backends, plimsoll } = stage("sticky = { app_cookie = \"JSESSIONID\" }");
    for (name, backend) in ["a", "b", "c"].iter().zip(&backends) {
        let set = format!("JSESSIONID=of-{name}.node; Path=/");
        backend.play(Script::by_path([
            (
                "/login",
                Script::reply(200, *name)
                    .header("set-cookie", "x=y")
                    .header("set-cookie", &set),
            ),
            ("/", Script::Echo),
        ]));
    }
    let mut wire = plimsoll.connect("web");
    let names: Vec<String> = (0..3).map(|_| wire.get("/login").text()).collect();
    for name in names.iter().cycle().take(9) {
        let reply = ask(&plimsoll, &format!("cookie: JSESSIONID=of-{name}.node"));
        assert_eq!((&who(&reply), reply.header("set-cookie")), (name, None));
    }
    let pool = plimsoll.admin("/api/v1/pools/api").json();
    let counts: Vec<_> = (0..3)
        .map(|at| pool["backends"][at]["sticky_sessions"].clone())
        .collect();
    assert_eq!(counts, [1, 1, 1]);
}

#[test]
fn a_header_or_an_address_ties_as_well() {
    let Stage {
        backends: _backends,
        plimsoll,
    } = stage("sticky = { header = \"x-session\" }");
    // One connection has one worker, whose turns go round.
    let mut wire = plimsoll.connect("web");
    let mut on_one = |line: &str| {
        wire.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{line}\r\n"));
        who(&wire.reply())
    };
    let sessions = ["one", "two", "three"].map(|value| format!("x-session: {value}\r\n"));
    let homes: Vec<String> = sessions.iter().map(|line| on_one(line)).collect();
    assert_eq!(homes.iter().collect::<BTreeSet<_>>().len(), 3, "{homes:?}");
    for _ in 0..3 {
        for (line, home) in sessions.iter().zip(&homes) {
            assert_eq!(&who(&ask(&plimsoll, line.trim_end())), home);
        }
    }
    let spread: BTreeSet<String> = (0..6).map(|_| on_one("")).collect();
    assert_eq!(spread.len(), 3, "without the header nothing ties");

    let by_address = stage("sticky = { client_ip = true, ttl = \"10m\" }");
    let at = || who(&ask(&by_address.plimsoll, ""));
    let home = at();
    assert!((0..6).all(|_| at() == home));
    // At layer 4 alike.
    let raw = || {
        who(&by_address
            .plimsoll
            .exchange("raw", "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
    };
    let home = raw();
    assert!((0..6).all(|_| raw() == home));
}

#[test]
fn a_client_of_http_2_is_tied_alike() {
    let Stage {
        backends: _backends,
        plimsoll,
    } = stage(COOKIE);
    let jar = plimsoll.scratch().path().join("jar").display().to_string();
    let url = format!("http://{}/", plimsoll.address("web"));
    let fetch = || {
        let output = tools::curl(&["--http2-prior-knowledge", "--cookie", &jar, "--cookie-jar", &jar, &url]);
        let body: serde_json::Value = serde_json::from_str(&output.stdout).expect("an echo");
        body["backend"].clone()
    };
    let home = fetch();
    assert!((0..5).all(|_| fetch() == home));
    assert!(plimsoll.scratch().read("jar").contains("#HttpOnly_"));
}

#[test]
fn a_split_keeps_a_session_with_its_pool() {
    let backends = ["blue", "green"].map(|name| Backend::named(name, Script::Echo));
    let plimsoll = Plimsoll::config(
        r#"
        [listeners.web]
        bind = ["@web@"]
        [[routes]]
        name = "shop"
        split = [{ pool = "blue", weight = 50 }, { pool = "green", weight = 50 }]
        [pools.blue]
        backends = ["@blue@"]
        health = false
        sticky = { cookie = "id" }
        [pools.green]
        backends = ["@green@"]
        health = false
        sticky = { cookie = "id" }
        "#,
    )
    .address("blue", backends[0].address())
    .address("green", backends[1].address())
    .start();
    let green = client_of(&plimsoll, "green");
    let line = format!("cookie: {green}");
    assert!((0..20).all(|_| who(&ask(&plimsoll, &line)) == "green"));
    let shifted = plimsoll.admin_send("PATCH", "/api/v1/routes/shop", r#"{"split": [{"pool": "blue"}]}"#);
    assert_eq!(shifted.status, 200);
    let moved = ask(&plimsoll, &line);
    assert_eq!(who(&moved), "blue", "a pool that gets nothing keeps nobody");
    assert!(cookie(&moved).is_some());
}
