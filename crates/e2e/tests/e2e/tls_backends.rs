//! TLS with backends that we did not write: whom we believe, what they are sent, and what a client gets when there is none.

use e2e::{Authority, Backend, Foreign, Plimsoll, Script, When, eventually, haproxy_command};

use crate::tls_stage::{assert_no_tls, authority, both, last_line, logging, trusting, wrapping};

fn big() -> String {
    "0123456789abcdef".repeat(1 << 16)
}

#[test]
fn bodies_of_a_mebibyte_go_both_ways_in_each_version() {
    let authority = authority();
    let backend = Backend::start(Script::by_path([
        ("/big", Script::reply(200, big())),
        ("/", Script::Echo),
    ]));
    for (version, protocol) in [
        ("TLSv1.2", "h1"),
        ("TLSv1.3", "h1"),
        ("TLSv1.2", "h2"),
        ("TLSv1.3", "h2"),
    ] {
        let options = format!("ssl-min-ver {version} ssl-max-ver {version} alpn h2,http/1.1");
        let server = wrapping(&authority, "api", backend.address(), &options);
        let plimsoll =
            logging(&format!("protocol = \"{protocol}\"\n{}", trusting(&authority, ""))).before(server.address());
        let mut wire = plimsoll.connect("web");
        let body = big();
        wire.send(format!(
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        let reply = wire.reply();
        assert_eq!(reply.status, 200, "{version} {protocol}");
        assert!(reply.json()["body"] == body, "{version} {protocol}");
        wire.send(
            "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
        );
        assert_eq!(wire.reply().json()["body"], "hello!", "{version} {protocol}");
        assert!(wire.get("/big").text() == body, "{version} {protocol}");
        let reused = plimsoll.metrics();
        assert_eq!(
            reused.sum("plimsoll_backend_connections_total", &[("reused", "false")]),
            1.0,
            "one connection carries all"
        );
    }
}

#[test]
fn who_cannot_prove_to_be_the_backend_gets_nothing() {
    let (authority, other) = (authority(), Authority::new("Somebody else"));
    other.issue("api", &["api.internal"]);
    authority.issue("wrong", &["www.internal"]);
    let key = "ec -pkeyopt ec_paramgen_curve:P-256";
    authority.issue_with(key, "old", &["api.internal"], When::Past);
    authority.issue_with(key, "young", &["api.internal"], When::Future);
    let backend = Backend::start(Script::Echo);
    for (who, name, cause) in [
        (&other, "api", "unknown_ca"),
        (&authority, "wrong", "wrong_name"),
        (&authority, "old", "expired_certificate"),
        (&authority, "young", "early_certificate"),
    ] {
        let server = wrapping(who, name, backend.address(), "");
        let plimsoll = logging(&trusting(&authority, ""))
            .server("workers = 1")
            .before(server.address());
        let reply = plimsoll.exchange("web", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nsecret");
        assert_no_tls(&plimsoll, &reply, cause);
        // Said once, and not for each request.
        plimsoll.get("web", "/").assert_reason(502, "tls_failed");
        let said = plimsoll.stderr().matches("no TLS with a backend").count();
        assert_eq!(said, 1, "{}", plimsoll.stderr());
        assert!(plimsoll.stderr().contains(cause), "{cause}: {}", plimsoll.stderr());
    }
    assert_eq!(backend.requests(), 0);
}

#[test]
fn without_a_name_an_address_is_verified_and_none_is_asked_for() {
    let authority = authority();
    authority.issue("here", &["127.0.0.1"]);
    let backend = Backend::start(Script::Echo);
    let ca = authority.named("ca.pem");
    let lines = "http-request return status 200 content-type text/plain lf-string \"sni=%[ssl_fc_sni]\"";
    let show = |name: &str| {
        let pair = both(&authority, name);
        Foreign::start(|port, directory| {
            std::fs::write(directory.join("both.pem"), pair).expect("it can be written");
            let crt = directory.join("both.pem").display().to_string();
            haproxy_command(
                directory,
                &format!("frontend all\n bind 127.0.0.1:{port} ssl crt {crt}\n {lines}\n"),
            )
        })
    };
    let server = show("here");
    let plimsoll = logging(&format!("tls = {{ ca = \"{ca}\" }}")).before(server.address());
    assert_eq!(plimsoll.get("web", "/").text(), "sni=");
    let plimsoll = logging(&format!("tls = {{ ca = \"{ca}\", server_name = \"127.0.0.1\" }}")).before(server.address());
    assert_eq!(plimsoll.get("web", "/").text(), "sni=");
    let named = show("api");
    let plimsoll = logging(&trusting(&authority, "")).before(named.address());
    assert_eq!(plimsoll.get("web", "/").text(), "sni=api.internal");
    // A certificate for a name is not one for the address.
    let server = wrapping(&authority, "api", backend.address(), "");
    let plimsoll = logging(&format!("tls = {{ ca = \"{ca}\" }}")).before(server.address());
    assert_no_tls(&plimsoll, &plimsoll.get("web", "/"), "wrong_name");
}

#[test]
fn the_machines_own_certificates_are_believed_unless_others_are_named() {
    let authority = authority();
    let backend = Backend::start(Script::Echo);
    let server = wrapping(&authority, "api", backend.address(), "");
    let config = "[listeners.web]\nbind = [\"@web@\"]\npool = \"api\"\n\
                  [pools.api]\nbackends = [\"@one@\"]\nhealth = false\n";
    for tls in ["tls = true", "tls = { server_name = \"api.internal\" }"] {
        let plimsoll = Plimsoll::config(&format!("{config}{tls}\n"))
            .address("one", server.address())
            .environment("SSL_CERT_FILE", &authority.named("ca.pem"))
            .start();
        let reply = plimsoll.get("web", "/");
        if tls == "tls = true" {
            reply.assert_reason(502, "tls_failed");
            assert!(plimsoll.stderr().contains("wrong_name"), "{}", plimsoll.stderr());
        } else {
            assert_eq!(reply.status, 200, "{}", plimsoll.stderr());
        }
    }
}

#[test]
fn a_certificate_that_is_nobodys_is_believed_where_it_is_named_or_danger_is_wanted() {
    let authority = authority();
    let line = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout self.key -out self.pem -days 30 \
                -subj /CN=self -addext subjectAltName=DNS:api.internal -addext basicConstraints=critical,CA:TRUE";
    authority.openssl(&line.split_whitespace().collect::<Vec<_>>());
    let backend = Backend::start(Script::Echo);
    let server = wrapping(&authority, "self", backend.address(), "");
    let own = authority.named("self.pem");
    let by_itself = |name: &str| format!("tls = {{ ca = \"{own}\", server_name = \"{name}\" }}");
    let plimsoll = logging(&by_itself("api.internal")).before(server.address());
    assert_eq!(plimsoll.get("web", "/").status, 200, "{}", plimsoll.stderr());
    // For its own name alone.
    let plimsoll = logging(&by_itself("www.internal")).before(server.address());
    assert_no_tls(&plimsoll, &plimsoll.get("web", "/"), "wrong_name");
    let plimsoll = logging(&trusting(&authority, "")).before(server.address());
    let reply = plimsoll.get("web", "/");
    reply.assert_reason(502, "tls_failed");
    let plimsoll = logging("tls = { danger_accept_invalid_certs = true }").before(server.address());
    assert_eq!(plimsoll.get("web", "/").status, 200, "{}", plimsoll.stderr());
    assert!(plimsoll.stderr().contains("DANGER"), "{}", plimsoll.stderr());
    let pool = plimsoll.admin("/api/v1/pools/api").json();
    assert_eq!(pool["tls"]["danger_accept_invalid_certs"], true, "{pool}");
}

#[test]
fn a_backends_own_certificate_vouches_for_nobody_else() {
    let authority = authority();
    authority.issue("leaf", &["leaf.internal"]);
    for line in [
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout fake.key -out fake.csr -subj /CN=fake \
         -addext subjectAltName=DNS:api.internal",
        "x509 -req -in fake.csr -CA leaf.pem -CAkey leaf.key -CAcreateserial -days 30 -copy_extensions copy -out fake.pem",
    ] {
        authority.openssl(&line.split_whitespace().collect::<Vec<_>>());
    }
    let backend = Backend::start(Script::Echo);
    let server = wrapping(&authority, "fake", backend.address(), "");
    let leaf = authority.named("leaf.pem");
    let plimsoll = logging(&format!("tls = {{ ca = \"{leaf}\", server_name = \"api.internal\" }}"));
    let plimsoll = plimsoll.before(server.address());
    assert_no_tls(&plimsoll, &plimsoll.get("web", "/"), "unknown_ca");
}

#[test]
fn a_backend_that_speaks_something_else_or_nothing_is_told_apart() {
    let authority = authority();
    let plain = Backend::start(Script::Echo);
    let plimsoll = logging(&trusting(&authority, "")).before(plain.address());
    let reply = plimsoll.get("web", "/");
    reply.assert_reason(502, "tls_failed");
    let cause = last_line(&plimsoll, 1)["attempts"][0]["cause"].clone();
    assert!(cause == "malformed" || cause == "closed", "{cause}");
    let silent = Backend::tcp(|mut stream| std::io::copy(&mut stream, &mut std::io::sink()).map(drop));
    let limits = "timeouts = { connect = \"400ms\" }";
    let plimsoll = logging(&format!("{limits}\n{}", trusting(&authority, ""))).before(silent.address());
    plimsoll.get("web", "/").assert_reason(504, "connect_timeout");
    for protocol in ["h2", "auto"] {
        let pool = format!("protocol = \"{protocol}\"\n{limits}\n{}", trusting(&authority, ""));
        let plimsoll = logging(&pool).before(silent.address());
        plimsoll.get("web", "/").assert_reason(504, "connect_timeout");
    }
    let old = wrapping(
        &authority,
        "api",
        plain.address(),
        "ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.2",
    );
    let plimsoll = logging(&trusting(&authority, ", min_version = \"1.3\"")).before(old.address());
    assert_no_tls(&plimsoll, &plimsoll.get("web", "/"), "no_shared_version");
}

#[test]
fn any_request_is_tried_elsewhere_when_there_is_no_tls() {
    let (authority, other) = (authority(), Authority::new("Somebody else"));
    other.issue("api", &["api.internal"]);
    let backend = Backend::start(Script::Echo);
    let bad = wrapping(&other, "api", backend.address(), "alpn h2,http/1.1");
    let good = wrapping(&authority, "api", backend.address(), "alpn h2,http/1.1");
    for protocol in ["h1", "h2", "auto"] {
        let config = format!(
            "[log]\naccess = \"./access.log\"\n[listeners.web]\nbind = [\"@web@\"]\npool = \"api\"\n\
             [pools.api]\npolicy = \"round-robin\"\nprotocol = \"{protocol}\"\n\
             backends = [{{ name = \"bad\", address = \"@bad@\" }}, {{ name = \"good\", address = \"@good@\" }}]\n\
             health = false\noutlier = {{ consecutive_errors = 2 }}\n{}\n",
            trusting(&authority, "")
        );
        let plimsoll = Plimsoll::config(&config)
            .address("bad", bad.address())
            .address("good", good.address())
            .start();
        let post = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        eventually("it is ejected for it, like one that refuses connections", || {
            let reply = plimsoll.exchange("web", post);
            assert_eq!(reply.status, 200, "{protocol}: {}", plimsoll.stderr());
            assert_eq!(reply.json()["body"], "hi");
            let pool = plimsoll.admin("/api/v1/pools/api").json();
            (pool["backends"][0]["state"] == "ejected").then_some(())
        });
        let log = plimsoll.scratch().read("access.log");
        assert!(log.contains("\"cause\":\"unknown_ca\""), "{log}");
    }
}

#[test]
fn an_answer_without_its_end_is_no_whole_answer() {
    let authority = authority();
    // OpenSSL's close_notify comes with unwrap() alone.
    const SERVER: &str = r#"
import socket, ssl, sys
host, port = sys.argv[1].split(":")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("api.pem", "api.key")
listener = socket.create_server((host, int(port)))
while True:
    plain, _ = listener.accept()
    try:
        secure = context.wrap_socket(plain, server_side=True)
        path = secure.recv(65536).split(b" ")[1]
        secure.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        if path == b"/whole":
            plain = secure.unwrap()
        secure.close()
        plain.close()
    except (OSError, IndexError):
        pass
"#;
    let server = Foreign::start(|port, directory| {
        for name in ["api.pem", "api.key"] {
            std::fs::copy(authority.file(name), directory.join(name)).expect("it can be copied");
        }
        let mut command = std::process::Command::new("python3");
        command.args(["-u", "-c", SERVER, &format!("127.0.0.1:{port}")]);
        command
    });
    let plimsoll = logging(&trusting(&authority, "")).before(server.address());
    let whole = plimsoll.get("web", "/whole");
    assert_eq!(
        (whole.status, whole.text()),
        (200, "half".into()),
        "{}",
        plimsoll.stderr()
    );
    let mut wire = plimsoll.connect("web");
    wire.send("GET /half HTTP/1.1\r\nhost: a\r\n\r\n");
    let cut = wire.try_reply_to("GET").expect_err("the answer is cut");
    println!("{cut}");
    assert_eq!(last_line(&plimsoll, 2)["reason"], "backend_reset");
}

#[test]
fn a_handshake_is_taken_up_again_and_a_hung_up_connection_is_not() {
    let authority = authority();
    for version in ["TLSv1.2", "TLSv1.3"] {
        let server = Foreign::nginx_of(&[], |port, directory| {
            for name in ["api.pem", "api.key"] {
                std::fs::copy(authority.file(name), directory.join(name)).expect("it can be copied");
            }
            let root = directory.display();
            format!(
                "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {root}/api.pem; ssl_certificate_key {root}/api.key;\n\
                 ssl_protocols {version}; keepalive_timeout 0; return 200 \"$ssl_protocol $ssl_session_reused\"; }}"
            )
        });
        let plimsoll = logging(&trusting(&authority, "")).before(server.address());
        assert_eq!(
            plimsoll.get("web", "/").text(),
            format!("{version} ."),
            "{}",
            plimsoll.stderr()
        );
        // Tickets of TLS 1.3 come behind the handshake, so that the next connection may not have one yet.
        eventually("a handshake is taken up", || {
            (plimsoll.get("web", "/").text() == format!("{version} r")).then_some(())
        });
    }
}
