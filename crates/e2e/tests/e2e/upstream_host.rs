//! The Host that goes upstream, and what is turned back in answers: redirects and cookies name what their client knows.

use e2e::tools::curl;
use e2e::{Backend, Foreign, Plimsoll, Reply, Script};

const SITE: &str = r#"
    [server]
    trusted_proxies = ["127.0.0.1/32"]
    [listeners.web]
    bind = "@web@"
    [[routes]]
    match = { path = "/keep/*" }
    pool = "p"
    [[routes]]
    match = { path = "/named/*" }
    host = "Api.Internal"
    pool = "p"
    [[routes]]
    match = { path = "/backend/*" }
    host = "backend"
    pool = "p"
    [[routes]]
    match = { path = "/v1/*" }
    host = "api.internal:81"
    filters = [
      { kind = "rewrite", strip_prefix = "/v1" },
      { kind = "headers", response = { add = { set-cookie = "ours=1; Path=/" } } },
    ]
    pool = "p"
    [[routes]]
    match = { path = "/kept-path/*" }
    filters = [{ kind = "rewrite", path_prefix = "/inner" }]
    pool = "p"
    [pools.p]
    backends = ["@one@"]
    health = false
"#;

fn site(script: Script) -> (Backend, Plimsoll) {
    let backend = Backend::named("one", script);
    let plimsoll = Plimsoll::config(SITE).address("one", backend.address()).start();
    (backend, plimsoll)
}

fn ask(plimsoll: &Plimsoll, path: &str, more: &str) -> Reply {
    let request = format!("GET {path} HTTP/1.1\r\nhost: Shop.example.com:8080\r\n{more}\r\n");
    plimsoll.exchange("web", request)
}

/// What is found where `url` redirects to. In two steps: on the connection of a redirect, curl 7.88 fails to follow it
/// over HTTP/2 by prior knowledge, whoever the server is.
fn followed(version: &str, url: &str) -> String {
    let moved = curl(&["-s", "-o", "/dev/null", "-w", "%{redirect_url}", version, url]).stdout;
    curl(&["-s", version, &moved]).stdout
}

/// A backend that redirects and sets cookies as this says.
fn answer(fields: &[(&str, &str)]) -> Script {
    let plain = Script::reply(302, "");
    fields
        .iter()
        .fold(plain, |script, (name, value)| script.header(name, value))
}

#[test]
fn the_host_that_goes_upstream_is_the_routes_choice() {
    let (backend, plimsoll) = site(Script::Echo);
    let address = backend.address().to_string();
    for (path, host) in [
        ("/keep/x", "Shop.example.com:8080"),
        ("/named/x", "api.internal"),
        ("/backend/x", address.as_str()),
    ] {
        assert_eq!(ask(&plimsoll, path, "").status, 200);
        let seen = backend.seen().pop().expect("it came");
        assert_eq!(seen.head.headers_named("host").collect::<Vec<_>>(), [host], "{path}");
        assert_eq!(seen.head.header("x-forwarded-host"), Some("Shop.example.com:8080"));
        let url = format!("http://{}{path}", plimsoll.address("web"));
        let told = curl(&[
            "-s",
            "--http2-prior-knowledge",
            "-H",
            "host: Shop.example.com:8080",
            &url,
        ]);
        assert_eq!(told.code, Some(0), "{told:?}");
        let seen = backend.seen().pop().expect("it came");
        let host = if host.starts_with("Shop") {
            "Shop.example.com:8080"
        } else {
            host
        };
        assert_eq!(
            seen.head.headers_named("host").collect::<Vec<_>>(),
            [host],
            "{path} over HTTP/2"
        );
    }
    backend.assert_no_violations();
}

#[test]
fn an_attempt_on_another_backend_names_that_one() {
    let (gone, one) = (Backend::refusing(), Backend::named("one", Script::Echo));
    let plimsoll = Plimsoll::config(
        "[listeners.web]\nbind = \"@web@\"\n[[routes]]\nhost = \"backend\"\npool = \"p\"\nmirror = { pool = \"m\" }\n\
         [pools.p]\nbackends = [\"@gone@\", { address = \"@one@\", priority = 1 }]\nhealth = false\n\
         [pools.m]\nbackends = [\"@copy@\"]\nhealth = false\n",
    );
    let copy = Backend::named("copy", Script::Echo);
    let plimsoll = plimsoll
        .address("gone", gone.address())
        .address("one", one.address())
        .address("copy", copy.address())
        .start();
    let body = "x".repeat(5_000);
    let request = format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\n{body}");
    let reply = plimsoll.exchange("web", request);
    assert_eq!(reply.status, 200, "{reply:#?}");
    copy.wait_for_requests(1);
    for backend in [&one, &copy] {
        let seen = backend.seen().pop().expect("it came");
        assert_eq!(seen.head.header("host"), Some(&*backend.address().to_string()));
        assert_eq!(seen.body, body.as_bytes());
        backend.assert_no_violations();
    }
}

#[test]
fn redirects_and_cookies_come_back_as_the_client_knows_them() {
    let (backend, plimsoll) = site(answer(&[
        ("location", "http://api.internal/x?y=1"),
        ("content-location", "/page"),
        ("refresh", "3; url=http://api.internal/later"),
        ("set-cookie", "a=1; Domain=api.internal; Path=/; HttpOnly"),
        ("set-cookie", "b=2"),
        ("set-cookie", "c=3; Domain=.internal.example; Path=/x"),
    ]));
    let named = ask(&plimsoll, "/named/x", "");
    assert_eq!(named.header("location"), Some("http://shop.example.com:8080/x?y=1"));
    assert_eq!(named.header("content-location"), Some("/page"));
    assert_eq!(
        named.header("refresh"),
        Some("3; url=http://shop.example.com:8080/later")
    );
    assert_eq!(
        named.head.headers_named("set-cookie").collect::<Vec<_>>(),
        [
            "a=1; Domain=shop.example.com; Path=/; HttpOnly",
            "b=2",
            "c=3; Domain=.internal.example; Path=/x"
        ]
    );
    // The host was not changed: nobody is the backend's word for us.
    let kept = ask(&plimsoll, "/keep/x", "");
    assert_eq!(kept.header("location"), Some("http://api.internal/x?y=1"));
    assert_eq!(kept.head.headers_named("set-cookie").count(), 3);

    backend.play(answer(&[
        ("location", &format!("http://{}/x", backend.address())),
        ("set-cookie", "a=1; Domain=127.0.0.1"),
    ]));
    let by_address = ask(&plimsoll, "/backend/x", "x-forwarded-proto: https\r\n");
    assert_eq!(by_address.header("location"), Some("https://shop.example.com:8080/x"));
    assert_eq!(by_address.header("set-cookie"), Some("a=1; Domain=shop.example.com"));
}

#[test]
fn paths_are_turned_back_with_the_prefix_that_was_taken_away() {
    let (backend, plimsoll) = site(answer(&[
        ("location", "http://api.internal:81/x"),
        ("set-cookie", "a=1; Domain=api.internal; Path=/"),
        ("set-cookie", "b=2; Path=/x"),
    ]));
    let reply = ask(&plimsoll, "/v1/a", "");
    assert_eq!(backend.seen().pop().expect("it came").target(), "/a");
    assert_eq!(reply.header("location"), Some("http://shop.example.com:8080/v1/x"));
    assert_eq!(
        reply.head.headers_named("set-cookie").collect::<Vec<_>>(),
        [
            "a=1; Domain=shop.example.com; Path=/v1",
            "b=2; Path=/v1/x",
            // A filter's own is nobody's to turn back.
            "ours=1; Path=/"
        ]
    );
    for (location, becomes) in [
        ("/x", "/v1/x"),
        ("/v1/x", "/v1/x"),
        ("//evil.example/x", "//evil.example/x"),
        ("https://evil.example/v1/", "https://evil.example/v1/"),
        ("x", "x"),
    ] {
        backend.play(answer(&[("location", location)]));
        assert_eq!(
            ask(&plimsoll, "/v1/a", "").header("location"),
            Some(becomes),
            "{location}"
        );
    }
    backend.play(answer(&[("location", "/inner//evil.example/x")]));
    assert_eq!(
        ask(&plimsoll, "/kept-path/a", "").header("location"),
        Some("/kept-path//evil.example/x")
    );
    let url = format!("http://{}/kept-path/a", plimsoll.address("web"));
    backend.play(answer(&[("location", "/inner/b")]));
    let told = curl(&["-s", "-i", "--http2-prior-knowledge", &url]).stdout;
    assert!(told.contains("location: /kept-path/b\r\n"), "{told}");
}

#[test]
fn a_client_follows_a_redirect_through_us() {
    let moved = answer(&[("location", "http://api.internal:81/there")]);
    let (backend, plimsoll) = site(Script::by_path([
        ("/here", moved),
        ("/there", Script::reply(200, "arrived")),
    ]));
    let at = plimsoll.address("web");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        assert_eq!(
            followed(version, &format!("http://{at}/v1/here")),
            "arrived",
            "{version}"
        );
        assert_eq!(backend.seen().pop().expect("it came").target(), "/there");
    }
}

#[test]
fn nginx_over_either_version_gets_the_host_and_its_redirects_are_turned_back() {
    let locations = "location /here { return 302 http://$http_host/there; } location /there { return 200 $http_host; }";
    for protocol in ["h1", "h2"] {
        let http2 = if protocol == "h2" { " http2" } else { "" };
        let nginx = Foreign::nginx_of(&[], |port, _| {
            format!("server {{ listen 127.0.0.1:{port}{http2}; {locations} }}")
        });
        for (host, seen) in [
            ("backend", nginx.address().to_string()),
            ("api.internal:81", "api.internal:81".into()),
        ] {
            let plimsoll = Plimsoll::config(&format!(
                "[listeners.web]\nbind = \"@web@\"\n[[routes]]\nmatch = {{ path = \"/v1/*\" }}\nhost = \"{host}\"\npool = \"p\"\n\
                 filters = [{{ kind = \"rewrite\", strip_prefix = \"/v1\" }}]\n\
                 [pools.p]\nbackends = [\"@one@\"]\nprotocol = \"{protocol}\"\nhealth = false\n"
            ))
            .address("one", nginx.address())
            .start();
            let url = format!("http://{}/v1/here", plimsoll.address("web"));
            for version in ["--http1.1", "--http2-prior-knowledge"] {
                assert_eq!(followed(version, &url), seen, "{protocol} {host} {version}");
            }
        }
    }
}

#[test]
fn explain_tells_the_host_and_what_is_turned_back() {
    let (backend, plimsoll) = site(Script::Echo);
    let told = |path: &str| {
        plimsoll
            .admin(&format!("/api/v1/explain?url=http://shop.example.com{path}"))
            .text()
    };
    assert!(told("/named/x").contains("host: api.internal"));
    assert!(told("/backend/x").contains(&format!("host: {}", backend.address())));
    assert!(told("/v1/x").contains("api.internal:81 becomes http://shop.example.com, paths under / go under /v1"));
    assert!(!told("/keep/x").contains("turns back"));
    let routes = plimsoll.admin("/api/v1/routes").json();
    let hosts: Vec<_> = (0..3).map(|at| routes[at]["host"].clone()).collect();
    assert_eq!(hosts, ["keep", "api.internal", "backend"]);
}
