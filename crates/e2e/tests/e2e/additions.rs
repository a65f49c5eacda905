//! Backends and routes that the admin API makes beside the file.

use std::time::Duration;

use e2e::{Backend, PATIENCE, Plimsoll, Script, eventually, eventually_within};
use serde_json::{Value, json};

const ONE: &str = r#"
    [server]
    drain_timeout = "20s"
    [listeners.web]
    bind = ["@web@"]
    protocol = "http"
    [[routes]]
    name = "all"
    pool = "api"
    [pools.api]
    policy = "round-robin"
    backends = [{ name = "one", address = "@one@" }]
    health = { interval = "200ms" }
"#;

const BACKENDS: &str = "/api/v1/pools/api/backends";

fn start() -> (Backend, Plimsoll) {
    let one = Backend::start(Script::Echo);
    let plimsoll = Plimsoll::config(ONE).address("one", one.address()).own_binary().start();
    (one, plimsoll)
}

fn add(plimsoll: &Plimsoll, backend: &Backend) -> Value {
    let reply = plimsoll.admin_send("POST", BACKENDS, &format!("\"{}\"", backend.address()));
    assert_eq!(reply.status, 201, "{reply:#?}");
    reply.json()
}

/// The state and the origin of a backend, if it is there.
fn standing(plimsoll: &Plimsoll, backend: &Backend) -> Option<(String, String)> {
    let pool = plimsoll.admin("/api/v1/pools/api").json();
    let address = backend.address().to_string();
    let found = pool["backends"]
        .as_array()?
        .iter()
        .find(|one| one["address"] == address)?;
    Some((found["state"].as_str()?.into(), found["origin"].as_str()?.into()))
}

#[track_caller]
fn wait_until_served(plimsoll: &Plimsoll, backend: &Backend) {
    let before = backend.requests_to("/served");
    eventually("it gets requests", || {
        assert_eq!(plimsoll.get("web", "/served").status, 200);
        (backend.requests_to("/served") > before).then_some(())
    });
}

#[test]
fn a_backend_that_is_made_is_checked_and_balanced_and_stays_through_reload_and_upgrade() {
    let (_one, mut plimsoll) = start();
    let two = Backend::start(Script::Echo);
    assert_eq!(add(&plimsoll, &two)["origin"], "api");
    plimsoll.wait_for_state("api", &two.address().to_string(), "healthy");
    wait_until_served(&plimsoll, &two);
    let differs = plimsoll.admin("/api/v1/status").json()["differs"].clone();
    let made = json!([{ "pool": "api", "backend": two.address().to_string(), "leaving": false, "set_aside": null }]);
    assert_eq!(
        (&differs["additions"], &differs["file_changed"]),
        (&made, &json!(false)),
        "{differs}"
    );

    plimsoll.rewrite_config(&format!("# another text\n{ONE}"));
    eventually("the changed file shows", || {
        let status = plimsoll.admin("/api/v1/status").json();
        (status["differs"]["file_changed"] == true).then_some(())
    });
    assert_eq!(plimsoll.admin_send("POST", "/api/v1/reload", "").status, 200);
    assert_eq!(standing(&plimsoll, &two).expect("it is there").1, "api");
    wait_until_served(&plimsoll, &two);

    plimsoll.upgrade();
    assert_eq!(standing(&plimsoll, &two), Some(("healthy".into(), "api".into())));
    wait_until_served(&plimsoll, &two);
}

#[test]
fn a_removed_backend_ends_what_it_has_and_goes() {
    let (_one, plimsoll) = start();
    let two = Backend::start(Script::by_path([
        ("/slow", Script::after(Duration::from_secs(2), Script::Echo)),
        ("/", Script::Echo),
    ]));
    add(&plimsoll, &two);
    plimsoll.wait_for_state("api", &two.address().to_string(), "healthy");
    // Enough of them that the two backends have some each.
    let mut slow: Vec<_> = (0..4).map(|_| plimsoll.connect("web")).collect();
    for wire in &mut slow {
        wire.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    eventually("it has work", || (two.requests_to("/slow") > 0).then_some(()));
    let path = format!("{BACKENDS}/{}?timeout=15s", two.address());
    let removed = plimsoll.admin_send("DELETE", &path, "");
    assert_eq!(
        (removed.status, &removed.json()["state"]),
        (202, &json!("draining")),
        "{removed:#?}"
    );
    for wire in &mut slow {
        assert_eq!(wire.reply().status, 200, "what is under way is not cut");
    }
    eventually_within(PATIENCE, "it is gone", || {
        standing(&plimsoll, &two).is_none().then_some(())
    });
    for _ in 0..10 {
        assert_eq!(plimsoll.get("web", "/later").status, 200);
    }
    assert_eq!(two.requests_to("/later"), 0);
}

#[test]
fn a_route_that_is_made_is_served_until_it_is_removed() {
    let (_one, mut plimsoll) = start();
    let route = r#"{ "name": "said", "match": { "path": "/said" }, "respond": { "body": "made" } }"#;
    let made = plimsoll.admin_send("POST", "/api/v1/routes", route);
    assert_eq!(made.status, 201, "{made:#?}");
    assert_eq!(plimsoll.get("web", "/said").text(), "made");
    plimsoll.upgrade();
    assert_eq!(plimsoll.get("web", "/said").text(), "made");
    assert_eq!(plimsoll.admin_send("DELETE", "/api/v1/routes/said", "").status, 204);
    assert_ne!(plimsoll.get("web", "/said").text(), "made");
    assert_eq!(plimsoll.admin_send("DELETE", "/api/v1/routes/all", "").status, 409);
}
