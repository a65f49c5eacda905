//! Limits of what is under way at once: requests by key, connections by client.

use e2e::frames::{END_STREAM, kind};
use e2e::tools::curl;
use e2e::{Backend, Frames, PATIENCE, Plimsoll, Reply, Script, Wire, eventually};

fn serve(text: &str) -> (Backend, Plimsoll) {
    let script = Script::ByPath(vec![
        ("/ws".into(), Script::WebSocket),
        ("/hang".into(), Script::Hang),
        ("/".into(), Script::Echo),
    ]);
    let backend = Backend::start(script);
    let config = format!("[server]\nworkers = 2\n{text}\n[pools.p]\nbackends = [\"@one@\"]\nhealth = false\n");
    let plimsoll = Plimsoll::config(&config).address("one", backend.address()).start();
    (backend, plimsoll)
}

const TENANTS: &str = r#"
    [listeners.web]
    bind = "@web@"
    pool = "p"
    filters = [{ kind = "concurrency-limit", key = "header:x-tenant", limit = 2 }]
"#;

const WEBSOCKET: &str = "GET /ws HTTP/1.1\r\nhost: a\r\nx-tenant: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";

fn upgrade(plimsoll: &Plimsoll) -> (Wire, Reply) {
    let mut wire = plimsoll.connect("web");
    wire.send(WEBSOCKET);
    let reply = wire.reply();
    (wire, reply)
}

/// Whether a request of the tenant `a` passes once those that were under way have gone.
fn passes_again(plimsoll: &Plimsoll) {
    eventually("there is room again", || {
        let reply = plimsoll.exchange("web", "GET / HTTP/1.1\r\nhost: a\r\nx-tenant: a\r\n\r\n");
        (reply.status == 200).then_some(())
    });
}

#[test]
fn a_websocket_counts_until_it_is_closed() {
    let (_backend, plimsoll) = serve(TENANTS);
    let held: Vec<(Wire, Reply)> = (0..2).map(|_| upgrade(&plimsoll)).collect();
    assert!(held.iter().all(|(_, reply)| reply.status == 101));
    let (_, refused) = upgrade(&plimsoll);
    refused.assert_reason(429, "concurrency_limited");
    let other = plimsoll.exchange("web", "GET / HTTP/1.1\r\nhost: a\r\nx-tenant: b\r\n\r\n");
    assert_eq!((other.status, plimsoll.get("web", "/").status), (200, 200));
    let told = plimsoll
        .admin("/api/v1/explain?url=http://a/&header=x-tenant:a&client=127.0.0.1")
        .text();
    assert!(told.contains("2 of 2 under way for this header:x-tenant"), "{told}");
    drop(held);
    passes_again(&plimsoll);
}

#[test]
fn requests_that_clients_give_up_count_no_longer() {
    let (backend, plimsoll) = serve(TENANTS);
    let hanging = |_| {
        let mut wire = plimsoll.connect("web");
        wire.send("GET /hang HTTP/1.1\r\nhost: a\r\nx-tenant: a\r\n\r\n");
        wire
    };
    let held: Vec<Wire> = (0..2).map(hanging).collect();
    backend.wait_for_requests(2);
    let refused = plimsoll.exchange("web", "GET / HTTP/1.1\r\nhost: a\r\nx-tenant: a\r\n\r\n");
    refused.assert_reason(429, "concurrency_limited");
    drop(held);
    passes_again(&plimsoll);
    // Streams of one connection, reset one by one.
    backend.forget();
    let mut frames = Frames::connect(plimsoll.address("web"));
    for stream in [1, 3] {
        frames.request(stream, "GET", "/hang", &[("x-tenant", "a")], END_STREAM);
    }
    backend.wait_for_requests(2);
    let refused = plimsoll.exchange("web", "GET / HTTP/1.1\r\nhost: a\r\nx-tenant: a\r\n\r\n");
    refused.assert_reason(429, "concurrency_limited");
    for stream in [1, 3] {
        frames
            .send(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())
            .expect("a reset is taken");
    }
    passes_again(&plimsoll);
}

const EACH: &str = r#"
    [listeners.web]
    bind = "@web@"
    pool = "p"
    max_connections_per_client = 2
    [listeners.db]
    bind = "@db@"
    protocol = "tcp"
    pool = "p"
    max_connections_per_client = 2
"#;

#[test]
fn a_client_has_so_many_connections_to_a_listener() {
    let (_backend, plimsoll) = serve(EACH);
    for listener in ["web", "db"] {
        let mut kept: Vec<Wire> = (0..2).map(|_| plimsoll.connect(listener)).collect();
        for wire in &mut kept {
            assert_eq!(wire.get("/").status, 200);
        }
        plimsoll.connect(listener).assert_closed_within(PATIENCE);
        // Somebody else has connections of his own, and those that are there are served on.
        let url = format!("http://{}/", plimsoll.address(listener));
        let told = curl(&[
            "--interface",
            "127.0.0.2",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &url,
        ])
        .stdout;
        assert_eq!(told, "200");
        assert_eq!(kept[0].get("/").status, 200);
        drop(kept);
        eventually("there is room again", || {
            let mut wire = plimsoll.connect(listener);
            wire.try_send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").ok()?;
            let reply = wire.try_reply_to("GET").ok()?;
            (reply.status == 200).then_some(())
        });
    }
    let refused = || {
        plimsoll
            .metrics()
            .sum("plimsoll_failures_total", &[("reason", "concurrency_limited")])
    };
    eventually("the refusals are counted", || (refused() >= 2.0).then_some(()));
}

#[test]
fn connections_of_trusted_proxies_are_not_counted() {
    let (_backend, plimsoll) = serve(&format!("trusted_proxies = [\"127.0.0.1/32\"]\n{EACH}"));
    let mut kept: Vec<Wire> = (0..5).map(|_| plimsoll.connect("web")).collect();
    for wire in &mut kept {
        assert_eq!(wire.get("/").status, 200);
    }
}
