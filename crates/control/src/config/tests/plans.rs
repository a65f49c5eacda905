//! What a configuration comes to.

use std::time::Duration;

use plimsoll_core::grpc::Code;
use plimsoll_core::health::{Latency, SuccessRate};
use plimsoll_core::members::Limits;
use plimsoll_core::pool::BackendProtocol;
use plimsoll_core::route::{HostMatch, PathMatch, ValueMatch};
use plimsoll_core::snapshot::{Action, HttpTimeouts};
use plimsoll_core::template::Template;

use super::super::{AccessLog, BodyCheck, CheckKind, GrpcCheck, HttpCheck, HttpPlan, ListenerPlan, ServicePlan};
use super::{SOUND, plan, toml};

fn http(listener: &ListenerPlan) -> &HttpPlan {
    match &listener.service {
        ServicePlan::Http(http) => http,
        ServicePlan::Tcp(_) | ServicePlan::Passthrough(_) => panic!("{} is not http", listener.name),
    }
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let plan = plan(SOUND);
    assert_eq!((plan.workers, plan.zone), (None, None));
    assert_eq!(plan.node.drain_timeout, Duration::from_secs(30));
    assert_eq!(plan.node.max_connections, 100_000);
    assert!(plan.node.expose_reason && plan.node.access_log.is_none() && plan.node.trusted_proxies.is_empty());
    assert_eq!(plan.admin.bind, Some("127.0.0.1:9900".parse().unwrap()));
    assert_eq!((plan.log.level, &plan.log.access), ("info", &AccessLog::Off));
    let web = http(&plan.listeners[0]);
    assert_eq!(plan.listeners[0].bind, ["0.0.0.0:8080".parse().unwrap()]);
    assert_eq!(web.timeouts, HttpTimeouts::default());
    assert_eq!((web.keepalive_requests, web.keepalive_age), (u64::MAX, None));
    let pool = &plan.pools[0];
    assert_eq!(pool.policy.name(), "least-connections");
    assert_eq!(pool.settings.connect_timeout, Duration::from_secs(3));
    assert_eq!(pool.settings.idle_timeout, Duration::from_secs(55));
    assert_eq!(pool.settings.response_header_timeout, Duration::from_secs(60));
    assert_eq!(pool.settings.consecutive_errors, 5);
    assert_eq!(
        (pool.panic_threshold, pool.slow_start, pool.zone_aware),
        (50, None, true)
    );
    let check = pool.check.as_ref().unwrap();
    assert_eq!(
        (check.interval, check.timeout),
        (Duration::from_secs(2), Duration::from_secs(1))
    );
    assert_eq!((check.fall, check.rise, check.initially_healthy), (3, 2, false));
    let outlier = pool.outlier.as_ref().unwrap();
    assert_eq!(
        (outlier.eject_for, outlier.max_ejected_percent),
        (Duration::from_secs(30), 50)
    );
    let backend = &pool.backends[0];
    assert_eq!(
        (backend.name.as_str(), backend.weight, backend.priority),
        ("127.0.0.1:9001", 1, 0)
    );
    assert_eq!(backend.limits, Limits::default());
}

#[test]
fn a_pool_without_health_gets_a_tcp_check_and_false_turns_it_off() {
    let plan = plan(
        "[pools.a]\nbackends = [\"10.0.0.1:80\"]\n[pools.b]\nbackends = [\"10.0.0.1:80\"]\nhealth = false\n\
         [pools.c]\nbackends = [\"10.0.0.1:80\"]\nhealth = { interval = \"500ms\" }\noutlier = false\n",
    );
    assert_eq!(plan.pools[0].check.as_ref().unwrap().kind, CheckKind::Tcp);
    assert_eq!(plan.pools[1].check, None);
    let quick = plan.pools[2].check.as_ref().unwrap();
    assert_eq!(
        quick.timeout,
        Duration::from_millis(500),
        "never longer than the interval"
    );
    assert_eq!(
        (&plan.pools[2].outlier, plan.pools[2].settings.consecutive_errors),
        (&None, u32::MAX)
    );
}

#[test]
fn each_kind_of_check_comes_to_a_plan() {
    let kind = |health: &str| {
        let text = format!("[pools.p]\nbackends = [\"10.0.0.1:80\"]\nhealth = {{ {health} }}\n");
        plan(&text).pools[0].check.clone().unwrap()
    };
    let http =
        kind("http = \"/h?x=1\", method = \"POST\", host = \"a.b\", headers = { X-A = \"1\" }, expect_body = \"ok\"")
            .kind;
    let expected = HttpCheck {
        protocol: BackendProtocol::H1,
        method: "POST".into(),
        path: "/h?x=1".into(),
        host: Some("a.b".into()),
        headers: vec![("x-a".into(), "1".into())],
        expect: vec![200..=299],
        expect_body: Some(BodyCheck::Text("ok".into())),
    };
    assert_eq!(http, CheckKind::Http(expected));
    let service = |service: &str| {
        CheckKind::Grpc(GrpcCheck {
            service: service.into(),
            host: None,
            headers: Vec::new(),
        })
    };
    assert_eq!(kind("grpc = \"a.B\"").kind, service("a.B"));
    assert_eq!(kind("grpc = true").kind, service(""));
    let bytes = |send: &[u8], expect: &[u8]| CheckKind::Bytes {
        send: send.to_vec(),
        expect: expect.to_vec(),
    };
    assert_eq!(
        kind("send = \"PING\\r\\n\", expect_bytes = \"+PONG\"").kind,
        bytes(b"PING\r\n", b"+PONG")
    );
    assert_eq!(kind("expect_bytes = { hex = \"00 fF\" }").kind, bytes(b"", &[0, 255]));
    let paced = kind("interval = \"4s\", fast_interval = \"1s\"");
    assert_eq!(
        [paced.interval, paced.fast_interval, paced.down_interval],
        [4, 1, 4].map(Duration::from_secs)
    );
}

#[test]
fn comparisons_are_asked_for() {
    let plan = plan(
        "[pools.a]\nbackends = [\"10.0.0.1:80\"]\noutlier = { success_rate = true, latency = { factor = 2, min_requests = 20 }, interval = \"1s\" }\n\
         [pools.b]\nbackends = [\"10.0.0.1:80\"]\noutlier = { latency = false }\n",
    );
    let [a, b] = [0, 1].map(|at| plan.pools[at].outlier.clone().unwrap());
    assert_eq!(a.success_rate, Some(SuccessRate::default()));
    let latency = Latency {
        factor: 2.0,
        min_requests: 20,
        ..Latency::default()
    };
    assert_eq!((a.latency, a.interval), (Some(latency), Duration::from_secs(1)));
    assert_eq!((b.success_rate, b.latency), (None, None));
    assert_eq!([0, 1].map(|at| plan.pools[at].settings.compares_latency), [true, false]);
}

#[test]
fn defaults_are_inherited_and_overridden() {
    let plan = plan(
        "[defaults]\ntimeouts = { connect = \"1s\", idle = \"20s\", request_header = \"4s\" }\n\
         [server]\ndrain_timeout = \"7s\"\n\
         [listeners.a]\nbind = \":1\"\npool = \"p\"\n\
         [listeners.b]\nbind = \":2\"\ntimeouts = { idle = \"9s\" }\npool = \"p\"\n\
         [listeners.c]\nbind = \":3\"\nprotocol = \"tcp\"\npool = \"p\"\n\
         [pools.p]\nbackends = \"10.0.0.1:80\"\ntimeouts = { connect = \"2s\" }\n\
         [pools.q]\nbackends = \"10.0.0.1:80\"\n",
    );
    let seconds = Duration::from_secs;
    let (a, b) = (http(&plan.listeners[0]), http(&plan.listeners[1]));
    assert_eq!((a.timeouts.idle, a.timeouts.request_header), (seconds(20), seconds(4)));
    assert_eq!((b.timeouts.idle, b.timeouts.request_body), (seconds(9), seconds(60)));
    assert!(matches!(&plan.listeners[2].service, ServicePlan::Tcp(tcp) if tcp.idle_timeout == seconds(20)));
    let (p, q) = (&plan.pools[0], &plan.pools[1]);
    assert_eq!(
        (p.settings.connect_timeout, p.settings.idle_timeout),
        (seconds(2), seconds(20))
    );
    assert_eq!(plan.node.drain_timeout, seconds(7));
    assert_eq!(q.settings.connect_timeout, seconds(1));
}

#[test]
fn listeners_routes_and_pools_inherit_what_they_do_not_say() {
    let plan = plan(
        "[defaults]\ntimeout = \"9s\"\nretry = { attempts = 3, on = [\"503\"] }\nhealth_path = \"/ready\"\n\
         policy = \"random\"\nlimits = { requests = 7, connections = 8 }\nhealth = { http = \"/h\" }\n\
         filters = [{ kind = \"deny\", cidr = \"10.0.0.1\" }]\n\
         [listeners.a]\nbind = \":1\"\n[listeners.b]\nbind = \":2\"\nprotocol = \"tcp\"\npool = \"p\"\n\
         [[routes]]\npool = \"p\"\n\
         [[routes]]\nmatch = { path = \"/x\" }\ntimeout = \"1s\"\nretry = { attempts = 0 }\nfilters = []\npool = \"p\"\n\
         [pools.p]\nbackends = \"10.0.0.1:80\"\nlimits = { requests = 1 }\n\
         [pools.q]\nbackends = \"10.0.0.1:80\"\npolicy = \"maglev\"\nhealth = { tcp = true }\n",
    );
    assert_eq!(http(&plan.listeners[0]).health_path.as_deref(), Some("/ready"));
    assert!(
        http(&plan.listeners[0]).filters.is_empty(),
        "filters are inherited by routes"
    );
    let (first, second) = (&plan.routes[0], &plan.routes[1]);
    assert_eq!(
        (first.timeout, second.timeout),
        (Some(Duration::from_secs(9)), Some(Duration::from_secs(1)))
    );
    assert_eq!((first.retry.attempts, second.retry.attempts), (3, 0));
    assert_eq!(second.retry.on_status, [503], "what a table does not say is inherited");
    assert_eq!((first.filters.len(), second.filters.len()), (1, 0));
    let (p, q) = (&plan.pools[0], &plan.pools[1]);
    assert_eq!((p.policy.name(), q.policy.name()), ("random", "maglev"));
    assert_eq!(
        (p.backends[0].limits.requests, p.backends[0].limits.connections),
        (1, 8)
    );
    assert!(matches!(&p.check.as_ref().unwrap().kind, CheckKind::Http(check) if check.path == "/h"));
    assert!(matches!(q.check.as_ref().unwrap().kind, CheckKind::Tcp));
}

#[test]
fn what_is_wrong_with_a_default_is_told_once() {
    let told = super::told(&toml(
        "[defaults]\npolicy = \"rnd\"\nname = \"x\"\ntimeouts = { conect = \"1s\" }\n\
         [pools.p]\nbackends = \"10.0.0.1:80\"\n[pools.q]\nbackends = \"10.0.0.1:80\"\n",
    ));
    let wrong: Vec<&String> = told.iter().filter(|line| line.starts_with("error")).collect();
    assert_eq!(wrong.len(), 3, "{told:#?}");
    assert!(
        wrong[0].contains("unknown word \"rnd\"") && wrong[1].contains("unknown key `name`"),
        "{told:#?}"
    );
    assert!(wrong[2].contains("did you mean `connect`?"), "{told:#?}");
}

#[test]
fn rules_hold_for_their_listeners_in_the_order_of_the_file() {
    let plan = plan(
        "[listeners.a]\nbind = \":1\"\npool = \"p\"\n[listeners.b]\nbind = \":2\"\n\
         [[routes]]\nname = \"x\"\nlisteners = \"a\"\nmatch = { host = [\"A.example.com.\", \"*.b.example\"], path = [\"/x\", \"/y/*\"] }\npool = \"p\"\n\
         [[routes]]\nmatch = [{ path_regex = \"/z+\" }, { methods = [\"GET\", \"HEAD\"], headers = { X-Beta = { present = true } } }]\nrespond = {}\n\
         [pools.p]\nbackends = \"10.0.0.1:80\"\n",
    );
    let names: Vec<&str> = plan.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["x", "route-2", "listener:a"]);
    let (a, b) = (http(&plan.listeners[0]), http(&plan.listeners[1]));
    let positions = |http: &HttpPlan| http.rules.iter().map(|(_, route)| *route).collect::<Vec<_>>();
    assert_eq!(positions(a), [0, 0, 0, 0, 1, 1, 2]);
    assert_eq!(positions(b), [1, 1]);
    assert_eq!(a.rules[0].0.host, HostMatch::Exact("a.example.com".into()));
    assert_eq!(a.rules[3].0.host, HostMatch::Suffix(".b.example".into()));
    assert!(matches!(&a.rules[0].0.path, PathMatch::Exact(path) if path == "/x"));
    assert!(matches!(&a.rules[1].0.path, PathMatch::Prefix(path) if path == "/y"));
    let PathMatch::Regex(regex) = &b.rules[0].0.path else {
        panic!("an expression");
    };
    assert!(
        regex.is_match("/zz") && !regex.is_match("/zz/") && !regex.is_match("a/zz"),
        "over the whole path"
    );
    assert_eq!(b.rules[1].0.methods, ["GET", "HEAD"]);
    assert!(matches!(b.rules[1].0.headers.as_slice(), [(name, ValueMatch::Present(true))] if name == "x-beta"));
    assert!(matches!(plan.routes[1].action, Action::Respond(ref respond) if respond.status == 200));
    assert!(matches!(plan.routes[2].action, Action::Pool(0)));
}

#[test]
fn routes_say_what_they_do() {
    let plan = plan(&format!(
        "{SOUND}[[routes]]\nredirect = {{ scheme = \"https\", host = \"WWW.example.com\", port = 8443, status = 308 }}\nupgrade = []\n\
         [[routes]]\npool = \"api\"\ntimeout = \"15s\"\nretry = {{ attempts = 2, on = [\"timeout\", \"5xx\", 503, \"429\", \"grpc:data_loss\", \"grpc:ABORTED\"], per_try_timeout = \"3s\" }}\n\
         [[routes]]\nrespond = {{ status = 503, headers = {{ Retry-After = \"60\" }} }}\n"
    ));
    let Action::Redirect(redirect) = &plan.routes[1].action else {
        panic!("a redirect");
    };
    assert_eq!(
        (redirect.scheme.as_deref(), redirect.host.as_deref()),
        (Some("https"), Some("www.example.com"))
    );
    assert_eq!((redirect.port, redirect.status), (Some(8443), 308));
    assert!(plan.routes[0].upgrade_websocket && !plan.routes[1].upgrade_websocket);
    let retry = &plan.routes[2].retry;
    assert_eq!(
        (retry.attempts, retry.per_try_timeout),
        (2, Some(Duration::from_secs(3)))
    );
    assert!(!retry.on_connect && !retry.on_reset && retry.on_timeout && retry.on_5xx);
    assert_eq!(retry.on_status, [503, 429]);
    assert_eq!(retry.on_grpc, [Code::DataLoss, Code::Aborted]);
    assert_eq!(plan.routes[2].timeout, Some(Duration::from_secs(15)));
    assert!(plan.routes[0].retry.on_connect && plan.routes[0].retry.attempts == 1);
    assert!(
        matches!(&plan.routes[3].action, Action::Respond(respond) if respond.headers == [("retry-after".into(), Template::text("60"))])
    );
}

#[test]
fn a_backend_has_its_own_limits_or_the_pools() {
    let plan = plan(
        "[pools.p]\nlimits = { connections = 50, requests = 40 }\n\
         backends = [\"10.0.0.1:80\", { name = \"b\", address = \"[::1]:80\", weight = 0, zone = \"z\", priority = 1, max_requests = 7 }]\n",
    );
    let limits: Vec<Limits> = plan.pools[0].backends.iter().map(|backend| backend.limits).collect();
    assert_eq!(
        limits[0],
        Limits {
            connections: 50,
            requests: 40,
            shared: false,
            learned: None
        }
    );
    assert_eq!(
        limits[1],
        Limits {
            connections: 50,
            requests: 7,
            shared: false,
            learned: None
        }
    );
    let second = &plan.pools[0].backends[1];
    assert_eq!(
        (
            second.name.as_str(),
            second.weight,
            second.zone.as_deref(),
            second.priority
        ),
        ("b", 0, Some("z"), 1)
    );
}
