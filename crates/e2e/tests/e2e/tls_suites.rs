//! Suites that look for what is weak in TLS, which we did not write, against a listener that says nothing but which
//! certificates it shows.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use e2e::{Authority, Backend, Plimsoll, Script, When, tools};

use crate::front::front;
use crate::tls::curl;

/// What testssl says of every certificate that a test could make, and of answers that are the backend's.
const NOT_OURS: [(&str, &str); 6] = [
    ("cert_expirationStatus", "the certificates of tests last a month"),
    ("cert_notAfter", "the same once more"),
    (
        "cert_revocation",
        "the authority of a test publishes no list and answers no question",
    ),
    ("DNS_CAArecord", "there is no zone for the names of tests"),
    (
        "security_headers",
        "what an application lets browsers do is the application's to say",
    ),
    (
        "HSTS",
        "it is an option of a listener, and would bind names that nobody asked us about",
    ),
];

/// How long a suite may take: it opens hundreds of connections, one after the other.
const PATIENCE: Duration = Duration::from_secs(220);

/// A listener with an ECDSA and an RSA certificate for shop.test, and the authority that vouches for them.
fn stage(backend: &Backend) -> (Authority, Plimsoll) {
    let authority = Authority::new("Test Root");
    authority.issue("ec", &["shop.test"]);
    authority.issue_with("rsa:2048", "rsa", &["shop.test"], When::Now);
    let pairs = [authority.pair("ec"), authority.pair("rsa")].join(", ");
    let plimsoll = front()
        .listener(&format!("tls = {{ certificates = [{pairs}] }}"))
        .before(backend.address());
    (authority, plimsoll)
}

#[track_caller]
fn assert_serves(authority: &Authority, plimsoll: &Plimsoll) {
    let output = curl(authority, plimsoll, "shop.test", "/", &["--fail"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn testssl_finds_nothing_above_low() {
    let backend = Backend::start(Script::reply(200, "hello"));
    let (authority, plimsoll) = stage(&backend);
    let port = plimsoll.address("web").port();
    let mut command = Command::new("testssl");
    command
        .args(["--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1"])
        .args(["--add-ca", &authority.named("ca.pem")])
        .args(["--jsonfile", &authority.named("findings.json")])
        .arg(format!("https://shop.test:{port}"));
    let output = tools::run(&mut command, PATIENCE);
    let findings: Vec<serde_json::Value> =
        serde_json::from_str(&authority.read("findings.json")).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let severity = |finding: &serde_json::Value| finding["severity"].as_str().unwrap_or_default().to_owned();
    let id = |finding: &serde_json::Value| finding["id"].as_str().unwrap_or_default().to_owned();
    // That it came to its end, and has seen what there is to be seen.
    for (wanted, said) in [
        ("TLS1_2", "offered"),
        ("TLS1_3", "offered with final"),
        ("heartbleed", "not vulnerable"),
        ("ROBOT", "not vulnerable"),
        ("secure_client_renego", "not vulnerable"),
        ("cert_chain_of_trust <cert#1>", "passed."),
        ("cert_chain_of_trust <cert#2>", "passed."),
    ] {
        let found = findings.iter().find(|finding| id(finding) == wanted);
        let found = found.unwrap_or_else(|| panic!("nothing of {wanted}: {output:?}"));
        let text = found["finding"].as_str().unwrap_or_default();
        assert!(text.contains(said), "{found}");
    }
    // A warning says that testssl's own tools did not get through, not what it found.
    let harmless = ["OK", "INFO", "LOW", "WARN"];
    let wrong: Vec<_> = findings
        .iter()
        .filter(|finding| !harmless.contains(&&*severity(finding)))
        .filter(|finding| {
            !NOT_OURS
                .iter()
                .any(|(known, _)| id(finding).split(' ').next() == Some(known))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_serves(&authority, &plimsoll);
}

#[test]
fn sslscan_sees_what_is_spoken_and_nothing_else() {
    let backend = Backend::start(Script::reply(200, "hello"));
    let (authority, plimsoll) = stage(&backend);
    let mut command = Command::new("sslscan");
    command.args(["--xml=-", "--sni-name=shop.test"]);
    command.arg(plimsoll.address("web").to_string());
    let output = tools::run(&mut command, PATIENCE);
    let elements = |name: &str| -> Vec<String> {
        let begin = format!("<{name} ");
        let lines = output.stdout.lines().map(str::trim);
        lines
            .filter(|line| line.starts_with(&begin))
            .map(str::to_owned)
            .collect()
    };
    let attribute = |element: &str, name: &str| -> String {
        let value = element.split_once(&format!("{name}=\"")).map(|(_, rest)| rest);
        value
            .and_then(|rest| rest.split('"').next())
            .unwrap_or_default()
            .to_owned()
    };
    let enabled: BTreeSet<String> = elements("protocol")
        .iter()
        .filter(|element| attribute(element, "enabled") == "1")
        .map(|element| attribute(element, "type") + " " + &attribute(element, "version"))
        .collect();
    assert_eq!(enabled, ["tls 1.2".into(), "tls 1.3".into()].into(), "{output:?}");
    let suites: BTreeSet<String> = elements("cipher")
        .iter()
        .map(|element| attribute(element, "cipher"))
        .collect();
    let wanted = [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ];
    assert_eq!(suites, wanted.map(str::to_owned).into(), "{output:?}");
    for element in elements("heartbleed") {
        assert_eq!(attribute(&element, "vulnerable"), "0", "{element}");
    }
    let [renegotiation] = &elements("renegotiation")[..] else {
        panic!("{output:?}")
    };
    assert_eq!(attribute(renegotiation, "supported"), "0", "{renegotiation}");
    assert_serves(&authority, &plimsoll);
}
