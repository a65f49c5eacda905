//! Traces: a span for each request and each attempt, told to a collector that reads them with OpenTelemetry's own
//! Protocol Buffers; what is taken from senders and what backends are told (W3C Trace Context).

use std::time::Duration;

use e2e::{Backend, Foreign, Plimsoll, Script, Wire, eventually, stays, tools};
use serde_json::Value;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// A collector.
pub(crate) struct Collector(Foreign);

impl Collector {
    pub(crate) fn start() -> Self {
        Collector(Foreign::start(|port, _| {
            let mut command = tools::python_script("otlp_collector.py");
            command.arg(port.to_string());
            command
        }))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.address())
    }

    /// All spans that came so far.
    pub(crate) fn spans(&self) -> Vec<Value> {
        let spans = Wire::connect(self.0.address()).get("/spans").json();
        spans.as_array().cloned().unwrap_or_default()
    }

    /// The spans of the trace with this span of a request's among them, the request's first.
    #[track_caller]
    pub(crate) fn of_path(&self, path: &str) -> Vec<Value> {
        eventually(&format!("the spans of {path}"), || {
            let spans = self.spans();
            let of_request = |span: &&Value| span["kind"] == "SPAN_KIND_SERVER" && attribute(span, "url.path") == path;
            let own = spans.iter().find(of_request)?.clone();
            let id = own["span_id"].clone();
            let attempts = spans.into_iter().filter(|span| span["parent"] == id);
            Some(std::iter::once(own).chain(attempts).collect())
        })
    }
}

pub(crate) fn attribute(span: &Value, name: &str) -> Value {
    span["attributes"][name].clone()
}

const CONFIG: &str = r#"
    server.trusted_proxies = ["127.0.0.1/32"]
    log.access = "access.log"
    listeners.web = { bind = ["@web@"] }
    [tracing]
    otlp = "@collector@"
    service_name = "edge"
    attributes = { "deployment.environment.name" = "test" }
    [[routes]]
    name = "api"
    match = { path = "/api/*" }
    pool = "api"
    [[routes]]
    name = "gone"
    match = { path = "/gone/*" }
    filters = [{ kind = "rewrite", strip_prefix = "/gone" }]
    pool = "gone"
    [pools.api]
    policy = "round-robin"
    backends = [{ name = "one", address = "@one@" }]
    health = false
    [pools.gone]
    backends = [
      { name = "dead", address = "@dead@" },
      { name = "one", address = "@one@", priority = 1 },
    ]
    health = false
    outlier = false
"#;

struct Stage {
    collector: Collector,
    one: Backend,
    plimsoll: Plimsoll,
}

/// The stage with this text of [`CONFIG`] replaced.
fn stage(replace: &[(&str, &str)]) -> Stage {
    let (collector, one) = (Collector::start(), Backend::start(Script::Echo));
    let mut text = CONFIG.replace("@collector@", &collector.url());
    for (this, by) in replace {
        assert!(text.contains(this), "{this}");
        text = text.replace(this, by);
    }
    let plimsoll = Plimsoll::config(&text).address("one", one.address()).start();
    Stage {
        collector,
        one,
        plimsoll,
    }
}

impl Stage {
    #[track_caller]
    fn ask(&self, path: &str, fields: &str) -> u16 {
        let head = format!("GET {path} HTTP/1.1\r\nhost: shop.example:8080\r\n{fields}connection: close\r\n\r\n");
        self.plimsoll.exchange("web", head).status
    }

    /// What the backend was told by the last request.
    #[track_caller]
    fn told(&self) -> (Option<String>, Option<String>) {
        let seen = self.one.seen();
        let last = seen.last().expect("a request");
        let header = |name: &str| last.head.header(name).map(str::to_owned);
        (header("traceparent"), header("tracestate"))
    }

    fn dropped(&self, why: &str) -> f64 {
        self.plimsoll
            .metrics()
            .sum("plimsoll_traces_dropped_total", &[("why", why)])
    }

    fn exported(&self) -> f64 {
        self.plimsoll.metrics().sum("plimsoll_traces_exported_total", &[])
    }
}

#[test]
fn a_request_and_each_of_its_attempts_are_spans_of_one_trace() {
    let stage = stage(&[]);
    assert_eq!(stage.ask("/gone/x?token=hush", "user-agent: tester\r\n"), 200);
    let spans = stage.collector.of_path("/gone/x");
    let [own, first, second] = &spans[..] else {
        panic!("{spans:#?}")
    };
    assert_eq!((&own["name"], &own["parent"]), (&"GET gone".into(), &"".into()));
    assert_eq!(own["status"], "STATUS_CODE_UNSET");
    assert_eq!(
        (
            &own["resource"]["service.name"],
            &own["resource"]["deployment.environment.name"]
        ),
        (&"edge".into(), &"test".into())
    );
    let address = stage.one.address();
    let client = attribute(own, "client.address");
    for (name, value) in [
        ("http.request.method", Value::from("GET")),
        ("http.response.status_code", 200.into()),
        ("url.scheme", "http".into()),
        ("server.address", "shop.example".into()),
        ("server.port", 8080.into()),
        ("network.protocol.version", "1.1".into()),
        ("user_agent.original", "tester".into()),
        ("plimsoll.route", "gone".into()),
        ("plimsoll.pool", "gone".into()),
        ("plimsoll.listener", "web".into()),
    ] {
        assert_eq!(attribute(own, name), value, "{name}");
    }
    assert_eq!(client, "127.0.0.1");
    for (span, backend, status) in [
        (first, "dead", "STATUS_CODE_ERROR"),
        (second, "one", "STATUS_CODE_UNSET"),
    ] {
        assert_eq!(
            (&span["kind"], &span["status"]),
            (&"SPAN_KIND_CLIENT".into(), &status.into())
        );
        assert_eq!(
            (&span["trace_id"], &span["parent"]),
            (&own["trace_id"], &own["span_id"])
        );
        assert_eq!(attribute(span, "plimsoll.backend"), backend);
        let (start, end) = (span["start"].as_u64(), span["end"].as_u64());
        assert!(
            own["start"].as_u64() <= start && start <= end && end <= own["end"].as_u64(),
            "{spans:#?}"
        );
    }
    assert_eq!(attribute(first, "error.type"), "connect_failed");
    assert_eq!(attribute(second, "http.response.status_code"), 200);
    assert_eq!(attribute(second, "http.request.resend_count"), 1);
    assert_eq!(attribute(second, "url.full"), format!("http://{address}/x"));
    assert_eq!(attribute(second, "server.port"), address.port());
    assert!(attribute(second, "plimsoll.connect_ms").is_number(), "{second:#}");
    // Each attempt asks under its own name.
    let flagged = format!(
        "00-{}-{}-03",
        own["trace_id"].as_str().unwrap(),
        second["span_id"].as_str().unwrap()
    );
    assert_eq!(stage.told(), (Some(flagged), None));
    assert!(!serde_json::to_string(&spans).unwrap().contains("hush"));
    assert_same_ids(&stage, own);
}

/// The ids of a span lead to the access log and to the decision.
#[track_caller]
fn assert_same_ids(stage: &Stage, own: &Value) {
    let line: Value = eventually("the line is written", || {
        let lines = stage.plimsoll.scratch().read("access.log");
        serde_json::from_str(lines.lines().last()?).ok()
    });
    assert_eq!(line["trace_id"], own["trace_id"]);
    assert_eq!(line["request_id"], attribute(own, "plimsoll.request_id"));
    assert_eq!(
        line["request_id"], own["trace_id"],
        "a trace that begins here is called as its request"
    );
    let path = format!("/api/v1/decisions/{}", line["request_id"].as_str().expect("an id"));
    let decision = eventually("the decision is kept", || {
        let reply = stage.plimsoll.admin(&path);
        (reply.status == 200).then(|| reply.json())
    });
    assert_eq!(decision["trace_id"], own["trace_id"]);
}

#[test]
fn a_trusted_sender_s_trace_is_gone_on_with_and_its_word_obeyed() {
    let stage = stage(&[]);
    let sampled = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1,b=2\r\nTraceState: c=3\r\n");
    assert_eq!(stage.ask("/api/told", &sampled), 200);
    let spans = stage.collector.of_path("/api/told");
    assert_eq!(
        (&spans[0]["trace_id"], &spans[0]["parent"]),
        (&TRACE.into(), &SPAN.into())
    );
    assert_eq!(spans[0]["state"], "a=1,b=2,c=3");
    assert_eq!(spans[0]["flags"], 0x301);
    assert_eq!((spans.len(), &spans[1]["flags"]), (2, &0x101.into()));
    let span = spans[1]["span_id"].as_str().unwrap();
    assert_eq!(stage.told().0, Some(format!("00-{TRACE}-{span}-01")));
    let lines = stage.one.seen();
    let states: Vec<&str> = lines[0].head.headers_named("tracestate").collect();
    assert_eq!(states, ["a=1,b=2", "c=3"]);
    // Not told there, not told here; what goes on says so.
    assert_eq!(
        stage.ask("/api/untold", &format!("traceparent: 00-{TRACE}-{SPAN}-00\r\n")),
        200
    );
    let told = stage.told().0.unwrap();
    assert!(
        told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00") && !told.contains(SPAN),
        "{told}"
    );
    // Later versions are read as far as they are known.
    assert_eq!(
        stage.ask("/api/later", &format!("traceparent: cc-{TRACE}-{SPAN}-01-what\r\n")),
        200
    );
    assert!(stage.told().0.unwrap().starts_with(&format!("00-{TRACE}-")));
    stage.collector.of_path("/api/later");
    assert!(
        !stage
            .collector
            .spans()
            .iter()
            .any(|span| attribute(span, "url.path") == "/api/untold")
    );
}

#[test]
fn what_is_malformed_begins_a_trace_and_takes_its_state_with_it() {
    let stage = stage(&[]);
    let once = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n");
    for (at, fields) in [
        format!("traceparent: 00-{}-{SPAN}-01\r\n", TRACE.to_uppercase()),
        format!("traceparent: 00-{}-{SPAN}-01\r\n", "0".repeat(32)),
        format!("traceparent: ff-{TRACE}-{SPAN}-01\r\n"),
        format!("traceparent: 00-{TRACE}-{SPAN}-01-more\r\n"),
        "traceparent:\r\n".to_owned(),
        once.repeat(2),
    ]
    .iter()
    .enumerate()
    {
        let path = format!("/api/{at}");
        assert_eq!(stage.ask(&path, &format!("{fields}tracestate: a=1\r\n")), 200);
        let spans = stage.collector.of_path(&path);
        assert_ne!(spans[0]["trace_id"], TRACE, "{fields}");
        assert_eq!(
            (&spans[0]["parent"], &spans[0]["state"]),
            (&"".into(), &"".into()),
            "{fields}"
        );
        let (parent, state) = stage.told();
        let seen = stage.one.seen();
        assert_eq!(seen.last().unwrap().head.headers_named("traceparent").count(), 1);
        assert!(
            parent.unwrap().contains(spans[0]["trace_id"].as_str().unwrap()),
            "{fields}"
        );
        assert_eq!(state, None, "{fields}");
    }
}

#[test]
fn a_stranger_s_trace_is_linked_to_unless_anyone_is_believed() {
    let fields = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\n");
    let untrusting = stage(&[("server.trusted_proxies = [\"127.0.0.1/32\"]", "")]);
    assert_eq!(untrusting.ask("/api/x", &fields), 200);
    let own = &untrusting.collector.of_path("/api/x")[0];
    assert_ne!(own["trace_id"], TRACE);
    assert_eq!(own["links"][0], format!("{TRACE}-{SPAN}"));
    assert_eq!(untrusting.told().1, None);
    let open = stage(&[
        ("server.trusted_proxies = [\"127.0.0.1/32\"]", ""),
        ("service_name = \"edge\"", "continue_from = \"anyone\""),
    ]);
    assert_eq!(open.ask("/api/x", &fields), 200);
    let own = &open.collector.of_path("/api/x")[0];
    assert_eq!(
        (&own["trace_id"], &own["links"]),
        (&TRACE.into(), &Value::Array(Vec::new()))
    );
    assert_eq!(open.told().1.as_deref(), Some("a=1"));
}

#[test]
fn failures_are_told_though_their_traces_are_not() {
    let quiet = ("service_name = \"edge\"", "sample = \"0%\"");
    let stage_of = |failures: &str| {
        let alone = ("      { name = \"one\", address = \"@one@\", priority = 1 },\n", "");
        stage(&[
            quiet,
            alone,
            ("attributes =", &format!("failures = {failures}\n    attributes =")),
        ])
    };
    let told = stage_of("true");
    assert_eq!(told.ask("/api/well", ""), 200);
    assert!(told.told().0.unwrap().ends_with("-02"));
    assert_eq!(told.ask("/gone/ill", ""), 502);
    let own = &eventually("the failure is told", || told.collector.spans().first().cloned());
    assert_eq!(own["status"], "STATUS_CODE_ERROR");
    assert_eq!(
        (&attribute(own, "plimsoll.reason"), &attribute(own, "error.type")),
        (&"connect_failed".into(), &"connect_failed".into())
    );
    assert_eq!(told.collector.spans().len(), 3, "the request and its attempts");
    let never = stage_of("false");
    assert_eq!(never.ask("/gone/ill", ""), 502);
    stays(Duration::from_millis(600), "nothing is told", || {
        never.collector.spans().is_empty()
    });
}

#[test]
fn both_attempts_of_a_hedged_request_are_told_and_a_mirror_s_is_not() {
    let (slow, shadow) = (Backend::start(Script::Hang), Backend::start(Script::Echo));
    let (collector, one) = (Collector::start(), Backend::start(Script::Echo));
    let text = CONFIG
        .replace("@collector@", &collector.url())
        .replace("@dead@", &slow.address().to_string())
        .replace(
            "pool = \"gone\"",
            "pool = \"gone\"\n    hedge = { after = \"50ms\", max_percent = 100 }\n    mirror = { pool = \"shadow\" }",
        )
        + &format!(
            "\n    [pools.shadow]\n    backends = [\"{}\"]\n    health = false\n",
            shadow.address()
        );
    let plimsoll = Plimsoll::config(&text).address("one", one.address()).start();
    assert_eq!(plimsoll.get("web", "/gone/x").status, 200);
    shadow.wait_for_requests(1);
    let spans = collector.of_path("/gone/x");
    assert_eq!(spans.len(), 3, "{spans:#?}");
    let overtaken = spans[1..]
        .iter()
        .find(|span| attribute(span, "plimsoll.overtaken") == true)
        .unwrap();
    let hedge = spans[1..]
        .iter()
        .find(|span| attribute(span, "plimsoll.hedge") == true)
        .unwrap();
    assert_eq!(attribute(overtaken, "server.port"), slow.address().port());
    assert_eq!(
        overtaken["status"], "STATUS_CODE_UNSET",
        "that another was faster is nobody's fault"
    );
    for (backend, span) in [(&slow, overtaken), (&one, hedge)] {
        let told = backend.seen()[0].head.header("traceparent").unwrap().to_owned();
        assert!(told.contains(span["span_id"].as_str().unwrap()), "{told} {span:#}");
    }
}

#[test]
fn what_comes_of_traces_goes_on_as_it_came_while_nobody_is_told() {
    let one = Backend::start(Script::Echo);
    let text = "listeners.web = { bind = [\"@web@\"], pool = \"api\" }\npools.api = { backends = [\"@one@\"], health = false }";
    let plimsoll = Plimsoll::config(text).address("one", one.address()).start();
    for value in [format!("00-{TRACE}-{SPAN}-01"), "what, ever".to_owned()] {
        let head = format!(
            "GET / HTTP/1.1\r\nhost: a\r\ntraceparent: {value}\r\ntracestate: a=1, b\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(plimsoll.exchange("web", head).status, 200);
        let seen = one.seen();
        let last = seen.last().unwrap();
        assert_eq!(
            (last.head.header("traceparent"), last.head.header("tracestate")),
            (Some(&*value), Some("a=1, b"))
        );
    }
}

#[test]
fn a_filter_has_the_last_word_and_streams_are_traced_alike() {
    let stage = stage(&[(
        "    match = { path = \"/api/*\" }",
        "    match = { path = \"/api/*\" }\n    filters = [{ kind = \"headers\", request = { remove = [\"traceparent\"] } }]",
    )]);
    assert_eq!(stage.ask("/api/x", ""), 200);
    assert_eq!(stage.told().0, None);
    let url = format!("http://{}/gone/h2", stage.plimsoll.address("web"));
    let output = tools::curl(&["--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_code}", &url]);
    assert_eq!(output.stdout, "200", "{output:?}");
    let spans = stage.collector.of_path("/gone/h2");
    assert_eq!(attribute(&spans[0], "network.protocol.version"), "2");
    assert!(stage.told().0.unwrap().contains(spans[2]["span_id"].as_str().unwrap()));
}

#[test]
fn a_dead_collector_costs_traces_and_nothing_else() {
    let stage = stage(&[]);
    let collector = Backend::start(Script::status(503));
    let text = CONFIG.replace("@collector@", &format!("http://{}", collector.address()));
    let plimsoll = Plimsoll::config(&text).address("one", stage.one.address()).start();
    let stage = Stage { plimsoll, ..stage };
    assert_eq!(stage.ask("/api/lost", ""), 200);
    eventually("it was tried again, and then given up", || {
        (stage.dropped("unreachable") == 1.0).then_some(())
    });
    assert_eq!(collector.requests(), 4);
    collector.play(Script::status(401));
    assert_eq!(stage.ask("/api/refused", ""), 200);
    eventually("it is not wanted", || (stage.dropped("refused") == 1.0).then_some(()));
    assert!(
        stage.plimsoll.stderr().contains("traces cannot be told"),
        "{}",
        stage.plimsoll.stderr()
    );
    collector.play(Script::status(200));
    assert_eq!(stage.ask("/api/told", ""), 200);
    eventually("it is taken", || (stage.exported() == 1.0).then_some(()));
}

#[test]
fn the_collector_is_told_who_asks_and_another_one_after_a_reload() {
    let (first, second) = (Backend::start(Script::status(200)), Backend::start(Script::status(200)));
    let one = Backend::start(Script::Echo);
    let text = |collector: &Backend| {
        CONFIG
            .replace("@collector@", &format!("http://{}/custom/path", collector.address()))
            .replace(
                "attributes =",
                "headers = { authorization = { file = \"token\" }, x-tenant = \"${TENANT}\" }\n    attributes =",
            )
    };
    let mut plimsoll = Plimsoll::config(&text(&first))
        .file("token", "Bearer first\n")
        .environment("TENANT", "us")
        .address("one", one.address())
        .start();
    let asked = |collector: &Backend| {
        collector.wait_for_requests(1);
        let seen = collector.seen();
        let last = seen.last().unwrap();
        let header = |name: &str| last.head.header(name).unwrap_or_default().to_owned();
        (last.path().to_owned(), header("authorization"), header("x-tenant"))
    };
    assert_eq!(plimsoll.get("web", "/api/x").status, 200);
    assert_eq!(
        asked(&first),
        ("/custom/path".into(), "Bearer first".into(), "us".into())
    );
    plimsoll.scratch().write("token", "Bearer second");
    plimsoll.rewrite_config(&text(&second));
    assert_eq!(plimsoll.admin_send("POST", "/api/v1/reload", "").status, 200);
    assert_eq!(plimsoll.get("web", "/api/x").status, 200);
    assert_eq!(asked(&second).1, "Bearer second");
}

#[test]
fn the_last_traces_are_told_before_the_end() {
    let mut stage = stage(&[]);
    let traces: Vec<String> = (0..50).map(|at| format!("/api/{at}")).collect();
    traces.iter().for_each(|path| assert_eq!(stage.ask(path, ""), 200));
    assert_eq!(stage.plimsoll.terminate(e2e::PATIENCE).code(), Some(0));
    assert_eq!(stage.collector.spans().len(), 100);
}
