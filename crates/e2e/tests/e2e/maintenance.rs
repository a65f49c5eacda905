//! Routes that are closed for a time, by the configuration or by an operator.

use e2e::tools::curl;
use e2e::{Backend, Plimsoll, Reply, Script, eventually};
use serde_json::{Value, json};

fn stage() -> (Backend, Plimsoll) {
    let backend = Backend::named("one", Script::Echo);
    let plimsoll = Plimsoll::config(
        r#"
        [server]
        trusted_proxies = ["127.0.0.1/32"]
        [log]
        access = "./access.log"
        [listeners.web]
        bind = "@web@"
        filters = [{ kind = "deny", cidr = "203.0.113.0/24" }]
        [[routes]]
        name = "open"
        match = { path = "/*" }
        pool = "p"
        [[routes]]
        name = "closed"
        match = { path = "/closed/*" }
        filters = [{ kind = "deny", cidr = "0.0.0.0/0" }]
        maintenance = true
        pool = "p"
        [[routes]]
        name = "notice"
        match = { path = "/notice/*" }
        pool = "p"
        [routes.maintenance]
        status = 500
        body = "<p>{request.path} is back soon</p>"
        headers = { content-type = "text/html" }
        retry_after = "1500ms"
        allow = ["198.51.100.0/24", "2001:db8::/32"]
        [[routes]]
        name = "ready"
        match = { path = "/ready/*" }
        maintenance = { enabled = false, body = "prepared" }
        pool = "p"
        [pools.p]
        backends = ["@one@"]
        health = false
        "#,
    );
    let plimsoll = plimsoll.address("one", backend.address()).start();
    (backend, plimsoll)
}

fn ask(plimsoll: &Plimsoll, path: &str, client: &str) -> Reply {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {client}\r\n\r\n");
    plimsoll.exchange("web", request)
}

fn patch(plimsoll: &Plimsoll, route: &str, body: &str) -> Reply {
    plimsoll.admin_send("PATCH", &format!("/api/v1/routes/{route}"), body)
}

#[test]
fn a_closed_route_answers_503_and_asks_nobody() {
    let (backend, plimsoll) = stage();
    let reply = ask(&plimsoll, "/closed/x", "192.0.2.1");
    // Not 403: its filters are not asked.
    reply.assert_reason(503, "maintenance");
    assert_eq!(reply.header("retry-after"), Some("60"));
    ask(&plimsoll, "/closed/x", "203.0.113.1").assert_reason(403, "denied");
    let url = format!("http://{}/closed/x", plimsoll.address("web"));
    let over_http2 = curl(&["-s", "-i", "--http2-prior-knowledge", &url]).stdout;
    assert!(over_http2.starts_with("HTTP/2 503"), "{over_http2}");
    assert!(
        over_http2.contains("x-plimsoll-reason: maintenance\r\n"),
        "{over_http2}"
    );
    assert_eq!(ask(&plimsoll, "/", "192.0.2.1").status, 200);
    assert_eq!(backend.requests(), 1);
    eventually("both are counted", || {
        let labels = [("reason", "maintenance")];
        (plimsoll.metrics().sum("plimsoll_failures_total", &labels) == 2.0).then_some(())
    });
    let line: Value = eventually("it is logged", || {
        let text = plimsoll.scratch().read("access.log");
        text.lines().find_map(|line| serde_json::from_str(line).ok())
    });
    assert_eq!(
        (&line["route"], &line["reason"]),
        (&"closed".into(), &"maintenance".into())
    );
}

#[test]
fn a_notice_says_what_it_likes_and_lets_some_clients_in() {
    let (backend, plimsoll) = stage();
    let reply = ask(&plimsoll, "/notice/a&b", "192.0.2.1");
    reply.assert_reason(500, "maintenance");
    assert_eq!(reply.text(), "<p>/notice/a&amp;b is back soon</p>");
    assert_eq!(reply.header("content-type"), Some("text/html"));
    assert_eq!(reply.header("retry-after"), Some("2"));
    assert_eq!(backend.requests(), 0);
    for let_in in ["198.51.100.7", "2001:db8::1"] {
        assert_eq!(ask(&plimsoll, "/notice/x", let_in).status, 200, "{let_in}");
    }
    // A call of gRPC is told in its own words.
    let call = plimsoll.exchange(
        "web",
        "POST /notice/x HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n",
    );
    assert_eq!((call.status, call.header("grpc-status")), (200, Some("14")));
}

#[test]
fn an_operator_closes_and_opens_routes_while_they_serve() {
    let (_backend, plimsoll) = stage();
    let shown = |route: &str| {
        let routes = plimsoll.admin("/api/v1/routes").json();
        let all = routes.as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|known| known["name"] == route).expect("the route");
        (found["maintenance"].clone(), found["operator"]["maintenance"].clone())
    };
    assert_eq!(shown("open"), (json!(false), Value::Null));
    assert_eq!(shown("closed"), (json!(true), Value::Null));
    for (route, path, body, status, is) in [
        ("open", "/x", "true", 503, (json!(true), json!(true))),
        ("open", "/x", "null", 200, (json!(false), Value::Null)),
        ("ready", "/ready/x", "true", 503, (json!(true), json!(true))),
        ("ready", "/ready/x", "false", 200, (json!(false), json!(false))),
        ("notice", "/notice/x", "false", 200, (json!(false), json!(false))),
        ("notice", "/notice/x", "null", 500, (json!(true), Value::Null)),
    ] {
        let changed = patch(&plimsoll, route, &format!("{{\"maintenance\": {body}}}"));
        assert_eq!(changed.status, 200, "{changed:#?}");
        assert_eq!(changed.json()["maintenance"], is.0);
        assert_eq!(shown(route), is);
        assert_eq!(ask(&plimsoll, path, "192.0.2.1").status, status, "{route} {body}");
    }
    let prepared = patch(&plimsoll, "ready", "{\"maintenance\": true}");
    assert_eq!(prepared.status, 200);
    assert_eq!(ask(&plimsoll, "/ready/x", "192.0.2.1").text(), "prepared");
    for (route, body, status, says) in [
        ("ope", "{\"maintenance\": true}", 404, "did you mean"),
        ("open", "{\"maintenance\": \"yes\"}", 400, "true, false, or null"),
        ("open", "{}", 400, "name `split` or `maintenance`"),
        (
            "open",
            "{\"maintenance\": true, \"split\": [{ \"pool\": \"p\" }]}",
            400,
            "has no split",
        ),
    ] {
        let refused = patch(&plimsoll, route, body);
        assert_eq!(refused.status, status, "{refused:#?}");
        assert!(refused.text().contains(says), "{}", refused.text());
    }
    assert_eq!(
        shown("open"),
        (json!(false), Value::Null),
        "what is refused changes nothing"
    );
}

#[test]
fn explain_tells_that_a_route_is_closed_and_by_whom() {
    let (_backend, plimsoll) = stage();
    let told = |path: &str| {
        plimsoll
            .admin(&format!("/api/v1/explain?url=http://a{path}&client=192.0.2.1"))
            .json()
    };
    let closed = told("/closed/x");
    assert_eq!(
        (&closed["route"], &closed["reason"]),
        (&"closed".into(), &"maintenance".into())
    );
    assert!(closed.to_string().contains("closed by its configuration"), "{closed:#}");
    assert_eq!(patch(&plimsoll, "open", "{\"maintenance\": true}").status, 200);
    assert!(told("/x").to_string().contains("closed by an operator"));
    let notice = told("/notice/x").to_string();
    assert!(notice.contains("answered by us: 500"), "{notice}");
}
