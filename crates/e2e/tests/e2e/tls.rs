//! TLS that ends at listeners: clients that we did not write, in each version and protocol.

use std::process::Command;
use std::time::Duration;

use e2e::{Authority, Backend, Output, PATIENCE, Plimsoll, Script, eventually, tools};

use crate::front::{Front, front, wait_for_failures};

/// A listener with one certificate for shop.test, and an authority that clients may trust.
pub(crate) fn secured(authority: &Authority, more: &str) -> Front {
    let pair = authority.pair("shop");
    front()
        .log("access = \"access.log\"")
        .listener(&format!("tls = {{ certificates = [{pair}]{more} }}"))
}

pub(crate) fn shop() -> Authority {
    let authority = Authority::new("Test Root");
    authority.issue("shop", &["shop.test", "*.shop.test"]);
    authority
}

/// curl, which trusts the authority, and asks us for any host of the URL.
#[track_caller]
pub(crate) fn curl(authority: &Authority, plimsoll: &Plimsoll, host: &str, path: &str, more: &[&str]) -> Output {
    let address = plimsoll.address("web");
    let (port, ca) = (address.port(), authority.named("ca.pem"));
    let to = format!("{host}:{port}:127.0.0.1");
    let url = format!("https://{host}:{port}{path}");
    tools::curl(&[&["--cacert", &ca, "--resolve", &to], more, &[&url]].concat())
}

/// `openssl s_client`, which says nothing and leaves once it has read what comes.
#[track_caller]
pub(crate) fn s_client(authority: &Authority, plimsoll: &Plimsoll, more: &[&str]) -> Output {
    s_client_says(authority, plimsoll, "", more)
}

/// The same, which says this first.
#[track_caller]
pub(crate) fn s_client_says(authority: &Authority, plimsoll: &Plimsoll, says: &str, more: &[&str]) -> Output {
    let address = plimsoll.address("web").to_string();
    let mut command = Command::new("sh");
    // It reads its input to the end and then waits for the answer's end, for as long as it may.
    let script = "printf \"$0\" | timeout 20 openssl s_client \"$@\" 2>&1";
    command.args(["-c", script, says, "-connect", &address, "-CAfile", "ca.pem"]);
    command.args(more).current_dir(authority.path());
    tools::run(&mut command, PATIENCE * 2)
}

/// The last line of the access log with `what` in it.
#[track_caller]
pub(crate) fn logged(plimsoll: &Plimsoll, what: &str) -> serde_json::Value {
    eventually(&format!("a line with {what}"), || {
        let log = plimsoll.scratch().read("access.log");
        let line = log.lines().rev().find(|line| line.contains(what))?;
        serde_json::from_str(line).ok()
    })
}

#[test]
fn curl_is_served_in_each_version_and_protocol() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let plimsoll = secured(&authority, "").before(backend.address());
    for (at, (options, tls, http)) in [
        (&["--http1.1", "--tls-max", "1.2"][..], "1.2", "1.1"),
        (&["--http2", "--tls-max", "1.2"], "1.2", "2"),
        (&["--http1.1", "--tlsv1.3"], "1.3", "1.1"),
        (&["--http2", "--tlsv1.3"], "1.3", "2"),
        (&["--no-alpn", "--http1.1"], "1.3", "1.1"),
    ]
    .into_iter()
    .enumerate()
    {
        let more = [options, &["--fail", "--write-out", "\n%{http_version}"]].concat();
        let output = curl(&authority, &plimsoll, "shop.test", "/a?b", &more);
        assert_eq!(output.code, Some(0), "{options:?}: {output:?}");
        let (echo, version) = output.stdout.rsplit_once('\n').expect("two parts");
        assert_eq!(version, http, "{options:?}");
        assert!(echo.contains("[\"x-forwarded-proto\",\"https\"]"), "{echo}");
        let line = eventually("it is logged", || {
            let log = plimsoll.scratch().read("access.log");
            serde_json::from_str::<serde_json::Value>(log.lines().nth(at)?).ok()
        });
        assert_eq!(
            (&line["tls"]["version"], &line["tls"]["sni"]),
            (&tls.into(), &"shop.test".into())
        );
        assert!(line["tls_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
    }
    let metrics = plimsoll.metrics();
    let handshakes = |version| {
        metrics.sum(
            "plimsoll_tls_handshakes_total",
            &[("version", version), ("listener", "web")],
        )
    };
    assert_eq!((handshakes("1.2"), handshakes("1.3")), (2.0, 3.0));
}

#[test]
fn only_the_first_request_of_a_connection_has_waited_for_the_handshake() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let plimsoll = secured(&authority, "").before(backend.address());
    let port = plimsoll.address("web").port();
    let second = format!("https://shop.test:{port}/2");
    let output = curl(
        &authority,
        &plimsoll,
        "shop.test",
        "/1",
        &[
            "--write-out",
            "%{num_connects} ",
            "-o",
            "/dev/null",
            "-o",
            "/dev/null",
            &second,
        ],
    );
    assert_eq!(output.stdout, "1 0 ", "{output:?}");
    let lines = eventually("two lines", || {
        let log = plimsoll.scratch().read("access.log");
        let lines: Vec<serde_json::Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (lines.len() == 2).then_some(lines)
    });
    assert!(
        lines[0]["tls_ms"].is_f64() && lines[1]["tls_ms"].is_null(),
        "{lines:#?}"
    );
}

#[test]
fn megabytes_come_whole_both_ways() {
    let authority = shop();
    let backend = Backend::start(Script::custom(|exchange| {
        let body = exchange.request.body.clone();
        exchange.reply(200, &[], &body).map(|()| true)
    }));
    let plimsoll = secured(&authority, "").before(backend.address());
    let bytes: Vec<u8> = (0..9_000_000_u32).map(|at| (at * 7 + at / 4_099) as u8).collect();
    std::fs::write(authority.file("body"), &bytes).expect("it can be written");
    let (from, to) = (format!("@{}", authority.named("body")), authority.named("back"));
    for options in [&["--http1.1"][..], &["--http2"], &["--http1.1", "--tls-max", "1.2"]] {
        let more = [options, &["--fail", "--data-binary", &from, "-H", "expect:", "-o", &to]].concat();
        let output = curl(&authority, &plimsoll, "shop.test", "/", &more);
        assert_eq!(output.code, Some(0), "{options:?}: {output:?}");
        assert!(std::fs::read(&to).expect("it was written") == bytes, "{options:?}");
    }
}

#[test]
fn what_both_sides_speak_is_chosen_and_nothing_else_is_spoken() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let plimsoll = secured(&authority, ", min_version = \"1.3\"").before(backend.address());
    let chosen = |more: &[&str]| s_client(&authority, &plimsoll, more).stdout;
    assert!(chosen(&["-alpn", "h2,http/1.1"]).contains("ALPN protocol: h2"));
    assert!(chosen(&["-alpn", "http/1.1,spdy/3"]).contains("ALPN protocol: http/1.1"));
    assert!(chosen(&[]).contains("No ALPN negotiated"));
    // RFC 7301 §3.2: a fatal alert, number 120.
    let none = chosen(&["-alpn", "spdy/3"]);
    assert!(
        none.contains("alert no application protocol") || none.contains("alert number 120"),
        "{none}"
    );
    let old = chosen(&["-tls1_2"]);
    assert!(old.contains("alert protocol version"), "{old}");
    wait_for_failures(&plimsoll, "client_tls_failed", 2);
    let metrics = plimsoll.metrics();
    for cause in ["no_shared_protocol", "no_shared_version"] {
        let labels = [("listener", "web"), ("cause", cause)];
        assert_eq!(
            metrics.sum("plimsoll_tls_handshakes_failed_total", &labels),
            1.0,
            "{cause}"
        );
    }
    let line = logged(&plimsoll, "no_shared_version");
    assert_eq!(
        (&line["reason"], &line["tls"]["cause"]),
        (&"client_tls_failed".into(), &"no_shared_version".into())
    );
}

#[test]
fn suites_are_those_that_are_named() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let suites = ", suites = [\"TLS_AES_256_GCM_SHA384\", \"ECDHE-ECDSA-AES256-GCM-SHA384\"]";
    let plimsoll = secured(&authority, suites).before(backend.address());
    assert!(
        s_client(&authority, &plimsoll, &[])
            .stdout
            .contains("Cipher is TLS_AES_256_GCM_SHA384")
    );
    let old = s_client(&authority, &plimsoll, &["-tls1_2"]).stdout;
    assert!(old.contains("Cipher is ECDHE-ECDSA-AES256-GCM-SHA384"), "{old}");
    let none = s_client(
        &authority,
        &plimsoll,
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
    )
    .stdout;
    assert!(none.contains("alert handshake failure"), "{none}");
}

#[test]
fn a_session_is_taken_up_on_any_worker_and_for_its_own_name_alone() {
    let authority = shop();
    authority.issue("other", &["other.test"]);
    let backend = Backend::start(Script::Echo);
    let pairs = format!("{}, {}", authority.pair("shop"), authority.pair("other"));
    let plimsoll = front()
        .server("workers = 3")
        .listener(&format!("tls = {{ certificates = [{pairs}] }}"))
        .before(backend.address());
    let ask = "GET / HTTP/1.1\\r\\nhost: shop.test\\r\\nconnection: close\\r\\n\\r\\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let asked = |more: &[&str]| {
            let more = [&[version, "-ign_eof"], more].concat();
            let output = s_client_says(&authority, &plimsoll, ask, &more);
            assert!(output.stdout.contains("HTTP/1.1 "), "{output:?}");
            output.stdout
        };
        let first = asked(&["-servername", "shop.test", "-sess_out", "session"]);
        assert!(first.contains("New, TLSv1"), "{first}");
        for _ in 0..6 {
            let again = asked(&["-servername", "shop.test", "-sess_in", "session"]);
            assert!(again.contains("Reused, TLSv1"), "{version}: {again}");
        }
        let other = asked(&["-servername", "other.test", "-sess_in", "session"]);
        assert!(
            other.contains("New, TLSv1") && other.contains("HTTP/1.1 421"),
            "{version}: {other}"
        );
    }
    let metrics = plimsoll.metrics();
    assert_eq!(
        metrics.sum("plimsoll_tls_handshakes_total", &[("resumed", "true")]),
        12.0
    );
}

#[test]
fn a_host_with_other_certificates_is_not_served_on_this_connection() {
    let authority = shop();
    authority.issue("other", &["other.test"]);
    let backend = Backend::start(Script::Echo);
    let pairs = format!("{}, {}", authority.pair("shop"), authority.pair("other"));
    let plimsoll = front()
        .listener(&format!("tls = {{ certificates = [{pairs}] }}"))
        .before(backend.address());
    for protocol in ["--http1.1", "--http2"] {
        for (host, status) in [
            ("other.test", "421"),
            ("www.shop.test", "200"),
            ("SHOP.test:99", "200"),
            // Nobody's name gets the default, as the connection's did.
            ("nobody.example", "200"),
        ] {
            let field = format!("host: {host}");
            let more = [protocol, "-H", &field, "-o", "/dev/null", "-w", "%{http_code}"];
            let output = curl(&authority, &plimsoll, "shop.test", "/", &more);
            assert_eq!(output.stdout, status, "{protocol} {host}: {output:?}");
        }
    }
    // A client that names nobody in its handshake may ask for anybody.
    let to = format!("https://{}/", plimsoll.address("web"));
    let output = tools::curl(&[
        "--insecure",
        "-H",
        "host: other.test",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        &to,
    ]);
    assert_eq!(output.stdout, "200", "{output:?}");
    wait_for_failures(&plimsoll, "misdirected", 2);
}

const PYTHON: &str = r#"
import http.client, ssl, sys, json
port, ca = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=ca)
context.check_hostname = False
connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
for number in range(30):
    body = b"x" * (number * 3000)
    connection.request("POST", f"/{number}", body)
    answer = connection.getresponse()
    echo = json.loads(answer.read())
    assert answer.status == 200 and echo["target"] == f"/{number}" and len(echo["body"]) == len(body), echo
# Several requests in one record, and one request in many.
plain = connection.sock
plain.sendall(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n" * 3)
reader = plain.makefile("rb")
for _ in range(3):
    assert reader.readline().startswith(b"HTTP/1.1 200")
    fields = http.client.parse_headers(reader)
    length = int(fields["content-length"])
    assert len(reader.read(length)) == length
for byte in b"GET /b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n":
    plain.sendall(bytes([byte]))
rest = reader.read()
assert rest.startswith(b"HTTP/1.1 200"), rest
# The end was announced: reading it raised nothing, and neither does taking leave.
plain.unwrap()
print("fine")
"#;

#[test]
fn pythons_client_keeps_its_connection_pipelines_and_takes_leave() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let plimsoll = secured(&authority, "").before(backend.address());
    let port = plimsoll.address("web").port().to_string();
    let output = tools::python(PYTHON, &[&port, &authority.named("ca.pem")], Duration::from_secs(30));
    assert_eq!(output.stdout, "fine\n", "{output:?}");
    backend.assert_no_violations();
}

#[test]
fn an_answer_that_breaks_off_is_not_announced_to_have_ended() {
    let authority = shop();
    // To a client of HTTP/1.0 it goes without a length, so that its end is the connection's.
    let chunk = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n";
    let whole = std::sync::atomic::AtomicBool::new(true);
    let backend = Backend::start(Script::custom(move |exchange| {
        exchange.send(chunk)?;
        if whole.swap(false, std::sync::atomic::Ordering::Relaxed) {
            exchange.send(b"0\r\n\r\n")?;
        }
        Ok(false)
    }));
    let plimsoll = secured(&authority, "").before(backend.address());
    let output = curl(&authority, &plimsoll, "shop.test", "/", &["--http1.0"]);
    assert_eq!((output.code, &*output.stdout), (Some(0), "part"), "{output:?}");
    let output = curl(&authority, &plimsoll, "shop.test", "/", &["--http1.0"]);
    assert_ne!(output.code, Some(0), "{output:?}");
}

#[test]
fn plain_http_is_told_what_is_spoken_here() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let plimsoll = secured(&authority, "").before(backend.address());
    let reply = plimsoll.get("web", "/");
    reply.assert_reason(400, "bad_request");
    assert!(reply.text().contains("this port speaks TLS"), "{reply:?}");
    let labels = [("cause", "plain_http")];
    assert_eq!(
        plimsoll.metrics().sum("plimsoll_tls_handshakes_failed_total", &labels),
        1.0
    );
}

#[test]
fn a_drain_takes_leave_of_idle_clients() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let mut plimsoll = secured(&authority, "")
        .server("drain_timeout = \"2s\"")
        .before(backend.address());
    const IDLE: &str = r#"
import ssl, socket, sys, http.client
port, ca = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=ca)
context.check_hostname = False
context.suppress_ragged_eofs = False
raw = socket.create_connection(("127.0.0.1", port), 20)
plain = context.wrap_socket(raw, suppress_ragged_eofs=False)
plain.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
assert plain.recv(65536).startswith(b"HTTP/1.1 200")
print("ready", flush=True)
while plain.recv(65536):
    pass
print("leave taken")
"#;
    let port = plimsoll.address("web").port().to_string();
    let ca = authority.named("ca.pem");
    let client = std::thread::spawn(move || tools::python(IDLE, &[&port, &ca], Duration::from_secs(30)));
    eventually("it was served", || (backend.seen().len() == 1).then_some(()));
    let status = plimsoll.terminate(PATIENCE);
    assert!(status.success(), "{status}");
    let output = client.join().expect("no panic");
    assert_eq!(output.stdout, "ready\nleave taken\n", "{output:?}");
}

#[test]
fn bytes_of_a_tcp_listener_are_relayed_within_tls() {
    let authority = shop();
    let echo = Backend::start(Script::Echo);
    let pair = authority.pair("shop");
    let plimsoll = Plimsoll::config(&format!(
        "[log]\naccess = \"access.log\"\n[listeners.web]\nbind = \"@web@\"\nprotocol = \"tcp\"\npool = \"p\"\n\
         tls = {{ certificates = [{pair}], alpn = [\"http/1.1\"] }}\n\
         [pools.p]\nbackends = [\"@echo@\"]\nhealth = false\n"
    ))
    .address("echo", echo.address())
    .start();
    for version in ["1.2", "1.3"] {
        let output = curl(
            &authority,
            &plimsoll,
            "shop.test",
            "/through",
            &["--fail", "--tls-max", version],
        );
        assert!(
            output.code == Some(0) && output.stdout.contains("\"/through\""),
            "{output:?}"
        );
        let line = logged(&plimsoll, &format!("\"version\":\"{version}\""));
        assert_eq!(
            (&line["protocol"], &line["tls"]["sni"]),
            (&"TCP".into(), &"shop.test".into()),
            "{line}"
        );
    }
}

#[test]
fn plain_requests_are_sent_to_https_and_browsers_told_to_stay_there() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let pair = authority.pair("shop");
    let plimsoll = front()
        .listener(&format!("hsts = \"1y\"\ntls = {{ certificates = [{pair}] }}"))
        .tables("[listeners.plain]\nbind = \"@plain@\"\nredirect_to_https = true\nhealth_path = \"/ready\"\n")
        .before(backend.address());
    let reply = plimsoll.exchange(
        "plain",
        "POST /a?b=c HTTP/1.1\r\nhost: shop.test:8080\r\ncontent-length: 0\r\n\r\n",
    );
    assert_eq!(
        (reply.status, reply.header("location")),
        (308, Some("https://shop.test/a?b=c"))
    );
    assert_eq!(reply.header("strict-transport-security"), None);
    assert_eq!(plimsoll.get("plain", "/ready").status, 200);
    let output = curl(&authority, &plimsoll, "shop.test", "/", &["--include", "--http1.1"]);
    assert!(
        output.stdout.contains("strict-transport-security: max-age=31536000"),
        "{output:?}"
    );
}

#[test]
fn http_2_within_tls_is_chosen_by_alpn_alone() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let ask = "PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\\000\\000\\000\\004\\000\\000\\000\\000\\000";
    for (more, offer) in [(", alpn = [\"http/1.1\"]", &["-alpn", "http/1.1"][..]), ("", &[])] {
        let plimsoll = secured(&authority, more).before(backend.address());
        let options = [&["-servername", "shop.test", "-ign_eof", "-quiet"][..], offer].concat();
        let output = s_client_says(&authority, &plimsoll, ask, &options).stdout;
        assert!(output.contains("HTTP/1.1 400"), "{more}: {output}");
        wait_for_failures(&plimsoll, "bad_request", 1);
    }
    assert_eq!(backend.requests(), 0);
}

#[test]
fn what_names_no_host_is_not_sent_to_itself() {
    let backend = Backend::start(Script::Echo);
    let plimsoll = front().listener("redirect_to_https = true").before(backend.address());
    for head in [
        "GET /x HTTP/1.0\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n",
    ] {
        let mut wire = plimsoll.connect("web");
        wire.send(head);
        let reply = wire.reply();
        reply.assert_reason(400, "bad_request");
        assert_eq!(reply.header("location"), None, "{head}");
    }
    for (head, to) in [
        ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", "https://a"),
        ("GET /x?y=1 HTTP/1.0\r\nhost: a:80\r\n\r\n", "https://a/x?y=1"),
        ("GET http://b HTTP/1.1\r\nhost: b\r\n\r\n", "https://b/"),
    ] {
        let mut wire = plimsoll.connect("web");
        wire.send(head);
        let reply = wire.reply();
        assert_eq!((reply.status, reply.header("location")), (308, Some(to)), "{head}");
    }
}
