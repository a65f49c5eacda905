//! Certificates by ACME: an authority asks for proofs, and gives them.

use std::os::unix::fs::PermissionsExt;

use e2e::{Authority, PebbleSetup, Plimsoll, eventually};

use crate::acme_stage::{Stage, ended, status, wait_for, wait_for_error};

#[test]
fn by_http_01_names_are_proved_before_any_filter_or_redirect() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup::default());
    let domains = "\"shop.test\", \"www.shop.test\"";
    let plimsoll = stage
        .setup(&stage.acme(&pebble, domains, ", email = \"ops@shop.test\""), "")
        .start();
    let issued = wait_for(&plimsoll, "web", "issued");
    assert_eq!(issued["names"], serde_json::json!(["shop.test", "www.shop.test"]));
    assert_eq!(issued["acme"]["domains"], issued["names"]);
    assert_eq!(
        (&issued["error"], &issued["acme"]["error"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    assert_eq!(issued["acme"]["challenge"], "http-01");
    let roots = pebble.roots();
    for host in ["shop.test", "www.shop.test"] {
        eventually("it is shown", || {
            (stage.curl(&roots, host, &[]).code == Some(0)).then_some(())
        });
    }
    // Only the authority's own questions are let past.
    let plain = |path: &str| {
        let url = format!("http://{}{path}", stage.http.address());
        e2e::tools::curl(&["--output", "/dev/null", "--write-out", "%{http_code}", &url]).stdout
    };
    for path in [
        "/.well-known/acme-challenge/nobody",
        "/.well-known/acme-challenge/",
        "/",
    ] {
        assert_eq!(plain(path), "308", "{path}");
    }
    assert_eq!(
        (ended(&plimsoll, "web", "issued"), ended(&plimsoll, "web", "failed")),
        (1.0, 0.0)
    );
    let ends = plimsoll
        .metrics()
        .sum("plimsoll_certificate_expiry_seconds", &[("listener", "web")]);
    assert!(ends > 1.0e9, "{ends}");
    // Keys are their owner's alone.
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&stage.kept()), 0o700);
    for entry in std::fs::read_dir(stage.kept()).expect("it is there") {
        let path = entry.expect("it can be read").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn by_tls_alpn_01_the_listener_itself_proves_its_name() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup::default());
    let clients = Authority::new("Clients");
    let ca = clients.named("ca.pem");
    let acme = stage.acme(&pebble, "\"shop.test\"", ", challenge = \"tls-alpn-01\"");
    // The authority shows no certificate, and need not.
    let plimsoll = stage
        .setup(&format!("{acme}, client_ca = \"{ca}\", min_version = \"1.3\""), "")
        .start();
    wait_for(&plimsoll, "web", "issued");
    clients.issue("ann", &[]);
    let (cert, key) = (clients.named("ann.pem"), clients.named("ann.key"));
    let roots = pebble.roots();
    eventually("it is shown", || {
        let output = stage.curl(&roots, "shop.test", &["--cert", &cert, "--key", &key]);
        (output.code == Some(0)).then_some(())
    });
    assert_ne!(stage.curl(&roots, "shop.test", &[]).code, Some(0));
    // Nobody is answered once nobody is expected to ask.
    let mut command = std::process::Command::new("sh");
    let script = "timeout 20 openssl s_client -connect \"$0\" -servername shop.test -alpn acme-tls/1 </dev/null 2>&1";
    command.args(["-c", script, &stage.tls.address().to_string()]);
    let said = e2e::tools::run(&mut command, e2e::PATIENCE * 2).stdout;
    assert!(said.contains("no application protocol"), "{said}");
}

/// A program that sets records at Pebble's server of DNS.
fn hook(records: &str) -> String {
    format!(
        "#!/bin/sh\nset -e\necho \"$@\" >> hook.log\ncase \"$2\" in\n\
         add) curl -sf -d \"{{\\\"host\\\": \\\"$3.\\\", \\\"value\\\": \\\"$4\\\"}}\" {records}/set-txt;;\n\
         remove) curl -sf -d \"{{\\\"host\\\": \\\"$3.\\\"}}\" {records}/clear-txt;;\n\
         *) exit 2;;\nesac\n"
    )
}

#[test]
fn by_dns_01_a_program_sets_records_and_takes_them_away() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup::default());
    let more = ", challenge = \"dns-01\", dns_hook = [\"./hook\", \"zone\"]";
    let plimsoll = stage
        .setup(&stage.acme(&pebble, "\"*.shop.test\", \"other.test\"", more), "")
        .program("hook", &hook(&pebble.records()))
        .start();
    wait_for(&plimsoll, "web", "issued");
    let roots = pebble.roots();
    for host in ["any.shop.test", "other.test"] {
        eventually("it is shown", || {
            (stage.curl(&roots, host, &[]).code == Some(0)).then_some(())
        });
    }
    let log = plimsoll.scratch().read("hook.log");
    let mut lines: Vec<&str> = log
        .lines()
        .map(|line| line.rsplit_once(' ').expect("a text").0)
        .collect();
    lines.sort_unstable();
    let expected = [
        "zone add _acme-challenge.other.test",
        "zone add _acme-challenge.shop.test",
        "zone remove _acme-challenge.other.test",
        "zone remove _acme-challenge.shop.test",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_program_that_fails_or_does_not_end_is_told_of() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup::default());
    let keys = |hook: &str| format!(", challenge = \"dns-01\", dns_hook = [\"./{hook}\"], dns_timeout = \"1s\"");
    let acme = |domain: &str, hook: &str| stage.acme(&pebble, domain, &keys(hook));
    let slow = acme("\"slow.test\"", "slow");
    let plimsoll = stage
        .setup(
            &acme("\"wrong.test\"", "wrong"),
            &format!("[listeners.slow]\nbind = [\"@slow@\"]\npool = \"api\"\ntls = {{ {slow} }}\n"),
        )
        .program("wrong", "#!/bin/sh\necho the zone is locked >&2\nexit 3\n")
        .program("slow", "#!/bin/sh\nsleep 600\n")
        .start();
    wait_for_error(
        &plimsoll,
        "web",
        &[
            "wrong.test",
            "add _acme-challenge.wrong.test",
            "exit code 3: the zone is locked",
        ],
    );
    wait_for_error(
        &plimsoll,
        "slow",
        &["add _acme-challenge.slow.test has not ended within 1s"],
    );
    assert_eq!(ended(&plimsoll, "web", "failed"), 1.0);
}

/// A key of a customer, and where it is put.
const CUSTOMER: (&str, &str) = (
    "kid-1",
    "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
);

#[test]
fn an_authority_of_customers_alone_wants_the_right_key() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup {
        customers: vec![CUSTOMER],
        ..PebbleSetup::default()
    });
    let bound = |file: &str| format!(", eab = {{ kid = \"kid-1\", hmac_file = \"{file}\" }}");
    let tables = |name: &str, acme: &str| {
        format!("[listeners.{name}]\nbind = [\"@{name}@\"]\npool = \"api\"\ntls = {{ {acme} }}\n")
    };
    let nobody = tables("nobody", &stage.acme(&pebble, "\"nobody.test\"", ""));
    // Apart, since an account that is there is not asked for its key again.
    let elsewhere = bound("wrong.key").replace(", eab", ", email = \"a@b.test\", eab");
    let storage = stage.storage.path().join("elsewhere").display().to_string();
    let wrong = stage.acme(&pebble, "\"wrong.test\"", &elsewhere);
    let wrong = tables("wrong", &wrong.replace(&stage.kept().display().to_string(), &storage));
    let plimsoll = stage
        .setup(
            &stage.acme(&pebble, "\"shop.test\"", &bound("right.key")),
            &(nobody + &wrong),
        )
        .file("right.key", format!("{}\n", CUSTOMER.1))
        .file("wrong.key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
        .start();
    wait_for(&plimsoll, "web", "issued");
    let refused = wait_for_error(
        &plimsoll,
        "nobody",
        &["registering an account", "externalAccountRequired"],
    );
    assert_eq!(refused["acme"]["state"], "failing");
    wait_for_error(&plimsoll, "wrong", &["registering an account", "external"]);
    assert!(ended(&plimsoll, "nobody", "refused") >= 1.0);
}

#[test]
fn what_an_authority_refuses_is_told_in_its_words_and_hurts_nobody_else() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup {
        blocked: vec!["blocked.test"],
        ..PebbleSetup::default()
    });
    // Nobody listens where this name leads.
    pebble.lead("away.test", "127.0.0.9");
    let authority = Authority::new("Files");
    authority.issue("file", &["file.test"]);
    let listener = |name: &str, domains: &str| {
        let acme = stage.acme(&pebble, domains, "");
        format!("[listeners.{name}]\nbind = [\"@{name}@\"]\npool = \"api\"\ntls = {{ {acme} }}\n")
    };
    let others = listener("blocked", "\"blocked.test\"") + &listener("away", "\"shop.test\", \"away.test\"");
    let own = format!(
        "certificates = [{}], {}",
        authority.pair("file"),
        stage.acme(&pebble, "\"shop.test\"", "")
    );
    let plimsoll = stage.setup(&own, &others).start();
    wait_for(&plimsoll, "web", "issued");
    wait_for_error(&plimsoll, "blocked", &["rejectedIdentifier", "blocked.test"]);
    let away = wait_for_error(&plimsoll, "away", &["away.test: connection", "127.0.0.9"]);
    assert_eq!(
        (&away["acme"]["state"], &away["acme"]["failures"]),
        (&"failing".into(), &1.into())
    );
    let next = away["acme"]["next_try"].as_str().expect("a time");
    assert!(next > away["loaded_at"].as_str().unwrap_or_default(), "{away}");
    // What others have is served, and next to it what comes from files.
    let roots = pebble.roots();
    eventually("it is shown", || {
        (stage.curl(&roots, "shop.test", &[]).code == Some(0)).then_some(())
    });
    assert_eq!(stage.curl(&authority.file("ca.pem"), "file.test", &[]).code, Some(0));
    // Where there is nothing yet, the handshake is refused, and its cause is counted.
    let blocked = plimsoll.address("blocked").to_string();
    assert_eq!(pebble.shown(&blocked, "blocked.test", "-subject"), None);
    let labels = [("listener", "blocked"), ("cause", "no_certificate_of_ours")];
    assert!(plimsoll.metrics().sum("plimsoll_tls_handshakes_failed_total", &labels) >= 1.0);
    let log = plimsoll.stderr();
    assert!(
        log.contains("no certificate was issued") && log.contains("rejectedIdentifier"),
        "{log}"
    );
}

#[test]
fn half_of_all_nonces_may_be_refused() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup {
        nonces_refused: 50,
        ..PebbleSetup::default()
    });
    let domains = "\"a.test\", \"b.test\", \"c.test\"";
    let plimsoll = stage.setup(&stage.acme(&pebble, domains, ""), "").start();
    wait_for(&plimsoll, "web", "issued");
    assert_eq!(status(&plimsoll, "web")["acme"]["failures"], 0);
    assert_eq!(
        (ended(&plimsoll, "web", "issued"), ended(&plimsoll, "web", "refused")),
        (1.0, 0.0)
    );
}

#[test]
fn two_listeners_share_what_both_ask_for() {
    let stage = Stage::new();
    let pebble = stage.pebble(PebbleSetup::default());
    let acme = stage.acme(&pebble, "\"shop.test\"", "");
    let other = format!("[listeners.other]\nbind = [\"@other@\"]\npool = \"api\"\ntls = {{ {acme} }}\n");
    let plimsoll: Plimsoll = stage.setup(&acme, &other).start();
    let (web, other) = (
        wait_for(&plimsoll, "web", "issued"),
        wait_for(&plimsoll, "other", "issued"),
    );
    assert_eq!(web["path"], other["path"]);
    let (one, two) = (stage.tls.address().to_string(), plimsoll.address("other").to_string());
    let serial = |address: &str| eventually("it is shown", || pebble.shown(address, "shop.test", "-serial"));
    assert_eq!(serial(&one), serial(&two));
    stage.kept_as(".pem");
}
