//! TLS passed through: servers and clients of others meet end to end, at the backend that the name says.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use e2e::{Backend, Output, PATIENCE, Plimsoll, Setup, Wire, eventually, tools};
use serde_json::Value;

use crate::certificates::Certificates;
use crate::client_hellos::{Hello, failures, logged};
use crate::stage::attempts;

/// What openssl's client says of a handshake with `to`, with these further arguments.
fn s_client(to: SocketAddr, more: &[&str]) -> Output {
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-brief", "-connect", &to.to_string()])
        .args(more);
    tools::run(&mut command, PATIENCE)
}

/// A listener `tls` that passes through, with these routes and pools.
fn pass(listener: &str, routes_and_pools: &str) -> Setup {
    Plimsoll::config(&format!(
        r#"
        [server]
        workers = 1
        [log]
        access = "./access.log"
        [listeners.tls]
        bind = ["@tls@"]
        protocol = "tls"
        {listener}
        {routes_and_pools}
        "#
    ))
}

fn route(name: &str, matched: &str, pool: &str) -> String {
    format!("[[routes]]\nname = \"{name}\"\nlisteners = \"tls\"\nmatch = {{ {matched} }}\npool = \"{pool}\"\n")
}

/// Pools of one backend each, `@POOL@`.
fn pools(names: &[&str]) -> String {
    let each = names
        .iter()
        .map(|name| format!("[pools.{name}]\nbackends = [\"@{name}@\"]\nhealth = false\n"));
    each.collect()
}

#[test]
fn a_name_leads_to_its_backend_whose_own_certificate_is_seen() {
    let certificates = Certificates::of(&["shop.example", "a.db.example", "other.example"]);
    let (shop, db) = (
        certificates.serve_nginx("shop.example"),
        certificates.serve_haproxy("a.db.example"),
    );
    let rest = certificates.serve_openssl("other.example");
    let routes = route("shop", "sni = \"shop.example\"", "shop") + &route("db", "sni = \"*.db.example\"", "db");
    let plimsoll = pass("pool = \"rest\"", &(routes + &pools(&["shop", "db", "rest"])))
        .address("shop", shop.address())
        .address("db", db.address())
        .address("rest", rest.address())
        .start();
    let to = plimsoll.address("tls");
    for (version, http, told) in [
        ("--tls-max=1.2", "--http1.1", "HTTP/1.1"),
        ("--tlsv1.3", "--http1.1", "HTTP/1.1"),
        ("--tlsv1.3", "--http2", "HTTP/2.0"),
    ] {
        let version: Vec<&str> = version.split('=').collect();
        let more = [version.as_slice(), &[http]].concat();
        let answer = certificates.curl("shop.example", to, "/", &more);
        assert_eq!(
            answer.stdout,
            format!("nginx of shop.example over {told}"),
            "{answer:?}"
        );
        let answer = certificates.curl("a.db.example", to, "/", &more);
        assert_eq!(answer.stdout, "HAProxy of a.db.example", "{answer:?}");
    }
    for (arguments, name) in [
        (&["-servername", "SHOP.example"][..], "shop.example"),
        (&["-servername", "a.db.example", "-tls1_2"], "a.db.example"),
        (&["-servername", "db.example"], "other.example"),
        (&["-noservername"], "other.example"),
    ] {
        let said = s_client(to, arguments).stderr;
        assert!(
            said.contains(&format!("Peer certificate: CN = {name}")),
            "{arguments:?}: {said}"
        );
    }
    let lines = eventually("all are logged", || {
        let lines = plimsoll.scratch().read("access.log");
        let lines: Vec<Value> = lines
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        (lines.len() == 10).then_some(lines)
    });
    let of = |sni: Value| {
        let line = lines.iter().find(|line| line["tls"]["sni"] == sni);
        let line = line.unwrap_or_else(|| panic!("no {sni}: {lines:#?}"));
        [&line["protocol"], &line["route"], &line["pool"]].map(|value| value.as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(of("shop.example".into()), ["TLS", "shop", "shop"]);
    assert_eq!(of("a.db.example".into()), ["TLS", "db", "db"]);
    assert_eq!(of(Value::Null), ["TLS", "listener:tls", "rest"]);
}

#[test]
fn protocols_and_networks_choose_as_well() {
    let certificates = Certificates::of(&["shop.example"]);
    let (nginx, haproxy) = (
        certificates.serve_nginx("shop.example"),
        certificates.serve_haproxy("shop.example"),
    );
    let challenges = certificates.serve_openssl("shop.example");
    let routes = route("all", "sni = \"shop.example\"", "nginx")
        + &route(
            "near",
            "sni = \"shop.example\", client = [\"127.0.0.2\", \"10.0.0.0/8\"]",
            "haproxy",
        )
        + &route("acme", "sni = \"shop.example\", alpn = \"acme-tls/1\"", "challenges");
    let plimsoll = pass("", &(routes + &pools(&["nginx", "haproxy", "challenges"])))
        .address("nginx", nginx.address())
        .address("haproxy", haproxy.address())
        .address("challenges", challenges.address())
        .start();
    let to = plimsoll.address("tls");
    let from_here = certificates.curl("shop.example", to, "/", &[]);
    assert!(from_here.stdout.starts_with("nginx of shop.example"), "{from_here:?}");
    let from_near = certificates.curl("shop.example", to, "/", &["--interface", "127.0.0.2"]);
    assert_eq!(from_near.stdout, "HAProxy of shop.example", "{from_near:?}");
    let challenge = s_client(to, &["-servername", "shop.example", "-alpn", "acme-tls/1"]);
    assert!(challenge.stderr.contains("CN = shop.example"), "{challenge:?}");
    eventually("the challenge is logged", || {
        plimsoll
            .scratch()
            .read("access.log")
            .contains("\"route\":\"acme\"")
            .then_some(())
    });
}

#[test]
fn large_bodies_go_both_ways() {
    let certificates = Certificates::of(&["shop.example"]);
    let shop = certificates.serve_nginx("shop.example");
    let plimsoll = pass("pool = \"shop\"", &pools(&["shop"]))
        .address("shop", shop.address())
        .start();
    let to = plimsoll.address("tls");
    let body: Vec<u8> = (0..5_000_011u32).map(|n| u8::try_from(n % 251).unwrap_or(0)).collect();
    let sent = plimsoll.scratch().path().join("sent");
    let got = plimsoll.scratch().path().join("got");
    std::fs::write(&sent, &body).expect("a file can be written");
    for (number, http) in ["--http1.1", "--http2"].into_iter().enumerate() {
        let path = format!("/files/{number}");
        let put = certificates.curl(
            "shop.example",
            to,
            &path,
            &[http, "--fail", "-T", &sent.display().to_string()],
        );
        assert_eq!(put.code, Some(0), "{put:?}");
        let get = certificates.curl(
            "shop.example",
            to,
            &path,
            &[http, "--fail", "-o", &got.display().to_string()],
        );
        assert_eq!(get.code, Some(0), "{get:?}");
        assert!(std::fs::read(&got).expect("it was written") == body, "{http}");
    }
}

#[test]
fn a_name_that_nobody_has_gets_an_alert_that_clients_understand() {
    let backend = Backend::tcp_echo();
    let routes = route("shop", "sni = \"shop.example\"", "shop") + &pools(&["shop"]);
    let plimsoll = pass("", &routes).address("shop", backend.address()).start();
    let to = plimsoll.address("tls");
    let said = s_client(to, &["-servername", "other.example"]);
    assert!(said.stderr.contains("unrecognized name"), "{said:?}");
    let url = format!("https://127.0.0.1:{}/", to.port());
    let said = tools::curl(&["--insecure", &url]);
    assert_eq!(said.code, Some(35), "a failed handshake: {said:?}");
    assert!(said.stderr.contains("unrecognized name"), "{said:?}");
    eventually("both are counted", || {
        (failures(&plimsoll, "no_route") == 2.0).then_some(())
    });
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_dead_backend_is_followed_by_the_next_one_with_the_same_hello() {
    let certificates = Certificates::of(&["shop.example"]);
    let (gone, shop) = (Backend::refusing(), certificates.serve_nginx("shop.example"));
    let pool = "[pools.shop]\npolicy = \"round-robin\"\nbackends = [\"@gone@\", \"@shop@\"]\nhealth = false\noutlier = false\n";
    let plimsoll = pass("pool = \"shop\"", pool)
        .address("gone", gone.address())
        .address("shop", shop.address())
        .start();
    for _ in 0..6 {
        let answer = certificates.curl("shop.example", plimsoll.address("tls"), "/", &["--http1.1"]);
        assert_eq!(answer.stdout, "nginx of shop.example over HTTP/1.1", "{answer:?}");
    }
    eventually("both ways are logged", || {
        let log = plimsoll.scratch().read("access.log");
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let twice = lines.iter().map(attempts).filter(|tried| tried.len() == 2).count();
        (lines.len() == 6 && twice > 0).then_some(())
    });
    assert_eq!(failures(&plimsoll, "connect_failed"), 0.0);
}

#[test]
fn connections_of_one_name_go_to_one_backend_when_the_name_is_the_key() {
    let backends: Vec<Backend> = (0..4).map(|_| Backend::tcp_echo()).collect();
    let pool = "[pools.all]\npolicy = { kind = \"maglev\", key = \"sni\" }\nbackends = [\"@b0@\", \"@b1@\", \"@b2@\", \"@b3@\"]\nhealth = false\n";
    let setup = pass("pool = \"all\"", pool);
    let named = backends.iter().enumerate();
    let plimsoll = named
        .fold(setup, |setup, (at, backend)| {
            setup.address(&format!("b{at}"), backend.address())
        })
        .start();
    let mut used = Vec::new();
    for name in [
        "a.example",
        "b.example",
        "c.example",
        "d.example",
        "e.example",
        "f.example",
    ] {
        let before: Vec<usize> = backends.iter().map(Backend::connections).collect();
        let hello = Hello::named(name).bytes();
        for _ in 0..8 {
            let mut wire = plimsoll.connect("tls");
            wire.send(&hello);
            assert!(wire.read_bytes(hello.len()) == hello);
        }
        let after = backends.iter().map(Backend::connections);
        let more: Vec<usize> = after.zip(before).map(|(after, before)| after - before).collect();
        let one = more.iter().position(|count| *count == 8);
        used.push(one.unwrap_or_else(|| panic!("{name}: {more:?}")));
    }
    assert!(used.iter().any(|at| *at != used[0]), "{used:?}");
}

#[test]
fn a_split_shares_connections_out_and_can_be_changed() {
    let (blue, green) = (Backend::tcp_echo(), Backend::tcp_echo());
    let routes = "[[routes]]\nname = \"canary\"\nlisteners = \"tls\"\nsplit = [{ pool = \"blue\", weight = 1 }, { pool = \"green\", weight = 0 }]\n";
    let plimsoll = pass("", &(routes.to_owned() + &pools(&["blue", "green"])))
        .address("blue", blue.address())
        .address("green", green.address())
        .start();
    let hello = Hello::named("a.example").bytes();
    let ask = || {
        let mut wire = plimsoll.connect("tls");
        wire.send(&hello);
        assert!(wire.read_bytes(hello.len()) == hello);
    };
    (0..5).for_each(|_| ask());
    assert_eq!((blue.connections(), green.connections()), (5, 0));
    let body = r#"{"split": [{"pool": "green", "weight": 1}]}"#;
    let changed = plimsoll.admin_send("PATCH", "/api/v1/routes/canary", body);
    assert_eq!(changed.status, 200, "{changed:#?}");
    (0..5).for_each(|_| ask());
    assert_eq!((blue.connections(), green.connections()), (5, 5));
    let routes = plimsoll.admin("/api/v1/routes").json();
    assert_eq!(routes[0]["match"][0]["sni"], "any", "{routes}");
}

#[test]
fn connections_go_on_while_the_node_drains() {
    let echo = Backend::tcp_echo();
    let mut plimsoll = pass("pool = \"echo\"", &pools(&["echo"]))
        .address("echo", echo.address())
        .start();
    let hello = Hello::named("a.example").bytes();
    let (half, rest) = hello.split_at(40);
    let (mut made, mut making) = (plimsoll.connect("tls"), plimsoll.connect("tls"));
    made.send(&hello);
    assert!(made.read_bytes(hello.len()) == hello);
    making.send(half);
    eventually("both are accepted", || {
        let open = plimsoll.metrics().sum("plimsoll_connections", &[("listener", "tls")]);
        (open == 2.0).then_some(())
    });
    plimsoll.signal("TERM");
    eventually("the listener is closed", || {
        Wire::try_connect(plimsoll.address("tls")).is_err().then_some(())
    });
    made.send("still here");
    assert_eq!(made.read_bytes(10), b"still here");
    making.send(rest);
    assert!(making.read_bytes(hello.len()) == hello);
    drop((made, making));
    assert_eq!(plimsoll.wait_for_exit(PATIENCE).code(), Some(0));
}

#[test]
fn a_hello_that_never_ends_is_cut_at_the_drain_deadline() {
    let echo = Backend::tcp_echo();
    let pools = pools(&["echo"]);
    let mut plimsoll = Plimsoll::config(&format!(
        "[server]\nworkers = 1\ndrain_timeout = \"500ms\"\n[log]\naccess = \"./access.log\"\n\
         [listeners.tls]\nbind = [\"@tls@\"]\nprotocol = \"tls\"\npool = \"echo\"\n{pools}"
    ))
    .address("echo", echo.address())
    .start();
    let mut wire = plimsoll.connect("tls");
    wire.send(&Hello::named("a.example").bytes()[..40]);
    eventually("it is accepted", || {
        let open = plimsoll.metrics().sum("plimsoll_connections", &[("listener", "tls")]);
        (open == 1.0).then_some(())
    });
    assert_eq!(plimsoll.terminate(PATIENCE).code(), Some(0));
    wire.assert_closed_within(Duration::from_secs(1));
    assert_eq!(logged(&plimsoll)["reason"], "drain_deadline");
}
