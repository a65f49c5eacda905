use plimsoll_core::decision::{Decision, Stage, Verdict};

use super::super::{Question, Url, offline};
use crate::config::{Format, parse_text};

const PASSED: &str = r#"
[listeners.passed]
bind = "0.0.0.0:9443"
protocol = "tls"
timeouts = { request_header = "5s" }

[listeners.web]
bind = "0.0.0.0:8080"
pool = "web"

[[routes]]
name = "db"
listeners = "passed"
match = { sni = "*.db.example.com" }
pool = "db"

[[routes]]
name = "canary"
listeners = "passed"
match = { sni = "shop.example.com", alpn = "h2", client = "10.0.0.0/8" }
split = [{ pool = "web", weight = 9 }, { pool = "db", weight = 1 }]

[[routes]]
name = "shop"
listeners = "passed"
match = { sni = "shop.example.com" }
pool = "web"

[pools.web]
backends = ["10.0.0.1:443", "10.0.0.2:443"]

[pools.db]
policy = { kind = "maglev", key = "sni" }
send_proxy_protocol = "v2"
backends = ["10.0.0.3:443", "10.0.0.4:443", "10.0.0.5:443"]
"#;

fn ask(url: &str, client: Option<&str>, alpn: &[&str]) -> Result<Decision, String> {
    let plan = parse_text("sample.toml", Format::Toml, PASSED)
        .expect("it is right")
        .plan;
    let question = Question {
        url: Url::parse(url).unwrap(),
        method: "GET".into(),
        headers: Vec::new(),
        client: client.map(|text| Question::client(text).unwrap()),
        alpn: alpn.iter().map(|name| (*name).to_owned()).collect(),
        listener: None,
        seed: 7,
    };
    offline(&plan, &question).map_err(|why| why.to_string())
}

fn told(decision: &Decision, stage: Stage, subject: &str) -> Vec<(Verdict, String)> {
    let steps = decision.steps.iter();
    let of = steps.filter(|step| step.stage == stage && step.subject == subject);
    of.map(|step| (step.verdict, step.why.clone())).collect()
}

#[test]
fn a_connection_goes_where_its_name_says() {
    let decision = ask("tls://A.db.example.com:9443", None, &[]).unwrap();
    assert_eq!(
        (decision.listener.as_deref(), decision.route.as_deref()),
        (Some("passed"), Some("db"))
    );
    let of = |stage, subject| told(&decision, stage, subject);
    assert_eq!(
        of(Stage::Request, "sni"),
        [(Verdict::Passed, "a.db.example.com, the URL's host".into())]
    );
    assert_eq!(
        of(Stage::Request, "alpn"),
        [(Verdict::Passed, "none; --alpn adds one".into())]
    );
    assert!(of(Stage::Pick, "key")[0].1.starts_with("sni hashes to "));
    assert_eq!(
        of(Stage::Action, "timeouts"),
        [(Verdict::Taken, "ClientHello 5s, connect 3s, idle 1h".into())]
    );
    assert_eq!(
        of(Stage::Action, "introduces"),
        [(
            Verdict::Taken,
            "begins with a PROXY header of version 2, which names the client".into()
        )]
    );
    assert!(decision.backend.is_some());
    let again = ask("tls://a.DB.example.com.:9443", Some("192.0.2.1"), &["h2"]).unwrap();
    assert_eq!(decision.backend, again.backend, "the key is the name alone");
}

#[test]
fn a_url_of_https_goes_to_the_listener_that_passes_it_through() {
    let decision = ask("https://shop.example.com/", Some("10.0.0.9"), &[]).unwrap();
    assert_eq!(decision.listener.as_deref(), Some("passed"));
    assert_eq!(decision.route.as_deref(), Some("canary"));
    let of = |stage, subject| told(&decision, stage, subject);
    assert_eq!(
        of(Stage::Action, "db").last().unwrap().1.as_str(),
        "1 of 10 connections, at random"
    );
    assert!(of(Stage::Request, "alpn")[0].1.starts_with("h2, http/1.1, as clients"));
    let other = ask("https://shop.example.com/", Some("10.0.0.9"), &["h3"]).unwrap();
    assert_eq!(other.route.as_deref(), Some("shop"));
    assert_eq!(
        told(&other, Stage::Route, "canary"),
        [(Verdict::Refused, "alpn has no h2".into())]
    );
    let away = ask("https://shop.example.com/", Some("192.0.2.1"), &[]).unwrap();
    let why = "client 192.0.2.1 is not in 10.0.0.0/8";
    assert_eq!(told(&away, Stage::Route, "canary"), [(Verdict::Refused, why.into())]);
}

#[test]
fn a_name_that_nobody_has_is_refused() {
    for (url, sni) in [
        ("tls://other.example:9443", "other.example, the URL's host"),
        ("tls://127.0.0.1:9443", "none: the URL has no name for a host"),
        ("https://[::1]:9443/", "none: the URL has no name for a host"),
    ] {
        let decision = ask(url, None, &[]).unwrap();
        assert_eq!(
            (decision.reason.as_deref(), decision.route),
            (Some("no_route"), None),
            "{url}"
        );
        let last = decision.steps.last().unwrap();
        assert_eq!(
            last.why,
            "closed by us with the alert unrecognized_name: no route matches"
        );
        let named = decision.steps.iter().find(|step| step.subject == "sni");
        assert_eq!(named.map(|step| step.why.as_str()), Some(sni), "{url}");
    }
}

#[test]
fn what_speaks_otherwise_says_what_to_write() {
    for (url, help) in [
        (
            "http://shop.example.com:9443/",
            "passed passes TLS through; write https://shop.example.com:9443",
        ),
        ("tcp://:9443", "passed passes TLS through; write tls://HOST:9443"),
        (
            "tls://shop.example.com:8080",
            "web speaks http; write https://shop.example.com:8080",
        ),
    ] {
        let why = ask(url, None, &[]).unwrap_err();
        assert!(why.contains(help), "{url}: {why}");
    }
}
