//! What a request's head looks like to the backend, and an answer's to the client.

use e2e::{Backend, Head, Plimsoll, Script};

use crate::front::front;

/// Sends a GET with these field lines; what the backend saw.
#[track_caller]
fn seen(plimsoll: &Plimsoll, backend: &Backend, lines: &str) -> Head {
    backend.forget();
    let reply = plimsoll.exchange("web", format!("GET / HTTP/1.1\r\nhost: Shop.example:81\r\n{lines}\r\n"));
    assert_eq!(reply.status, 200, "{lines}");
    backend.seen().remove(0).head
}

/// The values of all fields of this name, joined as RFC 9110, section 5.3, has it.
fn joined(head: &Head, name: &str) -> String {
    head.headers_named(name).collect::<Vec<_>>().join(", ")
}

/// What a client may write to seem another one.
const FORGED: &str = "x-forwarded-for: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nforwarded: for=6.6.6.6\r\n\
    x-forwarded-proto: https\r\nx-forwarded-host: evil\r\nx-forwarded-port: 1\r\nx-forwarded-server: evil\r\n\
    x-forwarded-prefix: /evil\r\nx-real-ip: 6.6.6.6\r\nx-plimsoll-explain: 1\r\nx-request-id: chosen\r\n";

const UNDERSCORED: &str = "x_forwarded_for: 6.6.6.6\r\nX_Forwarded-For: 6.6.6.6\r\nx-forwarded_for: 6.6.6.6\r\n\
    X_FORWARDED_PROTO: https\r\nx_forwarded_host: evil\r\nx_real_ip: 6.6.6.6\r\nx-real_ip: 6.6.6.6\r\n\
    x_plimsoll_explain: 1\r\nx_request_id: chosen\r\n";

#[test]
fn an_untrusted_peer_is_not_believed() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .server("trusted_proxies = [\"10.0.0.0/8\"]")
        .before(backend.address());
    for lines in [
        "",
        FORGED,
        UNDERSCORED,
        "x-forwarded-for:\r\n",
        "connection: x-forwarded-for, x-request-id\r\n",
    ] {
        let head = seen(&plimsoll, &backend, lines);
        let whole = format!("{:?}", head.headers);
        assert_eq!(joined(&head, "x-forwarded-for"), "127.0.0.1", "{whole}");
        assert_eq!(joined(&head, "x-forwarded-proto"), "http", "{whole}");
        assert_eq!(joined(&head, "x-forwarded-host"), "Shop.example:81", "{whole}");
        let id = joined(&head, "x-request-id");
        assert!(
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{whole}"
        );
        for trace in ["6.6.6.6", "7.7.7.7", "evil", "chosen", "explain", "https", "via"] {
            assert!(!whole.contains(trace), "{trace} in {whole}");
        }
        assert_eq!(
            head.headers.iter().filter(|(name, _)| name.contains('_')).count(),
            0,
            "{whole}"
        );
    }
}

#[test]
fn a_trusted_peer_is_believed_and_the_chain_goes_on() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .server("trusted_proxies = [\"127.0.0.0/8\"]")
        .before(backend.address());
    let head = seen(&plimsoll, &backend, FORGED);
    assert_eq!(joined(&head, "x-forwarded-for"), "6.6.6.6, 7.7.7.7, 127.0.0.1");
    for (name, value) in [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-port", "1"),
        ("forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("x-request-id", "chosen"),
    ] {
        assert_eq!(joined(&head, name), value, "{name}");
    }
    let head = seen(&plimsoll, &backend, "");
    assert_eq!(joined(&head, "x-forwarded-for"), "127.0.0.1");
    assert_eq!(joined(&head, "x-forwarded-proto"), "http");
    assert_eq!(joined(&head, "x-request-id").len(), 32);
    let head = seen(
        &plimsoll,
        &backend,
        "connection: x-forwarded-for, x-forwarded-proto\r\nx-forwarded-for: 8.8.8.8\r\n",
    );
    assert_eq!(joined(&head, "x-forwarded-for"), "8.8.8.8, 127.0.0.1");
}

#[test]
fn request_ids_differ() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let ids: std::collections::HashSet<_> = (0..50)
        .map(|_| joined(&seen(&plimsoll, &backend, ""), "x-request-id"))
        .collect();
    assert_eq!(ids.len(), 50);
}

#[test]
fn fields_of_this_hop_end_here_and_the_others_stay_as_they_were() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let head = seen(
        &plimsoll,
        &backend,
        "connection: close, X-Hop ,x-also\r\nx-hop: 1\r\nX-Also: 2\r\nx-hop: 3\r\nkeep-alive: timeout=5\r\n\
         proxy-connection: keep-alive\r\nte: trailers, deflate\r\nx-Kept:  two  words \r\nx-empty:\r\nX-Kept: again\r\n\
         x-bytes: \u{e9}\r\n",
    );
    for name in ["x-hop", "x-also", "keep-alive", "proxy-connection"] {
        assert_eq!(joined(&head, name), "", "{name}");
    }
    assert_eq!(
        (joined(&head, "te"), joined(&head, "connection")),
        ("trailers".into(), "te".into())
    );
    let kept: Vec<_> = head
        .headers
        .iter()
        .filter(|(name, _)| name.to_lowercase().starts_with("x-kept"))
        .collect();
    assert_eq!(
        kept,
        [
            &("x-Kept".to_owned(), "two  words".to_owned()),
            &("X-Kept".to_owned(), "again".to_owned())
        ]
    );
    assert_eq!(head.header("x-empty"), Some(""));
    assert_eq!(head.header("x-bytes"), Some("\u{e9}"));
    backend.assert_no_violations();
}

#[test]
fn connection_cannot_name_away_what_later_hops_rely_on() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    backend.forget();
    let reply = plimsoll.exchange(
        "web",
        "POST / HTTP/1.1\r\nhost: a\r\ncookie: c=1\r\nauthorization: Basic eA==\r\ncontent-length: 2\r\nconnection: host, \
         cookie, Authorization, content-length, transfer-encoding, x-forwarded-for, x-forwarded-host, x-request-id, \
         x-forwarded-proto, expect\r\n\r\nok",
    );
    assert_eq!(reply.json()["body"], "ok");
    let head = backend.seen().remove(0).head;
    for (name, value) in [
        ("host", "a"),
        ("cookie", "c=1"),
        ("authorization", "Basic eA=="),
        ("content-length", "2"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "a"),
        ("x-forwarded-proto", "http"),
    ] {
        assert_eq!(joined(&head, name), value, "{name}");
    }
}

#[test]
fn fields_of_the_backends_hop_do_not_reach_the_client() {
    let backend = Backend::start(Script::Bytes(
        b"HTTP/1.1 200 Fine\r\nConnection: X-Hop, keep-alive\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
          proxy-connection: x\r\nUpgrade: h2c\r\nX-Kept:  a  b \r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\
          date: Thu, 01 Jan 1970 00:00:00 GMT\r\ncontent-length: 2\r\n\r\nok"
            .to_vec(),
    ));
    let plimsoll = front().before(backend.address());
    let reply = plimsoll.get("web", "/");
    assert_eq!(reply.head.first_line, "HTTP/1.1 200 Fine");
    for name in [
        "connection",
        "x-hop",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "via",
        "server",
    ] {
        assert_eq!(reply.header(name), None, "{name}");
    }
    assert_eq!((reply.header("x-kept"), reply.text().as_str()), (Some("a  b"), "ok"));
    assert_eq!(joined(&reply.head, "set-cookie"), "a=1, b=2");
    assert_eq!(joined(&reply.head, "date"), "Thu, 01 Jan 1970 00:00:00 GMT");
    backend.play(Script::Bytes(b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n".to_vec()));
    let reply = plimsoll.get("web", "/");
    assert_eq!(reply.status, 200);
    assert!(
        reply.header("date").is_some_and(|date| date.ends_with(" GMT")),
        "{reply:?}"
    );
}

#[test]
fn one_canonical_target_is_sent() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    let mut wire = plimsoll.connect("web");
    for (sent, forwarded) in [
        ("/", "/"),
        ("//", "/"),
        ("/a//b///c", "/a/b/c"),
        ("/a/./b/../c", "/a/c"),
        ("/../../a", "/a"),
        ("/%61%7e%2D", "/a~-"),
        ("/a/%2e%2E/b", "/b"),
        ("/%c3%a9%20", "/%C3%A9%20"),
        ("/a|b\"c", "/a%7Cb%22c"),
        ("/a?b//../%61=%zz|", "/a?b//../%61=%zz|"),
        ("/a?", "/a?"),
        ("/a??b", "/a??b"),
        ("/a;b=c", "/a;b=c"),
        ("http://shop/a/../b?c", "/b?c"),
        ("HTTP://SHOP", "/"),
        ("http://shop?x", "/?x"),
        ("https://shop/", "/"),
    ] {
        wire.send(format!("GET {sent} HTTP/1.1\r\nhost: shop\r\n\r\n"));
        let reply = wire.reply();
        assert_eq!(reply.status, 200, "{sent}");
        assert_eq!(reply.json()["target"], forwarded, "{sent}");
    }
    for (target, forwarded) in [
        ("*", "*"),
        ("http://shop", "*"),
        ("http://shop/", "/"),
        ("http://shop?x", "/?x"),
    ] {
        wire.send(format!("OPTIONS {target} HTTP/1.1\r\nhost: shop\r\n\r\n"));
        assert_eq!(wire.reply().json()["target"], forwarded, "OPTIONS {target}");
    }
    for request in backend.seen() {
        assert_eq!(request.head.headers_named("host").count(), 1);
        assert!(
            request
                .head
                .header("host")
                .is_some_and(|host| host.eq_ignore_ascii_case("shop"))
        );
    }
    backend.assert_no_violations();
}

#[test]
fn hosts_are_kept_as_they_were_asked_for() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().before(backend.address());
    for host in [
        "shop.example",
        "SHOP.example.",
        "shop:8080",
        "[::1]:80",
        "192.0.2.1",
        "a_b-c.d",
    ] {
        backend.forget();
        let reply = plimsoll.exchange("web", format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        assert_eq!(reply.status, 200, "{host}");
        assert_eq!(backend.seen()[0].head.header("host"), Some(host));
    }
    // A client may say that its target has no host (RFC 9112, section 3.2); a backend has to get one.
    for request in ["GET / HTTP/1.1\r\nhost:\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"] {
        backend.forget();
        assert_eq!(plimsoll.exchange("web", request).status, 200);
        let ours = plimsoll.address("web").to_string();
        assert_eq!(
            backend.seen()[0].head.header("host"),
            Some(ours.as_str()),
            "{request:?}"
        );
    }
}
