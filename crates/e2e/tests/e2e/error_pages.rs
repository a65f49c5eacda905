//! Other bodies for the replies that we make ourselves.

use e2e::tools::curl;
use e2e::{Backend, Plimsoll, Reply, Script, eventually};

const SITE: &str = r#"
    [server]
    trusted_proxies = ["127.0.0.1/32"]
    [error_pages]
    "5xx" = "pages/5xx.html"
    "404" = [{ file = "pages/404.html" }, { file = "pages/404.json" }]
    denied = { body = "go away, {request.id}\n" }
    [listeners.web]
    bind = "@web@"
    filters = [{ kind = "deny", cidr = "203.0.113.0/24" }]
    [listeners.other]
    bind = "@other@"
    error_pages = { no_route = { body = "nothing here" } }
    [[routes]]
    match = { path = "/up/*" }
    pool = "up"
    [[routes]]
    match = { path = "/down/*" }
    pool = "down"
    [[routes]]
    match = { path = "/own/*" }
    pool = "down"
    error_pages = { 5xx = { body = "the route's: {status} {reason}" }, connect_failed = { body = "{\"{message}\"}", content_type = "application/json" } }
    [[routes]]
    match = { path = "/empty" }
    respond = { status = 404 }
    [[routes]]
    match = { path = "/full" }
    respond = { status = 404, body = "as it is" }
    [[routes]]
    match = { path = "/closed" }
    maintenance = true
    pool = "up"
    [pools.up]
    backends = ["@up@"]
    health = false
    [pools.down]
    backends = ["@down@"]
    health = false
"#;

fn site(config: &str) -> (Backend, Plimsoll) {
    let (up, down) = (
        Backend::named("up", Script::reply(503, "the backend's own")),
        Backend::refusing(),
    );
    let plimsoll = Plimsoll::config(config)
        .file(
            "pages/5xx.html",
            "<style>b{color:red}</style><b>{status}</b> {reason}: {message} {request.id}",
        )
        .file("pages/404.html", "<h1>{status}</h1>")
        .file("pages/404.json", "{\"error\":\"{reason}\",\"id\":\"{request.id}\"}")
        .address("up", up.address())
        .address("down", down.address())
        .start();
    (up, plimsoll)
}

fn ask(plimsoll: &Plimsoll, path: &str, more: &str) -> Reply {
    plimsoll.exchange("web", format!("GET {path} HTTP/1.1\r\nhost: a\r\n{more}\r\n"))
}

#[test]
fn our_own_replies_get_a_page_and_a_backends_never() {
    let (_up, plimsoll) = site(SITE);
    let reply = ask(&plimsoll, "/down/x", "x-request-id: <7>\r\n");
    reply.assert_reason(502, "connect_failed");
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(
        reply.text(),
        "<style>b{color:red}</style><b>502</b> connect_failed: \
         The backend refused the connection or cannot be reached. &lt;7&gt;"
    );
    assert_eq!(reply.head.headers_named("content-type").count(), 1);
    let theirs = ask(&plimsoll, "/up/x", "");
    assert_eq!((theirs.status, theirs.text().as_str()), (503, "the backend's own"));
    let closed = ask(&plimsoll, "/closed", "");
    closed.assert_reason(503, "maintenance");
    assert_eq!(closed.header("retry-after"), Some("60"));
    assert!(closed.text().contains("<b>503</b> maintenance"), "{}", closed.text());
    let denied = ask(
        &plimsoll,
        "/up/x",
        "x-forwarded-for: 203.0.113.1\r\nx-request-id: 7\r\n",
    );
    denied.assert_reason(403, "denied");
    assert_eq!(denied.text(), "go away, 7\n");
    // No head could be read of it, so that nobody knows its id.
    let malformed = plimsoll.exchange("web", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n");
    malformed.assert_reason(400, "bad_request");
    assert!(
        malformed.text().starts_with("400 bad_request"),
        "there is no page for it"
    );
    assert_eq!(ask(&plimsoll, "/empty", "").text(), "<h1>404</h1>");
    assert_eq!(ask(&plimsoll, "/full", "").text(), "as it is");
}

#[test]
fn the_nearest_table_is_asked_first_and_the_most_precise_page_in_it() {
    let (_up, plimsoll) = site(SITE);
    let own = ask(&plimsoll, "/own/x", "");
    assert_eq!(own.header("content-type"), Some("application/json"));
    assert_eq!(
        own.text(),
        "{\"The backend refused the connection or cannot be reached.\"}"
    );
    let other = |path: &str| plimsoll.exchange("other", format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
    assert_eq!(other("/nowhere").text(), "nothing here");
    assert!(
        other("/down/x").text().contains("<b>502</b>"),
        "the node's, since the listener has none"
    );
    assert_eq!(ask(&plimsoll, "/nowhere", "").text(), "<h1>404</h1>");
}

#[test]
fn a_client_gets_the_kind_that_it_accepts() {
    let (_up, plimsoll) = site(SITE);
    let browser = "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";
    for (accept, kind) in [
        ("", "text/html; charset=utf-8"),
        (browser, "text/html; charset=utf-8"),
        ("accept: application/json\r\n", "application/json"),
        ("accept: image/png\r\n", "text/html; charset=utf-8"),
    ] {
        let reply = ask(&plimsoll, "/nowhere", &format!("{accept}x-request-id: a\"b\r\n"));
        reply.assert_reason(404, "no_route");
        assert_eq!(reply.header("content-type"), Some(kind), "{accept}");
        assert_eq!(reply.header("vary"), Some("accept"));
        if kind == "application/json" {
            assert_eq!(reply.json(), serde_json::json!({ "error": "no_route", "id": "a\"b" }));
        }
    }
    let url = format!("http://{}/nowhere", plimsoll.address("web"));
    let told = curl(&[
        "-s",
        "-i",
        "--http2-prior-knowledge",
        "-H",
        "accept: application/json",
        &url,
    ])
    .stdout;
    assert!(told.contains("content-type: application/json\r\n"), "{told}");
    assert!(told.contains("{\"error\":\"no_route\""), "{told}");
}

#[test]
fn head_has_no_body_and_a_call_of_grpc_its_own_words() {
    let (_up, plimsoll) = site(SITE);
    let mut wire = plimsoll.connect("web");
    wire.send("HEAD /nowhere HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = wire.reply_to("HEAD");
    assert_eq!((head.status, head.header("content-length")), (404, Some("12")));
    // The connection goes on right behind the head.
    assert_eq!(wire.get("/nowhere").text(), "<h1>404</h1>");
    let call = plimsoll.exchange(
        "web",
        "POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n",
    );
    assert_eq!((call.status, call.header("grpc-status")), (200, Some("12")));
    assert_eq!(call.header("content-type"), Some("application/grpc"));
    assert!(call.body.is_empty());
    let url = format!("http://{}/nowhere", plimsoll.address("web"));
    let told = curl(&["-s", "-I", "--http2-prior-knowledge", &url]).stdout;
    assert!(told.contains("content-length: 12\r\n"), "{told}");
}

#[test]
fn pages_are_watched() {
    let (_up, plimsoll) = site(SITE);
    let scratch = plimsoll.scratch();
    let path = scratch.write("pages/next", "<h2>{status}</h2>");
    std::fs::rename(path, scratch.path().join("pages/404.html")).expect("it takes the other's place");
    eventually("the new page is there", || {
        (ask(&plimsoll, "/nowhere", "").text() == "<h2>404</h2>").then_some(())
    });
    // What cannot be used takes nothing away, and is told.
    let path = scratch.write("pages/next", vec![b'x'; (256 << 10) + 1]);
    std::fs::rename(path, scratch.path().join("pages/404.html")).expect("it takes the other's place");
    eventually("the status tells of it", || {
        let status = plimsoll.admin("/api/v1/status").json();
        let files = status["files"].as_array().cloned().unwrap_or_default();
        let wrong = |file: &serde_json::Value| {
            let error = file["error"].as_str();
            error.is_some_and(|error| error.contains("is longer than 256 KiB"))
        };
        files.iter().any(wrong).then_some(())
    });
    assert_eq!(ask(&plimsoll, "/nowhere", "").text(), "<h2>404</h2>");
}

#[test]
fn a_page_keeps_to_itself_what_clients_may_not_know() {
    let hidden = SITE.replace("[server]", "[server]\nexpose_reason = false");
    let (_up, plimsoll) = site(&hidden);
    let reply = ask(&plimsoll, "/down/x", "");
    assert_eq!((reply.status, reply.reason()), (502, None));
    assert!(reply.text().contains("<b>502</b> : Bad Gateway "), "{}", reply.text());
}

#[test]
fn explain_names_the_page_that_a_client_sees() {
    let (_up, plimsoll) = site(SITE);
    for (path, accept, wanted) in [
        (
            "/nowhere",
            "application/json",
            Some("the node's for 404, as application/json"),
        ),
        ("/nowhere", "text/html", Some("the node's for 404, as text/html")),
        ("/empty", "text/html", Some("the node's for 404, as text/html")),
        ("/closed", "*/*", Some("the node's for 5xx, as text/html")),
        ("/full", "*/*", None),
        ("/up/x", "*/*", None),
    ] {
        let call = format!("/api/v1/explain?url=http://a{path}&header=accept:{accept}&listener=web");
        let told = plimsoll.admin(&call).json();
        let steps = told["steps"].as_array().expect("steps");
        let page = steps.iter().find(|step| step["subject"] == "error page");
        assert_eq!(
            page.map(|step| step["why"].as_str().expect("words")),
            wanted,
            "{path}: {told}"
        );
        let reply = plimsoll.exchange(
            "web",
            format!("GET {path} HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\n\r\n"),
        );
        if let Some(wanted) = wanted {
            let kind = reply
                .header("content-type")
                .expect("a kind")
                .split(';')
                .next()
                .expect("one");
            assert!(wanted.ends_with(kind), "{kind}");
        }
    }
    let denied = plimsoll
        .admin("/api/v1/explain?url=http://a/up/x&client=203.0.113.9&listener=web")
        .json();
    assert!(
        denied.to_string().contains("the node's for denied, as text/plain"),
        "{denied}"
    );
}
