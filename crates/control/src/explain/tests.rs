//! Explanations of sample configurations.

use plimsoll_core::decision::{Decision, Stage, Verdict};

use super::{Question, Unanswerable, Url, offline};
use crate::config::{Format, Plan, parse_text};

const SHOP: &str = r#"
[server]
trusted_proxies = ["10.0.0.0/8"]

[listeners.web]
bind = ["0.0.0.0:8080"]
protocol = "http"
health_path = "/ready"

[listeners.inner]
bind = ["127.0.0.1:8081"]
protocol = "http"

[listeners.postgres]
bind = ["0.0.0.0:5432"]
protocol = "tcp"
pool = "api"

[[routes]]
name = "orders"
match = { host = "shop.example.com", path = "/api/*", methods = ["GET"], headers = { x-beta = "1" }, query = { v = "2" } }
timeout = "15s"
retry = { attempts = 2, on = ["connect", "503"], per_try_timeout = "3s" }
pool = "api"

[[routes]]
name = "shop"
match = { host = "shop.example.com" }
pool = "hashed"

[[routes]]
name = "old"
match = { host = "old.example.com" }
redirect = { scheme = "https", host = "shop.example.com", status = 308 }

[pools.api]
backends = [
  { name = "api-1", address = "10.0.0.1:8080" },
  { name = "api-2", address = "10.0.0.2:8080" },
  { name = "api-3", address = "10.0.0.3:8080", weight = 0 },
]
health = { http = "/healthz" }

[pools.hashed]
policy = { kind = "maglev", key = "header:x-user" }
backends = ["10.0.0.4:8080", "10.0.0.5:8080", "10.0.0.6:8080"]
"#;

fn plan(text: &str) -> Plan {
    parse_text("sample.toml", Format::Toml, text)
        .expect("the sample is right")
        .plan
}

fn question(url: &str) -> Question {
    Question {
        url: Url::parse(url).unwrap(),
        method: "GET".into(),
        headers: Vec::new(),
        client: None,
        alpn: Vec::new(),
        listener: None,
        seed: 7,
    }
}

fn ask(url: &str) -> Decision {
    offline(&plan(SHOP), &question(url)).unwrap()
}

fn with(url: &str, headers: &[&str]) -> Question {
    Question {
        headers: headers.iter().map(|text| Question::header(text).unwrap()).collect(),
        ..question(url)
    }
}

/// The first step of `stage` about `subject`: its verdict and why.
fn step<'d>(decision: &'d Decision, stage: Stage, subject: &str) -> (Verdict, &'d str) {
    let found = decision
        .steps
        .iter()
        .find(|step| step.stage == stage && step.subject == subject);
    let found = found.unwrap_or_else(|| panic!("no {stage:?} step about {subject}: {:#?}", decision.steps));
    (found.verdict, &found.why)
}

#[test]
fn the_whole_way_of_a_request_is_told() {
    let url = "http://Shop.Example.com:8080/x/../api/%6Frders?v=2&token=s3cret";
    let headers = [
        "x-beta: 1",
        "authorization: Bearer s3cret",
        "cookie: id=s3cret",
        "connection: close",
    ];
    let decision = offline(&plan(SHOP), &with(url, &headers)).unwrap();
    assert_eq!(decision.listener.as_deref(), Some("web"));
    assert_eq!(decision.route.as_deref(), Some("orders"));
    assert_eq!(decision.pool.as_deref(), Some("api"));
    assert!(matches!(decision.backend.as_deref(), Some("api-1" | "api-2")));
    assert_eq!(decision.reason, None);
    assert!(
        step(&decision, Stage::Request, "path")
            .1
            .ends_with("is read as /api/orders")
    );
    assert!(
        step(&decision, Stage::Request, "host")
            .1
            .ends_with("is read as shop.example.com")
    );
    assert_eq!(step(&decision, Stage::Route, "shop").0, Verdict::Passed);
    assert_eq!(step(&decision, Stage::Route, "old").0, Verdict::Refused);
    assert_eq!(step(&decision, Stage::Member, "api-1").0, Verdict::Taken);
    let weightless = step(&decision, Stage::Member, "api-3");
    assert!(weightless.0 == Verdict::Refused && weightless.1.contains("weight 0"));
    assert!(
        step(&decision, Stage::Member, "offline")
            .1
            .contains("assumed to be healthy")
    );
    let timeouts = step(&decision, Stage::Action, "timeouts").1;
    assert!(
        timeouts.starts_with("whole request 15s, each try 3s, connect 3s"),
        "{timeouts}"
    );
    assert!(
        step(&decision, Stage::Action, "retries")
            .1
            .starts_with("2, on connect, 503")
    );
    assert!(
        decision
            .steps
            .iter()
            .any(|step| step.why == "x-forwarded-for: 127.0.0.1")
    );
    assert_eq!(step(&decision, Stage::Action, "removes").1, "connection");
    let told = format!("{decision:?}");
    assert!(!told.contains("s3cret"), "{told}");
}

#[test]
fn the_first_thing_that_refused_a_route_is_told() {
    for (headers, query, why) in [
        (&[][..], "v=2", "header x-beta is absent"),
        (&["x-beta: 2"][..], "v=2", "header x-beta is not \"1\""),
        (&["x-beta: 1"][..], "", "query parameter v is absent"),
        (&["x-beta: 1"][..], "v=3", "query parameter v has another value"),
    ] {
        let url = format!("http://shop.example.com:8080/api/x?{query}");
        let decision = offline(&plan(SHOP), &with(&url, headers)).unwrap();
        assert_eq!(step(&decision, Stage::Route, "orders"), (Verdict::Refused, why));
        assert_eq!(decision.route.as_deref(), Some("shop"));
    }
}

#[test]
fn no_route_is_an_answer() {
    let decision = ask("http://nobody.example.com:8080/");
    assert_eq!((decision.route, decision.reason.as_deref()), (None, Some("no_route")));
    assert!(decision.backend.is_none() && decision.pool.is_none());
}

#[test]
fn a_request_that_would_be_refused_is_an_answer() {
    for (url, headers, what) in [
        ("http://shop.example.com:8080/%zz", &[][..], "path"),
        ("http://shop.example.com:8080/a%2Fb", &[][..], "path"),
        ("http://a,b:8080/", &[][..], "host"),
        ("http://shop.example.com:8080/", &["content-length: x"][..], "head"),
        ("http://shop.example.com:8080/", &["host: a", "host: b"][..], "head"),
    ] {
        let decision = offline(&plan(SHOP), &with(url, headers)).unwrap();
        assert_eq!(decision.reason.as_deref(), Some("bad_request"), "{url} {headers:?}");
        assert_eq!(step(&decision, Stage::Request, what).0, Verdict::Refused);
    }
}

#[test]
fn what_we_answer_ourselves_gets_no_backend() {
    let decision = ask("http://old.example.com:8080/a?token=s3cret");
    assert_eq!(decision.route.as_deref(), Some("old"));
    let (_, why) = step(&decision, Stage::Action, "redirect");
    assert_eq!(why, "answered by us: 308 to https://shop.example.com/a?token=…");
    assert_eq!((decision.pool, decision.backend, decision.reason), (None, None, None));
    let decision = ask("http://shop.example.com:8080/ready");
    assert!(decision.route.is_none() && step(&decision, Stage::Action, "health_path").1.contains("200"));
}

#[test]
fn listeners_are_found_by_port_address_and_name() {
    assert_eq!(ask("http://shop.example.com:8081/").listener.as_deref(), Some("inner"));
    let ambiguous = ask("http://shop.example.com/");
    assert_eq!(ambiguous.listener.as_deref(), Some("inner"));
    assert!(step(&ambiguous, Stage::Listener, "web").1.contains("--listener web"));
    let named = Question {
        listener: Some("web".into()),
        ..question("http://shop.example.com/")
    };
    assert_eq!(offline(&plan(SHOP), &named).unwrap().listener.as_deref(), Some("web"));
    let nobody = offline(&plan(SHOP), &question("http://shop.example.com:9999/")).unwrap_err();
    assert!(nobody.to_string().contains("web is not at port 9999"), "{nobody}");
    let misspelt = Question {
        listener: Some("wbe".into()),
        ..named
    };
    let misspelt = offline(&plan(SHOP), &misspelt).unwrap_err();
    assert!(misspelt.to_string().ends_with("did you mean web?"), "{misspelt}");
}

#[test]
fn a_tcp_connection_has_no_request() {
    for url in ["tcp://127.0.0.1:5432", "http://127.0.0.1:5432/x"] {
        let decision = ask(url);
        assert_eq!(decision.listener.as_deref(), Some("postgres"));
        assert_eq!((decision.route.as_ref(), decision.pool.as_deref()), (None, Some("api")));
        assert!(decision.backend.is_some());
    }
}

#[test]
fn one_seed_gives_one_pick_and_one_key_one_backend() {
    let pick = |seed, user: &str| {
        let mut question = with("http://shop.example.com:8080/", &[&format!("x-user: {user}")]);
        question.seed = seed;
        offline(&plan(SHOP), &question).unwrap().backend
    };
    assert_eq!(pick(1, "ann"), pick(2, "ann"));
    let keyless = |seed| {
        let question = Question {
            seed,
            ..question("http://shop.example.com:8080/")
        };
        offline(&plan(SHOP), &question).unwrap()
    };
    assert_eq!(keyless(3), keyless(3));
    let spread: std::collections::BTreeSet<_> = (0..20).map(|seed| keyless(seed).backend).collect();
    assert_eq!(spread.len(), 3, "without the key it is a matter of chance");
}

#[test]
fn the_client_behind_a_trusted_proxy_is_found() {
    let mut question = with("http://shop.example.com:8080/", &["x-forwarded-for: 192.0.2.7"]);
    question.client = Some(Question::client("10.1.1.1").unwrap());
    let decision = offline(&plan(SHOP), &question).unwrap();
    assert!(step(&decision, Stage::Request, "client").1.starts_with("192.0.2.7, "));
    question.client = Some(Question::client("[2001:db8::1]:5000").unwrap());
    let decision = offline(&plan(SHOP), &question).unwrap();
    assert_eq!(step(&decision, Stage::Request, "client").1, "2001:db8::1");
}

#[test]
fn a_pool_without_work_gives_its_reason() {
    let text = SHOP.replace("address = \"10.0.0.1:8080\"", "address = \"10.0.0.1:8080\", weight = 0");
    let text = text.replace("address = \"10.0.0.2:8080\"", "address = \"10.0.0.2:8080\", weight = 0");
    let decision = offline(&plan(&text), &question("tcp://127.0.0.1:5432")).unwrap();
    assert_eq!(decision.reason.as_deref(), Some("no_backend"));
    assert_eq!(decision.backend, None);
}

#[test]
fn a_url_that_nobody_can_send_is_refused_with_what_to_type() {
    for (url, help) in [
        (
            "shop.example.com/x?token=s3cret",
            "write http://shop.example.com/x?token=…",
        ),
        ("/x", "write it like http://shop.example.com/x"),
        ("ftp://a/", "write http://, https://, tls:// or tcp://"),
        ("http:///x", "has no host"),
        ("http://a b/", "%20"),
        ("http://a:0/", "from 1 to 65535"),
        ("http://a:70000/", "from 1 to 65535"),
        ("http://[::1/", "[2001:db8::1]:8080"),
        ("http://user:s3cret@a/", "-H 'authorization"),
        ("http://a/\r\nx: y", "percent-encode"),
    ] {
        let fault = Url::parse(url).unwrap_err().to_string();
        assert!(fault.contains(help) && !fault.contains("s3cret"), "{url}: {fault}");
    }
}

#[test]
fn a_url_is_taken_apart_as_clients_do() {
    for (url, host, port, target) in [
        ("http://a", "a", None, "/"),
        ("HTTP://a:80?x=1#top", "a", Some(80), "/?x=1"),
        ("https://[2001:db8::1]:8443/x", "2001:db8::1", Some(8443), "/x"),
        ("tcp://:5432", "", Some(5432), "/"),
    ] {
        let parsed = Url::parse(url).unwrap();
        assert_eq!(
            (&*parsed.host, parsed.port, &*parsed.target),
            (host, port, target),
            "{url}"
        );
    }
}

#[test]
fn what_would_break_out_of_its_line_is_refused() {
    assert!(Question::method("GET / HTTP/1.1\r\nx").is_err());
    let forged = Question::header("x: a\r\ny: s3cret").unwrap_err();
    assert!(matches!(&forged, Unanswerable::Header(why) if !why.contains("s3cret")));
    assert!(Question::header("x-beta").is_err() && Question::header(": 1").is_err());
    assert!(Question::client("nobody").is_err());
}

#[test]
fn a_filter_that_answers_with_another_status_than_its_reasons_is_told_with_it() {
    let text = format!(
        "{SHOP}\n[[routes]]\nmatch = {{ host = \"tea.example.com\" }}\npool = \"api\"\nfilters = [{{ kind = \"fault\", abort = 418 }}]\n"
    );
    let decision = offline(&plan(&text), &question("http://tea.example.com/")).unwrap();
    assert_eq!(decision.reason.as_deref(), Some("fault_injected"));
    let last = decision.steps.last().unwrap();
    assert!(last.why.contains("answered by us: 418"), "{last:?}");
}
