//! The reuse cache: connections to backends that are used again, and the races when backends close them.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use e2e::{Backend, Request, Script, eventually, tools};

use crate::stage::{Site, Stage, request};

const ALONE: &str = r#"backends = [{ name = "one", address = "@one@" }]
    health = false
    outlier = false"#;

fn alone(address: std::net::SocketAddr, pool: &str) -> Stage {
    Site::new().address("one", address).pool(&format!("{ALONE}\n{pool}"))
}

fn connections(stage: &Stage, reused: &str) -> f64 {
    stage.plimsoll.metrics().sum(
        "plimsoll_backend_connections_total",
        &[("pool", "api"), ("backend", "one"), ("reused", reused)],
    )
}

/// A backend that answers one request on a connection, reads the next, and closes without an answer: to the sender it
/// looks as if the connection had been closed just when the request came. And how many requests it read in all.
fn closing_on_the_second() -> (Backend, Arc<AtomicUsize>) {
    let read = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&read);
    let backend = Backend::tcp(move |stream: TcpStream| {
        let mut from = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        for answers in [true, false] {
            if Request::read(&mut from, || Ok(()))?.is_none() {
                break;
            }
            count.fetch_add(1, SeqCst);
            if answers {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell")?;
            }
        }
        Ok(())
    });
    (backend, read)
}

#[test]
fn a_connection_is_used_for_one_request_after_another() {
    let one = Backend::named("one", Script::Echo);
    let stage = alone(one.address(), "");
    for number in 0..20 {
        // Other clients, other methods: it is all the same to the connection.
        let reply = if number % 2 == 0 {
            stage.get("/get")
        } else {
            stage.send("POST", "/post", b"body")
        };
        assert_eq!(reply.status, 200);
    }
    assert_eq!((one.requests(), one.connections()), (20, 1));
    assert_eq!((connections(&stage, "false"), connections(&stage, "true")), (1.0, 19.0));
    assert_eq!(stage.backend("one")["connections"], 1);
    one.assert_no_violations();
}

#[test]
fn a_connection_that_its_backend_wants_closed_is_not_kept() {
    let closing = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    let old = "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let until_close = Script::BytesThenClose(b"HTTP/1.1 200 OK\r\n\r\nok".to_vec());
    for script in [Script::Bytes(closing.into()), Script::Bytes(old.into()), until_close] {
        let one = Backend::named("one", script);
        let stage = alone(one.address(), "");
        for _ in 0..5 {
            assert_eq!(stage.get("/").text(), "ok");
        }
        assert_eq!(one.connections(), 5);
        eventually("none is left", || (one.open_connections() == 0).then_some(()));
        eventually("none is counted", || {
            (stage.backend("one")["connections"] == 0).then_some(())
        });
    }
}

#[test]
fn the_last_connection_in_is_the_first_out_and_the_others_grow_old() {
    let one = Backend::named(
        "one",
        Script::by_path([
            ("/slow", Script::after(Duration::from_millis(200), Script::Echo)),
            ("/", Script::Echo),
        ]),
    );
    let stage = alone(one.address(), "timeouts = { idle = \"700ms\" }");
    let mut wires: Vec<_> = (0..5).map(|_| stage.connect()).collect();
    wires
        .iter_mut()
        .for_each(|wire| wire.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n"));
    wires.iter_mut().for_each(|wire| assert_eq!(wire.reply().status, 200));
    assert_eq!(one.open_connections(), 5);
    // Under steady traffic, which one connection can carry.
    eventually("four of five have left", || {
        assert_eq!(stage.get("/").status, 200);
        (one.open_connections() == 1).then_some(())
    });
    assert_eq!(one.connections(), 5);
    eventually("the last one leaves when nobody comes", || {
        (one.open_connections() == 0).then_some(())
    });
    assert_eq!(stage.get("/").status, 200);
}

#[test]
fn a_get_on_a_connection_that_dies_under_it_is_sent_again_and_nobody_sees_it() {
    let (one, read) = closing_on_the_second();
    // Not a retry of the route: it happens even where those are off, and costs nothing of the budget.
    let stage = Site::new()
        .route("retry = { attempts = 0 }")
        .address("one", one.address())
        .pool(ALONE);
    let mut wire = stage.connect();
    for _ in 0..50 {
        assert_eq!(wire.get("/well").text(), "well");
    }
    assert!(one.connections() >= 50 && read.load(SeqCst) > 50);
    assert_eq!(stage.retries("success") + stage.failures("backend_reset"), 0.0);
    assert_eq!(stage.backend("one")["errors"], 0);
}

#[test]
fn a_put_on_a_connection_that_dies_under_it_is_sent_again_whole() {
    let one = Backend::named("one", Script::Echo);
    let stage = alone(one.address(), "");
    assert_eq!(stage.get("/first").status, 200);
    let body = "b".repeat(20_000);
    one.play(Script::InTurn(vec![Script::Echo, Script::close(), Script::Echo]));
    assert_eq!(stage.send("PUT", "/put", body.as_bytes()).json()["body"], body);
    assert_eq!((one.requests_to("/put"), one.connections()), (2, 2));
    assert_eq!(stage.retries("success"), 0.0);
}

#[test]
fn a_post_that_may_have_been_acted_on_is_not_sent_again() {
    let (one, read) = closing_on_the_second();
    let stage = alone(one.address(), "");
    assert_eq!(stage.get("/well").text(), "well");
    stage
        .send("POST", "/order", b"pay once")
        .assert_reason(502, "backend_reset");
    assert_eq!((one.connections(), read.load(SeqCst)), (1, 2));
}

#[test]
fn a_post_is_not_sent_on_a_connection_that_has_been_idle_for_long() {
    let one = Backend::named("one", Script::Echo);
    let stage = alone(one.address(), "");
    assert_eq!(stage.get("/well").status, 200);
    assert_eq!(stage.send("POST", "/young", b"once").status, 200);
    assert_eq!(one.connections(), 1);
    // Time has to pass: what is older than a second is not trusted with it.
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(stage.send("POST", "/old", b"once").status, 200);
    assert_eq!(one.connections(), 2);
    assert_eq!(stage.get("/well").status, 200);
    assert_eq!(one.connections(), 2);
}

#[test]
fn a_backend_that_closes_what_is_idle_costs_no_request_of_any_kind() {
    // The answer promises that the connection goes on, and then it is closed at once.
    let one = Backend::named(
        "one",
        Script::BytesThenClose(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell".to_vec()),
    );
    let stage = alone(one.address(), "");
    let mut wire = stage.connect();
    for number in 0..200 {
        let method = ["GET", "PUT", "DELETE"][number % 3];
        wire.send(request(method, "/well", b"x"));
        assert_eq!(wire.reply().text(), "well", "{number}");
    }
    assert_eq!(stage.failures("backend_reset"), 0.0);
}

#[test]
fn connections_that_their_backend_closed_leave_the_count() {
    let mut one = Backend::named("one", Script::Echo);
    let stage = alone(one.address(), "");
    assert_eq!(stage.get("/").status, 200);
    assert_eq!(stage.backend("one")["connections"], 1);
    one.stop();
    eventually("the dead connection is swept away", || {
        (stage.backend("one")["connections"] == 0).then_some(())
    });
}

#[test]
fn requests_wait_for_a_connection_when_there_may_be_no_more() {
    let one = Backend::named("one", Script::after(Duration::from_millis(5), Script::Echo));
    for workers in [1, 2] {
        let stage = Site::new()
            .workers(workers)
            .address("one", one.address())
            .pool(&format!("{ALONE}\nlimits = {{ connections = 2 }}"));
        let (most, began) = (Arc::new(AtomicUsize::new(0)), Instant::now());
        let load = std::thread::scope(|scope| {
            let web = stage.plimsoll.address("web");
            let load = scope.spawn(move || tools::wrk(web, "/", 16, Duration::from_secs(2)));
            while !load.is_finished() {
                most.fetch_max(one.open_connections(), SeqCst);
                std::thread::sleep(Duration::from_millis(2));
            }
            load.join().expect("wrk ends")
        });
        assert_eq!(
            (load.bad_statuses, load.socket_errors),
            (0, 0),
            "{workers} workers: {load:?}"
        );
        // Connections that a worker has closed for another's sake may still be there for the backend, whose threads sleep
        // before they look, when the next ones come.
        assert!(
            most.load(SeqCst) <= 8,
            "{workers} workers: {most:?} connections at once"
        );
        // Two connections at 5 ms each: some 400 a second at best.
        let rate = load.requests as f64 / began.elapsed().as_secs_f64();
        assert!(rate > 50.0, "{workers} workers: {rate} requests/s");
        assert!(stage.backend("one")["connections"].as_u64() <= Some(2));
    }
}

#[test]
fn a_backend_without_a_free_connection_is_passed_over_for_one_with() {
    let one = Backend::named("one", Script::Hang);
    let two = Backend::named("two", Script::Echo);
    let stage = Site::new()
        .address("one", one.address())
        .address("two", two.address())
        .pool(
            r#"policy = "round-robin"
        backends = [{ name = "one", address = "@one@" }, { name = "two", address = "@two@" }]
        health = false
        limits = { connections = 1 }"#,
        );
    let mut stuck = Vec::new();
    while one.requests() == 0 {
        let mut wire = stage.connect();
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        eventually("a request is answered or stuck", || {
            (one.requests() + two.requests() > stuck.len()).then_some(())
        });
        stuck.push(wire);
    }
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(stage.get("/").json()["backend"], "two");
    }
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "nobody waited: {:?}",
        began.elapsed()
    );
}

#[test]
fn a_pool_whose_connections_stay_busy_is_full() {
    let one = Backend::named("one", Script::Hang);
    let mut stage = alone(one.address(), "limits = { connections = 1, queue_timeout = \"300ms\" }");
    let mut stuck = stage.connect();
    stuck.send("GET /stuck HTTP/1.1\r\nhost: a\r\n\r\n");
    one.wait_for_requests(1);
    stage.get("/waits").assert_reason(503, "queue_timeout");
    stage.assert_failures("queue_timeout", 1.0);
    stage.assert_bystander_undisturbed();
    assert_eq!(stage.backend("one")["errors"], 0, "that is no fault of the backend");
}

#[test]
fn waiting_for_a_connection_counts_towards_the_routes_timeout() {
    let one = Backend::named("one", Script::Hang);
    let stage = Site::new()
        .route("timeout = \"400ms\"")
        .address("one", one.address())
        .pool(&format!("{ALONE}\nlimits = {{ connections = 1 }}"));
    let mut stuck = stage.connect();
    stuck.send("GET /stuck HTTP/1.1\r\nhost: a\r\n\r\n");
    one.wait_for_requests(1);
    // The first one is given up at its own timeout, and who comes later has to be late to see that.
    let began = Instant::now();
    let mut others: Vec<_> = (0..3).map(|_| stage.connect()).collect();
    others
        .iter_mut()
        .for_each(|wire| wire.send("GET /waits HTTP/1.1\r\nhost: a\r\n\r\n"));
    for wire in &mut others {
        wire.reply().assert_reason(504, "request_timeout");
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    stuck.reply().assert_reason(504, "request_timeout");
}

#[test]
fn requests_beyond_their_limit_are_refused_at_once_without_a_queue() {
    let one = Backend::named("one", Script::Hang);
    let mut stage = alone(one.address(), "limits = { requests = 3, queue = 0 }");
    let stuck: Vec<_> = (0..3)
        .map(|_| {
            let mut wire = stage.connect();
            wire.send("GET /stuck HTTP/1.1\r\nhost: a\r\n\r\n");
            wire
        })
        .collect();
    one.wait_for_requests(3);
    stage.get("/refused").assert_reason(503, "pool_full");
    stage.assert_bystander_undisturbed();
    one.play(Script::Echo);
    drop(stuck);
    eventually("there is room again", || {
        (stage.get("/again").status == 200).then_some(())
    });
}
