//! Handshakes that nobody means well: in crumbs, half, endless, or none at all.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::{Authority, Backend, PATIENCE, Plimsoll, Script, eventually, tools};

use crate::front::memory_kib;
use crate::tls::{curl, s_client_says, secured, shop};

fn failed(plimsoll: &Plimsoll, cause: &str) -> f64 {
    plimsoll
        .metrics()
        .sum("plimsoll_tls_handshakes_failed_total", &[("cause", cause)])
}

#[track_caller]
fn still_serves(authority: &Authority, plimsoll: &Plimsoll) {
    let output = curl(authority, plimsoll, "shop.test", "/", &["--fail"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// A client whose records are cut into pieces of a size, sent a few bytes at a time.
const CRUMBS: &str = r#"
import socket, ssl, sys
port, ca, piece, write = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
context = ssl.create_default_context(cafile=ca)
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = context.wrap_bio(incoming, outgoing, server_hostname="shop.test")
raw = socket.create_connection(("127.0.0.1", port), 10)
raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
def cut(bytes):
    # Records of the handshake in the clear, each cut into several (RFC 8446 5.1).
    cut = b""
    while bytes:
        kind, version, length = bytes[:1], bytes[1:3], int.from_bytes(bytes[3:5], "big")
        body, bytes = bytes[5:5 + length], bytes[5 + length:]
        if kind != b"\x16":
            cut += kind + version + length.to_bytes(2, "big") + body
            continue
        for at in range(0, length, piece):
            part = body[at:at + piece]
            cut += kind + version + len(part).to_bytes(2, "big") + part
    return cut
def send():
    bytes = cut(outgoing.read())
    for at in range(0, len(bytes), write):
        raw.sendall(bytes[at:at + write])
while True:
    try:
        tls.do_handshake()
        break
    except ssl.SSLWantReadError:
        send()
        incoming.write(raw.recv(65536))
send()
tls.write(b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n")
send()
answer = b""
while True:
    try:
        more = tls.read()
        if not more:
            break
        answer += more
    except ssl.SSLWantReadError:
        incoming.write(raw.recv(65536))
    except ssl.SSLZeroReturnError:
        break
assert answer.startswith(b"HTTP/1.1 200"), answer
print("fine")
"#;

#[test]
fn a_client_hello_in_crumbs_is_put_together() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let plimsoll = secured(&authority, "").before(backend.address());
    let port = plimsoll.address("web").port().to_string();
    for (piece, write) in [("1", "1000000"), ("7", "1"), ("100", "13")] {
        let ca = authority.named("ca.pem");
        let output = tools::python(CRUMBS, &[&port, &ca, piece, write], Duration::from_secs(40));
        assert_eq!(output.stdout, "fine\n", "{piece} {write}: {output:?}");
    }
}

#[test]
fn what_is_no_handshake_is_ended_and_counted() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let plimsoll = secured(&authority, "").before(backend.address());
    let alert = [21, 3];
    for bytes in [
        // A record of a kind that there is not, a giant one, an empty one, an answer where a question should be.
        &b"\x7f\x03\x01\x00\x05hello"[..],
        b"\x16\x03\x01\xff\xff\x01\x00",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03",
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
        b"\x17\x03\x03\x00\x05hello",
        b"{\"jsonrpc\": 1}\n",
        &[0; 4096],
    ] {
        let before = failed(&plimsoll, "malformed");
        let mut wire = plimsoll.connect("web");
        wire.send(bytes);
        let (answer, _) = wire.read_to_end();
        assert!(answer.is_empty() || answer.starts_with(&alert), "{bytes:?}: {answer:?}");
        eventually("it is counted", || {
            (failed(&plimsoll, "malformed") > before).then_some(())
        });
    }
    still_serves(&authority, &plimsoll);
}

#[test]
fn who_knows_nothing_in_common_is_told_what_is_missing() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let plimsoll = secured(&authority, "").before(backend.address());
    for (options, cause, alert) in [
        (
            &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
            "no_shared_version",
            "alert protocol version",
        ),
        (
            &["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
            "no_shared_version",
            "alert protocol version",
        ),
        (
            &["-tls1_2", "-cipher", "AES128-SHA"],
            "no_shared_cipher",
            "alert handshake failure",
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"],
            "no_shared_cipher",
            "alert handshake failure",
        ),
        (
            &["-tls1_2", "-groups", "P-521"],
            "no_shared_group",
            "alert handshake failure",
        ),
        (
            &["-tls1_3", "-groups", "P-521"],
            "no_shared_group",
            "alert handshake failure",
        ),
        (
            &["-tls1_2", "-sigalgs", "RSA+SHA256"],
            "no_shared_cipher",
            "alert handshake failure",
        ),
        (
            &["-tls1_3", "-sigalgs", "RSA-PSS+SHA256"],
            "no_shared_signature",
            "alert handshake failure",
        ),
    ] {
        let before = failed(&plimsoll, cause);
        let output = s_client_says(
            &authority,
            &plimsoll,
            "",
            &[options, &["-servername", "shop.test"]].concat(),
        );
        assert!(output.stdout.contains(alert), "{options:?}: {output:?}");
        eventually(&format!("{options:?} counts as {cause}"), || {
            (failed(&plimsoll, cause) == before + 1.0).then_some(())
        });
    }
    still_serves(&authority, &plimsoll);
}

#[test]
fn whoever_does_not_finish_has_his_time_and_no_more() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let pair = authority.pair("shop");
    let plimsoll = crate::front::front()
        .listener(&format!(
            "tls = {{ certificates = [{pair}] }}\ntimeouts = {{ request_header = \"1s\" }}"
        ))
        .before(backend.address());
    let before = memory_kib(&plimsoll, "VmRSS");
    // The beginning of a ClientHello, nothing at all, and one that leaves in the middle.
    let half = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let mut begun: Vec<_> = (0..e2e::scaled("half handshakes", 400, 2))
        .map(|_| plimsoll.connect("web"))
        .collect();
    begun.iter_mut().for_each(|wire| wire.send(half));
    let mut silent: Vec<_> = (0..50).map(|_| plimsoll.connect("web")).collect();
    let mut left = plimsoll.connect("web");
    left.send(half);
    drop(left);
    still_serves(&authority, &plimsoll);
    let grown = memory_kib(&plimsoll, "VmRSS").saturating_sub(before);
    assert!(
        grown / begun.len() as u64 <= 64,
        "{grown} KiB for {} half handshakes",
        begun.len()
    );
    let count = begun.len() as f64;
    eventually("their time is up", || {
        (failed(&plimsoll, "timeout") == count).then_some(())
    });
    assert_eq!(failed(&plimsoll, "closed"), 1.0);
    for wire in begun.iter_mut().chain(&mut silent) {
        assert!(wire.read_to_end().0.is_empty());
    }
    // Whoever says nothing is not worth a line: checks of ports look like that.
    assert_eq!(
        plimsoll
            .metrics()
            .sum("plimsoll_failures_total", &[("reason", "client_tls_failed")]),
        count + 1.0
    );
    eventually("all are gone", || {
        (plimsoll.metrics().sum("plimsoll_connections", &[]) == 0.0).then_some(())
    });
}

/// `openssl s_client`, whose input is ours to give, and what it has said so far.
struct Talk<'a> {
    authority: &'a Authority,
    client: std::process::Child,
    input: std::process::ChildStdin,
}

impl<'a> Talk<'a> {
    fn begin(authority: &'a Authority, plimsoll: &Plimsoll, options: &[&str]) -> Self {
        let out = std::fs::File::create(authority.file("said")).expect("it can be made");
        let address = plimsoll.address("web").to_string();
        let mut client = Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                &address,
                "-CAfile",
                "ca.pem",
                "-servername",
                "shop.test",
            ])
            .args(options)
            .current_dir(authority.path())
            .stdin(Stdio::piped())
            .stderr(out.try_clone().expect("it can be cloned"))
            .stdout(out)
            .spawn()
            .expect("openssl can be started");
        let input = client.stdin.take().expect("it was piped");
        Talk {
            authority,
            client,
            input,
        }
    }

    /// Waits until it has said this so often. What it says of certificates and of keys is written at once, and the rest
    /// at its end.
    #[track_caller]
    fn said(&self, what: &str, times: usize) {
        let said = || self.authority.read("said").matches(what).count() >= times;
        eventually(what, || said().then_some(()));
    }

    fn say(&mut self, line: &str) {
        self.input.write_all(line.as_bytes()).expect("it reads");
    }
}

impl Drop for Talk<'_> {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

#[test]
fn nobody_renegotiates() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let plimsoll = secured(&authority, "").before(backend.address());
    let mut talk = Talk::begin(&authority, &plimsoll, &["-tls1_2"]);
    talk.said("verify return:1", 2);
    // A line with an R alone, read by itself, makes s_client begin another handshake; it waits for an answer, and gets
    // the one that there is for this (RFC 5246 §7.2.2).
    talk.say("R\n");
    talk.said("RENEGOTIATING", 1);
    talk.said("no renegotiation", 1);
    still_serves(&authority, &plimsoll);
}

#[test]
fn a_client_that_has_said_more_than_was_read_hears_why_it_is_refused() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let ca = authority.named("ca.pem");
    let plimsoll = secured(
        &authority,
        &format!(", client_ca = \"{ca}\", client_auth = \"require\""),
    )
    .before(backend.address());
    let stranger = Authority::new("Strangers");
    stranger.issue("mallory", &[]);
    // A request of many megabytes comes right behind the certificate that is refused.
    let port = plimsoll.address("web").port().to_string();
    let files = [ca, stranger.named("mallory.pem"), stranger.named("mallory.key")];
    let arguments = [&port, &files[0], &files[1], &files[2]].map(String::as_str);
    for _ in 0..5 {
        let output = tools::python(HASTY, &arguments, Duration::from_secs(40));
        assert_eq!(output.stdout, "TLSV1_ALERT_UNKNOWN_CA\n", "{output:?}");
    }
    eventually("it is counted", || {
        (failed(&plimsoll, "unknown_ca") == 5.0).then_some(())
    });
    eventually("all are gone", || {
        (plimsoll.metrics().sum("plimsoll_connections", &[]) == 0.0).then_some(())
    });
}

/// A client that shows a certificate and says much at once, and then what it has heard.
const HASTY: &str = r#"
import socket, ssl, sys
port, ca, certificate, key = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.load_cert_chain(certificate, key)
raw = socket.create_connection(("127.0.0.1", int(port)), 10)
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = context.wrap_bio(incoming, outgoing, server_hostname="shop.test")
while True:
    try:
        tls.do_handshake()
        break
    except ssl.SSLWantReadError:
        raw.sendall(outgoing.read())
        incoming.write(raw.recv(65536))
tls.write(b"POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 100000\r\n\r\n" + bytes(100000))
try:
    raw.sendall(outgoing.read())
    while True:
        try:
            tls.read()
        except ssl.SSLWantReadError:
            incoming.write(raw.recv(65536))
except ssl.SSLError as error:
    print(error.reason)
except OSError as error:
    print(error)
"#;

#[test]
fn keys_are_changed_in_the_middle_of_a_connection() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let plimsoll = secured(&authority, "").before(backend.address());
    // A line with a K alone, read by itself, makes s_client change its keys and ask for ours to be changed
    // (RFC 8446 §4.6.3).
    let mut talk = Talk::begin(&authority, &plimsoll, &["-tls1_3"]);
    talk.said("verify return:1", 2);
    for (at, key) in ["K\n", "k\n", "K\n"].into_iter().enumerate() {
        talk.say(key);
        talk.said("KEYUPDATE", at + 1);
    }
    talk.say("GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n");
    talk.client.wait().expect("it ends");
    talk.said("HTTP/1.1 200", 1);
    still_serves(&authority, &plimsoll);
}

#[test]
fn a_flood_of_handshakes_leaves_nothing_behind() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let plimsoll = secured(&authority, "").before(backend.address());
    let url = format!("https://{}/", plimsoll.address("web"));
    let flood = || {
        let mut command = Command::new("ab");
        command.args(["-q", "-l", "-n", "400", "-c", "20", &url]);
        let output = tools::run(&mut command, PATIENCE * 4);
        assert!(output.stdout.contains("Failed requests:        0"), "{output:?}");
    };
    flood();
    let before = memory_kib(&plimsoll, "VmRSS");
    flood();
    flood();
    let grown = memory_kib(&plimsoll, "VmRSS").saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB");
    eventually("all are gone", || {
        (plimsoll.metrics().sum("plimsoll_connections", &[]) == 0.0).then_some(())
    });
}
