//! TLS with backends: what can be written, what contradicts itself, and what it comes to.

use std::path::PathBuf;

use plimsoll_core::pool::BackendProtocol;
use plimsoll_net::tls::Version;

use super::super::{CheckKind, OriginationPlan, PoolPlan};
use super::{plan, told, toml};

fn config(pool: &str) -> String {
    format!(
        "[listeners.web]\nbind = \":1\"\npool = \"p\"\n\
         [pools.p]\nbackends = [\"10.0.0.1:443\", \"10.0.0.2:443\"]\nhealth = {{ http = \"/\" }}\n{pool}\n"
    )
}

fn pool_plan(pool: &str) -> PoolPlan {
    plan(&config(pool)).pools[0].clone()
}

#[test]
fn it_comes_to_a_plan() {
    for (pool, protocol, checked) in [
        ("tls = false", BackendProtocol::H1, false),
        ("tls = true", BackendProtocol::H1, true),
        ("tls = true\nprotocol = \"h2\"", BackendProtocol::H2, true),
        ("tls = true\nprotocol = \"auto\"", BackendProtocol::Auto, true),
        ("protocol = \"auto\"", BackendProtocol::H1, false),
    ] {
        let plan = pool_plan(pool);
        assert_eq!(
            (plan.settings.protocol, plan.settings.tls),
            (protocol, checked),
            "{pool}"
        );
        let check = plan.check.expect("it is checked");
        assert_eq!(check.tls, checked, "{pool}");
        assert!(
            matches!(check.kind, CheckKind::Http(http) if http.protocol == protocol),
            "{pool}"
        );
    }
    let written = "tls = { ca = \"ca.pem\", server_name = \"API.internal\", cert = \"me.pem\", key = \"me.key\", min_version = \"1.3\", alpn = \"postgresql\" }";
    let expected = OriginationPlan {
        ca: Some(PathBuf::from("ca.pem")),
        name: Some("API.internal".try_into().expect("a name")),
        own: Some((PathBuf::from("me.pem"), PathBuf::from("me.key"))),
        alpn: vec![b"postgresql".to_vec()],
        min_version: Version::Tls13,
        believes_anyone: false,
    };
    assert_eq!(pool_plan(written).tls, Some(expected));
    let bare = pool_plan("tls = { server_name = \"10.0.0.9\" }").tls.expect("it is on");
    assert_eq!((bare.ca, bare.own, bare.min_version), (None, None, Version::Tls12));
}

#[test]
fn checks_may_leave_it_out() {
    let check = |rest: &str| {
        let text = config(rest).replace("{ http = \"/\" }", "{ http = \"/\", tls = false }");
        plan(&text).pools[0].check.clone().expect("it is checked")
    };
    let check = check("tls = true\nprotocol = \"auto\"");
    assert!(!check.tls);
    assert!(matches!(check.kind, CheckKind::Http(http) if http.protocol == BackendProtocol::H1));
}

#[test]
fn what_contradicts_itself_is_told_where_it_stands() {
    for (pool, expected) in [
        (
            "tls = 1",
            "error 7:7 «1» expected true, false, or a table, found a whole number",
        ),
        (
            "tls = { cert = \"me.pem\" }",
            "error 7:16 «\"me.pem\"» a certificate is shown by who has its key (add key = \"…\": the file with its key)",
        ),
        (
            "tls = { key = \"me.key\" }",
            "error 7:15 «\"me.key\"» this is the key of no certificate (add cert = \"…\": the file with its certificate)",
        ),
        (
            "tls = { server_name = \"api:443\" }",
            "error 7:23 «\"api:443\"» \"api:443\" is no host name and no address (write it as it stands in the certificate, like \"api.internal\", without a port)",
        ),
        (
            "tls = { server_nam = \"api\" }",
            "error 7:9 «server_nam» unknown key `server_nam` (did you mean `server_name`?)",
        ),
        (
            "tls = { ca = \"ca.pem\", danger_accept_invalid_certs = true }",
            "warning 7:54 «true» whoever answers for a backend of `p` is believed: others may read and change what is sent there (take it out: `ca` says whom to believe) [not looked at: 7:14]",
        ),
        (
            "protocol = \"auto\"",
            "warning 4:8 «p» the backends of `p` are asked nothing, so that HTTP/1.1 is spoken to them (protocol = \"auto\" is chosen within TLS (ALPN): add tls, or write \"h1\" or \"h2\")",
        ),
    ] {
        assert_eq!(told(&toml(&config(pool))), [expected], "{pool}");
    }
    let passed = config("tls = true").replace("bind = \":1\"", "bind = \":1\"\nprotocol = \"tls\"");
    assert_eq!(
        told(&toml(&passed.replace("http = \"/\"", "tcp = true"))),
        [
            "warning 8:7 «true» what is passed through to `p` is TLS already, and put into TLS once more (take it out, unless the backends expect that)"
        ]
    );
    let checks = |check: &str, rest: &str| {
        let text = config(rest).replace("{ http = \"/\" }", check);
        told(&toml(&text))
    };
    assert_eq!(
        checks("{ http = \"/\", tls = true }", ""),
        ["error 6:30 «true» the pool has no TLS that a check could speak (add tls = true to the pool, or a table)"]
    );
    assert_eq!(
        checks("{ tls = true, exec = [\"./probe\"] }", "tls = true")[0],
        "error 6:18 «true» a program makes its own connections"
    );
}
