//! Filters of listeners and routes.

use e2e::tools::curl;
use e2e::{Backend, Plimsoll, Script, eventually};

fn serve(text: &str) -> (Backend, Plimsoll) {
    let backend = Backend::named("one", Script::Echo);
    let config = format!(
        "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[log]\naccess = \"access.log\"\n{text}\n\
         [pools.p]\nbackends = [{{ name = \"one\", address = \"@one@\" }}]\nhealth = false\n"
    );
    let plimsoll = Plimsoll::config(&config).address("one", backend.address()).start();
    (backend, plimsoll)
}

const HEADERS: &str = r#"
    [listeners.web]
    bind = "@web@"
    [[routes]]
    name = "shop"
    match = { path = "/*" }
    filters = [
      { kind = "headers", request = { set = { x-real-ip = "{client.ip}", x-user = "{request.header.x-none}" }, add = { x-a = "{route}/{pool}{request.path}" }, remove = ["x-debug", "user-agent"] } },
      { kind = "headers", response = { set = { x-served-by = "{backend.name} {backend.address}" }, add = { x-r = "{request.header.x-a}" }, remove = ["content-type"] } },
    ]
    pool = "p"
    [[routes]]
    match = { path = "/none" }
    filters = [{ kind = "headers", response = { set = { x-by = "{backend.name}", x-host = "{request.host}" } } }]
    respond = { status = 200, body = "{\"host\": \"{request.header.x-a}\"}", headers = { content-type = "application/json" } }
"#;

#[test]
fn fields_of_requests_and_answers_are_changed() {
    let (backend, plimsoll) = serve(HEADERS);
    let reply = plimsoll.exchange(
        "web",
        "GET /x%41?q HTTP/1.1\r\nhost: a\r\nx-debug: 1\r\nX_User: eve\r\nx-user: eve\r\nX-A: 0\r\n\
         user-agent: me\r\nx-real-ip: 6.6.6.6\r\nx-forwarded-for: 192.0.2.7\r\n\r\n",
    );
    let seen = backend.seen().pop().expect("it came");
    assert_eq!(seen.head.header("x-real-ip"), Some("192.0.2.7"));
    assert_eq!(seen.head.headers_named("x-a").collect::<Vec<_>>(), ["0", "shop/p/xA"]);
    for gone in ["x-debug", "x_user", "x-user", "user-agent"] {
        assert_eq!(seen.head.header(gone), None, "{gone}");
    }
    let by = format!("one {}", backend.address());
    assert_eq!(reply.header("x-served-by"), Some(&*by));
    // A filter sees what those before it have made of the request.
    assert_eq!(reply.header("x-r"), Some("0, shop/p/xA"));
    assert_eq!(reply.header("content-type"), None);
}

#[test]
fn answers_of_our_own_carry_what_filters_want_and_escape_what_requests_bring() {
    let (_backend, plimsoll) = serve(HEADERS);
    let reply = plimsoll.exchange("web", "GET /none HTTP/1.1\r\nhost: B.example\r\nx-a: \"}\\\r\n\r\n");
    assert_eq!(reply.text(), r#"{"host": "\"}\\"}"#);
    assert_eq!(reply.header("x-host"), Some("b.example"));
    assert_eq!(reply.header("x-by"), None, "there is no backend to name");
}

#[test]
fn http2_gets_the_same_changes() {
    let (backend, plimsoll) = serve(HEADERS);
    let url = format!("http://{}/h2", plimsoll.address("web"));
    let told = curl(&["-s", "--http2-prior-knowledge", "-i", "-H", "x-debug: 1", &url]);
    let text = told.stdout;
    assert!(
        text.contains(&format!("x-served-by: one {}", backend.address())),
        "{text}"
    );
    assert!(!text.contains("content-type"), "{text}");
    let seen = backend.seen().pop().expect("it came");
    assert_eq!(seen.head.header("x-a"), Some("shop/p/h2"));
    assert_eq!(seen.head.header("x-debug"), None);
}

#[test]
fn networks_are_allowed_and_denied_by_the_client_behind_trusted_proxies() {
    let (backend, plimsoll) = serve(
        r#"
        [listeners.web]
        bind = "@web@"
        filters = [{ kind = "deny", cidr = ["192.0.2.0/24"] }]
        [[routes]]
        match = { path = "/*" }
        filters = ["office"]
        pool = "p"
        [[routes]]
        match = { path = "/trial" }
        filters = [{ kind = "allow", cidr = "2001:db8::/32", dry_run = true }]
        pool = "p"
        [filters.office]
        chain = [{ kind = "allow", cidr = ["198.51.100.0/24", "2001:db8::/32"] }]
    "#,
    );
    let asked = |client: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {client}\r\n\r\n");
        plimsoll.exchange("web", request)
    };
    asked("192.0.2.1", "/").assert_reason(403, "denied");
    asked("203.0.113.1", "/").assert_reason(403, "denied");
    asked("192.0.2.1", "/nowhere").assert_reason(403, "denied");
    assert_eq!(asked("198.51.100.7", "/").status, 200);
    assert_eq!(asked("2001:db8::1", "/").status, 200);
    assert_eq!(backend.requests(), 2);
    assert_eq!(asked("203.0.113.1", "/trial").status, 200);
    eventually("what was refused, and what would have been, is counted", || {
        let metrics = plimsoll.metrics();
        let counted = |name| metrics.sum(name, &[("reason", "denied")]).round() as u32;
        (counted("plimsoll_dry_run_total") == 1 && counted("plimsoll_failures_total") == 3).then_some(())
    });
}

#[test]
fn a_filter_on_trial_changes_nothing_that_anybody_sees() {
    let filters = r#"[
        { kind = "headers", request = { set = { x-trial = "1" }, remove = ["accept"] }, response = { set = { x-trial = "1" } } },
        { kind = "cors", origins = ["https://app.example"] },
        { kind = "rewrite", path_prefix = "/elsewhere" },
        { kind = "rate-limit", rate = "9/h", announce = "always" },
    ]"#;
    let trial = filters.replace(" },\n", ", dry_run = true },\n");
    let (backend, plimsoll) = serve(&format!(
        r#"
        [listeners.web]
        bind = "@web@"
        [[routes]]
        match = {{ path = "/trial/*" }}
        filters = {trial}
        pool = "p"
        [[routes]]
        match = {{ path = "/real/*" }}
        filters = {filters}
        pool = "p"
    "#
    ));
    let asked = |path: &str| {
        let fields = "host: a\r\naccept: text/plain\r\norigin: https://app.example\r\n";
        plimsoll.exchange("web", format!("GET {path} HTTP/1.1\r\n{fields}\r\n"))
    };
    let names = ["x-trial", "access-control-allow-origin", "ratelimit"];
    for _ in 0..2 {
        let reply = asked("/trial/x");
        assert_eq!(reply.status, 200);
        assert_eq!(names.map(|name| reply.header(name)), [None; 3]);
        let came = backend.seen().pop().expect("it came");
        assert_eq!(came.target(), "/trial/x");
        assert_eq!(
            (came.head.header("x-trial"), came.head.header("accept")),
            (None, Some("text/plain"))
        );
    }
    let reply = asked("/real/x");
    assert!(names.iter().all(|name| reply.header(name).is_some()), "{reply:?}");
    assert_eq!(backend.seen().pop().expect("it came").target(), "/elsewhere/x");
}

#[test]
fn paths_are_rewritten_and_clients_redirected() {
    let (backend, plimsoll) = serve(
        r#"
        [listeners.web]
        bind = "@web@"
        [[routes]]
        match = { path = "/api/*" }
        filters = [{ kind = "rewrite", path_prefix = "/" }]
        pool = "p"
        [[routes]]
        match = { path = "/v1/*" }
        filters = [
          { kind = "redirect", regex = "/v1/old/(.*)", path = "/new/$1", status = 308 },
          { kind = "rewrite", strip_prefix = "/v1" },
          { kind = "rewrite", regex = "/item-([0-9]+)", path = "/items/$1/x" },
          { kind = "rewrite", add_prefix = "/app" },
        ]
        pool = "p"
        [[routes]]
        match = { path = "/by-host" }
        filters = [{ kind = "rewrite", path = "/{request.host}/{request.header.x-a}" }]
        pool = "p"
        [[routes]]
        match = { path = "/elsewhere/*" }
        redirect = { path = "/x/{request.header.x-a}" }
    "#,
    );
    for (path, sent) in [
        ("/api/orders?x=1", "/orders?x=1"),
        ("/api", "/"),
        ("/api/", "/"),
        ("/v1/item-7?a", "/app/items/7/x?a"),
        ("/v1", "/app/"),
        ("/v1/plain", "/app/plain"),
    ] {
        assert_eq!(plimsoll.get("web", path).status, 200);
        assert_eq!(backend.seen().pop().expect("it came").target(), sent, "{path}");
    }
    let escaped = plimsoll.exchange("web", "GET /by-host HTTP/1.1\r\nhost: A.b\r\nx-a: a/?#%2f x\r\n\r\n");
    assert_eq!(escaped.status, 200);
    assert_eq!(
        backend.seen().pop().expect("it came").target(),
        "/a.b/a%2F%3F%23%252f%20x"
    );
    let hidden = plimsoll.exchange("web", "GET /by-host HTTP/1.1\r\nhost: a\r\nx-a: ../x\r\n\r\n");
    hidden.assert_reason(400, "bad_request");
    let moved = plimsoll.get("web", "/v1/old/a/b?c=1");
    assert_eq!(moved.status, 308);
    assert_eq!(moved.header("location"), Some("http://test.example/new/a/b?c=1"));
    let moved = plimsoll.exchange("web", "GET /elsewhere/ HTTP/1.1\r\nhost: a\r\nx-a: //evil\r\n\r\n");
    assert_eq!(moved.header("location"), Some("http://a/x/%2F%2Fevil"));
}

#[test]
fn explain_tells_what_each_filter_does() {
    let (_backend, plimsoll) = serve(HEADERS);
    let told = plimsoll.admin("/api/v1/explain?url=http://a/x&client=127.0.0.1").json();
    let steps = told["steps"].as_array().expect("steps");
    let filters: Vec<&str> = steps
        .iter()
        .filter(|step| step["stage"] == "filter")
        .filter_map(|step| step["why"].as_str())
        .collect();
    assert_eq!(filters.len(), 2, "{told}");
    assert!(
        filters[0].contains("sets x-real-ip") && filters[0].contains("removes x-debug"),
        "{told}"
    );
    assert!(filters[1].contains("adds x-r to the answer"), "{told}");
}
