//! Rate limits by key.

use e2e::tools::curl;
use e2e::{Backend, Plimsoll, Reply, Script, eventually};

const POOL: &str = "[pools.p]\nbackends = [\"@one@\"]\nhealth = false\n";

/// Two workers behind a trusted proxy, so that any client can be played and none can hide behind another worker.
fn serve(script: Script, text: &str) -> (Backend, Plimsoll) {
    let backend = Backend::start(script);
    let config = format!("[server]\nworkers = 2\ntrusted_proxies = [\"127.0.0.1/32\"]\n{text}\n{POOL}");
    let plimsoll = Plimsoll::config(&config).address("one", backend.address()).start();
    (backend, plimsoll)
}

fn ask(plimsoll: &Plimsoll, path: &str, fields: &str) -> Reply {
    plimsoll.exchange("web", format!("GET {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n"))
}

const RATES: &str = r#"
    [listeners.web]
    bind = "@web@"
    [[routes]]
    name = "hourly"
    match = { path = "/*" }
    filters = [{ kind = "rate-limit", rate = "3/h" }]
    pool = "p"
    [[routes]]
    match = { path = "/tenant" }
    filters = [{ kind = "rate-limit", key = "header:x-tenant", rate = "1/h", announce = "always", name = "tenant" }]
    pool = "p"
    [[routes]]
    match = { path = "/trial" }
    filters = [{ kind = "rate-limit", rate = "1/h", dry_run = true }]
    pool = "p"
"#;

#[test]
fn a_client_gets_its_rate_over_all_workers_and_protocols() {
    let (backend, plimsoll) = serve(Script::Echo, RATES);
    // Connections of their own: the kernel gives them to both workers.
    let statuses: Vec<u16> = (0..12)
        .map(|_| ask(&plimsoll, "/", "x-forwarded-for: 192.0.2.1\r\n").status)
        .collect();
    assert_eq!(statuses, [[200; 3].as_slice(), &[429; 9]].concat());
    assert_eq!(backend.requests(), 3);
    let refused = ask(&plimsoll, "/", "x-forwarded-for: 192.0.2.1\r\n");
    refused.assert_reason(429, "rate_limited");
    let until: u64 = refused.header("retry-after").expect("when").parse().expect("seconds");
    assert!((1_100..=1_200).contains(&until), "{until}");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"default\";q=3;w=3600"));
    assert_eq!(
        refused.header("ratelimit"),
        Some(&*format!("\"default\";r=0;t={until}"))
    );
    // Another client, and a customer's whole network.
    assert_eq!(ask(&plimsoll, "/", "x-forwarded-for: 192.0.2.2\r\n").status, 200);
    for (address, status) in [
        ("2001:db8::1", 200),
        ("2001:db8::2", 200),
        ("2001:db8::3:1", 200),
        ("2001:db8::4", 429),
    ] {
        assert_eq!(
            ask(&plimsoll, "/", &format!("x-forwarded-for: {address}\r\n")).status,
            status,
            "{address}"
        );
    }
    let url = format!("http://{}/", plimsoll.address("web"));
    let told = curl(&[
        "--http2-prior-knowledge",
        "-i",
        "-H",
        "x-forwarded-for: 192.0.2.1",
        &url,
    ])
    .stdout;
    assert!(
        told.starts_with("HTTP/2 429") && told.contains("\nretry-after: "),
        "{told}"
    );
    eventually("the refusals are counted", || {
        let limited = plimsoll
            .metrics()
            .sum("plimsoll_failures_total", &[("reason", "rate_limited")]);
        (limited.round() as u32 == 12).then_some(())
    });
}

#[test]
fn limits_tell_what_is_left_and_what_they_would_refuse() {
    let (backend, plimsoll) = serve(Script::Echo, RATES);
    let tenant = |name: &str| ask(&plimsoll, "/tenant", &format!("x-tenant: {name}\r\n"));
    let first = tenant("a");
    assert_eq!(
        (first.status, first.header("ratelimit")),
        (200, Some("\"tenant\";r=0;t=3600"))
    );
    assert_eq!(first.header("ratelimit-policy"), Some("\"tenant\";q=1;w=3600"));
    tenant("a").assert_reason(429, "rate_limited");
    assert_eq!(tenant("b").status, 200);
    for _ in 0..3 {
        let keyless = ask(&plimsoll, "/tenant", "");
        assert_eq!((keyless.status, keyless.header("ratelimit")), (200, None));
    }
    let explained = || {
        plimsoll
            .admin("/api/v1/explain?url=http://a/x&client=192.0.2.77")
            .text()
    };
    for _ in 0..4 {
        assert!(
            explained().contains("3 of 3 left for this client-ip, which gets 3/h"),
            "{}",
            explained()
        );
    }
    ask(&plimsoll, "/", "x-forwarded-for: 192.0.2.77\r\n");
    assert!(explained().contains("2 of 3 left"), "{}", explained());
    backend.forget();
    for _ in 0..3 {
        assert_eq!(ask(&plimsoll, "/trial", "").status, 200);
    }
    assert_eq!(backend.requests(), 3);
    eventually("what would have been refused is counted", || {
        let metrics = plimsoll.metrics();
        let rehearsed = metrics.sum("plimsoll_dry_run_total", &[("reason", "rate_limited")]);
        (rehearsed.round() as u32 == 2).then_some(())
    });
}
