//! Mutual TLS: clients that have to show certificates, and those that may.

use e2e::{Authority, Backend, Foreign, Plimsoll, Script, When, eventually, haproxy_command};

use crate::front::front;
use crate::tls::{curl, logged, s_client_says, shop};
use crate::tls_stage::authority;

/// An authority for clients with a certificate of each kind.
fn people() -> Authority {
    let people = Authority::new("People");
    people.issue("ann", &[]);
    people.issue("bob", &[]);
    people.issue_with("ec -pkeyopt ec_paramgen_curve:P-256", "old", &[], When::Past);
    people.issue_with("ec -pkeyopt ec_paramgen_curve:P-256", "early", &[], When::Future);
    people.list_revoked();
    people
}

fn start(shop: &Authority, people: &Authority, more: &str) -> (Backend, Plimsoll) {
    let backend = Backend::start(Script::Echo);
    let (pair, ca, crl) = (shop.pair("shop"), people.named("ca.pem"), people.named("crl.pem"));
    let plimsoll = front()
        .log("access = \"access.log\"")
        .route(
            "filters = [{ kind = \"headers\", request = { set = { x-subject = \"{tls.client.subject}\", \
             x-fingerprint = \"{tls.client.fingerprint}\", x-sni = \"{tls.sni}\" } } }]",
        )
        .listener(&format!(
            "tls = {{ certificates = [{pair}], client_ca = \"{ca}\", crl = \"{crl}\"{more} }}"
        ))
        .before(backend.address());
    (backend, plimsoll)
}

fn failed(plimsoll: &Plimsoll, cause: &str) -> f64 {
    plimsoll
        .metrics()
        .sum("plimsoll_tls_handshakes_failed_total", &[("cause", cause)])
}

#[test]
fn only_clients_that_somebody_vouches_for_are_let_in() {
    let (shop, people) = (shop(), people());
    people.revoke("bob");
    let strangers = Authority::new("Strangers");
    strangers.issue("eve", &[]);
    let (backend, plimsoll) = start(&shop, &people, "");
    let ask = |who: Option<(&Authority, &str)>, version: &str| {
        let pair = who.map(|(of, name)| (of.named(&format!("{name}.pem")), of.named(&format!("{name}.key"))));
        let mut more = vec!["--fail", "--tls-max", version];
        if let Some((cert, key)) = &pair {
            more.extend(["--cert", cert, "--key", key]);
        }
        curl(&shop, &plimsoll, "shop.test", "/", &more)
    };
    for version in ["1.2", "1.3"] {
        let output = ask(Some((&people, "ann")), version);
        assert_eq!(output.code, Some(0), "{version}: {output:?}");
        for (who, cause) in [
            (None, "no_certificate"),
            (Some((&strangers, "eve")), "unknown_ca"),
            (Some((&people, "old")), "expired_certificate"),
            (Some((&people, "early")), "early_certificate"),
            (Some((&people, "bob")), "revoked_certificate"),
        ] {
            let before = failed(&plimsoll, cause);
            let output = ask(who, version);
            assert!(
                output.code != Some(0) && output.stdout.is_empty(),
                "{version} {cause}: {output:?}"
            );
            eventually(cause, || (failed(&plimsoll, cause) == before + 1.0).then_some(()));
        }
    }
    let fingerprint = people
        .openssl(&["x509", "-in", "ann.pem", "-noout", "-fingerprint", "-sha256"])
        .stdout;
    let fingerprint = fingerprint
        .rsplit('=')
        .next()
        .expect("a value")
        .trim()
        .replace(':', "")
        .to_lowercase();
    let seen = backend.seen();
    assert_eq!(seen.len(), 2, "nobody else came through");
    assert_eq!(seen[0].head.header("x-subject"), Some("CN=ann,O=Shop"));
    assert_eq!(seen[0].head.header("x-fingerprint"), Some(&*fingerprint));
    assert_eq!(seen[0].head.header("x-sni"), Some("shop.test"));
    let log = plimsoll.scratch().read("access.log");
    assert!(
        log.contains("\"client\":{\"fingerprint\":\"") && log.contains("\"subject\":\"CN=ann,O=Shop\""),
        "{log}"
    );
}

#[test]
fn clients_that_are_only_asked_may_come_without_but_not_with_a_bad_one() {
    let (shop, people) = (shop(), people());
    let (backend, plimsoll) = start(&shop, &people, ", client_auth = \"request\"");
    let ask = |name: Option<&str>| {
        let files = name.map(|name| {
            (
                people.named(&format!("{name}.pem")),
                people.named(&format!("{name}.key")),
            )
        });
        let mut more = vec!["--fail"];
        if let Some((cert, key)) = &files {
            more.extend(["--cert", cert, "--key", key]);
        }
        curl(&shop, &plimsoll, "shop.test", "/", &more).code == Some(0)
    };
    assert!(ask(None));
    assert!(ask(Some("bob")));
    assert!(!ask(Some("old")));
    let seen = backend.seen();
    let subjects: Vec<_> = seen
        .iter()
        .map(|seen| seen.head.header("x-subject").unwrap_or_default())
        .collect();
    assert_eq!(subjects, ["", "CN=bob,O=Shop"]);
    let line = logged(&plimsoll, "expired_certificate");
    assert_eq!(
        (&line["reason"], &line["tls"]["cause"]),
        (&"client_tls_failed".into(), &"expired_certificate".into())
    );
}

#[test]
fn who_is_revoked_is_out_at_the_next_handshake_even_with_a_session() {
    let (shop, people) = (shop(), people());
    let (_backend, plimsoll) = start(&shop, &people, "");
    let ask = "GET / HTTP/1.1\\r\\nhost: shop.test\\r\\nconnection: close\\r\\n\\r\\n";
    let [cert, key] = ["bob.pem", "bob.key"].map(|name| people.named(name));
    let come = |version: &str, sessions: &str| {
        let mine = format!("session{version}");
        let more = [
            version,
            "-ign_eof",
            "-servername",
            "shop.test",
            "-cert",
            &cert,
            "-key",
            &key,
            sessions,
            &mine,
        ];
        s_client_says(&shop, &plimsoll, ask, &more).stdout
    };
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(come(version, "-sess_out").contains("HTTP/1.1 200"), "{version}");
        let again = come(version, "-sess_in");
        assert!(
            again.contains("Reused") && again.contains("HTTP/1.1 200"),
            "{version}: {again}"
        );
    }
    people.revoke("bob");
    eventually("bob is out", || {
        (!come("-tls1_3", "-sess_in").contains("HTTP/1.1 200")).then_some(())
    });
    let out = come("-tls1_2", "-sess_in");
    assert!(
        !out.contains("HTTP/1.1 200") && out.contains("certificate revoked"),
        "{out}"
    );
    assert!(failed(&plimsoll, "revoked_certificate") >= 2.0);
}

#[test]
fn a_list_that_cannot_be_read_leaves_the_rules_as_they_were() {
    let (shop, people) = (shop(), people());
    people.revoke("bob");
    let (_backend, plimsoll) = start(&shop, &people, "");
    let comes = |name: &str| {
        let [cert, key] = ["pem", "key"].map(|ending| people.named(&format!("{name}.{ending}")));
        curl(
            &shop,
            &plimsoll,
            "shop.test",
            "/",
            &["--fail", "--cert", &cert, "--key", &key],
        )
        .code
            == Some(0)
    };
    std::fs::write(people.file("crl.pem"), "nothing").expect("it can be written");
    eventually("it is told", || {
        let status = plimsoll.admin("/api/v1/status").json();
        let files = status["files"].as_array()?;
        let error = files.iter().find_map(|file| file["error"].as_str())?;
        error.contains("holds no list of revoked certificates").then_some(())
    });
    assert!(comes("ann") && !comes("bob"));
}

#[test]
fn a_route_may_be_for_those_who_show_a_certificate_of_a_kind() {
    let (shop, people) = (shop(), Authority::new("People"));
    people.issue("ann", &[]);
    people.issue("robot", &["robot.internal", "10.1.2.3"]);
    people.issue("bob", &[]);
    let print = people
        .openssl(&["x509", "-in", "bob.pem", "-noout", "-fingerprint", "-sha256"])
        .stdout;
    let print = print.rsplit('=').next().expect("a value").trim();
    let backend = Backend::start(Script::Echo);
    let (pair, ca) = (shop.pair("shop"), people.named("ca.pem"));
    let route = |name: &str, what: &str| {
        format!(
            "[[routes]]\nname = \"{name}\"\nmatch = {{ client_cert = {{ {what} }} }}\nrespond = {{ body = \"{name}\" }}\n"
        )
    };
    let routes = [
        route("subject", "subject = \"CN=ann,O=Shop\""),
        route("san", "san = { prefix = \"robot.\" }, issuer = \"CN=People\""),
        route(
            "print",
            &format!("fingerprint = [\"{print}\", \"{}\"]", "00".repeat(32)),
        ),
        route("none", "present = false"),
    ];
    let plimsoll = front()
        .listener(&format!(
            "tls = {{ certificates = [{pair}], client_ca = \"{ca}\", client_auth = \"request\" }}"
        ))
        .tables(&routes.concat())
        .before(backend.address());
    for version in ["--http1.1", "--http2"] {
        for (who, route) in [
            (Some("ann"), "subject"),
            (Some("robot"), "san"),
            (Some("bob"), "print"),
            (None, "none"),
        ] {
            let files = who.map(|name| {
                (
                    people.named(&format!("{name}.pem")),
                    people.named(&format!("{name}.key")),
                )
            });
            let mut more = vec![version];
            if let Some((cert, key)) = &files {
                more.extend(["--cert", cert, "--key", key]);
            }
            let output = curl(&shop, &plimsoll, "shop.test", "/", &more);
            assert_eq!(output.stdout, route, "{version} {who:?}: {output:?}");
        }
    }
    // Whom no such route is for goes on to the others.
    people.issue("eve", &[]);
    let [cert, key] = ["eve.pem", "eve.key"].map(|name| people.named(name));
    let output = curl(
        &shop,
        &plimsoll,
        "shop.test",
        "/",
        &["--fail", "--cert", &cert, "--key", &key],
    );
    assert_eq!((output.code, backend.requests()), (Some(0), 1), "{output:?}");
}

#[test]
fn a_handshake_of_a_tcp_listener_has_its_time() {
    let shop = shop();
    let backend = Backend::start(Script::Echo);
    let pair = shop.pair("shop");
    let plimsoll = front()
        .tables(&format!(
            "[listeners.bytes]\nbind = \"@bytes@\"\nprotocol = \"tcp\"\npool = \"api\"\n\
             timeouts = {{ request_header = \"1s\" }}\ntls = {{ certificates = [{pair}] }}\n"
        ))
        .before(backend.address());
    let mut wire = plimsoll.connect("bytes");
    wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    assert!(wire.read_to_end().0.is_empty());
    assert_eq!(failed(&plimsoll, "timeout"), 1.0);
}

#[test]
fn bytes_are_offered_to_a_pool_by_the_protocol_that_it_names() {
    let authority = authority();
    let inner = Backend::start(Script::Echo);
    let pair = crate::tls_stage::both(&authority, "api");
    let strict = Foreign::start(|port, directory| {
        let crt = directory.join("both.pem");
        std::fs::write(&crt, pair).expect("it can be written");
        let sections = format!(
            "frontend all\n mode tcp\n bind 127.0.0.1:{port} ssl crt {} alpn postgresql\n \
             tcp-request content reject unless {{ ssl_fc_alpn postgresql }}\n default_backend there\n\
             backend there\n mode tcp\n server one {}\n",
            crt.display(),
            inner.address()
        );
        haproxy_command(directory, &sections)
    });
    for (alpn, served) in [(", alpn = \"postgresql\"", true), ("", false)] {
        let pool = crate::tls_stage::trusting(&authority, alpn);
        let plimsoll = front()
            .tables("[listeners.bytes]\nbind = \"@bytes@\"\nprotocol = \"tcp\"\npool = \"api\"\n")
            .pool(&pool)
            .before(strict.address());
        let mut wire = plimsoll.connect("bytes");
        wire.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let (answer, _) = wire.read_to_end();
        assert_eq!(answer.starts_with(b"HTTP/1.1 200"), served, "{alpn}: {answer:?}");
    }
}
