//! Policies by name, over real sockets: shares follow weights, keys stick, and the slow are spared.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use e2e::{Backend, Reply, Script, eventually, tools};

use crate::stage::{Site, Stage};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A stage with these backends, by their names, and these lines about each.
fn pool_of(backends: &[Backend], about: impl Fn(usize) -> String, lines: &str) -> Stage {
    let site = backends.iter().zip(NAMES).fold(Site::new(), |site, (backend, name)| {
        site.address(name, backend.address())
    });
    let entries: Vec<_> = (0..backends.len())
        .map(|at| format!("{{ name = \"{0}\", address = \"@{0}@\"{1} }}", NAMES[at], about(at)))
        .collect();
    site.pool(&format!("backends = [{}]\nhealth = false\n{lines}", entries.join(", ")))
}

fn echoes(count: usize) -> Vec<Backend> {
    NAMES[..count]
        .iter()
        .map(|name| Backend::named(name, Script::Echo))
        .collect()
}

fn nothing(_: usize) -> String {
    String::new()
}

#[test]
fn shares_follow_weights() {
    let weight = |at: usize| format!(", weight = {}", [1, 3, 0][at]);
    for policy in ["round-robin", "random", "maglev", "ring-hash", "rendezvous"] {
        let backends = echoes(3);
        let kind = if matches!(policy, "round-robin" | "random") {
            format!("policy = \"{policy}\"")
        } else {
            format!("policy = {{ kind = \"{policy}\", key = \"path\" }}")
        };
        let stage = pool_of(&backends, weight, &kind);
        let mut wire = stage.connect();
        for number in 0..600 {
            assert_eq!(wire.get(&format!("/key/{number}")).status, 200);
        }
        let light = backends[0].requests();
        assert_eq!(
            light + backends[1].requests(),
            600,
            "{policy}: nothing goes to weight 0"
        );
        // Round robin is exact; the others are drawn: 150, give or take five standard deviations of 11, and of the
        // ring's and the table's own unevenness.
        let slack = if policy == "round-robin" { 1 } else { 70 };
        assert!(light.abs_diff(150) <= slack, "{policy}: {light} of 600 instead of 150");
    }
}

#[test]
fn policies_that_see_load_share_it_by_weight() {
    for policy in ["least-connections", "power-of-two", "least-response-time", "peak-ewma"] {
        let pause = Duration::from_millis(4);
        let backends: Vec<_> = (0..3)
            .map(|_| Backend::start(Script::after(pause, Script::reply(200, "ok"))))
            .collect();
        let stage = pool_of(
            &backends,
            |at| format!(", weight = {}", [1, 3, 0][at]),
            &format!("policy = \"{policy}\""),
        );
        let load = tools::wrk(stage.plimsoll.address("web"), "/", 32, Duration::from_secs(1));
        assert_eq!((load.bad_statuses, load.socket_errors), (0, 0), "{policy}: {load:?}");
        let (light, heavy, none) = (backends[0].requests(), backends[1].requests(), backends[2].requests());
        assert_eq!(none, 0, "{policy}: nothing goes to weight 0");
        assert!(
            light * 3 / 2 < heavy && light * 12 > heavy,
            "{policy}: {light} and {heavy} at weights 1 and 3"
        );
    }
}

/// One GET from this address.
fn get_from(source: Ipv4Addr, to: SocketAddr, fields: &str) -> String {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket
        .bind(&SocketAddr::from((source, 0)).into())
        .expect("all of 127.0.0.0/8 is ours");
    socket.connect(&to.into()).expect("it listens");
    let mut stream = TcpStream::from(socket);
    write!(stream, "GET / HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n").expect("it is taken");
    let reply = Reply::read(&mut BufReader::new(stream), "GET").expect("a reply comes");
    reply.json()["backend"].as_str().unwrap_or_default().to_owned()
}

/// Which backend each of these clients gets, thrice in a row the same.
fn homes(clients: &[String], get: impl Fn(&str) -> String) -> BTreeMap<String, String> {
    clients
        .iter()
        .map(|client| {
            let home = get(client);
            for _ in 0..2 {
                assert_eq!(get(client), home, "{client} stays where it is");
            }
            (client.clone(), home)
        })
        .collect()
}

#[test]
fn hash_policies_send_a_client_where_it_was_before() {
    let addresses: Vec<String> = (1..=40).map(|last| format!("127.0.0.{last}")).collect();
    let users: Vec<String> = (1..=40).map(|user| format!("user-{user}")).collect();
    for policy in ["ip-hash", "maglev", "ring-hash", "consistent-hash", "rendezvous"] {
        for by_header in [false, true] {
            let key = if by_header { "header:X-User-Id" } else { "client-ip" };
            let kind = format!("policy = {{ kind = \"{policy}\", key = \"{key}\" }}");
            if policy == "ip-hash" && by_header {
                continue;
            }
            let backends = echoes(4);
            let stage = pool_of(&backends, nothing, &kind);
            let web = stage.plimsoll.address("web");
            let get = |client: &str| match client.parse() {
                Ok(source) => get_from(source, web, ""),
                Err(_) => get_from(Ipv4Addr::LOCALHOST, web, &format!("x-user-id: {client}\r\n")),
            };
            let clients = if by_header { &users } else { &addresses };
            let before = homes(clients, get);
            let used: std::collections::BTreeSet<_> = before.values().collect();
            assert!(used.len() >= 3, "{kind}: 40 clients on {used:?} alone");
            // Who leaves takes nobody with it, or hardly anybody.
            stage.patch("a", r#"{ "state": "maintenance" }"#);
            eventually("the other view is there", || {
                (!homes(clients, get).values().any(|home| home == "a")).then_some(())
            });
            let after = homes(clients, get);
            let moved = clients
                .iter()
                .filter(|client| before[*client] != "a" && before[*client] != after[*client])
                .count();
            let most = if policy == "maglev" { 3 } else { 0 };
            assert!(moved <= most, "{kind}: {moved} of 40 moved without need");
        }
    }
}

/// A backend that serves one request at a time, each for so long.
fn serving(pause: Duration) -> Backend {
    let busy = Mutex::new(());
    Backend::start(Script::custom(move |exchange| {
        let turn = busy.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::thread::sleep(pause);
        drop(turn);
        exchange.reply(200, &[], b"served").map(|()| true)
    }))
}

/// Open-loop load, one request every `every`, whether or not those before have been answered: their latencies, sorted.
fn open_loop(stage: &Stage, every: Duration, count: u32) -> Vec<Duration> {
    let web = stage.plimsoll.address("web");
    let began = Instant::now();
    let mut latencies: Vec<_> = std::thread::scope(|scope| {
        let requests: Vec<_> = (0..count)
            .map(|number| {
                let due = began + every * number;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                scope.spawn(move || {
                    let mut wire = e2e::Wire::connect(web).patience(Duration::from_secs(30));
                    assert_eq!(wire.get("/").status, 200);
                    due.elapsed()
                })
            })
            .collect();
        requests
            .into_iter()
            .map(|request| request.join().expect("it is answered"))
            .collect()
    });
    latencies.sort();
    latencies
}

#[test]
fn a_slow_backend_spoils_the_tail_of_round_robin_and_not_that_of_policies_that_see_load() {
    // Two serve 50 requests a second each, the third 10: at 77 a second, 70 % of all, round robin gives it 26.
    let (fast, slow) = (Duration::from_millis(20), Duration::from_millis(100));
    let p99 = |policy: &str| {
        let backends = [serving(fast), serving(fast), serving(slow)];
        let stage = pool_of(&backends, nothing, &format!("policy = \"{policy}\""));
        let latencies = open_loop(&stage, Duration::from_millis(13), 154);
        let (p50, p99) = (latencies[latencies.len() / 2], latencies[latencies.len() * 99 / 100]);
        let of_slow = backends[2].requests();
        println!("{policy}: p50 {p50:?}, p99 {p99:?}, the slow one got {of_slow}");
        p99
    };
    let blind = p99("round-robin");
    for policy in ["least-connections", "power-of-two", "peak-ewma"] {
        // A machine that stands still for a moment lets requests pile up before any policy: the best of three counts.
        let seeing = (0..3).map(|_| p99(policy)).find(|seeing| *seeing * 2 < blind);
        assert!(
            seeing.is_some(),
            "round-robin's p99 is {blind:?}, and that of {policy} not half of it"
        );
    }
}
