//! TLS with backends beyond requests: checks, our own certificate, files that change, and layer 4.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use e2e::{
    Authority, Backend, Foreign, Output, Plimsoll, Scratch, Script, When, eventually, haproxy_command, run_command,
};

use crate::tls_stage::{authority, both, last_line, logging, trusting, wrapping};

/// A process whose pool has the backend `it`, with these checks and settings.
fn checking(address: SocketAddr, health: &str, pool: &str) -> Plimsoll {
    let config = format!(
        "[listeners.web]\nbind = [\"@web@\"]\npool = \"api\"\n\
         [pools.api]\nbackends = [{{ name = \"it\", address = \"@it@\" }}]\n{pool}\n\
         health = {{ interval = \"300ms\", timeout = \"300ms\", fall = 1, rise = 1, {health} }}\n"
    );
    Plimsoll::config(&config).address("it", address).start()
}

/// Waits until `it` is unhealthy for a cause that holds `why`; a busy machine may miss a deadline first.
#[track_caller]
fn assert_fails(plimsoll: &Plimsoll, why: &str) {
    plimsoll.wait_for_state("api", "it", "unhealthy");
    eventually(&format!("{why} is the cause"), || {
        let pool = plimsoll.admin("/api/v1/pools/api").json();
        pool["backends"][0]["cause"].to_string().contains(why).then_some(())
    });
}

#[test]
fn checks_are_made_over_tls_with_what_connections_are_made_with() {
    let (authority, other) = (authority(), Authority::new("Somebody else"));
    other.issue("api", &["api.internal"]);
    let backend = Backend::start(Script::reply(200, "fine"));
    let server = wrapping(&authority, "api", backend.address(), "alpn h2,http/1.1");
    let stranger = wrapping(&other, "api", backend.address(), "alpn h2,http/1.1");
    let trusted = trusting(&authority, "");
    for (protocol, health) in [
        ("h1", "http = \"/\", expect_body = \"fine\""),
        ("h2", "http = \"/\", expect_body = \"fine\""),
        ("auto", "http = \"/\", expect_body = \"fine\""),
        ("h1", "tcp = true"),
        (
            "h1",
            "send = \"GET / HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n\", expect_bytes = \"fine\"",
        ),
    ] {
        let pool = format!("protocol = \"{protocol}\"\n{trusted}");
        checking(server.address(), health, &pool).wait_for_state("api", "it", "healthy");
        assert_fails(&checking(stranger.address(), health, &pool), "TLS failed");
    }
    // A port of its own is asked over TLS too, and another server may be asked without.
    let elsewhere = format!("http = \"/\", port = {}", server.address().port());
    checking(backend.address(), &elsewhere, &trusted).wait_for_state("api", "it", "healthy");
    assert_fails(&checking(backend.address(), "http = \"/\"", &trusted), "TLS failed");
    checking(backend.address(), "http = \"/\", tls = false", &trusted).wait_for_state("api", "it", "healthy");
    checking(stranger.address(), "tcp = true, tls = false", &trusted).wait_for_state("api", "it", "healthy");
}

#[test]
fn a_check_finds_out_that_a_certificate_has_become_another() {
    let (authority, other) = (authority(), Authority::new("Somebody else"));
    other.issue("api", &["api.internal"]);
    let backend = Backend::start(Script::reply(200, "fine"));
    let serve = |pair: &str, (port, directory): (u16, &Path)| {
        std::fs::write(directory.join("both.pem"), pair).expect("it can be written");
        let crt = directory.join("both.pem").display().to_string();
        let to = backend.address();
        haproxy_command(
            directory,
            &format!(
                "frontend all\n bind 127.0.0.1:{port} ssl crt {crt}\n default_backend there\nbackend there\n server one {to}\n"
            ),
        )
    };
    let mut server = Foreign::start(|port, directory| serve(&both(&authority, "api"), (port, directory)));
    let plimsoll = checking(server.address(), "http = \"/\"", &trusting(&authority, ""));
    plimsoll.wait_for_state("api", "it", "healthy");
    server.replace(|port, directory| serve(&both(&other, "api"), (port, directory)));
    assert_fails(&plimsoll, "TLS failed: invalid peer certificate: UnknownIssuer");
    server.replace(|port, directory| serve(&both(&authority, "api"), (port, directory)));
    plimsoll.wait_for_state("api", "it", "healthy");
}

/// A server that wants to see a certificate of the authority's, and says whose it got.
fn demanding(authority: &Authority, options: &str) -> Foreign {
    let (pair, ca) = (both(authority, "api"), authority.named("ca.pem"));
    Foreign::start(|port, directory| {
        std::fs::write(directory.join("both.pem"), pair).expect("it can be written");
        let crt = directory.join("both.pem").display().to_string();
        haproxy_command(
            directory,
            &format!(
                "frontend all\n bind 127.0.0.1:{port} ssl crt {crt} ca-file {ca} verify required {options}\n \
                 http-request return status 200 content-type text/plain lf-string \"%[ssl_c_s_dn(CN)]\"\n"
            ),
        )
    })
}

fn showing(from: &Authority, name: &str) -> String {
    let file = |ending: &str| from.named(&format!("{name}.{ending}"));
    format!(", cert = \"{}\", key = \"{}\"", file("pem"), file("key"))
}

#[test]
fn a_backend_that_asks_who_we_are_is_shown_our_certificate() {
    let (authority, other) = (authority(), Authority::new("Somebody else"));
    authority.issue("edge", &["edge.internal"]);
    other.issue("edge", &["edge.internal"]);
    for version in ["TLSv1.2", "TLSv1.3"] {
        for protocol in ["h1", "h2", "auto"] {
            let versions = format!("ssl-min-ver {version} ssl-max-ver {version} alpn h2,http/1.1");
            let server = demanding(&authority, &versions);
            let pool = |own: &str| format!("protocol = \"{protocol}\"\n{}", trusting(&authority, own));
            let plimsoll = logging(&pool(&showing(&authority, "edge"))).before(server.address());
            assert_eq!(
                plimsoll.get("web", "/").text(),
                "edge",
                "{version} {protocol}: {}",
                plimsoll.stderr()
            );
            for own in [String::new(), showing(&other, "edge")] {
                let plimsoll = logging(&pool(&own)).before(server.address());
                let reply = plimsoll.exchange("web", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
                assert_eq!(
                    reply.reason(),
                    Some("tls_failed"),
                    "{version} {protocol} {own}: {}",
                    plimsoll.stderr()
                );
                let cause = last_line(&plimsoll, 1)["attempts"][0]["cause"].clone();
                let cause = cause.as_str().unwrap_or_default();
                assert!(cause.starts_with("peer_"), "{version} {protocol}: {cause}");
            }
            let health = |own: &str| checking(server.address(), "http = \"/\"", &pool(own));
            health(&showing(&authority, "edge")).wait_for_state("api", "it", "healthy");
            health("").wait_for_state("api", "it", "unhealthy");
        }
    }
}

/// As `mv` does it.
fn replace(directory: &Path, name: &str, text: &str) {
    let new = directory.join(format!("{name}.new"));
    std::fs::write(&new, text).expect("it can be written");
    std::fs::rename(&new, directory.join(name)).expect("it can be renamed");
}

#[test]
fn files_that_change_are_judged_and_used_without_a_reload() {
    let (authority, other) = (authority(), Authority::new("Somebody else"));
    for name in ["first", "second"] {
        authority.issue(name, &["edge.internal"]);
    }
    other.issue("api", &["api.internal"]);
    let server = demanding(&authority, "alpn h2,http/1.1");
    for protocol in ["h1", "h2"] {
        let pool = format!(
            "protocol = \"{protocol}\"\n\
             tls = {{ ca = \"ca.pem\", server_name = \"api.internal\", cert = \"me.pem\", key = \"me.key\" }}"
        );
        let config = format!(
            "[listeners.web]\nbind = [\"@web@\"]\npool = \"api\"\n\
             [pools.api]\nbackends = [\"@one@\"]\nhealth = false\n{pool}\n"
        );
        let plimsoll = Plimsoll::config(&config)
            .address("one", server.address())
            .file("ca.pem", authority.read("ca.pem"))
            .file("me.pem", authority.read("first.pem"))
            .file("me.key", authority.read("first.key"))
            .start();
        let directory = plimsoll.scratch().path();
        let mut wire = plimsoll.connect("web");
        assert_eq!(wire.get("/").text(), "first");
        replace(directory, "me.pem", &authority.read("second.pem"));
        let error = || plimsoll.admin("/api/v1/pools/api").json()["tls"]["error"].clone();
        eventually("it is seen that they do not go together", || {
            error()
                .as_str()
                .is_some_and(|error| error.contains("me.key: is not the key"))
                .then_some(())
        });
        assert_eq!(wire.get("/").text(), "first", "what there was stays");
        replace(directory, "me.key", &authority.read("second.key"));
        // The connection that was kept was made by the old one.
        eventually("the new pair is shown", || {
            (wire.get("/").text() == "second").then_some(())
        });
        assert!(error().is_null());
        replace(directory, "ca.pem", "no certificate");
        let files = || plimsoll.admin("/api/v1/status").json()["files"].to_string();
        eventually("it is told", || files().contains("holds no certificate").then_some(()));
        assert_eq!(wire.get("/").text(), "second");
        replace(directory, "ca.pem", &other.read("ca.pem"));
        eventually("nobody is believed who was before", || {
            let reply = wire.get("/");
            (reply.reason() == Some("tls_failed")).then_some(())
        });
        replace(directory, "ca.pem", &(other.read("ca.pem") + &authority.read("ca.pem")));
        eventually("both are believed", || (wire.get("/").text() == "second").then_some(()));
    }
}

#[test]
fn a_layer_4_listener_speaks_tls_to_its_backends() {
    let (authority, other) = (authority(), Authority::new("Somebody else"));
    other.issue("api", &["api.internal"]);
    let echo = Backend::tcp_echo();
    let bytes = |who: &Authority| {
        let pair = both(who, "api");
        Foreign::start(|port, directory| {
            std::fs::write(directory.join("both.pem"), pair).expect("it can be written");
            let crt = directory.join("both.pem").display().to_string();
            let to = echo.address();
            haproxy_command(
                directory,
                &format!("listen all\n mode tcp\n bind 127.0.0.1:{port} ssl crt {crt}\n server one {to}\n"),
            )
        })
    };
    let (good, bad) = (bytes(&authority), bytes(&other));
    let config = |backends: &str| {
        format!(
            "[log]\naccess = \"./access.log\"\n[listeners.db]\nbind = [\"@db@\"]\nprotocol = \"tcp\"\npool = \"db\"\n\
             [pools.db]\npolicy = \"round-robin\"\nbackends = [{backends}]\nhealth = false\noutlier = false\n{}\n",
            trusting(&authority, "")
        )
    };
    let plimsoll = Plimsoll::config(&config("\"@bad@\", \"@good@\""))
        .address("bad", bad.address())
        .address("good", good.address())
        .start();
    for _ in 0..2 {
        let mut wire = plimsoll.connect("db");
        let sent = vec![7u8; 1 << 20];
        let mut writing = wire.socket().try_clone().expect("a second handle");
        let writer = std::thread::spawn(move || writing.write_all(&sent));
        let mut back = vec![0; 1 << 20];
        wire.socket().read_exact(&mut back).expect("all comes back");
        writer.join().expect("no panic").expect("written");
        assert!(back.iter().all(|byte| *byte == 7));
        // The end of one direction goes through, and the other one's comes back.
        wire.half_close();
        let (rest, end) = wire.read_to_end();
        assert!(rest.is_empty() && end.is_ok(), "{} {end:?}", rest.len());
    }
    eventually("it was tried elsewhere", || {
        plimsoll
            .scratch()
            .read("access.log")
            .contains("\"cause\":\"unknown_ca\"")
            .then_some(())
    });
    let plimsoll = Plimsoll::config(&config("\"@bad@\""))
        .address("bad", bad.address())
        .start();
    let mut wire = plimsoll.connect("db");
    let (bytes, _) = wire.read_to_end();
    assert!(bytes.is_empty());
    assert_eq!(last_line(&plimsoll, 1)["reason"], "tls_failed");
}

#[test]
fn check_judges_the_files() {
    let authority = authority();
    authority.issue("edge", &["edge.internal"]);
    let files = |cert: &str, key: &str| {
        let (cert, key) = (authority.named(cert), authority.named(key));
        trusting(&authority, &format!(", cert = \"{cert}\", key = \"{key}\""))
    };
    for (tls, says) in [
        ("tls = { ca = \"nothing.pem\" }".into(), "nothing.pem: cannot be opened"),
        (
            format!("tls = {{ ca = \"{}\" }}", authority.named("edge.key")),
            "holds no certificate in PEM",
        ),
        (files("edge.pem", "edge.pem"), "edge.pem: holds no private key in PEM"),
        (
            files("edge.pem", "api.key"),
            "api.key: is not the key of the certificate",
        ),
    ] {
        let told = check(&Scratch::new(), &tls);
        assert!(told.code == Some(1) && told.stderr.contains(says), "{tls}: {told:?}");
    }
    authority.issue_with("ec -pkeyopt ec_paramgen_curve:P-256", "old", &[], When::Past);
    for (tls, says) in [
        (files("old.pem", "old.key"), "the certificate ended 2020-12-31"),
        (
            "tls = { danger_accept_invalid_certs = true }".into(),
            "is believed: others may read",
        ),
    ] {
        let told = check(&Scratch::new(), &tls);
        assert!(told.code == Some(0) && told.stderr.contains(says), "{tls}: {told:?}");
    }
}

/// What `check` says of a pool with these settings.
fn check(scratch: &Scratch, tls: &str) -> Output {
    let config = format!(
        "[listeners.web]\nbind = \":8080\"\npool = \"api\"\n\
         [pools.api]\nbackends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\nprotocol = \"auto\"\nhealth = {{ http = \"/\" }}\n{tls}\n"
    );
    scratch.write("plimsoll.toml", config);
    run_command(scratch, &["check", "-c", "plimsoll.toml"])
}

#[test]
fn explain_tells_what_is_spoken_and_who_is_believed() {
    let (authority, scratch) = (authority(), Scratch::new());
    authority.issue("edge", &["edge.internal"]);
    let explain = |tls: &str| {
        let told = check(&scratch, tls);
        assert_eq!(told.code, Some(0), "{told:?}");
        run_command(&scratch, &["explain", "-c", "plimsoll.toml", "http://127.0.0.1:8080/"]).stdout
    };
    let told = explain(&trusting(&authority, &showing(&authority, "edge")));
    for says in [
        "HTTP/2 or HTTP/1.1 within TLS, as the backend chooses",
        "has to be for \"api.internal\", vouched for by ",
        "edge.pem",
    ] {
        assert!(told.contains(says), "{says}: {told}");
    }
    let told = explain("tls = { danger_accept_invalid_certs = true }");
    assert!(told.contains("whoever answers is believed (DANGER"), "{told}");
}
