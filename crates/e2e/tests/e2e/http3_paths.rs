//! HTTP/3 over paths that lose packets, and by a browser.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use e2e::{Authority, Backend, PATIENCE, Plimsoll, Scratch, Script, tools};
use serde_json::json;

use crate::http3::{authority, play_at, speaking};

/// A path between clients and a server that drops one packet in twenty, by its seed.
struct Lossy {
    port: u16,
    dropped: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How long the path looks one way before it looks the other.
const LOOK: Duration = Duration::from_millis(1);

impl Lossy {
    fn to(server: SocketAddr, seed: u64) -> Lossy {
        let front = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let port = front.local_addr().expect("it is bound").port();
        let (dropped, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counted, ends) = (dropped.clone(), over.clone());
        let thread = std::thread::spawn(move || carry(&front, server, seed, &counted, &ends));
        Lossy {
            port,
            dropped,
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn carry(front: &UdpSocket, server: SocketAddr, mut seed: u64, dropped: &AtomicUsize, over: &AtomicBool) {
    let mut ways: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    let mut packet = [0; 65_536];
    front.set_read_timeout(Some(LOOK)).expect("it can be set");
    let mut is_lost = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let lost = (seed >> 33).is_multiple_of(20);
        dropped.fetch_add(usize::from(lost), Ordering::Relaxed);
        lost
    };
    while !over.load(Ordering::Relaxed) {
        while let Ok((count, client)) = front.recv_from(&mut packet) {
            let way = ways.entry(client).or_insert_with(|| {
                let way = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
                way.set_nonblocking(true).expect("it can be set");
                way
            });
            if !is_lost() {
                let _ = way.send_to(&packet[..count], server);
            }
            front.set_nonblocking(true).expect("it can be set");
        }
        front.set_nonblocking(false).expect("it can be set");
        for (client, way) in &ways {
            while let Ok((count, _)) = way.recv_from(&mut packet) {
                if !is_lost() {
                    let _ = front.send_to(&packet[..count], client);
                }
            }
        }
    }
}

#[test]
fn a_thousand_requests_succeed_though_one_packet_in_twenty_is_lost() {
    let (authority, backend) = (authority(), Backend::start(Script::reply(200, "x".repeat(3_000))));
    let plimsoll = speaking(&authority, "").before(backend.address());
    let path = Lossy::to(plimsoll.address("web"), 20);
    let told = play_at(path.port, &authority, &["many", "1000"]);
    assert_eq!(told, json!({ "fine": 1000 }));
    let dropped = path.dropped.load(Ordering::Relaxed);
    assert!(dropped > 20, "{dropped} packets were lost");
    assert_eq!(backend.requests(), 1000);
}

#[test]
fn large_bodies_come_whole_over_such_a_path() {
    let mirror = Script::custom(|exchange| {
        let body = exchange.request.body.clone();
        exchange.reply(200, &[], &body).map(|()| true)
    });
    let (authority, backend) = (authority(), Backend::start(mirror));
    let plimsoll = speaking(&authority, "").before(backend.address());
    let path = Lossy::to(plimsoll.address("web"), 7);
    assert_eq!(play_at(path.port, &authority, &["sizes"]), json!({ "sizes": "fine" }));
}

/// Chromium without a window, which speaks QUIC to us from the first request on and believes our authority's key.
#[track_caller]
fn chromium(plimsoll: &Plimsoll, authority: &Authority, url: &str, more: &[&str]) -> String {
    let spki = "openssl x509 -in localhost.pem -pubkey -noout | openssl pkey -pubin -outform der \
                | openssl dgst -sha256 -binary | openssl base64";
    let output = tools::run(
        Command::new("sh").args(["-c", spki]).current_dir(authority.path()),
        PATIENCE,
    );
    let (scratch, port) = (Scratch::new(), plimsoll.address("web").port());
    let mut command = Command::new("chromium");
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-proxy-server",
        ])
        .arg(format!("--user-data-dir={}", scratch.path().display()))
        .arg(format!(
            "--ignore-certificate-errors-spki-list={}",
            output.stdout.trim()
        ))
        .args([
            "--host-resolver-rules=MAP localhost 127.0.0.1",
            "--dump-dom",
            "--virtual-time-budget=10000",
        ])
        .args(more.iter().map(|argument| argument.replace("PORT", &port.to_string())))
        .arg(url.replace("PORT", &port.to_string()));
    let output = tools::run(&mut command, PATIENCE * 4);
    assert_eq!(output.code, Some(0), "{output:?}");
    output.stdout
}

#[test]
fn chromium_asks_over_http_3() {
    let page = "<html><body>waiting<script>\
                Promise.all([...Array(20).keys()].map(n => fetch('/n/' + n, { method: n % 2 ? 'POST' : 'GET', \
                body: n % 2 ? 'x'.repeat(50000) : undefined }).then(r => r.json()).then(j => j.body.length)))\
                .then(all => document.body.textContent = 'sum ' + all.reduce((a, b) => a + b))\
                </script></body></html>";
    let page = Script::reply(200, page).header("content-type", "text/html");
    let scripts = Script::by_path([("/n/", Script::Echo), ("/", page)]);
    let (authority, backend) = (authority(), Backend::start(scripts));
    let plimsoll = speaking(&authority, "").before(backend.address());
    let dom = chromium(
        &plimsoll,
        &authority,
        "https://localhost:PORT/",
        &["--origin-to-force-quic-on=localhost:PORT"],
    );
    assert!(dom.contains("sum 500000"), "{dom}");
    let log = plimsoll.scratch().read("access.log");
    assert!(log.lines().count() >= 21, "{log}");
    for line in log.lines() {
        assert!(line.contains("\"protocol\":\"HTTP/3\""), "{line}");
    }
}
