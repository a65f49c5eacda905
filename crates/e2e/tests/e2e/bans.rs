//! Temporary bans of clients whose requests fail far more often than others'.

use e2e::{Backend, Plimsoll, Script, eventually};

fn ask(plimsoll: &Plimsoll, client: &str, path: &str) -> e2e::Reply {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {client}\r\n\r\n");
    plimsoll.exchange("web", request)
}

#[test]
fn a_client_whose_requests_fail_is_banned_and_nobody_else() {
    let backend = Backend::start(Script::ByPath(vec![("/ok".into(), Script::Echo)]));
    let text = r#"
        [server]
        workers = 2
        trusted_proxies = ["127.0.0.1/32"]
        [listeners.web]
        bind = "@web@"
        filters = [{ kind = "ban", requests = 5, window = "10m", ban_for = "1h" }]
        [[routes]]
        match = { path = ["/ok", "/missing/*"] }
        pool = "p"
        [pools.p]
        backends = ["@one@"]
        health = false
    "#;
    let plimsoll = Plimsoll::config(text).address("one", backend.address()).start();
    for _ in 0..10 {
        assert_eq!(ask(&plimsoll, "192.0.2.2", "/ok").status, 200);
    }
    // Answers of backends and answers of ours count alike.
    for path in ["/missing/a", "/missing/b", "/nowhere", "/nowhere", "/nowhere"] {
        assert_eq!(ask(&plimsoll, "192.0.2.1", path).status, 404, "{path}");
    }
    // It counts once the answer has ended, which the client may see a moment before.
    let refused = eventually("the client is banned", || {
        let reply = ask(&plimsoll, "192.0.2.1", "/ok");
        (reply.status != 200).then_some(reply)
    });
    refused.assert_reason(403, "denied");
    let left: u64 = refused.header("retry-after").expect("when").parse().expect("seconds");
    assert!((3_000..=3_600).contains(&left), "{left}");
    assert_eq!(ask(&plimsoll, "192.0.2.2", "/ok").status, 200);
    let told = plimsoll
        .admin("/api/v1/explain?url=http://a/ok&client=192.0.2.1")
        .text();
    assert!(told.contains("this client-ip is banned for another"), "{told}");
    eventually("the ban is counted and logged once", || {
        let banned = plimsoll.metrics().sum("plimsoll_bans_total", &[]).round() as u32;
        let logged = plimsoll.stderr().matches("192.0.2.1").count();
        (banned == 1 && logged == 1).then_some(())
    });
}
