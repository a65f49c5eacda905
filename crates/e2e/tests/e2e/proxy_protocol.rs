//! The PROXY protocol: clients named by proxies in front, and to backends, with HAProxy and nginx on either side.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use e2e::{Backend, Foreign, PATIENCE, Plimsoll, Reply, Script, eventually, tools};

use crate::certificates::Certificates;
use crate::client_hellos::{Hello, failures};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// A process with one worker, an access log and these tables.
fn with(tables: &str, addresses: &[(&str, SocketAddr)]) -> Plimsoll {
    let config = format!("[server]\nworkers = 1\n[log]\naccess = \"./access.log\"\n{tables}");
    let setup = Plimsoll::config(&config);
    let named = addresses.iter();
    named
        .fold(setup, |setup, (name, address)| setup.address(name, *address))
        .start()
}

/// A listener `web` with these lines before a backend that echoes what it is asked.
fn before_echo(lines: &str, echo: &Backend) -> Plimsoll {
    with(
        &format!(
            "[listeners.web]\nbind = [\"@web@\"]\npool = \"echo\"\n{lines}\n\
             [pools.echo]\nbackends = [\"@echo@\"]\nhealth = false\n"
        ),
        &[("echo", echo.address())],
    )
}

/// Whom the last request at `echo` was forwarded for.
fn forwarded_for(echo: &Backend) -> Option<String> {
    let seen = echo.seen().pop()?;
    seen.head.header("x-forwarded-for").map(str::to_owned)
}

#[track_caller]
fn introduced(plimsoll: &Plimsoll, header: impl AsRef<[u8]>) -> Reply {
    plimsoll.exchange("web", [header.as_ref(), GET.as_bytes()].concat())
}

/// Version 2 of a connection from 192.0.2.7, with this command.
fn binary(command: u8) -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x34, 0, 80];
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, 0x11, 0, 12], &addresses].concat()
}

#[test]
fn clients_of_haproxy_are_seen_through_it() {
    let echo = Backend::start(Script::Echo);
    let plimsoll = before_echo("proxy_protocol = true", &echo);
    let to = plimsoll.address("web");
    for send in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options unique-id,crc32c",
    ] {
        let haproxy = Foreign::haproxy_of(&[], |port, _| {
            format!(
                "listen all\n mode tcp\n bind 127.0.0.1:{port}\n unique-id-format %[uuid()]\n server one {to} {send}\n"
            )
        });
        let url = format!("http://{}/", haproxy.address());
        for client in ["127.0.0.3", "127.0.0.4"] {
            let answer = tools::curl(&["--fail", "--interface", client, &url]);
            assert_eq!(answer.code, Some(0), "{send}: {answer:?}");
            assert_eq!(forwarded_for(&echo).as_deref(), Some(client), "{send}");
        }
    }
}

#[test]
fn who_is_not_trusted_speaks_for_nobody_else() {
    let echo = Backend::start(Script::Echo);
    let line = "PROXY TCP4 192.0.2.7 198.51.100.1 4660 80\r\n";
    for (trusted, client) in [("127.0.0.0/8", "192.0.2.7"), ("10.0.0.0/8", "127.0.0.1")] {
        let plimsoll = before_echo(&format!("proxy_protocol = {{ trusted = [\"{trusted}\"] }}"), &echo);
        for header in [line.as_bytes(), &binary(0x21)] {
            assert_eq!(introduced(&plimsoll, header).status, 200);
            assert_eq!(forwarded_for(&echo).as_deref(), Some(client), "{trusted}");
        }
        // What speaks for nobody leaves the peer.
        for header in [b"PROXY UNKNOWN\r\n".to_vec(), binary(0x20)] {
            assert_eq!(introduced(&plimsoll, header).status, 200);
            assert_eq!(forwarded_for(&echo).as_deref(), Some("127.0.0.1"));
        }
        eventually("the client is logged", || {
            let log = plimsoll.scratch().read("access.log");
            log.contains(&format!("\"client\":\"{client}\"")).then_some(())
        });
    }
}

#[test]
fn a_connection_without_a_header_in_time_is_closed_without_a_word() {
    let echo = Backend::start(Script::Echo);
    let plimsoll = before_echo(
        "proxy_protocol = true\ntimeouts = { request_header = \"300ms\" }",
        &echo,
    );
    let mut counted = 0.0;
    for bytes in [
        GET,
        "PROXY TCP4 192.0.2.7 198.51.100.1 04660 80\r\n",
        "\r\n\r\n\0\r\nQUIT\n\x31",
    ] {
        let mut wire = plimsoll.connect("web");
        wire.send(bytes);
        wire.assert_closed_within(PATIENCE);
        counted += 1.0;
        eventually("it is counted", || {
            (failures(&plimsoll, "bad_request") == counted).then_some(())
        });
    }
    let mut slow = plimsoll.connect("web");
    slow.send("PROXY TCP4 192.0.2");
    slow.assert_closed_within(PATIENCE);
    eventually("it is counted", || {
        (failures(&plimsoll, "request_header_timeout") == 1.0).then_some(())
    });
    // Who only looks whether somebody listens has done nothing wrong.
    drop(plimsoll.connect("web"));
    eventually("all are logged", || {
        let log = plimsoll.scratch().read("access.log");
        (log.matches("\"protocol\":\"PROXY\"").count() == 5).then_some(())
    });
    assert_eq!(plimsoll.metrics().sum("plimsoll_failures_total", &[]), 4.0);
    assert_eq!(echo.requests(), 0);
}

#[test]
fn a_header_may_come_in_pieces_and_with_all_that_follows() {
    let echo = Backend::start(Script::Echo);
    let plimsoll = before_echo("proxy_protocol = true", &echo);
    for header in [b"PROXY TCP4 192.0.2.7 198.51.100.1 4660 80\r\n".to_vec(), binary(0x21)] {
        let mut wire = plimsoll.connect("web");
        wire.drip(&header, Duration::from_millis(1)).expect("it is taken");
        wire.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!((wire.reply().status, wire.reply().status), (200, 200));
        assert_eq!(forwarded_for(&echo).as_deref(), Some("192.0.2.7"));
    }
}

#[test]
fn the_limit_of_connections_is_that_of_the_client_who_is_named() {
    let echo = Backend::start(Script::Echo);
    let plimsoll = before_echo("proxy_protocol = true\nmax_connections_per_client = 1", &echo);
    let open = |client: &str| {
        let mut wire = plimsoll.connect("web");
        wire.send(format!(
            "PROXY TCP4 {client} 198.51.100.1 4660 80\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"
        ));
        wire
    };
    let (mut one, mut other) = (open("192.0.2.7"), open("192.0.2.8"));
    assert_eq!((one.reply().status, other.reply().status), (200, 200));
    open("192.0.2.7").assert_closed_within(PATIENCE);
    assert_eq!(failures(&plimsoll, "concurrency_limited"), 1.0);
    drop(one);
    eventually("there is room again", || {
        let mut again = open("192.0.2.7");
        again.try_reply_to("GET").ok().filter(|reply| reply.status == 200)
    });
}

#[test]
fn nginx_is_told_the_client_of_each_request() {
    let nginx = Foreign::nginx_of(&[], |port, _| {
        format!(
            "server {{ listen 127.0.0.1:{port} proxy_protocol;\n\
             location / {{ return 200 '$proxy_protocol_addr $proxy_protocol_server_port $connection_requests'; }} }}"
        )
    });
    for version in ["v1", "v2"] {
        // A check by HTTP, and one by TCP beside it, begin so as well, or nginx would not answer.
        let plimsoll = with(
            &format!(
                "[listeners.web]\nbind = [\"@web@\"]\npool = \"nginx\"\n\
                 [pools.nginx]\nbackends = [\"@nginx@\"]\nsend_proxy_protocol = \"{version}\"\n\
                 health = {{ http = \"/\", interval = \"200ms\" }}\npanic_threshold = 0\n"
            ),
            &[("nginx", nginx.address())],
        );
        plimsoll.wait_for_state("nginx", &nginx.address().to_string(), "healthy");
        let (to, url) = (plimsoll.address("web"), format!("http://{}/", plimsoll.address("web")));
        for client in ["127.0.0.3", "127.0.0.4", "127.0.0.3"] {
            // Two requests on one connection of the client's; each is alone on one to the backend.
            let answer = tools::curl(&["--fail", "--interface", client, &url, &url]);
            let expected = format!("{client} {} 1", to.port());
            assert_eq!(answer.stdout, expected.repeat(2), "{version}: {answer:?}");
        }
    }
}

#[test]
fn haproxy_is_told_the_client_the_name_and_the_id() {
    let certificates = Certificates::of(&["a.example"]);
    let haproxy = certificates.serve_haproxy_with(
        "a.example",
        "accept-proxy",
        "lf-string \"%[src] %[fc_pp_authority] %[fc_pp_unique_id]\"",
    );
    let plimsoll = with(
        "[listeners.tls]\nbind = [\"@tls@\"]\nprotocol = \"tls\"\npool = \"haproxy\"\n\
         [pools.haproxy]\nbackends = [\"@haproxy@\"]\nsend_proxy_protocol = \"v2\"\n\
         health = { interval = \"200ms\" }\npanic_threshold = 0\n",
        &[("haproxy", haproxy.address())],
    );
    plimsoll.wait_for_state("haproxy", &haproxy.address().to_string(), "healthy");
    let more = ["--fail", "--interface", "127.0.0.5"];
    let answer = certificates.curl("a.example", plimsoll.address("tls"), "/", &more);
    let told: Vec<&str> = answer.stdout.split(' ').collect();
    assert_eq!(told[..2], ["127.0.0.5", "a.example"], "{answer:?}");
    assert!(
        told[2].len() == 32 && told[2].bytes().all(|digit| digit.is_ascii_hexdigit()),
        "{answer:?}"
    );
    eventually("the id is in the log", || {
        let log = plimsoll.scratch().read("access.log");
        log.contains(&format!("\"request_id\":\"{}\"", told[2])).then_some(())
    });
}

#[test]
fn a_client_is_passed_on_through_layer_4() {
    let (told, heard) = mpsc::channel();
    let backend = Backend::tcp(move |mut stream| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        let _ = told.send(bytes);
        stream.write_all(b"bye")
    });
    let plimsoll = with(
        "[listeners.db]\nbind = [\"@db@\"]\nprotocol = \"tcp\"\npool = \"db\"\nproxy_protocol = true\n\
         [listeners.tls]\nbind = [\"@tls@\"]\nprotocol = \"tls\"\npool = \"db\"\nproxy_protocol = true\n\
         [pools.db]\nbackends = [\"@backend@\"]\nsend_proxy_protocol = \"v1\"\nhealth = false\n",
        &[("backend", backend.address())],
    );
    let hello = Hello::named("a.example").bytes();
    for (listener, sent) in [("db", b"whatever".as_slice()), ("tls", &hello)] {
        let mut wire = plimsoll.connect(listener);
        wire.send(binary(0x21));
        wire.send(sent);
        wire.half_close();
        let got = heard.recv_timeout(PATIENCE).expect("it arrives");
        let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 4660 80\r\n".as_slice();
        assert!(got == [line, sent].concat(), "{}", String::from_utf8_lossy(&got));
        assert_eq!(wire.read_to_end().0, b"bye");
    }
}
